package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// readersAtOnce bounds the connections that read, each of which has a page cache of its own.
const readersAtOnce = 4

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	// write has one connection: SQLite has one writer at a time anyway, and goroutines of one process queue better in
	// Go, where a context ends the wait, than at the file's lock.
	write *sql.DB
	read  *sql.DB
}

// Open opens the store that dsn names, makes it when there is none, and brings its schema up to date. dsn is
// sqlite:///absolute/path/holdfast.db; the folder must exist, and must be on a local disk, because WAL shares memory
// between processes (https://www.sqlite.org/wal.html). Errors: CodeBadConfig for a dsn or file that cannot work and for a
// store made by a newer Holdfast, CodeDiskFull.
func Open(ctx context.Context, dsn string) (*Store, error) {
	path, err := sqlitePath(dsn)
	if err != nil {
		return nil, err
	}
	if err := makePrivateFile(path); err != nil {
		return nil, err
	}
	s, err := openPools(path)
	if err != nil {
		return nil, classify(ctx, "open the store", err)
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close waits for statements under way and closes the store.
func (s *Store) Close() error {
	return errors.Join(s.read.Close(), s.write.Close())
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return classify(ctx, "ask the store", s.read.QueryRowContext(ctx, `SELECT 1`).Scan(&one))
}

func sqlitePath(dsn string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "sqlite" || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || !filepath.IsAbs(u.Path) || strings.ContainsRune(u.Path, 0) {
		// The dsn itself is not shown: another database's may hold a password.
		return "", badConfig("the store's address is not understood", "give it as sqlite:///absolute/path/holdfast.db", nil)
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

func openPools(path string) (*Store, error) {
	write, err := sql.Open("sqlite", sqliteName(path, "32000"))
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
	return &Store{write: write, read: read}, nil
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
