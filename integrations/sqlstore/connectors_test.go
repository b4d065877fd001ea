package sqlstore

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var (
	berlin = backup.ConnectorConfig{Name: "berlin", Identity: "ed25519:B"}
	paris  = backup.ConnectorConfig{Name: "paris", Identity: "ed25519:P"}
)

// presence shows what a Mark… method said.
func presence(t *testing.T) func(backup.ConnectorPresence, bool, error) string {
	return func(p backup.ConnectorPresence, changed bool, err error) string {
		t.Helper()
		must(t, err)
		return fmt.Sprintf("%s connected=%t session=%d changed=%t", p.Connector, p.Connected, p.Session, changed)
	}
}

// connected counts the tenant's connectors that are connected and were seen at or after the time.
func connected(t *testing.T, s *Store, seenAfter time.Time) (n int) {
	t.Helper()
	for _, c := range got[[]backup.ConnectorStatus](t)(s.PinnedConnectors(t.Context(), acme)) {
		if c.Connected && !c.LastSeen.Before(seenAfter) {
			n++
		}
	}
	return n
}

func TestConnectorComesAndGoes(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	seen := func(seconds int) string {
		return presence(t)(s.MarkConnectorSeen(t.Context(), acme, "berlin", at(seconds)))
	}
	gone := func(seconds int) string {
		return presence(t)(s.MarkConnectorGone(t.Context(), acme, "berlin", at(seconds)))
	}
	for i, step := range []struct{ have, want string }{
		{gone(0), "berlin connected=false session=0 changed=false"},
		{seen(1), "berlin connected=true session=1 changed=true"},
		{seen(9), "berlin connected=true session=1 changed=false"},
		{gone(5), "berlin connected=true session=1 changed=false"}, // another gateway heard of it since
		{gone(9), "berlin connected=false session=1 changed=true"},
		{gone(9), "berlin connected=false session=1 changed=false"},
		{seen(20), "berlin connected=true session=2 changed=true"},
		{seen(15), "berlin connected=true session=2 changed=false"}, // overtaken by the poll before
	} {
		if step.have != step.want {
			t.Errorf("step %d: %s, want %s", i, step.have, step.want)
		}
	}
	c := got[backup.ConnectorStatus](t)(s.PinnedConnector(t.Context(), acme, "berlin"))
	if want := (backup.ConnectorStatus{Name: "berlin", Identity: "ed25519:B", Connected: true, LastSeen: at(20), Session: 2}); !reflect.DeepEqual(c, want) {
		t.Errorf("the connector is %+v, want %+v", c, want)
	}
	for after, want := range map[int]int{20: 1, 21: 0} {
		if n := connected(t, s, at(after)); n != want {
			t.Errorf("%d connectors seen after second %d, want %d", n, after, want)
		}
	}
}

func TestOnlyPinnedConnectorsExist(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	for _, who := range [][2]string{{acme, "paris"}, {"other", "berlin"}} {
		_, err := s.PinnedConnector(t.Context(), who[0], who[1])
		wantCode(t, err, backup.CodeNotFound)
		_, _, err = s.MarkConnectorSeen(t.Context(), who[0], who[1], noon)
		wantCode(t, err, backup.CodeNotFound)
		_, _, err = s.MarkConnectorGone(t.Context(), who[0], who[1], noon)
		wantCode(t, err, backup.CodeNotFound)
	}
}

// A connector that is taken out of the file is lost at once, and its sessions go on counting should it come back.
func TestConnectorIsUnpinned(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin, paris))
	for _, name := range []string{"berlin", "paris"} {
		_, _, err := s.MarkConnectorSeen(t.Context(), acme, name, noon)
		must(t, err)
	}
	saveTenant(t, s, acmeWith(paris))
	_, err := s.PinnedConnector(t.Context(), acme, "berlin")
	wantCode(t, err, backup.CodeNotFound)
	if n := connected(t, s, noon); n != 1 {
		t.Errorf("%d connectors count, want 1", n)
	}
	lost := func() (names []string) {
		for _, p := range got[[]backup.ConnectorPresence](t)(s.MarkConnectorsLost(t.Context(), noon, noon)) {
			names = append(names, p.Connector)
		}
		return names
	}
	if have := lost(); !slices.Equal(have, []string{"berlin"}) {
		t.Errorf("lost are %q, want berlin", have)
	}
	if have := lost(); have != nil {
		t.Errorf("lost again are %q", have)
	}
	saveTenant(t, s, acmeWith(berlin, paris))
	if have, want := presence(t)(s.MarkConnectorSeen(t.Context(), acme, "berlin", noon)), "berlin connected=true session=2 changed=true"; have != want {
		t.Errorf("back again: %s, want %s", have, want)
	}
}

// Whoever is connected under a name whose identity changed is not the one that is pinned now.
func TestConnectorWithAnotherIdentityDoesNotCount(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin))
	_, _, err := s.MarkConnectorSeen(t.Context(), acme, "berlin", noon)
	must(t, err)
	saveTenant(t, s, acmeWith(berlin)) // the same again changes nothing
	if n := connected(t, s, noon); n != 1 {
		t.Fatalf("%d connectors count, want 1", n)
	}
	saveTenant(t, s, acmeWith(backup.ConnectorConfig{Name: "berlin", Identity: "ed25519:N"}))
	if n := connected(t, s, noon); n != 0 {
		t.Errorf("%d connectors count, want none", n)
	}
}

func request(id string, created time.Time) backup.KeyRequest {
	return backup.KeyRequest{ID: id, Tenant: acme, Body: []byte(`{"n":"` + id + `"}`), Created: created, Expires: created.Add(time.Minute)}
}

func taken(t *testing.T, s *Store, tenant, connector string, at time.Time, limit int) (ids []string) {
	t.Helper()
	for _, r := range got[[]backup.KeyRequest](t)(s.TakeKeyRequests(t.Context(), tenant, connector, at, limit)) {
		ids = append(ids, r.ID)
		if string(r.Body) != `{"n":"`+r.ID+`"}` || r.Tenant != tenant || !r.Expires.Equal(r.Created.Add(time.Minute)) {
			t.Errorf("the request is %+v", r)
		}
	}
	return ids
}

var rome = backup.ConnectorConfig{Name: "rome", Identity: "ed25519:R"}

func TestKeyRequestIsHandedOut(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin, paris, rome))
	for i, id := range []string{"r3", "r1", "r2"} {
		must(t, s.PutKeyRequest(t.Context(), request(id, noon.Add(time.Duration(i)*time.Second))))
	}
	now := noon.Add(10 * time.Second)
	for i, step := range []struct {
		have []string
		want []string
	}{
		{taken(t, s, "other", "berlin", now, 9), nil},
		{taken(t, s, acme, "berlin", now, 2), []string{"r3", "r1"}}, // the oldest first
		{taken(t, s, acme, "berlin", now, 9), []string{"r2"}},
		{taken(t, s, acme, "paris", now.Add(5*time.Second), 9), nil},
		{taken(t, s, acme, "paris", now.Add(6*time.Second), 1), []string{"r3"}},  // berlin had its time
		{taken(t, s, acme, "berlin", now.Add(20*time.Second), 9), nil},           // none is handed to one twice
		{taken(t, s, acme, "rome", noon.Add(61*time.Second), 9), []string{"r2"}}, // the others expired
	} {
		if !slices.Equal(step.have, step.want) {
			t.Errorf("step %d: handed out are %q, want %q", i, step.have, step.want)
		}
	}
}

func TestKeyAnswerGoesBackOnce(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(berlin, paris))
	put := func(id, connector string, at time.Time) error {
		return s.PutKeyAnswer(t.Context(), backup.KeyAnswer{RequestID: id, Connector: connector, Body: []byte(connector), At: at})
	}
	_, err := s.KeyAnswer(t.Context(), "r1")
	wantCode(t, err, backup.CodeNotFound)
	must(t, s.PutKeyRequest(t.Context(), request("r1", noon)))
	if a := got[*backup.KeyAnswer](t)(s.KeyAnswer(t.Context(), "r1")); a != nil {
		t.Errorf("before anybody answered there is %+v", a)
	}
	wantCode(t, put("r1", "berlin", noon), backup.CodeNotFound) // it was not handed to berlin
	taken(t, s, acme, "berlin", noon, 1)
	taken(t, s, acme, "paris", noon.Add(6*time.Second), 1)
	wantCode(t, put("r1", "rome", noon), backup.CodeNotFound)
	wantCode(t, put("r9", "berlin", noon), backup.CodeNotFound)
	wantCode(t, put("r1", "berlin", noon.Add(time.Minute)), backup.CodeNotFound) // expired
	must(t, put("r1", "berlin", noon.Add(7*time.Second)))                        // slow, but the first
	wantCode(t, put("r1", "paris", noon.Add(8*time.Second)), backup.CodeNotFound)
	wantCode(t, put("r1", "berlin", noon.Add(8*time.Second)), backup.CodeNotFound)

	a := got[*backup.KeyAnswer](t)(s.KeyAnswer(t.Context(), "r1"))
	if a == nil || a.Connector != "berlin" || string(a.Body) != "berlin" || !a.At.Equal(noon.Add(7*time.Second)) || a.RequestID != "r1" {
		t.Errorf("the answer is %+v", a)
	}
	if have := taken(t, s, acme, "rome", noon.Add(20*time.Second), 9); have != nil {
		t.Errorf("what is answered is handed out: %q", have)
	}
	for range 2 {
		must(t, s.DeleteKeyRequest(t.Context(), "r1"))
	}
	_, err = s.KeyAnswer(t.Context(), "r1")
	wantCode(t, err, backup.CodeNotFound)
}

func TestExpiredKeyRequestsAreSweptInBoundedSteps(t *testing.T) {
	s := newStore(t)
	for i := range sweepAtOnce + 10 {
		must(t, s.PutKeyRequest(t.Context(), request(fmt.Sprint("r", i), noon)))
	}
	must(t, s.PutKeyRequest(t.Context(), request("fresh", noon.Add(time.Hour))))
	taken(t, s, acme, "berlin", noon, 3) // who took one goes with it
	for _, want := range []int{sweepAtOnce, 10, 0} {
		if n := got[int](t)(s.SweepKeyRequests(t.Context(), noon.Add(2*time.Minute))); n != want {
			t.Errorf("swept %d, want %d", n, want)
		}
	}
	var left int
	must(t, s.read.QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM key_request) + (SELECT COUNT(*) FROM key_request_taker)`).Scan(&left))
	if left != 1 {
		t.Errorf("%d rows are left, want the fresh request", left)
	}
}

func TestNonceIsFreshOnce(t *testing.T) {
	s := newStore(t)
	until := time.Now().Add(time.Minute)
	use := func(scope, nonce string, until time.Time) bool {
		return got[bool](t)(s.UseNonce(t.Context(), scope, nonce, until))
	}
	if !use("a", "n", until) || use("a", "n", until) || !use("b", "n", until) || !use("a", "m", until) {
		t.Error("a nonce is fresh once per scope")
	}
	for i := range 30 {
		use("old", fmt.Sprint(i), time.Now().Add(-2*time.Hour))
	}
	var left int
	must(t, s.read.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM nonce`).Scan(&left))
	if left != 3 {
		t.Errorf("%d nonces are left, want the 3 that are not old", left)
	}
}

func TestKeyStatusTellsOfTheLastRelease(t *testing.T) {
	s := newStore(t)
	saveTenant(t, s, acmeWith(paris, berlin))
	status := got[backup.KeyStatus](t)(s.KeyStatus(t.Context(), acme))
	if status.Method != backup.KeyByConnector || len(status.Connectors) != 2 || status.Connectors[0].Name != "berlin" || status.Receipts != 0 || status.Last != nil {
		t.Errorf("before the first release it is %+v", status)
	}
	receipt := backup.Receipt{Tenant: acme, Generation: 3, Method: backup.KeyByConnector, Purpose: backup.PurposeBackup, WorkflowID: "backup/acme",
		RunID: "run", Attempt: 2, Holder: "berlin", Requester: "worker", Nonce: "n1", At: noon, Until: noon.Add(time.Minute)}
	other := receipt
	other.Tenant = "other"
	for range 2 {
		if n := got[int64](t)(appendUnsigned(t.Context(), s, receipt)); n != 1 {
			t.Errorf("the number is %d, want 1", n)
		}
	}
	if n := got[int64](t)(appendUnsigned(t.Context(), s, other)); n != 1 {
		t.Errorf("another tenant's first number is %d", n)
	}
	receipt.Nonce, receipt.Generation = "n2", 4
	got[int64](t)(appendUnsigned(t.Context(), s, receipt))
	receipt.Number = 2
	status = got[backup.KeyStatus](t)(s.KeyStatus(t.Context(), acme))
	if status.Receipts != 2 || status.Generation != 0 || status.Last == nil || *status.Last != receipt {
		t.Errorf("it is %+v, last %+v", status, status.Last)
	}
	receipt.Nonce = ""
	_, err := appendUnsigned(t.Context(), s, receipt)
	wantCode(t, err, backup.CodeInternal)
}
