package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// pacing is the rhythm in which a gate waits.
type pacing struct {
	// FirstLook and LastLook bound the distance of a waiting gate's own looks. In between the distance is as long as the
	// task has waited, so it doubles from look to look: a month of waiting costs 130 looks, some 1,500 events.
	FirstLook, LastLook time.Duration
	// Outage bounds the distance where the other side is down and will be up again without telling anybody.
	Outage time.Duration
	// Reminder is the distance of two alerts about the same task.
	Reminder time.Duration
	// Deadline is when nobody can be expected to answer any more.
	Deadline time.Duration
}

// pace is a variable only so that a test against a real server need not wait for weeks.
var pace = pacing{FirstLook: time.Minute, LastLook: 6 * time.Hour, Outage: 15 * time.Minute, Reminder: 24 * time.Hour, Deadline: 60 * 24 * time.Hour}

// gate is one prerequisite or approval on the way of a workflow.
type gate struct {
	name    string
	actions []backup.Action
	// look finds out whether the prerequisite holds. An error ends the workflow; what a person could mend is a verdict.
	// Approvals have none: only a decision passes them.
	look func(workflow.Context) (backup.Verdict, error)
	// asks is the verdict that an approval waits with.
	asks backup.Verdict
	// difference is the digest of what an approval is for; nil where there is none. An approval that looks by itself may find another one.
	difference func() string
	// firstLook, when not zero, is the distance of the first look of its own.
	firstLook time.Duration
	// requestedBy may not approve.
	requestedBy string
	// until is when the gate opens by itself; zero for gates that do not.
	until time.Time
	// quiet gates need nobody: they wait without an alert.
	quiet bool
}

// pass returns when the gate is open: the prerequisite holds, was waived, or the approval was given. As long as it is not, the
// task waits, visibly, for whichever comes first: a decision, a recheck, the next look, a reminder, the deadline.
func (b *board) pass(ctx workflow.Context, g gate) error {
	t := b.need(g.name)
	if t.State == backup.Passing || t.State == backup.Waived {
		return nil // in an earlier run of this workflow
	}
	b.stage = g.name
	b.publish(ctx)
	for {
		b.nudged = false
		v, err := b.look(ctx, g, t)
		if err != nil {
			return err
		}
		switch {
		case t.State == backup.Failed:
			return b.giveUp(ctx, g, t)
		case t.State == backup.Passing || t.State == backup.Waived:
			return b.open(ctx, g, t)
		case v.Passing:
			b.end(t, backup.Passing, v.Detail)
			return b.open(ctx, g, t)
		}
		if err := b.wait(ctx, g, t, v); err != nil {
			return err
		}
	}
}

// look skips what a decision has settled already.
func (b *board) look(ctx workflow.Context, g gate, t *backup.Task) (backup.Verdict, error) {
	if g.look == nil || settled(t.State) {
		return g.asks, ctx.Err()
	}
	v, err := g.look(ctx)
	if err == nil {
		err = ctx.Err()
	}
	return v, err
}

// wait parks the task until there is a reason to look again, or until it is settled.
func (b *board) wait(ctx workflow.Context, g gate, t *backup.Task, v backup.Verdict) error {
	b.await(ctx, g, t, v)
	for ctx.Err() == nil {
		now := workflow.Now(ctx)
		switch {
		case t.State != backup.Waiting, b.nudged && g.look != nil:
			return nil
		case !g.until.IsZero() && !now.Before(g.until):
			b.end(t, backup.Passing, "its time is over")
			return nil
		case !now.Before(t.Deadline):
			t.DecidedBy = "" // whatever was decided before, it did not help
			b.end(t, backup.Failed, "nobody answered until the deadline: "+t.Detail)
			return nil
		case !g.quiet && !now.Before(nextReminder(t)):
			t.Reminders++
			b.raise(ctx, b.taskAlert(t))
			b.publish(ctx)
		case !t.NextCheck.IsZero() && !now.Before(t.NextCheck):
			return nil
		case workflow.GetInfo(ctx).GetContinueAsNewSuggested():
			return errContinue
		default:
			if err := b.sleep(ctx, g, t, now); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// await makes the task wait with this verdict. The alert is raised when it begins to wait, and exchanged when it turns out to
// wait for something else; the time it has waited goes on.
func (b *board) await(ctx workflow.Context, g gate, t *backup.Task, v backup.Verdict) {
	first := t.Since.IsZero()
	oldKind, oldSubject := b.alertOf(t)
	oldDifference := t.Difference
	if now := workflow.Now(ctx); first {
		t.Since, t.Deadline = now, now.Add(pace.Deadline)
	}
	if !g.until.IsZero() {
		t.Deadline = g.until
	}
	t.State, t.Code, t.Detail, t.Hint = backup.Waiting, v.Code, v.Detail, v.Hint
	t.Actions, t.RequestedBy = g.actions, g.requestedBy
	if g.difference != nil {
		t.Difference = g.difference()
	}
	t.NextCheck = nextLook(g, t, workflow.Now(ctx))
	b.publish(ctx)
	if b.parks && v.Code == backup.CodeNotConnected {
		b.park(ctx, b.self)
	}

	kind, subject := b.alertOf(t)
	switch {
	case g.quiet:
	case first:
		b.raise(ctx, b.taskAlert(t))
	case kind != oldKind || subject != oldSubject:
		b.resolve(ctx, oldKind, oldSubject)
		b.raise(ctx, b.taskAlert(t))
	case t.Difference != oldDifference:
		a := b.taskAlert(t)
		a.Message = "it is another difference now: " + a.Message
		b.raise(ctx, a)
	}
}

// sleep waits for whatever comes first. One timer serves the next look, the reminder and the deadline: each wake costs five
// events, and three timers would cost more for the same.
func (b *board) sleep(ctx workflow.Context, g gate, t *backup.Task, now time.Time) error {
	next, why := t.Deadline, "Deadline of "+t.Name
	if !g.until.IsZero() {
		why = "The time of " + t.Name
	}
	if at := nextReminder(t); !g.quiet && at.Before(next) {
		next, why = at, "Remind of "+t.Name
	}
	if !t.NextCheck.IsZero() && t.NextCheck.Before(next) {
		next, why = t.NextCheck, "Look at "+t.Name+" again"
	}
	options := workflow.AwaitOptions{Timeout: next.Sub(now), TimerOptions: workflow.TimerOptions{Summary: why}}
	_, err := workflow.AwaitWithOptions(ctx, options, func() bool {
		return t.State != backup.Waiting || b.nudged && g.look != nil || workflow.GetInfo(ctx).GetContinueAsNewSuggested()
	})
	return err
}

// nextLook is when the gate looks by itself. A refusal by a person is not asked again and again.
func nextLook(g gate, t *backup.Task, now time.Time) time.Time {
	if g.look == nil || t.Code == backup.CodeNotAllowed {
		return time.Time{}
	}
	last := pace.LastLook
	if t.Code == backup.CodeSealed || t.Code == backup.CodeUnreachable {
		last = pace.Outage
	}
	return now.Add(min(max(now.Sub(t.Since), pace.FirstLook, g.firstLook), last))
}

func nextReminder(t *backup.Task) time.Time {
	return t.Since.Add(time.Duration(t.Reminders+1) * pace.Reminder)
}

// open takes the task off the list of what waits.
func (b *board) open(ctx workflow.Context, g gate, t *backup.Task) error {
	if !t.Since.IsZero() {
		kind, subject := b.alertOf(t)
		if !g.quiet {
			b.resolve(ctx, kind, subject)
		}
		t.Since = time.Time{}
	}
	t.Code = ""
	b.publish(ctx)
	return nil
}

// giveUp ends the workflow with the task. Its alert stays open: nothing was mended. Only a request that was turned down, or that
// nobody answered, asks nothing of anybody any more.
func (b *board) giveUp(ctx workflow.Context, g gate, t *backup.Task) error {
	b.publish(ctx)
	if b.again != "" && (t.DecidedBy != "" || g.look == nil) {
		kind, subject := b.alertOf(t)
		b.resolve(ctx, kind, subject)
	}
	code := t.Code
	if t.DecidedBy != "" {
		code = backup.CodeNotAllowed
	}
	hint := "apply the tenant again when this can be mended"
	if b.again != "" {
		hint = b.again
	}
	return failure(backup.Verdict{Code: code, Fault: backup.FaultCustomer, Detail: t.Name + ": " + t.Detail, Hint: hint})
}

// alertOf is which alert stands for a task. All that wait for the tenant's connectors share one.
func (b *board) alertOf(t *backup.Task) (backup.AlertKind, string) {
	if kind, ok := keyAlert(t.Code); ok {
		return kind, backup.TaskKey
	}
	if b.scope != "" {
		return backup.AlertTaskWaiting, b.scope + "/" + t.Name
	}
	return backup.AlertTaskWaiting, t.Name
}

func (b *board) taskAlert(t *backup.Task) backup.Alert {
	kind, subject := b.alertOf(t)
	return backup.Alert{Kind: kind, Subject: subject, Message: t.Detail, Hint: t.Hint}
}
