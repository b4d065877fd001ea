package workflows

import (
	"errors"
	"fmt"
	"slices"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// shredding destroys a tenant's key.
type shredding struct {
	in    ShredKeyInput
	state ShredBoard
	board *board
}

// ShredKey destroys a tenant's key at every holder, after two people who did not ask for it have agreed, and after a time in which
// anybody in charge could call it off. It ends with proof: nothing opens any more, and the report of it is signed.
func ShredKey(ctx workflow.Context, in ShredKeyInput) (*ShredKeyResult, error) {
	s := &shredding{in: in}
	if err := s.setUp(ctx); err != nil {
		return nil, err
	}
	err := s.run(ctx)
	if errors.Is(err, errContinue) {
		err = s.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	s.board.close(ctx, err)
	if err != nil {
		return nil, err
	}
	return &ShredKeyResult{Report: s.state.Report}, nil
}

func (s *shredding) setUp(ctx workflow.Context) (err error) {
	var resume *TaskBoard
	if s.in.Resume != nil {
		s.state = *s.in.Resume
		resume = &s.state.Board
	} else {
		s.state.Report = backup.ShredReport{Tenant: s.in.Tenant, RequestedBy: s.in.RequestedBy, Reason: s.in.Reason, Requested: workflow.Now(ctx)}
	}
	s.board, err = openBoard(ctx, &board{
		speaker: speaker{s.in.Tenant},
		heading: "Destroying the key of " + s.in.Tenant,
		again:   "the key was not destroyed; holdfast key shred " + s.in.Tenant + " asks again",
	}, []string{backup.TaskShred, backup.TaskShredToo, backup.TaskShredWait, backup.TaskDestroy, backup.TaskProof}, resume)
	if err == nil {
		s.board.objects = s.objects
	}
	return err
}

// objects makes sure that the second approval is another person's.
func (s *shredding) objects(t *backup.Task, d backup.Decision) error {
	if t.Name != backup.TaskShredToo || d.Action != backup.Approve || d.By != s.board.task(backup.TaskShred).DecidedBy {
		return nil
	}
	return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: d.By + " has approved already", Hint: "another person must"}
}

func (s *shredding) run(ctx workflow.Context) error {
	for _, step := range []func(workflow.Context) error{s.mayAsk, s.first, s.second, s.callOff, s.destroy, s.prove, s.endClocks} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *shredding) mayAsk(ctx workflow.Context) error {
	if s.in.Resume != nil {
		return nil
	}
	asker := activities.AdministratorInput{Tenant: s.in.Tenant, RequestedBy: s.in.RequestedBy}
	if err := s.board.mayAdminister(ctx, bookkeeping, "May "+s.in.RequestedBy+" ask for the key's destruction?", asker); err != nil {
		return err
	}
	plan, err := s.board.plan(ctx)
	if err == nil && plan.Active.Generation == 0 {
		err = failure(noKeyYet(s.in.Tenant))
	}
	return err
}

func (s *shredding) first(ctx workflow.Context) error {
	return s.approval(ctx, backup.TaskShred, "two people who did not ask for it must approve; nothing happens before the second one does")
}

func (s *shredding) second(ctx workflow.Context) error {
	by := s.board.task(backup.TaskShred).DecidedBy
	return s.approval(ctx, backup.TaskShredToo, by+" has approved; a second person decides. It can be called off for a while afterwards")
}

func (s *shredding) approval(ctx workflow.Context, task, hint string) error {
	detail := fmt.Sprintf("%s asks to destroy the key of %s: everything that was ever backed up becomes unreadable, for ever", s.in.RequestedBy, s.in.Tenant)
	if s.in.Reason != "" {
		detail += ". The reason: " + s.in.Reason
	}
	return s.board.pass(ctx, gate{name: task, actions: judge, requestedBy: s.in.RequestedBy,
		asks: backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Detail: detail, Hint: hint}})
}

// callOff is the last time to think: whoever is in charge hears every day that the key will be destroyed.
func (s *shredding) callOff(ctx workflow.Context) error {
	if s.state.Until.IsZero() {
		plan, err := s.board.plan(ctx)
		if err != nil {
			return err
		}
		s.state.Until = workflow.Now(ctx).Add(plan.ShredWait)
		s.state.Report.ApprovedBy = []string{s.board.task(backup.TaskShred).DecidedBy, s.board.task(backup.TaskShredToo).DecidedBy}
	}
	return s.board.pass(ctx, gate{name: backup.TaskShredWait, actions: []backup.Action{backup.Abort}, until: s.state.Until,
		asks: backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
			Detail: fmt.Sprintf("the key of %s will be destroyed at %s", s.in.Tenant, day(s.state.Until)),
			Hint:   "holdfast abort " + s.in.Tenant + " " + backup.TaskShredWait + " calls it off"}})
}

// destroy waits for every holder to confirm. From here on there is no way back, so nobody can abort; a holder that is gone for ever
// is waived, with a reason that stands in the report.
func (s *shredding) destroy(ctx workflow.Context) error {
	err := s.board.pass(ctx, gate{name: backup.TaskDestroy, actions: []backup.Action{backup.Retry, backup.Waive}, look: s.askHolders})
	if err != nil || s.state.Destroyed {
		return err
	}
	s.state.Destroyed, s.state.Report.Destroyed = true, workflow.Now(ctx)
	if t := s.board.task(backup.TaskDestroy); t.State == backup.Waived {
		for i, h := range s.state.Report.Holders {
			if !h.OK {
				s.state.Report.Holders[i].Detail += " (" + t.Detail + ")"
			}
		}
	}
	return nil
}

func (s *shredding) askHolders(ctx workflow.Context) (backup.Verdict, error) {
	calls := calling(ctx, keeping, s.in.Tenant, "Destroy the key at every holder")
	var said activities.DestroyResult
	if err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).DestroyKey, describe(s.in.Tenant, "")).Get(calls, &said); err != nil {
		return VerdictOf(err), ctx.Err()
	}
	s.note(said.Holders)
	return said.Verdict, nil
}

// note keeps the best that each holder ever said of each generation: one that has destroyed its key may have nothing to say of it later.
func (s *shredding) note(said []backup.KeyProof) {
	r := &s.state.Report
	for _, p := range said {
		if !slices.Contains(r.Generations, p.Generation) && p.Generation != 0 {
			r.Generations = append(r.Generations, p.Generation)
		}
		i := slices.IndexFunc(r.Holders, func(k backup.KeyProof) bool { return k.Holder == p.Holder && k.Generation == p.Generation })
		switch {
		case i < 0:
			r.Holders = append(r.Holders, p)
		case p.OK || !r.Holders[i].OK:
			r.Holders[i] = p
		}
	}
	slices.Sort(r.Generations)
}

// prove asks for the key and tries to open the repository; that both fail is the proof.
func (s *shredding) prove(ctx workflow.Context) error {
	return s.board.pass(ctx, gate{name: backup.TaskProof, actions: []backup.Action{backup.Retry}, look: func(ctx workflow.Context) (backup.Verdict, error) {
		calls := calling(ctx, keeping, s.in.Tenant, "Prove that nothing opens any more")
		var proved activities.ShredProofResult
		if err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).ProveShred, activities.ShredProofInput{Report: s.state.Report}).Get(calls, &proved); err != nil {
			return VerdictOf(err), ctx.Err()
		}
		if proved.Verdict.Passing {
			s.state.Report = proved.Report
		}
		return proved.Verdict, nil
	}})
}

// endClocks stops what would only fail from now on, and takes back the alerts about a key that nobody asks for any more. The report
// stands, whatever comes of it.
func (s *shredding) endClocks(ctx workflow.Context) error {
	calls := calling(ctx, bookkeeping, s.in.Tenant, "Stop backups, drills and rotations")
	in := describe(s.in.Tenant, backup.Microsoft365)
	if err := workflow.ExecuteActivity(calls, (*activities.Scheduling)(nil).EndSchedules, in).Get(calls, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot end the schedules", "error", err)
	}
	s.board.resolve(ctx, backup.AlertNotConnected, backup.TaskKey)
	s.board.resolve(ctx, backup.AlertKeyUnavailable, backup.TaskKey)
	return nil
}

func (s *shredding) continueAsNew(ctx workflow.Context) error {
	carried, err := s.board.carry(ctx)
	if err != nil {
		return err
	}
	s.state.Board = *carried
	s.in.Resume = &s.state
	return workflow.NewContinueAsNewError(ctx, ShredKeyName, s.in)
}
