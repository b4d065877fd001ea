package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/testsuite"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func (s *stage) settle(d backup.MergeDecision, check func(error)) {
	s.t.Helper()
	s.UpdateWorkflow(SettleUpdate, s.updateID(), &testsuite.TestUpdateCallback{OnAccept: func() {},
		OnReject:   func(err error) { s.answered++; check(err) },
		OnComplete: func(_ any, err error) { s.answered++; check(err) }}, d)
}

func TestConflictsWaitUntilAllAreDecided(t *testing.T) {
	s := newStage(t, SettleConflictsID("acme"))
	s.waiting = 2
	d := backup.MergeDecision{Directory: "ldap", EntryID: "e1", Verdict: backup.MergeSeparate, By: anna}
	s.after(time.Minute, func() {
		if task := s.tasks(SettleConflictsID("acme"))[backup.TaskConflicts]; task.State != backup.Waiting || !strings.Contains(task.Detail, "2 entries") {
			t.Errorf("the task is %+v", task)
		}
		for by, want := range map[string]backup.Code{"eve@elsewhere.example": backup.CodeUnknownPrincipal, bert: backup.CodeNotAllowed, "": backup.CodeUnknownPrincipal} {
			bad := d
			bad.By = by
			s.settle(bad, func(err error) { wantCode(t, err, want) })
		}
		unknown := d
		unknown.EntryID = "nobody"
		s.settle(unknown, func(err error) { wantCode(t, err, backup.CodeNotFound) })
		s.settle(d, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.after(25*time.Hour, func() {
		if n := s.raised("task_waiting conflicts"); n != 2 {
			t.Errorf("told %d times in a day", n)
		}
		s.SignalWorkflow(SettleSignal, backup.MergeDecision{Directory: "ldap", EntryID: "e2", Verdict: backup.MergeIgnore, By: bert})
		s.SignalWorkflow(SettleSignal, backup.MergeDecision{Directory: "ldap", EntryID: "e2", Verdict: backup.MergeIgnore, By: anna})
	})
	s.after(26*time.Hour, func() { s.SignalWorkflow(RecheckSignal, "an import") })
	s.ExecuteWorkflow(SettleConflicts, SettleConflictsInput{Tenant: "acme"})
	s.mustComplete(nil)
	if len(s.settledAs) != 2 || s.settledAs[0].At.IsZero() || s.answered != 5 {
		t.Errorf("decided %+v, %d answers", s.settledAs, s.answered)
	}
	if got := s.alerts(); !slices.Equal(got, []string{"decision_refused conflicts"}) {
		t.Errorf("alerts %v", got)
	}
}

func dueAre(n int, digest string) func() (activities.DueResult, error) {
	return func() (activities.DueResult, error) { return activities.DueResult{Due: n, Digest: digest}, nil }
}

func TestNobodyIsDue(t *testing.T) {
	s := newStage(t, ReviewLeaversID("acme"))
	s.ExecuteWorkflow(ReviewLeavers, ReviewLeaversInput{Tenant: "acme"})
	s.mustComplete(nil)
	if len(s.released) != 0 || len(s.told()) != 0 {
		t.Errorf("released %+v, told %v", s.released, s.told())
	}
}

func TestDeletionsAreApprovedAsTheyAre(t *testing.T) {
	s := newStage(t, ReviewLeaversID("acme"))
	s.due = dueAre(7, "d1")
	s.release = func(in activities.ReleaseInput) error {
		if in.Digest == "d1" {
			s.mu.Lock()
			s.due = dueAre(8, "d2")
			s.mu.Unlock()
			return asActivity(&backup.Error{Code: backup.CodeDifferenceChanged, Message: "others are due"})
		}
		return nil
	}
	for at, digest := range map[time.Duration]string{time.Second: "d1", 30 * time.Second: "d2"} {
		s.after(at, func() {
			if task := s.tasks(ReviewLeaversID("acme"))[backup.TaskDeletions]; task.State != backup.Waiting || task.Difference != digest {
				t.Errorf("the task is %+v", task)
			}
			s.decide(ReviewLeaversID("acme"), backup.Decision{Task: backup.TaskDeletions, Action: backup.Approve, By: bert, Difference: digest}, func(_ backup.Task, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
	s.ExecuteWorkflow(ReviewLeavers, ReviewLeaversInput{Tenant: "acme"})
	var result ReviewLeaversResult
	s.mustComplete(&result)
	if result.Released != 7 || len(s.released) != 1 || s.released[0].Digest != "d2" || s.released[0].ApprovedBy != bert || len(s.alerts()) != 0 {
		t.Errorf("result %+v, released %+v, alerts %v", result, s.released, s.alerts())
	}
}

func TestARejectedDeletionRests(t *testing.T) {
	s := newStage(t, ReviewLeaversID("acme"))
	s.due = dueAre(7, "d1")
	s.after(time.Second, func() {
		s.decide(ReviewLeaversID("acme"), backup.Decision{Task: backup.TaskDeletions, Action: backup.Reject, By: bert}, func(backup.Task, error) {})
	})
	begun := s.Now()
	s.ExecuteWorkflow(ReviewLeavers, ReviewLeaversInput{Tenant: "acme"})
	var result ReviewLeaversResult
	s.mustComplete(&result)
	if rested := s.Now().Sub(begun); !result.Rejected || rested < askAgainAfter || len(s.released) != 0 || len(s.alerts()) != 0 {
		t.Errorf("result %+v after %s, alerts %v", result, rested, s.alerts())
	}
}
