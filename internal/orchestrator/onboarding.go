package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// applyAttempts bounds the race of an apply with an onboarding that ends at the same moment: each round either finds it running or starts it.
const applyAttempts = 4

// ApplyTenant starts the tenant's onboarding, or hands the changed description to the one that runs. When it has ended before, it
// starts again, so that a change is always carried out. started tells which.
//
// It is a start followed by an update, not an update with start: a start is durable without any worker, so that `apply` works
// while the worker is down, and a fresh onboarding does not get the same description twice.
func (c *Client) ApplyTenant(ctx context.Context, t backup.Tenant, app backup.App, by string) (started bool, err error) {
	for range applyAttempts {
		started, err = c.startOnboarding(ctx, t, app, by)
		if started || err != nil {
			return started, err
		}
		err = c.updateOnboarding(ctx, t, app, by)
		if !errors.Is(err, ErrNotFound) {
			return false, err
		}
	}
	return false, err
}

func (c *Client) startOnboarding(ctx context.Context, t backup.Tenant, app backup.App, by string) (bool, error) {
	_, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.OnboardID(t.ID, app), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:                    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary("Protect %s: %s", named(t), AppTitle(app)),
		TypedSearchAttributes:                    attributes(t.ID, app),
	}, workflows.OnboardTenantName, workflows.OnboardTenantInput{Tenant: t, App: app, RequestedBy: by})
	if alreadyRuns(err) {
		return false, nil
	}
	return err == nil, c.classify(ctx, err, "the onboarding of "+t.ID, "")
}

func (c *Client) updateOnboarding(ctx context.Context, t backup.Tenant, app backup.App, by string) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	return c.update(ctx, workflows.OnboardID(t.ID, app), workflows.ApplyUpdate, workflows.ApplyInput{Tenant: t, By: by}, nil)
}

// update sends an update and waits for its end. Refusals come back as ErrRefused.
func (c *Client) update(ctx context.Context, workflowID, name string, arg, result any) error {
	h, err := c.temporal.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: workflowID, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = h.Get(ctx, result)
	}
	return refused(c.classify(ctx, err, workflowID, "holdfast inbox"))
}

// Onboarding is where the onboarding of one app of a tenant stands.
type Onboarding struct {
	Running bool `json:"running"`
	// Outcome is the workflow's end in Temporal's words ("Completed", "Failed", "Canceled", …); empty while it runs.
	Outcome string    `json:"outcome,omitempty"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	// Tasks is the checklist, in order.
	Tasks []backup.Task `json:"tasks"`
	// Err is how it failed, when it did.
	Err error `json:"-"`
}

// Onboarding asks for the newest onboarding's checklist. ErrNotFound: the tenant was never applied, or it is long ago.
func (c *Client) Onboarding(ctx context.Context, tenant string, app backup.App) (Onboarding, error) {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	id := workflows.OnboardID(tenant, app)
	d, err := c.temporal.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		return Onboarding{}, c.classify(ctx, err, "the onboarding of "+tenant, "holdfast apply -f "+tenant+".yaml")
	}
	info := d.GetWorkflowExecutionInfo()
	o := Onboarding{Running: info.GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING, Started: info.GetStartTime().AsTime()}
	if !o.Running {
		o.Outcome, o.Ended = info.GetStatus().String(), info.GetCloseTime().AsTime()
		o.Err = c.result(ctx, id, info.GetExecution().GetRunId(), "the onboarding of "+tenant, nil)
	}
	o.Tasks, err = c.queryTasks(ctx, id, info.GetExecution().GetRunId())
	return o, err
}

// result waits for a workflow's end and reads its result.
func (c *Client) result(ctx context.Context, workflowID, runID, what string, result any) error {
	return c.classify(ctx, c.temporal.GetWorkflow(ctx, workflowID, runID).Get(ctx, result), what, "")
}

// AppTitle is the app's name as its vendor writes it.
func AppTitle(app backup.App) string {
	switch app {
	case backup.Microsoft365:
		return "Microsoft 365"
	case backup.GoogleWorkspace:
		return "Google Workspace"
	}
	return string(app)
}

func named(t backup.Tenant) string {
	if t.Name != "" {
		return t.Name
	}
	return t.ID
}

// summary is cut to what the server keeps of a static summary: 400 bytes (server 1.32, limit.userMetadataSummarySize).
func summary(format string, args ...any) string {
	s := fmt.Sprintf(format, args...)
	if len(s) <= 400 {
		return s
	}
	return string([]rune(s)[:100])
}

func attributes(tenant string, app backup.App) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(workflows.TenantAttribute.ValueSet(tenant), workflows.AppAttribute.ValueSet(string(app)))
}
