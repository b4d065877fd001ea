package workflows

import (
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// speaker asks and tells on behalf of a tenant: the calls that every workflow makes.
type speaker struct{ tenant string }

// raise opens an alert, or counts it once more. A workflow goes on without its alert rather than end for it.
func (s speaker) raise(ctx workflow.Context, a backup.Alert) {
	a.Tenant = s.tenant
	ctx = calling(ctx, telling, s.tenant, "Alert: "+a.Kind.Title())
	if err := workflow.ExecuteActivity(ctx, (*activities.Alerting)(nil).RaiseAlert, activities.AlertInput{Alert: a}).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot raise the alert", "kind", a.Kind, "error", err)
	}
}

// resolve closes the alert, if it is open.
func (s speaker) resolve(ctx workflow.Context, kind backup.AlertKind, subject string) {
	ctx = calling(ctx, telling, s.tenant, "Resolved: "+kind.Title())
	in := activities.ResolveInput{Tenant: s.tenant, Kind: kind, Subject: subject}
	if err := workflow.ExecuteActivity(ctx, (*activities.Alerting)(nil).ResolveAlert, in).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot resolve the alert", "kind", kind, "error", err)
	}
}

// resolveAll closes those of several alerts that are open, for the price of one.
func (s speaker) resolveAll(ctx workflow.Context, alerts ...activities.ResolveInput) {
	for i := range alerts {
		alerts[i].Tenant = s.tenant
	}
	ctx = calling(ctx, telling, s.tenant, "Resolved, what was open")
	if err := workflow.ExecuteActivity(ctx, (*activities.Alerting)(nil).ResolveAlerts, alerts).Get(ctx, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot resolve the alerts", "error", err)
	}
}

// park asks the watch over the tenant's connectors to send a recheck to the workflow id when one connects. Nobody waits for the answer:
// whoever waits for a connector also looks by itself.
func (s speaker) park(ctx workflow.Context, id string) {
	workflow.SignalExternalWorkflow(ctx, WatchConnectorsID(s.tenant), "", ParkedSignal, id)
}

// plan reads what the tenant's description says about its key.
func (s speaker) plan(ctx workflow.Context) (plan activities.KeyPlanResult, err error) {
	calls := calling(ctx, bookkeeping, s.tenant, "What is said about the key?")
	err = workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).PlanKey, describe(s.tenant, "")).Get(calls, &plan)
	return plan, failed(ctx, err)
}

func noKeyYet(tenant string) backup.Verdict {
	return backup.Verdict{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Detail: tenant + " has no key yet", Hint: "holdfast apply makes the first one"}
}

// keyAlert tells which alert a failure of key custody raises, and whether it is one.
func keyAlert(c backup.Code) (backup.AlertKind, bool) {
	switch c {
	case backup.CodeNotConnected:
		return backup.AlertNotConnected, true
	case backup.CodeDenied, backup.CodeSealed, backup.CodeRevoked, backup.CodeDestroyed:
		return backup.AlertKeyUnavailable, true
	}
	return "", false
}

// probe is a look by one activity that returns a verdict. An activity that failed for good is a verdict, too: then a person
// should know.
func (s speaker) probe(o workflow.ActivityOptions, summary string, activity, in any) func(workflow.Context) (backup.Verdict, error) {
	return func(ctx workflow.Context) (backup.Verdict, error) {
		var v backup.Verdict
		ctx = calling(ctx, o, s.tenant, summary)
		if err := workflow.ExecuteActivity(ctx, activity, in).Get(ctx, &v); err != nil {
			return VerdictOf(err), ctx.Err()
		}
		return v, nil
	}
}

// mayAdminister refuses who may not administer the tenant. Where a person waits for the answer it is given soon; a flow outlasts the store.
func (s speaker) mayAdminister(ctx workflow.Context, o workflow.ActivityOptions, summary string, asker activities.AdministratorInput) error {
	may, err := s.probe(o, summary, (*activities.Tenancy)(nil).CheckAdministrator, asker)(ctx)
	switch {
	case err != nil:
		return err
	case may.Passing:
		return nil
	case may.Code == backup.CodeMissingRole:
		may.Code = backup.CodeNotAllowed // a role is missing for the task of an onboarding; here it is a refusal
	}
	return failure(may)
}

// describe says which part of a tenant activities work on.
func describe(tenant string, app backup.App) activities.TenantInput {
	return activities.TenantInput{Tenant: tenant, App: app}
}
