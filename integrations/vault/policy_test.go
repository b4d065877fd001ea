package vault

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// as is a client with a token of a shipped role.
func (r *rig) as(role string) *api.Client {
	r.t.Helper()
	c, err := r.server.client()
	if err != nil {
		r.t.Fatal(err)
	}
	login := r.write("auth/"+r.approle+"/login", map[string]any{"role_id": role, "secret_id": r.secretID(role)})
	c.SetToken(login.Auth.ClientToken)
	return c
}

// operation is one call that somebody with a stolen token might try.
type operation struct {
	method, path string
	in           map[string]any
}

func (o operation) do(t *testing.T, c *api.Client) error {
	t.Helper()
	switch o.method {
	case http.MethodGet:
		_, err := c.Logical().ReadWithContext(t.Context(), o.path)
		return err
	case "LIST":
		_, err := c.Logical().ListWithContext(t.Context(), o.path)
		return err
	case http.MethodDelete:
		_, err := c.Logical().DeleteWithContext(t.Context(), o.path)
		return err
	}
	_, err := c.Logical().WriteWithContext(t.Context(), o.path, o.in)
	return err
}

func wantForbidden(t *testing.T, role string, c *api.Client, o operation) {
	t.Helper()
	err := o.do(t, c)
	var refused *api.ResponseError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden {
		t.Errorf("%s may %s %s %v: %v", role, o.method, o.path, o.in, err)
	}
}

// The shipped policies, as they are, against a real server: what is needed goes, and nothing else does.
func TestShippedPolicies(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	binding, err := bindingOf(tenant, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.write(r.mount+"/keys/payroll", map[string]any{"type": keyType}) // another application's
	payroll := r.write(r.mount+"/encrypt/payroll", map[string]any{"plaintext": "aGVsbG8="}).Data["ciphertext"]
	const acme = "t-acme"
	ours := map[string]any{"ciphertext": k.Wrapped, "context": binding}
	in := func(path string) string { return r.mount + "/" + path }

	t.Run("worker", func(t *testing.T) {
		c := r.as("holdfast-worker")
		for _, o := range []operation{
			{http.MethodPut, in("decrypt/" + acme), ours},
			{http.MethodPut, in("rewrap/" + acme), ours},
			{http.MethodGet, "auth/token/lookup-self", nil},
			{http.MethodPut, "auth/token/renew-self", nil},
		} {
			if err := o.do(t, c); err != nil {
				t.Errorf("a worker may not %s %s: %v", o.method, o.path, err)
			}
		}
		for _, o := range append(r.forbiddenToAll(payroll), []operation{
			{http.MethodPut, in("keys/" + acme), map[string]any{"type": keyType}},
			{http.MethodPut, in("keys/t-new"), map[string]any{"type": keyType, "derived": true}},
			{http.MethodGet, in("keys/" + acme), nil},
			{http.MethodDelete, in("keys/" + acme), nil},
			{http.MethodPut, in("keys/" + acme + "/rotate"), nil},
			{http.MethodPut, in("keys/" + acme + "/trim"), map[string]any{"min_available_version": 1}},
			{http.MethodPut, in("keys/" + acme + "/config"), map[string]any{"min_decryption_version": 1}},
			{http.MethodPut, in("keys/" + acme + "/config"), map[string]any{"deletion_allowed": true}},
			{http.MethodPut, in("datakey/wrapped/" + acme), map[string]any{"context": binding}},
		}...) {
			wantForbidden(t, "a worker", c, o)
		}
	})
	t.Run("provisioning", func(t *testing.T) {
		c := r.as("holdfast-provisioning")
		for _, o := range append(r.forbiddenToAll(payroll), []operation{
			{http.MethodPut, in("decrypt/" + acme), ours},
			{http.MethodPut, in("rewrap/" + acme), ours},
			{http.MethodPut, in("keys/t-new"), map[string]any{"type": keyType, "derived": true, "exportable": true}},
			{http.MethodPut, in("keys/t-new"), map[string]any{"type": keyType, "derived": false}},
			{http.MethodPut, in("keys/t-new"), map[string]any{"type": "chacha20-poly1305", "derived": true}},
			{http.MethodPut, in("keys/payroll/rotate"), nil},
			{http.MethodDelete, in("keys/payroll"), nil},
		}...) {
			wantForbidden(t, "provisioning", c, o)
		}
	})
	// The adapter's own tests show what provisioning may; here that both still work after all that was tried.
	release(t, v, tenant, k)
	create(t, v, tenant, 2)
}

// forbiddenToAll is what neither role may do.
func (r *rig) forbiddenToAll(payroll any) []operation {
	const acme = "t-acme"
	in := func(path string) string { return r.mount + "/" + path }
	binding := map[string]any{"context": []byte("c"), "plaintext": "aGVsbG8="}
	return []operation{
		{"LIST", in("keys"), nil},
		{http.MethodPut, in("encrypt/" + acme), binding},
		{http.MethodPut, in("encrypt/t-typo"), binding},
		{http.MethodPut, in("datakey/plaintext/" + acme), binding},
		{http.MethodPut, in("datakey/wrapped/payroll"), binding},
		{http.MethodGet, in("export/encryption-key/" + acme), nil},
		{http.MethodGet, in("backup/" + acme), nil},
		{http.MethodPut, in("restore/t-new"), map[string]any{"backup": "x"}},
		{http.MethodPut, in("keys/t-new/import"), map[string]any{"ciphertext": "x", "type": keyType}},
		{http.MethodPut, in("keys/" + acme + "/import_version"), map[string]any{"ciphertext": "x"}},
		{http.MethodPut, in("keys/" + acme + "/config"), map[string]any{"exportable": true}},
		{http.MethodPut, in("keys/" + acme + "/config"), map[string]any{"allow_plaintext_backup": true}},
		{http.MethodPut, in("hmac/" + acme), map[string]any{"input": "aGVsbG8="}},
		{http.MethodPut, in("decrypt/payroll"), map[string]any{"ciphertext": payroll}},
		{http.MethodPut, in("rewrap/payroll"), map[string]any{"ciphertext": payroll}},
		{http.MethodGet, in("keys/payroll"), nil},
		{http.MethodPut, in("keys/payroll"), map[string]any{"type": keyType, "derived": true}},
		{http.MethodPut, in("cache-config"), map[string]any{"size": 0}},
		{http.MethodGet, "secret/data/anything", nil},
		{http.MethodGet, "sys/mounts", nil},
		{http.MethodGet, "sys/policies/acl/" + r.prefix + "holdfast-worker", nil},
		{http.MethodPut, "sys/policies/acl/mine", map[string]any{"policy": `path "*" { capabilities = ["sudo"] }`}},
		{http.MethodPut, "sys/seal", nil},
		{http.MethodPut, "auth/token/create", map[string]any{}},
		{http.MethodPut, "auth/" + r.approle + "/role/holdfast-worker/secret-id", nil},
		{http.MethodGet, "auth/" + r.approle + "/role/holdfast-worker/role-id", nil},
		{"LIST", "auth/token/accessors", nil},
		{http.MethodPut, "sys/wrapping/wrap", map[string]any{"a": "b"}},
	}
}

// A refusal by policy is denied, and named; nobody logs in again and again over it.
func TestDenied(t *testing.T) {
	r := newRig(t)
	v, tenant := r.transit(), r.tenant("acme")
	k := create(t, v, tenant, 1)
	r.write(r.mount+"/keys/payroll", map[string]any{"type": keyType, "derived": true})
	outside := tenant
	kms := *tenant.Key.KMS
	kms.Key = "payroll"
	outside.Key.KMS = &kms
	e, err := v.engine(outside, false)
	if err != nil {
		t.Fatal(err)
	}
	release(t, v, tenant, k)
	before := e.epoch
	for range 5 {
		_, err = v.Release(t.Context(), outside, k, backup.KeyUse{})
		if e := wantCode(t, err, backup.CodeDenied, false); !strings.Contains(e.Message, "permission denied") {
			t.Errorf("it says %q", e.Message)
		}
	}
	if e.epoch != before {
		t.Errorf("there were %d logins over refusals by policy", e.epoch-before)
	}
}
