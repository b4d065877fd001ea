package sqlstore

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Whom a changed rule fits no change feed tells of: everybody is listed once more.
func TestChangedRulesListEverybodyOnce(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.tenant.Profiles = []backup.ProfileRule{{Name: "d1", When: backup.ProfileCondition{Attributes: map[string][]string{"department": {"D1"}}}}}
	for n, step := range []struct {
		name string
		rule string
		want string
	}{{"first", "D1", ""}, {"unchanged", "D1", "c0"}, {"changed", "D2", ""}, {"unchanged again", "D2", "c2"}, {"taken back", "D1", ""}} {
		i.tenant.Profiles[0].When.Attributes["department"] = []string{step.rule}
		from := i.begin()
		if string(from.Since) != step.want {
			t.Errorf("%s: the read is from %q, want %q", step.name, from.Since, step.want)
		}
		entries := people(t, "e1 anna")
		entries[0].Department = "D1"
		i.tenant.Assign("ldap", entries)
		i.page(backup.EntryPage{Entries: entries})
		must(t, i.store.EndRead(t.Context(), i.current(), backup.ReadEnd{Mode: backup.FullRead, Cursor: []byte(fmt.Sprint("c", n))}))
		i.difference()
		i.applyCompared()
		if have, want := i.find("anna@acme.example").Profile, map[string]string{"D1": "d1"}[step.rule]; have != want {
			t.Errorf("%s: her profile is %q, want %q", step.name, have, want)
		}
	}
}

// A read that broke off goes on as it began, though the rules changed meanwhile; the next one lists everybody.
func TestRulesOfAReadAreThoseOfItsBeginning(t *testing.T) {
	i := newImporter(t, newStore(t))
	i.run(people(t, "e1 anna"))
	i.begin()
	i.page(backup.EntryPage{Entries: people(t, "e1 anna"), Resume: []byte(`1`)})
	i.tenant.People.MatchBy = []backup.PersonField{backup.FieldUPN}
	if from := i.again(); string(from.Resume) != "1" {
		t.Errorf("it goes on from %+v", from)
	}
	i.end(backup.FullRead)
	i.difference()
	i.applyCompared()
	if from := i.begin(); len(from.Since) > 0 {
		t.Errorf("the next read is from %q", from.Since)
	}
}

// A changed precedence reaches those whom two directories know by the next import of any of them, though nothing is said of them anew.
func TestChangedPrecedenceReachesWhomNobodySpeaksOf(t *testing.T) {
	i := newImporter(t, newStore(t))
	in := func(dir backup.DirectoryName, department string) {
		i.dir = dir
		e := people(t, "e1 anna", "e2 bela")
		e[0].Department = department
		i.run(e)
	}
	in("ldap", "Sales")
	in("entra", "Research")
	for _, step := range []struct {
		first backup.DirectoryName
		want  string
	}{{"ldap", "Sales"}, {"entra", "Research"}, {"ldap", "Sales"}} {
		i.tenant.People.Precedence = map[backup.PersonField][]backup.DirectoryName{backup.FieldDepartment: {step.first}}
		in("ldap", "Sales")
		if have := i.find("anna@acme.example").Department; have != step.want {
			t.Errorf("with the word of %s first her department is %q, want %q", step.first, have, step.want)
		}
	}
}
