package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
)

// RemoveConnector takes back the admission of a connector that was lost, stolen or replaced. One administrator is enough: it is asked
// for in a hurry, and it cannot take away the last holder of the key. The connector still has the key; a rotation makes that useless.
func RemoveConnector(ctx workflow.Context, in RemoveConnectorInput) (*RemoveConnectorResult, error) {
	asker := activities.AdministratorInput{Tenant: in.Tenant, RequestedBy: in.RequestedBy}
	if err := (speaker{in.Tenant}).mayAdminister(ctx, bookkeeping, "May "+in.RequestedBy+" remove a connector?", asker); err != nil {
		return nil, failed(ctx, err)
	}
	calls := calling(ctx, bookkeeping, in.Tenant, "Remove the connector "+in.Connector)
	named := activities.EnrolmentInput{Tenant: in.Tenant, Connector: in.Connector}
	var removed activities.RemovedConnector
	if err := workflow.ExecuteActivity(calls, (*activities.Enrolling)(nil).RemoveConnector, named).Get(calls, &removed); err != nil {
		return nil, failed(ctx, err)
	}
	return &RemoveConnectorResult{Identity: removed.Identity}, nil
}
