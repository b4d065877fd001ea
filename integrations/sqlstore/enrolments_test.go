package sqlstore

import (
	"context"
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

func openEnrolment(t *testing.T, s *Store, connector, secret string) {
	t.Helper()
	must(t, s.OpenEnrolment(t.Context(), backup.Enrolment{Tenant: acme, Connector: connector, SecretHash: hashOf(secret), Expires: at(1)}))
}

func present(t *testing.T, s *Store, secret, identity string, when time.Time) error {
	t.Helper()
	_, err := s.UseEnrolment(t.Context(), hashOf(secret), identity, []byte("recipient of "+identity), when)
	return err
}

// pinned shows the tenant's connectors as "berlin=ed25519:B, hq=ed25519:H enrolled".
func pinned(t *testing.T, s *Store) string {
	t.Helper()
	var all []string
	for _, c := range got[[]backup.ConnectorStatus](t)(s.PinnedConnectors(t.Context(), acme)) {
		text := c.Name + "=" + c.Identity
		if c.Enrolled {
			text += " enrolled"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func wantPinned(t *testing.T, s *Store, want string) {
	t.Helper()
	if have := pinned(t, s); have != want {
		t.Errorf("pinned are %q, want %q", have, want)
	}
}

func TestEnrolmentIsGoodOnce(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	_, err := s.Enrolment(t.Context(), acme, "hq")
	wantCode(t, err, backup.CodeNotFound)
	openEnrolment(t, s, "hq", "secret")
	wantCode(t, s.PinEnrolled(t.Context(), acme, "hq"), backup.CodeNotFound) // nobody presented it
	wantCode(t, present(t, s, "wrong", "ed25519:X", at(0)), backup.CodeDenied)
	wantCode(t, present(t, s, "secret", "ed25519:X", at(1)), backup.CodeDenied) // expired at that moment
	must(t, present(t, s, "secret", "ed25519:H", at(0)))
	wantCode(t, present(t, s, "secret", "ed25519:H", at(0)), backup.CodeDenied)
	openEnrolment(t, s, "hq", "secret") // asked again by one who did not hear the answer
	e := got[backup.Enrolment](t)(s.Enrolment(t.Context(), acme, "hq"))
	if want := (backup.Enrolment{Tenant: acme, Connector: "hq", SecretHash: hashOf("secret"), Expires: at(1), Presented: at(0), Identity: "ed25519:H", Recipient: []byte("recipient of ed25519:H")}); !reflect.DeepEqual(e, want) {
		t.Errorf("it is %+v, want %+v", e, want)
	}
	wantPinned(t, s, "berlin=ed25519:B") // not by presenting
	for range 2 {
		must(t, s.PinEnrolled(t.Context(), acme, "hq"))
	}
	wantPinned(t, s, "berlin=ed25519:B, hq=ed25519:H enrolled")
	if c := got[backup.ConnectorStatus](t)(s.PinnedConnector(t.Context(), acme, "hq")); string(c.Recipient) != "recipient of ed25519:H" {
		t.Errorf("it is %+v", c)
	}
	must(t, s.CloseEnrolment(t.Context(), acme, "hq"))
	must(t, s.CloseEnrolment(t.Context(), acme, "hq"))
	wantCode(t, s.PinEnrolled(t.Context(), acme, "hq"), backup.CodeNotFound)
	wantPinned(t, s, "berlin=ed25519:B, hq=ed25519:H enrolled")
}

func TestReplacedEnrolmentIsGoodForNothing(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith())
	openEnrolment(t, s, "hq", "first")
	must(t, present(t, s, "first", "ed25519:X", at(0)))
	openEnrolment(t, s, "hq", "second")
	wantCode(t, present(t, s, "first", "ed25519:X", at(0)), backup.CodeDenied)
	wantCode(t, s.PinEnrolled(t.Context(), acme, "hq"), backup.CodeNotFound) // what the first showed is forgotten
	must(t, s.CloseEnrolment(t.Context(), acme, "hq"))
	wantCode(t, present(t, s, "second", "ed25519:H", at(0)), backup.CodeDenied)
}

// Applying the tenant's file leaves enrolled connectors alone, unless it names one of them.
func TestFileAndEnrolmentsPinSideBySide(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	enrol := func(name, identity string) error {
		openEnrolment(t, s, name, name+identity)
		must(t, present(t, s, name+identity, identity, at(0)))
		return s.PinEnrolled(t.Context(), acme, name)
	}
	must(t, enrol("hq", "ed25519:H"))
	wantCode(t, enrol("berlin", "ed25519:X"), backup.CodeNotAllowed)
	must(t, enrol("berlin", "ed25519:B")) // the same connector: it is pinned already
	wantPinned(t, s, "berlin=ed25519:B, hq=ed25519:H enrolled")
	saveTenant(t, s, acmeWith(paris))
	wantPinned(t, s, "hq=ed25519:H enrolled, paris=ed25519:P")
	must(t, s.DescribeConnector(t.Context(), acme, "hq", backup.ConnectorSelf{Recipient: []byte("r"), Holds: []backup.HeldKey{{Generation: 1, Check: "ed25519:C"}}}))
	saveTenant(t, s, acmeWith(backup.ConnectorConfig{Name: "hq", Identity: "ed25519:N"}))
	wantPinned(t, s, "hq=ed25519:N")
	if c := got[backup.ConnectorStatus](t)(s.PinnedConnector(t.Context(), acme, "hq")); c.Recipient != nil || c.Holds != nil {
		t.Errorf("what another connector said is still there: %+v", c)
	}
	saveTenant(t, s, acmeWith())
	wantPinned(t, s, "")
}

func TestConnectorDescribesItself(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	self := backup.ConnectorSelf{Recipient: []byte("recipient"), Holds: []backup.HeldKey{{Generation: 1, Check: "ed25519:C"}, {Generation: 2, Check: "ed25519:D"}}}
	wantCode(t, s.DescribeConnector(t.Context(), acme, "paris", self), backup.CodeNotFound)
	for range 2 {
		must(t, s.DescribeConnector(t.Context(), acme, "berlin", self))
	}
	c := got[[]backup.ConnectorStatus](t)(s.PinnedConnectors(t.Context(), acme))[0]
	if string(c.Recipient) != "recipient" || !reflect.DeepEqual(c.Holds, self.Holds) {
		t.Errorf("it is %+v", c)
	}
	must(t, s.DescribeConnector(t.Context(), acme, "berlin", backup.ConnectorSelf{Recipient: []byte("recipient")}))
	if c := got[backup.ConnectorStatus](t)(s.PinnedConnector(t.Context(), acme, "berlin")); len(c.Holds) != 0 {
		t.Errorf("it is %+v", c)
	}
	must(t, s.DescribeConnector(t.Context(), acme, "berlin", backup.ConnectorSelf{})) // one that tells nothing
	must(t, s.DescribeConnector(t.Context(), acme, "berlin", self))
	status := got[backup.KeyStatus](t)(s.KeyStatus(t.Context(), acme))
	if len(status.Connectors) != 1 || string(status.Connectors[0].Recipient) != "recipient" {
		t.Errorf("the key's status has %+v", status.Connectors)
	}
}

func TestEnrolmentIsUsedByOneOfRacingConnectors(t *testing.T) {
	a, b := twoStores(t)
	saveTenant(t, a, acmeWith())
	openEnrolment(t, a, "hq", "secret")
	var admitted collected[int]
	raceOn(t, a, b, 20, func(ctx context.Context, s *Store, w int) error {
		_, err := s.UseEnrolment(ctx, hashOf("secret"), fmt.Sprint("ed25519:", w), nil, noon)
		if err == nil {
			admitted.add(w)
		}
		if backup.HasCode(err, backup.CodeDenied) {
			return nil
		}
		return err
	})
	if len(admitted.all) != 1 {
		t.Errorf("admitted were %v", admitted.all)
	}
}

func TestRequestForOneHolderGoesToNoOther(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin, paris))
	r := request("r1", noon)
	r.Holder = "paris"
	must(t, s.PutKeyRequest(t.Context(), r))
	for _, later := range []time.Duration{0, 20 * time.Second} {
		if ids := taken(t, s, acme, "berlin", noon.Add(later), 10); ids != nil {
			t.Errorf("berlin was handed %q", ids)
		}
	}
	all := got[[]backup.KeyRequest](t)(s.TakeKeyRequests(t.Context(), acme, "paris", noon, 10))
	if len(all) != 1 || all[0].Holder != "paris" {
		t.Errorf("paris was handed %+v", all)
	}
}

func TestMutedAlertIsCountedAndSaysSo(t *testing.T) {
	s := newStore(t)
	raise := func(hours int) (backup.Alert, bool) {
		t.Helper()
		a, first, err := s.RaiseAlert(t.Context(), backup.Alert{Tenant: acme, Kind: backup.AlertNotConnected, Subject: "key"}, at(hours))
		must(t, err)
		return a, first
	}
	mute := func(until time.Time) bool {
		t.Helper()
		return got[bool](t)(s.MuteAlert(t.Context(), acme, backup.AlertNotConnected, "key", until))
	}
	if mute(at(9)) {
		t.Error("what is not open was muted")
	}
	if a, first := raise(0); !first || !a.MutedUntil.IsZero() {
		t.Errorf("raised, it is %+v", a)
	}
	if !mute(at(9)) {
		t.Error("it was not muted")
	}
	if a, first := raise(1); first || a.Times != 2 || !a.MutedUntil.Equal(at(9)) {
		t.Errorf("muted, it is %+v", a)
	}
	if all := got[[]backup.Alert](t)(s.ListAlerts(t.Context(), acme, false, 0)); len(all) != 1 || !all[0].MutedUntil.Equal(at(9)) {
		t.Errorf("listed are %+v", all)
	}
	if !mute(time.Time{}) {
		t.Error("it was not unmuted")
	}
	if a, _ := raise(2); !a.MutedUntil.IsZero() {
		t.Errorf("unmuted, it is %+v", a)
	}
	mute(at(9))
	got[bool](t)(s.ResolveAlert(t.Context(), acme, backup.AlertNotConnected, "key", at(3)))
	if a, first := raise(4); !first || !a.MutedUntil.IsZero() {
		t.Errorf("a later one is %+v", a)
	}
}
