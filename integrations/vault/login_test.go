package vault

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// session is the one that a tenant's workers share.
func (r *rig) session(v *Transit, tenant backup.Tenant) *session {
	r.t.Helper()
	e, err := v.engine(tenant, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return e.session
}

// A token that was revoked at the server is exchanged for another one, without anybody noticing.
func TestRevokedToken(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	s := r.session(v, tenant)
	for range 3 {
		old := s.client.Token()
		r.write("auth/token/revoke", map[string]any{"token": old})
		release(t, v, tenant, k)
		if s.client.Token() == old {
			t.Fatal("the revoked token is in use")
		}
	}
}

// A login that lives for seconds is renewed as long as the server lets it, and then begun anew.
func TestRenewalAndItsEnd(t *testing.T) {
	r := newRig(t)
	r.write("auth/"+r.approle+"/role/short", map[string]any{"token_policies": r.prefix + "holdfast-worker", "token_ttl": "2s", "token_max_ttl": "4s", "token_no_default_policy": true})
	r.write("auth/"+r.approle+"/role/short/role-id", map[string]any{"role_id": "short"})
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	tenant.Key.KMS.Login = r.login("short")
	s := r.session(v, tenant)
	tokens := map[string]bool{}
	for end := time.Now().Add(11 * time.Second); time.Now().Before(end); time.Sleep(250 * time.Millisecond) {
		release(t, v, tenant, k)
		tokens[s.client.Token()] = true
	}
	if n := len(tokens); n < 3 || n > 6 {
		t.Errorf("in 11 s there were %d tokens of at most 4 s", n)
	}
	// Renewed also while nobody asks, so that the next release need not log in.
	held := s.client.Token()
	time.Sleep(2500 * time.Millisecond)
	release(t, v, tenant, k)
	t.Log("after a pause longer than the time to live the token is the same:", held == s.client.Token())
}

// A secret id that was used up or destroyed is a wrong credential; a new one in its file is taken at the next attempt.
func TestExchangedSecretID(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	id := r.secretID("holdfast-worker")
	tenant.Key.KMS.Login.SecretID = r.file(id)
	release(t, v, tenant, k)
	r.write("auth/"+r.approle+"/role/holdfast-worker/secret-id/destroy", map[string]any{"secret_id": id})
	release(t, v, tenant, k) // the token lives on
	r.write("auth/token/revoke", map[string]any{"token": r.session(v, tenant).client.Token()})
	_, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadCredential, false); strings.Contains(e.Error()+e.Hint, id) {
		t.Error("the error holds the secret id")
	}
	path := strings.TrimPrefix(string(tenant.Key.KMS.Login.SecretID), "file:")
	if err := os.WriteFile(path, []byte(r.secretID("holdfast-worker")), 0o600); err != nil {
		t.Fatal(err)
	}
	release(t, v, tenant, k)
}

// A token login works as long as its token does.
func TestTokenLogin(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	made := r.write("auth/token/create", map[string]any{"policies": []string{r.prefix + "holdfast-worker"}, "ttl": "10m", "no_default_policy": true})
	tenant.Key.KMS.Login = backup.VaultLogin{Method: backup.LoginByToken, Token: r.file(made.Auth.ClientToken)}
	release(t, v, tenant, k)
	r.write("auth/token/revoke", map[string]any{"token": made.Auth.ClientToken})
	_, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadCredential, false); strings.Contains(e.Error()+e.Hint, made.Auth.ClientToken) {
		t.Error("the error holds the token")
	}
	err = nil
	expiring := r.write("auth/token/create", map[string]any{"policies": []string{r.prefix + "holdfast-worker"}, "explicit_max_ttl": "1s", "no_default_policy": true})
	tenant.Key.KMS.Login = backup.VaultLogin{Method: backup.LoginByToken, Token: r.file(expiring.Auth.ClientToken)}
	release(t, v, tenant, k)
	for end := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		_, err = v.Release(t.Context(), tenant, k, backup.KeyUse{}) // the server ends tokens when it gets around to it
	}
	wantCode(t, err, backup.CodeBadCredential, false)
}

// A pod logs in with its service account's token, which the server has Kubernetes review.
func TestKubernetesLogin(t *testing.T) {
	r := newSandboxRig(t)
	encode := base64.RawURLEncoding.EncodeToString
	jwt := encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(`{"iss":"kubernetes/serviceaccount","sub":"system:serviceaccount:holdfast:worker","iat":1700000000,"nbf":1700000000,"exp":4102444800,
		"kubernetes.io":{"namespace":"holdfast","serviceaccount":{"name":"worker","uid":"1"}}}`)) + "." + encode([]byte("a signature"))
	ca, err := sandbox.NewCA("cluster")
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	cluster := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var in struct{ Spec struct{ Token string } }
		_ = json.NewDecoder(req.Body).Decode(&in)
		status := map[string]any{"authenticated": in.Spec.Token == jwt, "user": map[string]any{"username": "system:serviceaccount:holdfast:worker", "uid": "1"}}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
	}))
	cluster.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	cluster.StartTLS()
	t.Cleanup(cluster.Close)
	r.write("sys/auth/pods", map[string]any{"type": "kubernetes"})
	r.write("auth/pods/config", map[string]any{"kubernetes_host": cluster.URL, "token_reviewer_jwt": jwt, "disable_local_ca_jwt": true, "kubernetes_ca_cert": string(ca.PEM())})
	r.write("auth/pods/role/worker", map[string]any{"bound_service_account_names": "worker", "bound_service_account_namespaces": "holdfast", "token_policies": "holdfast-worker"})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(jwt), 0o600); err != nil {
		t.Fatal(err)
	}
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	tenant.Key.KMS.Login = backup.VaultLogin{Method: backup.LoginByKubernetes, Mount: "pods", Role: "worker", TokenFile: file}
	release(t, v, tenant, k)
	tenant.Key.KMS.Login.Role = "somebody"
	_, err = v.Release(t.Context(), tenant, k, backup.KeyUse{})
	wantCode(t, err, backup.CodeBadCredential, false)
}

// A namespace is one of the server's own, or is refused: a server that ignores it would give out the root namespace's keys.
func TestNamespaces(t *testing.T) {
	r := newSandboxRig(t)
	v := r.transit()
	r.write("sys/namespaces/acme", map[string]any{})
	inside := *r
	inside.root = r.root.WithNamespace("acme")
	inside.write("sys/mounts/transit", map[string]any{"type": "transit"})
	inside.write("sys/auth/approle", map[string]any{"type": "approle"})
	for _, policy := range []string{"holdfast-worker", "holdfast-provisioning"} {
		inside.policy(policy)
		inside.role(policy, policy)
	}
	tenant := inside.tenant("acme")
	tenant.Key.KMS.Namespace = "acme"
	k := create(t, v, tenant, 1)
	release(t, v, tenant, k)

	// The same key's name in the root namespace is another key.
	root := r.tenant("acme")
	if _, err := v.Release(t.Context(), root, k, backup.KeyUse{}); !backup.HasCode(err, backup.CodeDestroyed) {
		t.Errorf("in the root namespace: %v", err)
	}
	missing := tenant
	kms := *tenant.Key.KMS
	kms.Namespace = "nobody"
	missing.Key.KMS = &kms
	if err := v.Reachable(t.Context(), missing, k); err == nil || backup.AsError(err).Retryable {
		t.Errorf("a namespace that is not there: %v", err)
	}
	// A server that ignores the header, as Vault's free edition does.
	ignoring, other := hostile(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"data":{"ttl":0}}`)) })
	other.Key.KMS.Namespace = "acme"
	k.Wrapped = "vault:v1:" + strings.Repeat("A", 80)
	_, err := ignoring.Release(t.Context(), other, k, backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadConfig, false); !strings.Contains(e.Hint, "free edition") {
		t.Errorf("the hint is %q", e.Hint)
	}
}

// Many tenants of one server and login are one session with one login; many at a time are no more.
func TestSharedSession(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := v.Release(t.Context(), tenant, k, backup.KeyUse{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s := r.session(v, tenant)
	if s.epoch != 1 {
		t.Errorf("there were %d logins", s.epoch)
	}
	sibling := tenant
	kms := *tenant.Key.KMS
	kms.Key = "t-sibling"
	sibling.Key.KMS = &kms
	if r.session(v, sibling) != s {
		t.Error("two tenants with the same login have two sessions")
	}
}

// However many logins there are, a bounded number is kept, and Close ends all that goes on behind them.
func TestSessionsAreBounded(t *testing.T) {
	r := newSandboxRig(t)
	before := runtime.NumGoroutine()
	v := r.transit()
	tenant := r.tenant("acme")
	k := create(t, v, tenant, 1)
	for i := range maxSessions + 20 {
		kms := *tenant.Key.KMS
		kms.Login.RoleID = "role-" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		other := tenant
		other.Key.KMS = &kms
		r.session(v, other)
	}
	if n := len(v.pool.sessions); n > maxSessions {
		t.Errorf("%d sessions are kept", n)
	}
	release(t, v, tenant, k)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Release(t.Context(), tenant, k, backup.KeyUse{}); err == nil {
		t.Error("a closed adapter releases a key")
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before+5; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after Close\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}
