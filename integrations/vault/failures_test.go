package vault

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// asked are the ways to ask for a key; a server that is away fails each of them alike.
func asked(t *testing.T, v *Transit, tenant backup.Tenant, k backup.EKey) map[string]error {
	t.Helper()
	made, released := pending(tenant, 2), k
	_, create := v.Create(t.Context(), tenant, made, backup.KeyUse{})
	_, release := v.Release(t.Context(), tenant, released, backup.KeyUse{})
	_, rewrap := v.Rewrap(t.Context(), tenant, k, backup.KeyUse{})
	_, destroy := v.Destroy(t.Context(), tenant, []backup.EKey{k}, backup.KeyUse{})
	k.State = backup.EKeyRetiring
	return map[string]error{
		"Reachable": v.Reachable(t.Context(), tenant, k), "Create": create, "Release": release, "Rewrap": rewrap,
		"Retire": v.Retire(t.Context(), tenant, k, backup.KeyUse{}), "Destroy": destroy,
	}
}

// A sealed server, one that was restarted and a lonely standby say what a person has to do, and after that all goes on by itself: with the
// session that was there, and with a new one.
func TestSealed(t *testing.T) {
	r := newSandboxRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	want := string(release(t, v, tenant, k))
	for name, away := range map[string]func(context.Context) error{
		"sealed": r.sandbox.Seal, "restarted": r.sandbox.Restart, "standby": r.sandbox.RestartAsStandby,
		"killed": func(ctx context.Context) error { r.sandbox.Kill(); return r.sandbox.Restart(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := away(t.Context()); err != nil {
				t.Fatal(err)
			}
			fresh := r.transit()
			for _, who := range []*Transit{v, fresh} {
				for what, err := range asked(t, who, tenant, k) {
					if e := wantCode(t, err, backup.CodeSealed, true); !strings.Contains(e.Hint, "vault operator unseal") {
						t.Errorf("%s: the hint is %q", what, e.Hint)
					}
				}
				proofs, err := who.Prove(t.Context(), tenant, k, backup.KeyUse{})
				if err != nil || proofs[0].OK || proofs[0].Code != backup.CodeSealed {
					t.Errorf("the proof is %+v, %v", proofs, err)
				}
			}
			if name == "standby" {
				if err := r.sandbox.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.sandbox.Unseal(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, who := range []*Transit{v, fresh} {
				if err := who.Reachable(t.Context(), tenant, k); err != nil {
					t.Error(err)
				}
				if string(release(t, who, tenant, k)) != want {
					t.Error("the key changed")
				}
			}
		})
	}
}

// A server that hangs or is gone is unreachable within the time-outs.
func TestAway(t *testing.T) {
	r := newSandboxRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	if err := r.sandbox.Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
	wantCode(t, err, backup.CodeUnreachable, true)
	if took := time.Since(began); took > callTimeout+2*time.Second {
		t.Errorf("a hanging server was waited for %v", took)
	}
	// Whoever gives up hears that, and not something about the server.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, context.Canceled)
	defer cancel()
	began = time.Now()
	if _, err := v.Release(ctx, tenant, k, backup.KeyUse{}); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("a call that was given up ends with %v after %v", err, time.Since(began))
	}
	cancelled, stop := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, stop)
	var known *backup.Error
	if _, err := v.Release(cancelled, tenant, k, backup.KeyUse{}); !errors.Is(err, context.Canceled) || errors.As(err, &known) {
		t.Errorf("a cancelled call ends with %v", err)
	}
	if err := r.sandbox.Resume(); err != nil {
		t.Fatal(err)
	}
	release(t, v, tenant, k)

	r.sandbox.Kill()
	for what, err := range asked(t, v, tenant, k) {
		t.Run(what, func(t *testing.T) { wantCode(t, err, backup.CodeUnreachable, true) })
	}
}

// cutter is a TCP proxy that ends connections after some bytes of the answers, or at once.
type cutter struct {
	address string
	// after is how many bytes of answers a connection still lets through; negative: all.
	after atomic.Int64
	cuts  atomic.Int64
}

func newCutter(t *testing.T, to string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{address: "https://" + l.Addr().String()}
	c.after.Store(-1)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { c.serve(client, to) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return c
}

func (c *cutter) serve(client net.Conn, to string) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		server.Close()
	}()
	buffer := make([]byte, 64)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		if left := c.after.Load(); left >= 0 {
			if int64(n) > left {
				_, _ = client.Write(buffer[:left])
				c.cuts.Add(1)
				return
			}
			c.after.Add(-int64(n))
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A network that is cut in mid-call is a thing of now: the same call succeeds later, and no half of an answer is taken for a whole.
func TestCutInMidCall(t *testing.T) {
	r := newSandboxRig(t)
	c := newCutter(t, r.sandbox.HostPort)
	v, tenant := r.transit(), r.tenant("acme")
	tenant.Key.KMS.Address = c.address
	k := create(t, v, tenant, 1)
	want := string(release(t, v, tenant, k))
	for bytes := int64(0); bytes < 900; bytes += 23 {
		c.after.Store(bytes)
		got, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
		if err == nil && string(got.EKey) != want {
			t.Fatalf("cut after %d bytes, another key came", bytes)
		}
		if err != nil {
			wantCode(t, err, backup.CodeUnreachable, true)
		}
		c.after.Store(-1)
		if string(release(t, v, tenant, k)) != want {
			t.Fatal("after the cut, another key comes")
		}
	}
	if c.cuts.Load() < 10 {
		t.Errorf("the network was cut %d times only", c.cuts.Load())
	}
}

// A rate limit is kept, and the server's wish for a distance is handed on.
func TestRateLimit(t *testing.T) {
	r := newSandboxRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	r.write("sys/quotas/config", map[string]any{"enable_rate_limit_response_headers": true})
	r.write("sys/quotas/rate-limit/holdfast", map[string]any{"path": "transit/", "rate": 1, "interval": "5s"})
	var err error
	for range 20 {
		if _, err = v.Release(t.Context(), tenant, k, backup.KeyUse{}); err != nil {
			break
		}
	}
	if e := wantCode(t, err, backup.CodeThrottled, true); e.RetryAfter <= 0 || e.RetryAfter > 5*time.Second {
		t.Errorf("the server asks for a distance of %v", e.RetryAfter)
	}
}

// What is missing is told apart, and nothing is made by asking for it.
func TestMissing(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	noKey, noMount, noLogin := tenant, tenant, tenant
	other := r.tenant("nobody")
	noKey.Key.KMS = other.Key.KMS
	noKey.Key.KMS.Key = "t-nobody"
	_, err := v.Release(t.Context(), noKey, k, backup.KeyUse{})
	wantCode(t, err, backup.CodeDestroyed, false)

	kms := *tenant.Key.KMS
	kms.Mount, kms.Login = "elsewhere", backup.VaultLogin{Method: backup.LoginByToken, Token: r.file(r.root.Token())}
	noMount.Key.KMS = &kms
	_, err = v.Release(t.Context(), noMount, k, backup.KeyUse{})
	wantCode(t, err, backup.CodeBadConfig, false)

	kms = *tenant.Key.KMS
	kms.Login.Mount = "no-such-login"
	noLogin.Key.KMS = &kms
	_, err = v.Release(t.Context(), noLogin, k, backup.KeyUse{})
	if err == nil || backup.AsError(err).Retryable {
		t.Errorf("a login mount that is not there: %v", err)
	}

	for state, code := range map[backup.EKeyState]backup.Code{backup.EKeyDestroyed: backup.CodeDestroyed, backup.EKeyRetired: backup.CodeRevoked, backup.EKeyPending: backup.CodeNotFound} {
		ended := k
		ended.Wrapped, ended.State = "", state
		if _, err := v.Release(t.Context(), tenant, ended, backup.KeyUse{}); !backup.HasCode(err, code) {
			t.Errorf("a generation that is %s: %v", state, err)
		}
	}
}

// Wrong addresses, CAs and settings are told before anything is sent.
func TestUnusableSettings(t *testing.T) {
	r := newSandboxRig(t)
	v := r.transit()
	other, err := sandbox.NewCA("another")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := other.WriteFiles(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		change func(*backup.KMSConfig)
		code   backup.Code
	}{
		"http":         {func(c *backup.KMSConfig) { c.Address = "http://" + r.sandbox.HostPort }, backup.CodeBadConfig},
		"path":         {func(c *backup.KMSConfig) { c.Address += "/v1" }, backup.CodeBadConfig},
		"user":         {func(c *backup.KMSConfig) { c.Address = "https://u:p@" + r.sandbox.HostPort }, backup.CodeBadConfig},
		"mount":        {func(c *backup.KMSConfig) { c.Mount = "../sys" }, backup.CodeBadConfig},
		"key":          {func(c *backup.KMSConfig) { c.Key = "t-acme/config" }, backup.CodeBadConfig},
		"no CA file":   {func(c *backup.KMSConfig) { c.CAFile = dir + "/none.pem" }, backup.CodeBadConfig},
		"no CA in it":  {func(c *backup.KMSConfig) { c.CAFile = dir + "/server.key" }, backup.CodeBadConfig},
		"another CA":   {func(c *backup.KMSConfig) { c.CAFile = dir + "/ca.pem" }, backup.CodeUnreachable},
		"system's CAs": {func(c *backup.KMSConfig) { c.CAFile = "" }, backup.CodeUnreachable},
		"login method": {func(c *backup.KMSConfig) { c.Login.Method = "ldap" }, backup.CodeBadConfig},
		"no secret id": {func(c *backup.KMSConfig) { c.Login.SecretID = "" }, backup.CodeBadConfig},
		"no role id":   {func(c *backup.KMSConfig) { c.Login.RoleID = "" }, backup.CodeBadConfig},
		"another role": {func(c *backup.KMSConfig) { c.Login.RoleID = "somebody" }, backup.CodeBadCredential},
		"wrong secret": {func(c *backup.KMSConfig) { c.Login.SecretID = r.file("wrong") }, backup.CodeBadCredential},
		"empty secret": {func(c *backup.KMSConfig) { c.Login.SecretID = r.file("") }, backup.CodeBadConfig},
		"wrong token": {func(c *backup.KMSConfig) {
			c.Login = backup.VaultLogin{Method: backup.LoginByToken, Token: r.file("hvs.wrong")}
		}, backup.CodeBadCredential},
		"no k8s token": {func(c *backup.KMSConfig) {
			c.Login = backup.VaultLogin{Method: backup.LoginByKubernetes, Role: "x", TokenFile: dir + "/none"}
		}, backup.CodeBadConfig},
		"namespace ../": {func(c *backup.KMSConfig) { c.Namespace = "../x" }, backup.CodeBadConfig},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := r.tenant("acme")
			try.change(tenant.Key.KMS)
			err := v.Reachable(t.Context(), tenant, pending(tenant, 1))
			wantCode(t, err, try.code, false)
		})
	}
}

// What is not a Vault, or a hostile one, is a bad answer and no more.
func TestHostileAnswers(t *testing.T) {
	answers := map[string]string{
		"nothing": ``, "no object": `[]`, "null": `{"data":null}`, "no key": `{"data":{}}`, "short key": `{"data":{"plaintext":"AAAA"}}`,
		"not base64": `{"data":{"plaintext":"%%%%"}}`, "number": `{"data":{"plaintext":7}}`, "long key": `{"data":{"plaintext":"` + strings.Repeat("AAAA", 1000) + `"}}`,
		"html": "<html>sign in</html>", "huge": `{"data":{"plaintext":"` + strings.Repeat("A", 2<<20) + `"}}`,
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			v, tenant := hostile(t, func(w http.ResponseWriter, req *http.Request) {
				if strings.Contains(req.URL.Path, "lookup-self") {
					_, _ = io.WriteString(w, `{"data":{"ttl":0}}`)
					return
				}
				_, _ = io.WriteString(w, answer)
			})
			k := pending(tenant, 1)
			k.Wrapped = "vault:v1:" + strings.Repeat("A", 80)
			got, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
			if err == nil || got.EKey != nil {
				t.Fatal("it was taken for a key")
			}
			if e := backup.AsError(err); e.Code == backup.CodeInternal || len(err.Error()) > 600 {
				t.Errorf("it is not classified: %+v", e)
			}
		})
	}
}

// hostile is a tenant whose Vault is a handler of ours.
func hostile(t testing.TB, handler http.HandlerFunc) (*Transit, backup.Tenant) {
	t.Helper()
	ca, err := sandbox.NewCA("hostile")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	if err := ca.WriteFiles(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	v := New(Options{Secrets: func(context.Context, backup.SecretRef) ([]byte, error) { return []byte("hvs.token"), nil }})
	t.Cleanup(func() { v.Close() })
	kms := &backup.KMSConfig{Address: s.URL, CAFile: dir + "/ca.pem", Login: backup.VaultLogin{Method: backup.LoginByToken, Token: "file:x"}}
	return v, backup.Tenant{ID: "acme", Repository: backup.RepositoryConfig{ID: "acme"}, Key: backup.KeyConfig{KMS: kms}}
}

// Nothing of the worker's own environment is shown to a customer's Vault.
func TestEnvironmentStaysAtHome(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "hvs.own-token")
	t.Setenv("VAULT_NAMESPACE", "own")
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	t.Setenv("VAULT_PROXY_ADDR", "http://127.0.0.1:1")
	var seen atomic.Int64
	v, tenant := hostile(t, func(w http.ResponseWriter, req *http.Request) {
		seen.Add(1)
		if got := req.Header.Get("X-Vault-Token"); got != "hvs.token" || req.Header.Get("X-Vault-Namespace") != "" {
			t.Errorf("%s: token or namespace of the environment were sent", req.URL.Path)
		}
		_, _ = io.WriteString(w, `{"data":{"ttl":0}}`)
	})
	k := pending(tenant, 1)
	k.Wrapped = "vault:v1:" + strings.Repeat("A", 80)
	_, _ = v.Release(t.Context(), tenant, k, backup.KeyUse{})
	if seen.Load() < 2 {
		t.Error("nothing was asked")
	}
	tenant.Key.KMS.CAFile = "" // the server's certificate is not one of the system's
	wantCode(t, v.Reachable(t.Context(), tenant, k), backup.CodeUnreachable, false)
}
