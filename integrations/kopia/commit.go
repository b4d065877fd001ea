package kopia

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Checkpoint makes what was put so far survive a crash: as an incomplete snapshot, which a later one replaces.
func (w *Writer) Checkpoint(ctx context.Context, state backup.SnapshotState) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	state.Complete = false
	_, err := w.save(ctx, state)
	return err
}

// Commit sets state.Counts.Items, proves that the snapshot holds as many items as were put and not removed, and makes it durable.
// Checkpoints of the same service are of no more use then and go away with it.
func (w *Writer) Commit(ctx context.Context, state backup.SnapshotState) (backup.SnapshotInfo, error) {
	w.flusher.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	state.Complete = true
	info, err := w.save(ctx, state)
	w.done = w.done || err == nil
	return info, err
}

// save writes tree, state and manifest and flushes. The caller holds mu.
func (w *Writer) save(ctx context.Context, state backup.SnapshotState) (info backup.SnapshotInfo, err error) {
	if err := errors.Join(w.usable(ctx), w.checkState(state)); err != nil {
		return info, err
	}
	if err := w.storeTree(ctx); err != nil {
		return info, err
	}
	if expected := w.items.Load(); w.stored != expected {
		return info, &backup.Error{Code: backup.CodeCountsMismatch, Fault: backup.FaultOurs,
			Message: fmt.Sprintf("the snapshot holds %d items where %d were put and not removed", w.stored, expected),
			Hint:    "the snapshot was not committed; please report this with the run's number"}
	}
	state.Layout, state.Counts.Items = layoutVersion, w.stored
	if state.Taken.IsZero() {
		state.Taken = time.Now().UTC()
	}
	m, err := w.manifest(ctx, state)
	if err != nil {
		return info, err
	}
	// From here on a failure may leave a manifest that a later flush would publish: the writer is of no more use.
	w.done = true
	if err := w.publish(ctx, m); err != nil {
		return info, err
	}
	w.done = false
	return backup.SnapshotInfo{ID: string(m.ID), Account: state.Account, Service: state.Service, State: state}, nil
}

// checkState refuses a state of another tenant, or of another service than the base's.
func (w *Writer) checkState(s backup.SnapshotState) error {
	switch {
	case s.Tenant != w.repository.tenant:
		return misused("a snapshot of tenant %q does not belong into the repository of %q", s.Tenant, w.repository.tenant)
	case s.Account == "" || s.App == "" || s.Service == "":
		return misused("a snapshot needs an account, an app and a service")
	case w.base != nil && sourceOf(s.Tenant, s.Account, s.App, s.Service) != w.base.source:
		return misused("a snapshot of %s/%s is not based on one of %s", s.Account, s.Service, w.base.source.Path)
	}
	return nil
}

// manifest writes the root directory and describes the snapshot.
func (w *Writer) manifest(ctx context.Context, s backup.SnapshotState) (*snapshot.Manifest, error) {
	state, err := storeJSON(ctx, w.kopia, stateName, s)
	if err != nil {
		return nil, err
	}
	tree, err := storeJSON(ctx, w.kopia, layoutName, layout{Layout: layoutVersion, Level: w.level, Items: w.stored})
	if err != nil {
		return nil, err
	}
	root, err := storeDirectory(ctx, w.kopia, "", []*snapshot.DirEntry{state, tree, w.root.entry})
	if err != nil {
		return nil, err
	}
	m := &snapshot.Manifest{
		Source:      sourceOf(s.Tenant, s.Account, s.App, s.Service),
		Description: fmt.Sprintf("%s of account %s in %s: %d items", s.Service, s.Account, s.App, w.stored),
		StartTime:   fs.UTCTimestampFromTime(w.started), EndTime: fs.UTCTimestampFromTime(time.Now()),
		RootEntry: root,
		Stats: snapshot.Stats{TotalFileSize: root.DirSummary.TotalFileSize, TotalFileCount: int32(root.DirSummary.TotalFileCount),
			TotalDirectoryCount: int32(root.DirSummary.TotalDirCount)},
		Tags: map[string]string{kindTag: kindComplete, rootTag: root.ObjectID.String()},
	}
	if s.RunID != "" {
		m.Tags[runTag] = s.RunID
	}
	if !s.Complete {
		m.Tags[kindTag], m.IncompleteReason = kindCheckpoint, "checkpoint"
	}
	return m, nil
}

// publish makes the manifest durable and takes the checkpoints before it away, both in one step.
func (w *Writer) publish(ctx context.Context, m *snapshot.Manifest) error {
	write := func() error { return w.writeManifest(ctx, m) }
	if w.checkpoints {
		write = func() error {
			return w.repository.alone(ctx, w.kopia, func() error { return w.replaceCheckpoints(ctx, m) })
		}
	}
	if err := write(); err != nil {
		return err
	}
	w.checkpoints = w.checkpoints || m.IncompleteReason != ""
	w.repository.committed(headOf(m))
	return nil
}

func (w *Writer) writeManifest(ctx context.Context, m *snapshot.Manifest) error {
	if _, err := snapshot.SaveSnapshot(ctx, w.kopia, m); err != nil {
		return classify(err, "writing a snapshot's manifest")
	}
	return classify(w.kopia.Flush(ctx), "committing a snapshot")
}

// replaceCheckpoints removes first, because nothing of it is written before the flush that writes the manifest, too.
func (w *Writer) replaceCheckpoints(ctx context.Context, m *snapshot.Manifest) error {
	earlier, err := w.repository.manifests(ctx, w.kopia, map[string]string{
		snapshot.UsernameLabel: m.Source.UserName, snapshot.HostnameLabel: m.Source.Host, snapshot.PathLabel: m.Source.Path, kindTag: kindCheckpoint})
	if err != nil {
		return err
	}
	for _, e := range earlier {
		if err := w.kopia.DeleteManifest(ctx, e.ID); err != nil {
			return classify(err, "removing a checkpoint")
		}
	}
	return w.writeManifest(ctx, m)
}
