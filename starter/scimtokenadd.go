package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

const (
	// scimTokenPrefix lets secret scanners recognise a token that went astray.
	scimTokenPrefix = "hfscim_"
	// scimTokenBytes of randomness, as base64url.
	scimTokenBytes = 32
)

type scimAddOptions struct {
	directory, label, by, gateway string
	expires                       time.Duration
}

// scimAdded is what `scim token add --json` prints. The token is a secret as long as it is good.
type scimAdded struct {
	Tenant    string               `json:"tenant"`
	Directory backup.DirectoryName `json:"directory"`
	Label     string               `json:"label"`
	BaseURL   string               `json:"baseURL"`
	Token     string               `json:"token"`
	Expires   time.Time            `json:"expires,omitzero"`
}

func newSCIMTokenAdd(p *program) *cobra.Command {
	o := scimAddOptions{expires: 365 * 24 * time.Hour}
	cmd := &cobra.Command{
		Use: "add TENANT", Short: "Make a token with which an identity provider pushes people",
		Long: fmt.Sprintf(`Makes a token on this machine and lets whoever has it push people and groups into one directory of the tenant by SCIM 2.0. It is
printed once; enter it, and the base URL, in the identity provider. Holdfast itself keeps only the token's SHA-256.

A directory has %d tokens at most: the one in use, and the one that replaces it. To rotate, add the second, enter it in the identity provider,
see in holdfast scim token list that it is used, and revoke the first.`, backup.MaxSCIMTokens),
		Example: `  holdfast scim token add acme
  holdfast scim token add acme --directory okta --label okta-2026 --expires 4380h
  holdfast scim token add acme --gateway https://backup.example --json`,
		Args: takes(p, "TENANT"),
		RunE: func(cmd *cobra.Command, args []string) error { return runSCIMTokenAdd(cmd.Context(), p, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.directory, "directory", "", "name of the directory that is pushed (default: the only one of kind scim)")
	f.StringVar(&o.label, "label", "", "what tells the tokens of a directory apart: small letters, digits and dashes (default: the directory's name, and a number)")
	f.DurationVar(&o.expires, "expires", o.expires, "how long the token is good; 0: until it is revoked")
	f.StringVar(&o.by, "by", "", "in whose name (default: this machine's user)")
	f.StringVar(&o.gateway, "gateway", "", "the gateway as the identity provider reaches it: https://host:port (default: as this machine does)")
	return cmd
}

func runSCIMTokenAdd(ctx context.Context, p *program, tenant string, o scimAddOptions) error {
	switch {
	case o.expires < 0 || o.expires > 0 && o.expires < time.Minute:
		return &usageError{errors.New("--expires is a time from 1m, or 0 for never")}
	case o.gateway != "" && !strings.HasPrefix(o.gateway, "https://"):
		return &usageError{errors.New("--gateway looks like https://host:port")}
	}
	return p.withBoth(ctx, func(c flows, r reader, s settings) error {
		by, err := s.who(o.by)
		if err != nil {
			return err
		}
		added, err := p.newSCIMToken(ctx, r, tenant, o)
		if err != nil {
			return err
		}
		added.BaseURL = strings.TrimSuffix(cmp.Or(o.gateway, s.Gateway), "/") + readapi.SCIMPath
		hash := sha256.Sum256([]byte(added.Token))
		err = c.ChangeSCIMToken(ctx, orchestrator.SCIMTokenRequest{Tenant: tenant, Directory: added.Directory, Label: added.Label, Hash: hash[:],
			Expires: added.Expires, RequestedBy: by})
		if err != nil {
			return err
		}
		return p.saySCIMToken(added)
	})
}

// newSCIMToken makes a token for a directory of the tenant, with a label that none has.
func (p *program) newSCIMToken(ctx context.Context, r reader, tenant string, o scimAddOptions) (scimAdded, error) {
	report, err := r.Tenant(ctx, tenant)
	if err != nil {
		return scimAdded{}, err
	}
	a := scimAdded{Tenant: tenant, Label: o.label}
	if a.Directory, err = pushedDirectory(report.Tenant, o.directory); err != nil {
		return a, err
	}
	if a.Label == "" {
		page, err := r.SCIMTokens(ctx, tenant)
		if err != nil {
			return a, err
		}
		a.Label = freeLabel(a.Directory, page.Tokens)
	}
	if o.expires > 0 {
		a.Expires = p.now().Add(o.expires)
	}
	secret := make([]byte, scimTokenBytes)
	rand.Read(secret)
	a.Token = scimTokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	return a, nil
}

func freeLabel(dir backup.DirectoryName, tokens []readapi.SCIMToken) string {
	label := string(dir)
	for n := 2; slices.ContainsFunc(tokens, func(t readapi.SCIMToken) bool { return t.Directory == dir && t.Label == label }); n++ {
		label = fmt.Sprintf("%s-%d", dir, n)
	}
	return label
}

// saySCIMToken prints the token, this once.
func (p *program) saySCIMToken(a scimAdded) error {
	if p.json {
		return p.emit(a)
	}
	p.say("base URL  %s", clean(a.BaseURL))
	p.say("token     %s", a.Token)
	until := "until it is revoked"
	if !a.Expires.IsZero() {
		until = "until " + p.when(a.Expires)
	}
	fmt.Fprintf(p.err, `
The token %s lets an identity provider push people into the directory %s of %s, %s. It is not shown again: enter it now.
  Okta       HTTP Header authentication, the token as Authorization; unique identifier userName
  Entra ID   Tenant URL is the base URL, Secret Token is the token
next: holdfast scim token list %s
`, clean(a.Label), clean(string(a.Directory)), clean(a.Tenant), until, clean(a.Tenant))
	return nil
}
