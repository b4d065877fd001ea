package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// retirement is the end of a generation that was replaced.
type retirement struct {
	in    RetireKeyLaterInput
	board *board
}

// RetireKeyLater keeps a replaced generation for its period of grace, and then makes it unobtainable at every holder. A person may
// end the grace earlier.
func RetireKeyLater(ctx workflow.Context, in RetireKeyLaterInput) error {
	r := &retirement{in: in}
	b, err := openBoard(ctx, &board{speaker: speaker{in.Tenant}, scope: fmt.Sprint("generation-", in.Generation), parks: true,
		heading: fmt.Sprintf("Retiring generation %d of the key of %s", in.Generation, in.Tenant)}, []string{backup.TaskRetire}, in.Resume)
	if err != nil {
		return err
	}
	r.board = b
	if err = r.grace(ctx); err == nil {
		err = r.retire(ctx)
	}
	if errors.Is(err, errContinue) {
		err = r.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return err
	}
	b.close(ctx, err)
	return err
}

// grace waits quietly: nobody needs to do anything.
func (r *retirement) grace(ctx workflow.Context) error {
	if r.in.Due {
		return nil
	}
	err := r.board.pass(ctx, gate{name: backup.TaskRetire, actions: []backup.Action{backup.Approve}, until: r.in.RetireAfter, quiet: true,
		asks: backup.Verdict{Detail: fmt.Sprintf("generation %d was replaced; it can still be had until %s", r.in.Generation, day(r.in.RetireAfter)),
			Hint: "nothing needs to be done; approve to retire it now"}})
	if err != nil {
		return err
	}
	r.in.Due = true
	t := r.board.task(backup.TaskRetire)
	t.State, t.Since = backup.Pending, time.Time{}
	return nil
}

// retire waits for whoever holds the generation. A holder that is gone for ever is waived, with a reason.
func (r *retirement) retire(ctx workflow.Context) error {
	in := activities.GenerationInput{Tenant: r.in.Tenant, Generation: r.in.Generation}
	retire := r.board.probe(keeping, fmt.Sprintf("Retire generation %d", in.Generation), (*activities.KeyKeeping)(nil).RetireKey, in)
	return r.board.pass(ctx, gate{name: backup.TaskRetire, actions: mendOrWaive, look: func(ctx workflow.Context) (backup.Verdict, error) {
		v, err := retire(ctx)
		if v.Code == backup.CodeDestroyed { // the whole key was shredded meanwhile
			v = backup.Verdict{Passing: true, Detail: v.Detail}
		}
		return v, err
	}})
}

func (r *retirement) continueAsNew(ctx workflow.Context) error {
	resume, err := r.board.carry(ctx)
	if err != nil {
		return err
	}
	r.in.Resume = resume
	return workflow.NewContinueAsNewError(ctx, RetireKeyLaterName, r.in)
}
