package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// importing is one pass over one directory.
type importing struct {
	in     ImportPeopleInput
	board  *board
	pass   activities.PassInput
	why    string // the removals need an approval
	digest string // of the difference that is to be applied
	result ImportPeopleResult
}

// ImportPeople reads a directory, compares it with what is known and makes it the truth. A listing that failed, broke off or is
// empty changes nothing and is alerted; one that would remove too many people waits for an approval.
func ImportPeople(ctx workflow.Context, in ImportPeopleInput) (*ImportPeopleResult, error) {
	i := &importing{in: in}
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
	if err != nil {
		return nil, err
	}
	return &i.result, nil
}

// setUp names the pass after the run that made it: a run that is retried stages another one.
func (i *importing) setUp(ctx workflow.Context) (err error) {
	i.result.Pass = workflow.GetInfo(ctx).WorkflowExecution.RunID
	var resume *TaskBoard
	if r := i.in.Resume; r != nil {
		i.result.Pass, i.result.Counts, i.why, resume = r.Pass, r.Counts, r.Why, &r.Board
	}
	i.pass = activities.PassInput{Tenant: i.in.Tenant, Directory: i.in.Directory, Pass: i.result.Pass, RequestedBy: i.in.RequestedBy, Preview: i.in.Preview}
	i.board, err = openBoard(ctx, &board{speaker: speaker{i.in.Tenant}, heading: fmt.Sprintf("Importing the people of %s from %s", i.in.Tenant, i.in.Directory)}, nil, resume)
	if err == nil {
		i.board.lead(i.in.Parent)
	}
	return err
}

func (i *importing) run(ctx workflow.Context) error {
	if i.in.Resume != nil {
		return i.approveAndApply(ctx)
	}
	if err := i.authorize(ctx); err != nil {
		return err
	}
	if err := i.read(ctx); err != nil {
		return err
	}
	compared, err := i.compare(ctx)
	if err != nil {
		return err
	}
	if i.in.Preview {
		return nil
	}
	i.reportProblems(ctx, compared.Counts)
	if compared.Verdict == backup.ImportApprove {
		i.why = compared.Why
		return i.approveAndApply(ctx)
	}
	return i.apply(ctx)
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

// read stages the listing. An error is never an absence: whatever was read before it is not the directory.
func (i *importing) read(ctx workflow.Context) error {
	i.show(ctx, "reading the directory")
	calls := calling(ctx, listing, i.in.Tenant, fmt.Sprintf("Read the %s directory of %s", i.in.Directory, i.in.Tenant))
	var listed activities.ReadResult
	if err := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).ReadDirectory, i.pass).Get(calls, &listed); err != nil {
		return i.refuse(ctx, err)
	}
	return nil
}

func (i *importing) compare(ctx workflow.Context) (activities.CompareResult, error) {
	i.show(ctx, "comparing the listing with who is known")
	calls := calling(ctx, comparing, i.in.Tenant, "Compare the listing with who is known")
	var compared activities.CompareResult
	if err := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).CompareListing, i.pass).Get(calls, &compared); err != nil {
		return compared, i.refuse(ctx, err)
	}
	i.result.Counts, i.digest = compared.Counts, compared.Digest
	if compared.Verdict == backup.ImportRefuse {
		return compared, i.refuse(ctx, failure(backup.Verdict{Code: backup.CodeEmptyListing, Fault: backup.FaultCustomer,
			Detail: compared.Why, Hint: "holdfast check " + i.in.Tenant + " directory; nothing was changed"}))
	}
	return compared, nil
}

// refuse ends an import that changed nothing. A preview alerts nobody: somebody is looking at it.
func (i *importing) refuse(ctx workflow.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v := VerdictOf(err)
	if !i.in.Preview {
		i.board.raise(ctx, backup.Alert{Kind: backup.AlertImportRefused, Subject: string(i.in.Directory), Message: v.Detail, Hint: v.Hint})
	}
	return failure(v)
}

// reportProblems alerts of entries that did not become accounts, and resolves the alert when there are none any more.
func (i *importing) reportProblems(ctx workflow.Context, c backup.ImportCounts) {
	subject := string(i.in.Directory)
	if c.NoMail+c.DuplicateMail+c.BadEntries == 0 {
		i.board.resolve(ctx, backup.AlertImportProblems, subject)
		return
	}
	i.board.raise(ctx, backup.Alert{Kind: backup.AlertImportProblems, Subject: subject,
		Message: fmt.Sprintf("%d of %d entries are not protected: %d without mail, %d with another's mail, %d unreadable",
			c.NoMail+c.DuplicateMail+c.BadEntries, c.Listed, c.NoMail, c.DuplicateMail, c.BadEntries),
		Hint: "holdfast users list " + i.in.Tenant + " --problems"})
}

// approveAndApply lets a second person decide on a difference that would remove many.
func (i *importing) approveAndApply(ctx workflow.Context) error {
	err := i.board.pass(ctx, gate{name: backup.TaskRemovals, actions: judge, requestedBy: i.in.RequestedBy,
		asks: backup.Verdict{Code: backup.CodeRemovalThreshold, Fault: backup.FaultCustomer, Detail: i.why,
			Hint: "holdfast users preview " + i.in.Tenant + " shows who; nothing is deleted by an approval, their data is kept"}})
	if err != nil {
		return err
	}
	return i.apply(ctx)
}

func (i *importing) apply(ctx workflow.Context) error {
	i.show(ctx, "writing the difference")
	calls := calling(ctx, comparing, i.in.Tenant, "Make the listing the truth")
	var applied activities.ApplyResult
	if err := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).ApplyListing, activities.ApplyListingInput{PassInput: i.pass, Digest: i.digest}).Get(calls, &applied); err != nil {
		return i.refuse(ctx, err)
	}
	i.result.Accounts, i.result.Applied = applied.Accounts, true
	i.board.resolve(ctx, backup.AlertImportRefused, string(i.in.Directory))
	if i.why == "" { // an import whose removals were rejected has left its alert
		i.board.resolve(ctx, backup.AlertTaskWaiting, backup.TaskRemovals)
	}
	return nil
}

// show tells the Web UI's page where the import is. Its list is told only of what waits: a scheduled import that goes well
// should not cost an event for each step.
func (i *importing) show(ctx workflow.Context, now string) {
	workflow.SetCurrentDetails(ctx, i.board.markdown()+"\nNow "+now+".\n")
}

func (i *importing) continueAsNew(ctx workflow.Context) error {
	carried, err := i.board.carry(ctx)
	if err != nil {
		return err
	}
	i.in.Resume = &ImportBoard{Pass: i.result.Pass, Counts: i.result.Counts, Why: i.why, Board: *carried}
	return workflow.NewContinueAsNewError(ctx, ImportPeopleName, i.in)
}
