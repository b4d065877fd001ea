package sqlstore

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"strings"
	"time"
)

// maxPage bounds every list a method returns.
const maxPage = 1000

// database is what *sql.DB and *sql.Tx have in common.
type database interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// row is a row to be scanned: *sql.Row or *sql.Rows.
type row interface{ Scan(into ...any) error }

// collisions bounds how often a transaction is run again that another one ended; collisionPause is the longest wait before.
const (
	collisions     = 8
	collisionPause = 100 * time.Millisecond
)

// changeTenant runs fn in one transaction, while nobody else changes the tenant by changeTenant (see the package's comment). It may run fn again.
func (s *Store) changeTenant(ctx context.Context, tenant, what string, fn func(tx *sql.Tx) error) error {
	return s.loadTenant(ctx, tenant, what, func(_ *sql.Conn, tx *sql.Tx) error { return fn(tx) })
}

// loadTenant is changeTenant for who loads many rows, for which loadRows needs the connection that tx is on.
func (s *Store) loadTenant(ctx context.Context, tenant, what string, fn func(on *sql.Conn, tx *sql.Tx) error) error {
	return s.transact(ctx, what, func(on *sql.Conn, tx *sql.Tx) error {
		if err := s.dialect.hold(ctx, tx, tenant); err != nil {
			return err
		}
		return fn(on, tx)
	})
}

// changeRows runs fn in one transaction that keeps to itself what its statements lock, and no more. It may run fn again.
func (s *Store) changeRows(ctx context.Context, what string, fn func(tx *sql.Tx) error) error {
	return s.transact(ctx, what, func(_ *sql.Conn, tx *sql.Tx) error { return fn(tx) })
}

// transact runs fn in one transaction, and again when it collided with another.
func (s *Store) transact(ctx context.Context, what string, fn func(on *sql.Conn, tx *sql.Tx) error) error {
	for again := 0; ; again++ {
		err := s.transactOnce(ctx, fn)
		if again == collisions || !s.dialect.collides(err) {
			return classify(ctx, what, err)
		}
		select {
		case <-ctx.Done():
			return classify(ctx, what, err)
		case <-time.After(rand.N(collisionPause)): // it only has to differ from that of the other one
		}
	}
}

func (s *Store) transactOnce(ctx context.Context, fn func(on *sql.Conn, tx *sql.Tx) error) error {
	on, err := s.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer on.Close() // gives it back
	tx, err := on.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after a commit
	if err := fn(on, tx); err != nil {
		return err
	}
	return tx.Commit()
}

// execute runs a statement and returns how many rows it touched.
func execute(ctx context.Context, db database, query string, args ...any) (int64, error) {
	result, err := db.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// execAll runs statements that take the same parameters.
func execAll(ctx context.Context, db database, args []any, queries ...string) error {
	for _, q := range queries {
		if _, err := db.ExecContext(ctx, q, args...); err != nil {
			return err
		}
	}
	return nil
}

// list runs a query and scans every row.
func list[T any](ctx context.Context, db database, scan func(row) (T, error), query string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// pageSize bounds a limit that came from outside.
func pageSize(limit int) int {
	if limit < 1 || limit > maxPage {
		return maxPage
	}
	return limit
}

// cut takes a page off rows that were asked for with one more than limit; more tells whether that one was there.
func cut[T any](rows []T, limit int) (page []T, more bool) {
	if len(rows) > limit {
		return rows[:limit], true
	}
	return rows, false
}

// prefixed is "s.a, s.b" for the columns "a, b".
func prefixed(table, columns string) string {
	return table + "." + strings.ReplaceAll(columns, ", ", ", "+table+".")
}

// micros is a time as the store keeps it.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// moment scans what micros wrote.
type moment struct{ into *time.Time }

func (m moment) Scan(v any) error {
	var n sql.NullInt64
	if err := n.Scan(v); err != nil {
		return err
	}
	*m.into = time.Time{}
	if n.Int64 != 0 {
		*m.into = time.UnixMicro(n.Int64).UTC()
	}
	return nil
}

// lockNumber locks a tenant's series of numbers for the rest of the transaction and returns the last one given. A number is taken
// by takeNumber in the same transaction, so that a series has no gaps and one who repeats himself can be told the old number first.
func lockNumber(ctx context.Context, tx *sql.Tx, tenant, series string) (last int64, err error) {
	err = tx.QueryRowContext(ctx, `INSERT INTO numbering (tenant, series, last) VALUES ($1, $2, 0)
		ON CONFLICT (tenant, series) DO UPDATE SET last = numbering.last RETURNING last`, tenant, series).Scan(&last)
	return last, err
}

func takeNumber(ctx context.Context, tx *sql.Tx, tenant, series string) (number int64, err error) {
	err = tx.QueryRowContext(ctx, `UPDATE numbering SET last = last + 1 WHERE tenant = $1 AND series = $2 RETURNING last`, tenant, series).Scan(&number)
	return number, err
}
