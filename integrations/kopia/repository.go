package kopia

import (
	"context"
	"errors"
	"maps"
	"regexp"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// snapshotID is the form of kopia's manifest ids.
var snapshotID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Latest returns the newest snapshot of a service of an account, checkpoints included, or nil when there is none. It sees what this
// process committed, and what others did up to some seconds ago; the first call after OpenRepository sees everything.
func (r *Repository) Latest(ctx context.Context, account string, app backup.App, service backup.Service) (*backup.SnapshotInfo, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	h, known, err := r.newestOf(ctx, sourceOf(r.tenant, account, app, service))
	if err != nil || !known {
		return nil, err
	}
	return r.describe(ctx, h)
}

// Find returns a snapshot by id; CodeNotFound when there is none.
func (r *Repository) Find(ctx context.Context, id string) (*backup.SnapshotInfo, error) {
	h, err := r.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.describe(ctx, h)
}

func (r *Repository) describe(ctx context.Context, h head) (*backup.SnapshotInfo, error) {
	t, err := openTree(ctx, r.kopia, h)
	if err != nil {
		return nil, err
	}
	return &backup.SnapshotInfo{ID: string(h.id), Account: t.state.Account, Service: t.state.Service, State: t.state}, nil
}

// known finds the head of a snapshot that was told of before.
func (r *Repository) known(ctx context.Context, s *backup.SnapshotInfo) (head, error) {
	source := sourceOf(r.tenant, s.State.Account, s.State.App, s.State.Service)
	if h, ok := r.remembered(source, manifest.ID(s.ID)); ok {
		return h, r.usable()
	}
	return r.find(ctx, s.ID)
}

// find reads a snapshot's manifest. One that is not known yet may be another process's.
func (r *Repository) find(ctx context.Context, id string) (head, error) {
	if err := r.usable(); err != nil {
		return head{}, err
	}
	if !snapshotID.MatchString(id) {
		return head{}, noSnapshot(id)
	}
	var m *snapshot.Manifest
	err := r.alone(ctx, r.kopia, func() (err error) {
		m, err = snapshot.LoadSnapshot(ctx, r.kopia, manifest.ID(id))
		return err
	})
	if errors.Is(err, snapshot.ErrSnapshotNotFound) {
		return head{}, noSnapshot(id)
	}
	if err != nil {
		return head{}, classify(err, "looking for a snapshot")
	}
	if m.Source.UserName != sourceUser || m.Source.Host != r.tenant || m.RootEntry == nil {
		return head{}, noSnapshot(id)
	}
	return headOf(m), nil
}

func noSnapshot(id string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer,
		Message: "there is no snapshot " + id, Hint: "holdfast backup show lists the snapshots of a run"}
}

// alone does what lists manifests, and may remove some, while nobody else on this machine does, and after a look at what others wrote.
// kopia rewrites manifests when it lists many small ones, and of two that do so at once one may bring back what the other has removed.
func (r *Repository) alone(ctx context.Context, in repo.Repository, list func() error) error {
	if !r.readOnly {
		unlock, err := lockFolder(ctx, r.folder)
		if err != nil {
			return classify(err, "waiting for its turn")
		}
		defer unlock()
	}
	if err := in.Refresh(ctx); err != nil {
		return classify(err, "looking for new snapshots")
	}
	return list()
}

// manifests lists the snapshot manifests with some labels, the oldest first.
func (r *Repository) manifests(ctx context.Context, in repo.Repository, labels map[string]string) ([]*manifest.EntryMetadata, error) {
	labels = maps.Clone(labels)
	labels[manifest.TypeLabelKey] = snapshot.ManifestType
	found, err := in.FindManifests(ctx, labels)
	return found, classify(err, "looking for snapshots")
}

// Write begins a snapshot on top of base (nil: empty). The writer holds on to ctx: when it ends, the writer is of no more use.
func (r *Repository) Write(ctx context.Context, base *backup.SnapshotInfo) (*Writer, error) {
	if base == nil {
		return newWriter(ctx, r, nil)
	}
	h, err := r.known(ctx, base)
	if err != nil {
		return nil, err
	}
	return newWriter(ctx, r, &h)
}

// Read opens a snapshot.
func (r *Repository) Read(ctx context.Context, s *backup.SnapshotInfo) (*Reader, error) {
	h, err := r.known(ctx, s)
	if err != nil {
		return nil, err
	}
	return newReader(ctx, r.kopia, h)
}
