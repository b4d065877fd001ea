package sqlstore

import (
	"context"
	"database/sql"
	"errors"
)

// Store is an open store. Its methods may be called concurrently.
type Store struct {
	write   *sql.DB
	read    *sql.DB // refuses to write
	dialect dialect
}

// Open opens the store that dsn names and brings its schema up to date.
//
// sqlite:///absolute/path/holdfast.db is made when there is none; the folder must exist, and must be on a local disk, because WAL
// shares memory between processes (https://www.sqlite.org/wal.html).
//
// postgres://user@host:port/database is a database that must exist, in UTF-8, and in which the user may make tables. Its password is
// no part of the dsn, which other users of the machine may see: it is read from the file that ?passwordFile=/absolute/path names, or
// found as libpq finds it, in PGPASSWORD or in the file that PGPASSFILE names (default: ~/.pgpass). The server's certificate is
// verified, by the CAs of the system or those in ?sslrootcert=/absolute/path (or PGSSLROOTCERT); sslcert and sslkey name a client's
// certificate. Over loopback and a Unix socket (?host=/folder), there is no TLS unless sslmode=verify-full asks for it.
// ?connections=N bounds the connections of this process (default 16).
//
// Errors: CodeBadConfig for a dsn, file or database that cannot work and for a store made by a newer Holdfast, CodeDiskFull,
// CodeUnreachable, CodeBadCredential, CodeMissingRole, CodeThrottled when the server has no connection left. No error shows the dsn.
func Open(ctx context.Context, dsn string) (*Store, error) {
	open := openSQLite
	if isPostgres(dsn) {
		open = openPostgres
	}
	s, err := open(dsn)
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
