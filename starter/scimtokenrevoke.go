package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// scimRevoked is what `scim token revoke --json` prints.
type scimRevoked struct {
	Tenant    string               `json:"tenant"`
	Directory backup.DirectoryName `json:"directory"`
	Label     string               `json:"label"`
}

func newSCIMTokenRevoke(p *program) *cobra.Command {
	var directory, by, confirmed string
	cmd := &cobra.Command{
		Use: "revoke TENANT LABEL", Short: "Make a token useless at once",
		Long: `Makes a token useless: the next request with it is refused. Nobody's data is touched by that; people stay as they were pushed last.`,
		Example: `  holdfast scim token revoke acme okta
  holdfast scim token revoke acme okta-2 --directory okta --by anna@acme.example
  holdfast scim token revoke acme okta --yes-revoke okta   # in a script`,
		Args: takes(p, "TENANT", "LABEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			warning := "Whoever pushes with the token " + clean(args[1]) + " of " + clean(args[0]) + " will be refused from now on.\nType its label to go on: "
			if err := p.confirm(args[1], confirmed, warning, "this cuts an identity provider off: give --yes-revoke "+clean(args[1])+" to confirm it"); err != nil {
				return err
			}
			return runSCIMTokenRevoke(cmd.Context(), p, scimRevoked{args[0], backup.DirectoryName(directory), args[1]}, by)
		},
	}
	cmd.Flags().StringVar(&directory, "directory", "", "name of the directory (default: the one that has a token of the label)")
	cmd.Flags().StringVar(&by, "by", "", "in whose name (default: this machine's user)")
	cmd.Flags().StringVar(&confirmed, "yes-revoke", "", "the token's label once more, instead of being asked for it")
	return cmd
}

func runSCIMTokenRevoke(ctx context.Context, p *program, t scimRevoked, by string) error {
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		by, err := s.who(by)
		if err != nil {
			return err
		}
		if t.Directory == "" {
			if t.Directory, err = directoryOf(ctx, r, t.Tenant, t.Label); err != nil {
				return err
			}
		}
		if err := c.ChangeSCIMToken(ctx, orchestrator.SCIMTokenRequest{Tenant: t.Tenant, Directory: t.Directory, Label: t.Label, Revoke: true, RequestedBy: by}); err != nil {
			return err
		}
		if p.json {
			return p.emit(t)
		}
		p.say("The token %s of the directory %s of %s is revoked: whoever pushes with it is refused from now on.", clean(t.Label), clean(string(t.Directory)), clean(t.Tenant))
		return nil
	})
}

// directoryOf finds the directory that has a token of the label.
func directoryOf(ctx context.Context, r reader, tenant, label string) (backup.DirectoryName, error) {
	page, err := r.SCIMTokens(ctx, tenant)
	if err != nil {
		return "", err
	}
	var names []string
	for _, t := range page.Tokens {
		if t.Label == label {
			names = append(names, string(t.Directory))
		}
	}
	switch len(names) {
	case 0:
		return "", noSuchToken(tenant, label)
	case 1:
		return backup.DirectoryName(names[0]), nil
	}
	return "", &usageError{errors.New("more than one directory has a token " + clean(label) + ": give --directory " + strings.Join(names, " or --directory "))}
}

func noSuchToken(tenant, label string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: tenant + " has no SCIM token " + label + " that is good",
		Hint: "holdfast scim token list " + tenant}
}
