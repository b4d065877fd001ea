package workflows

import (
	"errors"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// firstPause and lastPause bound the distance of imports that pushes cause: it doubles from one to the next, so that an identity
	// provider that pushes 100,000 people one by one is read a few times and not all the time.
	firstPause = 5 * time.Second
	lastPause  = 5 * time.Minute
	// repeats bounds how many imports one run makes; the next ones are another run's.
	repeats = 20
	// handOvers bounds how often an import is handed over to one that ends just then.
	handOvers = 10
	// scheduledTime is how a schedule writes the time that it appends to an id.
	scheduledTime = "2006-01-02T15:04:05Z"
)

// heard takes everything that was pushed so far, and tells whether there was anything. However many pushes there were, they ask for one import.
func (i *importing) heard() (pushed bool) {
	if !i.current {
		return false
	}
	pushed, i.owed = i.owed, false
	for {
		var reason any
		if !i.pushes.ReceiveAsync(&reason) {
			return pushed
		}
		pushed = true
	}
}

// repeat imports once more as long as something was pushed after the last read began. Whoever waits for an import gets that one's
// outcome and no later one's, so his is followed by a run of its own.
func (i *importing) repeat(ctx workflow.Context, err error) error {
	pause := firstPause
	for n := 1; !i.attended() && ctx.Err() == nil && !errors.Is(err, errContinue) && i.heard(); n++ {
		if err := workflow.NewTimerWithOptions(ctx, pause, workflow.TimerOptions{Summary: "More may be pushed"}).Get(ctx, nil); err != nil {
			return err
		}
		if n > repeats || workflow.GetInfo(ctx).GetContinueAsNewSuggested() {
			if err := i.board.quiet(ctx); err != nil {
				return err
			}
			return i.startAfresh(ctx)
		}
		pause = min(2*pause, lastPause)
		i.begin(ctx, err)
		err = i.once(ctx)
	}
	return err
}

// begin forgets the import before. What that one waited with and was given, the next one takes back; what it was refused stays told.
func (i *importing) begin(ctx workflow.Context, before error) {
	if before == nil {
		i.board.settle(ctx)
	}
	i.board.tasks, i.since = nil, ""
	i.nextPass()
}

// passOn sees to what was pushed while the workflow was ending.
func (i *importing) passOn(ctx workflow.Context) error {
	if !i.attended() {
		if i.heard() && ctx.Err() == nil {
			return i.startAfresh(ctx)
		}
		return nil
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	for i.heard() {
		if err := i.later(ctx); err != nil {
			workflow.GetLogger(ctx).Error("what was pushed waits for the next scheduled import", "error", err)
		}
	}
	return nil
}

func (i *importing) startAfresh(ctx workflow.Context) error {
	return workflow.NewContinueAsNewError(ctx, ImportPeopleName, ImportPeopleInput{Tenant: i.in.Tenant, Directory: i.in.Directory})
}

// later has another workflow start an import when this one, which has the import's id, has ended.
func (i *importing) later(ctx workflow.Context) error {
	in := ImportPeopleInput{Tenant: i.in.Tenant, Directory: i.in.Directory, Later: true}
	for at := workflow.Now(ctx).UTC(); ; at = at.Add(time.Second) {
		err := i.child(ctx, ImportID(in.Tenant, in.Directory)+"-"+at.Format(scheduledTime), in)
		// What is of the same second may be what just said it here, and ends without another import.
		if !temporal.IsWorkflowExecutionAlreadyStartedError(err) || at.Sub(workflow.Now(ctx)) > time.Minute {
			return err
		}
	}
}

// handOver has the import done by the workflow that has the directory's id, of which there is one at a time: two would take each other's
// staged listing away. When one is under way, it imports once more.
func (i *importing) handOver(ctx workflow.Context) error {
	patience := firstAttempt
	for n := 0; n < handOvers; n++ {
		if n > 0 || i.in.Later {
			if err := workflow.NewTimerWithOptions(ctx, patience, workflow.TimerOptions{Summary: "Another import is ending"}).Get(ctx, nil); err != nil {
				return err
			}
			patience = min(2*patience, lastAttempt)
		}
		in := i.in
		in.Later, in.Resume = false, nil
		id := ImportID(in.Tenant, in.Directory)
		if err := i.child(ctx, id, in); !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
			return failed(ctx, err)
		}
		if err := workflow.SignalExternalWorkflow(ctx, id, "", PushedSignal, "the schedule").Get(ctx, nil); err == nil {
			return nil
		}
	}
	return failure(backup.Verdict{Code: backup.CodeInternal, Fault: backup.FaultOurs,
		Detail: "other imports of " + i.in.Tenant + " began and ended whenever this one was to be handed over", Hint: "the next scheduled import makes up for it"})
}

// child starts an import and does not wait for its end.
func (i *importing) child(ctx workflow.Context, id string, in ImportPeopleInput) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            id,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		TypedSearchAttributes: ofTenant(in.Tenant),
		StaticSummary:         "Import the people of " + in.Tenant + " from " + string(in.Directory),
	})
	return workflow.ExecuteChildWorkflow(ctx, ImportPeopleName, in).GetChildWorkflowExecution().Get(ctx, nil)
}
