package workflows

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// pagesQueue is a task queue whose worker imports with the real activities.
const pagesQueue = "pages"

// book is a directory of so many pages, of a thousand people each, and a store that only counts them.
type book struct {
	activities.People
	pages, staged atomic.Int64
}

func (b *book) OpenDirectory(context.Context, backup.Tenant, backup.DirectoryConfig) (activities.Directory, error) {
	return b, nil
}

func (b *book) Probe(context.Context) (string, error) { return "", nil }
func (b *book) Close() error                          { return nil }

func (b *book) Read(_ context.Context, _ backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	for page := range b.pages.Load() {
		entries := make([]backup.DirectoryEntry, 1000)
		for i := range entries {
			entries[i].ID = fmt.Sprintf("%d/%d", page, i)
		}
		if err := yield(backup.EntryPage{Entries: entries}); err != nil {
			return backup.ReadEnd{}, err
		}
	}
	return backup.ReadEnd{Mode: backup.FullRead}, nil
}

func (b *book) BeginPass(context.Context, backup.Pass, backup.ImportStart) (backup.ReadFrom, error) {
	b.staged.Store(0)
	return backup.ReadFrom{}, nil
}

func (b *book) Stage(context.Context, backup.Pass) backup.Staging { return sheets{b} }

// sheets are the pages of a read.
type sheets struct{ *book }

func (s sheets) Page(page backup.EntryPage) error {
	s.staged.Add(int64(len(page.Entries)))
	return nil
}

func (b *book) EndRead(context.Context, backup.Pass, backup.ReadEnd) error { return nil }

func (b *book) ComparePass(context.Context, backup.Tenant, backup.Pass) (backup.ImportDifference, error) {
	n := int(b.staged.Load())
	return backup.ImportDifference{Mode: backup.FullRead, Counts: backup.ImportCounts{Listed: n, Added: n}, Digest: "d1", First: true}, nil
}

func (b *book) ApplyPass(context.Context, backup.Tenant, backup.Pass, string, string, time.Time) (backup.Accounts, error) {
	return backup.Accounts{Active: int(b.staged.Load())}, nil
}

// An import of a hundred thousand people costs the server what one of a thousand does: people and pages are no part of its history.
func TestHistoriesDoNotGrowWithTheDirectory(t *testing.T) {
	r := newRig(t, startServer(t))
	b := &book{}
	w := worker.New(r.Client, pagesQueue, worker.Options{})
	Register(w)
	w.RegisterActivity(&activities.Importing{Tenants: (*store)(r.world), People: b, Directories: b})
	w.RegisterActivity(&activities.Alerting{Alerts: (*store)(r.world), Notifier: (*store)(r.world)})
	w.RegisterActivityWithOptions(func(context.Context, activities.TenantInput) error { return nil }, activity.RegisterOptions{Name: "WakeConflicts"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)

	small := r.importOf(b, 1)
	large := r.importOf(b, 100)
	t.Logf("1 page: %d events, %d bytes; 100 pages: %d events, %d bytes", small.events, small.bytes, large.events, large.bytes)
	if large.events != small.events || large.bytes > small.bytes+200 { // numbers have more digits
		t.Errorf("the history grows: %+v, then %+v", small, large)
	}
}

type size struct{ events, bytes int64 }

func (r *rig) importOf(b *book, pages int64) size {
	r.t.Helper()
	b.pages.Store(pages)
	run := r.startOn(pagesQueue, importAcme, ImportPeopleName, scheduledInput)
	var result ImportPeopleResult
	r.await(run, &result)
	if result.Accounts.Active != int(1000*pages) {
		r.t.Errorf("imported %d people of %d pages", result.Accounts.Active, pages)
	}
	d, err := r.DescribeWorkflowExecution(r.t.Context(), run.GetID(), run.GetRunID())
	if err != nil {
		r.t.Fatal(err)
	}
	return size{d.GetWorkflowExecutionInfo().GetHistoryLength(), d.GetWorkflowExecutionInfo().GetHistorySizeBytes()}
}
