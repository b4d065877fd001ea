package workflows

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// finds has comparisons find one difference after the other, and the last one from then on.
func (w *world) finds(differences ...activities.CompareResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n atomic.Int32
	w.compare = func() (activities.CompareResult, error) {
		return differences[min(int(n.Add(1)), len(differences))-1], nil
	}
}

func removalsOf(digest string) activities.CompareResult {
	c, _ := manyRemovals()
	c.Digest = digest
	return c
}

var harmless = activities.CompareResult{Counts: backup.ImportCounts{Listed: 25}, Verdict: backup.ImportApply, Digest: "none"}

func (s *stage) outcomes() (all []backup.ImportOutcome) {
	for _, e := range s.ended {
		all = append(all, e.End.Outcome)
	}
	return all
}

func TestTheFirstImportWaitsForItsApproval(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(activities.CompareResult{Counts: backup.ImportCounts{Listed: 25, Added: 25}, Verdict: backup.ImportConfirm, Why: "the first import would add 25 people", Digest: "d1"})
	s.after(time.Minute, func() {
		task := s.tasks(importAcme)[backup.TaskFirstImport]
		if task.State != backup.Waiting || task.Difference != "d1" || task.Code != backup.CodeFirstImport {
			t.Errorf("the task is %+v", task)
		}
		d := backup.Decision{Task: backup.TaskFirstImport, Action: backup.Approve, By: bert}
		s.decide(importAcme, d, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeDifferenceChanged)
			if !strings.Contains(VerdictOf(err).Hint, "d1") {
				t.Errorf("the hint is %q", VerdictOf(err).Hint)
			}
		})
		d.Difference = "d1"
		s.decide(importAcme, d, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if len(s.applied) != 1 || s.applied[0].Digest != "d1" || s.applied[0].ApprovedBy != bert || s.answered != 2 || len(s.alerts()) != 0 {
		t.Errorf("applied %+v, alerts %v", s.applied, s.alerts())
	}
}

// What was approved is done, and nothing else: the store finds another difference, and a new decision is needed.
func TestAnotherDifferenceNeedsAnotherApproval(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"), removalsOf("d2"))
	s.applying = func(in activities.ApplyListingInput) error {
		if in.Digest == "d1" {
			return asActivity(&backup.Error{Code: backup.CodeDifferenceChanged, Message: "it is another difference"})
		}
		return nil
	}
	approve := func(digest string) func() {
		return func() {
			if task := s.tasks(importAcme)[backup.TaskRemovals]; task.State != backup.Waiting || task.Difference != digest {
				t.Errorf("the task is %+v, want %s", task, digest)
			}
			s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: digest}, func(_ backup.Task, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	s.after(time.Minute, approve("d1"))
	s.after(2*time.Minute, func() {
		if task := s.tasks(importAcme)[backup.TaskRemovals]; !strings.Contains(task.Detail, "not what "+bert+" approved") {
			t.Errorf("the task is %+v", task)
		}
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d1"}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeDifferenceChanged)
		})
	})
	s.after(3*time.Minute, approve("d2"))
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if len(s.applied) != 1 || s.applied[0].Digest != "d2" || s.times("ReadDirectory") != 1 || s.answered != 3 {
		t.Errorf("applied %+v, read %d times", s.applied, s.times("ReadDirectory"))
	}
}

// While it waits it looks by itself: another difference is told, and one that needs no approval happens.
func TestAnImportThatWaitsLooksAgain(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"), removalsOf("d2"), harmless)
	s.after(20*time.Minute, func() {
		if task := s.tasks(importAcme)[backup.TaskRemovals]; task.Difference != "d2" || s.raised("task_waiting ldap/removals") != 2 {
			t.Errorf("the task is %+v, alerts %v", task, s.told())
		}
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if len(s.applied) != 1 || s.applied[0].Digest != "none" || s.applied[0].ApprovedBy != "" || s.applied[0].Pass == "" || !strings.HasSuffix(s.applied[0].Pass, "/3") || len(s.alerts()) != 0 {
		t.Errorf("applied %+v, alerts %v", s.applied, s.alerts())
	}
}

// A directory that cannot be read says nothing about the difference that waits.
func TestALookThatFailsChangesNothing(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"))
	s.read = func() error {
		if n := s.times("ReadDirectory"); n == 2 {
			return asActivity(&backup.Error{Code: backup.CodeBadCredential, Message: "the password was refused"})
		}
		return nil
	}
	s.after(20*time.Minute, func() {
		if task := s.tasks(importAcme)[backup.TaskRemovals]; task.Difference != "d1" || !strings.Contains(task.Detail, "password") {
			t.Errorf("the task is %+v", task)
		}
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d1"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if len(s.applied) != 1 || s.times("ReadDirectory") != 3 {
		t.Errorf("applied %+v, read %d times", s.applied, s.times("ReadDirectory"))
	}
}

func TestReportsEnd(t *testing.T) {
	preview := newStage(t, importAcme)
	in := importInput()
	in.Preview = true
	preview.ExecuteWorkflow(ImportPeople, in)
	preview.mustComplete(nil)
	if got := preview.outcomes(); !slices.Equal(got, []backup.ImportOutcome{backup.ImportPreviewed}) {
		t.Errorf("a preview: %v", got)
	}

	refused := newStage(t, importAcme)
	refused.read = func() error {
		return asActivity(&backup.Error{Code: backup.CodeBadCredential, Message: "the password was refused"})
	}
	refused.ExecuteWorkflow(ImportPeople, importInput())
	refused.mustFail(backup.CodeBadCredential)
	if got := refused.ended; len(got) != 1 || got[0].End.Outcome != backup.ImportRefused || got[0].End.Code != backup.CodeBadCredential {
		t.Errorf("refused: %+v", got)
	}

	rejected := newStage(t, importAcme)
	rejected.finds(removalsOf("d1"))
	rejected.after(time.Minute, func() {
		rejected.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Reject, By: bert}, func(backup.Task, error) {})
	})
	rejected.ExecuteWorkflow(ImportPeople, importInput())
	rejected.mustFail(backup.CodeNotAllowed)
	if got := rejected.outcomes(); !slices.Equal(got, []backup.ImportOutcome{backup.ImportRejected}) || len(rejected.alerts()) != 0 {
		t.Errorf("rejected: %v, alerts %v", got, rejected.alerts())
	}

	cancelled := newStage(t, importAcme)
	cancelled.finds(removalsOf("d1"))
	cancelled.after(time.Minute, cancelled.CancelWorkflow)
	cancelled.ExecuteWorkflow(ImportPeople, importInput())
	cancelled.mustFail(backup.CodeCancelled)
	if got := cancelled.ended; len(got) != 1 || got[0].End.Code != backup.CodeCancelled {
		t.Errorf("cancelled: %+v", got)
	}
}

var scheduledInput = ImportPeopleInput{Tenant: "acme", Directory: "ldap"}

// Ten thousand pushes after the read began are one more import.
func TestPushesAreOneMoreImport(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"), harmless)
	for second := range 20 { // the environment holds a thousand at once
		s.after(time.Minute+time.Duration(second)*time.Second, func() {
			for range 500 {
				s.SignalWorkflow(PushedSignal, "pushed")
			}
		})
	}
	s.after(2*time.Minute, func() {
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d1"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, scheduledInput)
	s.mustComplete(nil)
	if len(s.applied) != 2 || s.times("ReadDirectory") != 2 || len(s.alerts()) != 0 || s.applied[0].Pass == s.applied[1].Pass {
		t.Errorf("applied %+v, alerts %v", s.applied, s.alerts())
	}
}

// An outage of hours is told and outlasted where nobody waits, and removes nobody.
func TestAScheduledImportOutlastsAnOutage(t *testing.T) {
	s := newStage(t, importAcme)
	back := s.Now().Add(3 * time.Hour)
	s.read = func() error {
		if s.Now().Before(back) {
			return asActivity(&backup.Error{Code: backup.CodeThrottled, Fault: backup.FaultVendor, Message: "come back later", Retryable: true})
		}
		return nil
	}
	s.after(time.Hour, func() {
		if got := s.alerts(); !slices.Equal(got, []string{"import_refused ldap"}) {
			t.Errorf("alerts %v", got)
		}
	})
	s.ExecuteWorkflow(ImportPeople, scheduledInput)
	s.mustComplete(nil)
	if len(s.applied) != 1 || len(s.alerts()) != 0 {
		t.Errorf("applied %+v, alerts %v", s.applied, s.alerts())
	}
}

// What a schedule starts has another id, and hands over to the import of the directory, of which there is one at a time.
func TestAScheduledImportIsHandedOver(t *testing.T) {
	s := newStage(t, importAcme+"-2026-01-01T22:00:00Z")
	var begun []string
	s.SetOnChildWorkflowStartedListener(func(info *workflow.Info, _ workflow.Context, _ converter.EncodedValues) {
		begun = append(begun, info.WorkflowExecution.ID)
	})
	s.ExecuteWorkflow(ImportPeople, scheduledInput)
	s.mustComplete(nil)
	if !slices.Equal(begun, []string{importAcme}) {
		t.Errorf("began %v", begun)
	}
}

// What is pushed to an import that waits is not lost when it continues as new.
func TestPushesOutliveContinueAsNew(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"))
	s.after(time.Minute, func() { s.SignalWorkflow(PushedSignal, "pushed") })
	s.after(2*time.Minute, func() { s.SetContinueAsNewSuggested(true) })
	s.ExecuteWorkflow(ImportPeople, scheduledInput)
	var in ImportPeopleInput
	s.mustContinue(&in)

	again := newStage(t, importAcme)
	again.SetStartTime(in.Resume.Board.Tasks[0].Since.Add(2 * time.Minute))
	again.finds(harmless)
	again.after(time.Minute, func() {
		again.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d1"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	again.ExecuteWorkflow(ImportPeople, in)
	again.mustComplete(nil)
	if len(again.applied) != 2 || again.applied[0].Digest != "d1" || again.applied[1].Digest != "none" {
		t.Errorf("applied %+v", again.applied)
	}
}

// A first import that turns out to remove too many waits as what it is, and the approval of the one is none of the other.
func TestAFirstImportMayTurnOutToRemoveTooMany(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(activities.CompareResult{Verdict: backup.ImportConfirm, Why: "the first import would add 25 people", Digest: "d1"}, removalsOf("d2"))
	s.after(20*time.Minute, func() {
		tasks := s.tasks(importAcme)
		if first, now := tasks[backup.TaskFirstImport], tasks[backup.TaskRemovals]; first.State != backup.Passing || now.State != backup.Waiting || now.Difference != "d2" || now.Code != backup.CodeRemovalThreshold {
			t.Errorf("the tasks are %+v", tasks)
		}
		if got := s.alerts(); !slices.Equal(got, []string{"task_waiting ldap/removals"}) {
			t.Errorf("alerts %v", got)
		}
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d2"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if len(s.applied) != 1 || s.applied[0].Digest != "d2" || s.applied[0].ApprovedBy != bert || len(s.alerts()) != 0 {
		t.Errorf("applied %+v, alerts %v", s.applied, s.alerts())
	}
}

// A directory that lists nobody while an import waits changes nothing about what waits, and an approval then removes nobody.
func TestAnEmptyLookIsNoDifference(t *testing.T) {
	s := newStage(t, importAcme)
	s.finds(removalsOf("d1"), activities.CompareResult{Verdict: backup.ImportRefuse, Why: "the directory lists nobody", Digest: "none"})
	s.after(20*time.Minute, func() {
		if task := s.tasks(importAcme)[backup.TaskRemovals]; task.Difference != "d1" || !strings.Contains(task.Detail, "lists nobody") {
			t.Errorf("the task is %+v", task)
		}
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: bert, Difference: "d1"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustFail(backup.CodeEmptyListing)
	if len(s.applied) != 0 || s.times("ReadDirectory") != 3 {
		t.Errorf("applied %+v after %d reads", s.applied, s.times("ReadDirectory"))
	}
}
