package orchestrator_test

import (
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

// startWorker runs workflows that speak the messages of the real ones and do nothing else.
func startWorker(t testing.TB, c *orchestrator.Client) worker.Worker {
	t.Helper()
	w := worker.New(c.Temporal(), workflows.TaskQueue, worker.Options{})
	register := func(name string, f any) { w.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name}) }
	register(workflows.OnboardTenantName, onboard)
	register(workflows.ProvisionKeyName, provision)
	register(workflows.WatchConnectorsName, watch)
	register(workflows.ImportPeopleName, importPeople)
	register(workflows.BackUpAppName, backUp)
	register(workflows.RestoreName, restore)
	register(workflows.CheckSystemName, check)
	register(workflows.ChangeKeyName, changeKey)
	register(workflows.ShredKeyName, shredKey)
	register(workflows.DrillKeyName, drillKey)
	register(workflows.EnrollConnectorName, enroll)
	register(workflows.RemoveConnectorName, removeConnector)
	register(workflows.SettleConflictsName, settle)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

func refuse(code backup.Code, message, hint string) error {
	return temporal.NewApplicationErrorWithOptions(message, string(code), temporal.ApplicationErrorOptions{
		NonRetryable: true, Details: []any{backup.Verdict{Code: code, Fault: backup.FaultCustomer, Hint: hint}}})
}

func waitingTask(name string, since time.Time) backup.Task {
	return backup.Task{Name: name, Title: "Task " + name, State: backup.Waiting, Actions: []backup.Action{backup.Retry}, Since: since}
}

// board waits until its one task is decided by "anna".
func board(ctx workflow.Context, task string) (backup.Decision, error) {
	t := waitingTask(task, workflow.Now(ctx))
	var decided *backup.Decision
	tasks := func() ([]backup.Task, error) { return []backup.Task{t}, nil }
	decide := func(_ workflow.Context, d backup.Decision) (backup.Task, error) {
		t.State, t.DecidedBy, decided = backup.Passing, d.By, &d
		return t, nil
	}
	validate := func(d backup.Decision) error {
		if d.By != "anna" {
			return refuse(backup.CodeUnknownPrincipal, d.By+" is not known", "add the person")
		}
		return nil
	}
	err := errors.Join(workflow.SetQueryHandler(ctx, workflows.TasksQuery, tasks),
		workflow.SetUpdateHandlerWithOptions(ctx, workflows.DecideUpdate, decide, workflow.UpdateHandlerOptions{Validator: validate}),
		workflow.UpsertTypedSearchAttributes(ctx, workflows.AwaitingAttribute.ValueSet([]string{task})))
	if err != nil {
		return backup.Decision{}, err
	}
	workflow.Go(ctx, func(ctx workflow.Context) {
		var d backup.Decision
		workflow.GetSignalChannel(ctx, workflows.DecideSignal).Receive(ctx, &d)
		_, _ = decide(ctx, d)
	})
	if err := workflow.Await(ctx, func() bool { return decided != nil }); err != nil {
		return backup.Decision{}, err
	}
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return backup.Decision{}, err
	}
	return *decided, workflow.UpsertTypedSearchAttributes(ctx, workflows.AwaitingAttribute.ValueUnset())
}

func onboard(ctx workflow.Context, in workflows.OnboardTenantInput) (workflows.OnboardTenantResult, error) {
	name := in.Tenant.Name
	err := workflow.SetUpdateHandler(ctx, workflows.ApplyUpdate, func(_ workflow.Context, change workflows.ApplyInput) error {
		if change.By != in.RequestedBy {
			return refuse(backup.CodeUnknownPrincipal, change.By+" is not an administrator", "")
		}
		name = change.Tenant.Name
		return nil
	})
	if err != nil {
		return workflows.OnboardTenantResult{}, err
	}
	d, err := board(ctx, backup.TaskKey)
	if err == nil && d.Reason == "fail" {
		err = refuse(backup.CodeMissingRole, "Mail.Read is missing", "grant it")
	}
	return workflows.OnboardTenantResult{FirstRun: name}, err
}

func provision(ctx workflow.Context, _ workflows.ProvisionKeyInput) (workflows.ProvisionKeyResult, error) {
	_, err := board(ctx, backup.TaskKey)
	return workflows.ProvisionKeyResult{}, err
}

func watch(ctx workflow.Context, _ workflows.WatchConnectorsInput) error {
	var reports []workflows.ConnectorReport
	err := workflow.SetQueryHandler(ctx, workflows.ConnectorsQuery, func() ([]workflows.ConnectorReport, error) { return reports, nil })
	for err == nil {
		var r workflows.ConnectorReport
		workflow.GetSignalChannel(ctx, workflows.ConnectorSignal).Receive(ctx, &r)
		reports = append(reports, r)
		err = ctx.Err()
	}
	return err
}

func importPeople(ctx workflow.Context, in workflows.ImportPeopleInput) (workflows.ImportPeopleResult, error) {
	if in.Tenant == "pushed" {
		return importPushed(ctx)
	}
	if in.RequestedBy == "slow" {
		_ = workflow.Sleep(ctx, time.Minute)
	}
	if in.Tenant == "empty" {
		return workflows.ImportPeopleResult{}, refuse(backup.CodeEmptyListing, "the directory lists nobody", "look at the filter")
	}
	return workflows.ImportPeopleResult{Pass: "p1", Counts: backup.ImportCounts{Listed: 3, Added: 3}, Applied: !in.Preview}, nil
}

func backUp(ctx workflow.Context, in workflows.BackUpAppInput) (workflows.BackUpAppResult, error) {
	var fails bool
	workflow.GetSignalChannel(ctx, "finish").Receive(ctx, &fails)
	if fails {
		v := backup.Verdict{Code: backup.CodeDiskFull, Fault: backup.FaultOurs, Detail: "no room", Hint: "make room"}
		return workflows.BackUpAppResult{}, temporal.NewApplicationErrorWithOptions(v.Detail, string(v.Code), temporal.ApplicationErrorOptions{
			NonRetryable: true, Details: []any{v, workflows.BackUpAppResult{Number: 8, Outcome: backup.RunFailed}}})
	}
	return workflows.BackUpAppResult{Number: 7, Outcome: backup.RunComplete}, nil
}

func restore(_ workflow.Context, in workflows.RestoreInput) (workflows.RestoreResult, error) {
	return workflows.RestoreResult{Snapshot: in.Request, Counts: backup.RestoreCounts{Files: 2}}, nil
}

func check(_ workflow.Context, in workflows.CheckSystemInput) (workflows.CheckSystemResult, error) {
	return workflows.CheckSystemResult{Verdict: backup.Verdict{Code: backup.CodeBadCredential, Detail: string(in.System)}}, nil
}

func changeKey(ctx workflow.Context, in workflows.ChangeKeyInput) (workflows.ChangeKeyResult, error) {
	if in.RequestedBy == "eve" {
		none := func() ([]backup.Task, error) { return nil, nil }
		if err := workflow.SetQueryHandler(ctx, workflows.TasksQuery, none); err != nil {
			return workflows.ChangeKeyResult{}, err
		}
		return workflows.ChangeKeyResult{}, refuse(backup.CodeUnknownPrincipal, "eve is not an administrator", "ask one")
	}
	_, err := board(ctx, backup.TaskKeyChange)
	return workflows.ChangeKeyResult{From: 1, To: 2, Method: in.Method}, err
}

func shredKey(ctx workflow.Context, in workflows.ShredKeyInput) (workflows.ShredKeyResult, error) {
	_, err := board(ctx, backup.TaskShred)
	return workflows.ShredKeyResult{Report: backup.ShredReport{Tenant: in.Tenant, Reason: in.Reason}}, err
}

func drillKey(_ workflow.Context, in workflows.DrillKeyInput) (workflows.DrillKeyResult, error) {
	return workflows.DrillKeyResult{Drill: backup.KeyDrill{Tenant: in.Tenant, Generation: 3, Proofs: []backup.KeyProof{{Holder: "vault", Code: backup.CodeSealed}}}}, nil
}

// enroll ends with the identity that was presented.
func enroll(ctx workflow.Context, in workflows.EnrollConnectorInput) (workflows.EnrollConnectorResult, error) {
	if in.RequestedBy == "eve" {
		return workflows.EnrollConnectorResult{}, refuse(backup.CodeUnknownPrincipal, "eve is not an administrator", "ask one")
	}
	var r workflows.EnrolmentReport
	workflow.GetSignalChannel(ctx, workflows.PresentedSignal).Receive(ctx, &r)
	if r.Connector != in.Connector || len(in.SecretHash) != 32 || r.Identity != "ed25519:new" {
		return workflows.EnrollConnectorResult{}, refuse(backup.CodeDenied, "presented something else", "")
	}
	return workflows.EnrollConnectorResult{Holds: 1}, nil
}

func removeConnector(_ workflow.Context, in workflows.RemoveConnectorInput) (workflows.RemoveConnectorResult, error) {
	switch in.Connector {
	case "nobody":
		return workflows.RemoveConnectorResult{}, refuse(backup.CodeNotFound, "there is no connector nobody", "list them")
	case "last":
		return workflows.RemoveConnectorResult{}, refuse(backup.CodeNotAllowed, "nobody else holds the key", "admit another one")
	}
	return workflows.RemoveConnectorResult{Identity: "ed25519:" + in.Connector}, nil
}
