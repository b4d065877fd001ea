package ldap_test

import (
	"crypto/tls"
	"encoding/json"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

const (
	acme       = ldapserver.DefaultBaseDN
	acmePeople = "ou=people," + acme
)

// openLDAP is a slapd that knows syncrepl.
type openLDAP struct {
	*slapd.Server
	ca *sandbox.CA
}

func startOpenLDAP(t *testing.T, people int) openLDAP {
	t.Helper()
	ca := must(sandbox.NewCA("slapd"))(t)
	s := must(slapd.Start(t.Context(), slapd.Options{CA: ca, Password: password, People: company()[:people], Changes: true}))(t)
	t.Cleanup(func() { s.Close() })
	return openLDAP{s, ca}
}

func (o openLDAP) config(change ...func(*backup.LDAPConfig)) backup.LDAPConfig {
	return directory{ldaps: o.URL, startTLS: o.StartTLSURL, caFile: o.CAFile}.config(append(change, func(c *backup.LDAPConfig) {
		if c.BaseDN == acme {
			c.BaseDN = acmePeople
		}
	})...)
}

func (o openLDAP) editor(t *testing.T) editor {
	t.Helper()
	c := must(ldap.DialURL(o.URL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: o.ca.Pool(), MinVersion: tls.VersionTLS12})))(t)
	t.Cleanup(func() { c.Close() })
	if err := c.Bind(ldapserver.DefaultBindDN, password); err != nil {
		t.Fatal(err)
	}
	return editor{c}
}

func (e editor) hire(t *testing.T, uid string) (dn string) {
	t.Helper()
	dn = "uid=" + uid + "," + acmePeople
	e.add(t, dn, map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {uid}, "cn": {uid}, "sn": {uid}, "mail": {uid + "@acme.example"}})
	return dn
}

// TestSyncreplTellsEachChangeOnce makes one change of each kind on a real OpenLDAP, and then several at once.
func TestSyncreplTellsEachChangeOnce(t *testing.T) {
	s := startOpenLDAP(t, 60)
	edit := s.editor(t)
	edit.add(t, "ou=north,"+acmePeople, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"north"}})
	f := follow(t, opened(t, s.config()))
	if len(f.known) != 60 {
		t.Fatalf("%d people", len(f.known))
	}
	f.quiet(t)
	var id string
	is := func(what string, ok func(backup.DirectoryEntry) bool) {
		t.Helper()
		if e := f.known[id]; !ok(e) {
			t.Errorf("%s: %+v", what, e)
		}
		f.quiet(t)
	}

	dn := edit.hire(t, "newcomer")
	f.changes(t, 1, 0)
	id = f.find(t, dn).ID
	is("hired", func(e backup.DirectoryEntry) bool { return e.Mail == "newcomer@acme.example" })

	edit.set(t, dn, "mail", "other@acme.example")
	f.changes(t, 1, 0)
	is("changed", func(e backup.DirectoryEntry) bool { return e.Mail == "other@acme.example" })

	edit.move(t, dn, "uid=renamed", "")
	f.changes(t, 1, 0)
	is("renamed", func(e backup.DirectoryEntry) bool { return e.DN == "uid=renamed,"+acmePeople })

	edit.move(t, "uid=renamed,"+acmePeople, "uid=renamed", "ou=north,"+acmePeople)
	f.changes(t, 1, 0)
	is("moved", func(e backup.DirectoryEntry) bool { return e.DN == "uid=renamed,ou=north,"+acmePeople })

	edit.set(t, "uid=renamed,ou=north,"+acmePeople, "pwdAccountLockedTime", ldapserver.LockedForGood)
	f.changes(t, 1, 0)
	is("disabled", func(e backup.DirectoryEntry) bool { return e.Disabled })

	edit.move(t, "uid=renamed,ou=north,"+acmePeople, "uid=renamed", "ou=groups,"+acme)
	f.changes(t, 0, 1)
	f.quiet(t)
	edit.move(t, "uid=renamed,ou=groups,"+acme, "uid=renamed", acmePeople)
	f.changes(t, 1, 0)
	is("back", func(e backup.DirectoryEntry) bool { return e.DN == "uid=renamed,"+acmePeople })

	edit.remove(t, "uid=renamed,"+acmePeople)
	if got := f.changes(t, 0, 1); len(got.gone) == 1 && got.gone[0] != id {
		t.Errorf("%v is gone, and not %s", got.gone, id)
	}
	f.quiet(t)

	edit.hire(t, "one")
	edit.hire(t, "two")
	edit.set(t, ldapserver.PersonDN(acme, company()[0]), "displayName", "Several")
	edit.move(t, ldapserver.PersonDN(acme, company()[1]), "uid=moved", "ou=north,"+acmePeople)
	edit.remove(t, ldapserver.PersonDN(acme, company()[2]))
	edit.remove(t, ldapserver.PersonDN(acme, company()[3]))
	f.changes(t, 4, 2)
	f.quiet(t)
}

// TestSyncreplRenamesOfContainersAreReadInFull moves everybody without touching anybody.
func TestSyncreplRenamesOfContainersAreReadInFull(t *testing.T) {
	s := startOpenLDAP(t, 30)
	edit := s.editor(t)
	edit.add(t, "ou=north,"+acmePeople, map[string][]string{"objectClass": {"organizationalUnit"}, "ou": {"north"}})
	edit.add(t, "uid=there,ou=north,"+acmePeople, map[string][]string{"objectClass": {"inetOrgPerson"}, "uid": {"there"}, "cn": {"there"}, "sn": {"there"}})
	f := follow(t, opened(t, s.config()))
	edit.move(t, "ou=north,"+acmePeople, "ou=south", "")
	f.full(t, 1, 0, "container")
	f.quiet(t)
}

// TestSyncreplAfterARestart sees deletions that the server has no log of any more: it names who is present instead.
func TestSyncreplAfterARestart(t *testing.T) {
	s := startOpenLDAP(t, 40)
	f := follow(t, opened(t, s.config()))
	edit := s.editor(t)
	edit.remove(t, ldapserver.PersonDN(acme, company()[4]))
	edit.set(t, ldapserver.PersonDN(acme, company()[5]), "displayName", "After")
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.dir = opened(t, s.config())
	if got := f.read(t); len(got.changed) != 1 || len(got.gone) != 1 || got.gone[0] != company()[4].EntryUUID {
		t.Errorf("told were %v, gone %v: %s", got.changed, got.gone, got.end.Note)
	}
	f.quiet(t)
	s.editor(t).hire(t, "later")
	f.changes(t, 1, 0)
	f.quiet(t)
}

// TestSyncreplLosesNobodyToABadCursor reads on from cursors that are garbage, or older than everything.
func TestSyncreplLosesNobodyToABadCursor(t *testing.T) {
	s := startOpenLDAP(t, 40)
	f := follow(t, opened(t, s.config()))
	good := f.cursor
	change := func(value any, names ...string) backup.DirectoryCursor {
		var fields map[string]any
		if err := json.Unmarshal(good, &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			fields[name] = value
		}
		return must(json.Marshal(fields))(t)
	}
	for name, cursor := range map[string]backup.DirectoryCursor{
		"not JSON":          backup.DirectoryCursor("garbage"),
		"cut":               good[:len(good)/2],
		"garbled cookies":   change([]byte("\x00\xff not a cookie"), "cookie", "containers"),
		"a stranger's":      change([]byte("rid=000,csn=20200101000000.000000Z#000000#0ff#000000"), "cookie", "containers"),
		"old cookies":       change([]byte("rid=000,csn=20010101000000.000000Z#000000#000#000000"), "cookie", "containers"),
		"cookies to come":   change([]byte("rid=000,csn=20990101000000.000000Z#000000#000#000000"), "cookie", "containers"),
		"old cookie":        change([]byte("rid=000,csn=20010101000000.000000Z#000000#000#000000"), "cookie"),
		"garbled container": change([]byte("\x00\xff not a cookie"), "containers"),
		"other server":      change("00000000-0000-0000-0000-000000000000", "server"),
		"other feed":        change("dirsync", "feed"),
		"other version":     change(2, "v"),
	} {
		t.Run(name, func(t *testing.T) {
			f.cursor = cursor
			if got := f.read(t); got.end.Mode != backup.FullRead || len(got.changed)+len(got.gone) != 0 || len(f.known) != 40 {
				t.Errorf("%d people, %v told, %v gone: %s", len(f.known), got.changed, got.gone, got.end.Note)
			}
			f.quiet(t)
		})
	}
}

// TestSyncreplSeesGroupsAndTheFilter has people come and go by what stands elsewhere, and by what stands on them.
func TestSyncreplSeesGroupsAndTheFilter(t *testing.T) {
	s := startOpenLDAP(t, 50)
	edit := s.editor(t)
	in := func(department string) (n int) {
		for _, p := range company()[:50] {
			if p.Department == department {
				n++
			}
		}
		return n
	}
	var outsider, member sandbox.Person
	for _, p := range company()[:50] {
		if p.Department == "Legal" {
			member = p
		} else {
			outsider = p
		}
	}
	t.Run("group", func(t *testing.T) {
		f := follow(t, opened(t, s.config(func(c *backup.LDAPConfig) { c.Groups = []string{ldapserver.GroupDN(acme, "Legal")} })))
		if len(f.known) != in("Legal") {
			t.Fatalf("%d people", len(f.known))
		}
		edit.set(t, ldapserver.PersonDN(acme, outsider), "displayName", "Not Selected")
		f.changes(t, 0, 0)
		edit.set(t, ldapserver.PersonDN(acme, member), "displayName", "Selected")
		f.changes(t, 1, 0)
		f.quiet(t)
		edit.join(t, ldapserver.GroupDN(acme, "Legal"), ldapserver.PersonDN(acme, outsider))
		f.full(t, 1, 0, "members of")
		f.quiet(t)
	})
	t.Run("filter", func(t *testing.T) {
		f := follow(t, opened(t, s.config(func(c *backup.LDAPConfig) { c.Filter = "(&(objectClass=inetOrgPerson)(departmentNumber=Legal))" })))
		edit.set(t, ldapserver.PersonDN(acme, member), "departmentNumber", "Sales")
		f.changes(t, 0, 1)
		f.quiet(t)
		edit.set(t, ldapserver.PersonDN(acme, member), "departmentNumber", "Legal")
		f.changes(t, 1, 0)
		f.quiet(t)
	})
}
