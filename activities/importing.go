package activities

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Importing reads a directory into the store, compares it with what is known and makes it the truth.
type Importing struct {
	Tenants     Tenants
	People      People
	Directories Directories
}

// ReadDirectory stages one complete listing. A retry lists from the start: paging cookies live only as long as their
// connection, and staging a page twice is the same as once.
func (a *Importing) ReadDirectory(ctx context.Context, in PassInput) (ReadResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	dir, err := a.Directories.OpenDirectory(ctx, t)
	if err != nil {
		return ReadResult{}, fail(err)
	}
	defer dir.Close()
	if err := a.People.BeginPass(ctx, in.Tenant, in.Directory, in.Pass); err != nil {
		return ReadResult{}, fail(err)
	}
	var n atomic.Int64
	stop := beat(ctx, func() any { return n.Load() })
	defer stop()
	err = dir.List(ctx, func(page []backup.DirectoryEntry) error {
		n.Add(int64(len(page)))
		return a.People.StagePage(ctx, in.Tenant, in.Directory, in.Pass, page)
	})
	return ReadResult{Entries: int(n.Load())}, fail(err)
}

// CompareListing tells the staged listing from what is known, and judges what may be done with the difference.
func (a *Importing) CompareListing(ctx context.Context, in PassInput) (CompareResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return CompareResult{}, fail(err)
	}
	counts, err := a.People.ComparePass(ctx, in.Tenant, in.Directory, in.Pass)
	if err != nil {
		return CompareResult{}, fail(err)
	}
	v, why := backup.JudgeImport(counts, t.Directory.Removals)
	return CompareResult{Counts: counts, Verdict: v, Why: why}, nil
}

// ApplyListing makes the staged listing the truth, in one transaction.
func (a *Importing) ApplyListing(ctx context.Context, in PassInput) (ApplyResult, error) {
	accounts, err := a.People.ApplyPass(ctx, in.Tenant, in.Directory, in.Pass, time.Now())
	return ApplyResult{Accounts: accounts}, fail(err)
}
