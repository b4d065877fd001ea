package connector

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestAPolicyIsReadOrRefusedWhole(t *testing.T) {
	p, err := ParsePolicy([]byte(`
purposes: [backup, drill]
hours:
  zone: Europe/Berlin
  windows:
    - {days: [fri], from: "20:00", to: "06:00"}
releasesPerHour: 5
tenants: [acme]
`))
	must(t, err)
	if said := p.String(); !strings.Contains(said, "backup drill") || !strings.Contains(said, "5 releases an hour") {
		t.Fatal(said)
	}
	_, err = ParsePolicy([]byte(`{"purposes": ["backup"], "releasesPerHour": 5}`))
	must(t, err)
	_, err = ParsePolicy(nil)
	must(t, err)
	for content, named := range map[string]string{
		"purpose: [backup]":   "purpose",
		"purposes: [curious]": `"curious"`,
		"hours: {zone: Mars/Olympus, windows: [{from: '01:00', to: '02:00'}]}":     "Mars/Olympus",
		"hours: {zone: ../../etc/passwd, windows: [{from: '01:00', to: '02:00'}]}": "hours.zone",
		"hours: {windows: []}":                                             "hours.windows",
		"hours: {windows: [{from: '1:00', to: '02:00'}]}":                  "windows[0]",
		"hours: {windows: [{from: '24:00', to: '02:00'}]}":                 "windows[0]",
		"hours: {windows: [{from: '01:00', to: '02:60'}]}":                 "windows[0]",
		"hours: {windows: [{days: [friday], from: '01:00', to: '02:00'}]}": "friday",
		"releasesPerHour: -1":                                              "releasesPerHour",
		"tenants: [ACME]":                                                  "ACME",
		"shareWith: [ed25519:abc]":                                         "shareWith[0]",
		"tenants: [a]\n---\n{}":                                            "follows",
		"[1, 2]":                                                           "no policy",
		strings.Repeat("#", 70_000):                                        "too large",
		"releasesPerHour: -1\ntenants: [A]":                                "tenants[0]", // the second of two mistakes
	} {
		if _, err := ParsePolicy([]byte(content)); err == nil || !strings.Contains(err.Error(), named) {
			t.Errorf("%.60q: %v", content, err)
		}
	}
	_, err = ReadPolicy(t.TempDir() + "/nothing.yaml")
	wantCode(t, err, backup.CodeBadConfig)
}

func TestHoursAreThoseOfTheirZone(t *testing.T) {
	p, err := ParsePolicy([]byte("hours: {zone: Europe/Berlin, windows: [{days: [fri], from: '20:00', to: '06:00'}, {days: [mon], from: '12:00', to: '24:00'}, {days: [wed], from: '00:00', to: '24:00'}]}"))
	must(t, err)
	for at, open := range map[string]bool{
		"2026-07-03T17:59:00Z": false, // Friday 19:59 in Berlin, in summer
		"2026-07-03T18:00:00Z": true,
		"2026-07-04T03:59:00Z": true, // Saturday, the window of Friday
		"2026-07-04T04:00:00Z": false,
		"2026-07-04T19:00:00Z": false, // Saturday evening
		"2026-12-04T18:59:00Z": false, // Friday 19:59 in winter
		"2026-12-04T19:00:00Z": true,
		"2026-12-07T22:59:00Z": true, // Monday 23:59
		"2026-12-07T23:00:00Z": false,
		"2026-12-08T23:00:00Z": true, // Wednesday 00:00
		"2026-12-09T23:00:00Z": false,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if must(t, err); p.Hours.open(now) != open {
			t.Errorf("%s: open %t", at, !open)
		}
	}
}

func TestAPolicyIsHeeded(t *testing.T) {
	r := newRig(t, newMemory())
	now := time.Now()
	a := r.agent(r.key("hq"), t.TempDir(), func(o *AgentOptions) { o.Clock = func() time.Time { return now } })
	defer a.Close()
	ask := func(p backup.KeyPurpose) Answer {
		use := r.use()
		use.Purpose = p
		w := wish{use: use}
		var to *recipient
		if releases(p) {
			to, _ = newRecipient()
		} else {
			w.use.Generation = 1
		}
		q, err := newRequest(w, to, r.worker, now, 30*time.Second)
		must(t, err)
		return a.decide(t.Context(), q)
	}
	denies := func(p backup.KeyPurpose, reason string) {
		t.Helper()
		word := ask(p)
		if word.Refusal == nil || word.Refusal.Code != backup.CodeDenied || !strings.Contains(word.Refusal.Reason, reason) {
			t.Fatalf("%s: %+v", p, word.Refusal)
		}
	}
	policy := func(text string) {
		t.Helper()
		p, err := ParsePolicy([]byte(text))
		must(t, err)
		must(t, a.SetPolicy(p))
	}
	policy("purposes: [restore]")
	denies(backup.PurposeBackup, "does not allow the purpose backup")
	denies(backup.PurposeDrill, "does not allow the purpose drill")
	policy("tenants: [other]")
	denies(backup.PurposeBackup, "tenant")
	utc := now.UTC()
	policy("hours: {windows: [{from: '" + utc.Add(2*time.Hour).Format("15:04") + "', to: '" + utc.Add(3*time.Hour).Format("15:04") + "'}]}")
	denies(backup.PurposeBackup, "hour")
	if ask(backup.PurposeDrill).Proof == nil {
		t.Fatal("a drill reveals nothing and is not bound to hours")
	}
	policy("releasesPerHour: 2")
	for range 2 {
		if ask(backup.PurposeBackup).Release == nil {
			t.Fatal("refused within the limit")
		}
	}
	denies(backup.PurposeBackup, "no more often")
	now = now.Add(time.Hour + time.Second)
	if ask(backup.PurposeBackup).Release == nil {
		t.Fatal("refused an hour later")
	}
	bad := &Policy{Hours: &Hours{Zone: "nowhere"}}
	wantCode(t, a.SetPolicy(bad), backup.CodeBadConfig)
}

// FuzzParsePolicy: what is read can be asked at any time.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte("purposes: [backup]\nhours:\n  zone: Europe/Berlin\n  windows:\n    - {days: [fri], from: '20:00', to: '06:00'}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			return
		}
		_ = p.String()
		_ = p.refuses(Request{Tenant: "acme", Purpose: backup.PurposeBackup}, time.UnixMilli(1764000000000))
	})
}
