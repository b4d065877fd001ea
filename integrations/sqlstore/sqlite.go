package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// readersAtOnce bounds the connections that read a SQLite file, each of which has a page cache of its own.
const readersAtOnce = 4

// rowsAtOnce is how many rows go into one statement: enough to make its cost small, few enough for its text and its
// parameters, of which SQLite takes 32,766.
const rowsAtOnce = 100

// sqlite is the dialect of one file.
type sqlite struct{}

func openSQLite(dsn string) (*Store, error) {
	path, err := sqlitePath(dsn)
	if err != nil {
		return nil, err
	}
	if err := makePrivateFile(path); err != nil {
		return nil, err
	}
	// One connection writes: SQLite has one writer at a time anyway, and goroutines of one process queue better in Go, where a
	// context ends the wait, than at the file's lock.
	write, err := sql.Open("sqlite", sqliteName(path, "8000"))
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteName(path, "4000")+"&_query_only=1")
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(readersAtOnce)
	read.SetMaxIdleConns(readersAtOnce)
	return &Store{write: write, read: read, dialect: sqlite{}}, nil
}

func sqlitePath(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "sqlite" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(u.Path) || strings.ContainsRune(u.Path, 0) {
		// The dsn itself is not shown: another database's may hold a password.
		return "", badConfig("the store's address is not understood", "give it as sqlite:///absolute/path/holdfast.db, or as postgres://user@host/database", nil)
	}
	return filepath.Clean(u.Path), nil
}

// makePrivateFile makes the file before SQLite does, so that business data is readable by its owner only. SQLite gives the
// WAL and the shared-memory file the same mode (os_unix.c, findCreateFileMode).
func makePrivateFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return badConfig("the store's folder does not exist", "make the folder "+filepath.Dir(path), err)
	case err != nil:
		return badConfig("the store's file cannot be opened", "it must be a file that this user may read and write", err)
	}
	return f.Close()
}

// sqliteName is the driver's name of the file, with the settings of each connection.
//
// A transaction that writes takes the lock when it begins: one that read first and then wanted to write would fail at once
// instead of waiting, when another process wrote in between (https://www.sqlite.org/isolation.html).
func sqliteName(path, cacheKiB string) string {
	settings := url.Values{
		"_busy_timeout": {"10000"}, // ms; an import of 100,000 people holds the lock for a few seconds
		"_journal_mode": {"WAL"},
		"_synchronous":  {"NORMAL"},
		"_foreign_keys": {"on"},
		"_txlock":       {"immediate"},
		"_dqs":          {"0"},
		"_error_rc":     {"1"},
		"_pragma":       {"cache_size(-" + cacheKiB + ")", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)"},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: settings.Encode()}).String()
}

// hold has nothing to do: a transaction of the writing connection has the file's lock.
func (sqlite) hold(context.Context, *sql.Tx, string) error { return nil }

// know has nothing to do: the statements name the order of their joins where it matters.
func (sqlite) know(context.Context, *sql.Tx, ...string) error { return nil }

// insert has the statement of a full chunk read once for all of them: SQLite takes longer to read it than to carry it out.
func (sqlite) insert(ctx context.Context, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	text := func(n int) string {
		return `INSERT INTO ` + table + ` (` + columns + `) VALUES ` + placeholders(n, len(rows[0])) + ` ` + then
	}
	whole := len(rows) / rowsAtOnce * rowsAtOnce
	if whole > 0 {
		if err := repeat(ctx, tx, text(rowsAtOnce), slices.Chunk(rows[:whole], rowsAtOnce)); err != nil {
			return err
		}
	}
	if whole == len(rows) {
		return nil
	}
	_, err := tx.ExecContext(ctx, text(len(rows)-whole), slices.Concat(rows[whole:]...)...)
	return err
}

// load has no better way.
func (d sqlite) load(ctx context.Context, _ *sql.Conn, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	return d.insert(ctx, tx, table, columns, rows, then)
}

func (sqlite) texts(all []string) (string, any) {
	b, err := json.Marshal(all)
	if err != nil {
		panic(err) // texts can always be written
	}
	return `(SELECT value FROM json_each($3))`, string(b)
}

// repeat carries a statement out for each chunk of rows.
func repeat(ctx context.Context, tx *sql.Tx, statement string, chunks iter.Seq[[][]any]) (err error) {
	prepared, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prepared.Close()) }()
	for chunk := range chunks {
		if _, err := prepared.ExecContext(ctx, slices.Concat(chunk...)...); err != nil {
			return err
		}
	}
	return nil
}

// placeholders is "(?,?),(?,?)" for two rows of two columns. It is the one place in which parameters have no numbers: SQLite
// takes $1 for a name and looks every name up among all others, so that many of them cost the square of their number.
func placeholders(rows, columns int) string {
	one := ",(" + strings.Repeat(",?", columns)[1:] + ")"
	return strings.Repeat(one, rows)[1:]
}

// collides is never: a transaction has the lock from its beginning, or never began.
func (sqlite) collides(error) bool { return false }

func (sqlite) migrations() (goose.Dialect, fs.FS, error) {
	files, err := fs.Sub(migrations, "migrations")
	return goose.DialectSQLite3, files, err
}

// migrateAttempts and migratePause bound how long a process waits for another that brings the schema up to date.
const (
	migrateAttempts = 20
	migratePause    = 250 * time.Millisecond
)

// migrateAlone lets several try. Each migration is one transaction, so one of them makes it, and the others' attempts leave no trace and
// find it made at last.
func (sqlite) migrateAlone(ctx context.Context, _ *sql.DB, fn func() error) (err error) {
	for range migrateAttempts {
		err = fn()
		if err == nil || !lostRace(err) && !retryable(ctx, err) {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(migratePause):
		}
	}
	return err
}
