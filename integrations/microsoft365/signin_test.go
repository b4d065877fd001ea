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
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

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
	a := x.adapterWith(func(context.Context, backup.SecretRef) ([]byte, error) { return newCertificate(t), nil })
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
	secret := testSecret
	a := x.adapterWith(func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(secret), nil })
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
		"CA without PEM":     func(c *backup.Microsoft365Config) { c.CAFile = "adapter.go" },
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
	gone := errors.New("no such variable")
	a := x.adapterWith(func(context.Context, backup.SecretRef) ([]byte, error) { return nil, gone })
	if _, err := a.ConnectApp(t.Context(), backup.Tenant{ID: "acme", Microsoft365: &x.config}, backup.Microsoft365); !errors.Is(err, gone) {
		t.Fatal(err)
	}
}
