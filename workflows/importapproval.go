package workflows

import (
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// approval is the task that the difference waits with.
func (i *importing) approval() string {
	if i.compared.Verdict == backup.ImportConfirm {
		return backup.TaskFirstImport
	}
	return backup.TaskRemovals
}

// needsApproval tells whether what was compared may not happen by itself.
func (i *importing) needsApproval() bool {
	return i.compared.Verdict == backup.ImportApprove || i.compared.Verdict == backup.ImportConfirm
}

// approveAndApply makes the difference the truth, after a second person has decided on it where that is needed. What is done is exactly what
// was approved: when it turns out to be something else by then, it waits for another decision.
func (i *importing) approveAndApply(ctx workflow.Context) error {
	for tries := 0; ; {
		var approved *backup.Task
		if i.needsApproval() {
			var err error
			if approved, err = i.approve(ctx); err != nil {
				return err
			}
		}
		err := i.applyApproved(ctx, approved)
		if !i.current || err == nil || VerdictOf(err).Code != backup.CodeDifferenceChanged {
			return err
		}
		if approved == nil {
			if tries++; tries == comparisons {
				return i.refuse(ctx, err)
			}
		}
		if err := i.compareAgain(ctx); err != nil {
			return err
		}
		i.ask(approved)
	}
}

// approve waits for a decision, or until the directory has changed so that none is needed.
func (i *importing) approve(ctx workflow.Context) (*backup.Task, error) {
	g := gate{name: i.approval(), actions: judge, requestedBy: i.in.RequestedBy, asks: i.asks(),
		difference: func() string { return i.compared.Digest }, firstLook: firstImportLook}
	if i.current {
		g.look = i.look
	}
	err := i.board.pass(ctx, g)
	return i.board.task(g.name), err
}

// asks is what the decision is about.
func (i *importing) asks() backup.Verdict {
	v := backup.Verdict{Code: backup.CodeRemovalThreshold, Fault: backup.FaultCustomer, Detail: i.since + i.compared.Why,
		Hint: "holdfast users preview " + i.in.Tenant + " shows who; nothing is deleted by an approval, their data is kept"}
	if i.compared.Verdict == backup.ImportConfirm {
		v.Code, v.Hint = backup.CodeFirstImport, "holdfast users preview "+i.in.Tenant+" shows who; approve it if it is whom you expect"
	}
	return v
}

// look reads the directory again: a wrong filter may have been mended. That it cannot be read says nothing about the difference.
func (i *importing) look(ctx workflow.Context) (backup.Verdict, error) {
	if i.fresh {
		i.fresh = false
		return i.asks(), nil
	}
	asked, before := i.asks(), i.compared
	err := i.renew(ctx)
	i.fresh = false
	switch {
	case err != nil:
		asked.Detail += "; it could not be read again: " + VerdictOf(err).Detail
		return asked, ctx.Err()
	case i.compared.Verdict == backup.ImportApply:
		return backup.Verdict{Passing: true, Detail: "the difference needs no approval any more"}, nil
	case i.compared.Verdict == backup.ImportRefuse:
		asked.Detail += "; read again, " + i.compared.Why
		i.compared, i.stale = before, true
		return asked, nil
	case i.compared.Verdict != before.Verdict:
		return backup.Verdict{Passing: true, Detail: "it waits for something else now"}, nil
	}
	return i.asks(), nil
}

// applyApproved applies what was approved, or what needs no approval, and nothing else.
func (i *importing) applyApproved(ctx workflow.Context, approved *backup.Task) error {
	if i.current && i.stale {
		if err := i.renew(ctx); err != nil {
			return i.refuse(ctx, err)
		}
	}
	switch {
	case i.compared.Verdict == backup.ImportRefuse:
		return i.refuse(ctx, i.empty())
	case !i.needsApproval():
		return i.apply(ctx, "")
	case approved != nil && (!i.current || approved.DecidedBy != "" && approved.Difference == i.compared.Digest):
		return i.apply(ctx, approved.DecidedBy)
	}
	return failure(backup.Verdict{Code: backup.CodeDifferenceChanged, Fault: backup.FaultCustomer, Detail: "what was approved is not what would happen now"})
}

// compareAgain finds out what would happen now. When what was staged is not there any more, because another import came in between, the
// directory is read again.
func (i *importing) compareAgain(ctx workflow.Context) error {
	err := i.compare(ctx)
	if err != nil && ctx.Err() == nil {
		err = i.renew(ctx)
	}
	switch {
	case err != nil:
		return i.refuse(ctx, err)
	case i.compared.Verdict == backup.ImportRefuse:
		return i.refuse(ctx, i.empty())
	}
	return nil
}

// ask has a task that is over wait again, for another decision, or another task where the difference has become of another kind.
func (i *importing) ask(t *backup.Task) {
	if t == nil {
		return
	}
	if t.DecidedBy != "" {
		i.since = fmt.Sprintf("it is not what %s approved: the difference has changed since; ", t.DecidedBy)
	}
	if !i.needsApproval() || t.Name != i.approval() {
		i.board.end(t, backup.Passing, "the difference needs this approval no more")
	}
	if i.needsApproval() {
		t = i.board.need(i.approval())
		t.State, t.DecidedBy, t.Reminders = backup.Pending, "", 0
	}
}

func (i *importing) apply(ctx workflow.Context, approvedBy string) error {
	i.show(ctx, "writing the difference")
	calls := calling(ctx, comparing, i.in.Tenant, "Make the listing the truth")
	in := activities.ApplyListingInput{PassInput: i.pass, Digest: i.compared.Digest, ApprovedBy: approvedBy}
	var applied activities.ApplyResult
	if err := workflow.ExecuteActivity(calls, (*activities.Importing)(nil).ApplyListing, in).Get(calls, &applied); err != nil {
		if i.current && VerdictOf(err).Code == backup.CodeDifferenceChanged {
			return err
		}
		return i.refuse(ctx, err)
	}
	i.result.Pass, i.result.Accounts, i.result.Applied = i.pass.Pass, applied.Accounts, true
	i.applied(ctx)
	return nil
}

// applied takes back what earlier imports of the directory alerted of, and wakes who waits for what imports find.
func (i *importing) applied(ctx workflow.Context) {
	subject := string(i.in.Directory)
	if !i.current {
		i.board.resolve(ctx, backup.AlertImportRefused, subject)
		if i.compared.Verdict == backup.ImportApply {
			i.board.resolve(ctx, backup.AlertTaskWaiting, backup.TaskRemovals)
		}
		return
	}
	mended := []activities.ResolveInput{{Kind: backup.AlertImportRefused, Subject: subject},
		{Kind: backup.AlertTaskWaiting, Subject: subject + "/" + backup.TaskRemovals}, {Kind: backup.AlertTaskWaiting, Subject: subject + "/" + backup.TaskFirstImport}}
	if c := i.compared.Counts; c.NoMail+c.DuplicateMail+c.BadEntries == 0 {
		mended = append(mended, activities.ResolveInput{Kind: backup.AlertImportProblems, Subject: subject})
	}
	i.board.resolveAll(ctx, mended...)
	calls := calling(ctx, telling, i.in.Tenant, "Tell who waits for conflicts")
	if err := workflow.ExecuteActivity(calls, (*activities.Settling)(nil).WakeConflicts, describe(i.in.Tenant, "")).Get(calls, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot wake the flow of conflicts", "error", err)
	}
}
