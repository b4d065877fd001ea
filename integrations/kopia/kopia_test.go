package kopia_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/manifest"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// What the worker adapts, because Go's interfaces do not match on covariant results: everything but the opened types.
var (
	_ activities.SnapshotWriter = (*kopia.Writer)(nil)
	_ activities.SnapshotReader = (*kopia.Reader)(nil)
	_ activities.Repository     = adapted{}
)

type adapted struct{ *kopia.Repository }

func (a adapted) Write(ctx context.Context, base *backup.SnapshotInfo) (activities.SnapshotWriter, error) {
	return a.Repository.Write(ctx, base)
}

func (a adapted) Read(ctx context.Context, s *backup.SnapshotInfo) (activities.SnapshotReader, error) {
	return a.Repository.Read(ctx, s)
}

// password is as long as a derived one.
var password = strings.Repeat("5ec7e7", 10) + "0123"

var tenant = backup.Tenant{ID: "acme"}

// fixture is a repository in a folder of its own.
type fixture struct {
	*testing.T
	root string
	kopia.Options
}

// made is a fresh repository, made once: to derive its keys takes longer than most tests.
var made = sync.OnceValues(func() (string, error) {
	root, err := os.MkdirTemp("", "repository-")
	if err != nil {
		return "", err
	}
	created, err := kopia.New(kopia.Options{Root: root}).EnsureRepository(context.Background(), tenant, password)
	if err == nil && !created {
		err = errors.New("it was there already")
	}
	return root, err
})

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, root: t.TempDir()}
	f.Options = kopia.Options{Root: f.root}
	template, err := made()
	f.must(err)
	f.must(os.CopyFS(f.root, os.DirFS(template)))
	return f
}

func (f *fixture) open() *kopia.Repository {
	f.Helper()
	r, err := kopia.New(f.Options).OpenRepository(f.Context(), tenant, password)
	f.must(err)
	f.Cleanup(func() { f.must(r.Close(context.Background())) })
	return r
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) write(r *kopia.Repository, base *backup.SnapshotInfo) *kopia.Writer {
	f.Helper()
	w, err := r.Write(f.Context(), base)
	f.must(err)
	f.Cleanup(func() { f.must(w.Close(context.Background())) })
	return w
}

func (f *fixture) put(w *kopia.Writer, from, to int) {
	f.Helper()
	for i := from; i < to; i++ {
		f.putOne(w, i, 1)
	}
}

func (f *fixture) putOne(w *kopia.Writer, i, version int) {
	f.Helper()
	it, b := item(i, version), body(i, version)
	n, err := w.Put(f.Context(), it, bytes.NewReader(b))
	f.must(err)
	if n != int64(len(b)) {
		f.Fatalf("put %d of %d bytes", n, len(b))
	}
}

func (f *fixture) commit(w *kopia.Writer) *backup.SnapshotInfo {
	f.Helper()
	info, err := w.Commit(f.Context(), state("run"))
	f.must(err)
	return &info
}

func (f *fixture) latest(r *kopia.Repository) *backup.SnapshotInfo {
	f.Helper()
	info, err := r.Latest(f.Context(), "a1", backup.Microsoft365, backup.Mail)
	f.must(err)
	return info
}

// check reads a snapshot back and compares it, byte by byte, with what it should hold: item numbers and versions.
func (f *fixture) check(r *kopia.Repository, s *backup.SnapshotInfo, want map[int]int) {
	f.Helper()
	reader, err := r.Read(f.Context(), s)
	f.must(err)
	got := map[string]backup.Item{}
	f.must(reader.Each(f.Context(), func(i backup.Item) error {
		got[i.ID] = i
		return nil
	}))
	if len(got) != len(want) || s.State.Counts.Items != int64(len(want)) {
		f.Fatalf("%d items, state says %d, want %d", len(got), s.State.Counts.Items, len(want))
	}
	for i, version := range want {
		wanted := item(i, version)
		if a, b := asJSON(f.T, got[wanted.ID]), asJSON(f.T, wanted); a != b {
			f.Fatalf("item %d:\n%s\nwant\n%s", i, a, b)
		}
		content, err := reader.Open(f.Context(), wanted.ID)
		f.must(err)
		b, err := io.ReadAll(content)
		f.must(err)
		f.must(content.Close())
		if !bytes.Equal(b, body(i, version)) {
			f.Fatalf("content of item %d differs", i)
		}
	}
}

// numbers is a map of the items from..to-1 in a version.
func numbers(from, to, version int) map[int]int {
	m := map[int]int{}
	for i := from; i < to; i++ {
		m[i] = version
	}
	return m
}

func item(i, version int) backup.Item {
	b := body(i, version)
	return backup.Item{ID: id(i), Kind: backup.Message, Parent: fmt.Sprintf("folder-%d", i%7), Name: fmt.Sprintf("Subject <%d> & \u202e more", i),
		Version: fmt.Sprint("v", version), MetaVersion: fmt.Sprint("m", version), Modified: time.Unix(1_700_000_000+int64(i), 0).UTC(), Size: int64(len(b)),
		Meta: json.RawMessage(fmt.Sprintf(`{"subject":"Subject <%d>","internetMessageId":"<%d@example.com>","unknown":[1,2.50,null]}`, i, i))}
}

func id(i int) string { return fmt.Sprintf("AAMkAGI2THVSAAA=-%08d", i) }

// body is some bytes of an item: reproducible, of very different lengths, none at all for some.
func body(i, version int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), uint64(version)))
	b := make([]byte, r.IntN(2000)*(i%5))
	bytes := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8), byte(i >> 16), byte(version)})
	_, _ = bytes.Read(b) // never fails
	return b
}

func state(run string) backup.SnapshotState {
	return backup.SnapshotState{Tenant: "acme", Account: "a1", App: backup.Microsoft365, Service: backup.Mail, RunID: run,
		Cursor: json.RawMessage(`{"delta":"token <1>"}`), Taken: time.Unix(1_700_000_000, 0).UTC(), Skips: map[backup.SkipReason]int64{backup.SkipMalware: 1}}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blobs lists the files of the repository's folder.
func (f *fixture) blobs() []string {
	f.Helper()
	var names []string
	f.must(filepath.WalkDir(filepath.Join(f.root, tenant.ID), func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	}))
	return names
}

// objects lists the object ids of a snapshot's tree by path.
func (f *fixture) objects(r repo.Repository, s *backup.SnapshotInfo) map[string]string {
	f.Helper()
	m, err := snapshot.LoadSnapshot(f.Context(), r, manifest.ID(s.ID))
	f.must(err)
	found := map[string]string{}
	f.walk(r, "", m.RootEntry, found)
	return found
}

func (f *fixture) walk(r repo.Repository, path string, e *snapshot.DirEntry, found map[string]string) {
	f.Helper()
	found[path] = e.ObjectID.String()
	if e.Type != snapshot.EntryTypeDirectory {
		return
	}
	o, err := r.OpenObject(f.Context(), e.ObjectID)
	f.must(err)
	defer o.Close()
	var d snapshot.DirManifest
	f.must(json.NewDecoder(o).Decode(&d))
	for _, below := range d.Entries {
		f.walk(r, path+"/"+below.Name, below, found)
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	if f.latest(r) != nil {
		t.Fatal("an empty repository has a snapshot")
	}
	w := f.write(r, nil)
	f.put(w, 0, 100)
	folder := backup.Item{ID: "folder-1", Kind: backup.Folder, Name: "Inbox", Size: -1}
	_, err := w.Put(t.Context(), folder, nil)
	f.must(err)
	f.must(w.Remove(t.Context(), "folder-1"))
	f.must(w.Remove(t.Context(), "never there"))
	info := f.commit(w)
	if info.ID == "" || info.Account != "a1" || info.Service != backup.Mail || !info.State.Complete || info.State.Layout != 1 {
		t.Errorf("%+v", info)
	}
	f.check(r, info, numbers(0, 100, 1))

	again := f.open()
	found := f.latest(again)
	if asJSON(t, found) != asJSON(t, info) {
		t.Errorf("found %s\nwant  %s", asJSON(t, found), asJSON(t, info))
	}
	f.check(again, found, numbers(0, 100, 1))
	if _, err := w.Put(t.Context(), folder, nil); err == nil {
		t.Error("a committed writer takes items")
	}
}

func TestEmptySnapshot(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	first := f.commit(f.write(r, nil))
	f.check(r, first, nil)
	w := f.write(r, first)
	f.put(w, 0, 3)
	second := f.commit(w)
	f.check(r, second, numbers(0, 3, 1))
	w = f.write(r, second)
	for i := range 3 {
		f.must(w.Remove(t.Context(), id(i)))
	}
	f.check(r, f.commit(w), nil)
}

func TestItemsWithoutContent(t *testing.T) {
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	_, err := w.Put(t.Context(), backup.Item{ID: "inbox", Kind: backup.Folder, Size: -1}, nil)
	f.must(err)
	_, err = w.Put(t.Context(), backup.Item{ID: "empty", Kind: backup.File}, strings.NewReader(""))
	f.must(err)
	_, err = w.Put(t.Context(), backup.Item{ID: "lost", Kind: backup.File}, strings.NewReader("had content once"))
	f.must(err)
	_, err = w.Put(t.Context(), backup.Item{ID: "lost", Kind: backup.File, Skip: backup.SkipMalware}, nil)
	f.must(err)
	reader, err := r.Read(t.Context(), f.commit(w))
	f.must(err)
	for _, id := range []string{"inbox", "lost", "unknown"} {
		if _, err := reader.Open(t.Context(), id); !backup.HasCode(err, backup.CodeNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	content, err := reader.Open(t.Context(), "empty")
	f.must(err)
	if b, err := io.ReadAll(content); err != nil || len(b) != 0 {
		t.Errorf("%q, %v", b, err)
	}
}

// TestIncrementalTouchesOnlyWhatChanged is the promise that an incremental's cost follows the changes.
func TestIncrementalTouchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	w := f.write(r, nil)
	f.put(w, 0, 1000)
	first := f.commit(w)

	w = f.write(r, first)
	f.putOne(w, 5, 2)
	moved := item(6, 1)
	moved.Parent, moved.MetaVersion = "elsewhere", "m2"
	f.must(w.PutMeta(t.Context(), moved))
	f.must(w.Remove(t.Context(), id(7)))
	second := f.commit(w)

	before, after := f.objects(r.Kopia(), first), f.objects(r.Kopia(), second)
	touched := []string{bucketOf(5), bucketOf(6), bucketOf(7)}
	for path, object := range before {
		if strings.Count(path, "/") != 2 || !strings.HasPrefix(path, "/items/") {
			continue
		}
		if same := after[path] == object; same == slices.Contains(touched, path) {
			t.Errorf("bucket %s: same object %v", path, same)
		}
	}
	content := bucketOf(6) + "/" + name(6)
	if before[content] == "" || before[content] != after[content] {
		t.Error("moving an item rewrote its content")
	}
	if len(before) < 1000 {
		t.Errorf("looked at %d paths only", len(before))
	}
	// The base stays what it was.
	f.check(r, first, numbers(0, 1000, 1))
}

// bucketOf and name tell where an item stands in a tree of level 1, by docs/snapshot-layout.md.
func bucketOf(i int) string { return "/items/" + name(i)[:1] }

func name(i int) string {
	sum := sha256.Sum256([]byte(id(i)))
	return hex.EncodeToString(sum[:])
}

func TestNoChangeWritesNextToNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var counts []int
	for range 5 {
		r, err := kopia.New(f.Options).OpenRepository(t.Context(), tenant, password)
		f.must(err)
		base := f.latest(r)
		w, err := r.Write(t.Context(), base)
		f.must(err)
		if base == nil {
			f.put(w, 0, 2000)
		}
		f.commit(w)
		f.must(w.Close(t.Context()))
		f.must(r.Close(t.Context()))
		counts = append(counts, len(f.blobs()))
	}
	for i := 1; i < len(counts); i++ {
		if n := counts[i] - counts[i-1]; n > 2 {
			t.Errorf("a commit without changes wrote %d blobs (%v)", n, counts)
		}
	}
}

func TestTreeGrows(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	r := f.open()
	r.SmallBuckets(4, 1<<20)
	var base *backup.SnapshotInfo
	objects := map[string]string{}
	for _, step := range []struct{ items, level int }{{4, 0}, {5, 1}, {64, 1}, {65, 2}, {1200, 3}, {1300, 3}} {
		w := f.write(r, base)
		have := 0
		if base != nil {
			have = int(base.State.Counts.Items)
		}
		f.put(w, have, step.items)
		base = f.commit(w)
		if w.Level() != step.level {
			t.Errorf("%d items: level %d, want %d", step.items, w.Level(), step.level)
		}
		f.check(r, base, numbers(0, step.items, 1))
		for path, object := range f.objects(r.Kopia(), base) {
			n := filepath.Base(path)
			if known := objects[n]; len(n) == 64 && known != "" && known != object {
				t.Errorf("growing rewrote the content %s", n)
			}
			objects[n] = object
		}
	}
	w := f.write(r, base)
	seen := map[string]int{}
	f.must(w.Each(t.Context(), func(i backup.Item) error {
		seen[i.ID]++
		if len(i.Meta) == 0 {
			t.Fatal("an item without its metadata")
		}
		return w.Remove(t.Context(), i.ID)
	}))
	if len(seen) != 1300 {
		t.Errorf("Each saw %d items", len(seen))
	}
	f.check(r, f.commit(w), nil)
}
