package microsoft365

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestSignInRefusals(t *testing.T) {
	tests := []struct {
		name   string
		status int
		error  string
		number int
		header string
		code   backup.Code
		hint   string
		tries  int
	}{
		{"wrong secret", 401, "invalid_client", 7000215, "", backup.CodeBadCredential, "not its Secret ID", 1},
		{"expired secret", 401, "invalid_client", 7000222, "", backup.CodeBadCredential, "new client secret", 1},
		{"unregistered certificate", 401, "invalid_client", 700027, "", backup.CodeBadCredential, "upload", 1},
		{"clock", 401, "invalid_client", 700024, "", backup.CodeBadCredential, "clock", 1},
		{"unknown app", 400, "unauthorized_client", 700016, "", backup.CodeBadConfig, "clientID", 1},
		{"disabled app", 400, "unauthorized_client", 7000112, "", backup.CodeBadCredential, "Enterprise applications", 1},
		{"unknown tenant", 400, "invalid_request", 90002, "", backup.CodeBadConfig, "directoryTenant", 1},
		{"wrong resource", 400, "invalid_scope", 70011, "", backup.CodeBadConfig, "graphURL", 1},
		{"no consent", 400, "invalid_grant", 65001, "", backup.CodeMissingRole, "admin consent", 1},
		{"conditional access", 400, "access_denied", 53003, "", backup.CodeBadCredential, "policy", 1},
		{"unknown number, known name", 400, "invalid_request", 4711, "", backup.CodeBadConfig, "directoryTenant", 1},
		{"unknown number, unknown name", 400, "something_new", 4711, "", backup.CodeBadCredential, "app registration", 1},
		{"throttled by number", 400, "temporarily_unavailable", 50196, "", backup.CodeThrottled, "nothing to do", attempts},
		{"throttled for long", 429, "temporarily_unavailable", 90055, "300", backup.CodeThrottled, "nothing to do", 1},
		{"outage", 503, "", 0, "", backup.CodeBadResponse, "passes by itself", attempts},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.token = func(w http.ResponseWriter, _ *http.Request) {
				if tt.header != "" {
					w.Header().Set("Retry-After", tt.header)
				}
				w.WriteHeader(tt.status)
				// The service does not repeat secrets; should it ever, we do not.
				fmt.Fprintf(w, `{"error":%q,"error_codes":[%d],"trace_id":"trace-1","error_description":"AADSTS%d: about %s. Trace ID: x"}`, tt.error, tt.number, tt.number, testSecret)
			}
			_, err := x.app().Probe(t.Context(), nil)
			e := wantCode(t, err, tt.code)
			if !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("hint %q lacks %q", e.Hint, tt.hint)
			}
			if x.issued != tt.tries {
				t.Errorf("tried %d times, want %d", x.issued, tt.tries)
			}
			if tt.number != 0 && !strings.Contains(e.Error(), fmt.Sprint("AADSTS", tt.number)) {
				t.Errorf("the number is missing in %q", e.Error())
			}
			if tt.header == "300" && e.RetryAfter != 5*time.Minute {
				t.Errorf("come back after %v", e.RetryAfter)
			}
		})
	}
}

// Whatever else the token endpoint says, the text is never repeated whole: a broken answer may hold a token.
func TestSignInAnswerThatIsNone(t *testing.T) {
	x := newTenant(t)
	x.token = func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token":"`+testSecret+`",`) }
	_, err := x.app().Probe(t.Context(), nil)
	wantCode(t, err, backup.CodeBadResponse)
}

// Any number of callers share one token, and one refusal makes one new token.
func TestOneTokenForAll(t *testing.T) {
	x := newTenant(t)
	var mu sync.Mutex
	revoked := map[string]bool{}
	x.graph.HandleFunc("GET /probe", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if revoked[r.Header.Get("Authorization")] {
			refuse(401, graphError("InvalidAuthenticationToken", "expired"))(w, r)
			return
		}
		answer(`{}`)(w, r)
	})
	app := x.app()
	all := func() {
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := app.client.readJSON(t.Context(), call{url: app.client.endpoints.at("", "probe")}, new(any)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all()
	if x.issued != 1 {
		t.Fatalf("%d tokens for the first calls", x.issued)
	}
	mu.Lock()
	revoked["Bearer "+x.jwt(1)] = true
	mu.Unlock()
	all()
	if x.issued != 2 {
		t.Fatalf("%d tokens after one was revoked, want 2", x.issued)
	}
}

// A claims challenge (continuous access evaluation) reaches the token endpoint with the capability that makes it possible.
func TestClaimsChallenge(t *testing.T) {
	x := newTenant(t)
	challenge := `{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}`
	x.graph.HandleFunc("GET /probe", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+x.jwt(1) {
			refuse(401, graphError("InvalidAuthenticationToken", "Continuous access evaluation"), "WWW-Authenticate",
				`Bearer realm="", error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(challenge))+`"`)(w, r)
			return
		}
		answer(`{}`)(w, r)
	})
	c := x.app().client
	if err := c.readJSON(t.Context(), call{url: c.endpoints.at("", "probe")}, new(any)); err != nil {
		t.Fatal(err)
	}
	if len(x.claims) != 2 || !strings.Contains(x.claims[0], "cp1") && !strings.Contains(x.claims[0], "CP1") || !strings.Contains(x.claims[1], "1700000000") {
		t.Fatalf("claims sent: %q", x.claims)
	}
}

// The certificate of an app registration signs the assertion; here the token endpoint only looks at its form, the sandbox verifies it.
func TestCertificateCredential(t *testing.T) {
	x := newTenant(t)
	x.config.ClientSecret, x.config.ClientCertificate = "", "file:/somewhere/app.pem"
	var assertion string
	x.token = func(w http.ResponseWriter, r *http.Request) {
		assertion = r.PostFormValue("client_assertion")
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":%q}`, x.jwt(1))
	}
	x.graph.HandleFunc("GET /organization", answer(`{"value":[{"displayName":"Contoso"}]}`))
	x.graph.HandleFunc("GET /users", answer(`{"value":[]}`))
	a := x.adapter()
	a.options.Secrets = func(context.Context, backup.SecretRef) ([]byte, error) { return newCertificate(t), nil }
	app, err := a.ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.Microsoft365)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Probe(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(assertion, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(head)
	var header map[string]string
	if json.Unmarshal(raw, &header) != nil || header["alg"] != "PS256" || header["x5t#S256"] == "" {
		t.Fatalf("assertion header %s", raw)
	}
}

// newCertificate makes a self-signed certificate with its key, as an administrator would upload it.
func newCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Holdfast"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
}

// One App per description: the same while nothing changed, another when the secret, the CA or the description did.
func TestConnectAppIsCached(t *testing.T) {
	x := newTenant(t)
	a := x.adapter()
	secret := testSecret
	a.options.Secrets = func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(secret), nil }
	connect := func() *App {
		t.Helper()
		config := x.config
		app, err := a.ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &config}, backup.Microsoft365)
		if err != nil {
			t.Fatal(err)
		}
		return app
	}
	first := connect()
	if connect() != first {
		t.Error("nothing changed and there is a new App")
	}
	secret = "rotated"
	second := connect()
	if second == first {
		t.Error("the secret was rotated and the old App stays")
	}
	x.config.ClientID = "another"
	if connect() == second {
		t.Error("the description changed and the old App stays")
	}
}

func TestBadDescriptions(t *testing.T) {
	for name, change := range map[string]func(*backup.Microsoft365Config){
		"no credential":      func(c *backup.Microsoft365Config) { c.ClientSecret = "" },
		"two credentials":    func(c *backup.Microsoft365Config) { c.ClientCertificate = "env:X" },
		"graph without TLS":  func(c *backup.Microsoft365Config) { c.GraphURL = "http://graph.microsoft.com" },
		"login without TLS":  func(c *backup.Microsoft365Config) { c.LoginURL = "http://login.microsoftonline.com" },
		"graph with a user":  func(c *backup.Microsoft365Config) { c.GraphURL = "https://u:p@graph.microsoft.com" },
		"no CA file":         func(c *backup.Microsoft365Config) { c.CAFile = "/does/not/exist" },
		"certificate, not":   func(c *backup.Microsoft365Config) { c.ClientSecret, c.ClientCertificate = "", "env:X" },
		"tenant, not":        func(c *backup.Microsoft365Config) { c.DirectoryTenant = "a/../b" },
		"CA without PEM":     func(c *backup.Microsoft365Config) { c.CAFile = "refusal.go" },
		"graph with a query": func(c *backup.Microsoft365Config) { c.GraphURL = "https://graph.microsoft.com/?x=1" },
	} {
		t.Run(name, func(t *testing.T) {
			x := newTenant(t)
			change(&x.config)
			app, err := x.adapter().ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.Microsoft365)
			if err == nil {
				_, err = app.Probe(t.Context(), nil)
			}
			wantCode(t, err, backup.CodeBadConfig)
		})
	}
	_, err := newTenant(t).adapter().ConnectApp(t.Context(), backup.Tenant{ID: "acme"}, backup.Microsoft365)
	wantCode(t, err, backup.CodeBadConfig)
	x := newTenant(t)
	_, err = x.adapter().ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.GoogleWorkspace)
	wantCode(t, err, backup.CodeBadConfig)
}

// Secrets that cannot be had are the resolver's error.
func TestSecretUnavailable(t *testing.T) {
	x := newTenant(t)
	a := x.adapter()
	gone := errors.New("no such variable")
	a.options.Secrets = func(context.Context, backup.SecretRef) ([]byte, error) { return nil, gone }
	if _, err := a.ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.Microsoft365); !errors.Is(err, gone) {
		t.Fatal(err)
	}
}
