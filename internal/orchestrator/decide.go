package orchestrator

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// The visibility store learns of a waiting task a moment after the workflow does. A decision that comes in that moment is not turned
// away: it looks again lookAgain times, lookDistance apart.
const (
	lookAgain    = 5
	lookDistance = 300 * time.Millisecond
)

// Decide takes a person's decision on a task of the tenant and returns the task as it then stands. ErrRefused with
// CodeNotWaiting: no such task waits; CodeNotAllowed: several do, as when two connectors are admitted at once, or the workflow did not
// accept it; CodeUnknownPrincipal: neither did it.
func (c *Client) Decide(ctx context.Context, tenant string, d backup.Decision) (backup.Task, error) {
	return c.DecideIn(ctx, tenant, "", d)
}

// DecideIn is Decide for the task of one workflow; empty: of any, if there is only one.
func (c *Client) DecideIn(ctx context.Context, tenant, workflowID string, d backup.Decision) (backup.Task, error) {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	w, err := c.findTask(ctx, tenant, workflowID, d.Task)
	if err != nil {
		return backup.Task{}, err
	}
	var task backup.Task
	err = c.update(ctx, w.WorkflowID, workflows.DecideUpdate, d, &task)
	return task, err
}

// DecideBySignal sends the same decision without waiting for an answer; a refusal shows as an alert.
func (c *Client) DecideBySignal(ctx context.Context, tenant string, d backup.Decision) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	w, err := c.findTask(ctx, tenant, "", d.Task)
	if err != nil {
		return err
	}
	err = c.temporal.SignalWorkflow(ctx, w.WorkflowID, "", workflows.DecideSignal, d)
	return c.classify(ctx, err, w.WorkflowID, "holdfast inbox")
}

func (c *Client) findTask(ctx context.Context, tenant, workflowID, task string) (Waiting, error) {
	for range lookAgain {
		inbox, err := c.Inbox(ctx, tenant)
		if err != nil {
			return Waiting{}, err
		}
		found := slices.DeleteFunc(inbox, func(w Waiting) bool { return w.Task.Name != task || workflowID != "" && w.WorkflowID != workflowID })
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return Waiting{}, ambiguous(task, found)
		}
		if err := sleep(ctx, lookDistance); err != nil {
			return Waiting{}, err
		}
	}
	return Waiting{}, &failure{ErrRefused, &backup.Error{Code: backup.CodeNotWaiting, Fault: backup.FaultCustomer,
		Message: "no task named " + task + " waits for a decision in " + tenant, Hint: "holdfast inbox " + tenant}}
}

// ambiguous refuses to guess: the wrong connector would be admitted by it.
func ambiguous(task string, found []Waiting) error {
	ids := make([]string, len(found))
	for i, w := range found {
		ids[i] = w.WorkflowID
	}
	return &failure{ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
		Message: "several tasks named " + task + " wait: in " + strings.Join(ids, ", "), Hint: "say which one is meant: --workflow " + ids[0]}}
}

// sleep ends early with the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
