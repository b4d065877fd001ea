package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func (p *presenceLog) EnrolmentPresented(_ context.Context, e backup.Enrolment) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if p.refuse > 0 {
		p.refuse--
		return errors.New("the orchestrator does not answer")
	}
	p.enrolments = append(p.enrolments, e)
	return nil
}

func (p *presenceLog) presented() []backup.Enrolment {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]backup.Enrolment(nil), p.enrolments...)
}

// enrolRig is a rig on the real store, where enrolments are opened as an activity does.
type enrolRig struct {
	*rig
	store *sqlstore.Store
}

func newEnrolRig(t *testing.T, change ...func(*GatewayOptions)) enrolRig {
	t.Helper()
	store := newStore(t)
	return enrolRig{newRig(t, store, change...), store}
}

// token makes one as the command line does, and opens its enrolment as the workflow does.
func (r enrolRig) token(name string, valid time.Duration) backup.EnrolmentToken {
	r.t.Helper()
	token, err := backup.NewEnrolmentToken(backup.EnrolmentToken{Tenant: "acme", Connector: name, Gateway: r.url(), GatewayCA: r.ca.PEM(),
		Workers: []string{r.worker.Public()}, Expires: time.Now().Add(valid)})
	must(r.t, err)
	must(r.t, r.store.OpenEnrolment(context.Background(), backup.Enrolment{Tenant: "acme", Connector: name, SecretHash: token.Hash(), Expires: token.Expires}))
	return token
}

// keyFor makes a new connector's key file and opens it.
func (r enrolRig) keyFor(token backup.EnrolmentToken) *KeyStore {
	r.t.Helper()
	k, err := NewKeyFile(SetupOf(token))
	must(r.t, err)
	path := filepath.Join(r.t.TempDir(), keyFileName)
	must(r.t, k.Create(path, nil))
	keys, err := OpenKeyStore(path, KeyStoreOptions{})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, keys.Close()) })
	return keys
}

func (r enrolRig) enroll(keys *KeyStore, token backup.EnrolmentToken) error {
	return keys.Enroll(r.t.Context(), token, time.Now, r.log)
}

func TestAnEnrolledConnectorWaitsUntilItIsPinnedAndThenServes(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", time.Hour)
	parsed, err := backup.ParseEnrolmentToken(token.Text()) // as it was carried over
	must(t, err)
	keys := r.keyFor(parsed)
	must(t, r.enroll(keys, parsed))

	r.eventually("the enrolment is reported", func() bool { return len(r.presence.presented()) == 1 })
	shown := r.presence.presented()[0]
	if shown.Tenant != "acme" || shown.Connector != "hq" || shown.Identity != keys.Identity() || shown.Presented.IsZero() ||
		!CheckAddress("acme", "hq", keys.Identity(), shown.Recipient) {
		t.Fatalf("reported %+v", shown)
	}

	a, err := NewAgent(AgentOptions{Keys: keys, Folder: t.TempDir(), Log: r.log})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); must(t, a.Close()) })
	r.eventually("it says what it waits for", func() bool {
		return a.Status().Problem == "waiting for an administrator to approve identity "+keys.Identity()
	})
	must(t, r.store.PinEnrolled(t.Context(), "acme", "hq"))
	r.eventually("it connects once it is pinned", func() bool { return a.Status().Connected })

	for _, secret := range [][]byte{token.Secret()} {
		for _, entry := range r.logs.All() {
			if line, _ := json.Marshal(entry); holds(line, secret) {
				t.Fatalf("the secret is in the log: %s", line)
			}
		}
	}
}

// Of two that show one token at the same instant, one is admitted; the store knows that one's identity.
func TestOneTokenAdmitsOneConnector(t *testing.T) {
	r := newEnrolRig(t)
	for round := range 5 {
		token := r.token("hq", time.Hour)
		const rivals = 4
		var group sync.WaitGroup
		results := make([]error, rivals)
		keys := make([]*KeyStore, rivals)
		for i := range rivals {
			keys[i] = r.keyFor(token)
		}
		for i := range rivals {
			group.Go(func() { results[i] = keys[i].Enroll(t.Context(), token, time.Now, r.log) })
		}
		group.Wait()
		won := ""
		for i, err := range results {
			if err == nil && won != "" {
				t.Fatalf("round %d: two were admitted", round)
			}
			if err == nil {
				won = keys[i].Identity()
			} else {
				wantCode(t, err, backup.CodeDenied)
			}
		}
		kept, err := r.store.Enrolment(t.Context(), "acme", "hq")
		if must(t, err); won == "" || kept.Identity != won {
			t.Fatalf("round %d: %q was admitted, the store has %q", round, won, kept.Identity)
		}
		r.gateway.enrolments.forget()
	}
}

func TestATokenThatIsNotGoodIsRefused(t *testing.T) {
	r := newEnrolRig(t)
	used := r.token("used", time.Hour)
	must(t, r.enroll(r.keyFor(used), used))
	unknown := r.token("unknown", time.Hour)
	must(t, r.store.CloseEnrolment(t.Context(), "acme", "unknown"))
	replaced := r.token("replaced", time.Hour)
	r.token("replaced", time.Hour)
	expiring := r.token("expiring", time.Second)
	var said []string
	for _, token := range []backup.EnrolmentToken{used, unknown, replaced} {
		e := wantCode(t, r.enroll(r.keyFor(token), token), backup.CodeDenied)
		said = append(said, e.Error())
	}
	if said[0] != said[1] || said[1] != said[2] {
		t.Fatalf("the answers tell which it was: %q", said)
	}
	time.Sleep(time.Until(expiring.Expires))
	keys := r.keyFor(expiring)
	if e := wantCode(t, r.enroll(keys, expiring), backup.CodeDenied); !strings.Contains(e.Error(), "expired") {
		t.Fatal(e)
	}
	// and the gateway refuses it, too, whatever the connector's clock says
	early := func() time.Time { return expiring.Expires.Add(-time.Second) }
	wantCode(t, keys.Enroll(t.Context(), expiring, early, r.log), backup.CodeDenied)

	other := r.token("other", time.Hour)
	wantCode(t, r.enroll(keys, other), backup.CodeBadConfig) // another connector's key file
}

// A connector that is killed when the gateway has used its token, and before it hears so, is still the one that was admitted.
func TestAKillBetweenPresentingAndRunningLosesNothing(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", time.Hour)
	keys := r.keyFor(token)
	q := newEnrolCall(token, keys.self(), time.Now())
	body, err := q.wire()
	must(t, err)
	if status, _ := r.postEnrolment(body); status != http.StatusOK {
		t.Fatal(status)
	}
	// Started again with the same file: the token is refused, and the agent runs.
	wantCode(t, r.enroll(keys, token), backup.CodeDenied)
	must(t, r.store.PinEnrolled(t.Context(), "acme", "hq"))
	a, err := NewAgent(AgentOptions{Keys: keys, Folder: t.TempDir(), Log: r.log})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); must(t, a.Close()) })
	r.eventually("it connects", func() bool { return a.Status().Connected })
}

// The gateway's answer is cut off after the token was used up: the next try is refused, and that is no failure.
func TestALostAnswerIsNoRefusal(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", time.Hour)
	var cuts int
	gateway := r.gateway
	cutter := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if cuts++; cuts == 1 {
			gateway.ServeHTTP(httptest.NewRecorder(), q)
			panic(http.ErrAbortHandler)
		}
		gateway.ServeHTTP(w, q)
	}))
	cert, err := r.ca.Issue("127.0.0.1")
	must(t, err)
	cutter.TLS = tlsWith(cert)
	cutter.StartTLS()
	t.Cleanup(cutter.Close)
	token.Gateway = cutter.URL
	keys := r.keyFor(token)
	must(t, r.enroll(keys, token))
	kept, err := r.store.Enrolment(t.Context(), "acme", "hq")
	if must(t, err); kept.Identity != keys.Identity() || cuts != 2 {
		t.Fatalf("%+v after %d calls", kept, cuts)
	}
}

// The gateway used the token up, and is gone before it can say so, until the token has expired. The key file must stay: its identity may
// be pinned by now.
func TestATokenThatMayHaveBeenUsedIsNotTakenForExpired(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", 2*time.Second)
	gateway := r.gateway
	cutter := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		gateway.ServeHTTP(httptest.NewRecorder(), q)
		panic(http.ErrAbortHandler)
	}))
	cert, err := r.ca.Issue("127.0.0.1")
	must(t, err)
	cutter.TLS = tlsWith(cert)
	cutter.StartTLS()
	t.Cleanup(cutter.Close)
	token.Gateway = cutter.URL
	keys := r.keyFor(token)
	must(t, r.enroll(keys, token))
	kept, err := r.store.Enrolment(t.Context(), "acme", "hq")
	if must(t, err); kept.Identity != keys.Identity() {
		t.Fatalf("%+v", kept)
	}
}

func TestAGatewayThatIsAwayIsTriedAgain(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", time.Hour)
	r.stop()
	keys := r.keyFor(token)
	done := make(chan error, 1)
	go func() { done <- r.enroll(keys, token) }()
	r.eventually("it tries", func() bool { return r.logs.FilterMessage("the enrolment is tried again").Len() > 1 })
	r.startGateway()
	must(t, <-done)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := keys.Enroll(ctx, r.token("hq", time.Hour), time.Now, r.log); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// What the orchestrator does not take at once is told until it does, once.
func TestAnEnrolmentIsReportedUntilItIsHeard(t *testing.T) {
	r := newEnrolRig(t)
	r.presence.refuse = 4
	token := r.token("hq", time.Hour)
	must(t, r.enroll(r.keyFor(token), token))
	r.eventually("it is reported", func() bool { return len(r.presence.presented()) == 1 })
	time.Sleep(50 * time.Millisecond)
	if n := len(r.presence.presented()); n != 1 {
		t.Fatalf("reported %d times", n)
	}
}

func (r enrolRig) postEnrolment(body []byte) (status int, code FailureCode) {
	r.t.Helper()
	c := r.caller(&KeyFile{Setup: r.setup("hq")})
	reply, err := c.http.Post(r.url()+enrolPath, "application/json", bytes.NewReader(body))
	must(r.t, err)
	defer reply.Body.Close()
	content, err := io.ReadAll(reply.Body)
	must(r.t, err)
	var f Failure
	_ = json.Unmarshal(content, &f)
	return reply.StatusCode, f.Code
}

// Whoever saw a call, or has the secret of one, cannot put himself in its place; nothing but the right call uses the token.
func TestAnAlteredEnrolmentIsRefused(t *testing.T) {
	r := newEnrolRig(t)
	token := r.token("hq", time.Hour)
	honest, err := NewKeyFile(SetupOf(token))
	must(t, err)
	enemy, err := NewKeyFile(SetupOf(token))
	must(t, err)
	for what, change := range map[string]func(*enrolCall){
		"another identity":     func(c *enrolCall) { c.Identity = enemy.Identity() },
		"another address":      func(c *enrolCall) { c.Address = enemy.Address() },
		"their own signature":  func(c *enrolCall) { c.Signature = enemy.identity.sign(c.statement()) },
		"address, signed anew": func(c *enrolCall) { c.Address = enemy.Address(); c.Signature = honest.identity.sign(c.statement()) },
		"another tenant":       func(c *enrolCall) { c.Tenant = "globex" },
		"another time":         func(c *enrolCall) { c.At++ },
		"another secret":       func(c *enrolCall) { c.Secret = bytes.Repeat([]byte{1}, 32) },
		"short secret":         func(c *enrolCall) { c.Secret = c.Secret[:31] },
		"version":              func(c *enrolCall) { c.Version = 2 },
	} {
		q := newEnrolCall(token, honest, time.Now())
		change(&q)
		body, err := q.wire()
		must(t, err)
		if status, code := r.postEnrolment(body); status != http.StatusBadRequest || code != FailMalformed {
			t.Errorf("%s: %d %s", what, status, code)
		}
	}
	r.gateway.enrolments.forget()
	late := newEnrolCall(token, honest, time.Now().Add(-2*time.Minute))
	body, err := late.wire()
	must(t, err)
	if status, code := r.postEnrolment(body); status != http.StatusUnauthorized || code != FailStale {
		t.Errorf("late: %d %s", status, code)
	}
	if kept, err := r.store.Enrolment(t.Context(), "acme", "hq"); err != nil || !kept.Presented.IsZero() {
		t.Fatalf("the token was used: %+v %v", kept, err)
	}
	// One who signs with the right secret under another tenant uses the token up, and is not told that it was good.
	wrong := token
	wrong.Tenant = "globex"
	stranger, err := NewKeyFile(SetupOf(wrong))
	must(t, err)
	body, err = newEnrolCall(wrong, stranger, time.Now()).wire()
	must(t, err)
	if status, code := r.postEnrolment(body); status != http.StatusForbidden || code != FailEnrolment {
		t.Errorf("other tenant: %d %s", status, code)
	}
}

func TestEnrolmentsAreRateLimited(t *testing.T) {
	r := newEnrolRig(t)
	limited := 0
	for range enrolBurst + 5 {
		if status, code := r.postEnrolment([]byte("{}")); status == http.StatusTooManyRequests && code == FailEnrolOften {
			limited++
		}
	}
	if limited < 4 {
		t.Fatalf("%d of %d calls were limited", limited, enrolBurst+5)
	}
	e := newEnrolments(r.box, r.presence, time.Now, r.log)
	refused := 0
	for i := range 3 * maxRemotes {
		if !e.allow(remoteNumber(i)) {
			refused++
		}
	}
	if len(e.remotes) > maxRemotes || refused < maxRemotes {
		t.Fatalf("%d addresses are remembered, %d of %d calls refused", len(e.remotes), refused, 3*maxRemotes)
	}
	for _, odd := range []string{"", "nonsense", "[2001:db8::1]:5", "[::ffff:10.0.0.1]:5"} {
		e.allow(odd)
	}
}

// FuzzParseEnrolCall: what anybody may post is read whole or refused.
func FuzzParseEnrolCall(f *testing.F) {
	k, err := NewKeyFile(goodSetup(f))
	must(f, err)
	token, err := backup.NewEnrolmentToken(backup.EnrolmentToken{Tenant: k.Tenant, Connector: k.Connector, Gateway: k.Gateway, GatewayCA: k.GatewayCA, Workers: k.Workers, Expires: time.Now().Add(time.Hour)})
	must(f, err)
	whole, err := newEnrolCall(token, k, time.Now()).wire()
	must(f, err)
	f.Add(whole)
	f.Add([]byte(`{"version":1,"secret":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := parseEnrolCall(b)
		if err != nil {
			return
		}
		again, err := q.wire()
		must(t, err)
		back, err := parseEnrolCall(again)
		if must(t, err); !bytes.Equal(back.statement(), q.statement()) {
			t.Fatal("written again it means something else")
		}
		q.signed()
	})
}

// forget lifts the limits of those who called so far.
func (e *enrolments) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.remotes)
}

func remoteNumber(i int) string { return fmt.Sprintf("10.%d.%d.%d:999", i>>16&255, i>>8&255, i&255) }

func tlsWith(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}
