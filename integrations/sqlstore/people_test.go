package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// person is a directory entry in short: "id mail", where the id may be followed by "-" for disabled and the mail may be
// "none" or "unreadable".
func person(t testing.TB, short string) backup.DirectoryEntry {
	t.Helper()
	id, mail, ok := strings.Cut(short, " ")
	if !ok {
		t.Fatalf("%q is no person", short)
	}
	id, disabled := strings.CutSuffix(id, "-")
	e := backup.DirectoryEntry{ID: id, DN: "uid=" + id, DisplayName: "Person " + id, Disabled: disabled}
	switch mail {
	case "none":
		e.Problem = backup.NoMail
	case "unreadable":
		e.Problem = backup.BadEntry
	default:
		e.Mail = mail + "@acme.example"
	}
	return e
}

func people(t testing.TB, short ...string) []backup.DirectoryEntry {
	all := make([]backup.DirectoryEntry, len(short))
	for i, p := range short {
		all[i] = person(t, p)
	}
	return all
}

// importer runs passes against a store.
type importer struct {
	testing.TB
	store  *Store
	tenant backup.Tenant
	dir    backup.DirectoryName
	pass   int64
	now    time.Time
}

// passes counts the passes of all tests: each has an id of its own, as in life.
var passes atomic.Int64

func newImporter(t testing.TB, s *Store) *importer {
	return &importer{TB: t, store: s, tenant: backup.Tenant{ID: acme, Directories: []backup.DirectoryConfig{{Name: "ldap"}, {Name: "entra"}, {Name: "scim"}}}, dir: "ldap", now: noon}
}

func (i *importer) stage(pages ...[]backup.DirectoryEntry) {
	i.Helper()
	i.begin()
	for _, p := range pages {
		i.page(backup.EntryPage{Entries: p})
	}
}

func (i *importer) begin() backup.ReadFrom {
	i.Helper()
	i.pass = passes.Add(1)
	i.now = i.now.Add(time.Hour)
	return i.again()
}

// again begins the current pass, or goes on with it.
func (i *importer) again() backup.ReadFrom {
	i.Helper()
	return got[backup.ReadFrom](i)(i.store.BeginPass(i.Context(), i.current(), backup.ImportStart{Rules: i.tenant.PeopleRules()}))
}

func (i *importer) page(p backup.EntryPage) {
	i.Helper()
	i.tenant.Assign(i.dir, p.Entries)
	must(i, stageOne(i.store, i.current(), p))
}

// stageOne keeps one page.
func stageOne(s *Store, p backup.Pass, page backup.EntryPage) error {
	staging := s.Stage(context.Background(), p)
	return errors.Join(staging.Page(page), staging.Close())
}

func (i *importer) current() backup.Pass {
	return backup.Pass{Tenant: acme, Directory: i.dir, ID: fmt.Sprint("pass-", i.pass)}
}

func (i *importer) end(mode backup.ReadMode) {
	i.Helper()
	must(i, i.store.EndRead(i.Context(), i.current(), backup.ReadEnd{Mode: mode}))
}

func (i *importer) difference() backup.ImportDifference {
	i.Helper()
	return got[backup.ImportDifference](i)(i.store.ComparePass(i.Context(), i.tenant, i.current()))
}

func (i *importer) compare() backup.ImportCounts {
	i.Helper()
	i.end(backup.FullRead)
	return i.difference().Counts
}

func (i *importer) apply() backup.Accounts {
	i.Helper()
	i.end(backup.FullRead)
	return i.applyCompared()
}

func (i *importer) applyCompared() backup.Accounts {
	i.Helper()
	return got[backup.Accounts](i)(i.store.ApplyPass(i.Context(), i.tenant, i.current(), i.difference().Digest, "", i.now))
}

// changed is a read of changes, applied.
func (i *importer) changed(p backup.EntryPage) backup.ImportCounts {
	i.Helper()
	i.begin()
	i.page(p)
	i.end(backup.ChangesRead)
	d := i.difference()
	i.applyCompared()
	return d.Counts
}

func (i *importer) run(pages ...[]backup.DirectoryEntry) backup.ImportCounts {
	i.Helper()
	i.stage(pages...)
	c := i.compare()
	i.applyCompared()
	return c
}

// accounts shows every account as "entry mail", with "-" for disabled and "~" for vanished, in order of mail.
func (i *importer) accounts() []string {
	i.Helper()
	page, next, err := i.store.ListAccounts(i.Context(), acme, "", "", 0)
	must(i, err)
	if next != "" {
		i.Fatalf("there are more accounts after %q", next)
	}
	var short []string
	for _, a := range page {
		mark := map[backup.PreserveReason]string{"": "", backup.PreservedDisabled: "-", backup.PreservedVanished: "~"}[a.Reason]
		if (a.State == backup.Active) != (a.Reason == "") {
			i.Errorf("account %s is %s for the reason %q", a.ID, a.State, a.Reason)
		}
		short = append(short, a.EntryID+mark+" "+strings.TrimSuffix(a.Mail, "@acme.example"))
	}
	return short
}

func (i *importer) problems() []string {
	i.Helper()
	page, _, err := i.store.ListProblems(i.Context(), acme, i.dir, "", 0)
	must(i, err)
	var short []string
	for _, e := range page {
		short = append(short, e.ID+" "+string(e.Problem))
	}
	return short
}

func TestImport(t *testing.T) {
	known := []string{"e1 anna", "e2 bela", "e3- chen", "e4 none"}
	for _, test := range []struct {
		name     string
		before   []string
		listed   [][]string
		want     backup.ImportCounts
		accounts []string
		problems []string
	}{
		{name: "added", listed: [][]string{{"e1 anna", "e2 bela"}},
			want:     backup.ImportCounts{Listed: 2, Added: 2},
			accounts: []string{"e1 anna", "e2 bela"}},
		{name: "added disabled, so that it is visible", listed: [][]string{{"e1- anna"}},
			want:     backup.ImportCounts{Listed: 1, Added: 1, Disabled: 1},
			accounts: []string{"e1- anna"}},
		{name: "added without mail", listed: [][]string{{"e1 none"}},
			want:     backup.ImportCounts{Listed: 1, Added: 1, NoMail: 1},
			problems: []string{"e1 no_mail"}},
		{name: "added unreadable", listed: [][]string{{"e1 unreadable"}},
			want:     backup.ImportCounts{Listed: 1, Added: 1, BadEntries: 1},
			problems: []string{"e1 bad_entry"}},
		{name: "unchanged", before: known, listed: [][]string{known},
			want:     backup.ImportCounts{Listed: 4, Unchanged: 4, Disabled: 1, NoMail: 1, KnownActive: 2},
			accounts: []string{"e1 anna", "e2 bela", "e3- chen"}, problems: []string{"e4 no_mail"}},
		{name: "changed", before: known, listed: [][]string{{"e1 anna.new", "e2 bela", "e3- chen", "e4 dara"}},
			want:     backup.ImportCounts{Listed: 4, Changed: 2, Unchanged: 2, Disabled: 1, KnownActive: 2},
			accounts: []string{"e1 anna.new", "e2 bela", "e3- chen", "e4 dara"}},
		{name: "vanished", before: known, listed: [][]string{{"e1 anna"}},
			want:     backup.ImportCounts{Listed: 1, Unchanged: 1, Vanished: 1, KnownActive: 2, Leaving: 1},
			accounts: []string{"e1 anna", "e2~ bela", "e3~ chen"}},
		{name: "disabled", before: known, listed: [][]string{{"e1- anna", "e2 bela", "e3- chen", "e4 none"}},
			want:     backup.ImportCounts{Listed: 4, Changed: 1, Unchanged: 3, Disabled: 2, NoMail: 1, KnownActive: 2, Leaving: 1},
			accounts: []string{"e1- anna", "e2 bela", "e3- chen"}, problems: []string{"e4 no_mail"}},
		{name: "returned from disabled", before: known, listed: [][]string{{"e1 anna", "e2 bela", "e3 chen", "e4 none"}},
			want:     backup.ImportCounts{Listed: 4, Changed: 1, Unchanged: 3, Returned: 1, NoMail: 1, KnownActive: 2},
			accounts: []string{"e1 anna", "e2 bela", "e3 chen"}, problems: []string{"e4 no_mail"}},
		{name: "an account's mail is lost", before: known, listed: [][]string{{"e1 none", "e2 unreadable", "e3- chen", "e4 none"}},
			want:     backup.ImportCounts{Listed: 4, Changed: 2, Unchanged: 2, Disabled: 1, NoMail: 2, BadEntries: 1, KnownActive: 2},
			accounts: []string{"e1 anna", "e2 bela", "e3- chen"}, problems: []string{"e1 no_mail", "e2 bad_entry", "e4 no_mail"}},
		{name: "an entry without mail is disabled, and is left alone", before: known, listed: [][]string{{"e1- none", "e2 bela", "e3- chen", "e4 none"}},
			want:     backup.ImportCounts{Listed: 4, Changed: 1, Unchanged: 3, Disabled: 2, NoMail: 2, KnownActive: 2},
			accounts: []string{"e1 anna", "e2 bela", "e3- chen"}, problems: []string{"e1 no_mail", "e4 no_mail"}},
		{name: "one mail twice, nobody known: the lowest id wins", listed: [][]string{{"e9 anna", "e2 ANNA", "e5 anna"}},
			want:     backup.ImportCounts{Listed: 3, Added: 3, DuplicateMail: 2},
			accounts: []string{"e2 ANNA"}, problems: []string{"e5 duplicate_mail", "e9 duplicate_mail"}},
		{name: "one mail twice, one is known: it keeps it", before: []string{"e5 anna"}, listed: [][]string{{"e2 anna", "e5 Anna"}},
			want:     backup.ImportCounts{Listed: 2, Added: 1, Changed: 1, DuplicateMail: 1, KnownActive: 1},
			accounts: []string{"e5 Anna"}, problems: []string{"e2 duplicate_mail"}},
		{name: "one mail twice, the other has an account, too: it stays as it is", before: []string{"e2 bela", "e5 anna"}, listed: [][]string{{"e2- anna", "e5 anna"}},
			want:     backup.ImportCounts{Listed: 2, Changed: 1, Unchanged: 1, Disabled: 1, DuplicateMail: 1, KnownActive: 2},
			accounts: []string{"e5 anna", "e2 bela"}, problems: []string{"e2 duplicate_mail"}},
		{name: "a mail swap", before: []string{"e1 anna", "e2 bela"}, listed: [][]string{{"e1 bela", "e2 anna"}},
			want:     backup.ImportCounts{Listed: 2, Changed: 2, KnownActive: 2},
			accounts: []string{"e2 anna", "e1 bela"}},
		{name: "the mail of an account that is left alone is not free", before: []string{"e1 anna"}, listed: [][]string{{"e1 none", "e2 anna"}},
			want:     backup.ImportCounts{Listed: 2, Added: 1, Changed: 1, NoMail: 1, DuplicateMail: 1, KnownActive: 1},
			accounts: []string{"e1 anna"}, problems: []string{"e1 no_mail", "e2 duplicate_mail"}},
		{name: "a chain of those", before: []string{"e1 anna", "e2 bela", "e3 chen"}, listed: [][]string{{"e1 none", "e2 anna", "e3 bela", "e4 chen"}},
			want:     backup.ImportCounts{Listed: 4, Added: 1, Changed: 3, NoMail: 1, DuplicateMail: 3, KnownActive: 3},
			accounts: []string{"e1 anna", "e2 bela", "e3 chen"}, problems: []string{"e1 no_mail", "e2 duplicate_mail", "e3 duplicate_mail", "e4 duplicate_mail"}},
		{name: "the mail of somebody who vanished is free", before: []string{"e1 anna"}, listed: [][]string{{"e2 anna"}},
			want:     backup.ImportCounts{Listed: 1, Added: 1, Vanished: 1, KnownActive: 1, Leaving: 1},
			accounts: []string{"e1~ anna", "e2 anna"}},
		{name: "an id twice in a page: the last wins", listed: [][]string{{"e1 anna", "e2 bela", "e1 anna.new"}},
			want:     backup.ImportCounts{Listed: 2, Added: 2},
			accounts: []string{"e1 anna.new", "e2 bela"}},
		{name: "an id twice in two pages: the last wins", listed: [][]string{{"e1 anna", "e2 bela"}, {"e1- anna"}},
			want:     backup.ImportCounts{Listed: 2, Added: 2, Disabled: 1},
			accounts: []string{"e1- anna", "e2 bela"}},
		{name: "a page repeated", before: known, listed: [][]string{{"e1 anna", "e2 bela"}, {"e1 anna", "e2 bela"}, {"e3- chen", "e4 none"}, {"e1 anna", "e2 bela"}},
			want:     backup.ImportCounts{Listed: 4, Unchanged: 4, Disabled: 1, NoMail: 1, KnownActive: 2},
			accounts: []string{"e1 anna", "e2 bela", "e3- chen"}, problems: []string{"e4 no_mail"}},
		{name: "an empty listing counts everybody as leaving", before: known, listed: [][]string{{}},
			want:     backup.ImportCounts{Vanished: 2, KnownActive: 2, Leaving: 2},
			accounts: []string{"e1~ anna", "e2~ bela", "e3~ chen"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := newImporter(t, newStore(t))
			if test.before != nil {
				i.run(people(t, test.before...))
			}
			var pages [][]backup.DirectoryEntry
			for _, p := range test.listed {
				pages = append(pages, people(t, p...))
			}
			if have := i.run(pages...); have != test.want {
				t.Errorf("counts\nhave %+v\nwant %+v", have, test.want)
			}
			if have := i.accounts(); !slices.Equal(have, test.accounts) {
				t.Errorf("accounts\nhave %q\nwant %q", have, test.accounts)
			}
			if have := i.problems(); !slices.Equal(have, test.problems) {
				t.Errorf("problems\nhave %q\nwant %q", have, test.problems)
			}
		})
	}
}

func TestAccountKeepsItsIDForTheLifeOfTheEntry(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna"))
	first := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, "anna@acme.example"))
	if len(first.ID) != 17 || first.ID[0] != 'a' || !first.Since.Equal(i.now) {
		t.Fatalf("the account is %+v", first)
	}
	since := i.now
	i.run(people(t, "e1 anna.married"))
	if a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, first.ID)); a.Mail != "anna.married@acme.example" || !a.Since.Equal(since) {
		t.Errorf("renamed, the account is %+v", a)
	}
	i.run(people(t, "e2 bela"))
	gone := i.now
	i.run(people(t, "e2 bela"))
	if a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, first.ID)); a.State != backup.Preserved || !a.Since.Equal(gone) {
		t.Errorf("vanished, the account is %+v, want it preserved since %s", a, gone)
	}
	c := i.run(people(t, "e1 anna.married", "e2 bela"))
	if want := (backup.ImportCounts{Listed: 2, Unchanged: 2, Returned: 1, KnownActive: 1}); c != want {
		t.Errorf("returned, the counts are %+v, want %+v", c, want)
	}
	if a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, first.ID)); a.State != backup.Active || !a.Since.Equal(i.now) {
		t.Errorf("returned, the account is %+v", a)
	}
}

func TestVanishedAfterDisabledStaysPreservedSinceThen(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1- anna", "e2 bela"))
	since := i.now
	i.run(people(t, "e2 bela"))
	a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, "anna@acme.example"))
	if a.Reason != backup.PreservedVanished || !a.Since.Equal(since) {
		t.Errorf("the account is %+v, want it preserved as vanished since %s", a, since)
	}
}

// Somebody whose entry was readable before must not vanish because its id cannot be read now.
func TestEntryWithoutIDShieldsWhomItMayBe(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 bela"))
	unreadable := backup.DirectoryEntry{DN: "uid=e1", Problem: backup.BadEntry}
	stranger := backup.DirectoryEntry{DN: "uid=e9", Problem: backup.BadEntry}
	c := i.run([]backup.DirectoryEntry{unreadable, stranger, stranger, person(t, "e2 bela")})
	if want := (backup.ImportCounts{Listed: 3, Added: 2, Unchanged: 1, BadEntries: 2, KnownActive: 2}); c != want {
		t.Errorf("counts are %+v, want %+v", c, want)
	}
	if have := i.accounts(); !slices.Equal(have, []string{"e1 anna", "e2 bela"}) {
		t.Errorf("accounts are %q", have)
	}
	if have := i.problems(); !slices.Equal(have, []string{" bad_entry", " bad_entry"}) {
		t.Errorf("problems are %q", have)
	}
	i.run(people(t, "e1 anna", "e2 bela"))
	if have := i.problems(); have != nil {
		t.Errorf("problems that are solved are still shown: %q", have)
	}
}

func TestProblemThatVanishesAndReturnsIsShownAgain(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna"))
	for _, step := range []struct {
		listed string
		want   []string
	}{{"e1 none", []string{"e1 no_mail"}}, {"e2 bela", nil}, {"e1 none", []string{"e1 no_mail"}}} {
		i.run(people(t, step.listed))
		if have := i.problems(); !slices.Equal(have, step.want) {
			t.Errorf("with %q listed, problems are %q, want %q", step.listed, have, step.want)
		}
	}
}

// messy is crowd after a bad day: every tenth has no mail, the one after it claims that mail, and one entry has no id.
func messy(from, n int) []backup.DirectoryEntry {
	page := crowd(from, n)
	for i := range page {
		switch i % 10 {
		case 0:
			page[i].Mail, page[i].UPN = "", ""
		case 1:
			page[i].Mail = crowd(from+i-1, 1)[0].Mail
		}
	}
	return append(page, backup.DirectoryEntry{DN: page[2].DN, Problem: backup.BadEntry})
}

// Eight times the people may take eight times the work, and not the sixty-four times of looking at everybody for each of the many
// problems. Work is processor time: what else runs on the machine, and how fast it is, changes both sides.
func TestListingFullOfProblemsIsComparedInLinearTime(t *testing.T) {
	const few, times, most = 1000, 8, 24
	one, many := workOfMessyPass(t, few), workOfMessyPass(t, few*times)
	t.Logf("%d people: %v of processor; %d: %v", few, one, few*times, many)
	if many > most*one {
		t.Errorf("%d times the people take %.0f times the work", times, float64(many)/float64(one))
	}
}

// workOfMessyPass is the processor time that it takes to compare and apply a listing full of problems.
func workOfMessyPass(t *testing.T, all int) time.Duration {
	t.Helper()
	i := newImporter(t, newStore(t))
	i.run(crowd(0, all))
	i.stage(messy(0, all))
	before := processorTime(t)
	c := i.compare()
	i.apply()
	work := processorTime(t) - before
	want := backup.ImportCounts{Listed: all + 1, Added: 1, Changed: all / 5, Unchanged: all * 4 / 5, Disabled: all / 25, KnownActive: all * 24 / 25,
		NoMail: all / 10, DuplicateMail: all / 10, BadEntries: 1}
	if c != want {
		t.Errorf("counts\nhave %+v\nwant %+v", c, want)
	}
	return work
}

// processorTime is what this process has used of the processor.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestEntryWithUPNOnlyBecomesAnAccount(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run([]backup.DirectoryEntry{{ID: "e1", UPN: "Anna@acme.example"}, {ID: "e2", Mail: "anna@ACME.example"}, {ID: "e3"}})
	if have := i.accounts(); !slices.Equal(have, []string{"e1 Anna"}) {
		t.Errorf("accounts are %q", have)
	}
	if have := i.problems(); !slices.Equal(have, []string{"e2 duplicate_mail", "e3 no_mail"}) {
		t.Errorf("problems are %q", have)
	}
}

func TestIDsOfSCIMAreCaseExact(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.dir = "scim"
	i.run(people(t, "ab anna", "AB bela"))
	if have := i.accounts(); !slices.Equal(have, []string{"ab anna", "AB bela"}) {
		t.Errorf("accounts are %q", have)
	}
}

func TestHostileTextIsKeptHarmless(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run([]backup.DirectoryEntry{{ID: "e1\x00", DN: "uid=\xff'; DROP TABLE account; --", Mail: "o'neill\x00@acme.example", DisplayName: strings.Repeat("☃", 10_000)}})
	a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, "o'neill\x00@acme.example"))
	if a.Mail != "o'neill\uFFFD@acme.example" || a.EntryID != "e1\uFFFD" || len(a.DisplayName) != 30_000 {
		t.Errorf("the account is %+v", a)
	}
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.stage(people(t, "e1 anna", "e2- bela"))
	i.end(backup.FullRead)
	first := i.difference()
	want := backup.Accounts{Active: 1, Preserved: 1}
	for range 2 {
		if have := i.applyCompared(); have != want {
			t.Errorf("accounts after it are %+v, want %+v", have, want)
		}
		if again := i.difference(); again.Counts != first.Counts || again.Digest != first.Digest {
			t.Errorf("compared after it was applied, it is %+v, want %+v", again, first)
		}
		i.now = i.now.Add(time.Hour)
	}
	a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, "anna@acme.example"))
	if !a.Since.Before(i.now.Add(-time.Hour)) {
		t.Errorf("the account was touched by the second application: since %s", a.Since)
	}
}

func TestAnotherPassEndsTheFirst(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.stage(people(t, "e1 anna"))
	old := i.current()
	i.stage(people(t, "e2 bela"))
	wantCode(t, stageOne(i.store, old, backup.EntryPage{Entries: people(t, "e3 chen")}), backup.CodeNotFound)
	_, err := i.store.ComparePass(t.Context(), i.tenant, old)
	wantCode(t, err, backup.CodeNotFound)
	_, err = i.store.ApplyPass(t.Context(), i.tenant, old, "", "", noon)
	wantCode(t, err, backup.CodeNotFound)
	i.apply()
	if have := i.accounts(); !slices.Equal(have, []string{"e2 bela"}) {
		t.Errorf("accounts are %q", have)
	}
	if reports := got[[]backup.ImportReport](t)(i.store.ListImports(t.Context(), acme, "", 0)); len(reports) != 2 || reports[1].Outcome != backup.ImportReplaced ||
		reports[0].Outcome != backup.ImportApplied {
		t.Errorf("the reports are %+v", reports)
	}
}

// A difference that is not the one that was approved is not applied, and changes nothing.
func TestAnotherDifferenceIsNotApplied(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.stage(people(t, "e1 anna"))
	i.end(backup.FullRead)
	approved := i.difference().Digest
	i.page(backup.EntryPage{Entries: people(t, "e2 bela")})
	i.end(backup.FullRead)
	_, err := i.store.ApplyPass(t.Context(), i.tenant, i.current(), approved, "", noon)
	wantCode(t, err, backup.CodeDifferenceChanged)
	if have := i.accounts(); have != nil {
		t.Errorf("accounts are %q", have)
	}
}

func TestDirectoriesAndTenantsDoNotMix(t *testing.T) {
	s := newStore(t)
	ldap, entra := newImporter(t, s), newImporter(t, s)
	entra.dir = "entra"
	ldap.run(people(t, "e1 anna"))
	entra.run(people(t, "e2 bela"))
	if have := ldap.accounts(); !slices.Equal(have, []string{"e1 anna", "e2 bela"}) {
		t.Errorf("accounts are %q", have)
	}
	other := backup.Pass{Tenant: "other", Directory: "ldap", ID: "p"}
	_, err := s.BeginPass(t.Context(), other, backup.ImportStart{})
	must(t, err)
	must(t, s.EndRead(t.Context(), other, backup.ReadEnd{Mode: backup.FullRead}))
	d := got[backup.ImportDifference](t)(s.ComparePass(t.Context(), backup.Tenant{ID: "other"}, other))
	if d.Counts != (backup.ImportCounts{}) {
		t.Errorf("another tenant's import counts %+v", d.Counts)
	}
	_, err = s.FindAccount(t.Context(), "other", "anna@acme.example")
	wantCode(t, err, backup.CodeNotFound)
}

// A process that dies between staging and applying leaves what was staged, and nothing else; the next one goes on.
func TestDeathBetweenStageAndApply(t *testing.T) {
	dsn := newDSN(t)
	first := newImporter(t, openDSN(t, dsn))
	first.run(people(t, "e1 anna", "e2 bela"))
	first.stage(people(t, "e1 anna", "e3 chen"))
	// The transaction of an application that never ends: it is gone with its process.
	ctx, kill := context.WithCancel(t.Context())
	first.end(backup.FullRead)
	d := first.difference()
	tx, err := first.store.write.BeginTx(ctx, nil)
	must(t, err)
	row, err := lockPass(ctx, tx, first.current())
	must(t, err)
	got[int](t)(first.store.apply(ctx, tx, first.tenant, first.current(), row, d.Digest, "", noon))
	kill()
	_ = tx.Rollback() // or the end of its context did it

	second := newImporter(t, openDSN(t, dsn))
	second.pass = first.pass
	if have := second.accounts(); !slices.Equal(have, []string{"e1 anna", "e2 bela"}) {
		t.Fatalf("accounts after the death are %q", have)
	}
	if have, want := second.compare(), (backup.ImportCounts{Listed: 2, Added: 1, Unchanged: 1, Vanished: 1, KnownActive: 2, Leaving: 1}); have != want {
		t.Errorf("counts are %+v, want %+v", have, want)
	}
	second.applyCompared()
	if have := second.accounts(); !slices.Equal(have, []string{"e1 anna", "e2~ bela", "e3 chen"}) {
		t.Errorf("accounts are %q", have)
	}
}

func TestFindAccountByWhatAPersonTypes(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run([]backup.DirectoryEntry{{ID: "e1", Mail: "Anna@acme.example", UPN: "a.smith@corp.example"}})
	for _, ref := range []string{"anna@acme.example", "ANNA@ACME.EXAMPLE", " anna@acme.example ", "A.Smith@corp.example", accountID(acme, "ldap", "e1")} {
		if a, err := i.store.FindAccount(t.Context(), acme, ref); err != nil || a.EntryID != "e1" {
			t.Errorf("%q finds %+v, %v", ref, a, err)
		}
	}
	for _, ref := range []string{"", " ", "nobody@acme.example", "e1", "%", "' OR 1=1 --"} {
		_, err := i.store.FindAccount(t.Context(), acme, ref)
		wantCode(t, err, backup.CodeNotFound)
	}
	// Somebody new got the address of somebody who left.
	i.run([]backup.DirectoryEntry{{ID: "e2", Mail: "anna@acme.example"}})
	if a := got[backup.Account](t)(i.store.FindAccount(t.Context(), acme, "anna@acme.example")); a.EntryID != "e2" {
		t.Errorf("the preserved account is found before the active one: %+v", a)
	}
}

func TestAccountPagesGoThroughEverybodyOnce(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 bela", "e3 chen"))
	i.run(people(t, "e4 anna", "e5 bela", "e6- dara"))
	var seen []string
	for after, pages := "", 0; ; pages++ {
		page, next, err := i.store.ListAccounts(t.Context(), acme, "", after, 2)
		must(t, err)
		if len(page) > 2 || pages > 3 {
			t.Fatalf("page %d has %d accounts", pages, len(page))
		}
		for _, a := range page {
			seen = append(seen, a.EntryID)
		}
		if after = next; after == "" {
			break
		}
	}
	slices.Sort(seen)
	if !slices.Equal(seen, []string{"e1", "e2", "e3", "e4", "e5", "e6"}) {
		t.Errorf("the pages show %q", seen)
	}
	active, _, err := i.store.ListAccounts(t.Context(), acme, backup.Active, "Anna@acme.example", 0)
	must(t, err)
	if len(active) != 1 || active[0].EntryID != "e5" {
		t.Errorf("active accounts after anna are %+v", active)
	}
	if n := got[backup.Accounts](t)(i.store.CountAccounts(t.Context(), acme)); n != (backup.Accounts{Active: 2, Preserved: 4}) {
		t.Errorf("counted %+v", n)
	}
}

func TestChangesShowWhatWouldHappen(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna", "e2 bela", "e3- chen", "e4 dara", "e5 emil", "e9 zoe"))
	i.stage(people(t, "e1 anna.new", "e2- bela", "e3 chen", "e5 emil", "e6 fatima", "e7 none", "e8- goran", "e9 anna.new"))
	i.compare()
	want := []string{"added e6", "added e8", "changed e1", "preserved e2", "removed e4", "returned e3", "skipped e7", "skipped e9"}
	for _, limit := range []int{0, 3, 1} {
		var have []string
		for after := ""; ; {
			page, next, err := i.store.ListChanges(t.Context(), acme, i.difference().Report, after, limit)
			must(t, err)
			for _, c := range page {
				have = append(have, string(c.Kind)+" "+c.Entry.ID)
			}
			if after = next; after == "" {
				break
			}
		}
		if slices.Sort(have); !slices.Equal(have, want) {
			t.Errorf("in pages of %d\nhave %q\nwant %q", limit, have, want)
		}
	}
}

func FuzzAccountCursor(f *testing.F) {
	s := newStore(f)
	i := newImporter(f, s)
	i.run([]backup.DirectoryEntry{{ID: "e1", Mail: "anna@acme.example"}, {ID: "e2", Mail: "bela@acme.example"}})
	for _, seed := range []string{"", "anna@acme.example", "anna@acme.example a0", " ", "\x00", "\xff \xff", "x y z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		page, next, err := s.ListAccounts(t.Context(), acme, "", cursor, 1)
		if err != nil {
			t.Fatal(err)
		}
		if next == "" {
			return
		}
		after, _, err := s.ListAccounts(t.Context(), acme, "", next, 1)
		if err != nil || len(after) != 1 || after[0].Mail <= page[0].Mail {
			t.Fatalf("after %q comes %+v, %v", page[0].Mail, after, err)
		}
	})
}
