package activities

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// checkpointEvery is how long a first backup may have to be repeated after a crash. A checkpoint writes all that was touched since the
	// last one, so in a huge mailbox the distance grows until checkpoints take at most a tenth of the time.
	checkpointEvery = 30 * time.Second
	// itemAttempts is how often one item's content is tried within one transfer.
	itemAttempts = 3
	// mostSpoilt bounds the items of one transfer that are given up because the service has only faults to give. More of them are no
	// longer the items' own.
	mostSpoilt = 10
	// laneQueue is how many changes may wait for each lane; it bounds memory, not speed.
	laneQueue = 32
)

// transfer brings one service of one account into the repository: it follows the service's changes since the last snapshot, fetches
// what is new, and commits the new cursor inside the same snapshot as the data.
//
// Changes are spread over lanes by the item's id, so that changes of one item stay in order while several items are fetched at once.
// Listed items are counted where they arrive and outcomes where they end, independently, so that the proof can fail.
type transfer struct {
	source     Source
	repository Repository
	state      backup.SnapshotState
	stopping   <-chan struct{} // the worker was told to stop
	lastTry    bool            // a failure now is recorded: there is no further attempt in this run

	writer   SnapshotWriter
	seen     map[itemKey]struct{}
	removals map[removal]struct{}
	closed   map[string]bool // removed folders
	lanes    []*lane
	seed     maphash.Seed
	inFlight sync.WaitGroup
	spoilt   atomic.Int32 // items that were given up
	saveNext time.Time
}

// itemKey is an item's id at a fixed size: a mailbox of a million items is told apart in some 40 MB.
type itemKey [16]byte

func keyOf(id string) itemKey {
	sum := sha256.Sum256([]byte(id))
	return itemKey(sum[:16])
}

// removal is the departure of an item from a folder.
type removal struct{ id, parent string }

// run makes the snapshot, or returns the one this run has committed before it was killed.
func (t *transfer) run(ctx context.Context) (backup.SnapshotInfo, error) {
	base, err := t.latest(ctx)
	if err != nil {
		return backup.SnapshotInfo{}, err
	}
	if base != nil && base.State.Complete && base.State.RunID == t.state.RunID {
		return *base, nil
	}
	var cursor json.RawMessage
	if base != nil {
		cursor = base.State.Cursor // a checkpoint's cursor is where its listing began
		t.state.Base = completeBelow(base)
		if base.State.RunID == t.state.RunID {
			t.state.Counts.Resyncs = base.State.Counts.Resyncs
		}
	}
	info, err := t.follow(ctx, base, cursor)
	if backup.HasCode(err, backup.CodeCursorExpired) && len(cursor) > 0 {
		t.state.Counts.Resyncs++
		if base, err = t.latest(ctx); err != nil { // what was fetched until the token turned out to be expired may be in a checkpoint
			return info, err
		}
		info, err = t.follow(ctx, base, nil)
	}
	return info, err
}

func (t *transfer) latest(ctx context.Context) (*backup.SnapshotInfo, error) {
	return t.repository.Latest(ctx, t.state.Account, t.state.App, t.state.Service)
}

// completeBelow is the newest complete snapshot at or below s: what can be restored while a checkpoint stands above it.
func completeBelow(s *backup.SnapshotInfo) string {
	if s.State.Complete {
		return s.ID
	}
	return s.State.Base
}

// follow reads the changes since cursor on top of base and commits. With an empty cursor the listing is complete, and what base has
// beyond it is dropped.
func (t *transfer) follow(ctx context.Context, base *backup.SnapshotInfo, cursor json.RawMessage) (info backup.SnapshotInfo, err error) {
	if t.writer, err = t.repository.Write(ctx, base); err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, t.writer.Close(context.WithoutCancel(ctx))) }()
	t.state.Cursor, t.state.Complete = cursor, false
	if base != nil {
		t.state.Missing = base.State.Missing
	}
	next, err := t.read(ctx, cursor)
	if err != nil {
		return info, t.keepProgress(ctx, err)
	}
	outcomes, err := t.removeDeparted(ctx)
	if err != nil {
		return info, err
	}
	if err := t.dropOrphans(ctx, outcomes); err != nil {
		return info, err
	}
	if len(cursor) == 0 {
		if base != nil && base.State.Counts.Items > 0 && len(t.seen) == 0 {
			return info, nothingListed(base)
		}
		if err := t.dropUnlisted(ctx, outcomes); err != nil {
			return info, err
		}
	}
	t.count(outcomes)
	if err := t.state.Counts.Prove(); err != nil {
		return info, err
	}
	t.state.Cursor, t.state.Complete, t.state.Base, t.state.Taken = next, true, "", time.Now().UTC()
	return t.writer.Commit(ctx, t.state)
}

// nothingListed is a complete listing without a single item, where the last snapshot has some. An error is never read as an absence:
// the snapshot stays, and the account is reported until the service lists something again.
func nothingListed(base *backup.SnapshotInfo) error {
	return &backup.Error{Code: backup.CodeEmptyListing, Fault: backup.FaultVendor, Retryable: true,
		Message: fmt.Sprintf("the service lists nothing at all, but the last snapshot has %d items", base.State.Counts.Items),
		Hint:    "look into the mailbox or drive; if it is really empty, put one item into it"}
}

// read follows the change feed and waits until every lane is done with what it was given.
func (t *transfer) read(ctx context.Context, cursor json.RawMessage) (json.RawMessage, error) {
	ctx, cancel := untilStopping(ctx, t.stopping)
	defer cancel(nil)
	t.spoilt.Store(0)
	t.seen, t.removals, t.closed = map[itemKey]struct{}{}, map[removal]struct{}{}, map[string]bool{}
	t.state.Counts.Dropped = 0
	t.seed, t.saveNext = maphash.MakeSeed(), time.Now().Add(checkpointEvery)
	t.lanes = make([]*lane, max(1, t.source.Parallel()))
	var running sync.WaitGroup
	for i := range t.lanes {
		l := &lane{transfer: t, changes: make(chan backup.Item, laneQueue), outcomes: map[itemKey]outcome{}}
		t.lanes[i] = l
		running.Go(func() { l.run(ctx, cancel) })
	}
	next, err := t.source.Changes(ctx, cursor, func(c backup.Change) error { return t.take(ctx, c) })
	if err == nil && len(cursor) > 0 {
		err = t.takeMissing(ctx)
	}
	for _, l := range t.lanes {
		close(l.changes)
	}
	running.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what stopped a lane, rather than the feed's view of it
	}
	return next, err
}

// take accepts one change from the feed.
func (t *transfer) take(ctx context.Context, c backup.Change) error {
	if time.Now().After(t.saveNext) {
		t.inFlight.Wait()
		if err := t.checkpoint(ctx); err != nil {
			return err
		}
	}
	t.seen[keyOf(c.Item.ID)] = struct{}{}
	departure := removal{c.Item.ID, c.Item.Parent}
	if c.Removed {
		// Whether the item is gone or has moved shows only when the round is complete.
		t.removals[departure] = struct{}{}
		return nil
	}
	delete(t.removals, departure)
	delete(t.removals, removal{c.Item.ID, ""}) // removed from everywhere, and there again
	t.inFlight.Add(1)
	select {
	case t.lanes[maphash.String(t.seed, c.Item.ID)%uint64(len(t.lanes))].changes <- c.Item:
		return nil
	case <-ctx.Done():
		t.inFlight.Done()
		return context.Cause(ctx)
	}
}

// takeMissing asks again for what could not be had in earlier runs: the service tells of changes, and that a lock was lifted or a fault
// mended is none. It costs a look at every item that is kept, and only while something is missing.
func (t *transfer) takeMissing(ctx context.Context) error {
	if t.state.Missing == 0 {
		return nil
	}
	return t.writer.Each(ctx, func(i backup.Item) error {
		if _, listed := t.seen[keyOf(i.ID)]; listed || !missing(i) {
			return nil
		}
		i.Skip = ""
		return t.take(ctx, backup.Change{Item: i})
	})
}

// missing tells whether an item's content was asked for and could not be had. Of what an adapter knows beforehand to have none, nothing is
// said about the content.
func missing(i backup.Item) bool {
	return i.Skip != "" && i.Kind != backup.Folder && (i.Version != "" || i.Hash != "" || i.Size >= 0)
}

// removeDeparted settles the removal markers. An item that left a folder and is in another one now has moved.
func (t *transfer) removeDeparted(ctx context.Context) (map[itemKey]outcome, error) {
	outcomes := map[itemKey]outcome{}
	for _, l := range t.lanes {
		for k, o := range l.outcomes {
			outcomes[k] = o
		}
	}
	for r := range t.removals {
		item, known, err := t.writer.Lookup(ctx, r.id)
		if err != nil {
			return nil, err
		}
		if known && r.parent != "" && item.Parent != r.parent {
			if _, listed := outcomes[keyOf(r.id)]; !listed {
				outcomes[keyOf(r.id)] = outcome{unchanged: true}
			}
			continue
		}
		if known {
			if item.Kind == backup.Folder {
				t.closed[r.id] = true
			}
			if err := t.writer.Remove(ctx, r.id); err != nil {
				return nil, err
			}
		}
		outcomes[keyOf(r.id)] = outcome{gone: true}
	}
	return outcomes, nil
}

// dropOrphans removes what was below a removed folder: a service tells of the folder and not of every item in it. An item that left in time
// for another folder was listed there.
func (t *transfer) dropOrphans(ctx context.Context, outcomes map[itemKey]outcome) error {
	if len(t.closed) == 0 {
		return nil
	}
	parents := map[string]string{}
	err := t.writer.Each(ctx, func(i backup.Item) error {
		if i.Kind == backup.Folder {
			parents[i.ID] = i.Parent
		}
		return nil
	})
	if err != nil {
		return err
	}
	return t.drop(ctx, outcomes, func(i backup.Item) bool {
		// A damaged snapshot may hold folders in a circle: no more steps than there are folders.
		for at, steps := i.Parent, 0; at != "" && steps <= len(parents); at, steps = parents[at], steps+1 {
			if t.closed[at] {
				return true
			}
		}
		return false
	})
}

// drop removes the items that unwanted tells of. One that was listed in this round counts as gone, the others as dropped.
func (t *transfer) drop(ctx context.Context, outcomes map[itemKey]outcome, unwanted func(backup.Item) bool) error {
	var ids []string
	err := t.writer.Each(ctx, func(i backup.Item) error {
		if unwanted(i) {
			ids = append(ids, i.ID)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := t.writer.Remove(ctx, id); err != nil {
			return err
		}
		if _, listed := t.seen[keyOf(id)]; listed {
			outcomes[keyOf(id)] = outcome{gone: true}
		} else {
			t.state.Counts.Dropped++
		}
	}
	return nil
}

// dropUnlisted removes what a complete listing no longer shows.
func (t *transfer) dropUnlisted(ctx context.Context, outcomes map[itemKey]outcome) error {
	return t.drop(ctx, outcomes, func(i backup.Item) bool {
		_, listed := t.seen[keyOf(i.ID)]
		return !listed
	})
}

// count sums up how the listed items ended.
func (t *transfer) count(outcomes map[itemKey]outcome) {
	c := backup.Counts{Resyncs: t.state.Counts.Resyncs, Dropped: t.state.Counts.Dropped, Listed: int64(len(t.seen)), APICalls: t.source.Calls()}
	t.state.Skips, t.state.Missing = nil, 0
	for _, o := range outcomes {
		if o.missing {
			t.state.Missing++
		}
		switch {
		case o.gone:
			c.Gone++
		case o.skip != "":
			c.Skipped++
			if t.state.Skips == nil {
				t.state.Skips = map[backup.SkipReason]int64{}
			}
			t.state.Skips[o.skip]++
		case o.unchanged:
			c.Unchanged++
		case o.stored:
			c.Stored++
		}
	}
	for _, l := range t.lanes {
		c.Bytes += l.bytes
	}
	t.state.Counts = c
}

// checkpoint saves what was fetched so far, so that a crash does not fetch it again.
func (t *transfer) checkpoint(ctx context.Context) error {
	began := time.Now()
	err := t.writer.Checkpoint(ctx, t.state)
	t.saveNext = time.Now().Add(max(checkpointEvery, 10*time.Since(began)))
	return err
}

// keepProgress saves what was fetched before err, unless err says that nothing can be saved.
func (t *transfer) keepProgress(ctx context.Context, err error) error {
	if ctx.Err() != nil || shared(backup.AsError(err).Code) || backup.HasCode(err, backup.CodeCursorExpired) {
		return err
	}
	return errors.Join(err, t.checkpoint(ctx))
}
