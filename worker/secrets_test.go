package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// startKeyServer starts a Vault with a secret in a key-value engine of each version.
func startKeyServer(t *testing.T) *keyserver.Server {
	t.Helper()
	s, err := keyserver.Start(t.Context(), keyserver.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	type settings = map[string]any
	for _, call := range []struct {
		path string
		in   settings
	}{
		{"sys/mounts/secret", settings{"type": "kv", "options": settings{"version": "2"}}},
		{"secret/data/holdfast/ldap", settings{"data": settings{"password": "first"}}},
		{"secret/data/holdfast/ldap", settings{"data": settings{"password": "correct horse", "port": 636}}},
		{"sys/mounts/old", settings{"type": "kv", "options": settings{"version": "1"}}},
		{"old/mail", settings{"password": "battery staple"}},
		{"sys/policies/acl/reader", settings{"policy": `path "secret/data/holdfast/*" { capabilities = ["read"] } path "old/*" { capabilities = ["read"] }`}},
		{"sys/auth/approle", settings{"type": "approle"}},
		{"auth/approle/role/holdfast", settings{"token_policies": "reader"}},
		{"auth/approle/role/holdfast/role-id", settings{"role_id": "holdfast"}},
	} {
		if err := s.Put(t.Context(), call.path, call.in, nil); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSecretsOfTheOwnVault(t *testing.T) {
	s := startKeyServer(t)
	var made struct {
		SecretID string `json:"secret_id"`
	}
	if err := s.Put(t.Context(), "auth/approle/role/holdfast/secret-id", struct{}{}, &made); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret-id")
	if err := os.WriteFile(file, []byte(made.SecretID+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, login := range map[string]map[string]string{
		"approle": {"HOLDFAST_VAULT_ROLE_ID": "holdfast", "HOLDFAST_VAULT_SECRET_ID_FILE": file},
		"token":   {"VAULT_TOKEN": s.RootToken},
	} {
		t.Run(name, func(t *testing.T) {
			for k, v := range login {
				t.Setenv(k, v)
			}
			t.Setenv("VAULT_ADDR", s.Address)
			t.Setenv("VAULT_CACERT", s.CAFile)
			own, err := newOwnVault(os.Getenv)
			if err != nil {
				t.Fatal(err)
			}
			defer own.Close()
			for ref, want := range map[string]string{"secret/holdfast/ldap#password": "correct horse", "old/mail#password": "battery staple"} {
				if got, err := own.Read(t.Context(), ref); err != nil || string(got) != want {
					t.Errorf("%s: %v", ref, err)
				}
			}
			for _, ref := range []string{"secret/holdfast/ldap#port", "secret/holdfast/ldap#user", "secret/holdfast/none#password", "secret/holdfast/ldap", "secret/../ldap#x", "#"} {
				got, err := own.Read(t.Context(), ref)
				if !backup.HasCode(err, backup.CodeBadConfig) || got != nil {
					t.Errorf("%s gives %v", ref, err)
				}
				if text, _ := json.Marshal(err); strings.Contains(string(text)+err.Error(), "correct horse") {
					t.Errorf("%s: the error holds the secret", ref)
				}
			}
		})
	}
}

func TestNoOwnVault(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"nothing":  {},
		"no login": {"VAULT_ADDR": "https://127.0.0.1:1"},
		"http":     {"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "x"},
	} {
		if _, err := newOwnVault(func(k string) string { return env[k] }); !backup.HasCode(err, backup.CodeBadConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
