package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const alertColumns = `id, tenant, kind, subject, message, hint, times, raised, last, resolved, muted`

// everyTenant is the series of numbers that belongs to no one tenant.
const everyTenant = ""

// RaiseAlert opens the alert, or counts it once more and takes over its words when one of its tenant, kind and subject is
// open; first tells which. A muted one is counted like any other, and says until when it is muted.
func (s *Store) RaiseAlert(ctx context.Context, a backup.Alert, at time.Time) (stored backup.Alert, first bool, err error) {
	err = s.changeRows(ctx, "raise an alert", func(tx *sql.Tx) error {
		// One at a time, so that two who raise the same alert open one.
		if _, err := lockNumber(ctx, tx, everyTenant, "alert"); err != nil {
			return err
		}
		stored, err = scanAlert(tx.QueryRowContext(ctx, `UPDATE alert SET times = times + 1, last = $4, message = $5, hint = $6
			WHERE tenant = $1 AND kind = $2 AND subject = $3 AND resolved = 0 RETURNING `+alertColumns,
			a.Tenant, a.Kind, a.Subject, micros(at), a.Message, a.Hint))
		if first = errors.Is(err, sql.ErrNoRows); !first {
			return err
		}
		id, err := takeNumber(ctx, tx, everyTenant, "alert")
		if err != nil {
			return err
		}
		stored, err = scanAlert(tx.QueryRowContext(ctx, `INSERT INTO alert (`+alertColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7, 0, 0) RETURNING `+alertColumns,
			id, a.Tenant, a.Kind, a.Subject, a.Message, a.Hint, micros(at)))
		return err
	})
	return stored, first && err == nil, err
}

// ResolveAlert closes the open alert, if there is one, and tells whether there was.
func (s *Store) ResolveAlert(ctx context.Context, tenant string, kind backup.AlertKind, subject string, at time.Time) (bool, error) {
	n, err := execute(ctx, s.write, `UPDATE alert SET resolved = $4 WHERE tenant = $1 AND kind = $2 AND subject = $3 AND resolved = 0`,
		tenant, kind, subject, micros(at))
	return n > 0, classify(ctx, "resolve an alert", err)
}

// MuteAlert keeps the open alert from being told again until the given time, zero meaning that it is told again at once, and tells
// whether there was one. A later alert of the same kind and subject is not muted by it.
func (s *Store) MuteAlert(ctx context.Context, tenant string, kind backup.AlertKind, subject string, until time.Time) (bool, error) {
	n, err := execute(ctx, s.write, `UPDATE alert SET muted = $4 WHERE tenant = $1 AND kind = $2 AND subject = $3 AND resolved = 0`,
		tenant, kind, subject, micros(until))
	return n > 0, classify(ctx, "mute an alert", err)
}

// ListAlerts returns the tenant's newest alerts, newest first: open ones, or with all resolved ones, too. A limit below 1 or
// over 1,000 means 1,000.
func (s *Store) ListAlerts(ctx context.Context, tenant string, all bool, limit int) ([]backup.Alert, error) {
	alerts, err := list(ctx, s.read, scanAlert, `SELECT `+alertColumns+` FROM alert WHERE tenant = $1 AND ($2 OR resolved = 0)
		ORDER BY raised DESC, id DESC LIMIT $3`, tenant, all, pageSize(limit))
	return alerts, classify(ctx, "list alerts", err)
}

// CountOpenAlerts counts the tenant's open alerts.
func (s *Store) CountOpenAlerts(ctx context.Context, tenant string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM alert WHERE tenant = $1 AND resolved = 0`, tenant).Scan(&n)
	return n, classify(ctx, "count alerts", err)
}

func scanAlert(r row) (a backup.Alert, err error) {
	err = r.Scan(&a.ID, &a.Tenant, &a.Kind, &a.Subject, &a.Message, &a.Hint, &a.Times, moment{&a.Raised}, moment{&a.Last}, moment{&a.Resolved}, moment{&a.MutedUntil})
	return a, err
}
