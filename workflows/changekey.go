package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// bySchedule stands where the person who asked would: nobody did.
const bySchedule = "schedule"

// keyChange replaces the generation of a tenant's ekey that is in use.
type keyChange struct {
	in    ChangeKeyInput
	state KeyChangeBoard
	board *board
	plan  activities.KeyPlanResult
	// done: the repository opens with the new generation only. From there on nothing can be undone, and nothing stops the change.
	done    bool
	rewrote activities.RewrapResult
}

// ChangeKey makes a new generation of the ekey, brings it to all holders, re-wraps the repository for it, and leaves the old generation
// to RetireKeyLater. Until the repository is re-wrapped every failure, abort and cancellation gives the new generation up, and the
// old one works on; afterwards the change goes on to its end, whatever happens.
func ChangeKey(ctx workflow.Context, in ChangeKeyInput) (*ChangeKeyResult, error) {
	if workflow.GetInfo(ctx).WorkflowExecution.ID != ProvisionKeyID(in.Tenant) {
		return changeAlone(ctx, in)
	}
	c := &keyChange{in: in}
	if err := c.setUp(ctx); err != nil {
		return nil, err
	}
	err := c.run(ctx)
	if errors.Is(err, errContinue) {
		err = c.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	if c.done {
		ctx, _ = workflow.NewDisconnectedContext(ctx)
		err = c.retireLater(ctx)
	}
	c.board.close(ctx, err)
	if err != nil {
		return nil, err
	}
	return &ChangeKeyResult{From: c.state.From, To: c.state.To, Method: c.state.Method}, nil
}

// changeAlone runs the change under the id that everything has that changes the tenant's key. Schedules cannot: they append the time to
// the ids of what they start. A key that is being changed already is left alone; the schedule comes again.
func changeAlone(ctx workflow.Context, in ChangeKeyInput) (*ChangeKeyResult, error) {
	alone := child{id: ProvisionKeyID(in.Tenant), name: ChangeKeyName, summary: fmt.Sprintf("Change the key of %s: %s", in.Tenant, in.Change), input: in, attributes: ofTenant(in.Tenant)}
	var result ChangeKeyResult
	err := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, alone.options()), alone.name, alone.input).Get(ctx, &result)
	if temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return nil, failure(backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: "something else is being done to the key of " + in.Tenant + ", see " + alone.id, Hint: "holdfast inbox"})
	}
	if err != nil {
		return nil, failed(ctx, err)
	}
	return &result, nil
}

func (c *keyChange) setUp(ctx workflow.Context) (err error) {
	names, resume := []string{backup.TaskKeyChange, backup.TaskNewKey, backup.TaskHolders, backup.TaskRewrap}, (*TaskBoard)(nil)
	if c.in.Change == RewrapKey {
		names = []string{backup.TaskRewrap}
	}
	if c.in.Resume != nil {
		c.state = *c.in.Resume
		resume = &c.state.Board
	}
	c.board, err = openBoard(ctx, &board{speaker: speaker{c.in.Tenant}, heading: c.heading(),
		again: "nothing was changed; " + c.command() + " asks again"}, names, resume)
	if err == nil && c.in.Change == RewrapKey {
		c.board.task(backup.TaskRewrap).Title = "The key is wrapped with the newest version of the KMS's key"
	}
	return err
}

// command is what asks for the same change once more.
func (c *keyChange) command() string {
	switch c.in.Change {
	case SwitchKey:
		return fmt.Sprintf("holdfast key switch %s --to %s", c.in.Tenant, c.in.Method)
	case RewrapKey:
		return "holdfast key rotate " + c.in.Tenant + " --rewrap-only"
	}
	return "holdfast key rotate " + c.in.Tenant
}

func (c *keyChange) heading() string {
	switch c.in.Change {
	case SwitchKey:
		return fmt.Sprintf("Having the key of %s by %s from now on", c.in.Tenant, c.in.Method)
	case RewrapKey:
		return "Wrapping the key of " + c.in.Tenant + " anew"
	}
	return "Giving " + c.in.Tenant + " a new key"
}

func (c *keyChange) run(ctx workflow.Context) error {
	if c.state.Undoing != nil {
		return c.undo(ctx, failure(*c.state.Undoing))
	}
	err := c.change(ctx)
	if err != nil && !errors.Is(err, errContinue) && c.state.Tried && !c.done {
		return c.undo(ctx, err)
	}
	return err
}

// change is the way there, which can be gone back on up to its last step.
func (c *keyChange) change(ctx workflow.Context) error {
	steps := []func(workflow.Context) error{c.prepare, c.approval, c.newKey, c.holders, c.rewrapRepository}
	if c.in.Change == RewrapKey {
		steps = []func(workflow.Context) error{c.prepare, c.rewrapKey}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare refuses what cannot be, before anybody is asked to approve it.
func (c *keyChange) prepare(ctx workflow.Context) (err error) {
	if c.in.Resume == nil && !c.scheduled(ctx) {
		asker := activities.AdministratorInput{Tenant: c.in.Tenant, RequestedBy: c.in.RequestedBy}
		if err := c.board.mayAdminister(ctx, bookkeeping, "May "+c.in.RequestedBy+" change the key?", asker); err != nil {
			return err
		}
	}
	if c.plan, err = c.board.plan(ctx); err != nil {
		return err
	}
	active := c.plan.Active
	refuse := func(code backup.Code, detail, hint string) error {
		return failure(backup.Verdict{Code: code, Fault: backup.FaultCustomer, Detail: detail, Hint: hint})
	}
	switch {
	case active.Generation == 0:
		return failure(noKeyYet(c.in.Tenant))
	case c.in.Change == SwitchKey && c.in.Method != backup.KeyByConnector && c.in.Method != backup.KeyByKMS:
		return refuse(backup.CodeBadConfig, fmt.Sprintf("there is no key method %q", c.in.Method), "connector or kms")
	case c.in.Change == SwitchKey && c.in.Method == active.Method:
		return refuse(backup.CodeNotAllowed, fmt.Sprintf("the key of %s is had by %s already", c.in.Tenant, active.Method), "holdfast key rotate "+c.in.Tenant+" makes a new key by the same method")
	case c.in.Change == SwitchKey && c.in.Resume == nil && c.in.Method == backup.KeyByKMS && !c.plan.KMS:
		return refuse(backup.CodeBadConfig, fmt.Sprintf("the file of %s does not say where its Vault is", c.in.Tenant), "describe it under key.kms and apply the file; then "+c.command())
	case c.in.Change == SwitchKey && c.in.Resume == nil && c.in.Method == backup.KeyByConnector && c.plan.Connectors == 0:
		return refuse(backup.CodeNotConnected, fmt.Sprintf("%s has no connector that could hold its key", c.in.Tenant), fmt.Sprintf("admit one: holdfast connector enroll %s --name NAME; then %s", c.in.Tenant, c.command()))
	case c.in.Change == RewrapKey && active.Method != backup.KeyByKMS:
		return refuse(backup.CodeNotAllowed, "a key that connectors hold is not wrapped by anything", "holdfast key rotate "+c.in.Tenant+" makes a new one")
	}
	if c.state.From == 0 {
		c.state.From, c.state.Method = active.Generation, active.Method
		if c.in.Change == SwitchKey {
			c.state.Method = c.in.Method
		}
	}
	return nil
}

// scheduled tells whether the clock asked. Anybody could call himself by its name, so it counts only from the schedule's own workflow.
func (c *keyChange) scheduled(ctx workflow.Context) bool {
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if c.in.RequestedBy != bySchedule || parent == nil {
		return false
	}
	id, err := ParseID(parent.ID)
	return err == nil && id.Kind == "rotate" && id.Tenant == c.in.Tenant
}

// approval lets a second person decide. A rotation by schedule was agreed to with the tenant's description.
func (c *keyChange) approval(ctx workflow.Context) error {
	if t := c.board.task(backup.TaskKeyChange); t.State == backup.Pending && c.scheduled(ctx) {
		c.board.end(t, backup.Passing, "agreed to with the tenant's description")
		return nil
	}
	detail := fmt.Sprintf("%s asks for a new key of %s, by %s as before; generation %d is replaced", c.in.RequestedBy, c.in.Tenant, c.state.Method, c.state.From)
	if c.in.Change == SwitchKey {
		detail = fmt.Sprintf("%s asks to have the key of %s by %s instead of %s; generation %d is replaced", c.in.RequestedBy, c.in.Tenant, c.state.Method, c.plan.Active.Method, c.state.From)
	}
	return c.board.pass(ctx, gate{name: backup.TaskKeyChange, actions: judge, requestedBy: c.in.RequestedBy,
		asks: backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: detail,
			Hint: "a second person decides; no backup is uploaded again, and the old key works until the new one is proved"}})
}

// newKey makes the next generation at the holders of its method.
func (c *keyChange) newKey(ctx workflow.Context) error {
	return c.board.pass(ctx, gate{name: backup.TaskNewKey, actions: mend, look: func(ctx workflow.Context) (backup.Verdict, error) {
		c.state.Tried = true
		in := activities.KeyChangeInput{Tenant: c.in.Tenant, Method: c.state.Method}
		calls := calling(ctx, keeping, c.in.Tenant, "Make the next generation of the key")
		var made activities.KeyChangeResult
		if err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).PrepareKey, in).Get(calls, &made); err != nil {
			return VerdictOf(err), ctx.Err()
		}
		if made.To != 0 {
			c.state.From, c.state.To, c.state.Method = made.From, made.To, made.Method
		}
		return made.Verdict, nil
	}})
}

// holders brings the new generation to every connector. One that is away for long may be waived: it gets it when it is back.
func (c *keyChange) holders(ctx workflow.Context) error {
	in := activities.ShareKeyInput{Tenant: c.in.Tenant, Generation: c.state.To}
	return c.board.pass(ctx, gate{name: backup.TaskHolders, actions: mendOrWaive,
		look: c.board.probe(keeping, "Bring the new key to every holder", (*activities.KeyKeeping)(nil).ShareKey, in)})
}

// rewrapRepository is the step after which there is no way back.
func (c *keyChange) rewrapRepository(ctx workflow.Context) error {
	return c.board.pass(ctx, gate{name: backup.TaskRewrap, actions: mend, look: c.rewrap})
}

// rewrap is not interrupted: whether it took place must be known before anything is undone.
func (c *keyChange) rewrap(ctx workflow.Context) (backup.Verdict, error) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	in := activities.RewrapInput{Tenant: c.in.Tenant, From: c.state.From, To: c.state.To}
	calls := calling(ctx, keeping, c.in.Tenant, fmt.Sprintf("Re-wrap the repository: generation %d → %d", in.From, in.To))
	if err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).RewrapRepository, in).Get(calls, &c.rewrote); err != nil {
		return VerdictOf(err), nil
	}
	if c.rewrote.Verdict.Passing {
		c.finish(c.rewrote.Verdict.Detail)
	}
	return c.rewrote.Verdict, nil
}

// finish takes note that the new generation is the one in use. Whatever a person decided meanwhile comes too late.
func (c *keyChange) finish(detail string) {
	c.done = true
	c.board.end(c.board.task(backup.TaskRewrap), backup.Passing, detail)
}

// rewrapKey wraps the same generation anew. Nothing is in danger: the KMS itself does it, and the old wrapping is replaced in one step.
func (c *keyChange) rewrapKey(ctx workflow.Context) error {
	c.state.To = c.state.From
	return c.board.pass(ctx, gate{name: backup.TaskRewrap, actions: mend,
		look: c.board.probe(provisioning, "Wrap the key anew", (*activities.KeyKeeping)(nil).RewrapKey, describe(c.in.Tenant, ""))})
}

// undo gives up the new generation, proves that the old one still opens the repository, and ends with the cause. It does so for a
// cancelled workflow, too, and waits for whoever holds the old key. When the change turns out to have taken place nonetheless, because
// only the answer was lost, it ends well.
func (c *keyChange) undo(ctx workflow.Context, cause error) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	if c.state.Undoing == nil {
		v := VerdictOf(cause)
		c.state.Undoing = &v
		c.board.withdraw(ctx)
	}
	t := c.board.need(backup.TaskKey)
	t.Title = "The old key still opens the repository"
	if err := c.board.pass(ctx, gate{name: backup.TaskKey, actions: mend, look: c.drop}); err != nil {
		return err
	}
	if c.done {
		return nil
	}
	return cause
}

func (c *keyChange) drop(ctx workflow.Context) (backup.Verdict, error) {
	in := activities.RewrapInput{Tenant: c.in.Tenant, From: c.state.From, To: c.state.To}
	v, err := c.board.probe(undoing, "Give up the new key, and prove the old one", (*activities.KeyKeeping)(nil).DropKey, in)(ctx)
	if err != nil || v.Passing {
		return v, err
	}
	plan, err := c.board.plan(ctx)
	if err != nil {
		return VerdictOf(err), ctx.Err()
	}
	if c.state.To == 0 || plan.Active.Generation != c.state.To {
		return v, nil
	}
	c.rewrote.RetireAfter = workflow.Now(ctx).Add(plan.Grace)
	c.finish(fmt.Sprintf("generation %d is in use", c.state.To))
	return backup.Verdict{Passing: true, Detail: "the new key had taken its place already"}, nil
}

// retireLater leaves the rest to a workflow of its own, so that the tenant's key may be changed again, or shredded, while the old
// generation is kept.
func (c *keyChange) retireLater(ctx workflow.Context) error {
	old := child{
		id:         RetireKeyID(c.in.Tenant, c.state.From),
		name:       RetireKeyLaterName,
		summary:    fmt.Sprintf("Retire generation %d of the key of %s", c.state.From, c.in.Tenant),
		input:      RetireKeyLaterInput{Tenant: c.in.Tenant, Generation: c.state.From, RetireAfter: c.rewrote.RetireAfter},
		attributes: ofTenant(c.in.Tenant),
	}
	started := workflow.ExecuteChildWorkflow(workflow.WithChildOptions(ctx, old.options()), old.name, old.input).GetChildWorkflowExecution()
	if err := started.Get(ctx, nil); !temporal.IsWorkflowExecutionAlreadyStartedError(err) {
		return failed(ctx, err)
	}
	return nil
}

func (c *keyChange) continueAsNew(ctx workflow.Context) error {
	ctx, _ = workflow.NewDisconnectedContext(ctx) // a cancelled change is undone over as many runs as it takes
	carried, err := c.board.carry(ctx)
	if err != nil {
		return err
	}
	c.state.Board = *carried
	c.in.Resume = &c.state
	return workflow.NewContinueAsNewError(ctx, ChangeKeyName, c.in)
}
