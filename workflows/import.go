package workflows

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// firstImportLook is when an import that waits for an approval reads the directory again for the first time: a read costs more than a look.
	firstImportLook = 15 * time.Minute
	// comparisons bounds how often an import that needs no approval is compared again because another one came in between.
	comparisons = 5
)

// importing is an import of one directory: one pass over it or, while it waits or because the directory has changed, several.
type importing struct {
	in    ImportPeopleInput
	board *board
	// current: it began with a build that ends reports, looks again while it waits, and hears of pushes.
	current bool
	pushes  workflow.ReceiveChannel
	// first is the pass that the others are named after, passes how many there were.
	first    string
	passes   int
	pass     activities.PassInput
	compared activities.CompareResult
	// fresh: it was compared just now. stale: what is staged is not what was compared. owed: something was pushed to an earlier run of this
	// workflow, after its last read began.
	fresh, stale, owed bool
	// since says, of an approval that was in vain, whose it was.
	since  string
	result ImportPeopleResult
}

// ImportPeople reads a directory, compares it with what is known and makes it the truth. A listing that failed, broke off or is
// empty changes nothing and is alerted; one that would remove too many people, and the first one where the tenant wants it, wait for
// an approval of exactly their difference.
func ImportPeople(ctx workflow.Context, in ImportPeopleInput) (*ImportPeopleResult, error) {
	i := &importing{in: in, current: workflow.GetVersion(ctx, "pushed", workflow.DefaultVersion, 1) != workflow.DefaultVersion}
	if i.current && workflow.GetInfo(ctx).WorkflowExecution.ID != ImportID(in.Tenant, in.Directory) {
		return &i.result, i.handOver(ctx)
	}
	if err := i.setUp(ctx); err != nil {
		return nil, err
	}
	err := i.run(ctx)
	if errors.Is(err, errContinue) {
		err = i.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	i.board.close(ctx, err)
	if again := i.passOn(ctx); again != nil {
		return nil, again
	}
	if err != nil {
		return nil, err
	}
	return &i.result, nil
}

// setUp names the first pass after the run that made it: a run that is retried stages another one.
func (i *importing) setUp(ctx workflow.Context) (err error) {
	i.first = workflow.GetInfo(ctx).WorkflowExecution.RunID
	i.pass = activities.PassInput{Tenant: i.in.Tenant, Directory: i.in.Directory, Pass: i.first, RequestedBy: i.in.RequestedBy, Preview: i.in.Preview}
	var resume *TaskBoard
	if r := i.in.Resume; r != nil {
		resume = i.takeUp(r)
	}
	i.result.Pass = i.pass.Pass
	if i.current {
		i.pushes = workflow.GetSignalChannelWithOptions(ctx, PushedSignal, workflow.SignalChannelOptions{
			Description: "The directory has changed: import once more when this import has ended."})
	}
	i.board, err = openBoard(ctx, &board{speaker: speaker{i.in.Tenant}, scope: string(i.in.Directory),
		heading: fmt.Sprintf("Importing the people of %s from %s", i.in.Tenant, i.in.Directory)}, nil, resume)
	if err == nil {
		i.board.lead(i.in.Parent)
	}
	if i.current {
		i.board.again = "nothing was changed; holdfast users import " + i.in.Tenant + " asks again"
	}
	return err
}

// takeUp goes on where an earlier run of this workflow stood: it waits for an approval.
func (i *importing) takeUp(r *ImportBoard) *TaskBoard {
	i.pass.Pass, i.passes, i.result.Counts = r.Pass, r.Passes, r.Counts
	if r.First != "" {
		i.first = r.First
	}
	i.compared = activities.CompareResult{Counts: r.Counts, Verdict: r.Verdict, Why: r.Why, Digest: r.Digest}
	if r.Verdict == "" {
		i.compared.Verdict = backup.ImportApprove
	}
	i.fresh, i.stale, i.owed = !r.Stale, r.Stale, r.Pushed
	return &r.Board
}

func (i *importing) run(ctx workflow.Context) error {
	if i.in.Resume != nil {
		return i.repeat(ctx, i.reported(ctx, i.approveAndApply(ctx)))
	}
	if err := i.authorize(ctx); err != nil {
		return err
	}
	return i.repeat(ctx, i.once(ctx))
}

// once is one import, whose report is ended however it ends.
func (i *importing) once(ctx workflow.Context) error {
	return i.reported(ctx, i.attempt(ctx))
}

func (i *importing) attempt(ctx workflow.Context) error {
	i.heard() // what was pushed until now will be read
	if err := i.read(ctx); err != nil {
		return i.refuse(ctx, err)
	}
	if err := i.compare(ctx); err != nil {
		return i.refuse(ctx, err)
	}
	if i.compared.Verdict == backup.ImportRefuse {
		return i.refuse(ctx, i.empty())
	}
	if i.in.Preview {
		return nil
	}
	i.reportProblems(ctx)
	return i.approveAndApply(ctx)
}

// authorize refuses who may not administer the tenant: whoever asked under a made-up name could approve the removals himself. A
// scheduled import was asked for by nobody, and an onboarding has checked already who asked for it.
func (i *importing) authorize(ctx workflow.Context) error {
	if i.in.RequestedBy == "" || i.in.Parent != "" {
		return nil
	}
	asker := activities.AdministratorInput{Tenant: i.in.Tenant, RequestedBy: i.in.RequestedBy}
	return i.board.mayAdminister(ctx, bookkeeping, "May "+i.in.RequestedBy+" import?", asker)
}

// attended tells whether somebody waits for the outcome of this import, and of no other.
func (i *importing) attended() bool { return i.in.RequestedBy != "" || i.in.Parent != "" }

// read stages the listing. An error is never an absence: whatever was read before it is not the directory. Where nobody waits for the
// outcome, a directory that is away is told of and waited for.
func (i *importing) read(ctx workflow.Context) error {
	i.show(ctx, "reading the directory")
	err := i.readBy(ctx, listing)
	if err == nil || !i.current || i.attended() || ctx.Err() != nil || neverRetried(err) {
		return err
	}
	v := VerdictOf(err)
	i.alertRefused(ctx, backup.Verdict{Detail: v.Detail + "; it is tried again", Hint: v.Hint})
	return i.readBy(ctx, outlasting)
}

func (i *importing) readBy(ctx workflow.Context, o workflow.ActivityOptions) error {
	calls := calling(ctx, o, i.in.Tenant, fmt.Sprintf("Read the %s directory of %s", i.in.Directory, i.in.Tenant))
	return workflow.ExecuteActivity(calls, (*activities.Importing)(nil).ReadDirectory, i.pass).Get(calls, nil)
}

func (i *importing) compare(ctx workflow.Context) error {
	i.show(ctx, "comparing the listing with who is known")
	calls := calling(ctx, comparing, i.in.Tenant, "Compare the listing with who is known")
	var compared activities.CompareResult
	if err := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).CompareListing, i.pass).Get(calls, &compared); err != nil {
		return err
	}
	i.compared, i.fresh, i.stale = compared, true, false
	i.result.Pass, i.result.Counts = i.pass.Pass, compared.Counts
	return nil
}

// renew reads and compares anew, as another pass: what was staged before is not looked at any more.
func (i *importing) renew(ctx workflow.Context) error {
	i.stale = true
	i.nextPass()
	i.heard()
	err := i.readBy(ctx, listing)
	if err == nil {
		err = i.compare(ctx)
	}
	return err
}

func (i *importing) nextPass() {
	i.passes++
	i.pass.Pass = fmt.Sprintf("%s/%d", i.first, i.passes+1)
}

// empty is the refusal of a listing of nobody.
func (i *importing) empty() error {
	return failure(backup.Verdict{Code: backup.CodeEmptyListing, Fault: backup.FaultCustomer,
		Detail: i.compared.Why, Hint: "holdfast check " + i.in.Tenant + " directory; nothing was changed"})
}

// refuse ends an import that changed nothing. A preview alerts nobody: somebody is looking at it.
func (i *importing) refuse(ctx workflow.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v := VerdictOf(err)
	if !i.in.Preview {
		i.alertRefused(ctx, v)
	}
	return failure(v)
}

func (i *importing) alertRefused(ctx workflow.Context, v backup.Verdict) {
	i.board.raise(ctx, backup.Alert{Kind: backup.AlertImportRefused, Subject: string(i.in.Directory), Message: v.Detail, Hint: v.Hint})
}

// reportProblems alerts of entries that did not become accounts. Those that wait for a decision have a task of their own.
func (i *importing) reportProblems(ctx workflow.Context) {
	c, subject := i.compared.Counts, string(i.in.Directory)
	if c.NoMail+c.DuplicateMail+c.BadEntries == 0 {
		if !i.current {
			i.board.resolve(ctx, backup.AlertImportProblems, subject)
		}
		return
	}
	i.board.raise(ctx, backup.Alert{Kind: backup.AlertImportProblems, Subject: subject,
		Message: fmt.Sprintf("%d of %d entries are not protected: %d without mail, %d with another's mail, %d unreadable",
			c.NoMail+c.DuplicateMail+c.BadEntries, c.Listed, c.NoMail, c.DuplicateMail, c.BadEntries),
		Hint: "holdfast users problems " + i.in.Tenant})
}

// show tells the Web UI's page where the import is. Its list is told only of what waits: a scheduled import that goes well
// should not cost an event for each step.
func (i *importing) show(ctx workflow.Context, now string) {
	workflow.SetCurrentDetails(ctx, i.board.markdown()+"\nNow "+now+".\n")
}

// reported ends the report of an import that was not applied. An import goes on without its report rather than fail for it.
func (i *importing) reported(ctx workflow.Context, err error) error {
	if !i.current || errors.Is(err, errContinue) || err == nil && !i.in.Preview {
		return err
	}
	in := activities.EndListingInput{PassInput: i.pass, End: i.outcome(err)}
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	calls := calling(ctx, bookkeeping, i.in.Tenant, "Write down that the import was "+string(in.End.Outcome))
	if failed := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).EndListing, in).Get(calls, nil); failed != nil {
		workflow.GetLogger(ctx).Error("cannot end the report", "error", failed)
	}
	return err
}

func (i *importing) outcome(err error) backup.ImportEnd {
	if err == nil {
		return backup.ImportEnd{Outcome: backup.ImportPreviewed}
	}
	v := VerdictOf(err)
	end := backup.ImportEnd{Outcome: backup.ImportRefused, Code: v.Code, Detail: v.Detail}
	if slices.ContainsFunc(i.board.tasks, func(t *backup.Task) bool { return t.State == backup.Failed && t.DecidedBy != "" }) {
		end.Outcome = backup.ImportRejected
	}
	return end
}

func (i *importing) continueAsNew(ctx workflow.Context) error {
	carried, err := i.board.carry(ctx)
	if err != nil {
		return err
	}
	i.in.Resume = &ImportBoard{Pass: i.pass.Pass, First: i.first, Passes: i.passes, Counts: i.compared.Counts,
		Verdict: i.compared.Verdict, Why: i.compared.Why, Digest: i.compared.Digest, Stale: i.stale, Pushed: i.heard(), Board: *carried}
	return workflow.NewContinueAsNewError(ctx, ImportPeopleName, i.in)
}
