package sqlstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/custody"
)

// The store is what activities, custody and connectors ask for.
var (
	_ activities.Tenants    = (*Store)(nil)
	_ activities.People     = (*Store)(nil)
	_ activities.Runs       = (*Store)(nil)
	_ activities.Alerts     = (*Store)(nil)
	_ activities.Enrolments = (*Store)(nil)
	_ custody.Records       = (*Store)(nil)
	_ connector.Mailbox     = (*Store)(nil)
)

// noon is when the tests happen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const acme = "acme"

// newStore opens a new store that ends with the test, of the kind that this run of the tests is about.
func newStore(t testing.TB) *Store {
	t.Helper()
	return openDSN(t, newDSN(t))
}

// openAt opens the store at path, as another process would.
func openAt(t testing.TB, path string) *Store {
	t.Helper()
	return openDSN(t, "sqlite://"+path)
}

func openDSN(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// twoStores opens one new store twice, as two processes would.
func twoStores(t testing.TB) (*Store, *Store) {
	t.Helper()
	dsn := newDSN(t)
	return openDSN(t, dsn), openDSN(t, dsn)
}

func acmeWith(connectors ...backup.ConnectorConfig) backup.Tenant {
	return backup.Tenant{ID: acme, Name: "Acme", Key: backup.KeyConfig{Method: backup.KeyByConnector, Connectors: connectors},
		Profile: backup.Profile{Services: []backup.Service{backup.Mail, backup.Drive}, Every: backup.Duration(24 * time.Hour)}}
}

func saveTenant(t testing.TB, s *Store, tenant backup.Tenant) {
	t.Helper()
	must(t, s.SaveTenant(t.Context(), tenant))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got is must for calls with a result.
func got[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantCode(t testing.TB, err error, code backup.Code) {
	t.Helper()
	if !backup.HasCode(err, code) {
		t.Fatalf("error is %v, want one of code %s", err, code)
	}
}

func TestStoreIsReadableByItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := openAt(t, path)
	saveTenant(t, s, acmeWith())
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		must(t, err)
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("mode of holdfast.db%s is %o, want 600", suffix, mode)
		}
	}
}

func TestOpenRefusesWhatCannotWork(t *testing.T) {
	folder := t.TempDir()
	notAStore := filepath.Join(folder, "letter.txt")
	must(t, os.WriteFile(notAStore, []byte("Dear Anna, this is a letter and not a store. It is long enough to be looked at. Yours, Bela"), 0o600))
	for name, dsn := range map[string]string{
		"another database": "postgres://holdfast:hunter2@db/holdfast",
		"relative path":    "sqlite://holdfast.db",
		"settings":         "sqlite:///tmp/holdfast.db?_pragma=synchronous(off)",
		"missing folder":   "sqlite://" + filepath.Join(folder, "nowhere", "holdfast.db"),
		"a folder":         "sqlite://" + folder,
		"empty":            "",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), dsn)
			wantCode(t, err, backup.CodeBadConfig)
			if e := backup.AsError(err); e.Hint == "" || e.Retryable {
				t.Errorf("hint %q, retryable %t; want a hint and no retry", e.Hint, e.Retryable)
			}
		})
	}
	_, err := Open(t.Context(), "sqlite://"+notAStore)
	if e := backup.AsError(err); err == nil || e.Retryable || e.Code != backup.CodeInternal {
		t.Errorf("a file that is no database gives %v", err)
	}
}

func TestTenantComesBackAsItWasSaved(t *testing.T) {
	s := newStore(t)
	_, err := s.Tenant(t.Context(), acme)
	wantCode(t, err, backup.CodeNotFound)

	want := acmeWith(backup.ConnectorConfig{Name: "berlin", Identity: "ed25519:AAA"})
	saveTenant(t, s, want)
	want.Name = "Acme Ltd"
	saveTenant(t, s, want)
	have := got[backup.Tenant](t)(s.Tenant(t.Context(), acme))
	if have.Name != want.Name || have.Profile.Every != want.Profile.Every || have.Key.Connectors[0] != want.Key.Connectors[0] {
		t.Errorf("have %+v, want %+v", have, want)
	}
}
