package sqlstore

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	pgserver "github.com/holdfast-backup/holdfast/internal/sandbox/postgres"
)

var (
	// server is the PostgreSQL of the tests; only fuzzing has none.
	server *pgserver.Server
	// onPostgres tells which database this run of the tests is about.
	onPostgres bool
	// databases numbers those of the tests, each a copy of the template, whose schema is up to date.
	databases atomic.Int64
)

const template = "template_of_stores"

// onEveryDatabase runs all tests on SQLite and then on PostgreSQL. Those about one of the two run both times.
func onEveryDatabase(m *testing.M) int {
	flag.Parse()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		return m.Run() // each of its workers is a process like this one
	}
	if err := startPostgres(); err != nil {
		fmt.Println("PostgreSQL:", err)
		return 1
	}
	failed := 0
	for _, onPostgres = range []bool{false, true} {
		began := time.Now()
		failed = max(failed, m.Run())
		fmt.Printf("on PostgreSQL: %t, %v\n", onPostgres, time.Since(began).Round(time.Millisecond))
	}
	if err := server.Close(); err != nil {
		fmt.Println("PostgreSQL:", err)
		return 1
	}
	return failed
}

// startPostgres starts a server that need not survive a loss of power.
func startPostgres() error {
	ctx := context.Background()
	ca, err := sandbox.NewCA("sandbox")
	if err != nil {
		return err
	}
	settings := map[string]string{"max_connections": "200", "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
	if server, err = pgserver.Start(ctx, pgserver.Options{CA: ca, Settings: settings}); err != nil {
		return err
	}
	if err := server.CreateDatabase(ctx, template, ""); err != nil {
		return err
	}
	s, err := Open(ctx, server.URL(template))
	if err != nil {
		return err
	}
	return s.Close()
}

// newDSN is the address of a new store that goes away with the test, of the kind that this run of the tests is about.
func newDSN(t testing.TB) string {
	t.Helper()
	if onPostgres {
		return newDatabase(t, template)
	}
	return "sqlite://" + filepath.Join(t.TempDir(), "holdfast.db")
}

// newDatabase is the address of a new database of PostgreSQL.
func newDatabase(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("store_%d_%d", os.Getpid(), databases.Add(1))
	must(t, server.CreateDatabase(t.Context(), name, template))
	t.Cleanup(func() { must(t, server.DropDatabase(context.Background(), name)) })
	return server.URL(name)
}

func TestAddressThatIsNotSafeIsRefused(t *testing.T) {
	for _, dsn := range []string{
		"postgres://holdfast:hunter2@db.example/holdfast",
		"postgres://holdfast@db.example/holdfast?sslmode=disable",
		"postgres://holdfast@db.example/holdfast?sslmode=prefer",
		"postgres://holdfast@db.example/holdfast?sslmode=require",
		"postgres://holdfast@/holdfast?host=/run/postgresql,db.example",
		"postgres://holdfast@localhost,db.example/holdfast",
		"postgres://holdfast@localhost/holdfast?options=-csearch_path%3Dx",
		"postgres://holdfast@localhost/holdfast?passwordFile=password",
		"postgres://localhost/holdfast",
	} {
		_, err := Open(t.Context(), dsn)
		wantCode(t, err, backup.CodeBadConfig)
		if e := backup.AsError(err); e.Hint == "" || e.Retryable {
			t.Errorf("%s gives %+v", dsn, e)
		}
	}
}

// A server that is away must say so, and be used again when it is back.
func TestServerThatCrashesIsUsedAgain(t *testing.T) {
	s := openDSN(t, newDatabase(t, template))
	saveTenant(t, s, acmeWith())
	must(t, server.Kill())
	err := s.SaveTenant(t.Context(), acmeWith())
	if e := backup.AsError(err); e.Code != backup.CodeUnreachable || !e.Retryable || e.RetryAfter == 0 {
		t.Errorf("the error is %+v", e)
	}
	must(t, server.Restart(context.Background()))
	saveTenant(t, s, acmeWith())
	got[backup.Tenant](t)(s.Tenant(t.Context(), acme))
}
