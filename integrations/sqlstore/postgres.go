package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// Connections come and go, so that a server that was replaced behind its name, and a rotated password, are noticed.
const (
	connectionLife = 30 * time.Minute
	connectionIdle = 5 * time.Minute
)

// postgres is the dialect of a database of PostgreSQL.
type postgres struct{}

func openPostgres(dsn string) (*Store, error) {
	address, err := parsePostgres(dsn)
	if err != nil {
		return nil, err
	}
	config, err := address.config()
	if err != nil {
		return nil, err
	}
	readers := max(1, address.connections/2)
	return &Store{
		write:   address.pool(config, address.connections-readers, writing),
		read:    address.pool(config, readers, reading),
		dialect: postgres{},
	}, nil
}

// The settings of each session. An import of a million people takes minutes in one statement; nobody who reads waits that long, and
// nobody waits for a lock for longer than the activities do whose work it is.
//
// What was committed stays: a reader of a directory goes on behind the page that he staged, and never looks back.
var (
	writing = map[string]string{
		"synchronous_commit":                  "on",
		"default_transaction_isolation":       "read committed",
		"default_transaction_read_only":       "off",
		"statement_timeout":                   "20min",
		"lock_timeout":                        "1min",
		"idle_in_transaction_session_timeout": "2min",
	}
	reading = map[string]string{
		"default_transaction_isolation":       "repeatable read", // a transaction that reads twice reads the same
		"default_transaction_read_only":       "on",
		"statement_timeout":                   "2min",
		"lock_timeout":                        "1min",
		"idle_in_transaction_session_timeout": "2min",
	}
)

func (a postgresAddress) pool(config *pgx.ConnConfig, connections int, session map[string]string) *sql.DB {
	config = config.Copy()
	for name, value := range session {
		config.RuntimeParams[name] = value
	}
	pool := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error { return a.readPassword(&c.Config) }))
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	pool.SetConnMaxLifetime(connectionLife)
	pool.SetConnMaxIdleTime(connectionIdle)
	return pool
}

// hold waits for an advisory lock that ends with the transaction.
func (postgres) hold(ctx context.Context, tx *sql.Tx, tenant string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockKey("tenant", tenant))
	return err
}

// lockKey numbers an advisory lock. Two things of one number would only wait for each other needlessly.
func lockKey(of ...string) int64 {
	sum := sha256.Sum256([]byte("holdfast\x00" + strings.Join(of, "\x00")))
	return int64(binary.BigEndian.Uint64(sum[:])) // any 64 bits will do
}

// know waits for whoever counts a table already: until his transaction ends, if it is part of one.
func (postgres) know(ctx context.Context, tx *sql.Tx, tables ...string) error {
	_, err := tx.ExecContext(ctx, `ANALYZE `+strings.Join(tables, ", "))
	return err
}

func (postgres) insert(ctx context.Context, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	arrays := make([]any, len(rows[0]))
	casts := make([]string, len(arrays))
	for c := range arrays {
		array, kind, err := column(rows, c)
		if err != nil {
			return fmt.Errorf("column %d of %s: %w", c, table, err)
		}
		arrays[c], casts[c] = array, fmt.Sprintf("$%d::%s[]", c+1, kind)
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO `+table+` (`+columns+`) SELECT * FROM unnest(`+strings.Join(casts, ", ")+`) `+then, arrays...)
	return err
}

func (postgres) texts(all []string) (string, any) { return `unnest($3::text[]) AS one`, all }

// rowsToCopy is from how many rows on COPY takes less than it costs to begin it.
const rowsToCopy = 100

// load copies the rows in (https://www.postgresql.org/docs/15/sql-copy.html), at half the cost of an INSERT. COPY knows no conflicts: when
// there is one, it is as if nothing had been copied, and the rows are inserted.
func (d postgres) load(ctx context.Context, on *sql.Conn, tx *sql.Tx, table, columns string, rows [][]any, then string) error {
	if len(rows) < rowsToCopy {
		return d.insert(ctx, tx, table, columns, rows, then)
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT load`); err != nil {
		return err
	}
	err := on.Raw(func(driver any) error {
		_, err := driver.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{table}, strings.Split(columns, ", "), pgx.CopyFromRows(rows))
		return err
	})
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "23505" { // unique_violation
		if _, err := tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT load`); err != nil {
			return err
		}
		return d.insert(ctx, tx, table, columns, rows, then)
	}
	return err
}

// column is a column of rows as an array, and the type of its elements in PostgreSQL.
func column(rows [][]any, c int) (array any, kind string, err error) {
	if text := texts(rows, c); text != nil {
		return text, "text", nil
	}
	for _, r := range rows {
		if r[c] == nil {
			continue
		}
		switch v := reflect.ValueOf(r[c]); {
		case v.Kind() == reflect.String:
			return elements(rows, c, reflect.Value.String), "text", nil
		case v.Kind() == reflect.Bool:
			return elements(rows, c, reflect.Value.Bool), "boolean", nil
		case v.CanInt():
			return elements(rows, c, reflect.Value.Int), "bigint", nil
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
			return elements(rows, c, reflect.Value.Bytes), "bytea", nil
		}
		return nil, "", fmt.Errorf("a %T is no value of a column", r[c])
	}
	return make([]*string, len(rows)), "text", nil
}

// texts are the values of a column if all of them are strings, as nearly all are; nil otherwise.
func texts(rows [][]any, c int) []string {
	all := make([]string, len(rows))
	for i, r := range rows {
		var ok bool
		if all[i], ok = r[c].(string); !ok {
			return nil
		}
	}
	return all
}

// elements are the values of a column; nil where there is none.
func elements[T any](rows [][]any, c int, value func(reflect.Value) T) []*T {
	all := make([]T, len(rows))
	present := make([]*T, len(rows))
	for i, r := range rows {
		if r[c] != nil {
			all[i] = value(reflect.ValueOf(r[c]))
			present[i] = &all[i]
		}
	}
	return present
}

// collides: 40001 serialization_failure, 40P01 deadlock_detected
// (https://www.postgresql.org/docs/15/errcodes-appendix.html). A connection that turns out to be dead before anything was sent is one
// more such case: after a server came back, every connection of the pool is like that once.
func (postgres) collides(err error) bool {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code == "40001" || answer.Code == "40P01"
	}
	return err != nil && pgconn.SafeToRetry(err)
}

func (postgres) migrations() (goose.Dialect, fs.FS, error) {
	files, err := fs.Sub(migrations, "migrations")
	return goose.DialectPostgres, byteOrdered{files}, err
}

// migrateAlone holds an advisory lock in a session of its own: it ends with the process at the latest.
func (postgres) migrateAlone(ctx context.Context, db *sql.DB, fn func() error) error {
	session, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := fitForUse(ctx, session); err != nil {
		return err
	}
	if _, err := session.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, lockKey("migrate")); err != nil {
		return err
	}
	err = fn()
	_, unlocked := session.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, lockKey("migrate"))
	return errors.Join(err, unlocked)
}

// oldestPostgres is server_version_num of the oldest PostgreSQL that the store is tested with.
const oldestPostgres = 150000

func fitForUse(ctx context.Context, session *sql.Conn) error {
	var version int
	var encoding string
	err := session.QueryRowContext(ctx, `SELECT CAST(current_setting('server_version_num') AS INTEGER), current_setting('server_encoding')`).Scan(&version, &encoding)
	switch {
	case err != nil:
		return err
	case version < oldestPostgres:
		return badConfig(fmt.Sprintf("the store's PostgreSQL is version %d, which is too old", version/10000), "use PostgreSQL 15 or newer", nil)
	case encoding != "UTF8":
		return badConfig("the store's database is encoded in "+encoding, "make it anew: CREATE DATABASE holdfast ENCODING 'UTF8' TEMPLATE template0", nil)
	}
	return nil
}
