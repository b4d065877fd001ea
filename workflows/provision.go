package workflows

import (
	"errors"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// provision makes sure of one tenant's key.
type provision struct {
	in     ProvisionKeyInput
	board  *board
	result ProvisionKeyResult
}

// ProvisionKey makes sure that the tenant's ekey can be had and that the tenant's repository opens with it, and waits as long as
// it takes for whoever holds the key.
func ProvisionKey(ctx workflow.Context, in ProvisionKeyInput) (*ProvisionKeyResult, error) {
	b, err := openBoard(ctx, &board{speaker: speaker{in.Tenant}, heading: "The key of " + in.Tenant}, []string{backup.TaskKey}, in.Resume)
	if err != nil {
		return nil, err
	}
	b.lead(in.Parent)
	p := &provision{in: in, board: b}
	err = b.pass(ctx, gate{name: backup.TaskKey, actions: mend, look: p.look})
	if errors.Is(err, errContinue) {
		err = p.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	b.close(ctx, err)
	if err != nil {
		return nil, err
	}
	return &p.result, nil
}

// look asks first whether a holder is there at all, because that is told apart most easily and mended most often, and then
// proves the key by opening the repository with it.
func (p *provision) look(ctx workflow.Context) (backup.Verdict, error) {
	in := describe(p.in.Tenant, "")
	v, err := p.board.probe(observing, "Is the key's holder there?", (*activities.Provisioning)(nil).ObserveKeyHolder, in)(ctx)
	if err != nil || !v.Passing {
		return v, err
	}
	var proved activities.ProvisionResult
	calls := calling(ctx, provisioning, p.in.Tenant, "Open the repository with the key")
	if err := workflow.ExecuteActivity(calls, (*activities.Provisioning)(nil).EnsureRepository, in).Get(calls, &proved); err != nil {
		return VerdictOf(err), ctx.Err()
	}
	p.result = ProvisionKeyResult{Generation: proved.Generation, Receipt: proved.Receipt, RepositoryCreated: p.result.RepositoryCreated || proved.RepositoryCreated}
	return proved.Verdict, nil
}

func (p *provision) continueAsNew(ctx workflow.Context) error {
	resume, err := p.board.carry(ctx)
	if err != nil {
		return err
	}
	p.in.Resume = resume
	return workflow.NewContinueAsNewError(ctx, ProvisionKeyName, p.in)
}
