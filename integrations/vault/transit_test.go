package vault

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The life of a tenant's key: made, used, rotated, re-wrapped, retired, destroyed.
func TestLifeOfAKey(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	first := create(t, v, tenant, 1)
	if !strings.HasPrefix(first.Wrapped, "vault:v1:") {
		t.Fatalf("the first generation is wrapped as %.12s…", first.Wrapped)
	}
	key1 := release(t, v, tenant, first)
	if err := v.Reachable(t.Context(), tenant, first); err != nil {
		t.Error(err)
	}

	second := create(t, v, tenant, 2)
	key2 := release(t, v, tenant, second)
	if bytes.Equal(key1, key2) {
		t.Fatal("two generations are one key")
	}
	if got := release(t, v, tenant, first); !bytes.Equal(got, key1) {
		t.Fatal("the first generation changed while the second was made")
	}

	rewrapped, err := v.Rewrap(t.Context(), tenant, second, backup.KeyUse{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(rewrapped.Wrapped, "vault:v3:") {
		t.Errorf("after the re-wrapping it is %.12s…", rewrapped.Wrapped)
	}
	if got := release(t, v, tenant, rewrapped); !bytes.Equal(got, key2) {
		t.Error("re-wrapping changed the key")
	}

	first.State = backup.EKeyRetiring
	for range 2 { // again is as good as once
		if err := v.Retire(t.Context(), tenant, first, backup.KeyUse{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = v.Release(t.Context(), tenant, first, backup.KeyUse{})
	wantCode(t, err, backup.CodeRevoked, false)
	if got := release(t, v, tenant, rewrapped); !bytes.Equal(got, key2) {
		t.Error("retiring the first generation touched the second")
	}
	proofs, err := v.Prove(t.Context(), tenant, rewrapped, backup.KeyUse{})
	if err != nil || len(proofs) != 1 || !proofs[0].OK {
		t.Errorf("the proof is %+v, %v", proofs, err)
	}

	for range 2 {
		proofs, err = v.Destroy(t.Context(), tenant, []backup.EKey{first, rewrapped}, backup.KeyUse{})
		if err != nil || len(proofs) != 2 || !proofs[0].OK || !proofs[1].OK || proofs[1].Generation != 2 {
			t.Fatalf("the destruction says %+v, %v", proofs, err)
		}
	}
	_, err = v.Release(t.Context(), tenant, rewrapped, backup.KeyUse{})
	wantCode(t, err, backup.CodeDestroyed, false)
	proofs, err = v.Prove(t.Context(), tenant, rewrapped, backup.KeyUse{})
	if err != nil || len(proofs) != 1 || proofs[0].OK || proofs[0].Code != backup.CodeDestroyed {
		t.Errorf("after the destruction the proof is %+v, %v", proofs, err)
	}
	// Another key of the same name does not bring the old one back.
	create(t, v, tenant, 3)
	_, err = v.Release(t.Context(), tenant, rewrapped, backup.KeyUse{})
	if err == nil {
		t.Error("a new transit key opens what the destroyed one wrapped")
	}
}

// The only generation by KMS can be retired too: the tenant has gone to connectors.
func TestRetireTheNewest(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	k.State = backup.EKeyRetiring
	if err := v.Retire(t.Context(), tenant, k, backup.KeyUse{}); err != nil {
		t.Fatal(err)
	}
	_, err := v.Release(t.Context(), tenant, k, backup.KeyUse{})
	wantCode(t, err, backup.CodeRevoked, false)
}

// Of two generations that one version wraps, or the wrong one of two, the older is not retired before the newer was wrapped anew: it would
// take that along. So it is when a worker's clock was wrong, or a re-wrapping came in between.
func TestRetireSparesWhatIsInUse(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	old := create(t, v, tenant, 1)
	late := pending(tenant, 2)
	late.Created = time.Now().Add(-time.Hour) // by a clock that is an hour late
	used, err := v.Create(t.Context(), tenant, late, backup.KeyUse{})
	if err != nil || !strings.HasPrefix(used.Wrapped, "vault:v1:") {
		t.Fatalf("%.12s… %v", used.Wrapped, err)
	}
	key := release(t, v, tenant, used)
	old.State, used.State = backup.EKeyRetiring, backup.EKeyActive
	if e := wantCode(t, v.Spares(old, used), backup.CodeNotAllowed, false); !strings.Contains(e.Hint, "--rewrap-only") {
		t.Errorf("the hint is %q", e.Hint)
	}
	if used, err = v.Rewrap(t.Context(), tenant, used, backup.KeyUse{}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Spares(old, used), v.Retire(t.Context(), tenant, old, backup.KeyUse{})); err != nil {
		t.Fatal(err)
	}
	if got := release(t, v, tenant, used); !bytes.Equal(got, key) {
		t.Error("it is another key now")
	}
	wantCode(t, v.Spares(used, old), backup.CodeNotAllowed, false)
	old.State = backup.EKeyPending // which Retire leaves to the server
	if err := v.Spares(old, used); err != nil {
		t.Error(err)
	}
}

// That there is nothing at an address is no word of a Vault, and nothing about its keys.
func TestAForeignNotFoundIsNoAbsence(t *testing.T) {
	server := Server{Address: "https://vault.example"}
	for raw, code := range map[bool]backup.Code{true: backup.CodeBadResponse, false: backup.CodeNotFound} {
		err := server.refusal("get transit/keys/t-acme", nil, &api.ResponseError{StatusCode: http.StatusNotFound, RawError: raw})
		wantCode(t, err, code, raw)
	}
}

// Giving up a change leaves the active generation alone, though the pending one is newer.
func TestDropPending(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	active := create(t, v, tenant, 1)
	dropped := create(t, v, tenant, 2)
	dropped.State = backup.EKeyPending
	if err := v.Retire(t.Context(), tenant, dropped, backup.KeyUse{}); err != nil {
		t.Fatal(err)
	}
	release(t, v, tenant, active)
}

// A Create that is repeated because its result was lost does not pile up versions.
func TestCreateAgain(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	create(t, v, tenant, 1)
	k := pending(tenant, 2)
	attempt := func() string {
		made, err := v.Create(t.Context(), tenant, k, backup.KeyUse{})
		if err != nil {
			t.Fatal(err)
		}
		return made.Wrapped
	}
	attempt()
	time.Sleep(3500 * time.Millisecond) // until a new version is surely younger than the wish for it; the server tells whole seconds
	for range 5 {
		attempt()
	}
	if got := r.read(r.mount + "/keys/t-acme").Data["latest_version"]; got != json.Number("3") {
		t.Errorf("after six attempts at one generation the key has %v versions", got)
	}
	k.Wrapped = attempt()
	if again := attempt(); again != k.Wrapped {
		t.Error("what was made already is made again")
	}
}

// A wrapped ekey opens for its own tenant, repository and generation only.
func TestBinding(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	repository, other, generation := tenant, r.tenant("other"), k
	repository.Repository.ID = "elsewhere"
	generation.Generation = 2
	other.Key.KMS.Key = "t-acme" // even with the right transit key
	for name, try := range map[string]struct {
		t backup.Tenant
		k backup.EKey
	}{"repository": {repository, k}, "tenant": {other, k}, "generation": {tenant, generation}} {
		_, err := v.Release(t.Context(), try.t, try.k, backup.KeyUse{})
		if err == nil {
			t.Errorf("it opens for another %s", name)
			continue
		}
		wantCode(t, err, backup.CodeWrongKey, false)
	}
	exchanged := k
	exchanged.Check = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	proofs, err := v.Prove(t.Context(), tenant, exchanged, backup.KeyUse{})
	if err != nil || proofs[0].OK || proofs[0].Code != backup.CodeWrongKey {
		t.Errorf("another key is proved: %+v, %v", proofs, err)
	}
}

// A key that binds nothing or may leave the server is refused.
func TestUnsuitableKeys(t *testing.T) {
	r := newRig(t)
	v := r.transit()
	for name, in := range map[string]map[string]any{
		"underived": {"type": keyType}, "exportable": {"type": keyType, "derived": true, "exportable": true},
	} {
		tenant := r.tenant(name)
		r.write(r.mount+"/keys/t-"+name, in)
		_, err := v.Create(t.Context(), tenant, pending(tenant, 1), backup.KeyUse{})
		wantCode(t, err, backup.CodeBadConfig, false)
	}
}

// Without a provisioning login the error says what to type, and after that it goes on.
func TestByHand(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenantByHand("acme")
	_, err := v.Create(t.Context(), tenant, pending(tenant, 1), backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadConfig, false); !strings.Contains(e.Hint, "vault policy write holdfast-by-hand") {
		t.Errorf("the hint is %q", e.Hint)
	}
	r.role("by-hand", "holdfast-worker", "holdfast-by-hand")
	tenant.Key.KMS.Login = r.login("by-hand")
	_, err = v.Create(t.Context(), tenant, pending(tenant, 1), backup.KeyUse{})
	e := wantCode(t, err, backup.CodeBadConfig, false)
	if want := "vault write " + r.mount + "/keys/t-acme type=aes256-gcm96 derived=true"; !strings.Contains(e.Hint, want) || !strings.Contains(e.Hint, "VAULT_ADDR="+r.server.Address) {
		t.Errorf("the hint is %q", e.Hint)
	}
	r.write(r.mount+"/keys/t-acme", map[string]any{"type": keyType, "derived": true})
	first := create(t, v, tenant, 1)

	second := pending(tenant, 2)
	_, err = v.Create(t.Context(), tenant, second, backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadConfig, false); !strings.Contains(e.Hint, "vault write -f "+r.mount+"/keys/t-acme/rotate") {
		t.Errorf("the hint is %q", e.Hint)
	}
	time.Sleep(2100 * time.Millisecond)
	r.write(r.mount+"/keys/t-acme/rotate", nil)
	time.Sleep(2100 * time.Millisecond) // until the version is surely younger than the wish for it
	second.Created = second.Created.Add(-2 * time.Second)
	if _, err = v.Create(t.Context(), tenant, second, backup.KeyUse{}); err != nil {
		t.Fatal(err)
	}

	first.State = backup.EKeyRetiring
	err = v.Retire(t.Context(), tenant, first, backup.KeyUse{})
	if e := wantCode(t, err, backup.CodeBadConfig, false); !strings.Contains(e.Hint, "min_decryption_version=2") {
		t.Errorf("the hint is %q", e.Hint)
	}
	proofs, err := v.Destroy(t.Context(), tenant, []backup.EKey{first}, backup.KeyUse{})
	if err != nil || proofs[0].OK || !strings.Contains(proofs[0].Hint, "vault delete "+r.mount+"/keys/t-acme") {
		t.Errorf("the destruction says %+v, %v", proofs, err)
	}
	r.write(r.mount+"/keys/t-acme/config", map[string]any{"deletion_allowed": true})
	if _, err := r.root.Logical().DeleteWithContext(t.Context(), r.mount+"/keys/t-acme"); err != nil {
		t.Fatal(err)
	}
	proofs, err = v.Destroy(t.Context(), tenant, []backup.EKey{first}, backup.KeyUse{})
	if err != nil || !proofs[0].OK {
		t.Errorf("after it was deleted by hand, the destruction says %+v, %v", proofs, err)
	}
}
