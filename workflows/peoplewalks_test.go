package workflows

import (
	"testing"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// approves waits until exactly this difference waits, and approves it.
func (r *rig) approves(id, task, difference string) {
	r.t.Helper()
	r.until(task+" waits with "+difference, func() bool { return r.task(id, task, backup.Waiting).Difference == difference })
	if _, err := r.decide(id, backup.Decision{Task: task, Action: backup.Approve, By: bert, Difference: difference}); err != nil {
		r.t.Error(err)
	}
}

// A first import; removals that are others by the time they are approved; and a directory that changes while an import waits.
func walkPeople(t *testing.T, r *rig) {
	r.finds(activities.CompareResult{Counts: backup.ImportCounts{Listed: 25, Added: 25}, Verdict: backup.ImportConfirm, Why: "the first import would add 25 people", Digest: "d1"})
	first := r.start(importAcme, ImportPeopleName, importInput())
	r.approves(importAcme, backup.TaskFirstImport, "d1")
	r.await(first, nil)
	keep(t, r, "import-first", importAcme, first.GetRunID())

	r.finds(removalsOf("d1"), removalsOf("d2"))
	r.mu.Lock()
	r.applying = func(in activities.ApplyListingInput) error {
		if in.Digest == "d1" {
			return asActivity(&backup.Error{Code: backup.CodeDifferenceChanged, Message: "it is another difference"})
		}
		return nil
	}
	r.mu.Unlock()
	changed := r.start(importAcme, ImportPeopleName, importInput())
	r.approves(importAcme, backup.TaskRemovals, "d1")
	r.approves(importAcme, backup.TaskRemovals, "d2")
	r.await(changed, nil)
	keep(t, r, "import-changed", importAcme, changed.GetRunID())

	r.finds(removalsOf("d3"), harmless)
	pushed := r.start(importAcme, ImportPeopleName, scheduledInput)
	r.task(importAcme, backup.TaskRemovals, backup.Waiting)
	r.signal(importAcme, PushedSignal, "pushed")
	scheduled := r.start(importAcme+"-2026-11-23T22:00:00Z", ImportPeopleName, scheduledInput)
	r.await(scheduled, nil)
	keep(t, r, "import-handed-over", scheduled.GetID(), scheduled.GetRunID())
	r.approves(importAcme, backup.TaskRemovals, "d3")
	r.await(pushed, nil)
	keep(t, r, "import-pushed", importAcme, pushed.GetRunID())
	if n := len(r.applied); n != 4 || r.applied[3].Digest != "none" || r.applied[3].ApprovedBy != "" {
		t.Errorf("applied %+v", r.applied)
	}
	r.whoWaitsGetsHisOwn(t)
}

// What is pushed while somebody waits for an import is another run's, which begins when this one has ended.
func (r *rig) whoWaitsGetsHisOwn(t *testing.T) {
	r.finds(removalsOf("d3"), harmless)
	asked := r.start(importAcme, ImportPeopleName, importInput())
	r.task(importAcme, backup.TaskRemovals, backup.Waiting)
	r.signal(importAcme, PushedSignal, "pushed")
	r.approves(importAcme, backup.TaskRemovals, "d3")
	var result ImportPeopleResult
	r.await(asked, &result)
	if result.Counts.Leaving != 15 {
		t.Errorf("he was told of another import: %+v", result)
	}
	keep(t, r, "import-asked-and-pushed", importAcme, asked.GetRunID())
	r.until("what was pushed is imported", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.applied) == 6
	})
}

func walkConflicts(t *testing.T, r *rig) {
	id := SettleConflictsID("acme")
	r.mu.Lock()
	r.waiting = 2
	r.mu.Unlock()
	run := r.start(id, SettleConflictsName, SettleConflictsInput{Tenant: "acme"})
	r.task(id, backup.TaskConflicts, backup.Waiting)
	d := backup.MergeDecision{Directory: "ldap", EntryID: "nobody", Verdict: backup.MergeSeparate, By: anna}
	wantCode(t, r.settle(id, d), backup.CodeNotFound)
	d.EntryID = "e1"
	if err := r.settle(id, d); err != nil {
		t.Error(err)
	}
	d.EntryID, d.Verdict = "e2", backup.MergeIgnore
	r.signal(id, SettleSignal, d)
	r.until("both are decided", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.waiting == 0
	})
	r.signal(id, RecheckSignal, "an import")
	r.await(run, nil)
	if got := r.alerts(); len(got) != 0 {
		t.Errorf("open alerts %v", got)
	}
	keep(t, r, "conflicts", id, run.GetRunID())
}

func (r *rig) settle(id string, d backup.MergeDecision) error {
	r.t.Helper()
	handle, err := r.UpdateWorkflow(r.t.Context(), client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: SettleUpdate, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = handle.Get(r.t.Context(), nil)
	}
	return err
}

// Others are due by the time that some are approved; a review that is rejected rests.
func walkLeavers(t *testing.T, r *rig) {
	id := ReviewLeaversID("acme")
	r.mu.Lock()
	r.due = dueAre(7, "d1")
	r.release = func(in activities.ReleaseInput) error {
		if in.Digest == "d2" {
			return nil
		}
		r.mu.Lock()
		r.due = dueAre(8, "d2")
		r.mu.Unlock()
		return asActivity(&backup.Error{Code: backup.CodeDifferenceChanged, Message: "others are due"})
	}
	r.mu.Unlock()
	run := r.start(id, ReviewLeaversName, ReviewLeaversInput{Tenant: "acme"})
	r.approves(id, backup.TaskDeletions, "d1")
	r.approves(id, backup.TaskDeletions, "d2")
	var result ReviewLeaversResult
	r.await(run, &result)
	if result.Released != 7 {
		t.Errorf("%+v", result)
	}
	keep(t, r, "leavers", id, run.GetRunID())

	rejected := r.start(id, ReviewLeaversName, ReviewLeaversInput{Tenant: "acme"})
	r.task(id, backup.TaskDeletions, backup.Waiting)
	if _, err := r.decide(id, backup.Decision{Task: backup.TaskDeletions, Action: backup.Reject, By: bert}); err != nil {
		t.Error(err)
	}
	r.until("it rests", func() bool { return r.rests(id, rejected.GetRunID()) })
	if got := r.alerts(); len(got) != 0 {
		t.Errorf("open alerts %v", got)
	}
	keep(t, r, "leavers-rejected", id, rejected.GetRunID())
}

// rests tells whether the newest thing a workflow did is to begin a timer.
func (r *rig) rests(id, runID string) bool {
	events := r.history(id, runID).Events
	return events[len(events)-1].GetEventType() == enums.EVENT_TYPE_TIMER_STARTED
}
