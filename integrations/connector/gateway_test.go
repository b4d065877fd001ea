package connector

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// call makes a signed call whose request a test may alter afterwards, and returns the gateway's word.
func (r *rig) call(k *KeyFile, path, body string, at time.Time, alter ...func(*http.Request)) (int, Failure) {
	r.t.Helper()
	q, err := http.NewRequest(http.MethodPost, r.url()+path, strings.NewReader(body))
	must(r.t, err)
	signCall(q, []byte(body), k, at)
	for _, a := range alter {
		a(q)
	}
	return r.do(q)
}

func (r *rig) do(q *http.Request) (int, Failure) {
	r.t.Helper()
	c := newClient(&KeyFile{Setup: Setup{GatewayCA: r.ca.PEM()}}, time.Now)
	defer c.close()
	reply, err := c.http.Do(q)
	must(r.t, err)
	defer reply.Body.Close()
	var f Failure
	if reply.StatusCode != http.StatusOK {
		must(r.t, json.NewDecoder(reply.Body).Decode(&f))
	}
	return reply.StatusCode, f
}

// greeting is the body of a connector's hello.
func (r *rig) greeting(k *KeyFile) string {
	r.t.Helper()
	b, err := json.Marshal(hello{Address: k.Address(), Holds: k.Holds()})
	must(r.t, err)
	return string(b)
}

func TestTheGatewayRefusesStrangers(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box, func(o *GatewayOptions) { o.PollFor = 50 * time.Millisecond })
		k, branch := r.key("hq"), r.key("branch")
		resigned := func(k *KeyFile, body string) func(*http.Request) {
			return func(q *http.Request) {
				q.Body, q.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
				signCall(q, []byte(body), k, time.Now())
			}
		}
		stranger := *k
		stranger.identity, _ = NewIdentity()
		unknown := *k
		unknown.Connector = "nobody"
		elsewhere := *k
		elsewhere.Tenant = "other"
		now := time.Now()
		header := func(name, value string) func(*http.Request) {
			return func(q *http.Request) { q.Header.Set(name, value) }
		}
		body := func(b string) func(*http.Request) {
			return func(q *http.Request) {
				q.Body, q.ContentLength = io.NopCloser(strings.NewReader(b)), int64(len(b))
			}
		}
		for _, c := range []struct {
			what   string
			key    *KeyFile
			path   string
			at     time.Time
			alter  func(*http.Request)
			status int
			code   FailureCode
		}{
			{what: "good", key: k, status: 200},
			{what: "good poll", key: k, path: pollPath, status: 200},
			{what: "another's address", key: k, alter: resigned(k, r.greeting(branch)), status: 400, code: FailMalformed},
			{what: "an altered address", key: k, alter: resigned(k, strings.Replace(r.greeting(k), `"address":"`, `"address":"AAAA`, 1)), status: 400, code: FailMalformed},
			{what: "holds no generation", key: k, alter: resigned(k, strings.Replace(r.greeting(k), `"generation":1`, `"generation":0`, 1)), status: 400, code: FailMalformed},
			{what: "says nothing of itself", key: k, alter: resigned(k, "{}"), status: 400, code: FailMalformed},
			{what: "unknown connector", key: &unknown, status: 401, code: FailNotPinned},
			{what: "wrong identity", key: &stranger, status: 401, code: FailNotPinned},
			{what: "another tenant", key: &elsewhere, status: 401, code: FailNotPinned},
			{what: "old", key: k, at: now.Add(-61 * time.Second), status: 401, code: FailStale},
			{what: "from the future", key: k, at: now.Add(65 * time.Second), status: 401, code: FailStale},
			{what: "other path", key: k, alter: func(q *http.Request) { q.URL.Path = byePath }, status: 401, code: FailNotPinned},
			{what: "other body", key: k, alter: body(`{"a":1}`), status: 401, code: FailNotPinned},
			{what: "other time", key: k, alter: header(headerTime, "1764000000000"), status: 401, code: FailNotPinned},
			{what: "other nonce", key: k, alter: header(headerNonce, newNonce()), status: 401, code: FailNotPinned},
			{what: "other connector", key: k, alter: header(headerConnector, "hq2"), status: 401, code: FailNotPinned},
			{what: "other tenant", key: k, alter: header(headerTenant, "other"), status: 401, code: FailNotPinned},
			{what: "no signature", key: k, alter: header(headerSignature, ""), status: 400, code: FailMalformed},
			{what: "short nonce", key: k, alter: header(headerNonce, "1"), status: 400, code: FailMalformed},
			{what: "no time", key: k, alter: header(headerTime, "now"), status: 400, code: FailMalformed},
			{what: "query", key: k, alter: func(q *http.Request) { q.URL.RawQuery = "a=1" }, status: 400, code: FailMalformed},
			{what: "GET", key: k, alter: func(q *http.Request) { q.Method = http.MethodGet; q.Body = nil; q.ContentLength = 0 }, status: 404, code: FailNoPath},
			{what: "no such path", key: k, path: PathPrefix + "key", status: 404, code: FailNoPath},
			{what: "large body", key: k, alter: body(strings.Repeat("x", maxMessage+1)), status: 413, code: FailTooLarge},
		} {
			if c.path == "" {
				c.path = helloPath
			}
			if c.at.IsZero() {
				c.at = now
			}
			if c.alter == nil {
				c.alter = func(*http.Request) {}
			}
			status, f := r.call(c.key, c.path, r.greeting(k), c.at, c.alter)
			if status != c.status || f.Code != c.code {
				t.Errorf("%s: %d %s, want %d %s", c.what, status, f.Code, c.status, c.code)
			}
		}
		if n := r.logs.FilterMessage("a connector's call was refused").Len(); n != 22 {
			t.Errorf("22 refusals left %d log lines", n)
		}
	})
}

func TestARecordedCallIsGoodOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		k := r.key("hq")
		var recorded http.Header
		status, _ := r.call(k, helloPath, r.greeting(k), time.Now(), func(q *http.Request) { recorded = q.Header.Clone() })
		if status != 200 {
			t.Fatalf("the first call got %d", status)
		}
		again := func(q *http.Request) { q.Header = recorded }
		if status, f := r.call(k, helloPath, r.greeting(k), time.Now(), again); status != 409 || f.Code != FailReplayed {
			t.Fatalf("the second call got %d %s", status, f.Code)
		}
		r.stop()
		r.startGateway()
		if status, f := r.call(k, helloPath, r.greeting(k), time.Now(), again); status != 409 || f.Code != FailReplayed {
			t.Fatalf("another gateway answered %d %s", status, f.Code)
		}
	})
}

func TestAnAnswerIsTakenFromItsConnectorOnly(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box)
		hq, branch := r.key("hq"), r.key("branch")
		other := newOtherTenant(t, r)
		q, _ := r.request()
		body, _ := q.wire()
		must(t, box.PutKeyRequest(t.Context(), backup.KeyRequest{ID: q.Nonce, Tenant: "acme", Body: body, Created: time.Now(), Expires: q.expires()}))
		taken, err := r.caller(hq).poll(t.Context())
		if must(t, err); len(taken) != 1 {
			t.Fatalf("took %d requests", len(taken))
		}
		put := func(k *KeyFile, a Answer) (int, FailureCode) {
			b, _ := a.wire()
			status, f := r.call(k, answerPath, string(b), time.Now())
			return status, f.Code
		}
		answer := answerTo(q, hq, Answer{Refusal: denied("test")})
		foreign := answerTo(q, other, Answer{Refusal: denied("test")})
		for _, c := range []struct {
			what   string
			key    *KeyFile
			answer Answer
			status int
			code   FailureCode
		}{
			{"in another connector's name", branch, answer, 403, FailOtherTenant},
			{"for another tenant", other, answer, 403, FailOtherTenant},
			{"of another tenant's connector", other, foreign, 410, FailGone},
			{"of a connector that was not handed it", branch, answerTo(q, branch, Answer{Refusal: denied("test")}), 410, FailGone},
			{"malformed", hq, Answer{}, 400, FailMalformed},
			{"its own", hq, answer, 200, ""},
			{"twice", hq, answer, 410, FailGone},
		} {
			if status, code := put(c.key, c.answer); status != c.status || code != c.code {
				t.Errorf("%s: %d %s, want %d %s", c.what, status, code, c.status, c.code)
			}
		}
		// What waits for acme is never handed to another tenant's connector.
		q2, _ := r.request()
		body, _ = q2.wire()
		must(t, box.PutKeyRequest(t.Context(), backup.KeyRequest{ID: q2.Nonce, Tenant: "acme", Body: body, Created: time.Now(), Expires: q2.expires()}))
		if taken, err := r.caller(other).poll(t.Context()); err != nil || len(taken) != 0 {
			t.Fatalf("another tenant's connector got %d requests, %v", len(taken), err)
		}
	})
}

func newOtherTenant(t *testing.T, r *rig) *KeyFile {
	t.Helper()
	setup := r.setup("spy")
	setup.Tenant = "other"
	k, err := NewKeyFile(setup)
	must(t, err)
	must(t, r.box.SaveTenant(t.Context(), backup.Tenant{ID: "other", Key: backup.KeyConfig{Method: backup.KeyByConnector,
		Connectors: []backup.ConnectorConfig{{Name: "spy", Identity: k.Identity()}}}}))
	must(t, k.Generate(1, time.Now()))
	return k
}

func TestPollsThatWaitAreBounded(t *testing.T) {
	r := newRig(t, newMemory(), func(o *GatewayOptions) { o.PollFor = 20 * time.Second })
	k := r.key("hq")
	ctx, cancel := context.WithCancel(t.Context())
	var polling sync.WaitGroup
	for range maxPolls {
		polling.Go(func() { _, _ = r.caller(k).poll(ctx) })
	}
	waiting := func() int {
		r.gateway.mu.Lock()
		defer r.gateway.mu.Unlock()
		return r.gateway.polls[party{"acme", "hq"}]
	}
	r.eventually("all polls wait", func() bool { return waiting() == maxPolls })
	if status, f := r.call(k, pollPath, "{}", time.Now()); status != 429 || f.Code != FailTooMany {
		t.Fatalf("one more poll got %d %s", status, f.Code)
	}
	cancel()
	polling.Wait()
	r.eventually("the gateway sees that the polls went away", func() bool { return waiting() == 0 })
}

func TestAStoppingGatewayEndsItsPolls(t *testing.T) {
	r := newRig(t, newMemory(), func(o *GatewayOptions) { o.PollFor = 20 * time.Second })
	c := r.caller(r.key("hq"))
	must(t, greet(t.Context(), c))
	result := make(chan error, 1)
	go func() {
		_, err := c.poll(t.Context())
		result <- err
	}()
	r.eventually("the poll waits", func() bool { r.gateway.mu.Lock(); defer r.gateway.mu.Unlock(); return len(r.gateway.polls) == 1 })
	began := time.Now()
	r.gateway.Drain()
	if f, ok := (<-result).(*Failure); !ok || f.Code != FailGoingAway || time.Since(began) > time.Second {
		t.Fatalf("%v after %s", f, time.Since(began))
	}
}

func TestPresenceIsReportedWithItsSession(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box, func(o *GatewayOptions) { o.PollFor = 200 * time.Millisecond; o.LostAfter = time.Second })
		r.presence.refuse = 2
		k := r.key("hq")
		reported := func(connected bool, session int64) func() bool {
			return func() bool {
				p := r.presence.last()
				return p.Tenant == "acme" && p.Connector == "hq" && p.Connected == connected && p.Session == session
			}
		}
		c := r.caller(k)
		must(t, greet(t.Context(), c))
		r.eventually("connected is reported although it was refused twice", reported(true, 1))
		if r.presence.tries < 3 {
			t.Fatalf("%d tries", r.presence.tries)
		}
		r.eventually("silence is reported as lost", reported(false, 1))
		_, err := c.poll(t.Context())
		must(t, err)
		r.eventually("its next poll is a new session", reported(true, 2))
		must(t, c.bye(t.Context()))
		r.eventually("its farewell is reported", reported(false, 2))
		stop := r.run(r.agent(k, t.TempDir()))
		r.eventually("an agent is a third session", reported(true, 3))
		time.Sleep(1500 * time.Millisecond)
		if !reported(true, 3)() {
			t.Fatalf("an agent that polls was lost: %+v", r.presence.last())
		}
		stop()
		r.eventually("an agent that stops says so", reported(false, 3))
	})
}

func TestAHelloReportsAgainWhatIsKnown(t *testing.T) {
	r := newRig(t, newMemory())
	c := r.caller(r.key("hq"))
	for n := range 2 {
		must(t, greet(t.Context(), c))
		r.eventually("reported", func() bool {
			r.presence.mu.Lock()
			defer r.presence.mu.Unlock()
			return len(r.presence.reports) == n+1
		})
	}
	if p := r.presence.last(); p.Session != 1 {
		t.Fatalf("a second hello began session %d", p.Session)
	}
}

// TestAGatewayThatWasDownDoesNotTakeEverybodyForLost: connectors get the time to come back.
func TestAGatewayThatWasDownDoesNotTakeEverybodyForLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, newMemory(), func(o *GatewayOptions) { o.LostAfter = 800 * time.Millisecond })
	k := r.key("hq")
	c := r.caller(k)
	must(t, greet(t.Context(), c))
	r.eventually("reported", func() bool { return r.presence.last().Connected })
	r.stop()
	time.Sleep(time.Second)
	r.startGateway()
	time.Sleep(400 * time.Millisecond)
	if !r.presence.last().Connected {
		t.Fatal("lost before it could come back")
	}
	r.eventually("lost when it does not", func() bool { return !r.presence.last().Connected })
}

func TestTheStoreMayBeAway(t *testing.T) {
	t.Parallel()
	box := &flaky{memory: newMemory()}
	r := newRig(t, box, func(o *GatewayOptions) { o.PollFor = 100 * time.Millisecond; o.LostAfter = time.Second })
	a, _ := r.start("hq")
	box.set(true)
	r.eventually("the connector sees trouble", func() bool { return !a.Status().Connected })
	// Longer than LostAfter, and shorter than the connector's tries take to grow so far apart that it would be lost in truth.
	time.Sleep(1050 * time.Millisecond)
	box.set(false)
	r.eventually("the connector is back", func() bool { return a.Status().Connected })
	if p := r.presence.last(); !p.Connected || p.Session != 1 {
		t.Fatalf("the store's absence was taken for the connector's: %+v", p)
	}
}

// flaky is a store that goes away.
type flaky struct {
	*memory
	away sync.Map
}

func (f *flaky) set(away bool) { f.away.Store("away", away) }

func (f *flaky) err() error {
	if away, _ := f.away.Load("away"); away == true {
		return &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Message: "the store is away", Retryable: true}
	}
	return nil
}

func (f *flaky) PinnedConnector(ctx context.Context, tenant, name string) (backup.ConnectorStatus, error) {
	if err := f.err(); err != nil {
		return backup.ConnectorStatus{}, err
	}
	return f.memory.PinnedConnector(ctx, tenant, name)
}

func (f *flaky) SweepKeyRequests(ctx context.Context, now time.Time) (int, error) {
	if err := f.err(); err != nil {
		return 0, err
	}
	return f.memory.SweepKeyRequests(ctx, now)
}
