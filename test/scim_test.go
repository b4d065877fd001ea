package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/integrations/scim/conformance"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/postgres"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
	"github.com/holdfast-backup/holdfast/workflows"
)

// provider is an identity provider that pushes.
type provider struct {
	t           testing.TB
	client      *http.Client
	base, token string
}

// pushedTenant is the demo's tenant under an id, whose people are pushed into okta and entra, and nobody is in its LDAP directory.
func (c *company) pushedTenant(id string) backup.Tenant {
	c.t.Helper()
	c.tenant() // makes the connector's key and the file
	text, err := os.ReadFile(c.Path("acme.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "directories:\n")
	_, after, found := strings.Cut(rest, "\nmicrosoft365:")
	if !found {
		c.t.Fatal("the demo's tenant has another form")
	}
	pushed := before + "directories:\n- {name: okta, kind: scim}\n- {name: entra, kind: scim}\n\nmicrosoft365:" + after
	file := c.Path(id + "-pushed.yaml")
	if err := os.WriteFile(file, []byte(strings.Replace(pushed, "id: acme\n", "id: "+id+"\n", 1)), 0o600); err != nil {
		c.t.Fatal(err)
	}
	t, err := tenantfile.Read(file)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// admit has a tenant onboarded as far as that tokens can be made.
func (c *company) admit(id string) {
	c.t.Helper()
	if _, err := c.orchestrator.ApplyTenant(c.t.Context(), c.pushedTenant(id), backup.Microsoft365, "anna@acme.example"); err != nil {
		c.t.Fatal(err)
	}
	await(c.t, "the tenant "+id, patience, func(ctx context.Context) (readapi.TenantReport, bool, error) {
		r, err := c.read.Tenant(ctx, id)
		return r, err == nil, err
	})
}

// addToken makes a token by the command line, as an administrator does.
func (c *company) addToken(tenant, dir string, more ...string) *provider {
	c.t.Helper()
	var added struct{ BaseURL, Token string }
	if err := c.Query(c.t.Context(), &added, append([]string{"scim", "token", "add", tenant, "--directory", dir, "--by", "anna@acme.example"}, more...)...); err != nil {
		c.t.Fatal(err)
	}
	pem, err := os.ReadFile(c.Path("holdfast", "gateway.pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &provider{c.t, &http.Client{Transport: transport, Timeout: time.Minute}, added.BaseURL, added.Token}
}

// send makes one request, and returns the answer's status and body.
func (p *provider) send(method, path, body string) (int, []byte) {
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Error(err)
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/scim+json")
	answer, err := p.client.Do(r)
	if err != nil {
		p.t.Error(err)
		return 0, nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Error(err)
	}
	return answer.StatusCode, text
}

// must is send for what has to come out so; it returns the resource's id.
func (p *provider) must(status int, method, path, body string) string {
	p.t.Helper()
	got, text := p.send(method, path, body)
	if got != status {
		p.t.Fatalf("%s %s: %d %.300s", method, path, got, text)
	}
	var resource struct{ ID string }
	_ = json.Unmarshal(text, &resource) // a list has none, and 204 nothing
	return resource.ID
}

// user is a resource to post.
func user(mail string) string {
	return fmt.Sprintf(`{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":%q,"emails":[{"type":"work","value":%q,"primary":true}],"active":true}`, mail, mail)
}

const activeFalse = `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"active","value":"False"}]}`

// The script of what Okta and Entra need, through the real gateway over TLS, with tokens that the command line made: on both databases.
func TestIdentityProvidersPush(t *testing.T) {
	for _, database := range []string{"SQLite", "PostgreSQL"} {
		t.Run(database, func(t *testing.T) {
			c := open(t, stage.Options{People: 3, Messages: 2, Files: 2, Store: newStoreAddress(t, database)})
			dev, err := c.StartDev(t.Context())
			started(t, dev, err)
			c.connectDev()
			c.admit("acme")
			c.admit("globex")
			okta := c.addToken("acme", "okta")
			conformance.Check(t.Context(), conformance.Peer{Client: okta.client, BaseURL: okta.base, Token: okta.token, Run: "r1"}, func(step string, err error) {
				if err != nil {
					t.Errorf("%s: %v", step, err)
				}
			})
			c.strangersSeeNothing(okta, c.addToken("acme", "entra"), c.addToken("globex", "okta"))
			c.tokensRotate(okta)
		})
	}
}

// newStoreAddress is of an empty store; empty for the stage's own.
func newStoreAddress(t *testing.T, database string) string {
	if database == "SQLite" {
		return ""
	}
	ca, err := sandbox.NewCA("database")
	if err != nil {
		t.Fatal(err)
	}
	server, err := postgres.Start(t.Context(), postgres.Options{CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	if err := server.CreateDatabase(t.Context(), "holdfast", ""); err != nil {
		t.Fatal(err)
	}
	return server.URL("holdfast")
}

// strangersSeeNothing: a token is of one directory of one tenant, and finds, reads, changes and deletes nothing of another.
func (c *company) strangersSeeNothing(owner *provider, strangers ...*provider) {
	c.t.Helper()
	id := owner.must(201, "POST", "/Users", user("mine@acme.example"))
	group := owner.must(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Mine","members":[{"value":"`+id+`"}]}`)
	for _, s := range strangers {
		for _, path := range []string{"/Users/" + id, "/Groups/" + group} {
			s.must(404, "GET", path, "")
			s.must(404, "DELETE", path, "")
			s.must(404, "PATCH", path, activeFalse)
		}
		s.must(404, "PUT", "/Users/"+id, user("theirs@acme.example"))
		for _, list := range []string{"/Users", "/Groups", "/Users?filter=" + url.QueryEscape(`userName eq "mine@acme.example"`)} {
			if _, text := s.send("GET", list, ""); !bytes.Contains(text, []byte(`"totalResults":0`)) {
				c.t.Errorf("a stranger's %s: %s", list, text)
			}
		}
	}
	nobody := *owner
	nobody.token = owner.token[:len(owner.token)-1] + "_"
	nobody.must(401, "GET", "/Users/"+id, "")
	owner.must(200, "GET", "/Users/"+id, "")
}

// tokensRotate: of two tokens both are good until one is revoked; there is no third.
func (c *company) tokensRotate(first *provider) {
	c.t.Helper()
	next := c.addToken("acme", "okta")
	first.must(200, "GET", "/Users?count=0", "")
	next.must(200, "GET", "/Users?count=0", "")
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"scim token add acme --directory okta --by anna@acme.example":                           {6, "as many as it may have"},
		"scim token add acme --directory entra --by bela@acme.example":                          {6, "bela@acme.example"},
		"scim token revoke acme okta --directory okta --by anna@acme.example":                   {2, "--yes-revoke okta"},
		"scim token revoke acme okta --yes-revoke okta --directory okta --by bela@acme.example": {6, "bela@acme.example"},
	} {
		r, err := c.Holdfast(c.t.Context(), strings.Fields(args)...)
		if err != nil || r.Code != want.code || !strings.Contains(r.Stderr, want.says) || strings.Contains(r.Stdout, "hfscim_") {
			c.t.Errorf("%s: %+v %v", args, r, err)
		}
	}
	var listed struct{ Tokens []readapi.SCIMToken }
	if err := c.Query(c.t.Context(), &listed, "scim", "token", "list", "acme"); err != nil || len(listed.Tokens) != 3 || listed.Tokens[1].Label != "okta" || listed.Tokens[1].LastUsed.IsZero() {
		c.t.Errorf("%+v, %v", listed, err)
	}
	if r, err := c.Holdfast(c.t.Context(), strings.Fields("scim token revoke acme okta --yes-revoke okta --directory okta --by anna@acme.example")...); err != nil || r.Code != 0 {
		c.t.Fatalf("%+v %v", r, err)
	}
	first.must(401, "GET", "/Users?count=0", "")
	next.must(200, "GET", "/Users?count=0", "")
}

// Who is pushed is protected; who is switched off or deleted is preserved, and what was kept of him can be restored. Ten thousand pushes
// are a handful of signals.
func TestPushedPeopleAreProtected(t *testing.T) {
	t.Parallel()
	c := open(t, stage.Options{People: 10, Messages: 5, Files: 4})
	dev, err := c.StartDev(t.Context())
	started(t, dev, err)
	c.connectDev()
	c.admit(stage.Tenant)
	okta := c.addToken(stage.Tenant, "okta")
	ids := map[string]string{}
	for _, name := range []string{"anna", "dara", "goran"} {
		ids[name] = okta.must(201, "POST", "/Users", user(name+"@acme.example"))
	}
	for name := range ids {
		c.becomes(name+"@acme.example", backup.Active)
	}
	p, err := c.StartConnector()
	started(t, p, err)
	c.onboarded(patience)
	if r := c.runEnded(1, patience); r.Run.Outcome != backup.RunComplete || r.Run.Parts != 6 {
		t.Fatalf("%+v", r.Run)
	}
	okta.must(200, "PATCH", "/Users/"+ids["dara"], activeFalse)
	okta.must(204, "DELETE", "/Users/"+ids["goran"], "")
	okta.must(404, "GET", "/Users/"+ids["goran"], "")
	c.becomes("dara@acme.example", backup.Preserved)
	c.becomes("goran@acme.example", backup.Preserved)
	c.becomes("anna@acme.example", backup.Active)
	c.everythingEqual()
	okta.must(200, "PATCH", "/Users/"+ids["dara"], strings.Replace(activeFalse, "False", "True", 1))
	c.becomes("dara@acme.example", backup.Active)

	const many, clients = 10_000, 8
	entra := c.addToken(stage.Tenant, "entra")
	began := time.Now()
	var pushing sync.WaitGroup
	for n := range clients {
		pushing.Go(func() {
			for i := n; i < many && !t.Failed(); i += clients {
				if status, text := entra.send("POST", "/Users", user(fmt.Sprintf("p%d@acme.example", i))); status != 201 {
					t.Errorf("%d %s", status, text)
				}
			}
		})
	}
	pushing.Wait()
	took := time.Since(began)
	c.becomes(fmt.Sprintf("p%d@acme.example", many-1), backup.Active)
	// One when nothing more came, one each half minute meanwhile, and those of the beginning and the end.
	signals := c.signals(workflows.ImportID(stage.Tenant, "entra"), workflows.PushedSignal)
	if most := int(took/(30*time.Second)) + 4; signals == 0 || signals > most {
		t.Errorf("%d pushes in %v were %d signals, want %d at most", many, took, signals, most)
	}
	t.Logf("%d pushes in %v, %d signals", many, took.Round(time.Millisecond), signals)
}

// becomes waits until an account is in a state.
func (c *company) becomes(mail string, state backup.AccountState) {
	c.t.Helper()
	await(c.t, mail+" becomes "+string(state), patience, func(ctx context.Context) (backup.AccountState, bool, error) {
		r, err := c.read.User(ctx, stage.Tenant, mail)
		return r.Account.State, err == nil && r.Account.State == state, err
	})
}

// signals counts a signal in the histories of all runs of a workflow.
func (c *company) signals(workflowID, name string) (n int) {
	c.t.Helper()
	temporal := c.orchestrator.Temporal()
	list, err := temporal.ListWorkflow(c.t.Context(), &workflowservice.ListWorkflowExecutionsRequest{Namespace: c.orchestrator.Namespace(), Query: fmt.Sprintf("WorkflowId = %q", workflowID)})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, w := range list.GetExecutions() {
		events := temporal.GetWorkflowHistory(c.t.Context(), workflowID, w.GetExecution().GetRunId(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for events.HasNext() {
			e, err := events.Next()
			if err != nil {
				c.t.Fatal(err)
			}
			if e.GetWorkflowExecutionSignaledEventAttributes().GetSignalName() == name {
				n++
			}
		}
	}
	return n
}
