package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/vault"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// customersVault starts a Vault with the shipped policy for connectors, and lets every holdfastd of the test log in there by it. The
// client is its administrator's.
func customersVault(t *testing.T) (*keyserver.Server, *api.Client) {
	t.Helper()
	s := startKeyServer(t)
	policy, err := os.ReadFile(filepath.Join("..", "deploy", "vault", "holdfast-connector.hcl"))
	check(t, err)
	type settings = map[string]any
	var made struct {
		SecretID string `json:"secret_id"`
	}
	check(t, s.Put(t.Context(), "sys/mounts/kv", settings{"type": "kv", "options": settings{"version": "2"}}, nil))
	check(t, s.Put(t.Context(), "sys/policies/acl/holdfast-connector", settings{"policy": string(policy)}, nil))
	check(t, s.Put(t.Context(), "auth/approle/role/hc", settings{"token_policies": "holdfast-connector", "token_no_default_policy": true}, nil))
	check(t, s.Put(t.Context(), "auth/approle/role/hc/role-id", settings{"role_id": "hc"}, nil))
	check(t, s.Put(t.Context(), "auth/approle/role/hc/secret-id", settings{}, &made))
	file := filepath.Join(t.TempDir(), "secret-id")
	check(t, os.WriteFile(file, []byte(made.SecretID), 0o600))
	for name, value := range map[string]string{"VAULT_ADDR": s.Address, "VAULT_CACERT": s.CAFile, "VAULT_NAMESPACE": "", "VAULT_TOKEN": "",
		"HOLDFAST_VAULT_ROLE_ID": "hc", "HOLDFAST_VAULT_SECRET_ID_FILE": file} {
		t.Setenv(name, value)
	}
	config := api.DefaultConfig()
	check(t, config.ConfigureTLS(&api.TLSConfig{CACert: s.CAFile}))
	config.Address = s.Address
	root, err := api.NewClient(config)
	check(t, err)
	root.SetToken(s.RootToken)
	return s, root
}

// kept is the ekey of a generation as it lies in the Vault; nil when nothing is left of it, not even its metadata.
func kept(t *testing.T, root *api.Client, name string) []byte {
	t.Helper()
	about, err := root.Logical().ReadWithContext(t.Context(), "kv/metadata/holdfast/ekey-"+name)
	check(t, err)
	if about == nil {
		return nil
	}
	secret, err := root.Logical().ReadWithContext(t.Context(), "kv/data/holdfast/ekey-"+name)
	check(t, err)
	text, _ := secret.Data["data"].(map[string]any)["ekey"].(string)
	ekey, err := base64.StdEncoding.DecodeString(text)
	check(t, err)
	return ekey
}

// startVaultConnector admits a connector that keeps its ekeys in the customer's Vault, and may be asked for everything.
func startVaultConnector(t *testing.T, g ground, name string) (keyFile string) {
	t.Helper()
	folder := t.TempDir()
	keyFile, policy := filepath.Join(folder, "connector.key"), filepath.Join(folder, "policy.yaml")
	check(t, os.WriteFile(policy, []byte("purposes: [provision, backup, restore, verify, rotate, create, drill, share, deposit, retire, destroy]\n"), 0o600))
	p := startProgram(t, g.token(t, name, time.Hour).Text(), "connector", "--enroll", "-", "--key-file", keyFile, "--policy", policy,
		"--ekey-source", "vault:kv/holdfast/ekey-"+name+"-{generation}#ekey")
	eventually(t, name+" uses its token", func() bool { return g.store.PinEnrolled(t.Context(), "acme", name) == nil }, p)
	eventually(t, name+" connects", g.connected(name), p)
	return keyFile
}

// The life of an ekey whose two connectors keep it in the customer's own Vault: it is put there when it is made or handed over, read for each
// use, and nothing is left of it when it is retired or destroyed. It is in no key file.
func TestAnEKeyLivesInTheCustomersVault(t *testing.T) {
	_, root := customersVault(t)
	g := newGround(t)
	files := []string{startVaultConnector(t, g, "hq"), startVaultConnector(t, g, "branch")}
	b, ctx := connector.NewBroker(g.store, g.worker, connector.BrokerOptions{}), t.Context()
	tenant := backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector}}
	use := backup.KeyUse{Tenant: "acme", Purpose: backup.PurposeBackup, WorkflowID: "backup/acme/microsoft365", RunID: "run", Attempt: 1}
	bring := func(n int) backup.EKey {
		t.Helper()
		k, err := b.Create(ctx, tenant, backup.EKey{Tenant: "acme", Generation: n, Method: backup.KeyByConnector, State: backup.EKeyPending}, use)
		check(t, err)
		check(t, b.Share(ctx, tenant, k, "", use))
		got, err := b.Release(ctx, tenant, k, use)
		check(t, err)
		number := string(rune('0' + n))
		if there := kept(t, root, "hq-"+number); len(there) != backup.EKeySize || !bytes.Equal(there, got.EKey) || !bytes.Equal(there, kept(t, root, "branch-"+number)) {
			t.Fatalf("generation %d is not in the Vault twice", n)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			check(t, err)
			if bytes.Contains(content, []byte(base64.StdEncoding.EncodeToString(got.EKey))) || bytes.Contains(content, []byte(base64.RawURLEncoding.EncodeToString(got.EKey))) {
				t.Fatal("the key file holds the ekey")
			}
		}
		return k
	}
	one := bring(1)
	two := bring(2)
	one.State = backup.EKeyRetiring
	check(t, b.Retire(ctx, tenant, one, use))
	for _, gone := range []string{"hq-1", "branch-1"} {
		if kept(t, root, gone) != nil {
			t.Errorf("a retired generation is still at %s", gone)
		}
	}
	if _, err := b.Release(ctx, tenant, one, use); !backup.HasCode(err, backup.CodeRevoked) {
		t.Errorf("a retired generation: %v", err)
	}
	_, err := b.Release(ctx, tenant, two, use)
	check(t, err)
	proofs, err := b.Destroy(ctx, tenant, []backup.EKey{one, two}, use)
	check(t, err)
	for _, p := range proofs {
		if !p.OK {
			t.Errorf("not destroyed: %+v", p)
		}
	}
	left, err := root.Logical().ListWithContext(ctx, "kv/metadata/holdfast")
	if check(t, err); left != nil {
		t.Errorf("left in the Vault: %v", left.Data)
	}
}

// What lies in the Vault already is never overwritten, and a Vault that is away is not taken for an empty one.
func TestNothingInTheCustomersVaultIsOverwritten(t *testing.T) {
	s, root := customersVault(t)
	own, err := newOwnVault(os.Getenv)
	check(t, err)
	t.Cleanup(func() { _ = own.Close() })
	source, err := ekeySourceIn(vault.Writer{Reader: own}, "vault:kv/holdfast/ekey-{generation}#ekey")
	check(t, err)
	ekey, other := make([]byte, backup.EKeySize), make([]byte, backup.EKeySize)
	_, _ = rand.Read(ekey)
	if _, err := source.EKey(t.Context(), 1); !backup.HasCode(err, backup.CodeNotFound) {
		t.Fatal(err)
	}
	check(t, source.Forget(t.Context(), 1)) // none there is as good
	for range 2 {
		check(t, source.Keep(t.Context(), 1, ekey))
	}
	if got, err := source.EKey(t.Context(), 1); err != nil || !bytes.Equal(got, ekey) {
		t.Fatal(err)
	}
	if err := source.Keep(t.Context(), 1, other); !backup.HasCode(err, backup.CodeWrongKey) {
		t.Fatal(err)
	}
	if got := kept(t, root, "1"); !bytes.Equal(got, ekey) {
		t.Fatal("it was overwritten")
	}
	put := func(text string) {
		t.Helper()
		check(t, s.Put(t.Context(), "kv/data/holdfast/ekey-2", map[string]any{"data": map[string]any{"ekey": text}}, nil))
	}
	put("too short")
	if err := source.Keep(t.Context(), 2, ekey); !backup.HasCode(err, backup.CodeBadConfig) || strings.Contains(err.Error(), "too short") {
		t.Fatal(err)
	}
	check(t, source.Forget(t.Context(), 1))
	if kept(t, root, "1") != nil {
		t.Fatal("it is still there")
	}
	s.Stop()
	if _, err := source.EKey(t.Context(), 3); err == nil || backup.HasCode(err, backup.CodeNotFound) {
		t.Fatalf("a Vault that is away counts as one without the secret: %v", err)
	}
	if err := source.Forget(t.Context(), 3); err == nil {
		t.Fatal("a Vault that is away counts as one without the secret")
	}
}

// A connector that was removed is refused from the next call on, and nobody asks it.
func TestARemovedConnectorIsRefused(t *testing.T) {
	g := newGround(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tenant := backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector}}
	use := backup.KeyUse{Tenant: "acme", Purpose: backup.PurposeBackup, WorkflowID: "w", RunID: "run", Attempt: 1}
	b := connector.NewBroker(g.store, g.worker, connector.BrokerOptions{})
	var stolen *process
	for _, name := range []string{"hq", "lab"} {
		p := startProgram(t, g.token(t, name, time.Hour).Text(), "connector", "--enroll", "-", "--key-file", filepath.Join(t.TempDir(), "c.key"))
		eventually(t, name+" uses its token", func() bool { return g.store.PinEnrolled(ctx, "acme", name) == nil }, p)
		eventually(t, name+" connects", g.connected(name), p)
		stolen = p
	}
	k, err := g.store.AddEKey(ctx, "acme", backup.KeyByConnector, time.Now())
	check(t, err)
	k, err = b.Create(ctx, tenant, k, use)
	check(t, err)
	check(t, g.store.UpdateEKey(ctx, k))
	check(t, g.store.ActivateEKey(ctx, "acme", 1, time.Now(), time.Now()))
	maker, empty := "hq", "lab" // whichever made it
	if c, err := g.store.PinnedConnector(ctx, "acme", "hq"); err != nil || len(c.Holds) == 0 {
		maker, empty = empty, maker
	}
	if _, err := g.store.UnpinEnrolled(ctx, "acme", maker); !backup.HasCode(err, backup.CodeNotAllowed) {
		t.Fatalf("the only holder %s, and not %s, could be removed: %v", maker, empty, err)
	}
	check(t, b.Share(ctx, tenant, k, "", use))
	_, err = g.store.UnpinEnrolled(ctx, "acme", "lab")
	check(t, err)
	eventually(t, "it is refused", func() bool {
		return strings.Contains(stolen.said.String(), "not connected to the gateway") || strings.Contains(stolen.said.String(), "not pinned")
	}, stolen)
	got, err := b.Release(ctx, tenant, k, use)
	if check(t, err); got.Holder != "connector hq" {
		t.Errorf("released by %s", got.Holder)
	}
}
