package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const bert = "bert@acme.example"

var (
	rotateInput = ChangeKeyInput{Tenant: "acme", Change: RotateKey, RequestedBy: anna}
	switchInput = ChangeKeyInput{Tenant: "acme", Change: SwitchKey, Method: backup.KeyByKMS, RequestedBy: anna}
	sealed      = backup.Verdict{Code: backup.CodeSealed, Fault: backup.FaultCustomer, Detail: "Vault is sealed", Hint: "vault operator unseal"}
)

// say decides on a task at a time, and wants it taken.
func (s *stage) say(at time.Duration, id, task string, action backup.Action, by, reason string) {
	s.after(at, func() {
		s.decide(id, backup.Decision{Task: task, Action: action, By: by, Reason: reason}, func(_ backup.Task, err error) {
			if err != nil {
				s.t.Errorf("%s %s by %s: %v", action, task, by, err)
			}
		})
	})
}

// newKeyStage has the time of the test environment in its world.
func newKeyStage(t *testing.T, id string) *stage {
	s := newStage(t, id)
	s.world.now = s.Now
	s.OnSignalExternalWorkflow("default-test-namespace", watchAcme, "", ParkedSignal, anything).Return(
		func(_, _, _, _ string, id any) error { // on a goroutine of its own
			s.world.mu.Lock()
			defer s.world.mu.Unlock()
			s.parked[id.(string)]++
			return nil
		}).Maybe()
	return s
}

func TestRotate(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.after(time.Hour, func() {
		task := s.tasks(keyAcme)[backup.TaskKeyChange]
		if task.State != backup.Waiting || !strings.Contains(task.Detail, "generation 1 is replaced") {
			t.Errorf("the approval says %+v", task)
		}
		s.decide(keyAcme, backup.Decision{Task: backup.TaskKeyChange, Action: backup.Approve, By: anna}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotAllowed)
		})
	})
	s.say(2*time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	s.after(3*time.Hour, func() {
		if got := s.generations(); got != "1 retiring, 2 active, opens with 2" {
			t.Error(got)
		}
		if task := s.tasks("retire/acme/1")[backup.TaskRetire]; task.State != backup.Waiting || !strings.Contains(task.Detail, "until") {
			t.Errorf("%+v", task)
		}
		if got := s.alerts(); len(got) != 0 {
			t.Errorf("alerts while nobody needs to do anything: %v", got)
		}
	})
	s.ExecuteWorkflow(ChangeKey, rotateInput)
	var result ChangeKeyResult
	s.mustComplete(&result)
	if result != (ChangeKeyResult{From: 1, To: 2, Method: backup.KeyByConnector}) || s.answered != 2 {
		t.Errorf("result %+v", result)
	}
	if got := s.keys.prepared; len(got) != 1 || got[0].Method != backup.KeyByConnector {
		t.Errorf("prepared %+v", got)
	}
	if got := s.keys.shared; !slices.Equal(got, []activities.ShareKeyInput{{Tenant: "acme", Generation: 2}}) {
		t.Errorf("shared %+v", got)
	}
}

func TestSwitchBothWays(t *testing.T) {
	for _, to := range []backup.KeyMethod{backup.KeyByKMS, backup.KeyByConnector} {
		s := newKeyStage(t, keyAcme)
		in := switchInput
		in.Method = to
		if to == backup.KeyByConnector {
			s.keys.plan.Active.Method = backup.KeyByKMS
		}
		s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
		s.ExecuteWorkflow(ChangeKey, in)
		var result ChangeKeyResult
		s.mustComplete(&result)
		if result.Method != to || s.keys.prepared[0].Method != to || s.keys.opens != 2 {
			t.Errorf("%+v, prepared %+v", result, s.keys.prepared)
		}
	}
}

func TestChangesThatCannotBe(t *testing.T) {
	byKMS := func(v *vault) { v.plan.Active.Method = backup.KeyByKMS }
	toConnector := switchInput
	toConnector.Method = backup.KeyByConnector
	for name, c := range map[string]struct {
		in   ChangeKeyInput
		set  func(*vault)
		want backup.Code
	}{
		"no key":                {rotateInput, func(v *vault) { v.plan.Active = backup.EKey{} }, backup.CodeNotFound},
		"switch to the same":    {switchInput, byKMS, backup.CodeNotAllowed},
		"switch to nothing":     {ChangeKeyInput{Tenant: "acme", Change: SwitchKey, RequestedBy: anna}, byKMS, backup.CodeBadConfig},
		"switch to no Vault":    {switchInput, func(v *vault) { v.plan.KMS = false }, backup.CodeBadConfig},
		"switch to nobody":      {toConnector, func(v *vault) { byKMS(v); v.plan.Connectors = 0 }, backup.CodeNotConnected},
		"rewrap of a connector": {ChangeKeyInput{Tenant: "acme", Change: RewrapKey, RequestedBy: anna}, func(*vault) {}, backup.CodeNotAllowed},
		"a viewer":              {ChangeKeyInput{Tenant: "acme", Change: RotateKey, RequestedBy: "cleo@acme.example"}, func(*vault) {}, backup.CodeNotAllowed},
		"the clock's name":      {ChangeKeyInput{Tenant: "acme", Change: RotateKey, RequestedBy: bySchedule}, func(*vault) {}, backup.CodeUnknownPrincipal},
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, keyAcme)
			c.set(&s.keys)
			s.ExecuteWorkflow(ChangeKey, c.in)
			s.mustFail(c.want)
			if s.times("PrepareKey")+s.times("DropKey") != 0 {
				t.Error("something was done")
			}
			if got := s.told(); len(got) != 0 {
				t.Errorf("somebody was asked about what cannot be: %v", got)
			}
		})
	}
}

func TestRewrapOfAKMSKey(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.keys.plan.Active.Method = backup.KeyByKMS
	back := s.away("RewrapKey", sealed)
	s.after(30*time.Hour, func() {
		if got := s.alerts(); !slices.Equal(got, []string{"key_unavailable key"}) {
			t.Errorf("open alerts %v", got)
		}
		back()
	})
	s.after(30*time.Hour+pace.Outage+time.Minute, func() { t.Error("a KMS that was unsealed is not noticed") })
	s.ExecuteWorkflow(ChangeKey, ChangeKeyInput{Tenant: "acme", Change: RewrapKey, RequestedBy: anna})
	var result ChangeKeyResult
	s.mustComplete(&result)
	if result.From != 1 || result.To != 1 || s.times("PrepareKey") != 0 || len(s.alerts()) != 0 {
		t.Errorf("%+v, alerts %v", result, s.alerts())
	}
}

// The schedule's own workflow runs the change under the key's id, without an approval; while something else is done to the key it does not.
func TestScheduledRotation(t *testing.T) {
	in := rotateInput
	in.RequestedBy = bySchedule
	s := newKeyStage(t, "rotate/acme-2026-11-23T03:00:00Z")
	s.ExecuteWorkflow(ChangeKey, in)
	var result ChangeKeyResult
	s.mustComplete(&result)
	if result.To != 2 || s.keys.opens != 2 {
		t.Errorf("%+v", result)
	}
}

// Before the repository is re-wrapped, whatever ends the change leaves the old generation as the only one, and it works.
func TestAChangeThatEndsEarlyIsUndone(t *testing.T) {
	approve := func(s *stage) { s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "") }
	abort := func(task string) func(*stage) {
		return func(s *stage) {
			approve(s)
			s.say(5*time.Hour, keyAcme, task, backup.Abort, anna, "later")
		}
	}
	cancel := func(s *stage) {
		approve(s)
		s.after(5*time.Hour, s.CancelWorkflow)
	}
	wrong := backup.Verdict{Code: backup.CodeWrongKey, Fault: backup.FaultOurs, Detail: "it opens with neither"}
	for name, c := range map[string]struct {
		activity string
		v        backup.Verdict
		end      func(*stage)
		want     backup.Code
	}{
		"aborted at new-key":   {"PrepareKey", sealed, abort(backup.TaskNewKey), backup.CodeNotAllowed},
		"aborted at holders":   {"ShareKey", notConnected, abort(backup.TaskHolders), backup.CodeNotAllowed},
		"aborted at rewrap":    {"RewrapRepository", wrong, abort(backup.TaskRewrap), backup.CodeNotAllowed},
		"cancelled at new-key": {"PrepareKey", notConnected, cancel, backup.CodeCancelled},
		"cancelled at holders": {"ShareKey", notConnected, cancel, backup.CodeCancelled},
		"cancelled at rewrap":  {"RewrapRepository", sealed, cancel, backup.CodeCancelled},
		"nobody answers":       {"RewrapRepository", sealed, approve, backup.CodeSealed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, keyAcme)
			s.away(c.activity, c.v)
			c.end(s)
			s.ExecuteWorkflow(ChangeKey, rotateInput)
			s.mustFail(c.want)
			if got := s.generations(); got != "1 active, 2 retired, opens with 1" && got != "1 active, opens with 1" {
				t.Error(got)
			}
			if s.times("DropKey") != 1 {
				t.Errorf("given up %d times", s.times("DropKey"))
			}
			if got := s.alerts(); len(got) != 0 && name != "nobody answers" {
				t.Errorf("open alerts %v", got)
			}
		})
	}
}

// Giving up waits for whoever holds the old key, also after a cancellation.
func TestUndoingWaitsForTheOldKey(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.away("ShareKey", notConnected)
	back := s.away("DropKey", notConnected)
	s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	s.after(2*time.Hour, s.CancelWorkflow)
	s.after(3*day1, func() {
		if task := s.tasks(keyAcme)[backup.TaskKey]; task.State != backup.Waiting || task.Title != "The old key still opens the repository" {
			t.Errorf("%+v", task)
		}
		back()
	})
	s.ExecuteWorkflow(ChangeKey, rotateInput)
	s.mustFail(backup.CodeCancelled)
	if got := s.generations(); got != "1 active, 2 retired, opens with 1" {
		t.Error(got)
	}
}

// Only the answer of the re-wrapping was lost: there is no way back, so the change ends well, whatever a person says.
func TestALostAnswerIsNoWayBack(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"aborted":   func(s *stage) { s.say(5*time.Hour, keyAcme, backup.TaskRewrap, backup.Abort, anna, "") },
		"cancelled": func(s *stage) { s.after(5*time.Hour, s.CancelWorkflow) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, keyAcme)
			s.keys.lost["RewrapRepository"] = true
			s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
			end(s)
			s.ExecuteWorkflow(ChangeKey, rotateInput)
			s.mustComplete(nil)
			if got := s.generations(); got != "1 retiring, 2 active, opens with 2" {
				t.Error(got)
			}
			if got := s.alerts(); len(got) != 0 {
				t.Errorf("open alerts %v", got)
			}
		})
	}
}

// A decision or a cancellation while the repository is being re-wrapped comes too late.
func TestTooLateToAbort(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"aborted": func(s *stage) {
			_ = s.SignalWorkflowByID(keyAcme, DecideSignal, backup.Decision{Task: backup.TaskRewrap, Action: backup.Abort, By: anna})
		},
		"cancelled": (*stage).CancelWorkflow,
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, keyAcme)
			s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
			first := true
			s.keys.meddle["RewrapRepository"] = func() (backup.Verdict, error) {
				if first {
					first = false
					return sealed, nil
				}
				end(s)
				time.Sleep(50 * time.Millisecond)
				return passing, nil
			}
			s.ExecuteWorkflow(ChangeKey, rotateInput)
			s.mustComplete(nil)
			if got := s.generations(); got != "1 retiring, 2 active, opens with 2" {
				t.Error(got)
			}
		})
	}
}

func TestAHolderThatIsAwayIsWaived(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.away("ShareKey", notConnected)
	s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	s.say(2*time.Hour, keyAcme, backup.TaskHolders, backup.Waive, anna, "lab is being moved")
	s.ExecuteWorkflow(ChangeKey, rotateInput)
	s.mustComplete(nil)
	if s.keys.opens != 2 {
		t.Error(s.generations())
	}
}

func TestARejectedChangeLeavesNothing(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Reject, bert, "not now")
	s.ExecuteWorkflow(ChangeKey, rotateInput)
	v := s.mustFail(backup.CodeNotAllowed)
	if !strings.Contains(v.Detail, "not now") || !strings.Contains(v.Hint, "holdfast key rotate acme") {
		t.Errorf("ends with %+v", v)
	}
	if s.times("PrepareKey")+s.times("DropKey") != 0 || len(s.alerts()) != 0 {
		t.Errorf("alerts %v", s.alerts())
	}
}

func TestAChangeContinuesAsNew(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.away("ShareKey", notConnected)
	s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	s.after(day1, func() {
		s.SetContinueAsNewSuggested(true)
		s.SignalWorkflow(RecheckSignal, "")
	})
	s.ExecuteWorkflow(ChangeKey, rotateInput)
	in := s.mustContinue(new(ChangeKeyInput)).(*ChangeKeyInput)
	if r := in.Resume; r == nil || r.From != 1 || r.To != 2 || !r.Tried || r.Undoing != nil {
		t.Fatalf("carried %+v", r)
	}

	// The next run is cancelled, continues as new once more while it waits for the old key, and then ends.
	again := newKeyStage(t, keyAcme)
	again.keys = s.keys
	again.away("ShareKey", notConnected)
	again.away("DropKey", notConnected)
	again.after(time.Hour, again.CancelWorkflow)
	again.after(day1, func() {
		again.SetContinueAsNewSuggested(true)
		again.SignalWorkflow(RecheckSignal, "")
	})
	again.ExecuteWorkflow(ChangeKey, *in)
	in = again.mustContinue(new(ChangeKeyInput)).(*ChangeKeyInput)
	if r := in.Resume; r == nil || r.To != 2 || r.Undoing == nil || r.Undoing.Code != backup.CodeCancelled {
		t.Fatalf("carried %+v", r)
	}
	last := newKeyStage(t, keyAcme)
	last.keys = again.keys
	last.keys.meddle = map[string]func() (backup.Verdict, error){}
	last.ExecuteWorkflow(ChangeKey, *in)
	last.mustFail(backup.CodeCancelled)
	if got := last.generations(); got != "1 active, 2 retired, opens with 1" {
		t.Error(got)
	}
}

func retireInput(s *stage) RetireKeyLaterInput {
	return RetireKeyLaterInput{Tenant: "acme", Generation: 1, RetireAfter: s.Now().Add(7 * day1)}
}

func TestGracePassesByItself(t *testing.T) {
	s := newKeyStage(t, "retire/acme/1")
	s.after(7*day1-time.Minute, func() {
		if s.times("RetireKey") != 0 {
			t.Error("retired too early")
		}
	})
	s.ExecuteWorkflow(RetireKeyLater, retireInput(s))
	s.mustComplete(nil)
	if s.keys.states[1] != backup.EKeyRetired || len(s.told()) != 0 {
		t.Errorf("%s, told %v", s.generations(), s.told())
	}
}

func TestGraceIsHastened(t *testing.T) {
	s := newKeyStage(t, "retire/acme/1")
	back := s.away("RetireKey", notConnected)
	s.say(time.Hour, "retire/acme/1", backup.TaskRetire, backup.Approve, anna, "")
	s.after(2*time.Hour, func() {
		if got := s.alerts(); s.times("RetireKey") == 0 || !slices.Equal(got, []string{"not_connected key"}) {
			t.Errorf("retired %d times, alerts %v", s.times("RetireKey"), got)
		}
		back()
		s.SignalWorkflow(RecheckSignal, "a connector came")
	})
	s.after(2*time.Hour+time.Minute, func() {
		if s.keys.states[1] != backup.EKeyRetired {
			t.Error(s.generations())
		}
	})
	s.ExecuteWorkflow(RetireKeyLater, retireInput(s))
	s.mustComplete(nil)
}

func TestNothingIsLeftToRetireOfAShreddedKey(t *testing.T) {
	s := newKeyStage(t, "retire/acme/1")
	s.away("RetireKey", backup.Verdict{Code: backup.CodeDestroyed, Detail: "the key was shredded"})
	s.ExecuteWorkflow(RetireKeyLater, retireInput(s))
	s.mustComplete(nil)
	if len(s.alerts()) != 0 {
		t.Errorf("alerts %v", s.alerts())
	}
}

// Whoever turned a change down, or let it go, is told the command that asks for the same again.
func TestARejectedChangeNamesItsCommand(t *testing.T) {
	for want, in := range map[string]ChangeKeyInput{
		"holdfast key rotate acme asks again":          rotateInput,
		"holdfast key switch acme --to kms asks again": switchInput,
	} {
		s := newKeyStage(t, keyAcme)
		s.say(time.Hour, keyAcme, backup.TaskKeyChange, backup.Reject, bert, "not now")
		s.ExecuteWorkflow(ChangeKey, in)
		if v := s.mustFail(backup.CodeNotAllowed); v.Hint != "nothing was changed; "+want {
			t.Errorf("the hint is %q", v.Hint)
		}
	}
	s := newKeyStage(t, keyAcme)
	s.keys.plan.Active.Method = backup.KeyByKMS
	s.away("RewrapKey", sealed)
	s.say(time.Hour, keyAcme, backup.TaskRewrap, backup.Abort, anna, "later")
	s.ExecuteWorkflow(ChangeKey, ChangeKeyInput{Tenant: "acme", Change: RewrapKey, RequestedBy: anna})
	if v := s.mustFail(backup.CodeNotAllowed); !strings.Contains(v.Hint, "holdfast key rotate acme --rewrap-only asks again") {
		t.Errorf("the hint is %q", v.Hint)
	}
}
