package msgraph

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "s3cr3t~value/with+signs"

// tenant is a Graph of a few handlers and its token endpoint, over TLS.
type tenant struct {
	*testing.T
	graph *http.ServeMux // below /v1.0
	roles []string
	// token, when set, answers the token endpoint instead.
	token http.HandlerFunc

	graphServer *httptest.Server
	login       Login

	mu     sync.Mutex
	issued int
	claims []string
	waits  []time.Duration
}

func newTenant(t *testing.T) *tenant {
	x := &tenant{T: t, graph: http.NewServeMux(), roles: []string{"User.Read.All"}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /contoso.test/v2.0/.well-known/openid-configuration", x.discovery)
	mux.HandleFunc("POST /contoso.test/oauth2/v2.0/token", x.serveToken)
	mux.Handle("/v1.0/", http.StripPrefix("/v1.0", x.graph))
	x.graphServer = httptest.NewTLSServer(mux)
	t.Cleanup(x.graphServer.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.graphServer.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	x.login = Login{DirectoryTenant: "contoso.test", ClientID: "client", Secret: "env:SECRET", LoginURL: x.graphServer.URL, GraphURL: x.graphServer.URL, CAFile: ca}
	return x
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

// client connects to the tenant; waits are written down instead of waited for.
func (x *tenant) client() *Client {
	x.Helper()
	wait := func(ctx context.Context, d time.Duration) error {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.waits = append(x.waits, d)
		return ctx.Err()
	}
	k := NewClients(Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(testSecret + "\n"), nil }, Policy: Policy{Wait: wait}})
	x.Cleanup(func() { k.Close() })
	c, err := k.Connect(x.Context(), "acme", x.login)
	if err != nil {
		x.Fatal(err)
	}
	return c
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
