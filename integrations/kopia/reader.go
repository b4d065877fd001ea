package kopia

import (
	"context"
	"io"
	"sync"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// cachedEntries is how many directory entries a reader remembers, at some 300 bytes each: a restore opens items in the order of Each
// or in that of their folders, and in the latter comes back to all buckets again and again.
const cachedEntries = 100_000

// Reader reads one snapshot. Its methods may be called concurrently. In memory are one bucket's directory for each call of Each that
// is under way, a part of at most some megabytes of each content that is open, and the directories that Open remembers.
type Reader struct {
	kopia repo.Repository
	tree  tree

	mu          sync.Mutex
	directories map[object.ID]map[string]*snapshot.DirEntry
	cached      int // entries in directories
}

func newReader(ctx context.Context, r repo.Repository, h head) (*Reader, error) {
	t, err := openTree(ctx, r, h)
	if err != nil {
		return nil, err
	}
	return &Reader{kopia: r, tree: t, directories: map[object.ID]map[string]*snapshot.DirEntry{}}, nil
}

// Each calls fn for every item, whole, in the order of the ids' hashes: the same for every call. It fails when there are not as many
// items as the snapshot says.
func (r *Reader) Each(ctx context.Context, fn func(backup.Item) error) error {
	n := int64(0)
	err := r.walk(ctx, r.tree.items, 0, func(i backup.Item) error {
		n++
		return fn(i)
	})
	if err == nil && n != r.tree.layout.Items {
		return damaged("it holds %d items and says %d", n, r.tree.layout.Items)
	}
	return err
}

func (r *Reader) walk(ctx context.Context, e *snapshot.DirEntry, depth int, fn func(backup.Item) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := loadDirectory(ctx, r.kopia, e)
	if err != nil {
		return err
	}
	if depth == r.tree.layout.Level {
		return r.bucket(ctx, entries, fn)
	}
	for d := range fanOut {
		if below := entries[digitName(d)]; below != nil {
			if err := r.walk(ctx, below, depth+1, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// bucket hands out a bucket's items. An error of fn comes back as it is.
func (r *Reader) bucket(ctx context.Context, files map[string]*snapshot.DirEntry, fn func(backup.Item) error) error {
	var refused error
	err := readLines(ctx, r.kopia, files, func(_ int64, _ []byte, l line, _ itemKey) error {
		refused = fn(l.Item)
		return refused
	})
	if refused != nil {
		return refused
	}
	return err
}

// Open returns an item's content; CodeNotFound when it has none. kopia decrypts and checks every part before it is handed out:
// damage is an error here or at Read, never other bytes.
func (r *Reader) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	key := keyOf(id)
	at := r.tree.items
	for depth := 0; ; depth++ {
		entries, err := r.directory(ctx, at)
		if err != nil {
			return nil, err
		}
		name := key.fileName()
		if depth < r.tree.layout.Level {
			name = digitName(key.digit(depth))
		}
		if at = entries[name]; at == nil {
			return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultOurs, Message: "the snapshot has no content of this item"}
		}
		if depth == r.tree.layout.Level {
			return r.open(ctx, at)
		}
	}
}

func (r *Reader) open(ctx context.Context, e *snapshot.DirEntry) (io.ReadCloser, error) {
	o, err := r.kopia.OpenObject(ctx, e.ObjectID)
	if err != nil {
		return nil, classify(err, "reading an item")
	}
	if o.Length() != e.FileSize {
		o.Close()
		return nil, damaged("the content of an item has %d bytes instead of %d", o.Length(), e.FileSize)
	}
	return &itemReader{ctx, o}, nil
}

// directory reads a directory or remembers it.
func (r *Reader) directory(ctx context.Context, e *snapshot.DirEntry) (map[string]*snapshot.DirEntry, error) {
	r.mu.Lock()
	entries := r.directories[e.ObjectID]
	r.mu.Unlock()
	if entries != nil {
		return entries, nil
	}
	entries, err := loadDirectory(ctx, r.kopia, e)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.directories[e.ObjectID] == nil {
		r.remember(e.ObjectID, entries)
	}
	return entries, nil
}

// remember makes room by forgetting any directories.
func (r *Reader) remember(id object.ID, entries map[string]*snapshot.DirEntry) {
	for old, forgotten := range r.directories {
		if r.cached+len(entries) <= cachedEntries {
			break
		}
		r.cached -= len(forgotten)
		delete(r.directories, old)
	}
	r.directories[id] = entries
	r.cached += len(entries)
}

// itemReader classifies what goes wrong in the middle of a content, and ends with its context.
type itemReader struct {
	ctx context.Context
	object.Reader
}

func (r *itemReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, classify(err, "reading an item")
}
