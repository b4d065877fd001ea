package activities

import (
	"context"
	"crypto/sha256"
	"regexp"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Tokening lets identity providers in, and keeps them out again.
type Tokening struct {
	Tenants Tenants
	Tokens  SCIMTokens
}

// AddTokenInput makes a token good. Hash is its SHA-256, never the token.
type AddTokenInput struct {
	Tenant    string
	Directory backup.DirectoryName
	Label     string
	Hash      []byte
	Created   time.Time
	Expires   time.Time
	By        string
}

// RevokeTokenInput names a token.
type RevokeTokenInput struct {
	Tenant    string
	Directory backup.DirectoryName
	Label     string
}

// tokenLabel is what backup.SCIMToken says of labels.
var tokenLabel = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)

// AddToken makes a token good for a directory that takes what is pushed.
func (a *Tokening) AddToken(ctx context.Context, in AddTokenInput) error {
	if len(in.Hash) != sha256.Size || !tokenLabel.MatchString(in.Label) {
		return fail(&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "a SCIM token needs its SHA-256 and a label of small letters, digits and dashes",
			Hint: "make it by holdfast scim token add " + in.Tenant})
	}
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return fail(err)
	}
	dir, err := t.Directory(in.Directory)
	if err != nil {
		return fail(err)
	}
	if dir.Kind != backup.SCIM {
		return fail(&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the directory " + string(dir.Name) + " of " + in.Tenant + " is read by " + string(dir.Kind) + ": nobody pushes to it",
			Hint: "name a directory of the kind scim under directories in the tenant's file"})
	}
	return fail(a.Tokens.AddSCIMToken(ctx, backup.SCIMToken{SCIMScope: backup.SCIMScope{Tenant: in.Tenant, Directory: in.Directory},
		Label: in.Label, Hash: in.Hash, Created: in.Created, Expires: in.Expires, By: in.By}))
}

// RevokeToken makes a token useless at once. The directory may have left the tenant's file meanwhile.
func (a *Tokening) RevokeToken(ctx context.Context, in RevokeTokenInput) error {
	return fail(a.Tokens.RevokeSCIMToken(ctx, backup.SCIMScope{Tenant: in.Tenant, Directory: in.Directory}, in.Label, time.Now()))
}
