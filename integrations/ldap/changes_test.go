package ldap_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	ourldap "github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/samba"
)

const (
	adPassword = "Passw0rd!Of.Tests"
	corp       = samba.BaseDN
	crowd      = 5000
)

// domain is a real domain controller.
type domain struct {
	*samba.Server
	ca *sandbox.CA
}

func (d domain) editor(t *testing.T) editor {
	t.Helper()
	c := must(ldap.DialURL(d.URL, ldap.DialWithTLSConfig(tlsOf(d.ca, d.Address))))(t)
	t.Cleanup(func() { c.Close() })
	if err := c.Bind(samba.Administrator, adPassword); err != nil {
		t.Fatal(err)
	}
	return editor{c}
}

func (d domain) config(feed backup.ChangeFeed, base string, groups ...string) backup.LDAPConfig {
	return backup.LDAPConfig{URL: d.URL, CAFile: d.CAFile, BindDN: samba.Administrator, BindPassword: "env:LDAP_PASSWORD", BaseDN: base, Groups: groups, Changes: feed}
}

func (d domain) open(t *testing.T, feed backup.ChangeFeed, base string, groups ...string) *ourldap.Directory {
	t.Helper()
	return d.opened(t, d.config(feed, base, groups...))
}

func (d domain) opened(t *testing.T, c backup.LDAPConfig) *ourldap.Directory {
	t.Helper()
	dir := must(openAs(t.Context(), c, adPassword))(t)
	t.Cleanup(func() { dir.Close() })
	return dir
}

// office is an organizational unit that a test has for itself.
func (e editor) office(t *testing.T, name, parent string) (dn string) {
	t.Helper()
	dn = "OU=" + name + "," + parent
	e.add(t, dn, map[string][]string{"objectClass": {"organizationalUnit"}})
	return dn
}

func (e editor) user(t *testing.T, name, parent string) (dn string) {
	t.Helper()
	dn = "CN=" + name + "," + parent
	e.add(t, dn, map[string][]string{"objectClass": {"user"}, "sAMAccountName": {name}, "mail": {name + "@corp.example.test"}, "userAccountControl": {"544"}})
	return dn
}

func (e editor) group(t *testing.T, name, parent string, members ...string) (dn string) {
	t.Helper()
	dn = "CN=" + name + "," + parent
	attributes := map[string][]string{"objectClass": {"group"}, "sAMAccountName": {name}}
	if len(members) > 0 {
		attributes["member"] = members
	}
	e.add(t, dn, attributes)
	return dn
}

// TestActiveDirectory follows a real domain controller by both of its feeds.
func TestActiveDirectory(t *testing.T) {
	ca := must(sandbox.NewCA("samba"))(t)
	s := must(samba.Start(t.Context(), samba.Options{CA: ca, Password: adPassword, Crowd: crowd}))(t)
	defer s.Close()
	d := domain{s, ca}
	for _, feed := range []backup.ChangeFeed{backup.FeedDirSync, backup.FeedUSN} {
		t.Run(string(feed), func(t *testing.T) {
			t.Run("each change once", func(t *testing.T) { tellsEachChangeOnce(t, d, feed) })
			t.Run("groups", func(t *testing.T) { seesGroups(t, d, feed) })
			t.Run("large group", func(t *testing.T) { seesALargeGroup(t, d, feed) })
			t.Run("renamed unit", func(t *testing.T) { seesRenamedUnits(t, d, feed) })
		})
	}
	t.Run("interrupted", func(t *testing.T) { resumesDirSync(t, d) })
	t.Run("another controller", func(t *testing.T) { seesAnotherController(t, d) })
}

func tellsEachChangeOnce(t *testing.T, d domain, feed backup.ChangeFeed) {
	edit, name := d.editor(t), "once-"+string(feed)
	base, out := edit.office(t, name, corp), edit.office(t, name+"-out", corp)
	inner := edit.office(t, "inner", base)
	for i := range 5 {
		edit.user(t, fmt.Sprint(name, i), base)
	}
	f := follow(t, d.open(t, feed, base))
	f.quiet(t)
	dn := edit.user(t, name+"-new", base)
	f.changes(t, 1, 0)
	id := f.find(t, dn).ID
	is := func(what string, ok func(backup.DirectoryEntry) bool) {
		t.Helper()
		if e := f.known[id]; !ok(e) {
			t.Errorf("%s: %+v", what, e)
		}
		f.quiet(t)
	}
	is("hired", func(e backup.DirectoryEntry) bool { return e.Mail == name+"-new@corp.example.test" && !e.Disabled })

	edit.move(t, dn, "CN=renamed "+name, "")
	dn = "CN=renamed " + name + "," + base
	f.changes(t, 1, 0)
	is("renamed", func(e backup.DirectoryEntry) bool { return e.DN == dn })

	edit.move(t, dn, "CN=renamed "+name, inner)
	dn = "CN=renamed " + name + "," + inner
	f.changes(t, 1, 0)
	is("moved", func(e backup.DirectoryEntry) bool { return e.DN == dn })

	edit.move(t, dn, "CN=renamed "+name, out)
	dn = "CN=renamed " + name + "," + out
	f.changes(t, 0, 1)
	f.quiet(t)
	edit.move(t, dn, "CN=renamed "+name, base)
	dn = "CN=renamed " + name + "," + base
	f.changes(t, 1, 0)
	is("back", func(e backup.DirectoryEntry) bool { return e.DN == dn })

	edit.set(t, dn, "userAccountControl", "546")
	f.changes(t, 1, 0)
	is("disabled", func(e backup.DirectoryEntry) bool { return e.Disabled })

	edit.set(t, dn, "userAccountControl", "544")
	f.changes(t, 1, 0)
	expires := time.Now().Add(2 * time.Second)
	edit.set(t, dn, "accountExpires", fmt.Sprint(expires.Unix()*10_000_000+116_444_736_000_000_000))
	for deadline := time.Now().Add(time.Minute); !f.known[id].Disabled; time.Sleep(300 * time.Millisecond) {
		if f.read(t); time.Now().After(deadline) {
			t.Fatalf("%+v has not expired", f.known[id])
		}
	}
	f.read(t) // whose day comes while a read is under way is told by the next one, too
	is("expired", func(e backup.DirectoryEntry) bool { return e.Disabled })

	edit.remove(t, dn)
	if got := f.changes(t, 0, 1); len(got.gone) == 1 && got.gone[0] != id {
		t.Errorf("%v is gone, and not %s", got.gone, id)
	}
	f.quiet(t)

	edit.user(t, name+"-two", base)
	edit.set(t, "CN="+name+"0,"+base, "displayName", "Several")
	edit.remove(t, "CN="+name+"1,"+base)
	f.changes(t, 2, 1)
	f.quiet(t)
}

// seesGroups has people come and go by what happens to a group, and to one inside of it.
func seesGroups(t *testing.T, d domain, feed backup.ChangeFeed) {
	edit, name := d.editor(t), "group-"+string(feed)
	base := edit.office(t, name, corp)
	var users []string
	for i := range 6 {
		users = append(users, edit.user(t, fmt.Sprint(name, i), base))
	}
	top := edit.group(t, name+"-top", base, users[0])
	nested := edit.group(t, name+"-nested", base, users[1:3]...)
	f := follow(t, d.open(t, feed, base, top))
	if len(f.known) != 1 {
		t.Fatalf("%d people", len(f.known))
	}
	f.quiet(t)
	edit.join(t, top, nested)
	f.full(t, 2, 0, "members of")
	f.quiet(t)
	edit.join(t, nested, users[3])
	f.full(t, 1, 0, "members of")
	f.quiet(t)
	edit.set(t, top, "member", nested)
	f.full(t, 0, 1, "members of")
	f.quiet(t)
	edit.set(t, users[1], "mail", "changed-"+name+"@corp.example.test")
	f.changes(t, 1, 0)
	f.quiet(t)
}

// seesALargeGroup follows a group of 5,000 members, of which some change, leave and join.
func seesALargeGroup(t *testing.T, d domain, feed backup.ChangeFeed) {
	edit := d.editor(t)
	c := d.config(feed, samba.CrowdUnit, samba.CrowdGroup)
	c.Filter = "(objectClass=contact)"
	timed := func(what string, read func()) {
		begin := time.Now()
		read()
		t.Logf("%s of %d in %v", what, crowd, time.Since(begin).Round(time.Millisecond))
	}
	var f *follower
	timed("a full read", func() { f = follow(t, d.opened(t, c)) })
	if len(f.known) != crowd {
		t.Fatalf("%d people", len(f.known))
	}
	timed("an unchanged read", func() { f.quiet(t) })
	for i := range 3 {
		edit.set(t, fmt.Sprintf("CN=c%d,%s", i, samba.CrowdUnit), "mail", fmt.Sprintf("%s%d@corp.example.test", feed, i))
	}
	timed("3 changes", func() { f.changes(t, 3, 0) })
	f.quiet(t)
	leave := ldap.NewModifyRequest(samba.CrowdGroup, nil)
	leave.Delete("member", []string{"CN=c7," + samba.CrowdUnit})
	if err := edit.Modify(leave); err != nil {
		t.Fatal(err)
	}
	f.full(t, 0, 1, "members of")
	f.quiet(t)
	edit.join(t, samba.CrowdGroup, "CN=c7,"+samba.CrowdUnit)
	f.full(t, 1, 0, "members of")
	f.quiet(t)
}

// seesRenamedUnits renames a unit below the base and one that is not: everybody in it has another DN, and nobody is gone.
func seesRenamedUnits(t *testing.T, d domain, feed backup.ChangeFeed) {
	edit, name := d.editor(t), "unit-"+string(feed)
	base := edit.office(t, name, corp)
	unit := edit.office(t, "before", base)
	for i := range 3 {
		edit.user(t, fmt.Sprint(name, i), unit)
	}
	f := follow(t, d.open(t, feed, base))
	edit.move(t, unit, "OU=after", "")
	f.full(t, 3, 0, "container")
	f.quiet(t)
	if f.find(t, "CN="+name+"0,OU=after,"+base).ID == "" {
		t.Error("without an id")
	}
}

// resumesDirSync breaks a read off, and goes on behind the last page that was kept.
func resumesDirSync(t *testing.T, d domain) {
	edit := d.editor(t)
	base := edit.office(t, "interrupted", corp)
	dir := d.open(t, backup.FeedDirSync, base)
	f := follow(t, dir)
	const hired = 10
	for i := range hired {
		edit.user(t, fmt.Sprint("interrupted", i), base)
	}
	crash := errors.New("the worker is gone")
	seen := map[string]int{}
	var resume []byte
	_, err := dir.Read(t.Context(), backup.ReadFrom{Since: f.cursor}, func(p backup.EntryPage) error {
		for _, e := range p.Entries {
			seen[e.ID]++
		}
		if resume = p.Resume; len(resume) > 0 {
			return crash
		}
		return nil
	})
	if !errors.Is(err, crash) || len(resume) == 0 {
		t.Fatalf("it ended with %v, to resume at %s", err, resume)
	}
	edit.user(t, "interrupted-later", base)
	end, err := dir.Read(t.Context(), backup.ReadFrom{Since: f.cursor, Resume: resume}, func(p backup.EntryPage) error {
		for _, e := range p.Entries {
			seen[e.ID]++
		}
		return nil
	})
	if err != nil || end.Mode != backup.ChangesRead || len(seen) != hired+1 {
		t.Fatalf("%d people were told, %s, %v", len(seen), end.Note, err)
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s was told %d times", id, times)
		}
	}
	f.cursor = end.Cursor
	if got := f.read(t); len(got.changed)+len(got.gone) != 0 {
		t.Errorf("told again: %v", got.changed)
	}
}

// seesAnotherController goes on at a controller whose numbers and cookies mean something else.
func seesAnotherController(t *testing.T, d domain) {
	edit := d.editor(t)
	base := edit.office(t, "twins", corp)
	for i := range 3 {
		edit.user(t, fmt.Sprint("twin", i), base)
	}
	followers := map[backup.ChangeFeed]*follower{}
	for _, feed := range []backup.ChangeFeed{backup.FeedDirSync, backup.FeedUSN} {
		followers[feed] = follow(t, d.open(t, feed, base))
	}
	twin := domain{must(d.Twin(t.Context()))(t), d.ca}
	t.Cleanup(func() { twin.Close() })
	twin.editor(t).user(t, "only-here", base)
	for feed, f := range followers {
		f.dir = twin.open(t, feed, base)
		f.full(t, 1, 0, "another server")
		f.quiet(t)
	}
}
