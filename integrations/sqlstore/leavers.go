package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// MarkDue makes those due who have been preserved for longer than their profile keeps data, and returns how many are due now and a digest
// over exactly those. Where the tenant's profile keeps data for 0 days, and the person's own says nothing else, it is kept for ever (a tenant's
// file that says nothing keeps it for 365 days).
func (s *Store) MarkDue(ctx context.Context, t backup.Tenant, at time.Time) (due int, digest string, err error) {
	err = s.changeTenant(ctx, t.ID, "find whose time is up", func(tx *sql.Tx) error {
		err := eachLeaver(ctx, tx, t.ID, backup.Preserved, func(a backup.Account) error {
			days := t.PreserveDaysOf(a.Profile)
			if days <= 0 || at.Before(a.Since.AddDate(0, 0, days)) {
				return nil
			}
			return s.moveOn(ctx, tx, a, backup.Due, backup.AccountEvent{At: at.UTC(), Kind: backup.ChangeDue})
		})
		if err != nil {
			return err
		}
		due, digest, err = digestDue(ctx, tx, t.ID)
		return err
	})
	return due, digest, err
}

// ReleaseDue lets the data of exactly those be deleted. CodeDifferenceChanged: others are due by now.
func (s *Store) ReleaseDue(ctx context.Context, tenant, digest, by string, at time.Time) (released int, err error) {
	err = s.changeTenant(ctx, tenant, "release whose time is up", func(tx *sql.Tx) error {
		released = 0
		due, now, err := digestDue(ctx, tx, tenant)
		if err != nil {
			return err
		}
		if now != digest {
			return &backup.Error{Code: backup.CodeDifferenceChanged, Fault: backup.FaultCustomer, Message: "those who are due now are not those who were approved",
				Hint: "decide on those who are due now"}
		}
		released = due
		return eachLeaver(ctx, tx, tenant, backup.Due, func(a backup.Account) error {
			return s.moveOn(ctx, tx, a, backup.Released, backup.AccountEvent{At: at.UTC(), By: clean(by), Kind: backup.ChangeReleased})
		})
	})
	return released, err
}

// ListDue returns a page of the accounts that are due, in order of id.
func (s *Store) ListDue(ctx context.Context, tenant, after string, limit int) (page []backup.Account, next string, err error) {
	limit = pageSize(limit)
	rows, err := listLeavers(ctx, s.read, tenant, backup.Due, clean(after), limit+1)
	if err != nil {
		return nil, "", classify(ctx, "list whose time is up", err)
	}
	page, more := cut(rows, limit)
	if more {
		next = page[limit-1].ID
	}
	return page, next, nil
}

func listLeavers(ctx context.Context, db database, tenant string, state backup.AccountState, after string, limit int) ([]backup.Account, error) {
	return list(ctx, db, scanAccount, `SELECT `+accountColumns+` FROM account WHERE tenant = $1 AND state = $2 AND state <> 'active' AND id > $3 ORDER BY id LIMIT $4`,
		tenant, state, after, limit)
}

func eachLeaver(ctx context.Context, tx *sql.Tx, tenant string, state backup.AccountState, fn func(backup.Account) error) error {
	for after := ""; ; {
		page, err := listLeavers(ctx, tx, tenant, state, after, maxPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, a := range page {
			if err := fn(a); err != nil {
				return err
			}
		}
		after = page[len(page)-1].ID
	}
}

// moveOn puts an account into a state. Since stays: it is when the person left.
func (s *Store) moveOn(ctx context.Context, tx *sql.Tx, a backup.Account, to backup.AccountState, e backup.AccountEvent) error {
	if _, err := tx.ExecContext(ctx, `UPDATE account SET state = $3 WHERE tenant = $1 AND id = $2`, a.Tenant, a.ID, to); err != nil {
		return err
	}
	before := stateText(a)
	a.State = to
	e.Account = a.ID
	e.Fields = []backup.FieldChange{{Field: backup.FieldState, From: before, To: stateText(a)}}
	return s.recordEvent(ctx, tx, a.Tenant, e)
}

func digestDue(ctx context.Context, tx *sql.Tx, tenant string) (due int, digest string, err error) {
	sum := sha256.New()
	err = eachLeaver(ctx, tx, tenant, backup.Due, func(a backup.Account) error {
		due++
		sum.Write([]byte(a.ID + " " + a.Since.Format(time.RFC3339Nano) + "\n"))
		return nil
	})
	return due, hex.EncodeToString(sum.Sum(nil)), err
}
