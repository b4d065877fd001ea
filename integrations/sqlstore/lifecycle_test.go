package sqlstore

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const day = 24 * time.Hour

// keeping is an importer of a tenant that keeps data for 30 days, of contractors for 3, and whose archive is kept for ever.
func keeping(t *testing.T) *importer {
	i := newImporter(t, newStore(t))
	i.tenant.Profile = backup.Profile{Services: []backup.Service{backup.Mail, backup.Drive}, PreserveDays: 30}
	i.tenant.Profiles = []backup.ProfileRule{
		{Name: "contractor", Priority: 1, When: backup.ProfileCondition{Attributes: map[string][]string{"department": {"Contractors"}}}, Services: []backup.Service{backup.Mail}, PreserveDays: 3},
		{Name: "none", Priority: 2, When: backup.ProfileCondition{Groups: []string{"cn=nobackup"}}},
	}
	return i
}

func contractor(t *testing.T, short string) backup.DirectoryEntry {
	e := person(t, short)
	e.Department = "contractors"
	return e
}

func (i *importer) markDue(at time.Time) (int, string) {
	i.Helper()
	due, digest, err := i.store.MarkDue(i.Context(), i.tenant, at)
	must(i, err)
	return due, digest
}

func TestPreservedPeopleAreDueAfterTheDaysOfTheirProfile(t *testing.T) {
	i := keeping(t)
	i.run([]backup.DirectoryEntry{person(t, "e1 anna"), person(t, "e2- bela"), contractor(t, "e3 chen"), contractor(t, "e4- dara")})
	disabled := i.now
	i.run([]backup.DirectoryEntry{person(t, "e2- bela"), contractor(t, "e4- dara")})
	gone := i.now
	for _, step := range []struct {
		at   time.Time
		want string
	}{
		{disabled.Add(3*day - time.Second), ""},
		{disabled.Add(3 * day), "dara"},
		{gone.Add(3 * day), "chen dara"},
		{gone.Add(3 * day), "chen dara"}, // again is the same as once
		{disabled.Add(30 * day), "bela chen dara"},
		{gone.Add(30 * day), "anna bela chen dara"},
	} {
		due, _ := i.markDue(step.at)
		page, next, err := i.store.ListDue(t.Context(), acme, "", 0)
		must(t, err)
		var names []string
		for _, a := range page {
			names = append(names, strings.TrimSuffix(a.Mail, "@acme.example"))
		}
		slices.Sort(names)
		if have := strings.Join(names, " "); have != step.want || due != len(names) || next != "" {
			t.Errorf("at %s due are %q (%d), want %q", step.at, have, due, step.want)
		}
	}
	if a := i.find("anna@acme.example"); !a.Since.Equal(gone) {
		t.Errorf("due, she left at %s, want %s", a.Since, gone)
	}
}

func TestDataIsKeptForEverWithoutDays(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1- anna"))
	if due, _ := i.markDue(i.now.AddDate(100, 0, 0)); due != 0 {
		t.Errorf("%d are due", due)
	}
}

func TestExactlyThoseWhoWereApprovedAreReleased(t *testing.T) {
	i := keeping(t)
	i.run([]backup.DirectoryEntry{contractor(t, "e1- anna"), person(t, "e2- bela"), person(t, "e3 chen")})
	now := i.now.Add(10 * day)
	_, anna := i.markDue(now)
	if _, again := i.markDue(now.Add(day)); again != anna {
		t.Error("the digest of the same people is another one")
	}
	_, both := i.markDue(now.Add(30 * day))
	if both == anna {
		t.Error("the digest of more people is the same")
	}
	_, err := i.store.ReleaseDue(t.Context(), acme, anna, "vera", now)
	wantCode(t, err, backup.CodeDifferenceChanged)
	if n := got[backup.Accounts](t)(i.store.CountAccounts(t.Context(), acme)); n != (backup.Accounts{Active: 1, Due: 2}) {
		t.Errorf("after a release that was refused, accounts are %+v", n)
	}
	if released := got[int](t)(i.store.ReleaseDue(t.Context(), acme, both, "vera", now)); released != 2 {
		t.Errorf("%d were released", released)
	}
	if n := got[backup.Accounts](t)(i.store.CountAccounts(t.Context(), acme)); n != (backup.Accounts{Active: 1, Released: 2}) {
		t.Errorf("accounts are %+v", n)
	}
	_, err = i.store.ReleaseDue(t.Context(), acme, both, "vera", now)
	wantCode(t, err, backup.CodeDifferenceChanged)
	if due, _ := i.markDue(now.AddDate(1, 0, 0)); due != 0 {
		t.Errorf("%d of the released are due again", due)
	}
}

// Whoever comes back while his deletion waits for an approval is not among those who are released.
func TestDuePersonWhoReturnsIsNotReleased(t *testing.T) {
	i := keeping(t)
	both := []backup.DirectoryEntry{contractor(t, "e1- anna"), contractor(t, "e2- bela")}
	i.run(both)
	_, approved := i.markDue(i.now.Add(3 * day))
	both[0].Disabled = false
	if c := i.run(both); c.Returned != 1 {
		t.Errorf("the counts are %+v", c)
	}
	_, err := i.store.ReleaseDue(t.Context(), acme, approved, "vera", i.now)
	wantCode(t, err, backup.CodeDifferenceChanged)
	if a := i.find("anna@acme.example"); a.State != backup.Active || !a.Since.Equal(i.now) {
		t.Errorf("she is %+v", a)
	}
	// Disabled anew, her days begin anew.
	both[0].Disabled = true
	i.run(both)
	if due, _ := i.markDue(i.now.Add(3*day - time.Second)); due != 1 {
		t.Errorf("%d are due, want only the other one", due)
	}
}

// active -> preserved -> due -> released -> returned, with its whole trail.
func TestLifeOfAnAccount(t *testing.T) {
	i := keeping(t)
	anna, zoe := contractor(t, "e1 anna"), person(t, "e9 zoe")
	i.run([]backup.DirectoryEntry{anna, zoe})
	i.run([]backup.DirectoryEntry{zoe})
	due := i.now.Add(4 * day)
	_, digest := i.markDue(due)
	got[int](t)(i.store.ReleaseDue(t.Context(), acme, digest, "vera", due.Add(time.Hour)))
	if c := i.run([]backup.DirectoryEntry{zoe}); c.Vanished+c.Leaving+c.Returned != 0 {
		t.Errorf("an import after the release counts %+v", c)
	}
	i.now = due.Add(day)
	if c := i.run([]backup.DirectoryEntry{anna, zoe}); c.Returned != 1 || c.Added != 0 {
		t.Errorf("the return counts %+v", c)
	}
	type line struct {
		kind     backup.ChangeKind
		by       string
		from, to string
	}
	var have []line
	for _, e := range i.report("anna@acme.example").Events {
		l := line{kind: e.Kind, by: e.By}
		for _, f := range e.Fields {
			if f.Field == backup.FieldState {
				l.from, l.to = f.From, f.To
			}
		}
		have = append(have, l)
	}
	want := []line{
		{backup.ChangeReturned, "", "released (vanished)", "active"},
		{backup.ChangeReleased, "vera", "due (vanished)", "released (vanished)"},
		{backup.ChangeDue, "", "preserved (vanished)", "due (vanished)"},
		{backup.ChangeRemoved, "", "active", "preserved (vanished)"},
		{kind: backup.ChangeAdded},
	}
	if !slices.Equal(have, want) {
		t.Errorf("the events are\n%+v, want\n%+v", have, want)
	}
}

// Gone from one directory a person stays; disabled in the first one he is preserved, whatever the second says.
func TestPersonInTwoDirectories(t *testing.T) {
	ldap := newImporter(t, newStore(t))
	ldap.run(people(t, "e1 anna", "e9 zoe"))
	entra := ldap.in("entra")
	if c := entra.run(people(t, "x1 anna")); c.Merged != 1 {
		t.Fatalf("the counts are %+v", c)
	}
	id := accountID(acme, "ldap", "e1")
	steps := []struct {
		of    *importer
		says  []string
		kind  backup.ChangeKind
		state backup.AccountState
		first backup.DirectoryName
	}{
		{entra, []string{"x1- anna", "x9 yan"}, backup.ChangeMerged, backup.Active, "ldap"},
		{ldap, []string{"e1- anna", "e9 zoe"}, backup.ChangePreserved, backup.Preserved, "ldap"},
		{entra, []string{"x1 anna", "x9 yan"}, backup.ChangePreserved, backup.Preserved, "ldap"}, // its word counts second
		{ldap, []string{"e9 zoe"}, backup.ChangeReturned, backup.Active, "entra"},
		{ldap, []string{"e1 anna", "e9 zoe"}, backup.ChangeMerged, backup.Active, "ldap"},
		{entra, []string{"x9 yan"}, backup.ChangeLeft, backup.Active, "ldap"},
		{ldap, []string{"e9 zoe"}, backup.ChangeRemoved, backup.Preserved, "ldap"},
		{entra, []string{"x1 anna", "x9 yan"}, backup.ChangeReturned, backup.Active, "entra"},
	}
	for n, step := range steps {
		step.of.now = ldap.now.Add(time.Duration(n+1) * day)
		step.of.run(people(t, step.says...))
		r := ldap.report(id)
		if r.Account.State != step.state || r.Account.Directory != step.first || r.Events[0].Kind != step.kind {
			t.Errorf("step %d: %s %s by %s, want %s %s by %s", n, r.Events[0].Kind, r.Account.State, r.Account.Directory, step.kind, step.state, step.first)
		}
	}
}

// Each field is the word of the first directory in its own order that says anything of it, and the report says whose.
func TestReportTellsWhoseWordEachFieldIs(t *testing.T) {
	ldap := newImporter(t, newStore(t))
	ldap.tenant.People.Precedence = map[backup.PersonField][]backup.DirectoryName{backup.FieldDisplayName: {"entra"}, backup.FieldDepartment: {"entra", "ldap"}, backup.FieldState: {"entra"}}
	ldap.run([]backup.DirectoryEntry{{ID: "e1", Mail: "anna@acme.example", DisplayName: "A. Smith", Department: "Sales", EmployeeID: "1"}})
	entra := ldap.in("entra")
	entra.run([]backup.DirectoryEntry{{ID: "x1", Mail: "anna.smith@acme.example", UPN: "as@acme.example", DisplayName: "Anna Smith", EmployeeID: "1", Disabled: true}})
	r := ldap.report("anna@acme.example")
	a := r.Account
	if a.Mail != "anna@acme.example" || a.UPN != "as@acme.example" || a.DisplayName != "Anna Smith" || a.Department != "Sales" || a.State != backup.Preserved || a.EntryID != "e1" {
		t.Errorf("the account is %+v", a)
	}
	want := map[backup.PersonField]backup.DirectoryName{backup.FieldMail: "ldap", backup.FieldUPN: "entra", backup.FieldDisplayName: "entra", backup.FieldDepartment: "ldap",
		backup.FieldEmployeeID: "ldap", backup.FieldState: "entra"}
	if !maps.Equal(r.Provenance, want) {
		t.Errorf("its fields are of\n%v, want\n%v", r.Provenance, want)
	}
	if have := links(r); !slices.Equal(have, []string{"ldap/e1 first", "entra/x1 employeeID"}) {
		t.Errorf("behind it are %q", have)
	}
	if fields := r.Events[0].Fields; len(fields) != 4 || r.Events[0].Kind != backup.ChangePreserved || r.Events[0].Directory != "entra" {
		t.Errorf("that entra disabled her is said as %+v", r.Events[0])
	}
	// Gone from entra, all is ldap's word again.
	entra.changed(backup.EntryPage{Gone: []string{"x1"}})
	r = ldap.report("anna@acme.example")
	if r.Account.DisplayName != "A. Smith" || r.Account.UPN != "" || r.Account.State != backup.Active || r.Provenance[backup.FieldDisplayName] != "ldap" {
		t.Errorf("without entra, it is %+v of %v", r.Account, r.Provenance)
	}
}

func TestReportOfAPlainAdditionSaysWhoAskedForIt(t *testing.T) {
	i := newImporter(t, newStore(t))
	p := backup.Pass{Tenant: acme, Directory: "ldap", ID: "asked"}
	got[backup.ReadFrom](t)(i.store.BeginPass(t.Context(), p, backup.ImportStart{By: "vera"}))
	must(t, stageOne(i.store, p, backup.EntryPage{Entries: people(t, "e1 anna", "e2 none")}))
	must(t, i.store.EndRead(t.Context(), p, backup.ReadEnd{Mode: backup.FullRead}))
	d := got[backup.ImportDifference](t)(i.store.ComparePass(t.Context(), i.tenant, p))
	got[backup.Accounts](t)(i.store.ApplyPass(t.Context(), i.tenant, p, d.Digest, "", noon))
	r := i.report("anna@acme.example")
	if len(r.Events) != 1 || r.Events[0].Kind != backup.ChangeAdded || r.Events[0].By != "vera" || r.Events[0].Report != d.Report || !r.Events[0].At.Equal(noon) {
		t.Errorf("the events are %+v", r.Events)
	}
}

// The rules of the tenant give profiles by what the directories say; a profile without services is backed up not at all.
func TestProfilesDecideWhatIsBackedUp(t *testing.T) {
	i := keeping(t)
	nobody := person(t, "e3 chen")
	nobody.Groups = []string{"CN=NoBackup"}
	all := []backup.DirectoryEntry{person(t, "e1 anna"), contractor(t, "e2 bela"), nobody, contractor(t, "e4- dara")}
	i.run(all)
	plan := i.tenant.ServicePlan()
	start := func(id string, shardSize int) (names []string) {
		run, shards, err := i.store.StartRun(t.Context(), backup.Run{Tenant: acme, App: backup.Microsoft365, RunID: id, Started: noon}, plan, shardSize)
		must(t, err)
		for shard := range shards {
			names = append(names, partNames(got[[]backup.RunPart](t)(i.store.OpenParts(t.Context(), acme, run.Number, shard)))...)
		}
		return names
	}
	if have := start("first", 10); !slices.Equal(have, []string{"a drive", "a mail", "b mail"}) {
		t.Errorf("the parts are %q", have)
	}
	// Nobody's shard is not an empty one.
	all[0].Department = "contractors"
	all[2].Groups, all[2].Profile = nil, ""
	i.run(all)
	if have := start("second", 1); !slices.Equal(have, []string{"a mail", "b mail", "c drive", "c mail"}) {
		t.Errorf("with other profiles, the parts are %q", have)
	}
	if a := i.find("anna@acme.example"); a.Profile != "contractor" {
		t.Errorf("the profile is %q", a.Profile)
	}
	if e := i.report("anna@acme.example").Events[0]; e.Kind != backup.ChangeChanged || !slices.Contains(e.Fields, backup.FieldChange{Field: backup.FieldProfile, To: "contractor"}) {
		t.Errorf("that the profile changed is said as %+v", e)
	}
	// A profile that the file does not know any more is everybody's.
	plan.ByProfile = nil
	if have := start("third", 10); !slices.Equal(have, []string{"a drive", "a mail", "b drive", "b mail", "c drive", "c mail"}) {
		t.Errorf("without rules, the parts are %q", have)
	}
}
