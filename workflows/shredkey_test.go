package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const dora = "dora@acme.example"

var shredInput = ShredKeyInput{Tenant: "acme", RequestedBy: anna, Reason: "the contract ended"}

// approveShred lets two people approve, an hour and two hours after the start.
func (s *stage) approveShred() {
	s.say(time.Hour, keyAcme, backup.TaskShred, backup.Approve, bert, "")
	s.say(2*time.Hour, keyAcme, backup.TaskShredToo, backup.Approve, dora, "")
}

func TestShredTakesTwoPeopleAndTime(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.after(30*time.Minute, func() {
		s.decide(keyAcme, backup.Decision{Task: backup.TaskShred, Action: backup.Approve, By: anna}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotAllowed) // she asked for it
		})
		s.decide(keyAcme, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: bert}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotWaiting)
		})
	})
	s.after(90*time.Minute, func() {
		s.decide(keyAcme, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: bert}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotAllowed) // he has approved already
			if v := VerdictOf(err); !strings.Contains(v.Detail, "approved already") {
				t.Errorf("refused with %+v", v)
			}
		})
		s.decide(keyAcme, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: anna}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotAllowed)
		})
	})
	s.approveShred()
	s.after(2*time.Hour+3*day1-time.Minute, func() {
		if s.times("DestroyKey") != 0 {
			t.Error("destroyed before the time was over")
		}
		if task := s.tasks(keyAcme)[backup.TaskShredWait]; task.State != backup.Waiting || !slices.Equal(task.Actions, []backup.Action{backup.Abort}) {
			t.Errorf("%+v", task)
		}
		if n := s.raised("task_waiting shred-wait"); n != 3 {
			t.Errorf("told %d times in three days", n)
		}
	})
	s.ExecuteWorkflow(ShredKey, shredInput)
	var result ShredKeyResult
	s.mustComplete(&result)
	r := result.Report
	if r.RequestedBy != anna || !slices.Equal(r.ApprovedBy, []string{bert, dora}) || r.Reason == "" || len(r.Holders) != 2 || string(r.Signature) != "signed" || r.Destroyed.Sub(r.Requested) < 3*day1 {
		t.Errorf("report %+v", r)
	}
	if s.times("EndSchedules") != 1 {
		t.Error("the clocks go on")
	}
	if s.answered != 6 || s.times("DestroyKey") != 1 || len(s.alerts()) != 0 {
		t.Errorf("%d answers, destroyed %d times, alerts %v", s.answered, s.times("DestroyKey"), s.alerts())
	}
}

func TestShredIsCalledOff(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"rejected at first": func(s *stage) { s.say(time.Hour, keyAcme, backup.TaskShred, backup.Reject, bert, "") },
		"rejected second": func(s *stage) {
			s.say(time.Hour, keyAcme, backup.TaskShred, backup.Approve, bert, "")
			s.say(2*time.Hour, keyAcme, backup.TaskShredToo, backup.Reject, bert, "I thought again")
		},
		"called off": func(s *stage) {
			s.approveShred()
			s.say(3*day1, keyAcme, backup.TaskShredWait, backup.Abort, anna, "we stay")
		},
		"cancelled": func(s *stage) {
			s.approveShred()
			s.after(3*day1, s.CancelWorkflow)
		},
		"forgotten": func(s *stage) { s.say(time.Hour, keyAcme, backup.TaskShred, backup.Approve, bert, "") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, keyAcme)
			end(s)
			s.ExecuteWorkflow(ShredKey, shredInput)
			if !s.IsWorkflowCompleted() || s.GetWorkflowError() == nil {
				t.Fatalf("ends with %v", s.GetWorkflowError())
			}
			if s.times("DestroyKey")+s.times("ProveShred") != 0 || len(s.alerts()) != 0 {
				t.Errorf("destroyed %d times, alerts %v", s.times("DestroyKey"), s.alerts())
			}
		})
	}
}

func TestWhoMayNotAskForShredding(t *testing.T) {
	for by, want := range map[string]backup.Code{"cleo@acme.example": backup.CodeNotAllowed, bert: backup.CodeNotAllowed, "eve@elsewhere.example": backup.CodeUnknownPrincipal} {
		s := newKeyStage(t, keyAcme)
		in := shredInput
		in.RequestedBy = by
		s.ExecuteWorkflow(ShredKey, in)
		s.mustFail(want)
	}
	s := newKeyStage(t, keyAcme)
	s.keys.plan.Active = backup.EKey{}
	s.ExecuteWorkflow(ShredKey, shredInput)
	s.mustFail(backup.CodeNotFound)
}

// One holder is away when the time comes: it is waited for, nobody can stop it any more, and the one that is gone stays in the report.
func TestShredWaitsForEveryHolder(t *testing.T) {
	gone := backup.KeyProof{Holder: "connector lab", Generation: 1, Code: backup.CodeNotConnected, Detail: "it is not connected"}
	for _, waived := range []bool{false, true} {
		s := newKeyStage(t, keyAcme)
		s.keys.holders[1] = gone
		s.approveShred()
		s.after(10*day1, func() {
			s.decide(keyAcme, backup.Decision{Task: backup.TaskDestroy, Action: backup.Abort, By: anna}, func(_ backup.Task, err error) {
				wantCode(t, err, backup.CodeNotAllowed)
			})
			if got := s.alerts(); !slices.Equal(got, []string{"not_connected key"}) {
				t.Errorf("open alerts %v", got)
			}
			if waived {
				s.decide(keyAcme, backup.Decision{Task: backup.TaskDestroy, Action: backup.Waive, By: anna, Reason: "its disk was burnt"}, func(_ backup.Task, err error) {
					if err != nil {
						t.Error(err)
					}
				})
				return
			}
			s.world.mu.Lock()
			s.keys.holders = []backup.KeyProof{{Holder: "connector lab", Generation: 1, OK: true}} // hq has nothing left to say
			s.world.mu.Unlock()
			s.SignalWorkflow(RecheckSignal, "lab came")
		})
		s.ExecuteWorkflow(ShredKey, shredInput)
		var result ShredKeyResult
		s.mustComplete(&result)
		h := result.Report.Holders
		if len(h) != 2 || !h[0].OK || h[1].OK == waived || waived && !strings.Contains(h[1].Detail, "its disk was burnt") {
			t.Errorf("waived %v: holders %+v", waived, h)
		}
		if len(s.alerts()) != 0 {
			t.Errorf("alerts %v", s.alerts())
		}
	}
}

// A key that still opens something is not reported as gone.
func TestShredWaitsForItsProof(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	back := s.away("ProveShred", backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: "generation 1 is still released"})
	s.approveShred()
	s.after(10*day1, func() {
		if task := s.tasks(keyAcme)[backup.TaskProof]; task.State != backup.Waiting || s.keys.shredReported != nil {
			t.Errorf("%+v", task)
		}
		back()
	})
	s.say(10*day1+time.Minute, keyAcme, backup.TaskProof, backup.Retry, anna, "")
	s.ExecuteWorkflow(ShredKey, shredInput)
	s.mustComplete(nil)
}

func TestShredContinuesAsNew(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.approveShred()
	s.after(2*day1, func() {
		s.SetContinueAsNewSuggested(true)
		s.SignalWorkflow(RecheckSignal, "")
	})
	s.ExecuteWorkflow(ShredKey, shredInput)
	in := s.mustContinue(new(ShredKeyInput)).(*ShredKeyInput)
	if in.Resume == nil || in.Resume.Until.IsZero() {
		t.Fatalf("carried %+v", in.Resume)
	}
	again := newKeyStage(t, keyAcme)
	again.SetStartTime(in.Resume.Until.Add(-time.Hour))
	again.after(59*time.Minute, func() {
		if again.times("DestroyKey") != 0 {
			t.Error("destroyed before the time was over")
		}
		again.decide(keyAcme, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: dora}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotWaiting)
		})
	})
	again.ExecuteWorkflow(ShredKey, *in)
	var result ShredKeyResult
	again.mustComplete(&result)
	if !slices.Equal(result.Report.ApprovedBy, []string{bert, dora}) || again.times("PlanKey") != 0 {
		t.Errorf("report %+v", result.Report)
	}
}

func TestDrillFailsAndRecovers(t *testing.T) {
	s := newKeyStage(t, "drill/acme")
	s.keys.proofs[1] = backup.KeyProof{Holder: "connector lab", Generation: 1, Code: backup.CodeWrongKey, Detail: "it holds another key"}
	s.ExecuteWorkflow(DrillKey, DrillKeyInput{Tenant: "acme"})
	var result DrillKeyResult
	s.mustComplete(&result)
	if result.Drill.OK || !slices.Equal(s.alerts(), []string{"key_drill connector lab"}) {
		t.Errorf("%+v, alerts %v", result.Drill, s.alerts())
	}

	again := newKeyStage(t, "drill/acme")
	again.open["key_drill connector lab"], again.open["key_drill key"] = 1, 1
	again.ExecuteWorkflow(DrillKey, DrillKeyInput{Tenant: "acme"})
	again.mustComplete(&result)
	if !result.Drill.OK || len(again.alerts()) != 0 {
		t.Errorf("%+v, alerts %v", result.Drill, again.alerts())
	}
}

func TestADrillThatCannotBeMade(t *testing.T) {
	for code, want := range map[backup.Code][]string{backup.CodeBadConfig: {"key_drill key"}, backup.CodeDestroyed: nil} {
		s := newKeyStage(t, "drill/acme")
		s.keys.meddle["DrillKey"] = func() (backup.Verdict, error) {
			return backup.Verdict{}, asActivity(&backup.Error{Code: code, Fault: backup.FaultCustomer, Message: "no"})
		}
		s.ExecuteWorkflow(DrillKey, DrillKeyInput{Tenant: "acme"})
		s.mustFail(code)
		if got := s.alerts(); !slices.Equal(got, want) {
			t.Errorf("%s: alerts %v", code, got)
		}
	}
}
