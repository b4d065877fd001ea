package kopia

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/snapshot"
)

// branch is a directory of the tree of items: sixteen branches below, or a bucket at the end. What is not touched is not read.
type branch struct {
	mu sync.Mutex
	// entry is the directory as it is stored; nil for a new one.
	entry *snapshot.DirEntry
	// bucket is set at the depth of the tree's level, and nowhere else.
	bucket *bucket
	// below is nil until it is read.
	below *[fanOut]*branch
	// changed tells that something at or below this branch differs from entry.
	changed atomic.Bool
}

// newBranch is a branch at a depth of a tree with a level.
func newBranch(entry *snapshot.DirEntry, depth, level int) *branch {
	b := &branch{entry: entry}
	if depth == level {
		b.bucket = &bucket{entry: entry}
	}
	return b
}

// load reads which branches are below, once.
func (b *branch) load(ctx context.Context, r repo.Repository, depth, level int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bucket != nil || b.below != nil {
		return nil
	}
	var below [fanOut]*branch
	if b.entry != nil {
		entries, err := loadDirectory(ctx, r, b.entry)
		if err != nil {
			return err
		}
		for d := range below {
			if e := entries[digitName(d)]; e != nil && e.Type == snapshot.EntryTypeDirectory {
				below[d] = newBranch(e, depth+1, level)
				delete(entries, e.Name)
			}
		}
		if len(entries) > 0 {
			return damaged("a directory of the tree holds what does not belong there")
		}
	}
	b.below = &below
	return nil
}

// child gives the branch at a digit; one that is not there yet is made when make is set, and nil otherwise.
func (b *branch) child(digit, depth, level int, make bool) *branch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.below[digit] == nil && make {
		b.below[digit] = newBranch(nil, depth+1, level)
	}
	return b.below[digit]
}

// find walks to the bucket of an item. When the item is going to change, missing branches are made and the way there is marked.
func (b *branch) find(ctx context.Context, r repo.Repository, key itemKey, level int, change bool) (*bucket, error) {
	for depth := 0; ; depth++ {
		if change {
			b.changed.Store(true)
		}
		if err := b.load(ctx, r, depth, level); err != nil {
			return nil, err
		}
		if b.bucket != nil {
			return b.bucket, nil
		}
		if b = b.child(key.digit(depth), depth, level, change); b == nil {
			return nil, nil
		}
	}
}

// write stores what has changed under a name and returns by how many the number of stored records grew. A branch without items has
// no directory, unless it is the top. Nobody else may use the tree meanwhile.
func (b *branch) write(ctx context.Context, w repo.RepositoryWriter, name string, top bool) (grown int64, err error) {
	if !b.changed.Load() && b.entry != nil {
		return 0, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if b.bucket != nil {
		grown, err = b.bucket.write(ctx, w, name, top)
		b.entry = b.bucket.entry
	} else {
		grown, err = b.writeBelow(ctx, w, name, top)
	}
	if err == nil {
		b.changed.Store(false)
	}
	return grown, err
}

func (b *branch) writeBelow(ctx context.Context, w repo.RepositoryWriter, name string, top bool) (grown int64, err error) {
	var entries []*snapshot.DirEntry
	for d, child := range b.below {
		if child == nil {
			continue
		}
		n, err := child.write(ctx, w, digitName(d), false)
		if grown += n; err != nil {
			return grown, err
		}
		if child.entry == nil {
			b.below[d] = nil
			continue
		}
		entries = append(entries, child.entry)
	}
	if b.entry = nil; len(entries) > 0 || top {
		b.entry, err = storeDirectory(ctx, w, name, entries)
	}
	return grown, err
}

// grown is the same tree with a higher level: every bucket is split, and the buckets that come of it are stored. Only records are
// read and written; contents stay where they are. It returns how many records it wrote, and leaves b as it is, so that nothing is
// half done when it fails. Nobody else may use the tree meanwhile.
func (b *branch) grown(ctx context.Context, w repo.RepositoryWriter, depth, from, to int) (*branch, int64, error) {
	if err := b.load(ctx, w, depth, from); err != nil {
		return nil, 0, err
	}
	if b.bucket != nil {
		whole := b.bucket
		if whole.records == nil {
			whole = &bucket{entry: whole.entry} // read for this once, and not kept
		}
		return spread(ctx, w, whole, "", depth, to)
	}
	return regrow(func(d int) (*branch, int64, error) {
		if b.below[d] == nil {
			return nil, 0, nil
		}
		return b.below[d].grown(ctx, w, depth+1, from, to)
	})
}

// spread makes a branch of a bucket.
func spread(ctx context.Context, w repo.RepositoryWriter, whole *bucket, name string, depth, to int) (*branch, int64, error) {
	if depth == to {
		n, err := whole.write(ctx, w, name, false)
		return newBranch(whole.entry, to, to), n, err
	}
	parts, err := whole.split(ctx, w, depth)
	if err != nil {
		return nil, 0, err
	}
	return regrow(func(d int) (*branch, int64, error) {
		if parts[d] == nil {
			return nil, 0, nil
		}
		defer func() { parts[d] = nil }() // what is stored leaves the memory
		return spread(ctx, w, parts[d], digitName(d), depth+1, to)
	})
}

// regrow makes a branch of the sixteen that at gives.
func regrow(at func(digit int) (*branch, int64, error)) (*branch, int64, error) {
	made := &branch{below: new([fanOut]*branch)}
	made.changed.Store(true)
	var written int64
	for d := range fanOut {
		child, n, err := at(d)
		if err != nil {
			return nil, written, err
		}
		made.below[d] = child
		written += n
	}
	return made, written, nil
}
