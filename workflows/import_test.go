package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func importInput() ImportPeopleInput {
	return ImportPeopleInput{Tenant: "acme", Directory: "ldap", RequestedBy: anna}
}

func TestImportApplies(t *testing.T) {
	s := newStage(t, importAcme)
	s.open["import_refused ldap"], s.open["import_problems ldap"] = 1, 1
	s.ExecuteWorkflow(ImportPeople, importInput())
	var result ImportPeopleResult
	s.mustComplete(&result)
	if !result.Applied || result.Counts.Added != 25 || result.Accounts.Active != 23 || result.Pass == "" {
		t.Errorf("result %+v", result)
	}
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
}

func TestPreviewChangesNothing(t *testing.T) {
	s := newStage(t, importAcme)
	s.compare = func() (activities.CompareResult, error) {
		return activities.CompareResult{Counts: backup.ImportCounts{Listed: 3, NoMail: 1}, Verdict: backup.ImportApprove, Why: "many"}, nil
	}
	in := importInput()
	in.Preview = true
	s.ExecuteWorkflow(ImportPeople, in)
	var result ImportPeopleResult
	s.mustComplete(&result)
	if result.Applied || result.Counts.Listed != 3 || s.times("ApplyListing") != 0 || len(s.told()) != 0 {
		t.Errorf("result %+v, applied %d times, told %v", result, s.times("ApplyListing"), s.told())
	}
}

func TestImportThatIsRefused(t *testing.T) {
	empty := activities.CompareResult{Counts: backup.ImportCounts{KnownActive: 25}, Verdict: backup.ImportRefuse, Why: "the directory lists nobody, but 25 people are known"}
	for name, c := range map[string]struct {
		read    error
		compare activities.CompareResult
		want    backup.Code
		words   string
	}{
		"an empty listing":         {nil, empty, backup.CodeEmptyListing, "25 people are known"},
		"a wrong password":         {asActivity(&backup.Error{Code: backup.CodeBadCredential, Fault: backup.FaultCustomer, Message: "the directory refused the password"}), empty, backup.CodeBadCredential, "password"},
		"a listing that broke off": {asActivity(&backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultVendor, Message: "the listing broke off after 12 entries", Retryable: true}), empty, backup.CodeBadResponse, "broke off"},
		"an activity that panics":  {temporal.NewApplicationError("nil pointer", "PanicError"), empty, backup.CodeInternal, "nil pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, importAcme)
			s.read = func() error { return c.read }
			s.compare = func() (activities.CompareResult, error) { return c.compare, nil }
			s.ExecuteWorkflow(ImportPeople, importInput())
			if v := s.mustFail(c.want); !strings.Contains(v.Detail, c.words) {
				t.Errorf("ends with %q", v.Detail)
			}
			if got := s.alerts(); !slices.Equal(got, []string{"import_refused ldap"}) {
				t.Errorf("open alerts %v", got)
			}
			if n := s.times("ApplyListing"); n != 0 {
				t.Errorf("applied %d times", n)
			}
		})
	}
}

func TestImportReportsProblems(t *testing.T) {
	s := newStage(t, importAcme)
	s.compare = func() (activities.CompareResult, error) {
		return activities.CompareResult{Counts: backup.ImportCounts{Listed: 25, NoMail: 2, DuplicateMail: 1}, Verdict: backup.ImportApply}, nil
	}
	s.ExecuteWorkflow(ImportPeople, importInput())
	s.mustComplete(nil)
	if got := s.alerts(); !slices.Equal(got, []string{"import_problems ldap"}) {
		t.Errorf("open alerts %v", got)
	}
}

func manyRemovals() (activities.CompareResult, error) {
	return activities.CompareResult{Counts: backup.ImportCounts{Listed: 10, Vanished: 15, KnownActive: 25, Leaving: 15}, Verdict: backup.ImportApprove, Why: "15 of 25 active people would be preserved"}, nil
}

func TestRemovalsWaitForASecondPerson(t *testing.T) {
	s := newStage(t, importAcme)
	s.compare = manyRemovals
	approve := backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: anna}
	s.after(time.Minute, func() {
		if task := s.tasks(importAcme)[backup.TaskRemovals]; task.RequestedBy != anna || !strings.Contains(task.Detail, "15 of 25") || task.NextCheck.IsZero() {
			t.Errorf("the task is %+v", task)
		}
		s.decide(importAcme, approve, func(_ backup.Task, err error) { wantCode(t, err, backup.CodeNotAllowed) })
		s.SignalWorkflow(RecheckSignal, "looked at again, it is the same")
	})
	s.after(3*day1+time.Minute, func() {
		if n := s.times("ApplyListing"); n != 0 {
			t.Error("applied without approval")
		}
		if n := s.raised("task_waiting ldap/removals"); n != 4 {
			t.Errorf("told %d times in three days", n)
		}
		approve.By = "bert@acme.example"
		s.decide(importAcme, approve, func(task backup.Task, err error) {
			if err != nil || task.State != backup.Passing {
				t.Errorf("the answer is %+v, %v", task, err)
			}
		})
	})
	s.ExecuteWorkflow(ImportPeople, importInput())
	var result ImportPeopleResult
	s.mustComplete(&result)
	if !result.Applied || s.times("ApplyListing") != 1 || s.answered != 2 {
		t.Errorf("result %+v, %d answers", result, s.answered)
	}
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
}

func TestRejectedRemovalsRemoveNobody(t *testing.T) {
	s := newStage(t, onboardAcme)
	s.compare = manyRemovals
	s.after(time.Minute, func() {
		if task, ok := s.tasks(onboardAcme)[backup.TaskRemovals]; !ok || task.State != backup.Waiting || task.Workflow != importAcme {
			t.Errorf("the onboarding shows %+v", task)
		}
		s.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Reject, By: "bert@acme.example", Reason: "wrong filter"}, func(backup.Task, error) {})
	})
	s.after(2*day1, func() {
		task := s.tasks(onboardAcme)[backup.TaskPeople]
		if task.State != backup.Waiting || !strings.Contains(task.Detail, "wrong filter") || !task.NextCheck.IsZero() {
			t.Errorf("people is %+v", task)
		}
		if n := s.times("ReadDirectory"); n != 1 {
			t.Errorf("a refusal by a person was asked again: %d listings", n)
		}
		s.compare = func() (activities.CompareResult, error) {
			return activities.CompareResult{Verdict: backup.ImportApply}, nil
		}
		s.decide(onboardAcme, backup.Decision{Task: backup.TaskPeople, Action: backup.Retry, By: anna}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	s.ExecuteWorkflow(OnboardTenant, onboardInput())
	s.mustComplete(nil)
	if s.times("ApplyListing") != 1 {
		t.Errorf("applied %d times", s.times("ApplyListing"))
	}
}

func TestImportContinuesAsNewWhileItWaits(t *testing.T) {
	s := newStage(t, importAcme)
	s.compare = manyRemovals
	s.after(day1+time.Hour, func() { s.SetContinueAsNewSuggested(true) })
	s.ExecuteWorkflow(ImportPeople, importInput())
	var next *workflow.ContinueAsNewError
	if err := s.GetWorkflowError(); !asContinue(err, &next) {
		t.Fatalf("ends with %v", err)
	}
	var in ImportPeopleInput
	decodeInput(t, next, &in)

	again := newStage(t, importAcme)
	again.SetStartTime(in.Resume.Board.Tasks[0].Since.Add(26 * time.Hour))
	again.after(time.Hour, func() {
		task := again.tasks(importAcme)[backup.TaskRemovals]
		if task.Reminders != 1 || !strings.Contains(task.Detail, "15 of 25") {
			t.Errorf("the task is %+v", task)
		}
		again.decide(importAcme, backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: "bert@acme.example"}, func(_ backup.Task, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	})
	again.ExecuteWorkflow(ImportPeople, in)
	var result ImportPeopleResult
	again.mustComplete(&result)
	if result.Pass != in.Resume.Pass || result.Counts.Leaving != 15 || again.times("ReadDirectory") != 0 || again.times("ApplyListing") != 1 {
		t.Errorf("result %+v", result)
	}
}

// Who asks under a name that nobody knows could approve under his own.
func TestAnImportOfAStrangerIsRefused(t *testing.T) {
	for by, want := range map[string]backup.Code{"nobody@at.all": backup.CodeUnknownPrincipal, "cleo@acme.example": backup.CodeNotAllowed} {
		s := newStage(t, importAcme)
		s.compare = manyRemovals
		in := importInput()
		in.RequestedBy = by
		s.ExecuteWorkflow(ImportPeople, in)
		s.mustFail(want)
		if n := s.times("ReadDirectory"); n != 0 || len(s.alerts()) != 0 {
			t.Errorf("%s: read %d times, alerts %v", by, n, s.alerts())
		}
	}
	scheduled := newStage(t, importAcme)
	scheduled.ExecuteWorkflow(ImportPeople, ImportPeopleInput{Tenant: "acme", Directory: "ldap"})
	scheduled.mustComplete(nil)
}
