package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/holdfast-backup/holdfast/integrations/kopia"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// script is a source whose rounds are written down: what a service says, in which order, and what it then hands out.
type script struct {
	rounds  map[string][]backup.Change // by cursor
	next    string
	fail    error // after the round's changes
	content map[string]func() (io.ReadCloser, error)
	mu      sync.Mutex
	opened  []string
}

func (s *script) Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (json.RawMessage, error) {
	round, ok := s.rounds[string(cursor)]
	if !ok {
		return nil, &backup.Error{Code: backup.CodeCursorExpired, Message: "expired"}
	}
	for _, c := range round {
		if err := yield(c); err != nil {
			return nil, err
		}
	}
	return json.RawMessage(s.next), s.fail
}

func (s *script) Open(_ context.Context, i backup.Item) (backup.Item, io.ReadCloser, error) {
	s.mu.Lock()
	s.opened = append(s.opened, i.ID)
	s.mu.Unlock()
	if open := s.content[i.ID]; open != nil {
		body, err := open()
		return i, body, err
	}
	return i, io.NopCloser(strings.NewReader("content of " + i.ID + " " + i.Version)), nil
}

func (s *script) Parallel() int { return 3 }
func (s *script) Calls() int64  { return 7 }

func folderItem(id, parent string) backup.Change {
	return backup.Change{Item: backup.Item{ID: id, Kind: backup.Folder, Parent: parent, Name: id, Version: "1", Size: -1}}
}

func message(id, parent, version string) backup.Change {
	return backup.Change{Item: backup.Item{ID: id, Kind: backup.Message, Parent: parent, Name: "subject " + id, Version: version, Size: -1}}
}

func removed(id, parent string) backup.Change {
	return backup.Change{Removed: true, Item: backup.Item{ID: id, Parent: parent}}
}

// bench is a real repository and the state that runs into it.
type bench struct {
	repository Repository
	account    string
	runs       int
	lastTry    bool
}

type testRepository struct{ *kopia.Repository }

func (r testRepository) Write(ctx context.Context, base *backup.SnapshotInfo) (SnapshotWriter, error) {
	return r.Repository.Write(ctx, base)
}

func (r testRepository) Read(ctx context.Context, s *backup.SnapshotInfo) (SnapshotReader, error) {
	return r.Repository.Read(ctx, s)
}

func newBench(t *testing.T) *bench {
	t.Helper()
	all := kopia.New(kopia.Options{Root: t.TempDir()})
	tenant := backup.Tenant{ID: "acme", Repository: backup.RepositoryConfig{ID: "acme"}}
	if _, err := all.EnsureRepository(t.Context(), tenant, "password"); err != nil {
		t.Fatal(err)
	}
	r, err := all.OpenRepository(t.Context(), tenant, "password")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(context.Background()) })
	return &bench{repository: testRepository{r}, account: "a1"}
}

// run transfers in a new run.
func (b *bench) run(t *testing.T, s Source) (backup.SnapshotInfo, error) {
	t.Helper()
	b.runs++
	return b.again(t, s)
}

// again transfers once more in the same run, as a retried activity does.
func (b *bench) again(t *testing.T, s Source) (backup.SnapshotInfo, error) {
	tr := transfer{source: s, repository: b.repository, lastTry: b.lastTry, state: backup.SnapshotState{Layout: 1, Tenant: "acme", Account: b.account, App: backup.Microsoft365, Service: backup.Mail, RunID: fmt.Sprint("run", b.runs)}}
	return tr.run(t.Context())
}

// holds reads a snapshot back: items by id, with their contents.
func (b *bench) holds(t *testing.T, info backup.SnapshotInfo) map[string]string {
	t.Helper()
	r, err := b.repository.Read(t.Context(), &info)
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]string{}
	err = r.Each(t.Context(), func(i backup.Item) error {
		text := string(i.Kind) + " in " + i.Parent
		if i.Skip != "" {
			text += " skipped " + string(i.Skip)
		} else if i.Kind != backup.Folder {
			c, err := r.Open(t.Context(), i.ID)
			if err != nil {
				return err
			}
			defer c.Close()
			b, err := io.ReadAll(c)
			if err != nil {
				return err
			}
			text += ": " + string(b)
		}
		held[i.ID] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func expect(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !maps.Equal(got, want) {
		t.Errorf("the snapshot holds\n%v\nwant\n%v", got, want)
	}
}

func expectCounts(t *testing.T, got, want backup.Counts) {
	t.Helper()
	got.Bytes, got.APICalls = 0, 0
	if got != want {
		t.Errorf("counts are\n%+v\nwant\n%+v", got, want)
	}
	if err := got.Prove(); err != nil {
		t.Error(err)
	}
}

// firstRound has two folders and three messages.
func firstRound() []backup.Change {
	return []backup.Change{folderItem("F", ""), folderItem("G", ""), message("a", "F", "1"), message("b", "F", "1"), message("c", "G", "1")}
}

func TestTransferFollowsChanges(t *testing.T) {
	shared := newBench(t)
	for name, c := range map[string]struct {
		changes []backup.Change
		opened  []string
		counts  backup.Counts
		holds   map[string]string
	}{
		"nothing": {counts: backup.Counts{Items: 5}},
		"a new version": {
			changes: []backup.Change{message("a", "F", "2")}, opened: []string{"a"},
			counts: backup.Counts{Listed: 1, Stored: 1, Items: 5}, holds: map[string]string{"a": "message in F: content of a 2"},
		},
		"the same again": {
			changes: []backup.Change{message("a", "F", "1"), message("a", "F", "1")},
			counts:  backup.Counts{Listed: 1, Unchanged: 1, Items: 5},
		},
		"repeated, the last one wins": {
			changes: []backup.Change{message("a", "F", "2"), message("a", "F", "3")}, opened: []string{"a", "a"},
			counts: backup.Counts{Listed: 1, Stored: 1, Items: 5}, holds: map[string]string{"a": "message in F: content of a 3"},
		},
		"a move is not fetched, removal first": {
			changes: []backup.Change{removed("a", "F"), message("a", "G", "1")},
			counts:  backup.Counts{Listed: 1, Stored: 1, Items: 5}, holds: map[string]string{"a": "message in G: content of a 1"},
		},
		"a move is not fetched, removal last": {
			changes: []backup.Change{message("a", "G", "1"), removed("a", "F")},
			counts:  backup.Counts{Listed: 1, Stored: 1, Items: 5}, holds: map[string]string{"a": "message in G: content of a 1"},
		},
		"away and back": {
			changes: []backup.Change{removed("a", "F"), message("a", "F", "1")},
			counts:  backup.Counts{Listed: 1, Unchanged: 1, Items: 5},
		},
		"removed from everywhere, and there again": {
			changes: []backup.Change{removed("a", ""), message("a", "F", "1")},
			counts:  backup.Counts{Listed: 1, Unchanged: 1, Items: 5},
		},
		"a removal": {
			changes: []backup.Change{removed("a", "F")},
			counts:  backup.Counts{Listed: 1, Gone: 1, Items: 4}, holds: map[string]string{"a": ""},
		},
		"a removal of what was never seen": {
			changes: []backup.Change{removed("x", "F")},
			counts:  backup.Counts{Listed: 1, Gone: 1, Items: 5},
		},
		"a late removal from a folder it left before": {
			changes: []backup.Change{removed("a", "G")},
			counts:  backup.Counts{Listed: 1, Unchanged: 1, Items: 5},
		},
		"a removed folder takes its items along": {
			changes: []backup.Change{removed("F", "")},
			counts:  backup.Counts{Listed: 1, Gone: 1, Dropped: 2, Items: 2}, holds: map[string]string{"F": "", "a": "", "b": ""},
		},
		"a removed folder whose item moved out": {
			changes: []backup.Change{removed("F", ""), message("a", "G", "1")},
			counts:  backup.Counts{Listed: 2, Stored: 1, Gone: 1, Dropped: 1, Items: 3}, holds: map[string]string{"F": "", "b": "", "a": "message in G: content of a 1"},
		},
		"gone before it could be read": {
			changes: []backup.Change{message("gone", "F", "1")}, opened: []string{"gone"},
			counts: backup.Counts{Listed: 1, Gone: 1, Items: 5},
		},
		"cannot be had": {
			changes: []backup.Change{message("malware", "F", "1")}, opened: []string{"malware"},
			counts: backup.Counts{Listed: 1, Skipped: 1, Items: 6}, holds: map[string]string{"malware": "message in F skipped malware"},
		},
		"broke off once": {
			changes: []backup.Change{message("cut", "F", "1")}, opened: []string{"cut", "cut"},
			counts: backup.Counts{Listed: 1, Stored: 1, Items: 6}, holds: map[string]string{"cut": "message in F: whole"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{repository: shared.repository, account: name}
			s := &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`}
			first, err := b.run(t, s)
			if err != nil {
				t.Fatal(err)
			}
			expectCounts(t, first.State.Counts, backup.Counts{Listed: 5, Stored: 5, Items: 5})
			want := b.holds(t, first)

			s = &script{rounds: map[string][]backup.Change{`"one"`: c.changes}, next: `"two"`, content: hazards()}
			second, err := b.run(t, s)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(s.opened)
			if !slices.Equal(s.opened, c.opened) {
				t.Errorf("fetched %v, want %v", s.opened, c.opened)
			}
			expectCounts(t, second.State.Counts, c.counts)
			for id, text := range c.holds {
				want[id] = text
				if text == "" {
					delete(want, id)
				}
			}
			expect(t, b.holds(t, second), want)
			if string(second.State.Cursor) != `"two"` || !second.State.Complete {
				t.Errorf("the snapshot's state is %+v", second.State)
			}
		})
	}
}

// hazards are items whose content is not simply there.
func hazards() map[string]func() (io.ReadCloser, error) {
	tries := 0
	return map[string]func() (io.ReadCloser, error){
		"gone": func() (io.ReadCloser, error) {
			return nil, &backup.Error{Code: backup.CodeNotFound, Message: "no such item"}
		},
		"malware": func() (io.ReadCloser, error) {
			return nil, &backup.SkipError{Reason: backup.SkipMalware, Detail: "refused"}
		},
		"cut": func() (io.ReadCloser, error) {
			if tries++; tries == 1 {
				broken := &backup.Error{Code: backup.CodeBadResponse, Message: "the body broke off", Retryable: true}
				return io.NopCloser(io.MultiReader(strings.NewReader("wh"), iotest.ErrReader(broken))), nil
			}
			return io.NopCloser(strings.NewReader("whole")), nil
		},
	}
}

// An expired token leads to a full listing that fetches only what changed and drops what is no longer there.
func TestTransferListsEverythingWhenTheTokenExpired(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`}); err != nil {
		t.Fatal(err)
	}
	listing := []backup.Change{folderItem("F", ""), folderItem("G", ""), message("a", "F", "1"), message("c", "G", "2")}
	s := &script{rounds: map[string][]backup.Change{"": listing}, next: `"new"`}
	info, err := b.run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.opened, []string{"c"}) {
		t.Errorf("fetched %v", s.opened)
	}
	expectCounts(t, info.State.Counts, backup.Counts{Listed: 4, Stored: 1, Unchanged: 3, Dropped: 1, Resyncs: 1, Items: 4})
}

// A service that lists nothing after its token expired empties no snapshot.
func TestTransferDoesNotBelieveThatEverythingIsGone(t *testing.T) {
	b := newBench(t)
	first, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.run(t, &script{rounds: map[string][]backup.Change{"": nil}, next: `"new"`}); !backup.HasCode(err, backup.CodeEmptyListing) {
		t.Fatalf("got %v", err)
	}
	info, err := b.run(t, &script{rounds: map[string][]backup.Change{`"one"`: nil}, next: `"two"`})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, b.holds(t, info), b.holds(t, first))
}

// What was fetched before a failure is not fetched again, and the failed attempt's cursor is not taken for a good one.
func TestTransferGoesOnAfterAFailure(t *testing.T) {
	b := newBench(t)
	down := &backup.Error{Code: backup.CodeUnreachable, Message: "no answer", Retryable: true}
	s := &script{rounds: map[string][]backup.Change{"": firstRound()[:4]}, next: `"bad"`, fail: down}
	if _, err := b.run(t, s); !errors.Is(err, down) {
		t.Fatalf("got %v", err)
	}
	s = &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`}
	info, err := b.again(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.opened, []string{"c"}) {
		t.Errorf("fetched %v, want only what had not been", s.opened)
	}
	expectCounts(t, info.State.Counts, backup.Counts{Listed: 5, Stored: 1, Unchanged: 4, Items: 5})
}

// A retry after the commit finds the snapshot and does nothing.
func TestTransferIsDoneOncePerRun(t *testing.T) {
	b := newBench(t)
	first, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`})
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.again(t, &script{})
	if err != nil || again.ID != first.ID {
		t.Errorf("got %v, %v, want the snapshot %v", again.ID, err, first.ID)
	}
}

// A failure of one item that is not its own stops the transfer, whatever else is under way.
func TestTransferStopsAtAFailure(t *testing.T) {
	b := newBench(t)
	denied := &backup.Error{Code: backup.CodeThrottled, Message: "come back in ten minutes", Retryable: true}
	changes := firstRound()
	for i := range 500 {
		changes = append(changes, message(fmt.Sprint("m", i), "F", "1"))
	}
	s := &script{rounds: map[string][]backup.Change{"": changes}, content: map[string]func() (io.ReadCloser, error){"m250": func() (io.ReadCloser, error) { return nil, denied }}}
	if _, err := b.run(t, s); !errors.Is(err, denied) {
		t.Fatalf("got %v", err)
	}
	if n := len(s.opened); n > 450 {
		t.Errorf("%d items were fetched after all", n)
	}
}

// What could not be had is asked for again in every run until it can be, although the service tells of no change.
func TestTransferAsksAgainForWhatIsMissing(t *testing.T) {
	b := newBench(t)
	locked := func() (io.ReadCloser, error) {
		return nil, &backup.SkipError{Reason: backup.SkipLocked, Detail: "checked out"}
	}
	shut := map[string]func() (io.ReadCloser, error){"a": locked, "b": locked}
	first, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`, content: shut})
	if err != nil {
		t.Fatal(err)
	}
	expectCounts(t, first.State.Counts, backup.Counts{Listed: 5, Stored: 3, Skipped: 2, Items: 5})

	second, err := b.run(t, &script{rounds: map[string][]backup.Change{`"one"`: nil}, next: `"two"`, content: shut})
	if err != nil {
		t.Fatal(err)
	}
	expectCounts(t, second.State.Counts, backup.Counts{Listed: 2, Skipped: 2, Items: 5})

	delete(shut, "a")
	shut["b"] = hazards()["gone"]
	third, err := b.run(t, &script{rounds: map[string][]backup.Change{`"two"`: nil}, next: `"three"`, content: shut})
	if err != nil {
		t.Fatal(err)
	}
	expectCounts(t, third.State.Counts, backup.Counts{Listed: 2, Stored: 1, Gone: 1, Items: 4})
	expect(t, b.holds(t, third), map[string]string{"F": "folder in ", "G": "folder in ", "a": "message in F: content of a 1", "c": "message in G: content of c 1"})

	s := &script{rounds: map[string][]backup.Change{`"three"`: nil}, next: `"four"`}
	fourth, err := b.run(t, s)
	if err != nil || len(s.opened) > 0 {
		t.Errorf("%v was asked for again, %v", s.opened, err)
	}
	expectCounts(t, fourth.State.Counts, backup.Counts{Items: 4})
}

// While a run is under way, or after one that failed, the snapshot before it is the one that is restored.
func TestRestoreChoosesTheCompleteSnapshotBelowACheckpoint(t *testing.T) {
	b := newBench(t)
	in := RestoreInput{Tenant: "acme", App: backup.Microsoft365, Service: backup.Mail}
	down := &backup.Error{Code: backup.CodeUnreachable, Message: "no answer", Retryable: true}
	broken := func() *script {
		return &script{rounds: map[string][]backup.Change{"": firstRound()[:3], `"one"`: {message("d", "F", "1")}}, fail: down}
	}
	if _, err := b.run(t, broken()); !errors.Is(err, down) {
		t.Fatal(err)
	}
	if s, err := choose(t.Context(), b.repository, backup.Account{ID: b.account}, in); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("before any run was complete: %v, %v", s, err)
	}
	complete, err := b.again(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a checkpoint, and one on top of it
		if _, err := b.run(t, broken()); !errors.Is(err, down) {
			t.Fatal(err)
		}
		s, err := choose(t.Context(), b.repository, backup.Account{ID: b.account}, in)
		if err != nil || s.ID != complete.ID {
			t.Errorf("got %v, %v, want the snapshot %s", s, err, complete.ID)
		}
	}
}

// One item for which the service has only faults is given up in the end, is reported, and is asked for again; many are the service's own trouble.
func TestTransferGivesUpASpoiltItem(t *testing.T) {
	b := newBench(t)
	fault := &backup.Error{Code: backup.CodeBadResponse, Message: "500", Retryable: true}
	refuse := func() (io.ReadCloser, error) { return nil, fault }
	source := func(spoilt ...string) *script {
		s := &script{rounds: map[string][]backup.Change{"": firstRound(), `"one"`: nil}, next: `"one"`, content: map[string]func() (io.ReadCloser, error){}}
		for _, id := range spoilt {
			s.content[id] = refuse
		}
		return s
	}
	if _, err := b.run(t, source("a")); !errors.Is(err, fault) {
		t.Errorf("while there are further attempts: %v", err)
	}
	b.lastTry = true
	info, err := b.again(t, source("a"))
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Counts.Skipped != 1 || info.State.Skips[backup.SkipCorrupt] != 1 || info.State.Missing != 1 {
		t.Errorf("the snapshot's state is %+v", info.State)
	}
	b.lastTry = false
	if info, err = b.run(t, source()); err != nil || info.State.Missing != 0 || b.holds(t, info)["a"] != "message in F: content of a 1" {
		t.Errorf("when it can be had again: %+v, %v", info.State, err)
	}

	b = newBench(t)
	b.lastTry = true
	outage := source()
	for i := range mostSpoilt + 1 {
		id := fmt.Sprint("m", i)
		outage.rounds[""] = append(outage.rounds[""], message(id, "F", "1"))
		outage.content[id] = refuse
	}
	if _, err := b.run(t, outage); !errors.Is(err, fault) {
		t.Errorf("an outage: %v", err)
	}
}

// A resync that was interrupted is reported by the attempt that ends it.
func TestTransferReportsAnInterruptedResync(t *testing.T) {
	b := newBench(t)
	if _, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"one"`}); err != nil {
		t.Fatal(err)
	}
	down := &backup.Error{Code: backup.CodeUnreachable, Message: "no answer", Retryable: true}
	if _, err := b.run(t, &script{rounds: map[string][]backup.Change{"": firstRound()[:3]}, fail: down}); !errors.Is(err, down) {
		t.Fatal(err)
	}
	info, err := b.again(t, &script{rounds: map[string][]backup.Change{"": firstRound()}, next: `"two"`})
	if err != nil {
		t.Fatal(err)
	}
	expectCounts(t, info.State.Counts, backup.Counts{Listed: 5, Unchanged: 5, Resyncs: 1, Items: 5})
	if info, err = b.run(t, &script{rounds: map[string][]backup.Change{`"two"`: nil}, next: `"three"`}); err != nil || info.State.Counts.Resyncs != 0 {
		t.Errorf("the next run reports %+v, %v", info.State.Counts, err)
	}
}

// A feed that states no versions, as that of OneDrive for Business: hash and size tell what to fetch, and what is missing is asked for again.
func TestTransferFollowsAFeedWithoutVersions(t *testing.T) {
	b := newBench(t)
	file := func(id, name, hash string) backup.Change {
		return backup.Change{Item: backup.Item{ID: id, Kind: backup.File, Name: name, MetaVersion: name + hash, Hash: hash, Size: 9}}
	}
	shortcut := backup.Change{Item: backup.Item{ID: "s", Kind: backup.File, Name: "s", MetaVersion: "1", Size: -1, Skip: backup.SkipShortcut}}
	open := func() func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("nine byte")), nil }
	}
	s := &versions{script{rounds: map[string][]backup.Change{"": {file("a", "a", "h1"), file("b", "b", ""), file("c", "c", "h3"), shortcut}}, next: `"one"`,
		content: map[string]func() (io.ReadCloser, error){"a": open(), "b": open(), "c": func() (io.ReadCloser, error) {
			return nil, &backup.SkipError{Reason: backup.SkipLocked, Detail: "checked out"}
		}}}}
	first, err := b.run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	if first.State.Missing != 1 {
		t.Errorf("%d are missing, want the locked one", first.State.Missing)
	}
	s.opened, s.next, s.content["c"] = nil, `"two"`, open()
	s.rounds[`"one"`] = []backup.Change{file("a", "renamed", "h1"), file("b", "b", ""), shortcut}
	second, err := b.run(t, s)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(s.opened)
	if !slices.Equal(s.opened, []string{"b", "c"}) {
		t.Errorf("fetched %v, want what states no hash, and what was missing", s.opened)
	}
	expectCounts(t, second.State.Counts, backup.Counts{Listed: 4, Stored: 3, Skipped: 1, Items: 4})
	// The same once more: nothing changed but what cannot be told.
	s.opened, s.rounds[`"two"`] = nil, []backup.Change{file("a", "renamed", "h1"), file("c", "c", "h3"), shortcut}
	third, err := b.run(t, s)
	if err != nil || len(s.opened) > 0 {
		t.Errorf("fetched %v, %v", s.opened, err)
	}
	expectCounts(t, third.State.Counts, backup.Counts{Listed: 3, Unchanged: 2, Skipped: 1, Items: 4})
}

// versions is a source that states an item's version only when it is opened.
type versions struct{ script }

func (v *versions) Open(ctx context.Context, i backup.Item) (backup.Item, io.ReadCloser, error) {
	i, body, err := v.script.Open(ctx, i)
	i.Version = "c-tag of " + i.ID
	return i, body, err
}
