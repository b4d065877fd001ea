package workflows

import (
	"fmt"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// firstHolderLook and lastHolderLook bound the distance of a parked run's looks for the key's holder, which is as long as the run has
	// waited. After hours it grows on, slowly, to a hundredth of that: a month of waiting costs some 600 looks.
	firstHolderLook = 10 * time.Second
	lastHolderLook  = 5 * time.Minute
	// parkings bounds how often a run waits for a holder that comes back for moments only.
	parkings = 100
	// parkedStage is shown in the list of workflows.
	parkedStage = "parked"
)

// absence is what a run knows of a key's holder that is away.
type absence struct {
	// policy is the tenant's, once it was needed.
	policy *activities.KeyPlanResult
	// away: one part of the run looks for the holder; the others wait for what it finds.
	away bool
	// nudged: a connector came, or somebody asked to look now.
	nudged bool
	// since is when the waiting began, back when it last ended, times how often it began without the holder having stayed.
	since, back time.Time
	times       int
	// told is the alert that is open, and toldAt when it was last raised.
	told   backup.AlertKind
	toldAt time.Time
}

// begin notes the time. A holder that was there only for a moment was not back.
func (a *absence) begin(now time.Time) {
	if a.back.IsZero() || now.Sub(a.back) > lastHolderLook {
		a.since, a.times = now, 0
	}
	a.away = true
	a.times++
}

func (a *absence) patience(now time.Time) time.Duration {
	waited := now.Sub(a.since)
	return max(firstHolderLook, min(waited, lastHolderLook), waited/100)
}

// listen takes the word of whoever knows that a holder is back.
func (r *backingUp) listen(ctx workflow.Context) {
	rechecks := workflow.GetSignalChannelWithOptions(ctx, RecheckSignal, workflow.SignalChannelOptions{
		Description: "Look again now for the key's holder, if the run is parked."})
	receive(ctx, "rechecks", rechecks, func(workflow.Context, string) { r.nudged = true })
}

// observe looks whether the holder is there. A store that is away says nothing about the holder, so the look outlasts it.
func (r *backingUp) observe(ctx workflow.Context) backup.Verdict {
	v, err := r.probe(bookkeeping, "Is the key's holder there?", (*activities.Provisioning)(nil).ObserveKeyHolder, describe(r.in.Tenant, r.in.App))(ctx)
	if err != nil {
		return *cancelledRun()
	}
	return v
}

// present returns when no part of the run waits for the holder.
func (r *backingUp) present(ctx workflow.Context) error {
	return workflow.Await(ctx, func() bool { return !r.away })
}

// holderAway tells whether a code means that the key's holder is away and may come back, and which alert says so.
func holderAway(c backup.Code) (backup.AlertKind, bool) {
	switch c {
	case backup.CodeNotConnected:
		return backup.AlertNotConnected, true
	case backup.CodeSealed, backup.CodeUnreachable:
		return backup.AlertKeyUnavailable, true
	}
	return "", false
}

// lacksKey tells a shard that could not begin for want of the key from one that failed otherwise: activities return the former at once
// and as never to be retried, and a vendor that is away only after many attempts.
func lacksKey(err error) bool {
	if err == nil || !neverRetried(err) {
		return false
	}
	_, away := holderAway(VerdictOf(err).Code)
	return away
}

// park waits for the holder as long as the tenant's policy says. It returns nil when the run can go on, and otherwise why not.
func (r *backingUp) park(ctx workflow.Context, v backup.Verdict) *backup.Verdict {
	if r.away { // another lane waits already
		if r.present(ctx) != nil {
			return cancelledRun()
		}
		if r.stop {
			return r.cause
		}
		return nil
	}
	if _, away := holderAway(v.Code); !away || ctx.Err() != nil {
		return &v
	}
	if workflow.GetVersion(ctx, "park", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return &v // an older build began this run
	}
	r.begin(workflow.Now(ctx))
	cause := &v
	if r.waits(ctx, v) {
		r.stage(ctx, StageAttribute.ValueSet(parkedStage))
		cause = r.waitForHolder(ctx, v)
		r.stage(ctx, StageAttribute.ValueUnset())
	}
	if cause != nil {
		r.cause, r.stop = cause, true
	}
	r.away, r.back = false, workflow.Now(ctx)
	return cause
}

// waitForHolder looks again and again, until the holder is there, or something else is wrong, or it was long enough.
func (r *backingUp) waitForHolder(ctx workflow.Context, v backup.Verdict) *backup.Verdict {
	for first := true; r.waits(ctx, v); first = false {
		until := r.since.Add(r.policy.WaitAtMost)
		if now := workflow.Now(ctx); !now.Before(until) || r.times > parkings {
			v.Detail = fmt.Sprintf("%s; the run has waited for %s", v.Detail, now.Sub(r.since).Round(time.Second))
			return &v
		}
		if v.Code == backup.CodeNotConnected && (first || r.nudged) { // whoever is told of a connector is told once
			r.speaker.park(ctx, workflow.GetInfo(ctx).WorkflowExecution.ID)
		}
		r.nudged = false
		r.tellAway(ctx, v, until)
		if err := r.sleep(ctx, until); err != nil {
			return cancelledRun()
		}
		if v = r.observe(ctx); v.Passing {
			r.resolve(ctx, r.told, backup.TaskKey)
			r.told = ""
			return nil
		}
	}
	return &v
}

// waits tells whether the run waits for what v says is away: a sealed or silent KMS always, a connector when the tenant wants it.
func (r *backingUp) waits(ctx workflow.Context, v backup.Verdict) bool {
	if _, away := holderAway(v.Code); !away || ctx.Err() != nil {
		return false
	}
	if r.policy == nil {
		plan, err := r.plan(ctx)
		if err != nil {
			return false
		}
		r.policy = &plan
	}
	return v.Code != backup.CodeNotConnected || r.policy.WaitsAbsent
}

func (r *backingUp) sleep(ctx workflow.Context, until time.Time) error {
	now := workflow.Now(ctx)
	options := workflow.AwaitOptions{Timeout: min(r.patience(now), until.Sub(now)), TimerOptions: workflow.TimerOptions{Summary: "Look again for the key's holder"}}
	_, err := workflow.AwaitWithOptions(ctx, options, func() bool { return r.nudged })
	return err
}

// tellAway alerts when the waiting begins, when it turns out to be for something else, and every day.
func (r *backingUp) tellAway(ctx workflow.Context, v backup.Verdict, until time.Time) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("### Run %d of %s waits for the key's holder\n\n%s\n\n- What to do: %s\n- It goes on by itself when the holder is back, and gives up at %s.\n- %d of %d shards are done.\n",
		r.run.Number, plain(r.in.Tenant), plain(v.Detail), plain(v.Hint), day(until), r.done, r.run.Shards))
	kind, _ := holderAway(v.Code)
	if r.told == kind && workflow.Now(ctx).Before(r.toldAt.Add(pace.Reminder)) {
		return
	}
	if r.told != "" && r.told != kind {
		r.resolve(ctx, r.told, backup.TaskKey)
	}
	r.told, r.toldAt = kind, workflow.Now(ctx)
	r.raise(ctx, backup.Alert{Kind: kind, Subject: backup.TaskKey, Hint: v.Hint,
		Message: fmt.Sprintf("run %d waits for the key's holder until %s: %s", r.run.Number, day(until), v.Detail)})
}

func (r *backingUp) stage(ctx workflow.Context, update temporal.SearchAttributeUpdate) {
	if err := workflow.UpsertTypedSearchAttributes(ctx, update); err != nil {
		workflow.GetLogger(ctx).Warn("cannot set search attributes", "error", err)
	}
}
