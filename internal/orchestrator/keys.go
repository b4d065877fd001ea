package orchestrator

import (
	"context"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// BySchedule is who asks for the rotations that the clock starts; they need no approval.
const BySchedule = "schedule"

// KeyFlow is what changes a tenant's key: its making, a rotation, a switch, a shredding. There is one at a time, because all of them
// have the same workflow id.
type KeyFlow struct {
	WorkflowID string `json:"workflowID"`
	RunID      string `json:"runID"`
	// Kind is the workflow's type: ProvisionKey, ChangeKey or ShredKey.
	Kind    string `json:"kind"`
	Running bool   `json:"running"`
	// Outcome is the end in Temporal's words; empty while it runs.
	Outcome string    `json:"outcome,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Tasks is the checklist, in order.
	Tasks []backup.Task `json:"tasks"`
	// Err is how it failed, when it did.
	Err error `json:"-"`
}

// Title says what the flow does, as a person would.
func (f KeyFlow) Title() string {
	switch f.Kind {
	case workflows.ProvisionKeyName:
		return "the making of the key"
	case workflows.ChangeKeyName:
		return "a change of the key"
	case workflows.ShredKeyName:
		return "the shredding of the key"
	}
	return f.Kind
}

// RotateKey asks for a new generation of the tenant's ekey by the method that it has. It returns the run that was started; while
// another flow of the key is under way it is ErrRefused, and the message names that one.
func (c *Client) RotateKey(ctx context.Context, tenant, by string) (runID string, err error) {
	return c.changeKey(ctx, workflows.ChangeKeyInput{Tenant: tenant, Change: workflows.RotateKey, RequestedBy: by}, summary("Rotate the key of %s", tenant))
}

// SwitchKey asks for a new generation by another method. The rest is as with RotateKey.
func (c *Client) SwitchKey(ctx context.Context, tenant string, method backup.KeyMethod, by string) (runID string, err error) {
	return c.changeKey(ctx, workflows.ChangeKeyInput{Tenant: tenant, Change: workflows.SwitchKey, Method: method, RequestedBy: by}, summary("Switch the key of %s to %s", tenant, method))
}

// RewrapKey asks the KMS to wrap the generation that is in use by its newest key version. The rest is as with RotateKey.
func (c *Client) RewrapKey(ctx context.Context, tenant, by string) (runID string, err error) {
	return c.changeKey(ctx, workflows.ChangeKeyInput{Tenant: tenant, Change: workflows.RewrapKey, RequestedBy: by}, summary("Wrap the key of %s anew", tenant))
}

func (c *Client) changeKey(ctx context.Context, in workflows.ChangeKeyInput, what string) (runID string, err error) {
	return c.startKeyFlow(ctx, in.Tenant, workflows.ChangeKeyName, in, what)
}

// ShredKey asks for the destruction of the tenant's ekey. Two people, neither of whom asked, approve it, and then it can be called off
// for a while. The rest is as with RotateKey.
func (c *Client) ShredKey(ctx context.Context, tenant, by, reason string) (runID string, err error) {
	in := workflows.ShredKeyInput{Tenant: tenant, RequestedBy: by, Reason: reason}
	return c.startKeyFlow(ctx, tenant, workflows.ShredKeyName, in, summary("Shred the key of %s", tenant))
}

func (c *Client) startKeyFlow(ctx context.Context, tenant, kind string, in any, what string) (runID string, err error) {
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.ProvisionKeyID(tenant), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            what,
		TypedSearchAttributes:                    attributes(tenant, backup.Microsoft365),
	}, kind, in)
	switch {
	case alreadyRuns(err):
		return "", c.keyIsChanging(ctx, tenant)
	case err != nil:
		return "", c.classify(ctx, err, "the change of the key of "+tenant, "holdfast key status "+tenant)
	}
	return run.GetRunID(), nil
}

// keyIsChanging is the refusal of a second flow, with the name of the first.
func (c *Client) keyIsChanging(ctx context.Context, tenant string) error {
	title := "another change of the key"
	if info, err := c.describeKeyFlow(ctx, tenant, ""); err == nil {
		title = KeyFlow{Kind: info.GetType().GetName()}.Title()
	}
	return &failure{ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Retryable: true,
		Message: title + " of " + tenant + " is under way", Hint: "holdfast key status " + tenant + " shows how far it is; it must end, or be given up, first"}}
}

// KeyFlow asks for the newest flow of the tenant's key, or for one run of it. Of one that has ended the tasks are not asked for.
// ErrNotFound: there was none, or it is long ago.
func (c *Client) KeyFlow(ctx context.Context, tenant, runID string) (KeyFlow, error) {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	info, err := c.describeKeyFlow(ctx, tenant, runID)
	if err != nil {
		return KeyFlow{}, err
	}
	id, run := info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId()
	f := KeyFlow{WorkflowID: id, RunID: run, Kind: info.GetType().GetName(), Started: info.GetStartTime().AsTime(),
		Running: info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING}
	switch {
	case info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return c.KeyFlow(ctx, tenant, "") // nothing else can have this id until the flow has ended
	case f.Running:
		f.Tasks, err = c.queryTasks(ctx, id, run)
		return f, err
	}
	f.Outcome, f.Ended = info.GetStatus().String(), info.GetCloseTime().AsTime()
	f.Err = c.result(ctx, id, run, f.Title()+" of "+tenant, nil)
	return f, nil
}

func (c *Client) describeKeyFlow(ctx context.Context, tenant, runID string) (*workflow.WorkflowExecutionInfo, error) {
	d, err := c.temporal.DescribeWorkflowExecution(ctx, workflows.ProvisionKeyID(tenant), runID)
	return d.GetWorkflowExecutionInfo(), c.classify(ctx, err, "a change of the key of "+tenant, "holdfast key status "+tenant)
}

// DrillKey asks every source of the tenant's key for proof now, and waits for what they say. A drill that somebody else has just
// started is joined: it asks the same.
func (c *Client) DrillKey(ctx context.Context, tenant string) (backup.KeyDrill, error) {
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.DrillKeyID(tenant), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            summary("Drill the loss of the key of %s", tenant),
		TypedSearchAttributes:    attributes(tenant, backup.Microsoft365),
	}, workflows.DrillKeyName, workflows.DrillKeyInput{Tenant: tenant})
	var result workflows.DrillKeyResult
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), "the drill of "+tenant, &result)
	}
	return result.Drill, c.classify(ctx, err, "the drill of "+tenant, "")
}
