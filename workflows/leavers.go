package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// askAgainAfter is how long a deletion that was rejected is not asked for.
const askAgainAfter = 30 * 24 * time.Hour

// leavers is a review of whose data is due for deletion.
type leavers struct {
	in     ReviewLeaversInput
	board  *board
	due    activities.DueResult
	until  time.Time
	since  string
	result ReviewLeaversResult
}

// ReviewLeavers marks whose data has been kept for as long as the profile says, and waits until a person approves that the data of exactly
// those is deleted. It deletes nothing itself. Whoever becomes due later needs another approval.
func ReviewLeavers(ctx workflow.Context, in ReviewLeaversInput) (*ReviewLeaversResult, error) {
	l := &leavers{in: in}
	if err := l.setUp(ctx); err != nil {
		return nil, err
	}
	err := l.run(ctx)
	if errors.Is(err, errContinue) {
		err = l.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	l.board.close(ctx, err)
	if err != nil {
		return nil, err
	}
	return &l.result, nil
}

func (l *leavers) setUp(ctx workflow.Context) (err error) {
	var resume *TaskBoard
	if r := l.in.Resume; r != nil {
		l.due, l.until, resume = activities.DueResult{Due: r.Due, Digest: r.Digest}, r.Until, &r.Board
	}
	l.board, err = openBoard(ctx, &board{speaker: speaker{l.in.Tenant}, heading: "The data of people who left " + l.in.Tenant,
		again: "it is asked for again after thirty days at the earliest"}, []string{backup.TaskDeletions}, resume)
	return err
}

func (l *leavers) run(ctx workflow.Context) error {
	if !l.until.IsZero() {
		return l.rest(ctx)
	}
	if l.in.Resume == nil && l.in.RequestedBy != "" {
		asker := activities.AdministratorInput{Tenant: l.in.Tenant, RequestedBy: l.in.RequestedBy}
		if err := l.board.mayAdminister(ctx, bookkeeping, "May "+l.in.RequestedBy+" review who left?", asker); err != nil {
			return err
		}
	}
	for {
		err := l.board.pass(ctx, gate{name: backup.TaskDeletions, actions: judge, requestedBy: l.in.RequestedBy, look: l.look,
			difference: func() string { return l.due.Digest }})
		t := l.board.task(backup.TaskDeletions)
		switch {
		case err != nil && t.State == backup.Failed && t.DecidedBy != "":
			l.result.Rejected = true
			l.until = workflow.Now(ctx).Add(askAgainAfter)
			return l.rest(ctx)
		case err != nil || t.DecidedBy == "": // nobody is due (any more)
			return err
		}
		err = l.release(ctx, t)
		if err == nil || VerdictOf(err).Code != backup.CodeDifferenceChanged {
			return failed(ctx, err)
		}
		l.since = fmt.Sprintf("it is not what %s approved: others are due by now; ", t.DecidedBy)
		t.State, t.DecidedBy, t.Reminders = backup.Pending, "", 0
	}
}

// look marks who is due. Every day it may be others.
func (l *leavers) look(ctx workflow.Context) (backup.Verdict, error) {
	calls := calling(ctx, comparing, l.in.Tenant, "Mark whose data is due for deletion")
	var due activities.DueResult
	if err := workflow.ExecuteActivity(calls, (*activities.Leaving)(nil).MarkDue, describe(l.in.Tenant, "")).Get(calls, &due); err != nil {
		return VerdictOf(err), failed(ctx, err)
	}
	l.due = due
	if due.Due == 0 {
		return backup.Verdict{Passing: true, Detail: "nobody's data is due for deletion"}, nil
	}
	return backup.Verdict{Code: backup.CodeRemovalThreshold, Fault: backup.FaultCustomer,
		Detail: fmt.Sprintf("%sthe data of %d people who left has been kept for as long as their profile says", l.since, due.Due),
		Hint:   "holdfast users list " + l.in.Tenant + " --account-state due shows who; an approval lets their data be deleted, for ever"}, nil
}

func (l *leavers) release(ctx workflow.Context, approved *backup.Task) error {
	calls := calling(ctx, comparing, l.in.Tenant, fmt.Sprintf("Let the data of %d people be deleted", l.due.Due))
	in := activities.ReleaseInput{Tenant: l.in.Tenant, Digest: approved.Difference, ApprovedBy: approved.DecidedBy}
	var released activities.ReleaseResult
	err := workflow.ExecuteActivity(calls, (*activities.Leaving)(nil).ReleaseDue, in).Get(calls, &released)
	l.result.Released = released.Released
	return err
}

// rest keeps the schedule, which starts no second review beside this one, from asking again too soon.
func (l *leavers) rest(ctx workflow.Context) error {
	l.result.Rejected = true
	return workflow.NewTimerWithOptions(ctx, l.until.Sub(workflow.Now(ctx)), workflow.TimerOptions{Summary: "It was rejected; ask again at the earliest"}).Get(ctx, nil)
}

func (l *leavers) continueAsNew(ctx workflow.Context) error {
	resume, err := l.board.carry(ctx)
	if err != nil {
		return err
	}
	l.in.Resume = &LeaversBoard{Due: l.due.Due, Digest: l.due.Digest, Until: l.until, Board: *resume}
	return workflow.NewContinueAsNewError(ctx, ReviewLeaversName, l.in)
}
