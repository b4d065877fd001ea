package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var missingRole = backup.Verdict{Code: backup.CodeMissingRole, Fault: backup.FaultCustomer, Detail: "Mail.Read is missing", Hint: "grant it"}

func TestDecisionsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		decision backup.Decision
		want     backup.Code
	}{
		"by nobody":              {backup.Decision{Task: backup.TaskApp, Action: backup.Waive, Reason: "x"}, backup.CodeUnknownPrincipal},
		"by somebody unknown":    {backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: "eve@elsewhere.example"}, backup.CodeUnknownPrincipal},
		"by a viewer":            {backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: "cleo@acme.example"}, backup.CodeNotAllowed},
		"by an approver":         {backup.Decision{Task: backup.TaskApp, Action: backup.Waive, By: "bert@acme.example", Reason: "x"}, backup.CodeNotAllowed},
		"not waiting":            {backup.Decision{Task: backup.TaskDirectory, Action: backup.Retry, By: anna}, backup.CodeNotWaiting},
		"passed already":         {backup.Decision{Task: backup.TaskAdministrator, Action: backup.Retry, By: anna}, backup.CodeNotWaiting},
		"no such task":           {backup.Decision{Task: "lunch", Action: backup.Retry, By: anna}, backup.CodeNotWaiting},
		"not an action of it":    {backup.Decision{Task: backup.TaskApp, Action: backup.Approve, By: anna}, backup.CodeNotAllowed},
		"waived without reason":  {backup.Decision{Task: backup.TaskApp, Action: backup.Waive, By: anna}, backup.CodeNotAllowed},
		"an action unknown here": {backup.Decision{Task: backup.TaskApp, Action: "destroy", By: anna}, backup.CodeNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, onboardAcme)
			s.app = func() (backup.Verdict, error) { return missingRole, nil }
			s.after(time.Second, func() {
				s.decide(onboardAcme, c.decision, func(_ backup.Task, err error) { wantCode(t, err, c.want) })
			})
			s.after(2*time.Second, func() { s.SignalWorkflow(DecideSignal, c.decision) })
			s.after(3*time.Second, func() {
				if task := s.tasks(onboardAcme)[backup.TaskApp]; task.State != backup.Waiting || task.DecidedBy != "" {
					t.Errorf("a refused decision changed the task: %+v", task)
				}
				if got := s.alerts(); !slices.Contains(got, "decision_refused "+c.decision.Task) {
					t.Errorf("nobody was told that the signal was refused: %v", got)
				}
				s.CancelWorkflow()
			})
			s.ExecuteWorkflow(OnboardTenant, onboardInput())
			s.mustFail(backup.CodeCancelled)
			if s.answered != 1 {
				t.Errorf("%d answers", s.answered)
			}
		})
	}
}

func TestRetryLooksAgainAtOnce(t *testing.T) {
	for _, by := range []string{"update", "signal"} {
		t.Run(by, func(t *testing.T) {
			s := newStage(t, onboardAcme)
			granted := false
			s.app = func() (backup.Verdict, error) {
				if granted {
					return passing, nil
				}
				return missingRole, nil
			}
			retry := backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: "dora@acme.example"}
			s.after(5*time.Hour, func() {
				granted = true
				if by == "signal" {
					s.SignalWorkflow(DecideSignal, retry)
					return
				}
				s.decide(onboardAcme, retry, func(task backup.Task, err error) {
					if err != nil || task.State != backup.Failing || task.DecidedBy != retry.By || len(task.Actions) != 0 {
						t.Errorf("the answer is %+v, %v", task, err)
					}
				})
			})
			began := s.Now()
			s.ExecuteWorkflow(OnboardTenant, onboardInput())
			s.mustComplete(nil)
			if waited := s.Now().Sub(began); waited > 5*time.Hour+time.Minute {
				t.Errorf("looked again %s later", waited-5*time.Hour)
			}
			if got := s.alerts(); len(got) != 0 {
				t.Errorf("alerts still open: %v", got)
			}
		})
	}
}

// A retry that does not help leaves the task waiting as it was: same age, same deadline, no second first alert.
func TestRetryInVain(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	var before backup.Task
	s.after(2*time.Hour, func() {
		before = s.tasks(onboardAcme)[backup.TaskApp]
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: anna}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.after(2*time.Hour+time.Second, func() {
		after := s.tasks(onboardAcme)[backup.TaskApp]
		if after.State != backup.Waiting || !after.Since.Equal(before.Since) || !after.Deadline.Equal(before.Deadline) || len(after.Actions) != 3 {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if n := s.raised("task_waiting microsoft365/app-permissions"); n != 1 {
			t.Errorf("told %d times", n)
		}
		s.CancelWorkflow()
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustFail(backup.CodeCancelled)
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("a cancelled onboarding still asks people: %v", got)
	}
}

func TestWaiveIsRecorded(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	s.after(time.Hour, func() {
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Waive, By: anna, Reason: "no drives are licensed"}, func(task backup.Task, err error) {
			if err != nil || task.State != backup.Waived {
				t.Errorf("the answer is %+v, %v", task, err)
			}
		})
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	task := s.tasks(onboardAcme)[backup.TaskApp]
	if task.State != backup.Waived || task.DecidedBy != anna || !strings.Contains(task.Detail, "no drives are licensed") {
		t.Errorf("the task is %+v", task)
	}
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
}

func TestAbortEndsTheOnboarding(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	s.after(time.Hour, func() {
		s.SignalWorkflow(DecideSignal, backup.Decision{Task: backup.TaskApp, Action: backup.Abort, By: anna, Reason: "wrong tenant"})
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	if v := s.mustFail(backup.CodeNotAllowed); !strings.Contains(v.Detail, "aborted by anna@acme.example: wrong tenant") {
		t.Errorf("ends with %q", v.Detail)
	}
	if task := s.tasks(onboardAcme)[backup.TaskApp]; task.State != backup.Failed {
		t.Errorf("the task is %+v", task)
	}
	if got := s.alerts(); !slices.Equal(got, []string{"task_waiting microsoft365/app-permissions"}) {
		t.Errorf("open alerts %v; an abort mends nothing", got)
	}
}

// Of two people who decide at the same moment one hears that the task is decided already.
func TestTwoDecisionsAtOnce(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	accepted, refused := 0, 0
	s.after(time.Hour, func() {
		for _, by := range []string{anna, "dora@acme.example"} {
			s.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Waive, By: by, Reason: "x"}, func(_ backup.Task, err error) {
				if err == nil {
					accepted++
					return
				}
				refused++
				wantCode(t, err, backup.CodeNotWaiting)
			})
		}
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if accepted != 1 || refused != 1 {
		t.Errorf("%d accepted, %d refused", accepted, refused)
	}
}

// A decision at the onboarding reaches the child whose task it is.
func TestDecisionsAreForwardedToTheChild(t *testing.T) {
	s := newStage(t, onboardAcme)
	connected := false
	s.holder = func() (backup.Verdict, error) {
		if connected {
			return passing, nil
		}
		return notConnected, nil
	}
	s.after(3*time.Hour, func() {
		connected = true
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: anna}, func(task backup.Task, err error) {
			if err != nil || task.State == backup.Waiting || task.DecidedBy != anna {
				t.Errorf("the answer is %+v, %v", task, err)
			}
		})
	})
	began := s.Now()
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if waited := s.Now().Sub(began); waited > 3*time.Hour+time.Minute {
		t.Errorf("went on %s later", waited-3*time.Hour)
	}
	if s.answered != 1 {
		t.Errorf("%d answers", s.answered)
	}
}

func TestAbortOfTheKeyEndsTheOnboarding(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.holder = func() (backup.Verdict, error) { return notConnected, nil }
	s.after(time.Hour, func() {
		s.decide(keyAcme, backup.Decision{Task: backup.TaskKey, Action: backup.Abort, By: anna}, func(backup.Task, error) {})
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	if v := s.mustFail(backup.CodeNotAllowed); !strings.Contains(v.Detail, "aborted by") {
		t.Errorf("ends with %q", v.Detail)
	}
}

// What the key waits for may change: the alert is exchanged, and the wait goes on.
func TestTheAlertFollowsTheCause(t *testing.T) {
	s := newStage(t, keyAcme)
	denied := backup.Verdict{Code: backup.CodeDenied, Fault: backup.FaultCustomer, Detail: "the connector's policy refuses this purpose"}
	began := s.Now()
	s.holder = func() (backup.Verdict, error) {
		switch waited := s.Now().Sub(began); {
		case waited < time.Hour:
			return notConnected, nil
		case waited < 4*time.Hour:
			return denied, nil
		}
		return passing, nil
	}
	s.after(3*time.Hour, func() {
		if got := s.alerts(); !slices.Equal(got, []string{"key_unavailable key"}) {
			t.Errorf("open alerts %v", got)
		}
	})
	s.ExecuteWorkflow(ProvisionKey, ProvisionKeyInput{Tenant: "acme"})
	s.mustComplete(nil)
	want := []string{"raised not_connected key", "resolved not_connected key", "raised key_unavailable key", "resolved key_unavailable key"}
	if got := s.told(); !slices.Equal(got, want) {
		t.Errorf("told %v", got)
	}
}

// Reports about tasks come from the awaited child only.
func TestNobodyElseMayReportATask(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	s.after(time.Second, func() {
		for _, forged := range []backup.Task{
			{Name: backup.TaskApp, State: backup.Passing, Workflow: onboardAcme},
			{Name: backup.TaskApp, State: backup.Passing, Workflow: keyAcme},
			{Name: "new", State: backup.Waiting, Workflow: "key/other"},
		} {
			s.SignalWorkflow(ChildTaskSignal, forged)
		}
	})
	s.after(time.Minute/2, func() {
		tasks := s.tasks(onboardAcme)
		if tasks[backup.TaskApp].State != backup.Waiting || len(tasks) != 6 {
			t.Errorf("forged reports were believed: %+v", tasks)
		}
		s.CancelWorkflow()
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustFail(backup.CodeCancelled)
}

// When the history has grown, the workflow goes on in a new run with everything that matters.
func TestContinueAsNewCarriesTheBoard(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return missingRole, nil }
	// A decision arrives together with the event that makes the workflow continue as new: it is heard before.
	s.after(50*time.Hour, func() {
		s.SignalWorkflowSkippingWorkflowTask(DecideSignal, backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: "eve@elsewhere.example"})
	})
	s.after(50*time.Hour+time.Second, func() { s.SetContinueAsNewSuggested(true) })
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	err := s.GetWorkflowError()
	var next *workflow.ContinueAsNewError
	if !asContinue(err, &next) {
		t.Fatalf("ends with %v", err)
	}
	var in OnboardTenantInput
	decodeInput(t, next, &in)
	i := slices.IndexFunc(in.Resume.Tasks, func(task backup.Task) bool { return task.Name == backup.TaskApp })
	carried := in.Resume.Tasks[i]
	if carried.State != backup.Waiting || carried.Reminders != 2 {
		t.Errorf("carried %+v", carried)
	}
	if got := s.alerts(); !slices.Contains(got, "decision_refused app-permissions") {
		t.Errorf("the signal was lost: %v", got)
	}

	again := newStage(t, onboardAcme)
	again.SetStartTime(carried.Since.Add(50 * time.Hour))
	again.app = func() (backup.Verdict, error) {
		if again.times("CheckApp") > 3 {
			return passing, nil
		}
		return missingRole, nil
	}
	again.after(time.Minute, func() {
		task := again.tasks(onboardAcme)[backup.TaskApp]
		if !task.Since.Equal(carried.Since) || !task.Deadline.Equal(carried.Deadline) || task.Reminders != 2 {
			t.Errorf("the wait began anew: %+v", task)
		}
		if n := again.times("SaveTenant") + again.times("EnsureRepository"); n != 0 {
			t.Errorf("%d steps were repeated", n)
		}
	})
	again.ExecuteWorkflow(OnboardTenant, in)
	again.mustComplete(nil)
}
