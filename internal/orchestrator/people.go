package orchestrator

import (
	"context"
	"errors"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// PushedPeople asks for an import of a directory: one that is under way imports once more when it has ended, and otherwise one begins. It is
// one signal, so whoever hears of many changes says it once for all of them.
func (c *Client) PushedPeople(ctx context.Context, s backup.SCIMScope) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	id := workflows.ImportID(s.Tenant, s.Directory)
	_, err := c.temporal.SignalWithStartWorkflow(ctx, id, workflows.PushedSignal, "pushed", client.StartWorkflowOptions{
		ID: id, TaskQueue: workflows.TaskQueue,
		StaticSummary:         summary("Import what was pushed for %s to %s", s.Tenant, s.Directory),
		TypedSearchAttributes: ofTenant(s.Tenant),
	}, workflows.ImportPeopleName, workflows.ImportPeopleInput{Tenant: s.Tenant, Directory: s.Directory})
	return c.classify(ctx, err, "the import of "+s.Tenant, "")
}

// WakeConflicts has the flow in which the tenant's conflicts wait look how many there are, and begins it when begin is set. It is content
// when there is none to be woken.
func (c *Client) WakeConflicts(ctx context.Context, tenant string, begin bool) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	id, what := workflows.SettleConflictsID(tenant), "the flow of conflicts of "+tenant
	if begin {
		_, err := c.temporal.SignalWithStartWorkflow(ctx, id, workflows.RecheckSignal, "an import", settling(tenant), workflows.SettleConflictsName, workflows.SettleConflictsInput{Tenant: tenant})
		return c.classify(ctx, err, what, "")
	}
	err := c.classify(ctx, c.temporal.SignalWorkflow(ctx, id, "", workflows.RecheckSignal, "an import"), what, "")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Settle keeps a person's decision on an entry in conflict, and has its directory imported, which carries it out. A decision may be taken
// back by another one at any time, also when no conflict waits. ErrRefused: there is no such entry or account, or the person may not.
func (c *Client) Settle(ctx context.Context, tenant string, d backup.MergeDecision) error {
	if err := d.Check(); err != nil {
		return &failure{ErrRefused, backup.AsError(err)}
	}
	ctx, cancel := answerBy(ctx)
	defer cancel()
	id := workflows.SettleConflictsID(tenant)
	o := settling(tenant)
	o.WorkflowIDConflictPolicy = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
	h, err := c.temporal.UpdateWithStartWorkflow(ctx, client.UpdateWithStartWorkflowOptions{
		StartWorkflowOperation: c.temporal.NewWithStartWorkflowOperation(o, workflows.SettleConflictsName, workflows.SettleConflictsInput{Tenant: tenant}),
		UpdateOptions: client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: workflows.SettleUpdate, Args: []any{d},
			WaitForStage: client.WorkflowUpdateStageCompleted}})
	if err == nil {
		err = h.Get(ctx, nil)
	}
	return refused(c.classify(ctx, err, "the flow of conflicts of "+tenant, "holdfast users conflicts "+tenant))
}

func settling(tenant string) client.StartWorkflowOptions {
	return client.StartWorkflowOptions{ID: workflows.SettleConflictsID(tenant), TaskQueue: workflows.TaskQueue,
		StaticSummary: summary("Settle the conflicts of %s", tenant), TypedSearchAttributes: ofTenant(tenant)}
}

func ofTenant(tenant string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(workflows.TenantAttribute.ValueSet(tenant))
}
