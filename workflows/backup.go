package workflows

import (
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// shardsAtOnce bounds how many shards of one run are under way. Each works on several accounts at a time by itself; more of
// them would only wait for the vendor's limits per app, and for workers that other tenants need, too.
const shardsAtOnce = 4

// backingUp is one run.
type backingUp struct {
	in BackUpAppInput
	speaker
	run activities.StartRunResult
	// total is what the shards reported, for the page in the Web UI; the truth is in the store.
	total activities.ShardResult
	done  int
	// next is the shard that is begun next. cause is what went wrong first; stop tells that it stands in the way of all shards.
	next  int
	cause *backup.Verdict
	stop  bool
	absence
}

// BackUpApp is one run over one app of one tenant: a shard of accounts an activity, a few at a time. It ends complete only when
// every count was proved; whatever happens, the run's report is written, also when somebody cancels it.
func BackUpApp(ctx workflow.Context, in BackUpAppInput) (*BackUpAppResult, error) {
	r := &backingUp{in: in, speaker: speaker{in.Tenant}}
	r.listen(ctx)
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	cause := r.key(ctx)
	if cause == nil {
		cause = r.shards(ctx)
	}
	return r.finish(ctx, cause)
}

// start makes the report and the list of parts.
func (r *backingUp) start(ctx workflow.Context) error {
	calls := calling(ctx, bookkeeping, r.in.Tenant, "List what is to be backed up")
	err := workflow.ExecuteActivity(calls, (*activities.BackingUp)(nil).StartRun, describe(r.in.Tenant, r.in.App)).Get(calls, &r.run)
	if err == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	v := VerdictOf(err)
	r.raise(ctx, backup.Alert{Kind: backup.AlertRunFailed, Subject: string(r.in.App), Message: "the run could not start: " + v.Detail, Hint: v.Hint})
	return failure(v)
}

// key fails the run at once, and clearly, when the key's holder is not there and not worth waiting for: every shard would fail by
// itself, later.
func (r *backingUp) key(ctx workflow.Context) *backup.Verdict {
	v := r.observe(ctx)
	if v.Passing {
		return nil
	}
	return r.park(ctx, v)
}

// shards runs them all, a few at a time. One that failed does not keep the others from protecting their accounts, unless it failed for
// what no retry mends: that stands in the way of all of them.
func (r *backingUp) shards(ctx workflow.Context) *backup.Verdict {
	lanes := workflow.NewWaitGroup(ctx)
	for lane := range min(shardsAtOnce, r.run.Shards) {
		lanes.Add(1)
		workflow.GoNamed(ctx, fmt.Sprint("lane-", lane), func(ctx workflow.Context) {
			defer lanes.Done()
			r.lane(ctx)
		})
	}
	lanes.Wait(ctx)
	if ctx.Err() != nil {
		return cancelledRun()
	}
	return r.cause
}

// lane works on one shard after the other.
func (r *backingUp) lane(ctx workflow.Context) {
	for !r.stop && r.next < r.run.Shards {
		number := r.next
		r.next++
		cause, final := r.outlast(ctx, number)
		if r.cause == nil {
			r.cause = cause
		}
		r.stop = r.stop || final
	}
}

// outlast runs a shard, again and again as long as it only lacked the key and the key's holder comes back in time. The shards that
// have their repository open go on meanwhile.
func (r *backingUp) outlast(ctx workflow.Context, number int) (cause *backup.Verdict, final bool) {
	for {
		if r.present(ctx) != nil || r.stop {
			return nil, r.stop || ctx.Err() != nil // whoever stopped it says why
		}
		future := r.shard(ctx, number)
		err := future.Get(ctx, nil)
		if ctx.Err() != nil || !lacksKey(err) {
			return r.count(ctx, future)
		}
		if cause := r.park(ctx, VerdictOf(err)); cause != nil {
			return cause, true
		}
	}
}

func (r *backingUp) shard(ctx workflow.Context, number int) workflow.Future {
	ctx = calling(ctx, sharding, r.in.Tenant, fmt.Sprintf("Back up shard %d of %d of %s", number+1, r.run.Shards, r.in.Tenant))
	in := activities.ShardInput{Tenant: r.in.Tenant, App: r.in.App, Number: r.run.Number, Shard: number}
	return workflow.ExecuteActivity(ctx, (*activities.BackingUp)(nil).BackUpShard, in)
}

// count takes a shard's end, and tells whether the others need not be tried.
func (r *backingUp) count(ctx workflow.Context, f workflow.Future) (cause *backup.Verdict, final bool) {
	var s activities.ShardResult
	if err := f.Get(ctx, &s); err != nil {
		v := VerdictOf(err)
		return &v, ctx.Err() != nil || neverRetried(err)
	}
	r.done++
	r.total.Done, r.total.Failed, r.total.NoService = r.total.Done+s.Done, r.total.Failed+s.Failed, r.total.NoService+s.NoService
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("### Run %d of %s\n\n%d of %d shards are done: %d of %d account services backed up, %d failed, %d without the service.\n",
		r.run.Number, plain(r.in.Tenant), r.done, r.run.Shards, r.total.Done, r.run.Parts, r.total.Failed, r.total.NoService))
	return nil, false
}

// finish writes the report, proves the counts, and tells people. It does so for a cancelled run, too.
func (r *backingUp) finish(ctx workflow.Context, cause *backup.Verdict) (*BackUpAppResult, error) {
	cancelled := cause != nil && cause.Code == backup.CodeCancelled && ctx.Err() != nil
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	calls := calling(ctx, bookkeeping, r.in.Tenant, fmt.Sprintf("Prove and report run %d", r.run.Number))
	in := activities.FinishRunInput{Tenant: r.in.Tenant, Number: r.run.Number, Cause: cause}
	var ended activities.FinishRunResult
	if err := workflow.ExecuteActivity(calls, (*activities.BackingUp)(nil).FinishRun, in).Get(calls, &ended); err != nil {
		v := VerdictOf(err)
		r.raise(ctx, backup.Alert{Kind: backup.AlertRunFailed, Subject: string(r.in.App), Message: fmt.Sprintf("the report of run %d could not be written: %s", r.run.Number, v.Detail), Hint: v.Hint})
		return nil, failure(v)
	}
	r.showOutcome(ctx, ended.Run)
	if cancelled {
		return nil, temporal.NewCanceledError()
	}
	r.tell(ctx, ended.Run, cause)
	return r.result(ended.Run, cause)
}

func (r *backingUp) showOutcome(ctx workflow.Context, run backup.Run) {
	if err := workflow.UpsertTypedSearchAttributes(ctx, OutcomeAttribute.ValueSet(string(run.Outcome))); err != nil {
		workflow.GetLogger(ctx).Warn("cannot set search attributes", "error", err)
	}
	c := run.Counts
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("### Run %d of %s: %s\n\n%d listed = %d stored + %d unchanged + %d skipped + %d gone; %d of %d account services done, %d failed, %d without the service.\n\n%s\n",
		run.Number, plain(run.Tenant), run.Outcome, c.Listed, c.Stored, c.Unchanged, c.Skipped, c.Gone, run.Done, run.Parts, run.Failed, run.NoService, plain(run.Detail)))
}

// tell raises the one alert that fits. A complete run resolves all of them: it could not have been without the key.
func (r *backingUp) tell(ctx workflow.Context, run backup.Run, cause *backup.Verdict) {
	app, report := string(r.in.App), fmt.Sprintf("holdfast backup show %s %d", r.in.Tenant, run.Number)
	switch run.Outcome {
	case backup.RunComplete:
		r.resolve(ctx, backup.AlertRunFailed, app)
		r.resolve(ctx, backup.AlertRunPartial, app)
		r.resolve(ctx, backup.AlertNotConnected, backup.TaskKey)
		r.resolve(ctx, backup.AlertKeyUnavailable, backup.TaskKey)
	case backup.RunPartial:
		r.raise(ctx, backup.Alert{Kind: backup.AlertRunPartial, Subject: app, Message: fmt.Sprintf("run %d: %d of %d account services failed", run.Number, run.Failed, run.Parts), Hint: report})
	default:
		detail, hint := run.Detail, report
		if cause != nil {
			if cause.Hint != "" {
				hint = cause.Hint
			}
			if kind, ok := keyAlert(cause.Code); ok {
				r.raise(ctx, backup.Alert{Kind: kind, Subject: backup.TaskKey, Message: fmt.Sprintf("run %d failed: %s", run.Number, cause.Detail), Hint: hint})
				if kind == backup.AlertNotConnected {
					r.alarm(ctx)
				}
				return
			}
		}
		r.raise(ctx, backup.Alert{Kind: backup.AlertRunFailed, Subject: app, Message: fmt.Sprintf("run %d failed: %s", run.Number, detail), Hint: hint})
	}
}

// alarm tells whoever watches the connectors, so that the alert is resolved when one speaks again: a run notices that they are gone before
// the gateways do.
func (r *backingUp) alarm(ctx workflow.Context) {
	if workflow.GetVersion(ctx, "alarm", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return
	}
	// Nothing hangs on it: the next complete run resolves the alert, too.
	_ = workflow.SignalExternalWorkflow(ctx, WatchConnectorsID(r.in.Tenant), "", AlarmedSignal, workflow.Now(ctx)).Get(ctx, nil)
}

// result ends the workflow. A partial run is a result: what it could protect is protected. A failed one is a failure, so that it is
// one in Temporal's list, too.
func (r *backingUp) result(run backup.Run, cause *backup.Verdict) (*BackUpAppResult, error) {
	result := &BackUpAppResult{Number: run.Number, Outcome: run.Outcome, Parts: run.Parts, Failed: run.Failed, Counts: run.Counts}
	if run.Outcome != backup.RunFailed {
		return result, nil
	}
	v := backup.Verdict{Code: run.Code, Fault: backup.FaultOurs, Detail: run.Detail, Hint: fmt.Sprintf("holdfast backup show %s %d", r.in.Tenant, run.Number)}
	if cause != nil {
		v = *cause
	}
	if v.Code == "" { // every part failed, each for a reason of its own
		v.Code, v.Detail = backup.CodeInternal, fmt.Sprintf("all %d account services of run %d failed", run.Parts, run.Number)
	}
	return nil, failure(v, result)
}

func cancelledRun() *backup.Verdict {
	return &backup.Verdict{Code: backup.CodeCancelled, Fault: backup.FaultCustomer, Detail: "the run was cancelled"}
}
