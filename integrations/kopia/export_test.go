package kopia

import (
	"time"

	"github.com/kopia/kopia/repo"
)

// AgeFormat makes sessions read the repository's format again after d.
func (o *Options) AgeFormat(d time.Duration) { o.formatAge = d }

// AfterStep calls fn after every step of a re-wrapping that changes the disk.
func AfterStep(fn func(step string)) { afterStep = fn }

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
