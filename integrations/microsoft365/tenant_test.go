package microsoft365

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret = "s3cr3t~value/with+signs"
	testUser   = "11111111-2222-4333-8444-555555555555"
)

// tenant is a Microsoft 365 of a few handlers, over TLS: the token endpoint and Graph on one host, contents on another.
type tenant struct {
	*testing.T
	graph    *http.ServeMux // below /v1.0
	contents *http.ServeMux
	roles    []string
	// token, when set, answers the token endpoint instead.
	token http.HandlerFunc

	graphServer, contentServer *httptest.Server
	config                     backup.Microsoft365Config

	mu       sync.Mutex
	issued   int
	claims   []string
	requests []*http.Request
	waits    []time.Duration
}

func newTenant(t *testing.T) *tenant {
	x := &tenant{T: t, graph: http.NewServeMux(), contents: http.NewServeMux(), roles: []string{"User.Read.All", "Mail.Read", "Files.Read.All"}}
	login := http.NewServeMux()
	login.HandleFunc("GET /contoso.test/v2.0/.well-known/openid-configuration", x.discovery)
	login.HandleFunc("POST /contoso.test/oauth2/v2.0/token", x.serveToken)
	login.HandleFunc("/v1.0/", func(w http.ResponseWriter, r *http.Request) {
		x.note(r)
		http.StripPrefix("/v1.0", x.graph).ServeHTTP(w, r)
	})
	x.graphServer = httptest.NewTLSServer(login)
	x.contentServer = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x.note(r)
		x.contents.ServeHTTP(w, r)
	}))
	t.Cleanup(x.graphServer.Close)
	t.Cleanup(x.contentServer.Close)
	// Both servers of net/http/httptest show the same certificate.
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.graphServer.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	x.config = backup.Microsoft365Config{DirectoryTenant: "contoso.test", ClientID: "client", ClientSecret: "env:SECRET",
		LoginURL: x.graphServer.URL, GraphURL: x.graphServer.URL, DownloadHosts: []string{strings.TrimPrefix(x.contentServer.URL, "https://")}, CAFile: ca}
	x.graph.HandleFunc("GET /users/{user}", answer(`{"id":"`+testUser+`","userPrincipalName":"anna@contoso.test"}`))
	x.graph.HandleFunc("GET /users/{user}/mailFolders/msgfolderroot", answer(`{"id":"root"}`))
	x.graph.HandleFunc("GET /users/{user}/drive", answer(`{"id":"b!drive"}`))
	x.graph.HandleFunc("GET /drives/{drive}/root", answer(`{"id":"root"}`))
	return x
}

func (x *tenant) note(r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.requests = append(x.requests, r)
}

func (x *tenant) discovery(w http.ResponseWriter, _ *http.Request) {
	base := x.graphServer.URL + "/contoso.test"
	json.NewEncoder(w).Encode(map[string]string{"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token"})
}

func (x *tenant) serveToken(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	x.issued++
	n := x.issued
	x.claims = append(x.claims, r.PostFormValue("claims"))
	x.mu.Unlock()
	if x.token != nil {
		x.token(w, r)
		return
	}
	if r.PostFormValue("client_secret") != testSecret {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"error":"invalid_client","error_codes":[7000215]}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":%q}`, x.jwt(n))
}

func (x *tenant) jwt(n int) string {
	payload, err := json.Marshal(map[string]any{"roles": x.roles, "n": n})
	if err != nil {
		x.Fatal(err)
	}
	return "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"
}

// adapter connects to the tenant; waits are written down instead of waited for.
func (x *tenant) adapter() *Adapter {
	return x.adapterWith(func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(testSecret + "\n"), nil })
}

func (x *tenant) adapterWith(secrets func(context.Context, backup.SecretRef) ([]byte, error)) *Adapter {
	a := New(Options{Secrets: secrets, policy: msgraph.Policy{Wait: func(ctx context.Context, d time.Duration) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.waits = append(x.waits, d)
		return ctx.Err()
	}}})
	x.Cleanup(func() { a.Close() })
	return a
}

func (x *tenant) app() *App {
	x.Helper()
	app, err := x.adapter().ConnectApp(x.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.Microsoft365)
	if err != nil {
		x.Fatal(err)
	}
	return app
}

func (x *tenant) source(s backup.Service) Source {
	x.Helper()
	source, err := x.app().Source(x.Context(), backup.Account{ID: "a1", UPN: "anna@contoso.test"}, s)
	if err != nil {
		x.Fatal(err)
	}
	return source
}

// answer is a handler that always says the same.
func answer(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, body)
	}
}

// refuse is a handler that always refuses.
func refuse(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("request-id", "req-1")
		w.Header().Set("client-request-id", r.Header.Get("client-request-id"))
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// graphError is an error body with one code.
func graphError(code, message string) string {
	return fmt.Sprintf(`{"error":{"code":%q,"message":%q}}`, code, message)
}

// collect runs Changes to its end.
func collect(t *testing.T, s Source, cursor json.RawMessage) ([]backup.Change, json.RawMessage, error) {
	t.Helper()
	var all []backup.Change
	next, err := s.Changes(t.Context(), cursor, func(c backup.Change) error {
		all = append(all, c)
		return nil
	})
	return all, next, err
}

func wantCode(t *testing.T, err error, code backup.Code) *backup.Error {
	t.Helper()
	if !backup.HasCode(err, code) {
		t.Fatalf("got %v (%v), want %s", err, backup.AsError(err), code)
	}
	e := backup.AsError(err)
	if strings.Contains(e.Error()+e.Hint, testSecret) {
		t.Fatalf("the secret is in %q", e.Error())
	}
	return e
}

func wantSkip(t *testing.T, err error, reason backup.SkipReason) {
	t.Helper()
	var s *backup.SkipError
	if !errors.As(err, &s) || s.Reason != reason {
		t.Fatalf("got %v, want it skipped as %s", err, reason)
	}
}
