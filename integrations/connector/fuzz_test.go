package connector

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// fuzzRequest is a request by seeded('w'), made without a gateway: fuzzing wants a quiet process.
func fuzzRequest(f *testing.F) Request {
	f.Helper()
	to, err := newRecipient()
	must(f, err)
	use := backup.KeyUse{Tenant: "acme", Purpose: backup.PurposeBackup, WorkflowID: "w", RunID: "r", Attempt: 1}
	q, err := newRequest(wish{use: use}, to, seeded('w'), time.UnixMilli(1764000000000), 45*time.Second)
	must(f, err)
	return q
}

func fuzzKey(f *testing.F) *KeyFile {
	f.Helper()
	setup := goodSetup(f)
	setup.Workers = []string{seeded('w').Public()}
	k, err := NewKeyFile(setup)
	must(f, err)
	k.identity = seeded('c')
	must(f, k.Generate(1, time.UnixMilli(1764000000000)))
	return k
}

// fuzzMessages are requests of every shape with an answer of each kind.
func fuzzMessages(f *testing.F) (requests []Request, answers []Answer) {
	f.Helper()
	k, branch := fuzzKey(f), fuzzKey(f)
	branch.identity, branch.Connector = seeded('b'), "branch"
	address, held := branch.Address(), k.Generations[0]
	ask := func(w wish) Request {
		w.use.Tenant, w.use.Generation, w.use.WorkflowID, w.use.RunID = "acme", 1, "w", "r"
		q, err := newRequest(w, nil, seeded('w'), time.UnixMilli(1764000000000), 45*time.Second)
		must(f, err)
		return q
	}
	share := ask(wish{use: backup.KeyUse{Purpose: backup.PurposeShare}, check: held.Check, address: address,
		to: &Peer{Connector: "branch", Identity: branch.Identity(), Signature: address[recipientSize:]}})
	release, err := sealFor(share, held.ekey, 1)
	must(f, err)
	sealed := answerTo(share, k, Answer{Release: release})
	deposit := ask(wish{use: backup.KeyUse{Purpose: backup.PurposeDeposit}, holder: "branch", check: held.Check, deposit: &Deposit{share, sealed, k.Identity()}})
	proof, err := proveTo(deposit, branch, held)
	must(f, err)
	retire := ask(wish{use: backup.KeyUse{Purpose: backup.PurposeRetire}, holder: "hq"})
	return []Request{fuzzRequest(f), share, deposit, retire}, []Answer{sealed, answerTo(deposit, branch, Answer{Proof: proof}),
		answerTo(retire, k, Answer{Done: &Done{Generations: []int{1}}}), answerTo(retire, k, Answer{Refusal: denied("reason")})}
}

// FuzzParseHello: what is read of a connector is its own word.
func FuzzParseHello(f *testing.F) {
	k := fuzzKey(f)
	who := caller{party{"acme", "hq"}, k.Identity()}
	body, err := json.Marshal(hello{Address: k.Address(), Holds: k.Holds()})
	must(f, err)
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b, who)
		if err == nil && !verifies(k.Identity(), addressStatement("acme", "hq", h.Address[:recipientSize]), h.Address[recipientSize:]) {
			t.Fatal("an address that the connector did not sign")
		}
	})
}

// FuzzParseRequest: what is read is well formed, and reads the same when it is written again.
func FuzzParseRequest(f *testing.F) {
	requests, _ := fuzzMessages(f)
	for _, q := range requests {
		wire, err := q.wire()
		must(f, err)
		f.Add(wire)
	}
	f.Add([]byte(`{"version":1,"tenant":"acme"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseRequest(b)
		if err != nil {
			return
		}
		again, err := q.wire()
		must(t, err)
		back, err := ParseRequest(again)
		if must(t, err); string(back.statement()) != string(q.statement()) {
			t.Fatal("written again it means something else")
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	q := fuzzRequest(f)
	_, answers := fuzzMessages(f)
	for _, a := range answers {
		wire, err := a.wire()
		must(f, err)
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnswer(b)
		if err != nil {
			return
		}
		again, err := a.wire()
		must(t, err)
		back, err := ParseAnswer(again)
		if must(t, err); string(back.statement(q)) != string(a.statement(q)) {
			t.Fatal("written again it means something else")
		}
	})
}

func FuzzParseKeyFile(f *testing.F) {
	k := fuzzKey(f)
	must(f, k.Generate(2, time.UnixMilli(1764000000000)))
	k.end(Ended{Number: 1, At: time.UnixMilli(1764000000000).UTC()})
	whole, err := k.encode()
	must(f, err)
	f.Add(whole)
	f.Add([]byte(strings.Replace(string(whole), `"version": 1`, `"version": 9`, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKeyFile(b)
		if err == nil && k.check() != nil {
			t.Fatal("a bad key file was read")
		}
		if err != nil && k != nil {
			t.Fatal("a key file and an error")
		}
	})
}

func FuzzParseIdentityFile(f *testing.F) {
	path := f.TempDir() + "/worker.pem"
	_, err := LoadOrCreateIdentity(path)
	must(f, err)
	f.Add(readFile(f, path))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, err := parseIdentityFile(b, "worker.pem"); err == nil {
			if _, err := ParseIdentity(id.Public()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzParseCall feeds the headers and body that anybody may send to the gateway.
func FuzzParseCall(f *testing.F) {
	g := NewGateway(newMemory(), &presenceLog{}, GatewayOptions{})
	f.Add(helloPath, "acme", "hq", "1764000000000", newNonce(), strings.Repeat("A", 86), []byte("{}"))
	f.Fuzz(func(t *testing.T, path, tenant, connector, at, nonce, signature string, body []byte) {
		q := httptest.NewRequest(http.MethodPost, helloPath, strings.NewReader(string(body)))
		q.URL.Path = path
		for name, value := range map[string]string{headerTenant: tenant, headerConnector: connector, headerTime: at, headerNonce: nonce, headerSignature: signature} {
			q.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		g.ServeHTTP(w, q)
		var failure Failure
		if w.Code < 400 || json.Unmarshal(w.Body.Bytes(), &failure) != nil || failure.Code == "" {
			t.Fatalf("a stranger got %d %s", w.Code, w.Body)
		}
	})
}

// FuzzReadReply feeds an agent what a gateway may send, and the requests within to its judgement.
func FuzzReadReply(f *testing.F) {
	k := fuzzKey(f)
	k.Workers = []string{seeded('x').Public()} // seeded('w') is a stranger to it
	path := f.TempDir() + "/connector.json"
	must(f, k.Create(path, nil))
	keys, err := OpenKeyStore(path, KeyStoreOptions{})
	must(f, err)
	f.Cleanup(func() { keys.Close() })
	a, err := NewAgent(AgentOptions{Keys: keys, Folder: f.TempDir(), Clock: func() time.Time { return time.UnixMilli(1764000001000) }})
	must(f, err)
	f.Cleanup(func() { a.Close() })
	wire, err := fuzzRequest(f).wire()
	must(f, err)
	reply, _ := json.Marshal(pollReply{Requests: []json.RawMessage{wire}})
	f.Add(200, reply)
	f.Add(401, []byte(`{"code":"stale","message":"m","hint":"h"}`))
	f.Fuzz(func(t *testing.T, status int, b []byte) {
		var reply pollReply
		if readReply(status, b, &reply) != nil {
			return
		}
		for _, wire := range reply.Requests {
			if q, err := ParseRequest(wire); err == nil {
				if word := a.decide(t.Context(), q); word.Refusal == nil {
					t.Fatal("did what a stranger asked")
				}
			}
		}
	})
}

func FuzzParseNonces(f *testing.F) {
	f.Add([]byte(newNonce() + " 1764000000000\n" + newNonce()[:9]))
	f.Fuzz(func(t *testing.T, b []byte) {
		for nonce := range parseNonces(b) {
			if !nonceText.MatchString(nonce) {
				t.Fatalf("%q", nonce)
			}
		}
	})
}

// FuzzStatement: two different rows of fields never have the same bytes.
func FuzzStatement(f *testing.F) {
	f.Add("a", "bc", "ab", "c", int64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d string, n int64) {
		one, two := newStatement(callDomain).text(a).text(b).number(n), newStatement(callDomain).text(c).text(d).number(n)
		if (a == c && b == d) != (string(one) == string(two)) {
			t.Fatalf("%q %q and %q %q", a, b, c, d)
		}
	})
}
