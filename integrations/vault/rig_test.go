package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// The tests talk to a real server: the OpenBao of internal/sandbox/keyserver, or, for those that need not seal, cut or restart it, to any
// Vault or OpenBao. That one is named by HOLDFAST_TEST_VAULT=1 and the variables of Vault's own command line (VAULT_ADDR, VAULT_CACERT
// and VAULT_TOKEN of somebody who may mount engines and write policies):
//
//	HOLDFAST_TEST_VAULT=1 VAULT_ADDR=https://… VAULT_TOKEN=… go test ./integrations/vault
//
// Everything there is made under names of its own and taken away again.

// rig is a server with a transit engine, an AppRole login and the shipped policies.
type rig struct {
	t      testing.TB
	root   *api.Client
	server Server
	// sandbox is nil when the server is somebody else's.
	sandbox *keyserver.Server
	// prefix goes before the names of everything that is made.
	prefix string
	// mount is the transit engine, approle and kubernetes are login mounts.
	mount, approle string
}

// newRig uses the outside server where one is named.
func newRig(t testing.TB) *rig {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_VAULT") == "" {
		return newSandboxRig(t)
	}
	server := Server{Address: os.Getenv("VAULT_ADDR"), Namespace: os.Getenv("VAULT_NAMESPACE"), CAFile: os.Getenv("VAULT_CACERT")}
	name := make([]byte, 4)
	rand.Read(name)
	r := &rig{t: t, server: server, prefix: "hf-" + hex.EncodeToString(name) + "-"}
	r.prepare(os.Getenv("VAULT_TOKEN"))
	return r
}

// newSandboxRig has a server of its own.
func newSandboxRig(t testing.TB) *rig {
	t.Helper()
	r := bareRig(t)
	r.prepare(r.sandbox.RootToken)
	return r
}

// bareRig has a server of its own on which nothing was done yet.
func bareRig(t testing.TB) *rig {
	t.Helper()
	var log bytes.Buffer
	s, err := keyserver.Start(t.Context(), keyserver.Options{Log: &log})
	if err != nil {
		t.Fatal(err, log.String())
	}
	t.Cleanup(s.Stop)
	r := &rig{t: t, server: Server{Address: s.Address, CAFile: s.CAFile}, sandbox: s}
	r.connect(s.RootToken)
	return r
}

// connect becomes the operator.
func (r *rig) connect(token string) {
	r.t.Helper()
	var err error
	if r.root, err = r.server.client(); err != nil {
		r.t.Fatal(err)
	}
	r.root.SetToken(token)
}

func (r *rig) prepare(token string) {
	r.t.Helper()
	r.connect(token)
	r.mount, r.approle = r.prefix+"transit", r.prefix+"approle"
	r.write("sys/mounts/"+r.mount, map[string]any{"type": "transit"})
	r.write("sys/auth/"+r.approle, map[string]any{"type": "approle"})
	r.atEnd("sys/mounts/"+r.mount, "sys/auth/"+r.approle)
	for _, role := range []string{"holdfast-worker", "holdfast-provisioning", "holdfast-by-hand"} {
		r.policy(role)
	}
	r.role("holdfast-worker", "holdfast-worker")
	r.role("holdfast-provisioning", "holdfast-provisioning")
}

// atEnd takes things away from a server that outlives the test.
func (r *rig) atEnd(paths ...string) {
	if r.sandbox != nil {
		return
	}
	r.t.Cleanup(func() {
		for _, p := range paths {
			if _, err := r.root.Logical().DeleteWithContext(context.Background(), p); err != nil {
				r.t.Error("clearing up:", err)
			}
		}
	})
}

// policy writes a shipped policy; only the mount's name is ours where the server is not.
func (r *rig) policy(name string) {
	r.t.Helper()
	r.policyAt(name, `"transit/`, `"`+r.mount+"/")
}

// policyAt writes one with another mount in it.
func (r *rig) policyAt(name, mount, ours string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "deploy", "vault", name+".hcl"))
	if err != nil {
		r.t.Fatal(err)
	}
	policy := strings.ReplaceAll(string(text), mount, ours)
	r.write("sys/policies/acl/"+r.prefix+name, map[string]any{"policy": policy})
	r.atEnd("sys/policies/acl/" + r.prefix + name)
}

// role makes an AppRole of that name with policies.
func (r *rig) role(name string, policies ...string) {
	r.t.Helper()
	for i := range policies {
		policies[i] = r.prefix + policies[i]
	}
	r.write("auth/"+r.approle+"/role/"+name, map[string]any{"token_policies": policies, "token_ttl": "10m", "token_max_ttl": "1h", "token_no_default_policy": true})
	r.write("auth/"+r.approle+"/role/"+name+"/role-id", map[string]any{"role_id": name})
}

// write is a call that an operator makes.
func (r *rig) write(path string, in map[string]any) *api.Secret {
	r.t.Helper()
	out, err := r.root.Logical().WriteWithContext(r.t.Context(), path, in)
	if err != nil {
		r.t.Fatal(path, err)
	}
	return out
}

func (r *rig) secretID(role string) string {
	r.t.Helper()
	return r.write("auth/"+r.approle+"/role/"+role+"/secret-id", nil).Data["secret_id"].(string)
}

// login is an AppRole login whose secret id is in a file, as in production.
func (r *rig) login(role string) backup.VaultLogin {
	r.t.Helper()
	return backup.VaultLogin{Method: backup.LoginByAppRole, Mount: r.approle, RoleID: role, SecretID: r.file(r.secretID(role))}
}

// file keeps a secret in a file and refers to it.
func (r *rig) file(secret string) backup.SecretRef {
	r.t.Helper()
	f, err := os.CreateTemp(r.t.TempDir(), "secret")
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(secret + "\n"); err != nil {
		r.t.Fatal(err)
	}
	return backup.SecretRef("file:" + f.Name())
}

// files resolves file: references.
func files(_ context.Context, ref backup.SecretRef) ([]byte, error) {
	path, ok := strings.CutPrefix(string(ref), "file:")
	if !ok {
		return nil, errors.New("not a file")
	}
	return os.ReadFile(path)
}

// tenant is one with both logins.
func (r *rig) tenant(id string) backup.Tenant {
	r.t.Helper()
	provisioning := r.login("holdfast-provisioning")
	t := r.tenantByHand(id)
	t.Key.KMS.Provisioning = &provisioning
	return t
}

// tenantByHand is one whose transit keys a person makes.
func (r *rig) tenantByHand(id string) backup.Tenant {
	r.t.Helper()
	kms := &backup.KMSConfig{Address: r.server.Address, Namespace: r.server.Namespace, CAFile: r.server.CAFile, Mount: r.mount, Login: r.login("holdfast-worker")}
	return backup.Tenant{ID: id, Repository: backup.RepositoryConfig{ID: id}, Key: backup.KeyConfig{Method: backup.KeyByKMS, KMS: kms}}
}

func (r *rig) transit() *Transit {
	v := New(Options{Secrets: files, Requester: "w-test"})
	r.t.Cleanup(func() { v.Close() })
	return v
}

func pending(t backup.Tenant, generation int) backup.EKey {
	return backup.EKey{Tenant: t.ID, Generation: generation, Method: backup.KeyByKMS, State: backup.EKeyPending, Created: time.Now()}
}

// create makes a generation that is active, with its check key.
func create(t testing.TB, v *Transit, tenant backup.Tenant, generation int) backup.EKey {
	t.Helper()
	k, err := v.Create(t.Context(), tenant, pending(tenant, generation), backup.KeyUse{})
	if err != nil {
		t.Fatal(err)
	}
	k.State, k.Check = backup.EKeyActive, checkOf(t, release(t, v, tenant, k), tenant, generation)
	return k
}

func release(t testing.TB, v *Transit, tenant backup.Tenant, k backup.EKey) []byte {
	t.Helper()
	got, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.EKey) != backup.EKeySize || bytes.Equal(got.EKey, make([]byte, backup.EKeySize)) {
		t.Fatalf("the released ekey has %d bytes, or is empty", len(got.EKey))
	}
	return got.EKey
}

func checkOf(t testing.TB, key []byte, tenant backup.Tenant, generation int) string {
	t.Helper()
	lease, err := backup.NewLease(bytes.Clone(key), generation, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer lease.Close()
	check, err := lease.Check(tenant.ID)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

// wantCode fails unless err is classified as code, retryable or not as that code is.
func wantCode(t testing.TB, err error, code backup.Code, retryable bool) *backup.Error {
	t.Helper()
	var e *backup.Error
	if !errors.As(err, &e) || e.Code != code || e.Retryable != retryable {
		t.Fatalf("got %+v (%v), want %s, retryable %v", e, err, code, retryable)
	}
	if e.Fault != backup.FaultCustomer {
		t.Errorf("%s is said to be the fault of %s", code, e.Fault)
	}
	if e.Hint == "" {
		t.Errorf("%s has no hint: %v", code, err)
	}
	return e
}

func (r *rig) read(path string) *api.Secret {
	r.t.Helper()
	out, err := r.root.Logical().ReadWithContext(r.t.Context(), path)
	if err != nil || out == nil {
		r.t.Fatal(path, out, err)
	}
	return out
}
