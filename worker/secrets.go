package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/integrations/vault"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxSecret bounds a secret's file: a certificate with its chain and key fits many times.
const maxSecret = 1 << 20

// resolveSecret reads what a reference points at: env:NAME, file:/path, or vault:path#field of this worker's own Vault. The error names
// the reference, never what it holds. Whoever has the secret wipes it.
func resolveSecret(ctx context.Context, ref backup.SecretRef) ([]byte, error) {
	kind, name, _ := strings.Cut(string(ref), ":")
	if kind != "vault" {
		return resolveLocal(ctx, ref)
	}
	own, err := ownVault()
	if err != nil {
		return nil, err
	}
	return own.Read(ctx, name)
}

// resolveLocal reads what is on this machine.
func resolveLocal(_ context.Context, ref backup.SecretRef) ([]byte, error) {
	kind, name, _ := strings.Cut(string(ref), ":")
	switch kind {
	case "env":
		if v, ok := os.LookupEnv(name); ok && v != "" {
			return []byte(v), nil
		}
		return nil, badSecret(ref, "the environment variable is not set for holdfastd", nil)
	case "file":
		info, err := os.Stat(name)
		if err == nil && info.Size() > maxSecret {
			return nil, badSecret(ref, "the file is too large for a secret", nil)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, badSecret(ref, "the file cannot be read by holdfastd", err)
		}
		return bytes.TrimRight(b, "\r\n"), nil // editors end a file with a newline; no secret of ours does
	}
	return nil, badSecret("", "a secret is configured in a form that is not understood", nil)
}

func badSecret(ref backup.SecretRef, what string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
		Message: "the secret " + string(ref) + " is not to be had: " + what, Hint: "give env:NAME, file:/path or vault:path#field that the worker can read", Cause: cause}
}

// ownVault is the Vault of this process, which it logs in to when it is first asked for a secret. It lives as long as the process.
var ownVault = sync.OnceValues(func() (*vault.Reader, error) { return newOwnVault(os.Getenv) })

// newOwnVault takes the server from the variables of Vault's own programs and the login from those or ours:
//
//	VAULT_ADDR, VAULT_CACERT, VAULT_NAMESPACE                     the server
//	HOLDFAST_VAULT_ROLE_ID, HOLDFAST_VAULT_SECRET_ID_FILE         an AppRole, or
//	HOLDFAST_VAULT_KUBERNETES_ROLE                                the pod's service account, or
//	VAULT_TOKEN                                                   a token
//	HOLDFAST_VAULT_LOGIN_MOUNT                                    the login's mount, where it is not the usual one
func newOwnVault(env func(string) string) (*vault.Reader, error) {
	server := vault.Server{Address: env("VAULT_ADDR"), Namespace: env("VAULT_NAMESPACE"), CAFile: env("VAULT_CACERT")}
	login := backup.VaultLogin{Mount: env("HOLDFAST_VAULT_LOGIN_MOUNT")}
	switch {
	case server.Address == "":
		return nil, noVault("VAULT_ADDR is not set for holdfastd")
	case env("HOLDFAST_VAULT_ROLE_ID") != "":
		login.Method, login.RoleID = backup.LoginByAppRole, env("HOLDFAST_VAULT_ROLE_ID")
		login.SecretID = backup.SecretRef("file:" + env("HOLDFAST_VAULT_SECRET_ID_FILE"))
	case env("HOLDFAST_VAULT_KUBERNETES_ROLE") != "":
		login.Method, login.Role = backup.LoginByKubernetes, env("HOLDFAST_VAULT_KUBERNETES_ROLE")
	case env("VAULT_TOKEN") != "":
		login.Method, login.Token = backup.LoginByToken, "env:VAULT_TOKEN"
	default:
		return nil, noVault("there is no login for it")
	}
	return vault.NewReader(server, login, resolveLocal)
}

func noVault(what string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
		Message: "a secret is configured as vault:path#field, and the worker has no Vault: " + what,
		Hint:    "set VAULT_ADDR (and VAULT_CACERT), and HOLDFAST_VAULT_ROLE_ID with HOLDFAST_VAULT_SECRET_ID_FILE, HOLDFAST_VAULT_KUBERNETES_ROLE or VAULT_TOKEN"}
}
