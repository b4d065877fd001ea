package sqlstore

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

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
		"postgres://holdfast@localhost",
		"postgres://holdfast@localhost:port/holdfast",
		"postgres://holdfast@localhost/holdfast?connections=3",
		"postgres://holdfast@localhost/holdfast?connections=4&connections=5",
		"postgres://holdfast@localhost/holdfast?host=/run/postgresql",
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

func TestServersCertificateIsVerified(t *testing.T) {
	good := newDatabase(t, template)
	s := openDSN(t, good)
	var encrypted bool
	must(t, s.read.QueryRowContext(t.Context(), `SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()`).Scan(&encrypted))
	if !encrypted {
		t.Error("the session is not encrypted")
	}
	other, err := sandbox.NewCA("another")
	must(t, err)
	folder := t.TempDir()
	must(t, other.WriteFiles(folder, "localhost"))
	for name, dsn := range map[string]string{
		"of another CA": with(t, good, "sslrootcert", filepath.Join(folder, "ca.pem")),
		"of the system": with(t, good, "sslrootcert", ""),
	} {
		_, err := Open(t.Context(), dsn)
		if e := backup.AsError(err); e.Code != backup.CodeBadConfig || e.Retryable || !strings.Contains(e.Message, "certificate") {
			t.Errorf("%s: the error is %+v", name, e)
		}
	}
}

// with is the address with another setting; an empty one is taken out.
func with(t testing.TB, dsn, name, value string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	query := u.Query()
	if query.Set(name, value); value == "" {
		query.Del(name)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

func TestUnixSocketIsTaken(t *testing.T) {
	dsn := newDatabase(t, template)
	u, err := url.Parse(dsn)
	must(t, err)
	s := openDSN(t, server.SocketURL(strings.Trim(u.Path, "/")))
	must(t, s.Ping(t.Context()))
}

func TestPostgresThatDoesNotLetUsInSaysWhy(t *testing.T) {
	good := newDatabase(t, template)
	passwords := map[string]string{"wrong": "wrong password\n", "empty": "", "two lines": "a\nb\n"}
	for name, text := range passwords {
		file := filepath.Join(t.TempDir(), "password")
		must(t, os.WriteFile(file, []byte(text), 0o600))
		want := backup.CodeBadConfig
		if name == "wrong" {
			want = backup.CodeBadCredential
		}
		_, err := Open(t.Context(), with(t, good, "passwordFile", file))
		wantCode(t, err, want)
		if e := backup.AsError(err); e.Hint == "" || e.Retryable || strings.Contains(err.Error(), "wrong password") {
			t.Errorf("%s: the error is %+v", name, e)
		}
	}
	open := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(open, []byte("secret"), 0o600))
	must(t, os.Chmod(open, 0o644))
	_, err := Open(t.Context(), with(t, good, "passwordFile", open))
	wantCode(t, err, backup.CodeBadConfig)

	_, err = Open(t.Context(), server.URL("nowhere"))
	wantCode(t, err, backup.CodeBadConfig)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	_, err = Open(t.Context(), "postgres://holdfast@"+l.Addr().String()+"/holdfast")
	wantCode(t, err, backup.CodeUnreachable)
}

// Processes that start at once on an empty database make its schema once.
func TestEmptyDatabaseIsMigratedOnce(t *testing.T) {
	dsn := newDatabase(t, "")
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), openingEnv+"="+dsn)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("a process failed: %v: %s", err, out)
			}
		})
	}
	starting.Wait()
	s := openDSN(t, dsn)
	var receipts, firsts int
	must(t, s.read.QueryRowContext(t.Context(), `SELECT (SELECT COUNT(*) FROM receipt), (SELECT COUNT(*) FROM goose_db_version WHERE version_id = 1)`).Scan(&receipts, &firsts))
	if receipts != 4 || firsts != 1 {
		t.Errorf("%d receipts were written and the first migration was made %d times; want 4 and 1", receipts, firsts)
	}
}

// A transaction that a crash of the server ends leaves nothing, and the same call again does all of it.
func TestServerThatCrashesInMidImport(t *testing.T) {
	i := newImporter(t, openDSN(t, newDatabase(t, template)))
	i.run(people(t, "e1 anna", "e2 bela"))
	i.stage(people(t, "e1 anna", "e3 chen"))
	i.end(backup.FullRead)
	d := i.difference()
	tx, err := i.store.write.BeginTx(t.Context(), nil)
	must(t, err)
	row, err := lockPass(t.Context(), tx, i.current())
	must(t, err)
	got[int](t)(i.store.apply(t.Context(), tx, i.tenant, i.current(), row, d.Digest, "", noon))
	must(t, server.Kill())
	if e := backup.AsError(classify(t.Context(), "apply", tx.Commit())); e == nil || e.Code != backup.CodeUnreachable || !e.Retryable {
		t.Errorf("the error is %+v", e)
	}
	must(t, server.Restart(context.Background()))
	if have := i.accounts(); !slices.Equal(have, []string{"e1 anna", "e2 bela"}) {
		t.Fatalf("accounts after the crash are %q", have)
	}
	i.applyCompared()
	if have := i.accounts(); !slices.Equal(have, []string{"e1 anna", "e2~ bela", "e3 chen"}) {
		t.Errorf("accounts are %q", have)
	}
}

// Whatever an address says, what is taken goes to one server that is either on this machine or proves its name.
func FuzzPostgresAddress(f *testing.F) {
	for _, dsn := range []string{"postgres://holdfast@db.example:5432/holdfast?connections=20&passwordFile=/etc/p", "postgresql://h@/d?host=/run/postgresql&port=5433",
		"postgres://h@[::1]/d?sslmode=disable", "postgres://h@localhost,db/d", "postgres://h:p@db/d?sslmode=require", "postgres://h@127.1/d", "postgres://h@%2Frun/d"} {
		f.Add(dsn)
	}
	for _, name := range []string{"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGSERVICE"} {
		f.Setenv(name, "")
	}
	f.Fuzz(func(t *testing.T, dsn string) {
		address, err := parsePostgres(dsn)
		if err != nil {
			return
		}
		address.passwordFile = ""
		config, err := address.config()
		if err != nil {
			return
		}
		for _, way := range append(config.Fallbacks, &pgconn.FallbackConfig{Host: config.Host, TLSConfig: config.TLSConfig}) {
			ip, err := netip.ParseAddr(way.Host)
			local := strings.HasPrefix(way.Host, "/") || way.Host == "localhost" || err == nil && ip.IsLoopback()
			if proves := way.TLSConfig != nil && !way.TLSConfig.InsecureSkipVerify && way.TLSConfig.ServerName == way.Host; !local && !proves {
				t.Errorf("%q goes to %q without proof", dsn, way.Host)
			}
		}
	})
}
