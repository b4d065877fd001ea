package kopia_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestWrongPassword(t *testing.T) {
	f := newFixture(t)
	wrong := strings.Repeat("0", 64)
	_, err := kopia.New(f.Options).OpenRepository(t.Context(), tenant, wrong)
	_, again := kopia.New(f.Options).EnsureRepository(t.Context(), tenant, wrong)
	for _, err := range []error{err, again} {
		e := backup.AsError(err)
		if e == nil || e.Code != backup.CodeWrongKey || e.Retryable || e.Hint == "" || strings.Contains(err.Error(), wrong) {
			t.Errorf("got %v", err)
		}
	}
	f.open() // the right one still opens it
}

// A restore reads from a disk that may be full. kopia tidies up when it meets more than some manifests, wherever it may write.
func TestReadOnlyWritesNothing(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 20)
	f.commit(w)
	for range 20 {
		f.must(repo.WriteSession(t.Context(), r.Kopia(), repo.WriteSessionOptions{}, func(ctx context.Context, w repo.RepositoryWriter) error {
			_, err := w.PutManifest(ctx, map[string]string{manifest.TypeLabelKey: "something"}, map[string]string{})
			return err
		}))
	}
	before := f.blobs()
	f.Options.ReadOnly = true
	r = f.open()
	f.check(r, f.latest(r), numbers(0, 20, 1))
	if after := f.blobs(); !slices.Equal(before, after) {
		t.Errorf("reading changed the folder:\n%q\n%q", before, after)
	}
	w, err := r.Write(t.Context(), nil)
	if err == nil {
		f.Cleanup(func() { _ = w.Close(context.Background()) })
		_, err = w.Commit(t.Context(), state("run"))
	}
	if err == nil {
		t.Error("a snapshot was written")
	}
}

func TestRepositoryThatIsNotThere(t *testing.T) {
	f := newFixture(t)
	blobs := f.blobs()
	for name, c := range map[string]struct {
		tenant backup.Tenant
		code   backup.Code
	}{
		"no folder":       {backup.Tenant{ID: "other"}, backup.CodeNotFound},
		"an empty folder": {backup.Tenant{ID: "other", Repository: backup.RepositoryConfig{Folder: t.TempDir()}}, backup.CodeNotFound},
		"relative":        {backup.Tenant{ID: "other", Repository: backup.RepositoryConfig{Folder: "here"}}, backup.CodeBadConfig},
		"a path as id":    {backup.Tenant{ID: "../acme"}, backup.CodeBadConfig},
		"a file":          {backup.Tenant{ID: "other", Repository: backup.RepositoryConfig{Folder: blobs[0]}}, backup.CodeRepository},
	} {
		_, err := kopia.New(f.Options).OpenRepository(t.Context(), c.tenant, password)
		if !backup.HasCode(err, c.code) || backup.AsError(err).Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := f.open()
	for _, id := range []string{"", "x", strings.Repeat("0", 32)} {
		if _, err := r.Find(t.Context(), id); !backup.HasCode(err, backup.CodeNotFound) {
			t.Errorf("snapshot %q: %v", id, err)
		}
	}
}

func TestEnsureRepositoryAtOnce(t *testing.T) {
	t.Parallel()
	options := kopia.Options{Root: t.TempDir()}
	var made sync.Map
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			created, err := kopia.New(options).EnsureRepository(t.Context(), tenant, password)
			if err != nil {
				t.Error(err)
			}
			if created {
				made.Store(i, true)
			}
		})
	}
	all.Wait()
	n := 0
	made.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d calls made the repository", n)
	}
}

func TestFailedPutLeavesTheItemAsItWas(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 3)
	broken := &backup.Error{Code: backup.CodeBadResponse, Message: "cut off"}
	_, err := w.Put(t.Context(), item(1, 2), io.MultiReader(bytes.NewReader(make([]byte, 1<<20)), iotest.ErrReader(broken)))
	if !errors.Is(err, error(broken)) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if _, err := w.Put(ctx, item(2, 2), endless); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []backup.Item{{}, {ID: "x", Meta: []byte("{")}, {ID: "\xff"}, {ID: strings.Repeat("x", 5000)}} {
		if _, err := w.Put(t.Context(), bad, nil); !backup.HasCode(err, backup.CodeBadResponse) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := w.PutMeta(t.Context(), item(9, 1)); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("got %v", err)
	}
	f.check(r, f.commit(w), numbers(0, 3, 1))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestCloseDiscards(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 10)
	f.must(w.Close(t.Context()))
	f.must(w.Close(t.Context()))
	if f.latest(f.open()) != nil {
		t.Error("what was not committed is there")
	}
	if _, err := w.Commit(t.Context(), state("x")); err == nil {
		t.Error("a closed writer commits")
	}
}

func TestStateMustBelong(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	base := f.commit(f.write(r, nil))
	w := f.write(r, base)
	for _, change := range []func(*backup.SnapshotState){
		func(s *backup.SnapshotState) { s.Tenant = "other" },
		func(s *backup.SnapshotState) { s.Account = "a2" },
		func(s *backup.SnapshotState) { s.Service = "" },
	} {
		s := state("x")
		change(&s)
		if _, err := w.Commit(t.Context(), s); err == nil {
			t.Errorf("%+v was committed", s)
		}
	}
}

func TestCheckpointIsResumedAndReplaced(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	complete := f.commit(f.write(r, nil))

	abandoned := f.write(r, complete)
	f.put(abandoned, 0, 50)
	f.must(abandoned.Checkpoint(t.Context(), state("run-1")))
	f.put(abandoned, 50, 80)
	f.must(abandoned.Checkpoint(t.Context(), state("run-1")))
	f.put(abandoned, 80, 90) // lost

	other := f.open()
	found := f.latest(other)
	if found == nil || found.State.Complete || found.State.RunID != "run-1" || found.State.Counts.Items != 80 {
		t.Fatalf("found %+v", found)
	}
	f.check(other, found, numbers(0, 80, 1))
	f.must(abandoned.Close(t.Context()))

	w := f.write(other, found)
	if i, known, err := w.Lookup(t.Context(), id(79)); err != nil || !known || i.Version != "v1" {
		t.Errorf("%+v, %v, %v", i, known, err)
	}
	if _, known, err := w.Lookup(t.Context(), id(80)); err != nil || known {
		t.Errorf("item 80 known %v, %v", known, err)
	}
	f.put(w, 80, 100)
	final := f.commit(w)
	f.check(other, final, numbers(0, 100, 1))

	third := f.open()
	if got := f.latest(third); got.ID != final.ID || !got.State.Complete {
		t.Errorf("latest is %+v", got)
	}
	left, err := snapshot.ListSnapshotManifests(t.Context(), third.Kopia(), nil, nil)
	f.must(err)
	if len(left) != 2 {
		t.Errorf("%d snapshots are left, want the two complete ones", len(left))
	}
	if _, err := third.Find(t.Context(), found.ID); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
	f.check(third, complete, nil)
}

// TestConcurrentUse puts, looks up, changes and removes from many goroutines while the tree spills and grows below them.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	r.SmallBuckets(4, 2<<10)
	w := f.write(r, nil)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := g; i < 400; i += 8 {
				for version := 1; version <= 2; version++ {
					if _, err := w.Put(t.Context(), item(i, version), bytes.NewReader(body(i, version))); err != nil {
						t.Error(err)
						return
					}
				}
				if got, known, err := w.Lookup(t.Context(), id(i)); err != nil || !known || got.Version != "v2" {
					t.Errorf("item %d: %v %v %v", i, got.Version, known, err)
				}
				if i%10 == 3 {
					if err := w.Remove(t.Context(), id(i)); err != nil {
						t.Error(err)
					}
				}
				if i%50 == 7 {
					if err := w.Each(t.Context(), func(backup.Item) error { return nil }); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	want := numbers(0, 400, 2)
	for i := 3; i < 400; i += 10 {
		delete(want, i)
	}
	f.check(r, f.commit(w), want)
}

// TestTwoAtOnce writes two services through two handles of one repository at the same time, and then reads each through the other.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.FlushEvery = 10 * time.Millisecond
	handles := []*kopia.Repository{f.open(), f.open()}
	var infos [2]backup.SnapshotInfo
	var both sync.WaitGroup
	for h, r := range handles {
		both.Go(func() {
			var base *backup.SnapshotInfo
			for round := range 3 {
				w, err := r.Write(t.Context(), base)
				if err != nil {
					t.Error(err)
					return
				}
				for i := round * 100; i < round*100+100; i++ {
					if _, err := w.Put(t.Context(), item(i, 1), bytes.NewReader(body(i, 1))); err != nil {
						t.Error(err)
					}
				}
				s := state(fmt.Sprint("run", round))
				s.Account = fmt.Sprint("account", h)
				if infos[h], err = w.Commit(t.Context(), s); err != nil {
					t.Error(err)
				}
				base = &infos[h]
				if err := w.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	both.Wait()
	for h := range handles {
		other := handles[1-h]
		other.AlwaysLook()
		found, err := other.Latest(t.Context(), fmt.Sprint("account", h), backup.Microsoft365, backup.Mail)
		f.must(err)
		if found == nil || found.ID != infos[h].ID {
			t.Fatalf("handle %d does not see what the other committed: %+v", 1-h, found)
		}
		f.check(other, found, numbers(0, 300, 1))
	}
}

// TestDamagedBlobs flips a byte in every pack in turn: reading either gives the right bytes or an error that says so.
func TestDamagedBlobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 60)
	info := f.commit(w)
	damaged := 0
	for _, blob := range f.blobs() {
		kind := strings.TrimPrefix(blob, filepath.Join(f.root, tenant.ID)+"/")[:1]
		if kind != "p" && kind != "q" {
			continue
		}
		b, err := os.ReadFile(blob)
		f.must(err)
		bad := bytes.Clone(b)
		for i := 0; i < len(bad); i += 16 {
			bad[i] ^= 1
		}
		f.must(os.WriteFile(blob, bad, 0o600))
		if err := readAll(f, info); backup.HasCode(err, backup.CodeRepository) {
			damaged++
		} else {
			t.Errorf("%s: %v", blob, err)
		}
		f.must(os.Remove(blob))
		if err := readAll(f, info); !backup.HasCode(err, backup.CodeRepository) || backup.AsError(err).Retryable {
			t.Errorf("%s missing: %v", blob, err)
		}
		f.must(os.WriteFile(blob, b, 0o600))
	}
	if damaged < 2 {
		t.Errorf("only %d packs were looked at", damaged)
	}
	f.must(readAll(f, info))
}

func readAll(f *fixture, info *backup.SnapshotInfo) (err error) {
	r, err := kopia.New(f.Options).OpenRepository(f.Context(), tenant, password)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(f.Context())) }()
	reader, err := r.Read(f.Context(), info)
	if err != nil {
		return err
	}
	return reader.Each(f.Context(), func(i backup.Item) error {
		content, err := reader.Open(f.Context(), i.ID)
		if err != nil {
			return err
		}
		defer content.Close()
		_, err = io.Copy(io.Discard, content)
		return err
	})
}

// TestForeignSnapshotsAreLeftAlone: kopia's own program may keep snapshots in the same repository.
func TestForeignSnapshotsAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	ours := f.commit(f.write(r, nil))
	m, err := snapshot.LoadSnapshot(t.Context(), r.Kopia(), manifest.ID(ours.ID))
	f.must(err)
	_, w, err := r.Kopia().NewWriter(t.Context(), struct {
		Purpose        string
		FlushOnFailure bool
		OnUpload       func(int64)
	}{Purpose: "foreign"})
	f.must(err)
	m.Source.UserName = "root"
	foreign, err := snapshot.SaveSnapshot(t.Context(), w, m)
	f.must(err)
	f.must(w.Flush(t.Context()))
	f.must(w.Close(t.Context()))
	if _, err := r.Find(t.Context(), string(foreign)); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("got %v", err)
	}
	if got := f.latest(r); got.ID != ours.ID {
		t.Errorf("latest is %s", got.ID)
	}
}

// TestNothingSecretOnDisk looks for the password, names and contents in everything that was written, the cache included.
func TestNothingSecretOnDisk(t *testing.T) {
	f := newFixture(t)
	f.CacheDir = t.TempDir()
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	r := f.open()
	w := f.write(r, nil)
	secret := "Board minutes, strictly confidential"
	it := item(1, 1)
	it.Name = secret
	_, err := w.Put(t.Context(), it, strings.NewReader(strings.Repeat(secret, 100)))
	f.must(err)
	info := f.commit(w)
	f.must(readAll(f, info))
	for _, dir := range []string{f.root, f.CacheDir, temp} {
		f.must(filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(p)
			for _, s := range []string{password, secret, "confidential", "a1/mail"} {
				if bytes.Contains(b, []byte(s)) {
					t.Errorf("%s holds %q", p, s)
				}
			}
			return err
		}))
	}
	if left := slices.Concat(ourFolders(t, temp), ourFolders(t, "/dev/shm")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if entries, _ := os.ReadDir(filepath.Join(f.CacheDir, tenant.ID)); len(entries) == 0 {
		t.Error("there is no cache to look at")
	}
}

// ourFolders are the folders that this process made: others may have theirs in the same place.
func ourFolders(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("holdfast-%d-*", os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestCommitProvesItsCount: a snapshot that does not hold what was put is not committed.
func TestCommitProvesItsCount(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 10)
	w.Miscount()
	if _, err := w.Commit(t.Context(), state("run")); !backup.HasCode(err, backup.CodeCountsMismatch) {
		t.Errorf("got %v", err)
	}
	if f.latest(f.open()) != nil {
		t.Error("it was committed all the same")
	}
}
