package sqlstore

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// wantUntouched checks that a pass can neither be compared nor applied, and that nothing came of trying.
func (i *importer) wantUntouched(t *testing.T, p backup.Pass, code backup.Code, digest string) {
	t.Helper()
	before := tables(t, i.store)
	_, err := i.store.ComparePass(t.Context(), i.tenant, p)
	wantCode(t, err, code)
	_, err = i.store.ApplyPass(t.Context(), i.tenant, p, digest, "vera", i.now)
	wantCode(t, err, code)
	if after := tables(t, i.store); !reflect.DeepEqual(before, after) {
		t.Errorf("it changed\n%q to\n%q", before, after)
	}
}

// Whatever was read before a read broke off is not the directory.
func TestUnfinishedReadIsNeverCompared(t *testing.T) {
	i := newImporter(t, newStore(t))
	all := people(t, "e1 anna", "e2 bela", "e3 chen")
	i.run(all)
	i.begin()
	i.wantUntouched(t, i.current(), backup.CodeBadResponse, "")
	i.page(backup.EntryPage{Entries: all[:1], Resume: json.RawMessage(`{"at":1}`)})
	i.wantUntouched(t, i.current(), backup.CodeBadResponse, "")
	i.page(backup.EntryPage{Entries: all[1:]})
	i.end(backup.FullRead)
	digest := i.difference().Digest
	// A page after the end: the end is not that of what is staged now.
	i.page(backup.EntryPage{Gone: []string{"e1"}})
	i.wantUntouched(t, i.current(), backup.CodeBadResponse, digest)
	i.end(backup.FullRead)
	i.difference()
	// The read begins again.
	got[backup.ReadFrom](t)(i.store.BeginPass(t.Context(), i.current(), backup.ImportStart{}))
	i.wantUntouched(t, i.current(), backup.CodeBadResponse, digest)
	i.page(backup.EntryPage{Entries: all})
	i.end(backup.FullRead)
	must(t, i.store.RestartPass(t.Context(), i.current()))
	i.wantUntouched(t, i.current(), backup.CodeBadResponse, digest)
	i.wantAccounts("e1 anna", "e2 bela", "e3 chen")
}

// A process that dies between its last page and the end of the read leaves a read that is not complete.
func TestDeathBetweenLastPageAndEndOfRead(t *testing.T) {
	first, second := twoStores(t)
	i := newImporter(t, first)
	i.run(people(t, "e1 anna", "e2 bela"))
	i.begin()
	i.page(backup.EntryPage{Entries: people(t, "e1 anna"), Resume: json.RawMessage(`"page 1"`)})
	after := *i
	after.store = second
	after.wantUntouched(t, i.current(), backup.CodeBadResponse, "")
	from := got[backup.ReadFrom](t)(second.BeginPass(t.Context(), i.current(), backup.ImportStart{}))
	if string(from.Resume) != `"page 1"` {
		t.Errorf("the read goes on from %+v", from)
	}
	after.page(backup.EntryPage{Entries: people(t, "e2 bela")})
	after.end(backup.FullRead)
	if c := after.difference().Counts; c != (backup.ImportCounts{Listed: 2, Unchanged: 2, KnownActive: 2}) {
		t.Errorf("counts are %+v", c)
	}
	r := got[[]backup.ImportReport](t)(second.ListImports(t.Context(), acme, "ldap", 1))[0]
	if r.Pages != 2 || r.Resumed != 1 || r.Outcome != backup.ImportUnderWay {
		t.Errorf("the report is %+v", r)
	}
}

// A read that broke off behind a page that cannot be gone on from begins anew, and what was staged is forgotten.
func TestReadWithoutResumeBeginsAnew(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.begin()
	i.page(backup.EntryPage{Entries: people(t, "e1 anna"), Resume: json.RawMessage(`1`)})
	i.page(backup.EntryPage{Entries: people(t, "e2 bela")})
	if from := got[backup.ReadFrom](t)(i.store.BeginPass(t.Context(), i.current(), backup.ImportStart{})); len(from.Resume) > 0 {
		t.Errorf("the read goes on from %+v", from)
	}
	i.page(backup.EntryPage{Entries: people(t, "e3 chen")})
	i.apply()
	i.wantAccounts("e3 chen")
}

// A pass that was replaced can do nothing any more, compared as it may be; and one that has ended does not begin again, although a call of
// its own may come late.
func TestPassThatIsOverCanDoNothing(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 bela"))
	i.stage(people(t, "e1 anna"))
	i.end(backup.FullRead)
	old, digest := i.current(), i.difference().Digest
	i.begin()
	i.wantUntouched(t, old, backup.CodeNotFound, digest)
	wantCode(t, i.store.EndRead(t.Context(), old, backup.ReadEnd{Mode: backup.FullRead}), backup.CodeNotFound)
	wantCode(t, i.store.RestartPass(t.Context(), old), backup.CodeNotFound)
	must(t, i.store.EndPass(t.Context(), old, backup.ImportEnd{Outcome: backup.ImportRefused}, i.now))
	if r := got[[]backup.ImportReport](t)(i.store.ListImports(t.Context(), acme, "ldap", 0))[1]; r.Outcome != backup.ImportReplaced {
		t.Errorf("the replaced import's report is %+v", r)
	}
	i.page(backup.EntryPage{Entries: people(t, "e1 anna", "e2 bela")})
	i.apply()
	for range 2 {
		_, err := i.store.BeginPass(t.Context(), i.current(), backup.ImportStart{})
		wantCode(t, err, backup.CodeNotFound)
	}
	wantCode(t, stageOne(i.store, i.current(), backup.EntryPage{Entries: people(t, "e3 chen")}), backup.CodeNotFound)
	if reports := got[[]backup.ImportReport](t)(i.store.ListImports(t.Context(), acme, "ldap", 0)); len(reports) != 3 || reports[0].Outcome != backup.ImportApplied {
		t.Errorf("the reports are %+v", reports)
	}
	i.stage(people(t, "e1 anna"))
	i.end(backup.FullRead)
	ended := i.difference().Digest
	must(t, i.store.EndPass(t.Context(), i.current(), backup.ImportEnd{Outcome: backup.ImportPreviewed}, i.now))
	_, err := i.store.ApplyPass(t.Context(), i.tenant, i.current(), ended, "", i.now)
	wantCode(t, err, backup.CodeNotFound)
	i.wantAccounts("e1 anna", "e2 bela")
}

// A disk that is full when a pass is applied leaves all as it was, and the pass can be applied when there is room again.
func TestFullDiskWhileApplying(t *testing.T) {
	i := newImporter(t, openAt(t, filepath.Join(t.TempDir(), "holdfast.db")))
	i.run(people(t, "e1 anna", "e2 bela"))
	i.stage(crowd(0, 3000))
	i.end(backup.FullRead)
	digest := i.difference().Digest
	limit(t, i.store, `(SELECT page_count FROM pragma_page_count()) + 20`)
	before := tables(t, i.store)
	_, err := i.store.ApplyPass(t.Context(), i.tenant, i.current(), digest, "", i.now)
	wantCode(t, err, backup.CodeDiskFull)
	if after := tables(t, i.store); !reflect.DeepEqual(before, after) {
		t.Errorf("it changed\n%q to %d rows", before, len(after))
	}
	if r := got[[]backup.ImportReport](t)(i.store.ListImports(t.Context(), acme, "", 0))[0]; r.Outcome != backup.ImportUnderWay || r.Digest != digest {
		t.Errorf("the report is %+v", r)
	}
	limit(t, i.store, `1000000`)
	a := got[backup.Accounts](t)(i.store.ApplyPass(t.Context(), i.tenant, i.current(), digest, "", i.now))
	if a != (backup.Accounts{Active: 2880, Preserved: 122}) {
		t.Errorf("with room again, accounts are %+v", a)
	}
}

// pagesOf goes through all pages, none of which may be longer than the limit, and none but the last shorter.
func pagesOf[T any](t *testing.T, limit int, page func(after string) ([]T, string, error)) (all []T) {
	t.Helper()
	for after := ""; ; {
		some, next, err := page(after)
		must(t, err)
		if len(some) > limit || next != "" && len(some) < limit {
			t.Fatalf("a page of at most %d has %d, and after it comes %q", limit, len(some), next)
		}
		all = append(all, some...)
		if after = next; after == "" {
			return all
		}
	}
}

// Of many additions no rows are kept. Before and after they are applied, pages of any size show each once, behind what needs a look.
func TestManyAdditionsArePagedOnce(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 bela"))
	many := append(crowd(0, rowsOfAdditions+205), people(t, "n1 none", "n2 none", "e1 anna.new")...)
	i.stage(many)
	i.end(backup.FullRead)
	d := i.difference()
	var want []string
	for _, e := range many[:rowsOfAdditions+205] {
		want = append(want, "added "+e.ID)
	}
	slices.Sort(want)
	want = append([]string{"skipped n1", "skipped n2"}, want...)
	look := func(limit int) []string {
		changes := pagesOf(t, limit, func(after string) ([]backup.ImportChange, string, error) {
			return i.store.ListChanges(t.Context(), acme, d.Report, after, limit)
		})
		var short []string
		for _, c := range changes {
			short = append(short, string(c.Kind)+" "+c.Entry.ID)
		}
		touched := short[:2] // in order of account
		slices.Sort(touched)
		if !slices.Equal(touched, []string{"changed e1", "removed e2"}) {
			t.Errorf("first come %q", touched)
		}
		return short[2:]
	}
	for _, limit := range []int{1000, 401, 5, 4, 3} {
		if have := look(limit); !slices.Equal(have, want) {
			t.Errorf("in pages of %d there are %d changes, want %d; the first are %q", limit, len(have), len(want), have[:4])
		}
	}
	i.applyCompared()
	if have := look(500); !slices.Equal(have, want) {
		t.Errorf("applied, there are %d changes, want %d; the first are %q", len(have), len(want), have[:4])
	}
}

func TestListsArePaged(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 none", "e3 anna", "e4 bela", "e5 unreadable"))
	entra := i.in("entra")
	entra.run([]backup.DirectoryEntry{{ID: "x1", Mail: "chen@acme.example", UPN: "c@corp.example", DN: "cn=Chen", Aliases: []string{"Boss@acme.example"}}, {ID: "x2", Problem: backup.NoMail}})
	for dir, want := range map[backup.DirectoryName]string{"": "[x1 x2 e1 e2 e3 e4 e5]", "ldap": "[e1 e2 e3 e4 e5]", "scim": "[]"} {
		for _, limit := range []int{1, 2, 100} {
			all := pagesOf(t, limit, func(after string) ([]backup.KnownEntry, string, error) {
				return i.store.ListEntries(t.Context(), acme, dir, after, limit)
			})
			ids := make([]string, len(all))
			for n, k := range all {
				ids[n] = k.Entry.ID
				if (k.Account == "") != (k.Entry.Problem != "") {
					t.Errorf("%s with the problem %q is behind %q", k.Entry.ID, k.Entry.Problem, k.Account)
				}
			}
			if have := fmt.Sprint(ids); have != want {
				t.Errorf("in pages of %d, the entries of %q are %s, want %s", limit, dir, have, want)
			}
		}
	}
	problems := pagesOf(t, 2, func(after string) ([]backup.DirectoryEntry, string, error) {
		return i.store.ListProblems(t.Context(), acme, "", after, 2)
	})
	if len(problems) != 4 {
		t.Errorf("the problems are %+v", problems)
	}
	for _, ref := range []string{"x1", "cn=Chen", "CHEN@acme.example", " C@corp.example ", "boss@acme.example"} {
		found := got[[]backup.KnownEntry](t)(i.store.FindEntries(t.Context(), acme, ref, 0))
		if len(found) != 1 || found[0].Entry.ID != "x1" || found[0].Account == "" || len(found[0].Entry.Aliases) != 1 {
			t.Errorf("%q finds %+v", ref, found)
		}
	}
	for _, ref := range []string{"", "%", "x", "chen"} {
		if found := got[[]backup.KnownEntry](t)(i.store.FindEntries(t.Context(), acme, ref, 0)); len(found) != 0 {
			t.Errorf("%q finds %+v", ref, found)
		}
	}
	if imports := got[[]backup.ImportReport](t)(i.store.ListImports(t.Context(), acme, "", 1)); len(imports) != 1 || imports[0].Directory != "entra" || imports[0].Number != 2 {
		t.Errorf("the newest import is %+v", imports)
	}
}

// A reader that was given up and lives on stages nothing behind the back of the one that replaced it.
func TestAReplacedReaderChangesNothing(t *testing.T) {
	s := newStore(t)
	pass := backup.Pass{Tenant: acme, Directory: "ldap", ID: "run", Attempt: 1}
	first, second := pass, pass
	second.Attempt = 2
	got[backup.ReadFrom](t)(s.BeginPass(t.Context(), first, backup.ImportStart{}))
	must(t, stageOne(s, first, backup.EntryPage{Entries: people(t, "e1 anna"), Resume: []byte(`"1"`)}))
	if from := got[backup.ReadFrom](t)(s.BeginPass(t.Context(), second, backup.ImportStart{})); string(from.Resume) != `"1"` {
		t.Fatalf("%+v", from)
	}
	wantCode(t, stageOne(s, first, backup.EntryPage{Entries: people(t, "e2 bela"), Resume: []byte(`"9"`)}), backup.CodeNotFound)
	wantCode(t, s.EndRead(t.Context(), first, backup.ReadEnd{Mode: backup.FullRead}), backup.CodeNotFound)
	wantCode(t, s.RestartPass(t.Context(), first), backup.CodeNotFound)
	_, err := s.BeginPass(t.Context(), first, backup.ImportStart{})
	wantCode(t, err, backup.CodeNotFound)
	must(t, stageOne(s, second, backup.EntryPage{Entries: people(t, "e3 chen")}))
	must(t, s.EndRead(t.Context(), second, backup.ReadEnd{Mode: backup.FullRead}))
	d := got[backup.ImportDifference](t)(s.ComparePass(t.Context(), backup.Tenant{ID: acme, Directories: []backup.DirectoryConfig{{Name: "ldap"}}}, pass))
	if d.Counts.Added != 2 {
		t.Fatalf("%+v", d.Counts)
	}
}
