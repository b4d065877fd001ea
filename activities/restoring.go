package activities

import (
	"context"
	"errors"
	"sync"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Restoring brings snapshots back.
type Restoring struct {
	Tenants      Tenants
	People       People
	Keys         Keys
	Repositories Repositories
	Destinations Destinations
}

// RestoreSnapshot writes one snapshot into a folder. It may run again: what stands there already with the same bytes is kept.
func (a *Restoring) RestoreSnapshot(ctx context.Context, in RestoreInput) (RestoreResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return RestoreResult{}, fail(err)
	}
	account, err := a.People.FindAccount(ctx, in.Tenant, in.Account)
	if err != nil {
		return RestoreResult{}, fail(err)
	}
	destination, err := a.Destinations.OpenFolder(ctx, in.To)
	if err != nil {
		return RestoreResult{}, fail(err)
	}
	r := restore{destination: destination, paths: backup.NewRestorePath()}
	defer beat(ctx, func() any { return r.now() })()
	repository, err := openRepository(ctx, a.Keys, a.Repositories, t, backup.PurposeRestore)
	if err != nil {
		return RestoreResult{}, fail(err)
	}
	defer repository.Close(context.WithoutCancel(ctx))
	snapshot, err := choose(ctx, repository, account, in)
	if err != nil {
		return RestoreResult{}, fail(err)
	}
	if r.reader, err = repository.Read(ctx, snapshot); err != nil {
		return RestoreResult{}, fail(err)
	}
	working, end := untilStopping(ctx, activity.GetWorkerStopChannel(ctx))
	defer end(nil)
	if err = r.run(working); err != nil && context.Cause(working) == errStopping {
		err = errStopping
	}
	return RestoreResult{Snapshot: snapshot.ID, Counts: r.now()}, fail(err)
}

// choose finds the snapshot that was asked for: by id, or the account's newest.
func choose(ctx context.Context, r Repository, account backup.Account, in RestoreInput) (*backup.SnapshotInfo, error) {
	if in.Snapshot != "" {
		s, err := r.Find(ctx, in.Snapshot)
		if err != nil {
			return nil, err
		}
		if s.Account != account.ID || s.Service != in.Service {
			return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer,
				Message: "the snapshot " + in.Snapshot + " is not of the " + string(in.Service) + " of " + account.Mail, Hint: "holdfast backup show RUN lists the snapshots of every account"}
		}
		return s, nil
	}
	s, err := r.Latest(ctx, account.ID, in.App, in.Service)
	if err != nil {
		return nil, err
	}
	if s != nil && s.State.Base != "" { // a run that is under way, or failed, left a checkpoint
		return r.Find(ctx, s.State.Base)
	}
	if s == nil || !s.State.Complete {
		return nil, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer,
			Message: "there is no complete snapshot of the " + string(in.Service) + " of " + account.Mail, Hint: "holdfast backup list " + in.Tenant}
	}
	return s, nil
}

// restore is one snapshot on its way into a folder.
type restore struct {
	reader      SnapshotReader
	destination Destination
	paths       *backup.RestorePath

	mu     sync.Mutex
	counts backup.RestoreCounts
}

// run makes the folders first, because a folder's name is needed before anything in it has a path.
func (r *restore) run(ctx context.Context) error {
	err := r.reader.Each(ctx, func(i backup.Item) error {
		if i.Kind == backup.Folder {
			r.paths.AddFolder(i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.reader.Each(ctx, func(i backup.Item) error {
		switch {
		case i.Kind == backup.Folder:
			r.add(backup.RestoreCounts{Folders: 1})
			return r.destination.MakeFolder(ctx, r.paths.Path(i))
		case i.Skip != "":
			r.add(backup.RestoreCounts{Skipped: 1})
			return nil
		}
		return r.file(ctx, i)
	})
}

// file restores one item's content.
func (r *restore) file(ctx context.Context, i backup.Item) error {
	content, err := r.reader.Open(ctx, i.ID)
	if err != nil {
		return err
	}
	n, kept, err := r.destination.WriteFile(ctx, r.paths.Path(i), i.Modified, content)
	if err = errors.Join(err, content.Close()); err != nil {
		return err
	}
	done := backup.RestoreCounts{Files: 1, Bytes: n}
	if kept {
		done.Kept = 1
	}
	r.add(done)
	return nil
}

func (r *restore) add(c backup.RestoreCounts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Folders += c.Folders
	r.counts.Files += c.Files
	r.counts.Bytes += c.Bytes
	r.counts.Kept += c.Kept
	r.counts.Skipped += c.Skipped
}

func (r *restore) now() backup.RestoreCounts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts
}
