package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// conflicts are a tenant's entries that may be one of several people.
type conflicts struct {
	in    SettleConflictsInput
	board *board
}

// SettleConflicts is where a tenant's conflicts wait until people have decided all of them. An import that finds one begins it, every import
// has it look again, and it ends by itself.
func SettleConflicts(ctx workflow.Context, in SettleConflictsInput) error {
	c := &conflicts{in: in}
	if err := c.setUp(ctx); err != nil {
		return err
	}
	err := c.board.pass(ctx, gate{name: backup.TaskConflicts, actions: []backup.Action{backup.Retry}, look: c.look})
	if errors.Is(err, errContinue) {
		return c.continueAsNew(ctx)
	}
	c.board.close(ctx, err)
	if err == nil && c.board.nudged { // an import has found others while this was ending
		return workflow.NewContinueAsNewError(ctx, SettleConflictsName, SettleConflictsInput{Tenant: c.in.Tenant})
	}
	return err
}

func (c *conflicts) setUp(ctx workflow.Context) (err error) {
	c.board, err = openBoard(ctx, &board{speaker: speaker{c.in.Tenant}, heading: "The conflicts of " + c.in.Tenant}, []string{backup.TaskConflicts}, c.in.Resume)
	if err != nil {
		return err
	}
	settle := workflow.GetSignalChannelWithOptions(ctx, SettleSignal, workflow.SignalChannelOptions{
		Description: "The same as the update, for those who cannot wait for an answer; a refusal raises an alert."})
	c.board.decisions = append(c.board.decisions, settle)
	receive(ctx, "settlements", settle, c.settleBySignal)
	return workflow.SetUpdateHandlerWithOptions(ctx, SettleUpdate, c.settle, workflow.UpdateHandlerOptions{
		Validator:   func(_ workflow.Context, d backup.MergeDecision) error { return c.check(d) },
		Description: `Decide on an entry: {"directory":"ldap","entryID":"...","verdict":"same","account":"a1b2...","by":"anna@acme.example","reason":""}`})
}

func (c *conflicts) look(ctx workflow.Context) (backup.Verdict, error) {
	var open activities.ConflictsResult
	calls := calling(ctx, observing, c.in.Tenant, "Count the conflicts")
	if err := workflow.ExecuteActivity(calls, (*activities.Settling)(nil).CountConflicts, describe(c.in.Tenant, "")).Get(calls, &open); err != nil {
		return VerdictOf(err), ctx.Err()
	}
	if open.Waiting == 0 {
		return backup.Verdict{Passing: true, Detail: "every conflict is decided"}, nil
	}
	return backup.Verdict{Code: backup.CodeConflict, Fault: backup.FaultCustomer,
		Detail: fmt.Sprintf("%d entries may be one of several people and are not protected until somebody decides", open.Waiting),
		Hint: fmt.Sprintf("holdfast users conflicts %s shows them, and whom each may be; holdfast users settle %s ENTRY --directory D, with --same-as ACCOUNT, --separate or --ignore, decides",
			c.in.Tenant, c.in.Tenant)}, nil
}

func (c *conflicts) check(d backup.MergeDecision) error {
	if err := d.Check(); err != nil {
		return refusal(err)
	}
	return nil
}

// settle keeps a person's word on one entry, and has its directory imported, which carries it out.
func (c *conflicts) settle(ctx workflow.Context, d backup.MergeDecision) error {
	if err := c.check(d); err != nil {
		return err
	}
	asker := activities.AdministratorInput{Tenant: c.in.Tenant, RequestedBy: d.By}
	if err := c.board.mayAdminister(ctx, answering, "May "+d.By+" decide on a conflict?", asker); err != nil {
		return err
	}
	d.At = workflow.Now(ctx)
	calls := calling(ctx, answering, c.in.Tenant, "Record the decision of "+d.By)
	in := activities.DecideConflictInput{Tenant: c.in.Tenant, Decision: d}
	return failed(ctx, workflow.ExecuteActivity(calls, (*activities.Settling)(nil).DecideConflict, in).Get(calls, nil))
}

// settleBySignal takes a decision from somebody who cannot hear a refusal; it is told as an alert instead.
func (c *conflicts) settleBySignal(ctx workflow.Context, d backup.MergeDecision) {
	c.board.deciding++
	defer func() { c.board.deciding-- }()
	if err := c.settle(ctx, d); err != nil {
		v := VerdictOf(err)
		c.board.raise(ctx, backup.Alert{Kind: backup.AlertSignalRefused, Subject: backup.TaskConflicts, Message: v.Detail, Hint: v.Hint})
	}
}

func (c *conflicts) continueAsNew(ctx workflow.Context) error {
	resume, err := c.board.carry(ctx)
	if err != nil {
		return err
	}
	c.in.Resume = resume
	return workflow.NewContinueAsNewError(ctx, SettleConflictsName, c.in)
}
