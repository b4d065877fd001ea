package workflows

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const anything = mock.Anything

// What an activity met arrives in a workflow as the same verdict, however it failed.
func TestVerdictOfAnActivity(t *testing.T) {
	sealed := &backup.Error{Code: backup.CodeSealed, Fault: backup.FaultCustomer, Message: "Vault is sealed", Hint: "unseal it"}
	for name, c := range map[string]struct {
		err   error
		code  backup.Code
		fault backup.Fault
		words string
	}{
		"classified":             {asActivity(sealed), backup.CodeSealed, backup.FaultCustomer, "Vault is sealed"},
		"not classified":         {errors.New("boom"), backup.CodeInternal, backup.FaultOurs, "boom"},
		"with other details":     {temporal.NewNonRetryableApplicationError("odd", "Odd", nil, "text"), backup.CodeInternal, backup.FaultOurs, "odd"},
		"worker killed":          {temporal.NewTimeoutError(enums.TIMEOUT_TYPE_HEARTBEAT, nil), backup.CodeUnreachable, backup.FaultOurs, "stopped answering"},
		"too slow":               {temporal.NewTimeoutError(enums.TIMEOUT_TYPE_START_TO_CLOSE, nil), backup.CodeUnreachable, backup.FaultOurs, "did not end in time"},
		"no worker":              {temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil), backup.CodeUnreachable, backup.FaultOurs, "no worker"},
		"out of budget, because": {temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE, asActivity(sealed)), backup.CodeSealed, backup.FaultCustomer, "Vault is sealed"},
	} {
		t.Run(name, func(t *testing.T) {
			var suite testsuite.WorkflowTestSuite
			env := suite.NewTestWorkflowEnvironment()
			fail := func(context.Context) error { return c.err }
			env.RegisterActivity(fail)
			var got backup.Verdict
			env.ExecuteWorkflow(func(ctx workflow.Context) error {
				o := probing
				o.RetryPolicy = backoff(time.Second, time.Second, 1)
				ctx = calling(ctx, o, "acme", "")
				got = VerdictOf(workflow.ExecuteActivity(ctx, fail).Get(ctx, nil))
				return nil
			})
			if got.Passing || got.Code != c.code || got.Fault != c.fault || !strings.Contains(got.Detail, c.words) {
				t.Errorf("got %+v", got)
			}
			if c.code == backup.CodeSealed && got.Hint != "unseal it" {
				t.Errorf("the hint is lost: %+v", got)
			}
		})
	}
	if v := VerdictOf(nil); !v.Passing {
		t.Errorf("no error is %+v", v)
	}
	if v := VerdictOf(temporal.NewCanceledError()); v.Code != backup.CodeCancelled || v.Fault != backup.FaultCustomer {
		t.Errorf("a cancellation is %+v", v)
	}
}

// The page in the Web UI is in the administrator's words, and text from outside cannot change it.
func TestDetailsAreInTheAdministratorsWords(t *testing.T) {
	since := time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	b := &board{speaker: speaker{"acme"}, heading: "Onboarding microsoft365 of acme", self: onboardAcme, tasks: []*backup.Task{
		{Name: backup.TaskAdministrator, Title: "You may administer this tenant", State: backup.Passing, Detail: "anna@acme.example is cloud-admin"},
		{Name: backup.TaskApp, Title: "The SaaS app grants what backups need", State: backup.Waiting, Since: since, Deadline: since.Add(pace.Deadline), NextCheck: since.Add(time.Minute),
			Detail: "Mail.Read\n\n# is <missing> [x](javascript:1) `rm`\u202e", Hint: "grant it in Entra", Actions: mendOrWaive},
		{Name: backup.TaskDirectory, Title: "The directory can be read", State: backup.Pending},
	}}
	want := `### Onboarding microsoft365 of acme

- [x] You may administer this tenant
  - anna@acme.example is cloud-admin
- [ ] The SaaS app grants what backups need — **waiting since 2026-11-23 09:30 UTC**
  - Mail.Read  \# is \<missing\> \[x\](javascript:1) \` + "`rm\\`" + ` 
  - What to do: grant it in Entra
  - Then: ` + "`holdfast retry acme app-permissions` or `holdfast waive acme app-permissions --reason \"...\"` or `holdfast abort acme app-permissions`" + `
  - It goes on by itself when this is mended; the next look is at 2026-11-23 09:31 UTC.
  - Waits until 2027-01-22 09:30 UTC.
- [ ] The directory can be read
`
	if got := b.markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	long := backup.Task{State: backup.Waiting, Detail: strings.Repeat("<", 9000), Hint: strings.Repeat("*", 9000)}
	b.tasks = []*backup.Task{&long}
	if n := len(b.markdown()); n > 2000 {
		t.Errorf("one task takes %d of 20,000 bytes", n)
	}
}
