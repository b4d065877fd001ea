package ldap_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"go.temporal.io/sdk/testsuite"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// directories opens what the adapter opens.
type directories struct{ *ldap.Adapter }

func (d directories) OpenDirectory(ctx context.Context, t backup.Tenant, dir backup.DirectoryConfig) (activities.Directory, error) {
	return d.Adapter.OpenDirectory(ctx, t, dir)
}

// importing imports a directory into a real store by the activities that the worker runs.
type importing struct {
	env    *testsuite.TestActivityEnvironment
	store  *sqlstore.Store
	passes int
}

func newImporting(t *testing.T, c backup.LDAPConfig, secret string) *importing {
	t.Helper()
	store := must(sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "store.db")))(t)
	t.Cleanup(func() { store.Close() })
	tenant := backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP, LDAP: &c}}}
	if err := store.SaveTenant(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
	adapter := ldap.New(func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(secret), nil })
	i := &importing{env: new(testsuite.WorkflowTestSuite).NewTestActivityEnvironment(), store: store}
	i.env.RegisterActivity(&activities.Importing{Tenants: store, People: store, Directories: directories{adapter}})
	return i
}

// run imports once and returns the report's lines, as "kind mail".
func (i *importing) run(t *testing.T, mode backup.ReadMode) (lines []string) {
	t.Helper()
	i.passes++
	in := activities.PassInput{Tenant: "acme", Directory: "ldap", Pass: fmt.Sprint("pass-", i.passes)}
	var a *activities.Importing
	var compared activities.CompareResult
	if _, err := i.env.ExecuteActivity(a.ReadDirectory, in); err != nil {
		t.Fatal(err)
	}
	result := must(i.env.ExecuteActivity(a.CompareListing, in))(t)
	if err := result.Get(&compared); err != nil {
		t.Fatal(err)
	}
	if _, err := i.env.ExecuteActivity(a.ApplyListing, activities.ApplyListingInput{PassInput: in, Digest: compared.Digest}); err != nil {
		t.Fatal(err)
	}
	report := must(i.store.Import(t.Context(), "acme", compared.Report))(t)
	if report.Mode != mode || report.Outcome != backup.ImportApplied || !report.Cursor {
		t.Fatalf("the import is %s and %s, with a cursor: %v: %s", report.Mode, report.Outcome, report.Cursor, report.Note)
	}
	page, next, err := i.store.ListChanges(t.Context(), "acme", compared.Report, "", 200)
	if err != nil || next != "" {
		t.Fatalf("the report goes on at %q: %v", next, err)
	}
	for _, c := range page {
		lines = append(lines, string(c.Kind)+" "+c.Entry.Mail)
	}
	slices.Sort(lines)
	return lines
}

func (i *importing) wants(t *testing.T, mode backup.ReadMode, lines ...string) {
	t.Helper()
	if got := i.run(t, mode); !slices.Equal(got, lines) {
		t.Errorf("the report says %q, want %q", got, lines)
	}
}

func (i *importing) accounts(t *testing.T) backup.Accounts {
	t.Helper()
	return must(i.store.CountAccounts(t.Context(), "acme"))(t)
}

// TestImportsFollowSyncrepl takes a real OpenLDAP's changes into a real store: each is in one report, and the accounts keep who they are.
func TestImportsFollowSyncrepl(t *testing.T) {
	s := startOpenLDAP(t, 20) // none of them is disabled or without mail
	edit := s.editor(t)
	i := newImporting(t, s.config(), password)
	if added := i.run(t, backup.FullRead); len(added) != 20 {
		t.Fatalf("the first report has %d lines", len(added))
	}
	i.wants(t, backup.ChangesRead)

	first, second := ldapserver.PersonDN(acme, company()[0]), ldapserver.PersonDN(acme, company()[1])
	before := must(i.store.FindAccount(t.Context(), "acme", company()[0].Mail))(t)
	edit.hire(t, "newcomer")
	edit.set(t, first, "mail", "other@acme.example")
	edit.set(t, second, "pwdAccountLockedTime", ldapserver.LockedForGood)
	edit.remove(t, ldapserver.PersonDN(acme, company()[2]))
	i.wants(t, backup.ChangesRead, "added newcomer@acme.example", "changed other@acme.example", "preserved "+company()[1].Mail, "removed "+company()[2].Mail)
	i.wants(t, backup.ChangesRead)
	if after := must(i.store.FindAccount(t.Context(), "acme", "other@acme.example"))(t); after.ID != before.ID {
		t.Errorf("the account %s became %s by another mail", before.ID, after.ID)
	}
	if got, want := i.accounts(t), (backup.Accounts{Active: 19, Preserved: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}

	edit.set(t, second, "pwdAccountLockedTime")
	edit.remove(t, "uid=newcomer,"+acmePeople)
	if err := s.Restart(t.Context()); err != nil { // whoever is gone is not in its log now; the accounts follow all the same
		t.Fatal(err)
	}
	i.reach(t, s.config())
	if got, want := i.run(t, backup.FullRead), []string{"removed newcomer@acme.example", "returned " + company()[1].Mail}; !slices.Equal(got, want) {
		t.Errorf("after the restart the report says %q, want %q", got, want)
	}
	i.wants(t, backup.ChangesRead)
}

// reach tells the tenant's file where the directory is now.
func (i *importing) reach(t *testing.T, c backup.LDAPConfig) {
	t.Helper()
	tenant := must(i.store.Tenant(t.Context(), "acme"))(t)
	tenant.Directories[0].LDAP = &c
	if err := i.store.SaveTenant(t.Context(), tenant); err != nil {
		t.Fatal(err)
	}
}
