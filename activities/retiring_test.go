package activities_test

import (
	"context"
	"path/filepath"
	"testing"

	"go.temporal.io/sdk/testsuite"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// register is a directory of a few people, which may be away.
type register struct {
	people []backup.DirectoryEntry
	asked  int
}

func (r *register) OpenDirectory(context.Context, backup.Tenant, backup.DirectoryConfig) (activities.Directory, error) {
	r.asked++
	return r, nil
}

func (r *register) Probe(context.Context) (string, error) { return "it is there", nil }
func (r *register) Close() error                          { return nil }

func (r *register) Read(_ context.Context, _ backup.ReadFrom, stage func(backup.EntryPage) error) (backup.ReadEnd, error) {
	return backup.ReadEnd{Mode: backup.FullRead}, stage(backup.EntryPage{Entries: r.people})
}

// A directory that is retired is asked for nothing any more, and its people are preserved when that is approved, but for those whom another has.
func TestRetiredDirectoryHasNobody(t *testing.T) {
	store, err := sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "holdfast.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	anna, bela := backup.DirectoryEntry{ID: "1", Mail: "anna@acme.example"}, backup.DirectoryEntry{ID: "2", Mail: "bela@acme.example"}
	people := &register{people: []backup.DirectoryEntry{anna, bela}}
	env := (&testsuite.WorkflowTestSuite{}).NewTestActivityEnvironment()
	importing := &activities.Importing{Tenants: store, People: store, Directories: people}
	env.RegisterActivity(importing)
	tenant := backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{{Name: "new", Kind: backup.Entra}, {Name: "old", Kind: backup.LDAP}}}
	importFrom := func(dir backup.DirectoryName, pass string) (compared activities.CompareResult, applied activities.ApplyResult) {
		t.Helper()
		if err := store.SaveTenant(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
		in := activities.PassInput{Tenant: "acme", Directory: dir, Pass: pass}
		if _, err := env.ExecuteActivity(importing.ReadDirectory, in); err != nil {
			t.Fatal(err)
		}
		get(t, env, &compared, importing.CompareListing, in)
		get(t, env, &applied, importing.ApplyListing, activities.ApplyListingInput{PassInput: in, Digest: compared.Digest})
		return compared, applied
	}
	importFrom("old", "1")
	people.people = people.people[:1]
	importFrom("new", "2")
	if _, now := importFrom("old", "3"); now.Accounts != (backup.Accounts{Active: 1, Preserved: 1}) {
		t.Fatalf("who is listed nowhere is not preserved: %+v", now)
	}
	people.people = []backup.DirectoryEntry{anna, bela}
	importFrom("old", "4")

	tenant.Directories[1].Retired = true
	asked := people.asked
	compared, applied := importFrom("old", "5")
	if people.asked != asked {
		t.Error("the retired directory was asked")
	}
	if compared.Verdict != backup.ImportApprove || compared.Counts.Leaving != 1 || compared.Counts.Vanished != 2 {
		t.Errorf("its import is judged %+v", compared)
	}
	if applied.Accounts != (backup.Accounts{Active: 1, Preserved: 1}) {
		t.Errorf("afterwards there are %+v", applied)
	}
	if compared, _ := importFrom("old", "6"); compared.Verdict != backup.ImportApply {
		t.Errorf("once more it is judged %+v", compared)
	}
	probing := &activities.Probing{Tenants: store, Directories: people}
	env.RegisterActivity(probing)
	var found backup.Verdict
	get(t, env, &found, probing.CheckDirectory, activities.TenantInput{Tenant: "acme"})
	if !found.Passing || found.Detail != "it is there; old is retired" {
		t.Errorf("the check finds %+v", found)
	}
}

func get[T any](t *testing.T, env *testsuite.TestActivityEnvironment, into *T, activity any, in any) {
	t.Helper()
	value, err := env.ExecuteActivity(activity, in)
	if err == nil {
		err = value.Get(into)
	}
	if err != nil {
		t.Fatal(err)
	}
}
