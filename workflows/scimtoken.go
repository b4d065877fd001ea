package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ChangeSCIMTokenName is the workflow's registered name.
const ChangeSCIMTokenName = "ChangeSCIMToken"

// ChangeSCIMTokenID is one per tenant and directory, so that two changes never run at once.
func ChangeSCIMTokenID(tenant string, dir backup.DirectoryName) string {
	return fmt.Sprintf("token/%s/%s", tenant, dir)
}

// ChangeSCIMTokenInput makes one token of a directory good, or useless. The token itself never comes here, only its SHA-256.
type ChangeSCIMTokenInput struct {
	Tenant    string
	Directory backup.DirectoryName
	Label     string
	// Revoke makes the token useless; Hash and Expires mean nothing then.
	Revoke      bool
	Hash        []byte
	Expires     time.Time // zero: never
	RequestedBy string
}

// ChangeSCIMToken lets an identity provider in, or keeps it out, when an administrator asks for it.
func ChangeSCIMToken(ctx workflow.Context, in ChangeSCIMTokenInput) error {
	asker := activities.AdministratorInput{Tenant: in.Tenant, RequestedBy: in.RequestedBy}
	if err := (speaker{in.Tenant}).mayAdminister(ctx, bookkeeping, "May "+in.RequestedBy+" change SCIM tokens?", asker); err != nil {
		return failed(ctx, err)
	}
	if in.Revoke {
		calls := calling(ctx, bookkeeping, in.Tenant, "Revoke the SCIM token "+in.Label)
		named := activities.RevokeTokenInput{Tenant: in.Tenant, Directory: in.Directory, Label: in.Label}
		return failed(ctx, workflow.ExecuteActivity(calls, (*activities.Tokening)(nil).RevokeToken, named).Get(calls, nil))
	}
	calls := calling(ctx, bookkeeping, in.Tenant, "Make the SCIM token "+in.Label+" good")
	token := activities.AddTokenInput{Tenant: in.Tenant, Directory: in.Directory, Label: in.Label, Hash: in.Hash,
		Created: workflow.Now(ctx), Expires: in.Expires, By: in.RequestedBy}
	return failed(ctx, workflow.ExecuteActivity(calls, (*activities.Tokening)(nil).AddToken, token).Get(calls, nil))
}
