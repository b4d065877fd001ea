package kopia

import "github.com/kopia/kopia/repo"

// Kopia gives tests the repository underneath.
func (r *Repository) Kopia() repo.Repository { return r.kopia }

// SmallBuckets makes the tree grow and spill early.
func (r *Repository) SmallBuckets(items int, pendingBytes int64) {
	r.bucketItems, r.pendingBytes = items, pendingBytes
}

// Level is the level of the tree as it is now.
func (w *Writer) Level() int { return w.level }
