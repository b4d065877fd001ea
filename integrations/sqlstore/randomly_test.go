package sqlstore

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// seeds are fixed ones and a fresh one, and as many fresh ones more as HOLDFAST_SEEDS says.
func seeds(t *testing.T, fixed ...uint64) []uint64 {
	t.Helper()
	more, _ := strconv.Atoi(os.Getenv("HOLDFAST_SEEDS"))
	for range 1 + more {
		fixed = append(fixed, rand.Uint64())
	}
	return fixed
}

// However a read goes - in one piece, broken off and gone on with, begun anew, by ids that are present, with words that are taken back -
// it leads where the plain one leads, under precedence by field, rules of profiles and decisions; and the counts are those that a look at
// the accounts before and after gives.
func TestReadsThatGoWrongLeadWhereAPlainOneLeads(t *testing.T) {
	for n, seed := range seeds(t, 11, 12) {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Logf("the seed is %d", seed)
			w := &world{Rand: rand.New(rand.NewPCG(seed, 8)), dirs: map[backup.DirectoryName]map[string]backup.DirectoryEntry{"ldap": {}, "entra": {}, "scim": {}}}
			plain, rough := newImporter(t, newStore(t)), newImporter(t, newStore(t))
			plain.tenant.People.Precedence = map[backup.PersonField][]backup.DirectoryName{backup.FieldDepartment: {"scim"}, backup.FieldState: {"entra", "scim"}}
			plain.tenant.Profiles = []backup.ProfileRule{{Name: "d1", When: backup.ProfileCondition{Attributes: map[string][]string{"department": {"D1"}}}}}
			rough.tenant = plain.tenant
			for step := range 12 {
				dir := []backup.DirectoryName{"ldap", "entra", "scim"}[w.IntN(3)]
				plain.dir, rough.dir = dir, dir
				before := slices.Collect(valuesOf(w.dirs[dir]))
				touched := w.mutate(dir)
				w.decide(t, plain, rough)
				w.readPlainly(plain)
				w.readRoughly(rough, before, touched)
				for _, i := range []*importer{plain, rough} {
					was := w.standing(t, i.store)
					d := i.difference()
					i.applyCompared()
					now := w.standing(t, i.store)
					wantCounts(t, was, now, dir, d.Counts)
					w.wantPresent(t, now, dir)
				}
				if a, b := tables(t, plain.store), tables(t, rough.store); !reflect.DeepEqual(a, b) {
					t.Fatalf("step %d: a plain read leads to\n%s\nand a rough one to\n%s", step, strings.Join(a, "\n"), strings.Join(b, "\n"))
				}
			}
		})
	}
}

func valuesOf(all map[string]backup.DirectoryEntry) func(func(backup.DirectoryEntry) bool) {
	return func(yield func(backup.DirectoryEntry) bool) {
		for _, e := range all {
			if !yield(e) {
				return
			}
		}
	}
}

func (w *world) entries(dir backup.DirectoryName) []backup.DirectoryEntry {
	all := slices.SortedFunc(valuesOf(w.dirs[dir]), func(a, b backup.DirectoryEntry) int { return strings.Compare(a.ID, b.ID) })
	w.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func (w *world) readPlainly(i *importer) {
	i.begin()
	i.page(backup.EntryPage{Entries: w.entries(i.dir)})
	i.end(backup.FullRead)
}

// readRoughly reads the directory in the ways that adapters have.
func (w *world) readRoughly(i *importer, before []backup.DirectoryEntry, touched []string) {
	i.begin()
	for range w.IntN(3) { // what came to nothing
		i.page(backup.EntryPage{Entries: slices.Clone(before), Gone: touched, Resume: json.RawMessage(`"old"`)})
		if w.IntN(2) == 0 {
			must(i, i.store.RestartPass(i.Context(), i.current()))
			continue
		}
		i.page(backup.EntryPage{Entries: people(i, "nobody nobody")})
		w.breakOff(i, "")
	}
	all := w.entries(i.dir)
	if w.IntN(2) == 0 { // words that are taken back later
		i.page(backup.EntryPage{Entries: people(i, "phantom phantom"), Gone: touched, Resume: json.RawMessage(`0`)})
		i.page(backup.EntryPage{Gone: []string{"phantom", "unknown"}, Resume: json.RawMessage(`1`)})
	}
	for n, page := range slices.Collect(slices.Chunk(all, 1+w.IntN(6))) {
		resume := fmt.Sprint(n + 2)
		p := backup.EntryPage{Resume: json.RawMessage(resume)}
		for _, e := range page {
			if known := i.known(e.ID); known && !slices.Contains(touched, e.ID) && w.IntN(2) == 0 {
				p.Present = append(p.Present, e.ID, "unknown too")
				continue
			}
			p.Entries = append(p.Entries, e)
		}
		i.page(p)
		if w.IntN(3) == 0 {
			w.breakOff(i, resume)
			i.page(p) // it came twice
		}
	}
	i.end(backup.FullRead)
}

// breakOff begins the pass again, which has to go on from there.
func (w *world) breakOff(i *importer, resume string) {
	from := got[backup.ReadFrom](i)(i.store.BeginPass(i.Context(), i.current(), backup.ImportStart{}))
	if string(from.Resume) != resume {
		i.Fatalf("the read goes on from %q, want %q", from.Resume, resume)
	}
}

func (i *importer) known(id string) (known bool) {
	must(i, i.store.read.QueryRowContext(i.Context(), `SELECT EXISTS (SELECT 1 FROM directory_entry WHERE tenant = $1 AND directory = $2 AND entry_id = $3)`, acme, i.dir, id).Scan(&known))
	return known
}

// decide lets a person decide about one who waits, in both stores alike.
func (w *world) decide(t *testing.T, stores ...*importer) {
	page, _, err := stores[0].store.ListConflicts(t.Context(), acme, "", 0)
	must(t, err)
	if len(page) == 0 || w.IntN(2) == 0 {
		return
	}
	c := page[w.IntN(len(page))]
	d := backup.MergeDecision{Directory: c.Directory, EntryID: c.Entry.ID, By: "vera", At: stores[0].now}
	d.Verdict = []backup.MergeVerdict{backup.MergeSame, backup.MergeSeparate, backup.MergeIgnore}[w.IntN(3)]
	if d.Verdict == backup.MergeSame {
		if len(c.Candidates) == 0 {
			return
		}
		d.Account = c.Candidates[w.IntN(len(c.Candidates))].Account.ID
	}
	first := stores[0].store.DecideConflict(t.Context(), acme, d)
	for _, i := range stores[1:] {
		if err := i.store.DecideConflict(t.Context(), acme, d); backup.AsError(err) == nil != (backup.AsError(first) == nil) {
			t.Fatalf("one store says %v to a decision, the other %v", first, err)
		}
	}
}

// standing is who stands behind whom, as the lists of the store show it.
type standing struct {
	accounts map[string]backup.Account
	entries  map[string]backup.KnownEntry // by directory and id
	backs    map[string]bool              // the account counts the entry
}

func (w *world) standing(t *testing.T, s *Store) standing {
	t.Helper()
	all := standing{accounts: accountsByID(t, s), entries: map[string]backup.KnownEntry{}, backs: map[string]bool{}}
	page, _, err := s.ListEntries(t.Context(), acme, "", "", 0)
	must(t, err)
	for _, k := range page {
		all.entries[string(k.Directory)+"/"+k.Entry.ID] = k
	}
	backing := got[[]string](t)(list(t.Context(), s.read, func(r row) (v string, err error) { return v, r.Scan(&v) }, `SELECT directory || '/' || entry_id FROM directory_entry WHERE backs`))
	for _, name := range backing {
		all.backs[name] = true
	}
	return all
}

// active tells whether the entry counts for an active account.
func (s standing) active(name string) bool {
	return s.backs[name] && s.accounts[s.entries[name].Account].State == backup.Active
}

// wantPresent: after an import exactly those are there whom the directory lists, saying what it says of them.
func (w *world) wantPresent(t *testing.T, after standing, dir backup.DirectoryName) {
	t.Helper()
	there := map[string]string{}
	for name, e := range after.entries {
		if e.Directory == dir && e.Present {
			there[name] = e.Entry.DisplayName + " " + e.Entry.Department
		}
	}
	listed := map[string]string{}
	for id, e := range w.dirs[dir] {
		listed[string(dir)+"/"+id] = e.DisplayName + " " + e.Department
	}
	if !maps.Equal(there, listed) {
		t.Fatalf("%s lists\n%v\nand known to be there are\n%v", dir, listed, there)
	}
}

// wantCounts counts again what an import of the directory said that it does.
func wantCounts(t *testing.T, before, after standing, dir backup.DirectoryName, have backup.ImportCounts) {
	t.Helper()
	behind, vanished, conflicts, merged := map[string]bool{}, 0, 0, 0
	for name, was := range before.entries {
		if was.Directory != dir || !before.active(name) {
			continue
		}
		behind[was.Account] = true
		if now := after.entries[name]; !after.backs[name] || now.Account != was.Account {
			vanished++
		}
	}
	for name, now := range after.entries {
		if now.Directory != dir {
			continue
		}
		conflicts += truth(now.Present && now.Entry.Problem == backup.Conflict)
		_, old := before.accounts[now.Account]
		merged += truth(now.Account != "" && old && now.By != "first" && before.entries[name].Account != now.Account)
	}
	if have.KnownActive != len(behind) || have.Vanished != vanished || have.Conflicts != conflicts || have.Merged != merged {
		t.Fatalf("counted again: %d known and active, %d vanished, %d conflicts, %d merged; said %+v", len(behind), vanished, conflicts, merged, have)
	}
}
