package vault

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// newWriter is a connector's login with the shipped policy, for a key-value engine of version 2 at r.prefix+"kv".
func newWriter(t *testing.T) (r *rig, w Writer, at func(name string) string) {
	t.Helper()
	r = newRig(t)
	mount := r.prefix + "kv"
	r.write("sys/mounts/"+mount, map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	r.write("sys/mounts/"+r.prefix+"old", map[string]any{"type": "kv", "options": map[string]any{"version": "1"}})
	r.atEnd("sys/mounts/"+mount, "sys/mounts/"+r.prefix+"old")
	r.policyAt("holdfast-connector", `"kv/`, `"`+mount+"/")
	r.role("holdfast-connector", "holdfast-connector")
	reader, err := NewReader(r.server, r.login("holdfast-connector"), files)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	return r, Writer{reader}, func(name string) string { return mount + "/holdfast/" + name + "#ekey" }
}

func TestASecretIsPutWhereNoneIs(t *testing.T) {
	r, w, at := newWriter(t)
	kv := r.prefix + "kv/"
	one := at("ekey-1")
	if err := w.Put(t.Context(), one, []byte("the first")); err != nil {
		t.Fatal(err)
	}
	got, err := w.Read(t.Context(), one)
	if err != nil || string(got) != "the first" {
		t.Fatalf("%q, %v", got, err)
	}
	err = w.Put(t.Context(), one, []byte("the second"))
	if err == nil || strings.Contains(err.Error(), "the second") {
		t.Fatalf("it was overwritten, or shown: %v", err)
	}
	// The policy alone keeps it, too, from whoever does not compare.
	if err := w.session.call(t.Context(), "PUT", kv+"data/holdfast/ekey-1", map[string]any{"data": map[string]string{"ekey": "x"}}, nil); !backup.HasCode(err, backup.CodeDenied) {
		t.Errorf("the shipped policy lets a connector overwrite: %v", err)
	}
	for _, path := range []string{kv + "data/holdfast/other", kv + "metadata/holdfast/other"} {
		if err := w.session.call(t.Context(), "GET", path, nil, nil); !backup.HasCode(err, backup.CodeDenied) {
			t.Errorf("the shipped policy lets a connector read %s: %v", path, err)
		}
	}
	// Somebody who may overwrite is kept from it by the comparison.
	r.write("auth/"+r.approle+"/role/holdfast-connector", map[string]any{"token_policies": []string{r.prefix + "all"}})
	r.write("sys/policies/acl/"+r.prefix+"all", map[string]any{"policy": `path "` + kv + `*" { capabilities = ["create", "read", "update", "delete"] }`})
	r.atEnd("sys/policies/acl/" + r.prefix + "all")
	able, err := NewReader(r.server, r.login("holdfast-connector"), files)
	if err != nil {
		t.Fatal(err)
	}
	defer able.Close()
	e := wantCode(t, Writer{able}.Put(t.Context(), one, []byte("the second")), backup.CodeNotAllowed, false)
	if !strings.Contains(e.Message, "not overwritten") || !strings.Contains(e.Hint, "vault kv metadata") {
		t.Errorf("%+v", e)
	}
	if _, err := r.root.Logical().DeleteWithContext(t.Context(), kv+"data/holdfast/ekey-1"); err != nil { // its versions stay
		t.Fatal(err)
	}
	wantCode(t, Writer{able}.Put(t.Context(), one, []byte("the second")), backup.CodeNotAllowed, false)
}

// Nothing is left of a secret that was removed: neither its newest version, nor those before, nor one that was deleted softly.
func TestARemovedSecretIsGone(t *testing.T) {
	r, w, at := newWriter(t)
	kv := r.prefix + "kv/"
	for name, softly := range map[string]bool{"ekey-1": false, "ekey-2": true} {
		for _, text := range []string{"old", "new"} {
			r.write(kv+"data/holdfast/"+name, map[string]any{"data": map[string]any{"ekey": text}})
		}
		if softly {
			if _, err := r.root.Logical().DeleteWithContext(t.Context(), kv+"data/holdfast/"+name); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // again is the same as once
			if err := w.Remove(t.Context(), at(name)); err != nil {
				t.Fatal(name, err)
			}
		}
		if left, err := r.root.Logical().ReadWithContext(t.Context(), kv+"metadata/holdfast/"+name); err != nil || left != nil {
			t.Errorf("%s: left is %+v, %v", name, left, err)
		}
		if err := w.Put(t.Context(), at(name), []byte("another")); err != nil {
			t.Errorf("%s: its place is not free: %v", name, err)
		}
	}
	r.write(kv+"data/holdfast/ekey-3", map[string]any{"data": map[string]any{"ekey": "x", "password": "somebody else's"}})
	e := wantCode(t, w.Remove(t.Context(), at("ekey-3")), backup.CodeNotAllowed, false)
	if strings.Contains(e.Error(), "somebody") {
		t.Errorf("%v", e)
	}
	if r.read(kv+"data/holdfast/ekey-3") == nil {
		t.Error("another's secret was destroyed")
	}
}

func TestWhereNothingIsWritten(t *testing.T) {
	r, w, _ := newWriter(t)
	for reference, want := range map[string]backup.Code{
		r.prefix + "old/holdfast/ekey-1#ekey":  backup.CodeNotAllowed, // version 1 overwrites
		r.prefix + "none/holdfast/ekey-1#ekey": backup.CodeNotAllowed,
		r.prefix + "kv/elsewhere/ekey-1#ekey":  backup.CodeDenied,
		r.prefix + "kv/holdfast/ekey-1":        backup.CodeBadConfig,
		r.prefix + "kv/../ekey-1#ekey":         backup.CodeBadConfig,
	} {
		wantCode(t, w.Put(t.Context(), reference, []byte("secret")), want, false)
		wantCode(t, w.Remove(t.Context(), reference), want, false)
	}
	if r.sandbox == nil {
		return
	}
	r.sandbox.Stop()
	if err := w.Put(t.Context(), r.prefix+"kv/holdfast/ekey-1#ekey", []byte("secret")); err == nil || !backup.AsError(err).Retryable {
		t.Errorf("a server that is away: %v", err)
	}
}
