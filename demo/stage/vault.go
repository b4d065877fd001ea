package stage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
)

// The logins of demo/acme-kms.yaml, and the files of their secrets below sandbox/.
const (
	workerRole         = "holdfast-worker"
	provisioningRole   = "holdfast-provisioning"
	workerSecret       = "vault-worker"
	provisioningSecret = "vault-provisioning"
)

// startVault starts the customer's Vault and does there what its operator does: a transit engine, the shipped policies, two logins.
func (s *Stage) startVault(ctx context.Context) (err error) {
	if s.Vault, err = keyserver.Start(ctx, keyserver.Options{Folder: s.Path("customer", "vault"), CA: s.ca, Port: s.ports[vaultPort]}); err != nil {
		return err
	}
	if _, err := os.Stat(s.Path("sandbox", provisioningSecret)); err == nil {
		return nil // set up before
	}
	type settings map[string]any
	for _, call := range []struct {
		path string
		in   settings
	}{
		{"sys/mounts/transit", settings{"type": "transit"}},
		{"sys/auth/approle", settings{"type": "approle"}},
	} {
		if err := s.Vault.Put(ctx, call.path, call.in, nil); err != nil {
			return err
		}
	}
	for role, file := range map[string]string{workerRole: workerSecret, provisioningRole: provisioningSecret} {
		if err := s.admit(ctx, role, file); err != nil {
			return err
		}
	}
	return nil
}

// admit makes an AppRole with the shipped policy of its name, and keeps its secret id in a file.
func (s *Stage) admit(ctx context.Context, role, file string) error {
	policy, err := os.ReadFile(filepath.Join(treeRoot(), "deploy", "vault", role+".hcl"))
	if err != nil {
		return fmt.Errorf("the shipped policy: %w", err)
	}
	if err := s.Vault.Put(ctx, "sys/policies/acl/"+role, map[string]string{"policy": string(policy)}, nil); err != nil {
		return err
	}
	if err := s.Vault.Put(ctx, "auth/approle/role/"+role, map[string]any{"token_policies": role, "token_ttl": "10m", "token_max_ttl": "1h"}, nil); err != nil {
		return err
	}
	if err := s.Vault.Put(ctx, "auth/approle/role/"+role+"/role-id", map[string]string{"role_id": role}, nil); err != nil {
		return err
	}
	var made struct {
		SecretID string `json:"secret_id"`
	}
	if err := s.Vault.Put(ctx, "auth/approle/role/"+role+"/secret-id", map[string]any{}, &made); err != nil {
		return err
	}
	return os.WriteFile(s.Path("sandbox", file), []byte(made.SecretID), 0o600)
}

// treeRoot is the source tree's folder: the stage is for those who work in it.
func treeRoot() string {
	_, self, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(self) { // built with -trimpath: started in the tree
		return "."
	}
	return filepath.Join(filepath.Dir(self), "..", "..")
}
