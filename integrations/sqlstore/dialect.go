package sqlstore

import (
	"context"
	"database/sql"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// dialect is what SQLite and PostgreSQL do differently.
type dialect interface {
	// hold keeps the tenant from every other change until the transaction ends.
	hold(ctx context.Context, tx *sql.Tx, tenant string) error
	// insert is Store.insertRows.
	insert(ctx context.Context, tx *sql.Tx, table, columns string, rows [][]any, then string) error
	// load is Store.loadRows.
	load(ctx context.Context, on *sql.Conn, tx *sql.Tx, table, columns string, rows [][]any, then string) error
	// texts is a table of one column of texts, made of the parameter $3, and what that parameter is then.
	texts(all []string) (table string, parameter any)
	// know lets the database count its rows anew before it plans statements over all of them.
	know(ctx context.Context, tx *sql.Tx, tables ...string) error
	// collides tells that a transaction failed because of another one, or never began, left nothing, and may be run again at once.
	collides(err error) bool
	// migrations are the steps of the schema, and how goose calls this dialect.
	migrations() (goose.Dialect, fs.FS, error)
	// migrateAlone runs fn, which uses db, while no other process does.
	migrateAlone(ctx context.Context, db *sql.DB, fn func() error) error
}

// insertRows inserts rows of the same length into the comma-separated columns, and then does what then says about rows that are there
// already: "ON CONFLICT (…) DO …". No two of the rows may conflict with one another (PostgreSQL refuses to upsert a row twice). Values
// are strings, integers, booleans, []byte, types made of them, or nil. It is many times faster than a statement a row: SQLite
// gets them by the hundred as VALUES, PostgreSQL gets an array per column.
func (s *Store) insertRows(ctx context.Context, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	if len(rows) == 0 {
		return nil
	}
	return s.dialect.insert(ctx, tx, table, columns, rows, then)
}

// loadRows is insertRows for many rows, most of which are not there yet. on is the connection of tx.
func (s *Store) loadRows(ctx context.Context, on *sql.Conn, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	if len(rows) == 0 {
		return nil
	}
	return s.dialect.load(ctx, on, tx, table, columns, rows, then)
}

// know is for whoever has just written many rows and now joins them: PostgreSQL may not have looked at the tables since they were empty, and
// then compares everybody with everybody. One at a time may count a table; so a long transaction should not, if it can be done before it.
func (s *Store) know(ctx context.Context, tx *sql.Tx, tables ...string) error {
	return s.dialect.know(ctx, tx, tables...)
}
