package sqlstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// in is the importer of another directory of the same tenant.
func (i *importer) in(dir backup.DirectoryName) *importer {
	other := *i
	other.dir = dir
	return &other
}

// inConflict is a store where the entry s1 of scim is either of anna (known by mail) and bela (known by the employee's number).
func inConflict(t *testing.T) (ldap, scim *importer) {
	t.Helper()
	ldap = newImporter(t, newStore(t))
	bela := person(t, "e2 bela")
	bela.EmployeeID = "7"
	ldap.run([]backup.DirectoryEntry{person(t, "e1 anna"), bela})
	scim = ldap.in("scim")
	if c := scim.run([]backup.DirectoryEntry{either(t)}); c != (backup.ImportCounts{Listed: 1, Added: 1, Conflicts: 1}) {
		t.Fatalf("the counts of a conflict are %+v", c)
	}
	return ldap, scim
}

func either(t *testing.T) backup.DirectoryEntry {
	s1 := person(t, "s1 anna")
	s1.EmployeeID = "7"
	return s1
}

func (i *importer) decide(verdict backup.MergeVerdict, account string, at time.Time) error {
	return i.store.DecideConflict(i.Context(), acme, backup.MergeDecision{Directory: "scim", EntryID: "s1", Verdict: verdict, Account: account, By: "vera", Reason: "I know", At: at})
}

// waiting shows the entries that wait as "entry: account by field, ...".
func (i *importer) waiting() (short []string) {
	i.Helper()
	page, next, err := i.store.ListConflicts(i.Context(), acme, "", 0)
	must(i, err)
	if next != "" {
		i.Errorf("there are more conflicts after %q", next)
	}
	for _, c := range page {
		var candidates []string
		for _, a := range c.Candidates {
			candidates = append(candidates, a.Account.EntryID+" by "+string(a.By))
		}
		slices.Sort(candidates)
		short = append(short, string(c.Directory)+"/"+c.Entry.ID+": "+strings.Join(candidates, ", "))
	}
	if n := got[int](i)(i.store.CountConflicts(i.Context(), acme)); n != len(short) {
		i.Errorf("%d conflicts are counted, %q are listed", n, short)
	}
	return short
}

func (i *importer) find(ref string) backup.Account {
	i.Helper()
	return got[backup.Account](i)(i.store.FindAccount(i.Context(), acme, ref))
}

func (i *importer) report(ref string) backup.AccountReport {
	i.Helper()
	return got[backup.AccountReport](i)(i.store.AccountReport(i.Context(), i.tenant, ref, 0))
}

func (i *importer) wantAccounts(want ...string) {
	i.Helper()
	if have := i.accounts(); !slices.Equal(have, want) {
		i.Errorf("accounts\nhave %q\nwant %q", have, want)
	}
}

// links shows the entries behind an account as "directory/entry by", with "~" for one that is gone.
func links(r backup.AccountReport) (short []string) {
	for _, l := range r.Links {
		gone := map[bool]string{true: "", false: "~"}[l.Present]
		short = append(short, fmt.Sprintf("%s/%s%s %s", l.Directory, l.Entry.ID, gone, l.By))
	}
	return short
}

func TestEntryThatFitsTwoPeopleWaitsWithBoth(t *testing.T) {
	_, scim := inConflict(t)
	if have := scim.waiting(); !slices.Equal(have, []string{"scim/s1: e1 by mail, e2 by employeeID"}) {
		t.Errorf("waiting are %q", have)
	}
	scim.wantAccounts("e1 anna", "e2 bela")
	page, _, err := scim.store.ListConflicts(t.Context(), acme, "", 0)
	must(t, err)
	if !page[0].Since.Equal(scim.now) {
		t.Errorf("it waits since %s, want %s", page[0].Since, scim.now)
	}
	if c := scim.run([]backup.DirectoryEntry{either(t)}); c != (backup.ImportCounts{Listed: 1, Unchanged: 1, Conflicts: 1}) {
		t.Errorf("listed again, it counts %+v", c)
	}
	if page, _, err := scim.store.ListConflicts(t.Context(), acme, "", 0); err != nil || len(page) != 1 || page[0].Since.Equal(scim.now) {
		t.Errorf("listed again, it waits as %+v, %v", page, err)
	}
}

// A decision is carried out by the next import, counts in every later one, and lasts when the entry is away for a while.
func TestDecisionsLast(t *testing.T) {
	for _, test := range []struct {
		verdict  backup.MergeVerdict
		account  string // by mail
		first    backup.ImportCounts
		later    backup.ImportCounts
		accounts []string
		links    map[string][]string
	}{
		{verdict: backup.MergeSame, account: "bela",
			first:    backup.ImportCounts{Listed: 1, Unchanged: 1, Merged: 1},
			later:    backup.ImportCounts{Listed: 1, Unchanged: 1, KnownActive: 1},
			accounts: []string{"e1 anna", "e2 bela"},
			links:    map[string][]string{"bela": {"ldap/e2 first", "scim/s1 decision"}}},
		{verdict: backup.MergeSeparate,
			first:    backup.ImportCounts{Listed: 1, Unchanged: 1},
			later:    backup.ImportCounts{Listed: 1, Unchanged: 1, KnownActive: 1},
			accounts: []string{"e1 anna", "s1 anna", "e2 bela"}},
		{verdict: backup.MergeIgnore,
			first:    backup.ImportCounts{Listed: 1, Unchanged: 1, Ignored: 1},
			later:    backup.ImportCounts{Listed: 1, Unchanged: 1, Ignored: 1},
			accounts: []string{"e1 anna", "e2 bela"}},
	} {
		t.Run(string(test.verdict), func(t *testing.T) {
			_, scim := inConflict(t)
			account := ""
			if test.account != "" {
				account = scim.find(test.account + "@acme.example").ID
			}
			must(t, scim.decide(test.verdict, account, scim.now.Add(time.Minute)))
			if have := scim.waiting(); have != nil {
				t.Errorf("decided, there wait %q", have)
			}
			scim.wantAccounts("e1 anna", "e2 bela") // nothing happens before the import
			for n, want := range []backup.ImportCounts{test.first, test.later, test.later} {
				if c := scim.run([]backup.DirectoryEntry{either(t)}); c != want {
					t.Errorf("import %d counts\n%+v, want\n%+v", n, c, want)
				}
				if have := scim.accounts(); !sameSet(have, test.accounts) {
					t.Errorf("after import %d the accounts are %q, want %q", n, have, test.accounts)
				}
			}
			scim.changed(backup.EntryPage{Gone: []string{"s1"}})
			scim.changed(backup.EntryPage{Entries: []backup.DirectoryEntry{either(t)}})
			if have := scim.accounts(); !sameSet(have, test.accounts) {
				t.Errorf("after it was away, the accounts are %q, want %q", have, test.accounts)
			}
			for mail, want := range test.links {
				if have := links(scim.report(mail + "@acme.example")); !slices.Equal(have, want) {
					t.Errorf("behind %s are %q, want %q", mail, have, want)
				}
			}
			if have := scim.waiting(); have != nil {
				t.Errorf("there wait %q", have)
			}
		})
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// The last word of several counts, before and after the first was carried out.
func TestDecisionIsReplaced(t *testing.T) {
	_, scim := inConflict(t)
	anna, bela := scim.find("anna@acme.example").ID, scim.find("bela@acme.example").ID
	listing := []backup.DirectoryEntry{either(t)}
	must(t, scim.decide(backup.MergeIgnore, "", scim.now))
	must(t, scim.decide(backup.MergeSame, anna, scim.now.Add(time.Minute)))
	scim.run(listing)
	if have := links(scim.report(anna)); !slices.Equal(have, []string{"ldap/e1 first", "scim/s1 decision"}) {
		t.Errorf("behind anna are %q", have)
	}
	must(t, scim.decide(backup.MergeSame, bela, scim.now.Add(time.Minute)))
	scim.run(listing)
	if have := links(scim.report(anna)); !slices.Equal(have, []string{"ldap/e1 first"}) {
		t.Errorf("behind anna are %q", have)
	}
	if have := links(scim.report(bela)); !slices.Equal(have, []string{"ldap/e2 first", "scim/s1 decision"}) {
		t.Errorf("behind bela are %q", have)
	}
	must(t, scim.decide(backup.MergeSeparate, "", scim.now.Add(time.Minute)))
	scim.run(listing)
	own := accountID(acme, "scim", "s1")
	if have := links(scim.report(own)); !slices.Equal(have, []string{"scim/s1 decision"}) {
		t.Errorf("behind itself are %q", have)
	}
	must(t, scim.decide(backup.MergeIgnore, "", scim.now.Add(time.Minute)))
	if c := scim.run(listing); c.Ignored != 1 || c.Leaving != 1 || c.Vanished != 1 {
		t.Errorf("ignored, it counts %+v", c)
	}
	if a := scim.find(own); a.State != backup.Preserved || a.Reason != backup.PreservedVanished {
		t.Errorf("ignored, the account is %+v", a)
	}
	must(t, scim.decide(backup.MergeSeparate, "", scim.now.Add(time.Minute)))
	if c := scim.run(listing); c.Returned != 1 || scim.find(own).State != backup.Active {
		t.Errorf("not ignored any more, it counts %+v", c)
	}
	if kinds := eventKinds(scim.report(bela)); !slices.Equal(kinds, []backup.ChangeKind{backup.ChangeLeft, backup.ChangeDecided, backup.ChangeMerged,
		backup.ChangeDecided, backup.ChangeAdded}) {
		t.Errorf("bela's events are %q", kinds)
	}
}

func eventKinds(r backup.AccountReport) (kinds []backup.ChangeKind) {
	for _, e := range r.Events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func TestDecisionsThatCannotBe(t *testing.T) {
	ldap, scim := inConflict(t)
	scim.run([]backup.DirectoryEntry{either(t), person(t, "s2 chen")})
	anna, chen := scim.find("anna@acme.example").ID, scim.find("chen@acme.example").ID
	for name, test := range map[string]struct {
		d    backup.MergeDecision
		code backup.Code
	}{
		"no such entry":      {backup.MergeDecision{Directory: "scim", EntryID: "s9", Verdict: backup.MergeSeparate, By: "vera"}, backup.CodeNotFound},
		"no such directory":  {backup.MergeDecision{Directory: "entra", EntryID: "s1", Verdict: backup.MergeSeparate, By: "vera"}, backup.CodeNotFound},
		"no such account":    {backup.MergeDecision{Directory: "scim", EntryID: "s1", Verdict: backup.MergeSame, Account: "a0", By: "vera"}, backup.CodeNotFound},
		"another's account":  {backup.MergeDecision{Directory: "scim", EntryID: "s1", Verdict: backup.MergeSame, Account: chen, By: "vera"}, backup.CodeNotAllowed},
		"two of a directory": {backup.MergeDecision{Directory: "ldap", EntryID: "e2", Verdict: backup.MergeSame, Account: anna, By: "vera"}, backup.CodeNotAllowed},
		"nobody said it":     {backup.MergeDecision{Directory: "scim", EntryID: "s1", Verdict: backup.MergeIgnore}, backup.CodeUnknownPrincipal},
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, ldap.store.DecideConflict(t.Context(), acme, test.d), test.code) })
	}
	err := scim.store.DecideConflict(t.Context(), "other", backup.MergeDecision{Directory: "scim", EntryID: "s1", Verdict: backup.MergeIgnore, By: "vera"})
	wantCode(t, err, backup.CodeNotFound)
	if have := scim.waiting(); len(have) != 1 {
		t.Errorf("after decisions that were refused there wait %q", have)
	}
}

// Two entries of one directory are never one person, so a person cannot decide so either, not even before it was carried out.
func TestTwoEntriesCannotBeDecidedToBeOnePerson(t *testing.T) {
	ldap, scim := inConflict(t)
	s2 := either(t)
	s2.ID = "s2"
	scim.run([]backup.DirectoryEntry{either(t), s2})
	anna := ldap.find("anna@acme.example").ID
	must(t, scim.decide(backup.MergeSame, anna, scim.now))
	err := scim.store.DecideConflict(t.Context(), acme, backup.MergeDecision{Directory: "scim", EntryID: "s2", Verdict: backup.MergeSame, Account: anna, By: "vera", At: scim.now})
	wantCode(t, err, backup.CodeNotAllowed)
	// The first one is free again when the decision about it is another.
	must(t, scim.decide(backup.MergeIgnore, "", scim.now))
	must(t, scim.store.DecideConflict(t.Context(), acme, backup.MergeDecision{Directory: "scim", EntryID: "s2", Verdict: backup.MergeSame, Account: anna, By: "vera", At: scim.now}))
	scim.run([]backup.DirectoryEntry{either(t), s2})
	if have := links(scim.report(anna)); !slices.Equal(have, []string{"ldap/e1 first", "scim/s2 decision"}) {
		t.Errorf("behind anna are %q", have)
	}
}

// A decision that cannot be carried out, because the person's former entry came back meanwhile, waits for a person again.
func TestDecisionThatIsOvertakenWaitsAgain(t *testing.T) {
	ldap, scim := inConflict(t)
	anna := ldap.find("anna@acme.example").ID
	// Another entry of scim is anna, and away while the decision is made.
	s0 := person(t, "s0 zoe")
	scim.run([]backup.DirectoryEntry{either(t), s0})
	must(t, scim.store.DecideConflict(t.Context(), acme, backup.MergeDecision{Directory: "scim", EntryID: "s0", Verdict: backup.MergeSame, Account: anna, By: "vera", At: scim.now}))
	scim.run([]backup.DirectoryEntry{either(t), s0})
	scim.run([]backup.DirectoryEntry{either(t)})
	must(t, scim.decide(backup.MergeSame, anna, scim.now.Add(time.Minute)))
	if have := scim.waiting(); have != nil {
		t.Fatalf("decided, there wait %q", have)
	}
	if c := scim.run([]backup.DirectoryEntry{either(t), s0}); c.Conflicts == 0 {
		t.Fatalf("overtaken, it counts %+v", c)
	}
	if have := scim.waiting(); len(have) != 1 {
		t.Errorf("overtaken, there wait %q", have)
	}
	since := scim.now
	scim.run([]backup.DirectoryEntry{either(t), s0})
	page, _, err := scim.store.ListConflicts(t.Context(), acme, "", 0)
	must(t, err)
	if len(page) != 1 || !page[0].Since.Equal(since) {
		t.Errorf("later there wait %+v, want one since %s", page, since)
	}
}

func TestConflictsArePaged(t *testing.T) {
	_, scim := inConflict(t)
	var all []backup.DirectoryEntry
	for n := range 5 {
		e := either(t)
		e.ID, e.Mail, e.UPN = fmt.Sprint("s", n), "", fmt.Sprintf("%d@x.example", n)
		e.Aliases = []string{"anna@acme.example"}
		all = append(all, e)
	}
	scim.run(all)
	var seen []string
	for after := ""; ; {
		page, next, err := scim.store.ListConflicts(t.Context(), acme, after, 2)
		must(t, err)
		for _, c := range page {
			seen = append(seen, c.Entry.ID)
		}
		if after = next; after == "" || len(seen) > 9 {
			break
		}
	}
	if !slices.Equal(seen, []string{"s0", "s1", "s2", "s3", "s4"}) {
		t.Errorf("the pages show %q", seen)
	}
}
