package scim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/scim"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// provider is an identity provider before a handler over TLS with a store on disk.
type provider struct {
	*httptest.Server
	t      testing.TB
	pushes atomic.Int64
}

func newProvider(t testing.TB, o scim.Options) *provider {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if err := store.SaveTenant(t.Context(), backup.Tenant{ID: "acme", Name: "Acme"}); err != nil {
		t.Fatal(err)
	}
	token := backup.SCIMToken{SCIMScope: backup.SCIMScope{Tenant: "acme", Directory: "entra"}, Label: "one", Hash: scim.HashToken("a-token"), Created: time.Now(), By: "anna@acme.example"}
	if err := store.AddSCIMToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t}
	p.Server = httptest.NewTLSServer(scim.NewHandler(store.SCIM(), func(backup.SCIMScope) { p.pushes.Add(1) }, o))
	t.Cleanup(p.Close)
	return p
}

// send makes one request and fails unless the status is as it must be; into is decoded from the answer when it is not nil.
func (p *provider) send(status int, method, path, body string, into any) {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.URL+scim.BasePath+path, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return
	}
	r.Header.Set("Authorization", "Bearer a-token")
	answer, err := p.Client().Do(r)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status {
		p.t.Errorf("%s %s: %d, %v: %.300s", method, path, answer.StatusCode, err, text)
		return
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			p.t.Error(err)
		}
	}
}

type groupResource struct {
	ID      string
	Members []struct{ Value string }
}

func (p *provider) newGroup(name string) string {
	p.t.Helper()
	var g groupResource
	p.send(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`"}`, &g)
	return g.ID
}

// membersPatch is a PATCH of members from..to-1.
func membersPatch(op string, from, to int) string {
	var list strings.Builder
	for i := from; i < to; i++ {
		if i > from {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, `{"value":"member-%06d"}`, i)
	}
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"` + op + `","path":"members","value":[` + list.String() + `]}]}`
}

// TestConcurrentPatchesOfOneGroup: eight clients change one group at once; each one's members are there as it left them.
func TestConcurrentPatchesOfOneGroup(t *testing.T) {
	const clients, each = 8, 40
	p := newProvider(t, scim.Options{})
	id := p.newGroup("Everybody")
	var clientsDone sync.WaitGroup
	for n := range clients {
		clientsDone.Go(func() {
			for i := range each {
				at := (n*each + i) * 10
				p.send(204, "PATCH", "/Groups/"+id, membersPatch("Add", at, at+10), nil)
				p.send(204, "PATCH", "/Groups/"+id, membersPatch("Remove", at, at+5), nil)
			}
		})
	}
	clientsDone.Wait()
	var g groupResource
	p.send(200, "GET", "/Groups/"+id, "", &g)
	got := map[string]bool{}
	for _, m := range g.Members {
		got[m.Value] = true
	}
	for i := range clients * each * 10 {
		if name := fmt.Sprintf("member-%06d", i); got[name] != (i%10 >= 5) {
			t.Fatalf("%s is a member: %t", name, got[name])
		}
	}
	if len(g.Members) != clients*each*5 || p.pushes.Load() != 1+2*clients*each {
		t.Errorf("%d members, %d pushes", len(g.Members), p.pushes.Load())
	}
}

// TestGroupOfFiftyThousand: pushed as Entra pushes it, by a thousand members a time; each PATCH twice, as after a lost answer.
func TestGroupOfFiftyThousand(t *testing.T) {
	const many, each = 50_000, 1000
	p := newProvider(t, scim.Options{})
	id := p.newGroup("Everybody")
	for at := 0; at < many && !t.Failed(); at += each {
		for range 2 {
			p.send(204, "PATCH", "/Groups/"+id, membersPatch("Add", at, at+each), nil)
		}
	}
	var g groupResource
	p.send(200, "GET", "/Groups/"+id, "", &g)
	if len(g.Members) != many {
		t.Errorf("%d members", len(g.Members))
	}
	var without groupResource
	p.send(200, "GET", "/Groups/"+id+"?excludedAttributes=members", "", &without)
	p.send(204, "PATCH", "/Groups/"+id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Remove","path":"members"}]}`, nil)
	var empty groupResource
	p.send(200, "GET", "/Groups/"+id, "", &empty)
	if len(without.Members)+len(empty.Members) != 0 {
		t.Errorf("%d and %d members", len(without.Members), len(empty.Members))
	}
}
