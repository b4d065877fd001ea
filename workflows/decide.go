package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// forwardPatience is how long the answer to a decision for a child's task waits to hear from the child.
const forwardPatience = 10 * time.Second

// check only reads, so the validator of the update may call it: a refused update leaves no trace in the history.
func (b *board) check(d backup.Decision) error {
	if err := b.task(d.Task).CheckDecision(d); err != nil {
		return refusal(err)
	}
	if b.objects == nil {
		return nil
	}
	if err := b.objects(b.task(d.Task), d); err != nil {
		return refusal(err)
	}
	return nil
}

// decide takes a decision, however it came, and returns the task as it then stands.
func (b *board) decide(ctx workflow.Context, d backup.Decision) (backup.Task, error) {
	if err := b.check(d); err != nil {
		return backup.Task{}, err
	}
	t := b.task(d.Task)
	if err := b.authorize(ctx, *t, d); err != nil {
		return *t, err
	}
	// The task may have been decided, or passed by itself, while the store was asked.
	if err := b.check(d); err != nil {
		return *t, err
	}
	if !b.own(t) {
		return b.forward(ctx, t, d)
	}
	b.accept(t, d)
	b.publish(ctx)
	return *t, nil
}

// authorize asks the store whether the decider is known and may do this. Code, words and hint of a refusal reach the caller.
func (b *board) authorize(ctx workflow.Context, t backup.Task, d backup.Decision) error {
	ctx = calling(ctx, answering, b.tenant, "May "+d.By+" "+string(d.Action)+"?")
	in := activities.AuthorizeInput{Tenant: b.tenant, Task: t, Decision: d, Proposed: b.proposed}
	return failed(ctx, workflow.ExecuteActivity(ctx, (*activities.Tenancy)(nil).AuthorizeDecision, in).Get(ctx, nil))
}

// accept writes the decision onto the task, where the waiting gate finds it. Nothing blocks between the check and this, so
// of two decisions at the same time the second one is refused.
func (b *board) accept(t *backup.Task, d backup.Decision) {
	t.DecidedBy = d.By
	words := map[backup.Action]string{backup.Approve: "approved by ", backup.Waive: "waived by ", backup.Reject: "rejected by ", backup.Abort: "aborted by "}[d.Action] + d.By
	if d.Reason != "" {
		words += ": " + d.Reason
	}
	switch d.Action {
	case backup.Retry:
		t.State, t.Actions, t.NextCheck = backup.Failing, nil, time.Time{}
		b.nudged = true // a look that is under way began before the decision
	case backup.Approve:
		b.end(t, backup.Passing, words)
	case backup.Waive:
		b.end(t, backup.Waived, words)
	case backup.Reject, backup.Abort:
		b.end(t, backup.Failed, words)
	}
}

// forward hands a decision to the child whose task it is, so that a person can answer at the workflow he started, and waits a
// moment for what the child makes of it.
func (b *board) forward(ctx workflow.Context, t *backup.Task, d backup.Decision) (backup.Task, error) {
	before := b.heard
	if err := workflow.SignalExternalWorkflow(ctx, t.Workflow, "", DecideSignal, d).Get(ctx, nil); err != nil {
		return *t, refusal(&backup.Error{Code: backup.CodeNotWaiting, Fault: backup.FaultCustomer, Message: "the workflow " + t.Workflow + " does not run any more", Hint: "holdfast inbox"})
	}
	options := workflow.AwaitOptions{Timeout: forwardPatience, TimerOptions: workflow.TimerOptions{Summary: "Waiting for " + t.Workflow}}
	_, err := workflow.AwaitWithOptions(ctx, options, func() bool { return b.heard != before })
	return *t, err
}

// decideBySignal takes a decision from somebody who cannot hear a refusal; it is told as an alert instead.
func (b *board) decideBySignal(ctx workflow.Context, d backup.Decision) {
	b.deciding++
	defer func() { b.deciding-- }()
	if _, err := b.decide(ctx, d); err != nil {
		v := VerdictOf(err)
		b.raise(ctx, backup.Alert{Kind: backup.AlertSignalRefused, Subject: d.Task, Message: v.Detail, Hint: v.Hint})
	}
}
