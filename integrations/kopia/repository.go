package kopia

import (
	"context"
	"errors"
	"regexp"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// snapshotID is the form of kopia's manifest ids.
var snapshotID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Latest returns the newest snapshot of a service of an account, checkpoints included, or nil when there is none. What other
// processes committed before the call is seen.
func (r *Repository) Latest(ctx context.Context, account string, app backup.App, service backup.Service) (*backup.SnapshotInfo, error) {
	if err := r.refresh(ctx); err != nil {
		return nil, err
	}
	source := sourceOf(r.tenant, account, app, service)
	found, err := r.manifests(ctx, r.kopia, source)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return r.Find(ctx, string(found[len(found)-1].ID))
}

// Find returns a snapshot by id; CodeNotFound when there is none.
func (r *Repository) Find(ctx context.Context, id string) (*backup.SnapshotInfo, error) {
	m, err := r.load(ctx, id)
	if err != nil {
		return nil, err
	}
	root, err := openTree(ctx, r.kopia, m)
	if err != nil {
		return nil, err
	}
	return &backup.SnapshotInfo{ID: id, Account: root.state.Account, Service: root.state.Service, State: root.state}, nil
}

// load reads a snapshot's manifest; one that is not known yet may be another process's.
func (r *Repository) load(ctx context.Context, id string) (*snapshot.Manifest, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	if !snapshotID.MatchString(id) {
		return nil, noSnapshot(id)
	}
	m, err := snapshot.LoadSnapshot(ctx, r.kopia, manifest.ID(id))
	if errors.Is(err, snapshot.ErrSnapshotNotFound) {
		if err := r.refresh(ctx); err != nil {
			return nil, err
		}
		m, err = snapshot.LoadSnapshot(ctx, r.kopia, manifest.ID(id))
	}
	if errors.Is(err, snapshot.ErrSnapshotNotFound) {
		return nil, noSnapshot(id)
	}
	if err != nil {
		return nil, classify(err, "looking for a snapshot")
	}
	if m.Source.UserName != sourceUser || m.Source.Host != r.tenant || m.RootEntry == nil {
		return nil, noSnapshot(id)
	}
	return m, nil
}

func noSnapshot(id string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer,
		Message: "there is no snapshot " + id, Hint: "holdfast backup show lists the snapshots of a run"}
}

func (r *Repository) refresh(ctx context.Context) error {
	if err := r.usable(); err != nil {
		return err
	}
	return classify(r.kopia.Refresh(ctx), "looking for new snapshots")
}

// manifests lists the manifests of a source, the oldest first.
func (r *Repository) manifests(ctx context.Context, in repo.Repository, source snapshot.SourceInfo) ([]*manifest.EntryMetadata, error) {
	found, err := in.FindManifests(ctx, map[string]string{
		manifest.TypeLabelKey: snapshot.ManifestType, snapshot.UsernameLabel: source.UserName,
		snapshot.HostnameLabel: source.Host, snapshot.PathLabel: source.Path,
	})
	return found, classify(err, "looking for snapshots")
}

// Write begins a snapshot on top of base (nil: empty). The writer holds on to ctx: when it ends, the writer is of no more use.
func (r *Repository) Write(ctx context.Context, base *backup.SnapshotInfo) (*Writer, error) {
	var m *snapshot.Manifest
	var err error
	if base == nil {
		err = r.usable()
	} else {
		m, err = r.load(ctx, base.ID)
	}
	if err != nil {
		return nil, err
	}
	return newWriter(ctx, r, m)
}

// Read opens a snapshot.
func (r *Repository) Read(ctx context.Context, s *backup.SnapshotInfo) (*Reader, error) {
	m, err := r.load(ctx, s.ID)
	if err != nil {
		return nil, err
	}
	return newReader(ctx, r.kopia, m)
}
