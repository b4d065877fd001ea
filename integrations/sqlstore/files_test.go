package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestStoreOfANewerHoldfastIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := openAt(t, path)
	_, err := s.write.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (7000, TRUE)`)
	must(t, err)
	_, err = Open(t.Context(), "sqlite://"+path)
	wantCode(t, err, backup.CodeBadConfig)
	t.Log(err)
}

// A full disk must say so, change nothing, and be over when there is room again.
func TestFullDisk(t *testing.T) {
	i := newImporter(t, openAt(t, filepath.Join(t.TempDir(), "holdfast.db")))
	i.run(people(t, "e1 anna", "e2 bela"))
	limit(t, i.store, `(SELECT page_count FROM pragma_page_count()) + 20`)

	i.stage()
	var err error
	for n := 0; err == nil && n < 100; n++ {
		err = stageOne(i.store, i.current(), backup.EntryPage{Entries: crowd(n*100, 100)})
	}
	wantCode(t, err, backup.CodeDiskFull)
	if e := backup.AsError(err); e.Retryable || e.Fault != backup.FaultOurs || e.Hint == "" {
		t.Errorf("the error is %+v", e)
	}
	if have := i.accounts(); !slices.Equal(have, []string{"e1 anna", "e2 bela"}) {
		t.Errorf("accounts are %q", have)
	}
	limit(t, i.store, `1000000`)
	i.stage(crowd(0, 2000))
	if a := i.apply(); a != (backup.Accounts{Active: 1920, Preserved: 82}) {
		t.Errorf("with room again, accounts are %+v", a)
	}
}

// limit bounds the size of the store's file.
func limit(t *testing.T, s *Store, pages string) {
	t.Helper()
	var n int
	must(t, s.write.QueryRowContext(t.Context(), `SELECT `+pages).Scan(&n))
	_, err := s.write.ExecContext(t.Context(), fmt.Sprintf(`PRAGMA max_page_count = %d`, n))
	must(t, err)
}

func TestBusyStoreIsOursAndPasses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "holdfast.db")
	a, b := openAt(t, path), openAt(t, path)
	_, err := b.write.ExecContext(t.Context(), `PRAGMA busy_timeout = 20`)
	must(t, err)
	tx, err := a.write.BeginTx(t.Context(), nil)
	must(t, err)
	err = b.SaveTenant(t.Context(), acmeWith())
	must(t, tx.Rollback())
	if e := backup.AsError(err); err == nil || !e.Retryable || e.Fault != backup.FaultOurs || e.RetryAfter == 0 {
		t.Errorf("the error is %+v", err)
	}
	saveTenant(t, b, acmeWith())
}

func TestCallersEndIsNotTheStoresError(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	<-ctx.Done()
	if err := s.SaveTenant(ctx, acmeWith()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
	// A statement that is interrupted in its middle.
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var n int
	err := s.read.QueryRowContext(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n`).Scan(&n)
	if err := classify(ctx, "count for ever", err); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the error is %v", err)
	}
}

func TestRepeatedKeyRequestIDIsRefused(t *testing.T) {
	s := newStore(t)
	r := backup.KeyRequest{ID: "r", Tenant: acme, Body: []byte{}, Created: noon, Expires: noon.Add(time.Minute)}
	must(t, s.PutKeyRequest(t.Context(), r))
	err := s.PutKeyRequest(t.Context(), r)
	if e := backup.AsError(err); err == nil || e.Code != backup.CodeInternal || e.Retryable {
		t.Errorf("the error is %+v", err)
	}
}

// crowd is n people from the given number on.
func crowd(from, n int) []backup.DirectoryEntry {
	page := make([]backup.DirectoryEntry, n)
	for i := range page {
		k := from + i
		page[i] = backup.DirectoryEntry{
			ID: fmt.Sprintf("%08x-%04x-4000-8000-%012x", uint32(k)*2654435761, k%65536, k), DN: fmt.Sprintf("uid=person%06d,ou=people,dc=acme,dc=example", k),
			Mail: fmt.Sprintf("person%06d@acme.example", k), UPN: fmt.Sprintf("person%06d@acme.example", k), DisplayName: fmt.Sprintf("Person Number %d", k),
			EmployeeID: fmt.Sprintf("E%06d", k), Department: "Engineering", Disabled: k%25 == 22,
		}
	}
	return page
}
