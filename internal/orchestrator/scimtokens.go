package orchestrator

import (
	"context"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// SCIMTokenRequest makes a token good, or useless. It holds the token's SHA-256; the token itself stays with whoever made it.
type SCIMTokenRequest = workflows.ChangeSCIMTokenInput

// ChangeSCIMToken makes a token of an identity provider good, or useless, and waits for the end. ErrRefused: who asked may not, another token
// has the label, the directory has as many as it may have, or a change of its tokens is under way.
func (c *Client) ChangeSCIMToken(ctx context.Context, r SCIMTokenRequest) error {
	what := "the change of a SCIM token of " + r.Tenant
	verb := "Add"
	if r.Revoke {
		verb = "Revoke"
	}
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.ChangeSCIMTokenID(r.Tenant, r.Directory), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary("%s the SCIM token %s of %s", verb, r.Label, r.Tenant),
		TypedSearchAttributes:                    temporal.NewSearchAttributes(workflows.TenantAttribute.ValueSet(r.Tenant)),
	}, workflows.ChangeSCIMTokenName, r)
	if alreadyRuns(err) {
		return &failure{ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Retryable: true,
			Message: what + " is under way", Hint: "try again when it has ended"}}
	}
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), what, nil)
	}
	err = c.classify(ctx, err, what, "holdfast scim token list "+r.Tenant)
	for _, code := range []backup.Code{backup.CodeNotAllowed, backup.CodeUnknownPrincipal, backup.CodeConflict} {
		if backup.HasCode(err, code) {
			return refused(err)
		}
	}
	return err
}
