package kopia_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// A worker was stopped and left checkpoints, just fewer than those at which kopia tidies manifests up; another one completes them, many
// at once. No checkpoint may be left, or come back. The race needs some tries to show.
func TestCheckpointsStayAway(t *testing.T) {
	t.Parallel()
	for range 5 {
		completeAtOnce(t, 14)
	}
}

func completeAtOnce(t *testing.T, accounts int) {
	t.Helper()
	f := newFixture(t)
	first, heir := f.open(), f.open()
	stateOf := func(i int) backup.SnapshotState {
		s := state("run")
		s.Account = fmt.Sprintf("a%d", i)
		return s
	}
	for i := range accounts {
		w := f.write(first, nil)
		f.putOne(w, i, 1)
		f.must(w.Checkpoint(t.Context(), stateOf(i)))
		f.must(w.Close(t.Context()))
	}
	writers := make([]*kopia.Writer, accounts)
	for i := range writers {
		base, err := heir.Latest(t.Context(), stateOf(i).Account, backup.Microsoft365, backup.Mail)
		f.must(err)
		writers[i] = f.write(heir, base)
	}
	var all sync.WaitGroup
	for i, w := range writers {
		all.Go(func() {
			if _, err := w.Commit(t.Context(), stateOf(i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	r := f.open().Kopia()
	left, err := r.FindManifests(t.Context(), map[string]string{manifest.TypeLabelKey: snapshot.ManifestType})
	f.must(err)
	if len(left) != accounts {
		t.Errorf("%d snapshots stand, want %d", len(left), accounts)
	}
}
