package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// A shard has at most largestShard accounts: large enough that a night of 100,000 accounts costs hundreds of activities and not
	// hundred thousands, small enough that a retried shard repeats little.
	largestShard = 250
	// Smaller runs are cut into shardsAtLeast shards, so that several workers share them, down to smallestShard accounts: each shard
	// asks for the key and opens the repository once.
	shardsAtLeast = 16
	smallestShard = 10
	// partsAtOnce is account-services worked on at a time within a shard. The vendor limits calls per mailbox, so it is other
	// mailboxes that fill the waiting time, and a part's own: 15 calls, one after the other, tell that a mailbox of twelve folders has
	// not changed. Measured at 50 ms an answer, 8 instead of 4 take a third off a run, first or without changes, for some 60 MB at
	// the peak (bench/README.md).
	partsAtOnce = 8
	// partAttempts is how often a part that fails for a passing reason is tried before it is recorded as failed, so that one mailbox
	// whose server never answers cannot keep a whole run from ending.
	partAttempts = 6
	// partPatience is the longest distance that is kept for one part. While a run waits, the schedule starts no other; one that is asked
	// to come back even later is recorded as failed, and the next run comes back.
	partPatience = time.Hour
)

// BackingUp runs backups.
type BackingUp struct {
	Tenants      Tenants
	Runs         Runs
	Apps         Apps
	Keys         Keys
	Repositories Repositories
}

// StartRun makes the run's report and its parts: one per active account and service.
func (a *BackingUp) StartRun(ctx context.Context, in TenantInput) (StartRunResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return StartRunResult{}, fail(err)
	}
	accounts, err := a.Runs.CountAccounts(ctx, in.Tenant)
	if err != nil {
		return StartRunResult{}, fail(err)
	}
	info := activity.GetInfo(ctx)
	run, shards, err := a.Runs.StartRun(ctx, backup.Run{
		Tenant: in.Tenant, App: in.App, WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID,
		Started: time.Now(), Outcome: backup.RunRunning,
	}, t.ServicePlan(), shardSize(accounts.Active))
	return StartRunResult{Number: run.Number, Parts: run.Parts, Shards: shards}, fail(err)
}

// shardSize is how many accounts a shard of a run of so many has.
func shardSize(accounts int) int {
	return min(largestShard, max(smallestShard, (accounts+shardsAtLeast-1)/shardsAtLeast))
}

// BackUpShard works on the open parts of a shard. What is done stands in the store and the repository, so a retry goes on
// with what is open. It obtains the ekey once and keeps it only until the repository is open.
func (a *BackingUp) BackUpShard(ctx context.Context, in ShardInput) (ShardResult, error) {
	parts, err := a.Runs.OpenParts(ctx, in.Tenant, in.Number, in.Shard)
	if err != nil || len(parts) == 0 {
		return ShardResult{}, fail(err)
	}
	progress := resumeProgress(ctx, len(parts))
	defer beat(ctx, progress.state)() // a connector may take longer to answer than a heartbeat may stay away
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return ShardResult{}, fail(err)
	}
	app, err := a.Apps.ConnectApp(ctx, t, in.App)
	if err != nil {
		return ShardResult{}, fail(err)
	}
	lease, err := a.Keys.Obtain(ctx, t, keyUse(ctx, t, backup.PurposeBackup))
	if err != nil {
		return ShardResult{}, failHolder(err)
	}
	repository, err := openWith(ctx, a.Keys, a.Repositories, t, lease)
	if err != nil {
		return ShardResult{}, fail(err)
	}
	// A cancelled activity still closes the repository in order.
	defer repository.Close(context.WithoutCancel(ctx))

	s := &shard{activities: a, in: in, app: app, repository: repository, progress: progress,
		runID: activity.GetInfo(ctx).WorkflowExecution.RunID, stopping: activity.GetWorkerStopChannel(ctx)}
	err = s.work(ctx, parts)
	return progress.result(), fail(err)
}

// FinishRun proves the run's counts, decides how it ended and writes its report.
func (a *BackingUp) FinishRun(ctx context.Context, in FinishRunInput) (FinishRunResult, error) {
	run, err := a.Runs.TotalRun(ctx, in.Tenant, in.Number)
	if err != nil {
		return FinishRunResult{}, fail(err)
	}
	run.Ended = time.Now()
	if in.Cause != nil {
		run.Outcome, run.Code, run.Detail = backup.RunFailed, in.Cause.Code, in.Cause.Detail
	} else {
		var judged error
		run.Outcome, judged = backup.JudgeRun(run)
		if judged != nil {
			run.Code, run.Detail = backup.AsError(judged).Code, judged.Error()
		}
	}
	return FinishRunResult{Run: run}, fail(a.Runs.FinishRun(ctx, run))
}

// openRepository asks for the ekey and opens the repository with it.
func openRepository(ctx context.Context, keys Keys, repositories Repositories, t backup.Tenant, purpose backup.KeyPurpose) (Repository, error) {
	lease, err := keys.Obtain(ctx, t, keyUse(ctx, t, purpose))
	if err != nil {
		return nil, err
	}
	return openWith(ctx, keys, repositories, t, lease)
}

// openWith opens the repository with what derives from a lease, and gives the key back at once: kopia holds its own keys from then on.
func openWith(ctx context.Context, keys Keys, repositories Repositories, t backup.Tenant, lease *backup.Lease) (Repository, error) {
	defer lease.Close()
	password, err := lease.RepositoryPassword(t.ID, t.Repository.ID)
	if err != nil {
		return nil, err
	}
	r, err := repositories.OpenRepository(ctx, t, password)
	return r, movingOr(ctx, keys, t, lease.Generation, err)
}

// movingOr tells a repository that is on its way from one generation to another, or went while the key was asked for, from one that
// opens with a key that nobody knows of: the former opens when it is tried again.
func movingOr(ctx context.Context, keys Keys, t backup.Tenant, generation int, err error) error {
	if !backup.HasCode(err, backup.CodeWrongKey) {
		return err
	}
	all, unknown := keys.Generations(ctx, t)
	if unknown != nil {
		return unknown
	}
	moving := slices.ContainsFunc(all, func(k backup.EKey) bool {
		return k.Generation != generation && (k.State == backup.EKeyPending || k.State == backup.EKeyActive)
	})
	if !moving {
		return err
	}
	return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultOurs, Retryable: true, RetryAfter: movingPause,
		Message: fmt.Sprintf("the repository of %s is being moved to another generation of its key", t.ID), Hint: "nothing to do: it is tried again; holdfast key status " + t.ID + " shows the change"}
}

// movingPause is the distance at which a repository is tried again whose key is being changed; re-wrapping takes a second or two.
const movingPause = 3 * time.Second

// shard is one attempt at the open parts of a shard.
type shard struct {
	activities *BackingUp
	in         ShardInput
	app        App
	repository Repository
	runID      string
	progress   *progress
	stopping   <-chan struct{} // the worker was told to stop
}

// work backs up the parts, a few at a time. It returns what stands in the way of all of them at once, or otherwise the passing failure
// that asks for the longest distance, so that Temporal comes back for the parts that are still open.
func (s *shard) work(ctx context.Context, parts []backup.RunPart) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(partsAtOnce)
	later := make(chan error, len(parts))
	for _, p := range parts {
		group.Go(func() error {
			err := s.part(ctx, p)
			if ctx.Err() == nil && passing(err) {
				later <- err
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	close(later)
	var longest error
	for err := range later {
		if longest == nil || backup.AsError(err).RetryAfter > backup.AsError(longest).RetryAfter {
			longest = err
		}
	}
	return longest
}

// part backs up one service of one account and records how it ended. An error means that it is still open.
func (s *shard) part(ctx context.Context, p backup.RunPart) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if stopped(s.stopping) {
		return errStopping
	}
	source, err := s.app.Source(ctx, p.Account, p.Service)
	if err == nil {
		t := transfer{source: source, repository: s.repository, stopping: s.stopping, lastTry: s.progress.isLast(p), state: backup.SnapshotState{
			Layout: 1, Tenant: s.in.Tenant, Account: p.Account.ID, App: s.in.App, Service: p.Service, RunID: s.runID}}
		var info backup.SnapshotInfo
		if info, err = t.run(ctx); err == nil {
			p.State, p.Snapshot, p.Counts, p.Skips = backup.PartDone, info.ID, info.State.Counts, info.State.Skips
		} else {
			p.Counts = backup.Counts{APICalls: source.Calls()}
		}
	}
	if err != nil {
		if ctx.Err() != nil || s.staysOpen(p, err) {
			return err
		}
		if err := s.settle(ctx, &p, backup.AsError(err)); err != nil {
			return err
		}
	}
	if err := s.activities.Runs.FinishPart(ctx, s.in.Tenant, s.in.Number, p); err != nil {
		return err
	}
	s.progress.finished(p.State)
	return nil
}

// settle records how a part ended without a snapshot. That there is no mailbox or drive is an outcome only as long as there was none: a
// licence that was taken away, or a fault that looks like it, must not pass for a complete run.
func (s *shard) settle(ctx context.Context, p *backup.RunPart, e *backup.Error) error {
	p.State, p.Code, p.Detail = backup.PartFailed, e.Code, e.Error()
	if e.Code != backup.CodeNoService {
		return nil
	}
	before, err := s.repository.Latest(ctx, p.Account.ID, s.in.App, p.Service)
	if err != nil {
		return err
	}
	if before == nil {
		p.State = backup.PartNoService
		return nil
	}
	p.Detail = "it was backed up before, and now " + p.Detail
	return nil
}

// staysOpen tells whether there will be another attempt at the part: because all parts share the cause, or because it will pass.
func (s *shard) staysOpen(p backup.RunPart, err error) bool {
	e := backup.AsError(err)
	if shared(e.Code) || errors.Is(err, errStopping) {
		return true
	}
	return e.Retryable && e.RetryAfter <= partPatience && s.progress.tried(p) < partAttempts
}

// shared tells whether a cause stands in the way of every part: going on would only repeat it.
func shared(c backup.Code) bool {
	switch c {
	case backup.CodeDiskFull, backup.CodeRepository, backup.CodeWrongKey, backup.CodeBadCredential, backup.CodeMissingRole:
		return true
	}
	return false
}

// passing tells whether other parts may go on after err: a cause of this one part that goes away by itself.
func passing(err error) bool {
	if err == nil {
		return false
	}
	e := backup.AsError(err)
	return e.Retryable && !shared(e.Code)
}
