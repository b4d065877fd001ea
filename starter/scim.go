package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

func newSCIM(p *program) *cobra.Command {
	tokens := newGroup("token", "Make, list and revoke the tokens that identity providers push with", newSCIMTokenAdd(p), newSCIMTokenList(p), newSCIMTokenRevoke(p))
	return newGroup("scim", "Let Okta, Entra ID and others push people by SCIM 2.0", tokens)
}

func newSCIMTokenList(p *program) *cobra.Command {
	return &cobra.Command{
		Use: "list TENANT", Short: "List the tokens that let identity providers in, and when each was used",
		Example: `  holdfast scim token list acme
  holdfast scim token list acme --json | jq '.tokens[] | select(.lastUsed == null)'`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runSCIMTokenList(cmd.Context(), p, args[0]) },
	}
}

func runSCIMTokenList(ctx context.Context, p *program, tenant string) error {
	return p.withReader(func(r reader) error {
		page, err := r.SCIMTokens(ctx, tenant)
		switch {
		case err != nil:
			return err
		case p.json:
			return p.emit(map[string]any{"tenant": tenant, "tokens": append([]readapi.SCIMToken{}, page.Tokens...)})
		case len(page.Tokens) == 0:
			p.say("%s has no SCIM token that is good.", clean(tenant))
			p.next("holdfast scim token add " + clean(tenant))
			return nil
		}
		rows := make([][]string, len(page.Tokens))
		for i, t := range page.Tokens {
			rows[i] = []string{clean(string(t.Directory)), clean(t.Label), p.orNever(t.LastUsed), p.orNever(t.Expires), p.when(t.Created), clean(t.By)}
		}
		p.table([]string{"directory", "label", "last used", "expires", "made", "by"}, rows)
		return nil
	})
}

func (p *program) orNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return p.when(t)
}

// pushedDirectory is the directory that is meant, of those that identity providers push to.
func pushedDirectory(t backup.Tenant, named string) (backup.DirectoryName, error) {
	var names []string
	for _, d := range t.Directories {
		if d.Kind == backup.SCIM && (named == "" || named == string(d.Name)) {
			names = append(names, string(d.Name))
		}
	}
	switch {
	case len(names) == 1:
		return backup.DirectoryName(names[0]), nil
	case len(names) > 1:
		return "", &usageError{errors.New("which directory shall it push to? Give --directory " + strings.Join(names, " or --directory "))}
	}
	message := fmt.Sprintf("%s has no directory that is pushed by SCIM", t.ID)
	if named != "" {
		message = fmt.Sprintf("%s has no directory %s that is pushed by SCIM", t.ID, named)
	}
	return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message,
		Hint: "write into the tenant's file, below directories:  - {name: " + orName(named) + ", kind: scim}  and apply it: holdfast apply -f FILE"}
}

func orName(named string) string {
	if named == "" {
		return "okta"
	}
	return named
}
