package kopia

import (
	"context"
	"sync"
	"time"

	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
)

// headsAge is how old the list of newest snapshots may be. Reading it anew costs kopia a look at every manifest and index of the
// repository, and every part of a run asks for its newest snapshot.
const headsAge = 15 * time.Second

// head is what a snapshot's manifest says, as far as one must know it to read the snapshot.
type head struct {
	id         manifest.ID
	source     snapshot.SourceInfo
	root       object.ID
	checkpoint bool
}

func headOf(m *snapshot.Manifest) head {
	return head{id: m.ID, source: m.Source, root: m.RootObjectID(), checkpoint: m.IncompleteReason != ""}
}

// entry is the snapshot's root directory.
func (h head) entry() *snapshot.DirEntry {
	return &snapshot.DirEntry{Name: "the root directory", Type: snapshot.EntryTypeDirectory, ObjectID: h.root}
}

// labelled reads a head from its manifest's labels alone; ok is false for what is not ours.
func labelled(m *manifest.EntryMetadata) (h head, ok bool) {
	root, err := object.ParseID(m.Labels[rootTag])
	kind := m.Labels[kindTag]
	return head{
		id: m.ID, root: root, checkpoint: kind == kindCheckpoint,
		source: snapshot.SourceInfo{UserName: m.Labels[snapshot.UsernameLabel], Host: m.Labels[snapshot.HostnameLabel], Path: m.Labels[snapshot.PathLabel]},
	}, err == nil && (kind == kindCheckpoint || kind == kindComplete)
}

// heads remembers the newest snapshot of every source.
type heads struct {
	mu     sync.Mutex
	read   time.Time
	newest map[snapshot.SourceInfo]head
}

// newestOf looks a source up, after reading the list when it is too old. Commits of this process are in it at once.
func (r *Repository) newestOf(ctx context.Context, source snapshot.SourceInfo) (head, bool, error) {
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	if time.Since(r.heads.read) > r.headsAge {
		newest, err := r.readHeads(ctx)
		if err != nil {
			return head{}, false, err
		}
		r.heads.newest, r.heads.read = newest, time.Now()
	}
	h, known := r.heads.newest[source]
	return h, known, nil
}

func (r *Repository) readHeads(ctx context.Context) (map[snapshot.SourceInfo]head, error) {
	var found []*manifest.EntryMetadata
	err := r.alone(ctx, r.kopia, func() (err error) {
		found, err = r.manifests(ctx, r.kopia, map[string]string{snapshot.UsernameLabel: sourceUser, snapshot.HostnameLabel: r.tenant})
		return err
	})
	if err != nil {
		return nil, err
	}
	newest := map[snapshot.SourceInfo]head{}
	for _, m := range found { // the oldest first
		if h, ok := labelled(m); ok {
			newest[h.source] = h
		}
	}
	return newest, nil
}

// committed puts a snapshot of this process at its source's head.
func (r *Repository) committed(h head) {
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	if r.heads.newest != nil {
		r.heads.newest[h.source] = h
	}
}

// remembered finds a head by id without asking kopia.
func (r *Repository) remembered(source snapshot.SourceInfo, id manifest.ID) (head, bool) {
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	h := r.heads.newest[source]
	return h, h.id == id && id != ""
}
