package orchestrator

import (
	"context"
	"crypto/rand"
	"strings"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// What callers need of the workflows' messages, so that they import this package alone.
type (
	// ImportResult is the difference that an import found, and what stands after it.
	ImportResult = workflows.ImportPeopleResult
	// BackupResult is a run's end.
	BackupResult = workflows.BackUpAppResult
	// RestoreRequest names what to restore, and where to.
	RestoreRequest = workflows.RestoreInput
	// RestoreResult is what a restore wrote.
	RestoreResult = workflows.RestoreResult
	// System is one configured system that can be probed.
	System = workflows.System
)

// Systems lists what CheckSystem knows, in the order in which onboarding meets them.
func Systems() []System {
	return []System{workflows.CheckKeySystem, workflows.CheckAppSystem, workflows.CheckDirectorySystem, workflows.CheckRepositorySystem}
}

// ImportPeople imports, or only compares when preview is set, and waits for the end. While an import or a preview of the same
// directory is under way it is ErrRefused: the two would share the staged listing, and to join the other one would mistake a
// preview for an import.
func (c *Client) ImportPeople(ctx context.Context, tenant string, dir backup.DirectoryName, preview bool, by string) (ImportResult, error) {
	what := "Import people of %s from %s"
	if preview {
		what = "Preview people of %s from %s"
	}
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.ImportID(tenant, dir), TaskQueue: workflows.TaskQueue, WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary(what, tenant, strings.ToUpper(string(dir))),
		TypedSearchAttributes:                    ofTenant(tenant),
	}, workflows.ImportPeopleName, workflows.ImportPeopleInput{Tenant: tenant, Directory: dir, RequestedBy: by, Preview: preview})
	if alreadyRuns(err) {
		return ImportResult{}, &failure{ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Retryable: true,
			Message: "an import of " + tenant + " is under way", Hint: "holdfast inbox " + tenant + ", or try again when it has ended"}}
	}
	var result ImportResult
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), "the import of "+tenant, &result)
	}
	return result, c.classify(ctx, err, "the import of "+tenant, "")
}

// Restore starts a restore and waits for its end. An empty Request gets a new id; the same id again joins what runs.
func (c *Client) Restore(ctx context.Context, r RestoreRequest) (RestoreResult, error) {
	if r.Request == "" {
		r.Request = strings.ToLower(rand.Text()[:10])
	}
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.RestoreID(r.Tenant, r.Request), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
		StaticSummary:            summary("Restore %s of %s into %s", r.Service, r.Account, r.To),
		TypedSearchAttributes:    attributes(r.Tenant, r.App),
	}, workflows.RestoreName, r)
	var result RestoreResult
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), "the restore", &result)
	}
	return result, c.classify(ctx, err, "the restore", "")
}

// CheckSystem probes one system of a description that need not be applied. An error means that it could not be asked; what is
// wrong with the system is in the verdict.
func (c *Client) CheckSystem(ctx context.Context, t backup.Tenant, app backup.App, s System) (backup.Verdict, error) {
	what := "the check of " + string(s)
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.CheckID(t.ID, string(s)), TaskQueue: workflows.TaskQueue,
		// A check of an older description that still runs would answer another question.
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
		StaticSummary:            summary("Check %s of %s", s, named(t)),
		TypedSearchAttributes:    attributes(t.ID, app),
	}, workflows.CheckSystemName, workflows.CheckSystemInput{Tenant: t, App: app, System: s})
	var result workflows.CheckSystemResult
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), what, &result)
	}
	return result.Verdict, c.classify(ctx, err, what, "")
}

// ReportConnector tells the tenant's connector monitor what a gateway saw, and starts the monitor when it does not run.
func (c *Client) ReportConnector(ctx context.Context, p backup.ConnectorPresence) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	report := workflows.ConnectorReport{Connector: p.Connector, Connected: p.Connected, Session: p.Session, At: p.At}
	id := workflows.WatchConnectorsID(p.Tenant)
	_, err := c.temporal.SignalWithStartWorkflow(ctx, id, workflows.ConnectorSignal, report, client.StartWorkflowOptions{
		ID: id, TaskQueue: workflows.TaskQueue,
		StaticSummary:         summary("Watch the connectors of %s", p.Tenant),
		TypedSearchAttributes: attributes(p.Tenant, backup.Microsoft365),
	}, workflows.WatchConnectorsName, workflows.WatchConnectorsInput{Tenant: p.Tenant, App: backup.Microsoft365})
	return c.classify(ctx, err, "the connector monitor of "+p.Tenant, "")
}
