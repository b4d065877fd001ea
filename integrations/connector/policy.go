package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the zones of a policy, on systems that have none

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Policy is what the customer allows a connector to do, beyond what the protocol demands. The file is YAML or JSON; for example
//
//	purposes: [backup, restore, verify, drill]
//	hours:
//	  zone: Europe/Berlin
//	  windows:
//	    - days: [mon, tue, wed, thu, fri]
//	      from: "20:00"
//	      to: "06:00"
//	releasesPerHour: 500
//	tenants: [acme]
//	shareWith: ["ed25519:…"]
type Policy struct {
	// Purposes that are served. Default: every one but destroy.
	Purposes []backup.KeyPurpose `yaml:"purposes"`
	// Hours outside which the ekey does not leave: no release, no share. Default: always.
	Hours *Hours `yaml:"hours"`
	// ReleasesPerHour bounds how often the ekey leaves within any 60 minutes. Default: no bound.
	ReleasesPerHour int `yaml:"releasesPerHour"`
	// Tenants whose requests are served. Default: the connector's own, and it never serves another.
	Tenants []string `yaml:"tenants"`
	// ShareWith are the public identities of the connectors that the ekey is shared with, either way: they may be given it, and a new
	// generation is taken from no other. Whoever can write into Holdfast's store could otherwise pin a connector of his own, and have the
	// next generation made there. Default: whoever a pinned worker names.
	ShareWith []string `yaml:"shareWith"`
}

// Hours are windows of the week in one time zone.
type Hours struct {
	// Zone is an IANA name such as Europe/Berlin; default UTC.
	Zone    string   `yaml:"zone"`
	Windows []Window `yaml:"windows"`

	place *time.Location
}

// Window is a span of wall-clock time on some days. One whose To is not after its From ends on the day after.
type Window struct {
	// Days on which it begins: mon, tue, wed, thu, fri, sat, sun. Default: every day.
	Days []string `yaml:"days"`
	// From and To are hh:mm; To may be 24:00.
	From string `yaml:"from"`
	To   string `yaml:"to"`

	from, to int // minutes
}

// Limits of a policy file.
const (
	maxPolicyFile      = 64 << 10 // bytes
	maxPolicyList      = 64
	maxReleasesPerHour = 100_000
)

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} // as time.Weekday counts

// ReadPolicy reads a policy file. It need not be secret.
func ReadPolicy(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError("the policy could not be opened", path, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxPolicyFile+1))
	if err != nil {
		return nil, fileError("the policy could not be read", path, err)
	}
	p, err := ParsePolicy(content)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is not a good policy",
			Hint: "docs/connector-protocol.md shows one", Cause: err}
	}
	return p, nil
}

// ParsePolicy reads a policy and reports everything that is wrong with it. A field that is not known is refused, because it may have
// been meant to forbid something.
func ParsePolicy(content []byte) (*Policy, error) {
	if len(content) > maxPolicyFile {
		return nil, errors.New("it is too large")
	}
	d := yaml.NewDecoder(bytes.NewReader(content))
	d.KnownFields(true)
	var p Policy
	if err := d.Decode(&p); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.New("it is no policy: " + strings.Join(strings.Fields(err.Error()), " "))
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the policy")
	}
	return &p, p.prepare()
}

// prepare checks the policy and reads its times.
func (p *Policy) prepare() error {
	var wrong []error
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if max(len(p.Purposes), len(p.Tenants), len(p.ShareWith)) > maxPolicyList {
		bad("a list has more than %d entries", maxPolicyList)
	}
	for i, purpose := range p.Purposes {
		if !knownPurpose(purpose) {
			bad("purposes[%d]: %q is none of %v", i, purpose, purposes)
		}
	}
	for i, tenant := range p.Tenants {
		if !tenantName.MatchString(tenant) {
			bad("tenants[%d]: %q is no tenant's name", i, tenant)
		}
	}
	for i, identity := range p.ShareWith {
		if !isIdentity(identity) {
			bad("shareWith[%d]: %w", i, errNoIdentity)
		}
	}
	if p.ReleasesPerHour < 0 || p.ReleasesPerHour > maxReleasesPerHour {
		bad("releasesPerHour: %d is not between 0 and %d", p.ReleasesPerHour, maxReleasesPerHour)
	}
	if p.Hours != nil {
		wrong = append(wrong, p.Hours.prepare()...)
	}
	return errors.Join(wrong...)
}

func (h *Hours) prepare() (wrong []error) {
	var err error
	if h.place, err = time.LoadLocation(h.Zone); err != nil || h.Zone == "Local" {
		wrong = append(wrong, fmt.Errorf("hours.zone: %q is no time zone", h.Zone))
	}
	if len(h.Windows) == 0 || len(h.Windows) > maxPolicyList {
		wrong = append(wrong, fmt.Errorf("hours.windows: between 1 and %d are needed", maxPolicyList))
	}
	for i := range h.Windows {
		if err := h.Windows[i].prepare(); err != nil {
			wrong = append(wrong, fmt.Errorf("hours.windows[%d]: %w", i, err))
		}
	}
	return wrong
}

func (w *Window) prepare() (err error) {
	for _, day := range w.Days {
		if !slices.Contains(weekdays, day) || len(w.Days) > len(weekdays) {
			return fmt.Errorf("days: %q is none of %v", day, weekdays)
		}
	}
	if w.from, err = minutes(w.From); err != nil || w.From == "24:00" {
		return fmt.Errorf("from: %q is not hh:mm", w.From)
	}
	if w.to, err = minutes(w.To); err != nil {
		return fmt.Errorf("to: %q is not hh:mm", w.To)
	}
	return nil
}

var clockTime = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$`)

func minutes(text string) (int, error) {
	if !clockTime.MatchString(text) {
		return 0, errMalformed
	}
	hour, err := strconv.Atoi(text[:2])
	if err != nil {
		return 0, err
	}
	minute, err := strconv.Atoi(text[3:])
	return 60*hour + minute, err
}

// refuses returns why a request is not served, or nil. Who may ask at all was judged before.
func (p *Policy) refuses(r Request, now time.Time) *Refusal {
	switch {
	case len(p.Tenants) > 0 && !slices.Contains(p.Tenants, r.Tenant):
		return denied("the connector's policy does not allow this tenant")
	case !p.allows(r.Purpose):
		return denied(fmt.Sprintf("the connector's policy does not allow the purpose %s; to allow it, list it under purposes in the policy file", r.Purpose))
	case r.Purpose == backup.PurposeShare && len(p.ShareWith) > 0 && !slices.Contains(p.ShareWith, r.To.Identity):
		return denied("the connector's policy does not list this connector's identity under shareWith")
	case r.Purpose == backup.PurposeDeposit && len(p.ShareWith) > 0 && !slices.Contains(p.ShareWith, r.Deposit.Sender):
		return denied("the connector's policy does not list the sender's identity under shareWith")
	case r.seals() && !p.Hours.open(now):
		return denied("the connector's policy lets no ekey out at this hour")
	}
	return nil
}

func (p *Policy) allows(purpose backup.KeyPurpose) bool {
	if len(p.Purposes) == 0 {
		return purpose != backup.PurposeDestroy
	}
	return slices.Contains(p.Purposes, purpose)
}

// open tells whether now is within a window. A window that passes midnight belongs to the day on which it begins.
func (h *Hours) open(now time.Time) bool {
	if h == nil {
		return true
	}
	local := now.In(h.place)
	minute, today := 60*local.Hour()+local.Minute(), int(local.Weekday())
	yesterday := (today + 6) % 7
	return slices.ContainsFunc(h.Windows, func(w Window) bool {
		if w.to > w.from {
			return w.on(today) && minute >= w.from && minute < w.to
		}
		return w.on(today) && minute >= w.from || w.on(yesterday) && minute < w.to
	})
}

func (w Window) on(day int) bool { return len(w.Days) == 0 || slices.Contains(w.Days, weekdays[day]) }

// String is the policy in a few words, for a status line.
func (p *Policy) String() string {
	words := []string{"all purposes but destroy"}
	if len(p.Purposes) > 0 {
		words[0] = fmt.Sprint("purposes ", p.Purposes)
	}
	if p.Hours != nil {
		words = append(words, fmt.Sprintf("%d windows of time", len(p.Hours.Windows)))
	}
	if p.ReleasesPerHour > 0 {
		words = append(words, fmt.Sprintf("at most %d releases an hour", p.ReleasesPerHour))
	}
	if len(p.ShareWith) > 0 {
		words = append(words, fmt.Sprintf("shared with %d connectors at most", len(p.ShareWith)))
	}
	return strings.Join(words, ", ")
}

// hourly counts what happened within the last 60 minutes, exactly. Its memory is 24 bytes for each.
type hourly struct{ times []time.Time }

// allow counts one more, unless there were limit; 0 is no limit.
func (h *hourly) allow(limit int, now time.Time) bool {
	if limit == 0 {
		h.times = nil
		return true
	}
	old := slices.IndexFunc(h.times, func(t time.Time) bool { return now.Sub(t) < time.Hour })
	if old < 0 {
		old = len(h.times)
	}
	h.times = slices.Delete(h.times, 0, old)
	if len(h.times) >= limit {
		return false
	}
	h.times = append(h.times, now)
	return true
}
