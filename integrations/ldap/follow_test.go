package ldap_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	ourldap "github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// follower is somebody who reads a directory again and again, as imports do: it knows who was there after the last read.
type follower struct {
	dir    *ourldap.Directory
	cursor backup.DirectoryCursor
	known  map[string]backup.DirectoryEntry // by id
}

// told is what one read said that was not known before, and how it was read.
type told struct {
	changed map[string]backup.DirectoryEntry // by id: new or different from what was known
	same    int                              // entries that were sent as they were known
	gone    []string                         // known ones
	end     backup.ReadEnd
}

// follow begins with a full read.
func follow(t *testing.T, dir *ourldap.Directory) *follower {
	t.Helper()
	f := &follower{dir: dir, known: map[string]backup.DirectoryEntry{}}
	if first := f.read(t); first.end.Mode != backup.FullRead || len(f.cursor) == 0 {
		t.Fatalf("the first read: %s with the cursor %s", first.end.Note, first.end.Cursor)
	}
	return f
}

// read reads on and keeps what it was told, with the meaning that the store gives to it.
func (f *follower) read(t *testing.T) told {
	t.Helper()
	seen, gone := map[string]backup.DirectoryEntry{}, map[string]bool{}
	entries := 0
	end, err := f.dir.Read(t.Context(), backup.ReadFrom{Since: f.cursor}, func(p backup.EntryPage) error {
		entries += len(p.Entries)
		for _, e := range p.Entries {
			seen[e.ID] = e
		}
		for _, id := range p.Present {
			if e, known := f.known[id]; known && seen[id].ID == "" {
				seen[id] = e
			}
		}
		for _, id := range p.Gone {
			gone[id] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	result := told{changed: map[string]backup.DirectoryEntry{}, end: end}
	for id, e := range f.known {
		if gone[id] || end.Mode == backup.FullRead && seen[id].ID == "" {
			result.gone = append(result.gone, id)
			delete(f.known, id)
		} else if s := seen[id]; s.ID != "" && same(s, e) {
			result.same++
		}
	}
	for id, e := range seen {
		if old, known := f.known[id]; !known || !same(old, e) {
			result.changed[id] = e
		}
		f.known[id] = e
	}
	f.cursor = end.Cursor
	t.Logf("%d entries, %d changed, %d gone: %s", entries, len(result.changed), len(result.gone), end.Note)
	return result
}

func same(a, b backup.DirectoryEntry) bool {
	return a.DN == b.DN && a.Mail == b.Mail && a.UPN == b.UPN && a.DisplayName == b.DisplayName && a.Disabled == b.Disabled &&
		a.Department == b.Department && slices.Equal(a.Groups, b.Groups) && slices.Equal(a.Aliases, b.Aliases)
}

// changes reads on and demands that changes were read, and exactly those of so many people.
func (f *follower) changes(t *testing.T, changed, gone int) told {
	t.Helper()
	got := f.read(t)
	if got.end.Mode != backup.ChangesRead {
		t.Fatalf("it was read in full: %s", got.end.Note)
	}
	f.check(t, got, changed, gone)
	return got
}

// full reads on and demands that everybody was listed.
func (f *follower) full(t *testing.T, changed, gone int, note string) told {
	t.Helper()
	got := f.read(t)
	if got.end.Mode != backup.FullRead || !strings.Contains(got.end.Note, note) {
		t.Errorf("it was not read in full for %q: %s", note, got.end.Note)
	}
	f.check(t, got, changed, gone)
	return got
}

func (f *follower) check(t *testing.T, got told, changed, gone int) {
	t.Helper()
	if len(got.changed) != changed || len(got.gone) != gone {
		t.Errorf("told were %v and gone %v, want %d and %d", got.changed, got.gone, changed, gone)
	}
	if len(f.cursor) == 0 {
		t.Fatal("there is no cursor")
	}
}

// quiet demands that nothing is told when nothing happened, not even once more.
func (f *follower) quiet(t *testing.T) {
	t.Helper()
	if got := f.changes(t, 0, 0); got.same != 0 {
		t.Errorf("%d entries were told again", got.same)
	}
}

// find is who is known under a DN; letters' case means nothing.
func (f *follower) find(t *testing.T, dn string) backup.DirectoryEntry {
	t.Helper()
	for _, e := range f.known {
		if strings.EqualFold(e.DN, dn) {
			return e
		}
	}
	t.Fatalf("nobody is known as %s", dn)
	return backup.DirectoryEntry{}
}

// editor makes the changes that are followed.
type editor struct{ *ldap.Conn }

func (e editor) add(t *testing.T, dn string, attributes map[string][]string) {
	t.Helper()
	r := ldap.NewAddRequest(dn, nil)
	for name, values := range attributes {
		r.Attribute(name, values)
	}
	if err := e.Add(r); err != nil {
		t.Fatal(err)
	}
}

func (e editor) set(t *testing.T, dn, attribute string, values ...string) {
	t.Helper()
	r := ldap.NewModifyRequest(dn, nil)
	r.Replace(attribute, values)
	if err := e.Modify(r); err != nil {
		t.Fatal(err)
	}
}

func (e editor) join(t *testing.T, group string, members ...string) {
	t.Helper()
	r := ldap.NewModifyRequest(group, nil)
	r.Add("member", members)
	if err := e.Modify(r); err != nil {
		t.Fatal(err)
	}
}

// move renames an entry, and puts it below another one unless to is empty.
func (e editor) move(t *testing.T, dn, rdn, to string) {
	t.Helper()
	if err := e.ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, to)); err != nil {
		t.Fatal(err)
	}
}

func (e editor) remove(t *testing.T, dn string) {
	t.Helper()
	if err := e.Del(ldap.NewDelRequest(dn, nil)); err != nil {
		t.Fatal(err)
	}
}
