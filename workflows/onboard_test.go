package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	onboardAcme = "onboard/acme/microsoft365"
	keyAcme     = "key/acme"
	watchAcme   = "connectors/acme"
	importAcme  = "import/acme/ldap"
	anna        = "anna@acme.example"
	day1        = 24 * time.Hour
)

func onboardInput() OnboardTenantInput {
	return OnboardTenantInput{Tenant: acme(), App: backup.Microsoft365, RequestedBy: anna}
}

func TestOnboardingGoesThroughWhenAllHolds(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	var result OnboardTenantResult
	s.mustComplete(&result)
	if result.Accounts != (backup.Accounts{Active: 23, Preserved: 2}) || result.FirstRun == "" {
		t.Errorf("result %+v", result)
	}
	if told := s.told(); len(told) != 0 {
		t.Errorf("alerts although nothing was wrong: %v", told)
	}
	for _, task := range s.tasks(onboardAcme) {
		if task.State != backup.Passing {
			t.Errorf("%s is %s", task.Name, task.State)
		}
	}
}

// Acceptance 4: blocked for 30 days by a connector that is not there, then released.
func TestOnboardingWaitsAMonthForAConnector(t *testing.T) {
	s := newStage(t, onboardAcme)
	connected := false
	s.holder = func() (backup.Verdict, error) {
		if connected {
			return passing, nil
		}
		return notConnected, nil
	}
	s.after(time.Hour, func() {
		task := s.tasks(keyAcme)[backup.TaskKey]
		if task.State != backup.Waiting || task.Code != backup.CodeNotConnected || task.Hint == "" || !slices.Contains(task.Actions, backup.Retry) {
			t.Errorf("the task does not say what it waits for: %+v", task)
		}
		mirrored := s.tasks(onboardAcme)[backup.TaskKey]
		if mirrored.State != backup.Waiting || mirrored.Workflow != keyAcme || mirrored.Detail != task.Detail {
			t.Errorf("the parent's checklist shows %+v", mirrored)
		}
		if got := s.alerts(); !slices.Equal(got, []string{"not_connected key"}) {
			t.Errorf("open alerts %v", got)
		}
	})
	s.after(30*day1+time.Hour, func() {
		if n := s.raised("not_connected key"); n != 31 {
			t.Errorf("told %d times in 30 days, want once and 30 reminders", n)
		}
		if r := s.tasks(keyAcme)[backup.TaskKey].Reminders; r != 30 {
			t.Errorf("%d reminders, want 30", r)
		}
		connected = true
		if err := s.SignalWorkflowByID(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 1, At: s.Now()}); err != nil {
			t.Error(err)
		}
	})
	began := s.Now()
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if waited := s.Now().Sub(began); waited > 30*day1+2*time.Hour {
		t.Errorf("went on %s after the connector came", waited-30*day1-time.Hour)
	}
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
	// The test environment counts no events. On a server a look is a timer (2), two workflow tasks (6) and an activity (3).
	looks, reminders := s.times("ObserveKeyHolder"), 30
	if events := 11*(looks+reminders) + 100; events > 2000 || looks > 135 {
		t.Errorf("%d looks, so about %d events", looks, events)
	}
	t.Logf("30 days: %d looks, %d timers, %d reminders", looks, s.timers, reminders)
}

func TestOnboardingGivesUpAtTheDeadline(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) {
		return backup.Verdict{Code: backup.CodeMissingRole, Fault: backup.FaultCustomer, Detail: "Mail.Read is missing"}, nil
	}
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	v := s.mustFail(backup.CodeMissingRole)
	if !strings.Contains(v.Detail, "Mail.Read is missing") || !strings.Contains(v.Detail, "deadline") {
		t.Errorf("ends with %q", v.Detail)
	}
	if got := s.alerts(); !slices.Equal(got, []string{"task_waiting microsoft365/app-permissions"}) {
		t.Errorf("open alerts %v; a deadline mends nothing", got)
	}
	if n := s.raised("task_waiting microsoft365/app-permissions"); n != 60 {
		t.Errorf("told %d times in 60 days", n)
	}
}

func TestOnboardingWaitsForTheAdministrator(t *testing.T) {
	s := newStage(t, onboardAcme)
	in := onboardInput()
	in.RequestedBy = "eve@elsewhere.example"
	s.after(time.Minute/2, func() {
		if got := s.tasks(onboardAcme)[backup.TaskAdministrator]; got.Code != backup.CodeUnknownPrincipal || got.State != backup.Waiting {
			t.Errorf("the administrator's task is %+v", got)
		}
		changed := acme()
		changed.Administrators = append(changed.Administrators, backup.Principal{Name: "eve@elsewhere.example", Role: backup.CloudAdmin})
		s.apply(anna, changed, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	began := s.Now()
	s.ExecuteWorkflow(OnboardTenant, in)
	s.mustComplete(nil)
	if waited := s.Now().Sub(began); waited > time.Minute {
		t.Errorf("apply did not look again at once, but after %s", waited)
	}
	if n := s.times("SaveTenant"); n != 2 {
		t.Errorf("saved %d times", n)
	}
}

func TestApplyRefusesAnotherTenant(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.app = func() (backup.Verdict, error) { return backup.Verdict{Code: backup.CodeMissingRole}, nil }
	s.after(time.Second, func() {
		other := acme()
		other.ID = "other"
		s.apply(anna, other, func(err error) { wantCode(t, err, backup.CodeBadConfig) })
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Abort, By: anna}, func(backup.Task, error) {})
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustFail(backup.CodeNotAllowed)
	if s.answered != 2 || s.times("SaveTenant") != 1 {
		t.Errorf("%d answers, saved %d times", s.answered, s.times("SaveTenant"))
	}
}

// A failure of an activity that retries do not mend becomes a waiting task, not the end of the onboarding.
func TestOnboardingOutlastsAFailingActivity(t *testing.T) {
	s := newStage(t, onboardAcme)
	failing := true
	s.directory = func() (backup.Verdict, error) {
		if failing {
			return backup.Verdict{}, asActivity(&backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultCustomer, Message: "ldap.acme.example does not answer", Hint: "is it running?", Retryable: true})
		}
		return passing, nil
	}
	s.after(3*time.Hour, func() {
		task := s.tasks(onboardAcme)[backup.TaskDirectory]
		if task.Code != backup.CodeUnreachable || task.Hint != "is it running?" || task.State != backup.Waiting {
			t.Errorf("the task is %+v", task)
		}
		failing = false
		s.SignalWorkflow(RecheckSignal, "the network is back")
	})
	began := s.Now()
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if waited := s.Now().Sub(began); waited > 3*time.Hour+time.Minute {
		t.Errorf("the recheck was heard after %s", waited-3*time.Hour)
	}
}

func TestOnboardingRetriesARefusedImport(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.read = func() error {
		if s.times("ReadDirectory") < 3 {
			return asActivity(&backup.Error{Code: backup.CodeBadCredential, Fault: backup.FaultCustomer, Message: "the directory refused the password"})
		}
		return nil
	}
	s.after(30*time.Second, func() {
		if task := s.tasks(onboardAcme)[backup.TaskPeople]; task.State != backup.Waiting || task.Code != backup.CodeBadCredential {
			t.Errorf("people is %+v", task)
		}
		if got := s.alerts(); !slices.Equal(got, []string{"import_refused ldap", "task_waiting microsoft365/people"}) {
			t.Errorf("open alerts %v", got)
		}
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
	if n := s.times("ReadDirectory"); n != 3 {
		t.Errorf("read %d times", n)
	}
}

// A stranger's description of a tenant that is known must not replace it, neither as a new onboarding nor as a change to one.
func TestAStrangerReplacesNothing(t *testing.T) {
	const eve = "eve@elsewhere.example"
	s := newStage(t, onboardAcme)
	hostile := acme()
	hostile.Key.Connectors = []backup.ConnectorConfig{{Name: "eves"}}
	hostile.Administrators = []backup.Principal{{Name: eve, Role: backup.CloudAdmin}}
	s.after(time.Second, func() {
		if got := s.tasks(onboardAcme)[backup.TaskAdministrator]; got.State != backup.Waiting || got.Code != backup.CodeUnknownPrincipal {
			t.Errorf("the administrator's task is %+v", got)
		}
		s.apply(eve, hostile, func(err error) { wantCode(t, err, backup.CodeUnknownPrincipal) })
		s.apply("cleo@acme.example", hostile, func(err error) { wantCode(t, err, backup.CodeNotAllowed) })
		s.apply("", hostile, func(err error) { wantCode(t, err, backup.CodeUnknownPrincipal) })
	})
	s.after(time.Minute, func() {
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskAdministrator, Action: backup.Abort, By: anna}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(OnboardTenant, OnboardTenantInput{Tenant: hostile, App: backup.Microsoft365, RequestedBy: eve})
	s.mustFail(backup.CodeNotAllowed)
	if n := s.times("SaveTenant"); n != 0 || s.answered != 4 {
		t.Errorf("saved %d times, %d answers", n, s.answered)
	}
}

// Before a tenant is stored, its description itself says who is in charge of it.
func TestAnUnknownTenantIsJudgedAsProposed(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.missing = true
	in := onboardInput()
	in.RequestedBy = "cleo@acme.example"
	s.after(time.Second, func() {
		if got := s.tasks(onboardAcme)[backup.TaskAdministrator]; got.Code != backup.CodeMissingRole || s.times("SaveTenant") != 0 {
			t.Errorf("the administrator's task is %+v, saved %d times", got, s.times("SaveTenant"))
		}
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskAdministrator, Action: backup.Abort, By: anna}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(OnboardTenant, in)
	s.mustFail(backup.CodeNotAllowed)

	again := newStage(t, onboardAcme)
	again.missing = true
	again.ExecuteWorkflow(OnboardTenant, onboardInput())
	again.mustComplete(nil)
	if n := again.times("SaveTenant"); n != 1 {
		t.Errorf("saved %d times", n)
	}
}

// An onboarding that continues as new while it waits for its administrator has saved nothing, and does so when it may.
func TestWhoWaitsForTheAdministratorSavesAfterContinuing(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.missing = true
	in := onboardInput()
	in.RequestedBy = "cleo@acme.example"
	s.after(time.Hour, func() { s.SetContinueAsNewSuggested(true) })
	s.ExecuteWorkflow(OnboardTenant, in)
	var next *workflow.ContinueAsNewError
	if !asContinue(s.GetWorkflowError(), &next) {
		t.Fatalf("ends with %v", s.GetWorkflowError())
	}
	decodeInput(t, next, &in)

	again := newStage(t, onboardAcme)
	again.missing = true
	again.SetStartTime(s.Now())
	in.Tenant.Administrators[2].Role = backup.SaaSAdmin
	again.ExecuteWorkflow(OnboardTenant, in)
	again.mustComplete(nil)
	if n := again.times("SaveTenant"); n != 1 {
		t.Errorf("saved %d times", n)
	}
}

// What an onboarding gave up is resolved by the next one that goes well, although that one never waited for it.
func TestAGoodOnboardingResolvesWhatAnEarlierOneLeft(t *testing.T) {
	s := newStage(t, onboardAcme)
	for _, alert := range []string{"task_waiting microsoft365/app-permissions", "task_waiting microsoft365/people", "task_waiting key", "not_connected key", "key_unavailable key", "task_waiting ldap/removals"} {
		s.open[alert] = 1
	}
	s.open["task_waiting google-workspace/app-permissions"] = 1
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if got := s.alerts(); !slices.Equal(got, []string{"task_waiting google-workspace/app-permissions"}) {
		t.Errorf("alerts still open: %v", got)
	}
}
