package main

import (
	"bytes"
	"context"
	"os"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxSecret bounds a secret's file: a certificate with its chain and key fits many times.
const maxSecret = 1 << 20

// resolveSecret reads what a reference points at. The error names the reference, never what it holds.
func resolveSecret(_ context.Context, ref backup.SecretRef) ([]byte, error) {
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
		Message: "the secret " + string(ref) + " is not to be had: " + what, Hint: "give env:NAME or file:/path that the worker can read", Cause: cause}
}
