package workflows

import (
	"errors"
	"fmt"
	"strings"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Actions that tasks take. A prerequisite is never approved: it holds or it does not. Only what a run can report by itself,
// account by account, may be waived; nobody may waive who asked, or the key.
var (
	mend        = []backup.Action{backup.Retry, backup.Abort}
	mendOrWaive = []backup.Action{backup.Retry, backup.Waive, backup.Abort}
	judge       = []backup.Action{backup.Approve, backup.Reject}
)

// onboarding brings one app of one tenant under protection.
type onboarding struct {
	in       OnboardTenantInput
	board    *board
	firstRun string
}

// OnboardTenant gates a tenant's way to its first backup: prerequisite by prerequisite, each of which may wait for weeks, and goes on
// by itself. When it ends, the schedules and the watch over the connectors live on.
func OnboardTenant(ctx workflow.Context, in OnboardTenantInput) (*OnboardTenantResult, error) {
	o := &onboarding{in: in}
	if err := o.setUp(ctx); err != nil {
		return nil, err
	}
	err := o.run(ctx)
	if errors.Is(err, errContinue) {
		err = o.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	o.board.close(ctx, err)
	if err != nil {
		return nil, err
	}
	return &OnboardTenantResult{Accounts: o.in.Accounts, FirstRun: o.firstRun}, nil
}

func (o *onboarding) setUp(ctx workflow.Context) (err error) {
	o.board, err = openBoard(ctx, &board{
		speaker:  speaker{o.in.Tenant.ID},
		scope:    string(o.in.App),
		heading:  fmt.Sprintf("Onboarding %s of %s", o.in.App, o.in.Tenant.ID),
		proposed: &o.in.Tenant,
	}, []string{backup.TaskAdministrator, backup.TaskKey, backup.TaskApp, backup.TaskDirectory, backup.TaskPeople, backup.TaskFirstBackup}, o.in.Resume)
	if err != nil {
		return err
	}
	o.board.task(backup.TaskKey).Workflow = ProvisionKeyID(o.in.Tenant.ID)
	return workflow.SetUpdateHandlerWithOptions(ctx, ApplyUpdate, o.apply, workflow.UpdateHandlerOptions{
		Validator:   o.checkApply,
		Description: "Replace the tenant's description and look again at what waits."})
}

func (o *onboarding) run(ctx workflow.Context) error {
	steps := []func(workflow.Context) error{o.administrator, o.watch, o.key, o.app, o.directory, o.people, o.schedule}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (o *onboarding) continueAsNew(ctx workflow.Context) error {
	resume, err := o.board.carry(ctx)
	if err != nil {
		return err
	}
	o.in.Resume = resume
	return workflow.NewContinueAsNewError(ctx, OnboardTenantName, o.in)
}

// saveAs makes the description the truth for everything that looks at the tenant.
func (o *onboarding) saveAs(ctx workflow.Context, kind workflow.ActivityOptions, t backup.Tenant) error {
	ctx = calling(ctx, kind, t.ID, "Save the description of "+t.ID)
	return failed(ctx, workflow.ExecuteActivity(ctx, (*activities.Tenancy)(nil).SaveTenant, t).Get(ctx, nil))
}

// administrator saves the description only when whoever asked may administer the tenant as it stands: a stranger's must not replace
// who is in charge, or whose connectors are pinned.
func (o *onboarding) administrator(ctx workflow.Context) error {
	if o.board.task(backup.TaskAdministrator).State == backup.Passing {
		return nil // saved by an earlier run of this workflow
	}
	in := o.asker(o.in.RequestedBy, &o.in.Tenant)
	err := o.board.pass(ctx, gate{name: backup.TaskAdministrator, actions: mend,
		look: o.board.probe(observing, "May "+o.in.RequestedBy+" administer "+o.in.Tenant.ID+"?", (*activities.Tenancy)(nil).CheckAdministrator, in)})
	if err != nil {
		return err
	}
	return o.saveAs(ctx, bookkeeping, o.in.Tenant)
}

func (o *onboarding) asker(by string, proposed *backup.Tenant) activities.AdministratorInput {
	return activities.AdministratorInput{Tenant: o.in.Tenant.ID, RequestedBy: by, Proposed: proposed}
}

// watch makes sure that somebody listens to the tenant's connectors, before anything waits for one. The gateway starts the same
// entity when it has something to report; whoever comes first does. It outlives the onboarding, even a cancelled one.
func (o *onboarding) watch(ctx workflow.Context) error {
	if o.in.Tenant.Key.Method != backup.KeyByConnector {
		return nil
	}
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	id := o.in.Tenant.ID
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID:            WatchConnectorsID(id),
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		TypedSearchAttributes: ofTenant(id),
		StaticSummary:         "Watch the connectors of " + id,
	})
	entity := workflow.ExecuteChildWorkflow(ctx, WatchConnectorsName, WatchConnectorsInput{Tenant: id, App: o.in.App})
	if err := entity.GetChildWorkflowExecution().Get(ctx, nil); !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return failed(ctx, err)
	}
	return nil
}

// key is a workflow of its own, because the key is the tenant's and not the app's: two onboardings wait for the same one.
func (o *onboarding) key(ctx workflow.Context) error {
	t := o.board.task(backup.TaskKey)
	if t.State == backup.Passing {
		return nil
	}
	o.board.stage = backup.TaskKey
	o.board.publish(ctx)
	id := o.in.Tenant.ID
	var result ProvisionKeyResult
	err := o.board.run(ctx, child{
		id:         ProvisionKeyID(id),
		name:       ProvisionKeyName,
		summary:    "Make sure the key of " + id + " can be had",
		input:      ProvisionKeyInput{Tenant: id, RequestedBy: o.in.RequestedBy, Parent: o.board.self},
		attributes: ofTenant(id),
	}, &result)
	if err != nil {
		return failed(ctx, err)
	}
	o.board.end(t, backup.Passing, fmt.Sprintf("generation %d, receipt %d: the repository opens with it", result.Generation, result.Receipt))
	o.board.publish(ctx)
	return nil
}

func (o *onboarding) app(ctx workflow.Context) error {
	return o.board.pass(ctx, gate{name: backup.TaskApp, actions: mendOrWaive,
		look: o.board.probe(probing, "Probe the permissions in "+string(o.in.App), (*activities.Probing)(nil).CheckApp, describe(o.in.Tenant.ID, o.in.App))})
}

func (o *onboarding) directory(ctx workflow.Context) error {
	return o.board.pass(ctx, gate{name: backup.TaskDirectory, actions: mend,
		look: o.board.probe(probing, "Look into the directory", (*activities.Probing)(nil).CheckDirectory, describe(o.in.Tenant.ID, o.in.App))})
}

func (o *onboarding) people(ctx workflow.Context) error {
	return o.board.pass(ctx, gate{name: backup.TaskPeople, actions: mend, look: o.importPeople})
}

// importPeople is a look like any other: an import that failed is looked at again by importing again.
func (o *onboarding) importPeople(ctx workflow.Context) (backup.Verdict, error) {
	id := o.in.Tenant.ID
	var result ImportPeopleResult
	var each []string
	for _, d := range o.in.Tenant.Directories {
		err := o.board.run(ctx, child{
			id:         ImportID(id, d.Name),
			name:       ImportPeopleName,
			summary:    fmt.Sprintf("Import the people of %s from %s", id, d.Name),
			input:      ImportPeopleInput{Tenant: id, Directory: d.Name, RequestedBy: o.in.RequestedBy, Parent: o.board.self},
			attributes: ofTenant(id),
		}, &result)
		switch {
		case errors.Is(err, errContinue):
			return backup.Verdict{}, err
		case err != nil:
			v := VerdictOf(err)
			v.Detail = fmt.Sprintf("%s: %s", d.Name, v.Detail)
			return v, ctx.Err()
		}
		each = append(each, fmt.Sprintf("%d entries from %s", result.Counts.Listed, d.Name))
	}
	o.in.Accounts = result.Accounts
	return backup.Verdict{Passing: true, Detail: fmt.Sprintf("%d people are protected, %d are preserved: %s",
		result.Accounts.Active, result.Accounts.Preserved, strings.Join(each, ", "))}, nil
}

func (o *onboarding) schedule(ctx workflow.Context) error {
	return o.board.pass(ctx, gate{name: backup.TaskFirstBackup, actions: mend, look: o.startBackups})
}

// startBackups makes the schedules and starts the first run. Both may be done twice.
func (o *onboarding) startBackups(ctx workflow.Context) (backup.Verdict, error) {
	in := describe(o.in.Tenant.ID, o.in.App)
	calls := calling(ctx, probing, in.Tenant, "Schedule backups and imports")
	if err := workflow.ExecuteActivity(calls, (*activities.Scheduling)(nil).EnsureSchedules, in).Get(calls, nil); err != nil {
		return VerdictOf(err), ctx.Err()
	}
	var first activities.TriggerResult
	calls = calling(ctx, probing, in.Tenant, "Start the first backup")
	if err := workflow.ExecuteActivity(calls, (*activities.Scheduling)(nil).TriggerBackup, in).Get(calls, &first); err != nil {
		return VerdictOf(err), ctx.Err()
	}
	o.firstRun = first.WorkflowID
	return backup.Verdict{Passing: true, Detail: "the first backup is " + first.WorkflowID}, nil
}

// checkApply only reads.
func (o *onboarding) checkApply(_ workflow.Context, in ApplyInput) error {
	if in.Tenant.ID != o.in.Tenant.ID {
		return refusal(&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("this is the onboarding of %s, the description is of %s", o.in.Tenant.ID, in.Tenant.ID), Hint: "a tenant's id cannot change"})
	}
	return nil
}

// apply replaces the description, for somebody who may, and looks again at what waits, here and in the child that waits for this workflow.
func (o *onboarding) apply(ctx workflow.Context, in ApplyInput) error {
	t := in.Tenant
	if err := o.board.mayAdminister(ctx, answering, "May "+in.By+" apply?", o.asker(in.By, &t)); err != nil {
		return err
	}
	if err := o.saveAs(ctx, answering, t); err != nil {
		return err
	}
	o.in.Tenant = t
	if err := o.watch(ctx); err != nil {
		return err
	}
	o.board.nudged = true
	if o.board.child != "" {
		workflow.SignalExternalWorkflow(ctx, o.board.child, "", RecheckSignal, "the description of "+t.ID+" changed")
	}
	return nil
}
