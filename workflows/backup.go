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
}

// BackUpApp is one run over one app of one tenant: a shard of accounts an activity, a few at a time. It ends complete only when
// every count was proved; whatever happens, the run's report is written, also when somebody cancels it.
func BackUpApp(ctx workflow.Context, in BackUpAppInput) (*BackUpAppResult, error) {
	r := &backingUp{in: in, speaker: speaker{in.Tenant}}
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

// key fails the run at once, and clearly, when the key's holder is not there: every shard would fail by itself, later. A store that
// is away says nothing about the holder, so the look outlasts it.
func (r *backingUp) key(ctx workflow.Context) *backup.Verdict {
	v, err := r.probe(bookkeeping, "Is the key's holder connected?", (*activities.Provisioning)(nil).ObserveKeyHolder, describe(r.in.Tenant, r.in.App))(ctx)
	switch {
	case err != nil:
		return cancelledRun()
	case v.Passing:
		return nil
	}
	return &v
}

// shards runs them all, a few at a time. One that failed does not keep the others from protecting their accounts, unless it failed for
// what no retry mends: that stands in the way of all of them.
func (r *backingUp) shards(ctx workflow.Context) (cause *backup.Verdict) {
	running, stop := 0, false
	selector := workflow.NewSelector(ctx)
	for next := 0; running > 0 || next < r.run.Shards && !stop; {
		if next < r.run.Shards && running < shardsAtOnce && !stop {
			selector.AddFuture(r.shard(ctx, next), func(f workflow.Future) {
				running--
				failure, final := r.count(ctx, f)
				if cause == nil {
					cause = failure
				}
				stop = stop || final
			})
			next, running = next+1, running+1
			continue
		}
		selector.Select(ctx)
	}
	if ctx.Err() != nil {
		return cancelledRun()
	}
	return cause
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
				return
			}
		}
		r.raise(ctx, backup.Alert{Kind: backup.AlertRunFailed, Subject: app, Message: fmt.Sprintf("run %d failed: %s", run.Number, detail), Hint: hint})
	}
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
