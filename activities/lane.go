package activities

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// outcome is how one listed item ended; the last one of an item counts.
type outcome struct {
	stored, unchanged, gone bool
	skip                    backup.SkipReason
	missing                 bool // skipped after it was asked for: to be asked for again
}

// lane works on the items whose ids fall to it, one after the other.
type lane struct {
	transfer *transfer
	changes  chan backup.Item
	outcomes map[itemKey]outcome
	bytes    int64
}

// run empties the lane. A failure stops the whole transfer; what still comes is let through unworked, so that nobody waits.
func (l *lane) run(ctx context.Context, stop context.CancelCauseFunc) {
	for item := range l.changes {
		if ctx.Err() == nil {
			if o, err := l.settle(ctx, item); err != nil {
				stop(err)
			} else {
				l.outcomes[keyOf(item.ID)] = o
			}
		}
		l.transfer.inFlight.Done()
	}
}

// settle brings the snapshot to the item's listed state.
func (l *lane) settle(ctx context.Context, item backup.Item) (outcome, error) {
	w := l.transfer.writer
	known, ok, err := w.Lookup(ctx, item.ID)
	if err != nil {
		return outcome{}, err
	}
	if ok && sameContent(known, item) {
		if item.Version == "" {
			item.Version = known.Version
		}
		if sameRecord(known, item) {
			return unchangedOrSkipped(known), nil
		}
		item.Size = known.Size
		return outcome{stored: item.Skip == "", skip: item.Skip}, w.PutMeta(ctx, item)
	}
	if !item.HasContent() {
		_, err := w.Put(ctx, item, nil)
		return outcome{stored: item.Skip == "", skip: item.Skip}, err
	}
	return l.fetch(ctx, item)
}

// fetch stores the item with its content, trying again when the body breaks off.
func (l *lane) fetch(ctx context.Context, item backup.Item) (outcome, error) {
	var err error
	for attempt := range itemAttempts {
		if attempt > 0 {
			if err := sleep(ctx, time.Duration(attempt)*500*time.Millisecond); err != nil {
				return outcome{}, err
			}
		}
		var n int64
		if n, err = l.store(ctx, item); err == nil {
			l.bytes += n
			return outcome{stored: true}, nil
		}
		if e := backup.AsError(err); e.Code != backup.CodeBadResponse {
			break
		}
	}
	return l.settleRefusal(ctx, item, err)
}

// store streams one item into the snapshot.
func (l *lane) store(ctx context.Context, item backup.Item) (int64, error) {
	item, body, err := l.transfer.source.Open(ctx, item)
	if err != nil {
		return 0, err
	}
	n, err := l.transfer.writer.Put(ctx, item, body)
	return n, errors.Join(err, body.Close())
}

// settleRefusal tells an outcome (cannot be had, is gone) from a failure.
func (l *lane) settleRefusal(ctx context.Context, item backup.Item, err error) (outcome, error) {
	var skip *backup.SkipError
	switch {
	case errors.As(err, &skip):
		item.Skip = skip.Reason
		return l.leaveOut(ctx, item)
	case backup.HasCode(err, backup.CodeNotFound):
		return outcome{gone: true}, l.transfer.writer.Remove(ctx, item.ID)
	case l.spoils(err):
		item.Skip = backup.SkipCorrupt
		return l.leaveOut(ctx, item)
	}
	return outcome{}, err
}

// spoils tells whether one item would keep all others from ever being in a complete snapshot: the service has nothing but faults to give for
// it. It is left out then, is in the report, and is asked for again by the next run.
func (l *lane) spoils(err error) bool {
	e := backup.AsError(err)
	return e.Code == backup.CodeBadResponse && (l.transfer.lastTry || !e.Retryable) && l.transfer.spoilt.Add(1) <= mostSpoilt
}

// leaveOut records an item without its content, unless it is recorded so already.
func (l *lane) leaveOut(ctx context.Context, item backup.Item) (outcome, error) {
	left := outcome{skip: item.Skip, missing: missing(item)}
	known, ok, err := l.transfer.writer.Lookup(ctx, item.ID)
	if err != nil || ok && sameContent(known, item) && sameRecord(known, item) {
		return left, err
	}
	_, err = l.transfer.writer.Put(ctx, item, nil)
	return left, err
}

// sameContent tells whether the stored bytes are those of the listed version. An item that was skipped is never the same as one that is
// listed as any other, unless the adapter knows beforehand that it cannot be had.
//
// OneDrive for Business leaves the version out of its change feed (https://learn.microsoft.com/graph/api/driveitem-delta, remarks): there the
// hash and the size tell. What states neither version nor hash is fetched.
func sameContent(known, listed backup.Item) bool {
	if known.Kind != listed.Kind || known.Hash != listed.Hash || known.Skip != listed.Skip {
		return false
	}
	if listed.Version == "" && listed.HasContent() {
		return listed.Hash != "" && known.Size == listed.Size
	}
	return known.Version == listed.Version
}

// sameRecord tells whether everything else kept of the item is the same, too.
func sameRecord(known, listed backup.Item) bool {
	return known.MetaVersion == listed.MetaVersion && known.Parent == listed.Parent && known.Name == listed.Name && known.Modified.Equal(listed.Modified)
}

func unchangedOrSkipped(known backup.Item) outcome {
	if known.Skip != "" {
		return outcome{skip: known.Skip}
	}
	return outcome{unchanged: true}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
