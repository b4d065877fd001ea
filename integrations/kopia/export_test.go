package kopia

import "github.com/kopia/kopia/repo"

// Kopia gives tests the repository underneath.
func (r *Repository) Kopia() repo.Repository { return r.kopia }

// SmallBuckets makes the tree grow and spill early.
func (r *Repository) SmallBuckets(items int, pendingBytes int64) {
	r.bucketItems, r.pendingBytes = items, pendingBytes
}

// AlwaysLook makes Latest see at once what others commit.
func (r *Repository) AlwaysLook() { r.headsAge = 0 }

// Level is the level of the tree as it is now.
func (w *Writer) Level() int { return w.level }

// Miscount makes the writer expect one item more than it was given.
func (w *Writer) Miscount() { w.items.Add(1) }
