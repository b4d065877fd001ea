package ldap_test

import (
	"slices"
	"testing"

	"github.com/go-ldap/ldap/v3"

	ourldap "github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/samba"
)

// changesOf reads on from a cursor.
func changesOf(t *testing.T, d *ourldap.Directory, since backup.DirectoryCursor) (entries []backup.DirectoryEntry, gone []string, end backup.ReadEnd) {
	t.Helper()
	end, err := d.Read(t.Context(), backup.ReadFrom{Since: since}, func(p backup.EntryPage) error {
		entries, gone = append(entries, p.Entries...), append(gone, p.Gone...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries, gone, end
}

// TestActiveDirectoryTellsEachChangeOnce follows a real domain controller by both of its feeds.
func TestActiveDirectoryTellsEachChangeOnce(t *testing.T) {
	ca := must(sandbox.NewCA("samba"))(t)
	s := must(samba.Start(t.Context(), samba.Options{CA: ca, Password: "Passw0rd!Of.Tests"}))(t)
	defer s.Close()
	for _, feed := range []backup.ChangeFeed{backup.FeedDirSync, backup.FeedUSN} {
		t.Run(string(feed), func(t *testing.T) {
			dir := must(openAs(t.Context(), backup.LDAPConfig{URL: s.URL, CAFile: s.CAFile, BindDN: samba.Administrator, BindPassword: "env:LDAP_PASSWORD",
				BaseDN: samba.BaseDN, Changes: feed}, "Passw0rd!Of.Tests"))(t)
			defer dir.Close()
			admin := must(ldap.DialURL(s.StartTLSURL))(t)
			defer admin.Close()
			if err := admin.StartTLS(tlsOf(ca, s.Address)); err != nil {
				t.Fatal(err)
			}
			if err := admin.Bind(samba.Administrator, "Passw0rd!Of.Tests"); err != nil {
				t.Fatal(err)
			}
			_, _, first := changesOf(t, dir, nil)
			dn := "CN=new " + string(feed) + ",CN=Users," + samba.BaseDN
			add := ldap.NewAddRequest(dn, nil)
			add.Attribute("objectClass", []string{"user"})
			add.Attribute("sAMAccountName", []string{"new" + string(feed)})
			add.Attribute("mail", []string{string(feed) + "@corp.example.test"})
			if err := admin.Add(add); err != nil {
				t.Fatal(err)
			}
			entries, _, created := changesOf(t, dir, first.Cursor)
			if created.Mode != backup.ChangesRead || len(entries) != 1 || entries[0].DN != dn {
				t.Fatalf("after the creation: %+v, %s", entries, created.Note)
			}
			again, gone, quiet := changesOf(t, dir, created.Cursor)
			if len(again)+len(gone) != 0 || quiet.Mode != backup.ChangesRead {
				t.Errorf("told again: %+v %v, %s", again, gone, quiet.Note)
			}
			if err := admin.Del(ldap.NewDelRequest(dn, nil)); err != nil {
				t.Fatal(err)
			}
			_, gone, deleted := changesOf(t, dir, quiet.Cursor)
			if deleted.Mode != backup.ChangesRead || !slices.Contains(gone, entries[0].ID) {
				t.Errorf("after the deletion: gone %v, %s", gone, deleted.Note)
			}
		})
	}
}
