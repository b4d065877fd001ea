package sqlstore

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// world is some directories as they are, and a store for each way in which they are read.
type world struct {
	*rand.Rand
	dirs map[backup.DirectoryName]map[string]backup.DirectoryEntry
	left map[string]backup.DirectoryEntry // by id, those who were deleted, as they were last
}

// mutate makes some changes of a directory, and returns the ids that were touched.
func (w *world) mutate(dir backup.DirectoryName) (touched []string) {
	all := w.dirs[dir]
	for range 1 + w.IntN(5) {
		id := fmt.Sprintf("%s-%02d", dir, w.IntN(12))
		e, there := all[id]
		touched = append(touched, id)
		old, left := w.left[id]
		switch {
		case !there && left && w.IntN(2) == 0: // as he was
			e = old
		case !there || w.IntN(3) == 0:
			name := fmt.Sprintf("p%d", w.IntN(9))
			e = backup.DirectoryEntry{ID: id, DN: "uid=" + id, Mail: name + "@acme.example", DisplayName: name, EmployeeID: name}
			if w.IntN(4) == 0 {
				e.EmployeeID = ""
			}
			if w.IntN(5) == 0 {
				e.Aliases = []string{fmt.Sprintf("p%d@acme.example", w.IntN(9))}
			}
		case w.IntN(4) == 0:
			delete(all, id)
			if w.left == nil {
				w.left = map[string]backup.DirectoryEntry{}
			}
			w.left[id] = e
			continue
		case w.IntN(3) == 0:
			e.Disabled = !e.Disabled
		case w.IntN(3) == 0:
			e.Mail, e.Problem = "", backup.NoMail
		default:
			e.Department = fmt.Sprint("d", w.IntN(3))
		}
		all[id] = e
	}
	slices.Sort(touched)
	return slices.Compact(touched)
}

// tables are the accounts and entries as rows, without what numbers of reports and times say.
func tables(t *testing.T, s *Store) (rows []string) {
	t.Helper()
	for _, q := range []string{
		`SELECT id || ' ' || directory || ' ' || entry_id || ' ' || mail || ' ' || upn || ' ' || display_name || ' ' || employee_id || ' ' || department || ' ' || state || ' ' || reason || ' ' || provenance FROM account ORDER BY id`,
		`SELECT directory || ' ' || entry_id || ' ' || hash || ' ' || problem || ' ' || present || ' ' || account_id || ' ' || joined || ' ' || backs || ' ' || held || ' ' || held_key || ' ' || held_active FROM directory_entry ORDER BY directory, entry_id`,
		`SELECT directory || ' ' || entry_id || ' ' || alias_key FROM entry_alias ORDER BY directory, entry_id, alias_key`,
	} {
		rows = append(rows, got[[]string](t)(list(t.Context(), s.read, func(r row) (v string, err error) { return v, r.Scan(&v) }, q))...)
	}
	return rows
}

// accountsByID are the accounts, and what of them a change may speak of.
func accountsByID(t *testing.T, s *Store) map[string]backup.Account {
	t.Helper()
	page, _, err := s.ListAccounts(t.Context(), acme, "", "", 0)
	must(t, err)
	all := map[string]backup.Account{}
	for _, a := range page {
		all[a.ID] = a
	}
	return all
}

// wantSaid checks that the changes are the difference of the accounts before and after.
func wantSaid(t *testing.T, before, after map[string]backup.Account, changes []backup.ImportChange, c backup.ImportCounts) {
	t.Helper()
	said, added, leaving, returned, active := map[string]map[backup.PersonField]string{}, 0, 0, 0, 0
	for _, change := range changes {
		if change.Kind == backup.ChangeAdded {
			added++
		}
		for _, f := range change.Fields {
			if said[change.Account] == nil {
				said[change.Account] = map[backup.PersonField]string{}
			}
			said[change.Account][f.Field] = f.To
		}
	}
	for id, a := range after {
		b, known := before[id]
		if !known {
			added--
			continue
		}
		active += truth(b.State == backup.Active)
		leaving += truth(b.State == backup.Active && a.State != backup.Active)
		returned += truth(b.State != backup.Active && a.State == backup.Active)
		for _, f := range fieldChanges(storedAccount{Account: b}, storedAccount{Account: a}) {
			if to, ok := said[id][f.Field]; !ok || to != f.To {
				t.Fatalf("account %s: %+v happened, but was not said: %+v", id, f, said[id])
			}
			delete(said[id], f.Field)
		}
		for f := range said[id] {
			if slices.ContainsFunc(mergedFields[:], func(m struct {
				field backup.PersonField
				of    func(backup.DirectoryEntry) string
				into  func(*backup.Account) *string
			}) bool {
				return m.field == f
			}) || f == backup.FieldState {
				t.Fatalf("account %s: a change of %s was said that did not happen", id, f)
			}
		}
	}
	if added != 0 || leaving != c.Leaving || returned != c.Returned {
		t.Fatalf("said are %d additions too many; %d leave and %d return, but the counts are %+v", added, leaving, returned, c)
	}
}

// What the comparison says is what the application does, a read of changes leads where a full read leads, and neither pages nor repeats
// matter.
func TestPreviewIsWhatHappens(t *testing.T) {
	fresh := rand.Uint64()
	t.Logf("the random seed of this run is %d", fresh)
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, fresh}
	if onPostgres {
		seeds = []uint64{1, 2, fresh} // many small statements, each of which is a way to the server and back
	}
	for n, seed := range seeds {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			w := &world{Rand: rand.New(rand.NewPCG(seed, 7)), dirs: map[backup.DirectoryName]map[string]backup.DirectoryEntry{"ldap": {}, "entra": {}, "scim": {}}}
			full, changes := newImporter(t, newStore(t)), newImporter(t, newStore(t))
			for step := range 20 {
				dir := []backup.DirectoryName{"ldap", "entra", "scim"}[w.IntN(3)]
				full.dir, changes.dir = dir, dir
				touched := w.mutate(dir)
				w.step(t, full, changes, dir, touched)
				if a, b := tables(t, full.store), tables(t, changes.store); !reflect.DeepEqual(a, b) {
					t.Fatalf("step %d: a full read leads to\n%s\nand one of changes to\n%s", step, strings.Join(a, "\n"), strings.Join(b, "\n"))
				}
			}
		})
	}
}

func (w *world) step(t *testing.T, full, changes *importer, dir backup.DirectoryName, touched []string) {
	t.Helper()
	var all []backup.DirectoryEntry
	for _, e := range w.dirs[dir] {
		all = append(all, e)
	}
	w.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	full.begin()
	for page := range slices.Chunk(all, 1+w.IntN(5)) {
		full.page(backup.EntryPage{Entries: page})
		if w.IntN(4) == 0 {
			full.page(backup.EntryPage{Entries: page})
		}
	}
	full.end(backup.FullRead)
	apply(t, full)
	var page backup.EntryPage
	for _, id := range touched {
		if e, there := w.dirs[dir][id]; there {
			page.Entries = append(page.Entries, e)
		} else {
			page.Gone = append(page.Gone, id)
		}
	}
	changes.begin()
	changes.page(page)
	changes.end(backup.ChangesRead)
	apply(t, changes)
}

// apply applies a pass and checks that it did what was said.
func apply(t *testing.T, i *importer) {
	t.Helper()
	before := accountsByID(t, i.store)
	untouched := tables(t, i.store)
	d := i.difference()
	if now := tables(t, i.store); !reflect.DeepEqual(untouched, now) {
		t.Fatal("the comparison changed something")
	}
	said, _, err := i.store.ListChanges(t.Context(), acme, d.Report, "", 0)
	must(t, err)
	i.applyCompared()
	after := tables(t, i.store)
	wantSaid(t, before, accountsByID(t, i.store), said, d.Counts)
	i.now = i.now.Add(time.Minute)
	i.applyCompared()
	if again := tables(t, i.store); !reflect.DeepEqual(after, again) {
		t.Fatal("applying it twice is not as once")
	}
	if later, _, err := i.store.ListChanges(t.Context(), acme, d.Report, "", 0); err != nil || !same(said, later) {
		t.Fatalf("after the application the changes are %+v, %v; before %+v", later, err, said)
	}
}

func same(a, b any) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}
