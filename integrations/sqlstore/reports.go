package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func openReport(ctx context.Context, tx *sql.Tx, p backup.Pass, start backup.ImportStart, at time.Time) (number int64, err error) {
	if _, err := lockNumber(ctx, tx, p.Tenant, "import"); err != nil {
		return 0, err
	}
	if number, err = takeNumber(ctx, tx, p.Tenant, "import"); err != nil {
		return 0, err
	}
	body, err := json.Marshal(backup.ImportReport{Tenant: p.Tenant, Number: number, Directory: p.Directory, Pass: p.ID, WorkflowID: start.WorkflowID, By: start.By,
		Preview: start.Preview, Outcome: backup.ImportUnderWay, Started: at.UTC()})
	if err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO import_report (tenant, number, directory, outcome, body, derived) VALUES ($1, $2, $3, $4, $5, FALSE)`,
		p.Tenant, number, p.Directory, backup.ImportUnderWay, string(body))
	if err != nil {
		return 0, err
	}
	return number, forgetReports(ctx, tx, p)
}

// forgetReports keeps the newest reports of the directory.
func forgetReports(ctx context.Context, tx *sql.Tx, p backup.Pass) error {
	const old = `SELECT number FROM import_report WHERE tenant = $1 AND directory = $2 ORDER BY number DESC LIMIT 100 OFFSET $3`
	return execAll(ctx, tx, []any{p.Tenant, p.Directory, reportsKept},
		`DELETE FROM import_change WHERE tenant = $1 AND number IN (`+old+`)`,
		`DELETE FROM import_report WHERE tenant = $1 AND number IN (`+old+`)`)
}

func updateReport(ctx context.Context, tx *sql.Tx, tenant string, number int64, change func(*backup.ImportReport)) error {
	r, err := readReport(ctx, tx, tenant, number)
	if err != nil {
		return err
	}
	change(&r)
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE import_report SET outcome = $3, body = $4 WHERE tenant = $1 AND number = $2`, tenant, number, r.Outcome, string(body))
	return err
}

func endReport(ctx context.Context, tx *sql.Tx, tenant string, row importPass, end backup.ImportEnd, at time.Time) error {
	return updateReport(ctx, tx, tenant, row.report, func(r *backup.ImportReport) {
		r.Outcome, r.Code, r.Detail, r.Ended = end.Outcome, end.Code, clean(end.Detail), at.UTC()
		r.Pages, r.Resumed = row.pages, int(row.resumed)
	})
}

func readReport(ctx context.Context, db database, tenant string, number int64) (backup.ImportReport, error) {
	r, err := scanReport(db.QueryRowContext(ctx, selectReports+` WHERE r.tenant = $1 AND r.number = $2`, tenant, number))
	return r, orNotFound(err, notFound(backup.FaultCustomer, "the tenant "+tenant+" has no import of this number", "holdfast users imports "+tenant+" shows the imports"))
}

// selectReports shows of a read that is under way how far it came.
const selectReports = `SELECT r.body, COALESCE(p.pages, 0), COALESCE(p.resumed, 0) FROM import_report r
	LEFT JOIN import_pass p ON p.tenant = r.tenant AND p.directory = r.directory AND p.report = r.number`

func scanReport(r row) (report backup.ImportReport, err error) {
	var body string
	var pages int64
	var resumed int
	if err := r.Scan(&body, &pages, &resumed); err != nil {
		return report, err
	}
	err = json.Unmarshal([]byte(body), &report)
	report.Pages, report.Resumed = max(report.Pages, pages), max(report.Resumed, resumed)
	return report, err
}

// ListImports returns the newest reports of a directory, or of all when dir is empty, newest first. A limit below 1 or over 1,000 means
// 1,000.
func (s *Store) ListImports(ctx context.Context, tenant string, dir backup.DirectoryName, limit int) ([]backup.ImportReport, error) {
	query, args := selectReports+` WHERE r.tenant = $1 ORDER BY r.number DESC LIMIT $2`, []any{tenant, pageSize(limit)}
	if dir != "" {
		query, args = selectReports+` WHERE r.tenant = $1 AND r.directory = $3 ORDER BY r.number DESC LIMIT $2`, append(args, dir)
	}
	reports, err := list(ctx, s.read, scanReport, query, args...)
	return reports, classify(ctx, "list imports", err)
}

// Import returns one report; CodeNotFound when there is none of the number (any more).
func (s *Store) Import(ctx context.Context, tenant string, number int64) (backup.ImportReport, error) {
	r, err := readReport(ctx, s.read, tenant, number)
	return r, classify(ctx, "read an import", err)
}

// ListChanges returns a page of what an import did, or would do: first what needs a look, then plain additions. Of a first import of many
// people the additions are not kept beside what they became; so once an import was replaced that was never applied, they are gone.
// after is the next of the page before; next is empty on the last page. A limit below 1 or over 1,000 means 1,000.
func (s *Store) ListChanges(ctx context.Context, tenant string, number int64, after string, limit int) (page []backup.ImportChange, next string, err error) {
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, "", classify(ctx, "list the changes of an import", err)
	}
	defer tx.Rollback()
	page, next, err = listChanges(ctx, tx, tenant, number, clean(after), pageSize(limit))
	return page, next, classify(ctx, "list the changes of an import", err)
}

// afterStored is the cursor behind the last change that has a row; additions that have none follow by entry id.
const afterStored = "+"

func listChanges(ctx context.Context, tx *sql.Tx, tenant string, number int64, after string, limit int) (page []backup.ImportChange, next string, err error) {
	report, err := readReport(ctx, tx, tenant, number)
	if err != nil {
		return nil, "", err
	}
	entry, stored := strings.CutPrefix(after, afterStored)
	if !stored {
		place, _ := strconv.ParseInt(after, 10, 64)
		page, err = list(ctx, tx, scanChange, `SELECT body FROM import_change WHERE tenant = $1 AND number = $2 AND place > $3 ORDER BY place LIMIT $4`,
			tenant, number, place, limit+1)
		if err != nil {
			return nil, "", err
		}
		if page, more := cut(page, limit); more {
			return page, strconv.FormatInt(place+int64(limit), 10), nil
		}
		entry = ""
	}
	additions, err := derivedAdditions(ctx, tx, report, entry, limit+1-len(page))
	if err != nil {
		return nil, "", err
	}
	if page, more := cut(append(page, additions...), limit); more {
		next := afterStored
		if last := page[limit-1]; len(page)-limit < len(additions) && len(additions) > 1 {
			next += last.Entry.ID
		}
		return page, next, nil
	}
	return append(page, additions...), "", nil
}

// derivedAdditions are the plain additions of a report that have no rows of their own: those that are staged, or were applied by it.
func derivedAdditions(ctx context.Context, tx *sql.Tx, r backup.ImportReport, after string, limit int) ([]backup.ImportChange, error) {
	var derived bool
	err := tx.QueryRowContext(ctx, `SELECT derived FROM import_report WHERE tenant = $1 AND number = $2`, r.Tenant, r.Number).Scan(&derived)
	if err != nil || !derived {
		return nil, err
	}
	if r.Outcome == backup.ImportApplied {
		// Those that were not plain have rows, and an event.
		return list(ctx, tx, scanAddition, `SELECT e.entry_id, `+prefixed("e", statedColumns)+` FROM directory_entry e
			JOIN account a ON a.tenant = e.tenant AND a.id = e.account_id
			WHERE e.tenant = $1 AND e.directory = $2 AND e.entry_id > $3 AND e.joined = 'first' AND a.added_report = $4
				AND NOT EXISTS (SELECT 1 FROM account_event v WHERE v.tenant = a.tenant AND v.account = a.id AND v.at = a.added AND v.report = $4 AND v.kind = 'added')
			ORDER BY e.entry_id LIMIT $5`, r.Tenant, r.Directory, after, r.Number, limit)
	}
	return list(ctx, tx, scanAddition, `SELECT s.entry_id, `+prefixed("s", statedColumns)+` FROM staged_entry s
		JOIN import_pass p ON p.tenant = s.tenant AND p.directory = s.directory AND p.report = $4
		WHERE s.tenant = $1 AND s.directory = $2 AND s.entry_id > $3 AND `+isPlain+` ORDER BY s.entry_id LIMIT $5`, r.Tenant, r.Directory, after, r.Number, limit)
}

func scanChange(r row) (c backup.ImportChange, err error) {
	var body string
	if err := r.Scan(&body); err != nil {
		return c, err
	}
	return c, json.Unmarshal([]byte(body), &c)
}

func scanAddition(r row) (backup.ImportChange, error) {
	e, err := scanStated(r)
	return addition(e), err
}

// addition is the change that a plain addition is.
func addition(e backup.DirectoryEntry) backup.ImportChange {
	e.ID = shownID(e.ID)
	return backup.ImportChange{Kind: backup.ChangeAdded, Entry: e}
}

// reportedDifference is the difference of a pass that was compared.
func reportedDifference(r backup.ImportReport, first bool) (backup.ImportDifference, error) {
	if r.Digest == "" {
		return backup.ImportDifference{}, notFound(backup.FaultOurs, fmt.Sprintf("the import %d was never compared", r.Number), "")
	}
	return backup.ImportDifference{Report: r.Number, Mode: r.Mode, Counts: r.Counts, Digest: r.Digest, First: first}, nil
}
