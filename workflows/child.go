package workflows

import (
	"errors"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The distances at which a workflow looks whether another, which it did not start, has ended.
const (
	firstAttempt = 5 * time.Second
	lastAttempt  = time.Hour
)

// child is a workflow that a step of another one consists of.
type child struct {
	id, name, summary string
	input             any
	attributes        temporal.SearchAttributes
}

// options abandon the child when the parent closes. A parent closes, too, when it continues as new, and finds the child again
// by its id; and what the child does (the tenant's key, an import) may be awaited by others. A parent that is cancelled still
// cancels the children it is waiting for, because the SDK asks for it.
func (c child) options() workflow.ChildWorkflowOptions {
	return workflow.ChildWorkflowOptions{
		WorkflowID:            c.id,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		TypedSearchAttributes: c.attributes,
		StaticSummary:         c.summary,
	}
}

// run runs the child and shows its tasks in this checklist. When a workflow of this id is under way already, started by
// somebody else or by an earlier run of this one, it waits for that one to end and then runs its own: every child proves first
// what is there, so a second run costs little, and its result is had without having been the one who started it.
func (b *board) run(ctx workflow.Context, c child, result any) (err error) {
	b.child, b.ended = c.id, nil
	defer func() {
		if !errors.Is(err, errContinue) { // it is listened to until the workflow continues
			b.child = ""
		}
	}()
	since := workflow.Now(ctx)
	for following := false; ; following = true {
		future := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, c.options()), c.name, c.input)
		err = workflow.Await(ctx, func() bool { return future.IsReady() || workflow.GetInfo(ctx).GetContinueAsNewSuggested() })
		if err != nil {
			return err
		}
		if !future.IsReady() {
			return errContinue
		}
		if err = future.Get(ctx, result); !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return err
		}
		if !following {
			workflow.SignalExternalWorkflow(ctx, c.id, "", FollowSignal, b.self)
		}
		if since, err = b.attend(ctx, c, since); err != nil {
			return err
		}
	}
}

// attend waits until the workflow that is under way may have ended. It tells by itself how its tasks go; should that be
// missed, it is looked for in growing distance.
func (b *board) attend(ctx workflow.Context, c child, since time.Time) (time.Time, error) {
	b.ended = nil
	patience := min(max(workflow.Now(ctx).Sub(since), firstAttempt), lastAttempt)
	options := workflow.AwaitOptions{Timeout: patience, TimerOptions: workflow.TimerOptions{Summary: "Waiting for " + c.id}}
	_, err := workflow.AwaitWithOptions(ctx, options, func() bool { return b.ended != nil })
	switch {
	case err != nil:
		return since, err
	case b.ended == nil:
		return since, nil
	case b.ended.State == backup.Failed:
		t := b.ended
		return since, failure(backup.Verdict{Code: t.Code, Fault: backup.FaultCustomer, Detail: t.Name + ": " + t.Detail})
	}
	return workflow.Now(ctx), nil // it is about to end: look soon again
}

// ofTenant are the search attributes by which workflows of a tenant are found.
func ofTenant(tenant string) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(TenantAttribute.ValueSet(tenant))
}

// ofApp are the search attributes by which workflows of one app of a tenant are found.
func ofApp(tenant string, app backup.App) temporal.SearchAttributes {
	return temporal.NewSearchAttributes(TenantAttribute.ValueSet(tenant), AppAttribute.ValueSet(string(app)))
}
