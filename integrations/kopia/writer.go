package kopia

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxPendingMeta is how many bytes of metadata a writer holds before it writes them into the tree.
const maxPendingMeta = 64 << 20

var errNotInSnapshot error = &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultOurs, Message: "the item is not in the snapshot"}

// Writer is a snapshot in the making. Its methods may be called concurrently, Checkpoint, Commit and Close excepted.
//
// In memory are some 600 bytes for each item of the buckets that were touched, and the metadata of what was put since the last
// write, up to a limit; contents only pass through. After Commit, and after a Checkpoint or Commit that failed, only Close is of use.
type Writer struct {
	repository *Repository
	kopia      repo.RepositoryWriter
	base       *head
	started    time.Time

	// mu is held for reading by whoever uses the tree, and for writing by who stores or grows it.
	mu    sync.RWMutex
	root  *branch
	level int
	// stored is how many records there are in the tree as it is stored, by count of the lines.
	stored      int64
	checkpoints bool // this writer or the base left one
	done        bool

	// items is how many items there should be: those of the base, and what was put and not removed.
	items atomic.Int64
	// pending is how many bytes of metadata are in memory only.
	pending atomic.Int64
	flusher *flusher
}

func newWriter(ctx context.Context, r *Repository, base *head) (*Writer, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	w := &Writer{repository: r, base: base, started: time.Now(), root: newBranch(nil, 0, 0)}
	if base != nil {
		t, err := openTree(ctx, r.kopia, *base)
		if err != nil {
			return nil, err
		}
		w.level, w.stored = t.layout.Level, t.layout.Items
		w.root = newBranch(t.items, 0, w.level)
		w.items.Store(t.layout.Items)
		w.checkpoints = base.checkpoint
	}
	_, session, err := r.kopia.NewWriter(ctx, repo.WriteSessionOptions{Purpose: "backup"})
	if err != nil {
		return nil, classify(err, "beginning a snapshot")
	}
	w.kopia = session
	w.flusher = startFlusher(ctx, r.flushEvery, w.flush)
	return w, nil
}

// Lookup returns the item as the snapshot has it now, without its Meta.
func (w *Writer) Lookup(ctx context.Context, id string) (item backup.Item, known bool, err error) {
	key := keyOf(id)
	err = w.use(ctx, func() error {
		b, err := w.root.find(ctx, w.kopia, key, w.level, false)
		if err != nil || b == nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.load(ctx, w.kopia); err != nil {
			return err
		}
		if rec := b.records[key]; rec != nil {
			item, known = rec.item, true
			item.Meta = nil
		}
		return nil
	})
	return item, known, err
}

// Put stores an item with its content, streaming, and returns the content's size in bytes; content is nil for an item without any.
// When it fails the item is as before, and an error of content is returned as it is.
func (w *Writer) Put(ctx context.Context, item backup.Item, from io.Reader) (int64, error) {
	if err := checkItem(item); err != nil {
		return 0, err
	}
	var stored *body
	if from != nil {
		if err := w.use(ctx, func() error { return nil }); err != nil {
			return 0, err
		}
		id, size, err := storeContent(ctx, w.kopia, from)
		if err != nil {
			return size, err
		}
		stored = &body{id, size}
		w.flusher.wrote()
	}
	err := w.change(ctx, item, func(b *bucket, key itemKey) error {
		if b.records[key] == nil {
			w.items.Add(1)
		}
		b.records[key] = &record{item: item, body: stored}
		return nil
	})
	if stored == nil || err != nil {
		return 0, err
	}
	return stored.size, nil
}

// PutMeta replaces what is known of an item and keeps its content. CodeNotFound when the item is not in the snapshot.
func (w *Writer) PutMeta(ctx context.Context, item backup.Item) error {
	if err := checkItem(item); err != nil {
		return err
	}
	if _, known, err := w.Lookup(ctx, item.ID); err != nil || !known {
		return cmp.Or(err, errNotInSnapshot)
	}
	return w.change(ctx, item, func(b *bucket, key itemKey) error {
		rec := b.records[key]
		if rec == nil {
			return errNotInSnapshot
		}
		b.records[key] = &record{item: item, body: rec.body}
		return nil
	})
}

// Remove takes the item out of this snapshot; earlier ones keep it. An item that is not there is removed already.
func (w *Writer) Remove(ctx context.Context, id string) error {
	if _, known, err := w.Lookup(ctx, id); err != nil || !known {
		return err
	}
	return w.change(ctx, backup.Item{ID: id}, func(b *bucket, key itemKey) error {
		if b.records[key] != nil {
			delete(b.records, key)
			w.items.Add(-1)
		}
		return nil
	})
}

// Each calls fn for every item, whole, in the order of the ids' hashes. fn may change the snapshot; whether changes to items that
// Each has not come to yet are seen is not said.
func (w *Writer) Each(ctx context.Context, fn func(backup.Item) error) error {
	prefix, level := 0, 0
	for prefix < 1<<(4*level) {
		var items []backup.Item
		err := w.use(ctx, func() (err error) {
			prefix <<= 4 * (w.level - level) // the tree may have grown meanwhile
			level = w.level
			items, err = w.bucketItems(ctx, prefix)
			return err
		})
		if err != nil {
			return err
		}
		for _, i := range items {
			if err := fn(i); err != nil {
				return err
			}
		}
		prefix++
	}
	return nil
}

// bucketItems gives the items of the bucket whose name is prefix, a number of as many hex digits as the level.
func (w *Writer) bucketItems(ctx context.Context, prefix int) ([]backup.Item, error) {
	var key itemKey
	aligned := prefix << (4 * (4 - w.level))
	key[0], key[1] = byte(aligned>>8), byte(aligned)
	b, err := w.root.find(ctx, w.kopia, key, w.level, false)
	if err != nil || b == nil {
		return nil, err
	}
	return b.items(ctx, w.kopia)
}

// use runs fn on a tree that stays as it is, unless the writer is done.
func (w *Writer) use(ctx context.Context, fn func() error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if err := w.usable(ctx); err != nil {
		return err
	}
	return fn()
}

func (w *Writer) usable(ctx context.Context) error {
	if w.done {
		return misused("the snapshot's writer is closed")
	}
	return errors.Join(ctx.Err(), w.repository.usable())
}

// change runs fn on the bucket of an item. When too much metadata waits in memory it is written first.
func (w *Writer) change(ctx context.Context, item backup.Item, fn func(*bucket, itemKey) error) error {
	if w.pending.Load() > w.repository.pendingBytes {
		if err := w.spill(ctx); err != nil {
			return err
		}
	}
	key := keyOf(item.ID)
	return w.use(ctx, func() error {
		b, err := w.root.find(ctx, w.kopia, key, w.level, true)
		if err != nil {
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if err := b.load(ctx, w.kopia); err != nil {
			return err
		}
		w.pending.Add(int64(len(item.Meta) + len(item.Name) + len(item.ID)))
		return fn(b, key)
	})
}

func (w *Writer) spill(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(ctx); err != nil || w.pending.Load() <= w.repository.pendingBytes {
		return err
	}
	w.flusher.wrote()
	return w.storeTree(ctx)
}

// storeTree writes the buckets that changed, after the tree has grown if it has to. The caller holds mu.
func (w *Writer) storeTree(ctx context.Context) error {
	if level := levelFor(w.items.Load(), w.level, w.repository.bucketItems); level > w.level {
		root, written, err := w.root.grown(ctx, w.kopia, 0, w.level, level)
		if err != nil {
			return err
		}
		w.root, w.level, w.stored = root, level, written
	}
	grown, err := w.root.write(ctx, w.kopia, itemsName, true)
	w.stored += grown
	if err == nil {
		w.pending.Store(0)
	}
	return err
}

// flush makes kopia write what it holds. Its error is left to the next write or commit, which meet the same trouble and have somebody
// to tell.
func (w *Writer) flush(ctx context.Context) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.usable(ctx) == nil {
		_ = w.kopia.Flush(ctx)
	}
}

// Close gives up what was not committed. It may be called more than once.
func (w *Writer) Close(ctx context.Context) error {
	w.flusher.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.kopia == nil {
		return nil
	}
	err := w.kopia.Close(ctx)
	w.kopia = nil
	return classify(err, "closing a snapshot's writer")
}
