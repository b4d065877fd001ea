package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
)

// Restore writes one snapshot into a folder, for somebody who may administer the tenant: what is restored can be read by
// whoever reads that folder.
func Restore(ctx workflow.Context, in RestoreInput) (*RestoreResult, error) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("### Restoring %s of %s\n\nInto %s, asked for by %s.\n", in.Service, plain(in.Account), plain(in.To), plain(in.RequestedBy)))
	asker := activities.AdministratorInput{Tenant: in.Tenant, RequestedBy: in.RequestedBy}
	if err := (speaker{in.Tenant}).mayAdminister(ctx, bookkeeping, "May "+in.RequestedBy+" restore?", asker); err != nil {
		return nil, err
	}
	calls := calling(ctx, restoring, in.Tenant, fmt.Sprintf("Restore %s of %s", in.Service, in.Account))
	var restored activities.RestoreResult
	err := workflow.ExecuteActivity(calls, (*activities.Restoring)(nil).RestoreSnapshot, activities.RestoreInput{
		Tenant: in.Tenant, Account: in.Account, App: in.App, Service: in.Service, Snapshot: in.Snapshot, To: in.To,
	}).Get(calls, &restored)
	if err != nil {
		return nil, failed(ctx, err)
	}
	return &RestoreResult{Snapshot: restored.Snapshot, Counts: restored.Counts}, nil
}
