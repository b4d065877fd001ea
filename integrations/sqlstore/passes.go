package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// reportsKept is how many reports of a directory are kept, the newest.
const reportsKept = 1000

// importPass is the row of a directory: its pass and what was applied last.
type importPass struct {
	pass, since, resume, nextCursor, cursor, applied string
	report, pages, resumed, behind, attempt          int64
	open, known, complete                            bool
	mode                                             backup.ReadMode
	planned, rules, ruled                            string
}

const passColumns = `pass, report, open, known, since, resume, pages, resumed, complete, mode, next_cursor, cursor, applied, behind, attempt, planned, rules, ruled`

func scanPass(r row) (p importPass, err error) {
	err = r.Scan(&p.pass, &p.report, &p.open, &p.known, &p.since, &p.resume, &p.pages, &p.resumed, &p.complete, &p.mode, &p.nextCursor, &p.cursor, &p.applied, &p.behind, &p.attempt, &p.planned, &p.rules, &p.ruled)
	return p, err
}

// lockPass returns the directory's row and makes sure that the pass is its current one until the transaction ends.
func lockPass(ctx context.Context, tx *sql.Tx, p backup.Pass) (importPass, error) {
	row, err := scanPass(tx.QueryRowContext(ctx, `UPDATE import_pass SET pass = pass WHERE tenant = $1 AND directory = $2 AND pass = $3
		RETURNING `+passColumns, p.Tenant, p.Directory, p.ID))
	return row, orNotFound(err, notFound(backup.FaultOurs, "this import is not the directory's current one: another began since",
		"holdfast users import "+p.Tenant+" starts a new one"))
}

// BeginPass opens the pass and its report, and tells where its read begins. The same pass again goes on behind the last page that was
// staged, if that can be gone on from. Everybody is listed when the rules have changed. Another pass that was open ends as replaced. CodeNotFound when this one has ended.
func (s *Store) BeginPass(ctx context.Context, p backup.Pass, start backup.ImportStart) (from backup.ReadFrom, err error) {
	err = s.changeTenant(ctx, p.Tenant, "begin an import", func(tx *sql.Tx) error {
		row, err := scanPass(tx.QueryRowContext(ctx, `SELECT `+passColumns+` FROM import_pass WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory))
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if row.pass == p.ID && (!row.open || row.attempt > int64(p.Attempt)) {
			return passEnded(p) // a call that comes late
		}
		if row.pass == p.ID {
			from, err = resumePass(ctx, tx, p, row)
			return err
		}
		if row.ruled == start.Rules {
			from.Since = backup.DirectoryCursor(row.cursor)
		}
		return openPass(ctx, tx, p, row, start, from.Since)
	})
	return from, err
}

func resumePass(ctx context.Context, tx *sql.Tx, p backup.Pass, row importPass) (backup.ReadFrom, error) {
	_, err := tx.ExecContext(ctx, `UPDATE import_pass SET resumed = resumed + 1, complete = FALSE, planned = '', attempt = $3 WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory, p.Attempt)
	if err == nil && row.resume == "" {
		err = clearStaged(ctx, tx, p)
	}
	return backup.ReadFrom{Since: backup.DirectoryCursor(row.since), Resume: json.RawMessage(row.resume)}, err
}

// openPass puts a new pass in the place of the one before, of which what is staged is forgotten.
func openPass(ctx context.Context, tx *sql.Tx, p backup.Pass, before importPass, start backup.ImportStart, since backup.DirectoryCursor) error {
	now := time.Now()
	if before.open {
		if err := endReport(ctx, tx, p.Tenant, before, backup.ImportEnd{Outcome: backup.ImportReplaced, Detail: "another import of the directory began"}, now); err != nil {
			return err
		}
	}
	number, err := openReport(ctx, tx, p, start, now)
	if err != nil {
		return err
	}
	if err := clearStaged(ctx, tx, p); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO import_pass (tenant, directory, `+passColumns+`)
		VALUES ($1, $2, $3, $4, TRUE, EXISTS (SELECT 1 FROM directory_entry WHERE tenant = $1 AND directory = $2), $6, '', 0, 0, FALSE, '', '', '', '', 0, $5, '', $7, '')
		ON CONFLICT (tenant, directory) DO UPDATE SET pass = excluded.pass, report = excluded.report, open = TRUE, known = excluded.known,
			since = excluded.since, resume = '', pages = 0, resumed = 0, complete = FALSE, mode = '', next_cursor = '', attempt = excluded.attempt, planned = '', rules = excluded.rules`,
		p.Tenant, p.Directory, p.ID, number, p.Attempt, string(since), start.Rules)
	return err
}

// RestartPass forgets what is staged, and Since: everybody is listed.
func (s *Store) RestartPass(ctx context.Context, p backup.Pass) error {
	return s.changeTenant(ctx, p.Tenant, "begin an import anew", func(tx *sql.Tx) error {
		if _, err := lockOpenPass(ctx, tx, p); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE import_pass SET since = '', resume = '', complete = FALSE, planned = '' WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory)
		if err != nil {
			return err
		}
		return clearStaged(ctx, tx, p)
	})
}

// lockOpenPass is lockPass for whoever reads for a pass that may still change. A reader that was replaced, because it was not heard of for too
// long, may be alive: what it stages would stand behind a place that the next one goes on from.
func lockOpenPass(ctx context.Context, tx *sql.Tx, p backup.Pass) (importPass, error) {
	row, err := lockPass(ctx, tx, p)
	switch {
	case err != nil:
	case !row.open:
		err = passEnded(p)
	case row.attempt != int64(p.Attempt):
		err = notFound(backup.FaultOurs, "another reads for this import by now", "nothing need be done")
	}
	return row, err
}

func passEnded(p backup.Pass) error {
	return notFound(backup.FaultOurs, "this import has ended", "holdfast users import "+p.Tenant+" starts a new one")
}

func clearStaged(ctx context.Context, tx *sql.Tx, p backup.Pass) error {
	return execAll(ctx, tx, []any{p.Tenant, p.Directory}, `DELETE FROM staged_entry WHERE tenant = $1 AND directory = $2`,
		`DELETE FROM staged_alias WHERE tenant = $1 AND directory = $2`, `DELETE FROM import_touched WHERE tenant = $1 AND directory = $2`,
		`DELETE FROM import_account WHERE tenant = $1 AND directory = $2`, `DELETE FROM import_candidate WHERE tenant = $1 AND directory = $2`)
}

// EndRead says that the read was complete.
func (s *Store) EndRead(ctx context.Context, p backup.Pass, end backup.ReadEnd) error {
	return s.changeTenant(ctx, p.Tenant, "end the read of a directory", func(tx *sql.Tx) error {
		row, err := lockOpenPass(ctx, tx, p)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE import_pass SET complete = TRUE, planned = '', mode = $3, next_cursor = $4 WHERE tenant = $1 AND directory = $2`,
			p.Tenant, p.Directory, end.Mode, string(end.Cursor))
		if err != nil {
			return err
		}
		return updateReport(ctx, tx, p.Tenant, row.report, func(r *backup.ImportReport) {
			r.Mode, r.Calls, r.Note, r.Cursor = end.Mode, end.Calls, clean(end.Note), len(end.Cursor) > 0
			r.Pages, r.Resumed, r.Read = row.pages, int(row.resumed), time.Now()
		})
	})
}

// EndPass ends the report of a pass that is not applied; again is the same as once. What is staged stays to be looked at.
func (s *Store) EndPass(ctx context.Context, p backup.Pass, end backup.ImportEnd, at time.Time) error {
	return s.changeTenant(ctx, p.Tenant, "end an import", func(tx *sql.Tx) error {
		row, err := lockPass(ctx, tx, p)
		if backup.HasCode(err, backup.CodeNotFound) || (err == nil && !row.open) {
			return nil // it has ended already: as replaced, or by this same call before
		}
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE import_pass SET open = FALSE WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory); err != nil {
			return err
		}
		return endReport(ctx, tx, p.Tenant, row, end, at)
	})
}
