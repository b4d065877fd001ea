package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// classify turns what the database answered into an error of ours, once; what is classified already and what a context
// ended stays as it is. what says in an administrator's words what was being done.
func classify(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var classified *backup.Error
	if errors.As(err, &classified) {
		return err
	}
	// An interrupted statement says "interrupted"; the caller wants to know that it was he who stopped it.
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "cannot " + what, Retryable: true, Cause: err}
	var (
		ofSQLite   *driver.Error
		ofPostgres *pgconn.PgError
	)
	switch {
	case errors.As(err, &ofSQLite):
		return classifySQLite(e, ofSQLite.Code())
	case errors.As(err, &ofPostgres):
		return classifyPostgres(e, ofPostgres)
	case isConnection(err):
		return classifyConnection(e)
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return diskFull(e)
	}
	return e
}

// classifySQLite refines e by SQLite's result code (https://www.sqlite.org/rescode.html): the low byte is the kind, the
// rest says more about it.
func classifySQLite(e *backup.Error, code int) error {
	if code == sqlite3.SQLITE_IOERR_SHMSIZE {
		// The shared-memory file could not grow; a full disk is what stops it.
		return diskFull(e)
	}
	switch code & 0xff {
	case sqlite3.SQLITE_FULL:
		return diskFull(e)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		e.Message += ": another process keeps the store busy"
		e.RetryAfter = time.Second
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		e.Code, e.Retryable = backup.CodeBadConfig, false
		e.Hint = "the store's file and its folder must be writable by this user"
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		e.Retryable = false
		e.Hint = "the store's file is damaged or is not a store: put a copy back; the repositories are not touched"
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_RANGE:
		// The same call gives the same answer.
		e.Retryable = false
	}
	return e
}

// lostRace tells that a migration failed like one whose tables another process made in this moment.
func lostRace(err error) bool {
	var answer *driver.Error
	if !errors.As(err, &answer) {
		return false
	}
	kind := answer.Code() & 0xff
	return kind == sqlite3.SQLITE_ERROR || kind == sqlite3.SQLITE_CONSTRAINT
}

func diskFull(e *backup.Error) error {
	e.Code, e.Retryable = backup.CodeDiskFull, false
	e.Hint = "make room on the disk that holds the store; nothing was changed by this step"
	return e
}

func badConfig(message, hint string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: message, Hint: hint, Cause: cause}
}

// notFound is the answer to a question for something that is not there.
func notFound(fault backup.Fault, message, hint string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: fault, Message: message, Hint: hint}
}

// orNotFound replaces "no row" by missing.
func orNotFound(err, missing error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return missing
	}
	return err
}
