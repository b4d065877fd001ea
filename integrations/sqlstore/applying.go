package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ApplyPass makes the staged pass the truth, with the cursor and the report, in one transaction; again is the same as once. It does what
// the difference of this digest says, and otherwise nothing: CodeDifferenceChanged. CodeNotFound when another pass began since.
func (s *Store) ApplyPass(ctx context.Context, t backup.Tenant, p backup.Pass, digest, approvedBy string, at time.Time) (accounts backup.Accounts, err error) {
	added := 0
	err = s.changeTenant(ctx, p.Tenant, "apply an import", func(tx *sql.Tx) error {
		row, err := lockPass(ctx, tx, p)
		if err != nil {
			return err
		}
		if row.applied != p.ID {
			if !row.open {
				return passEnded(p)
			}
			if added, err = s.apply(ctx, tx, t, p, row, digest, approvedBy, at); err != nil {
				return err
			}
		}
		accounts, err = countAccounts(ctx, tx, p.Tenant)
		return err
	})
	if err == nil && added > few {
		err = s.changeRows(ctx, "count who was added", func(tx *sql.Tx) error { return s.know(ctx, tx, "directory_entry", "entry_alias", "account") })
	}
	return accounts, err
}

// apply returns how many plain additions it made.
func (s *Store) apply(ctx context.Context, tx *sql.Tx, t backup.Tenant, p backup.Pass, row importPass, digest, approvedBy string, at time.Time) (added int, err error) {
	by := approvedBy
	report, err := readReport(ctx, tx, p.Tenant, row.report)
	if err != nil {
		return 0, err
	}
	if by == "" {
		by = report.By
	}
	w := &accountWriter{store: s, tx: tx, pass: p, report: row.report, by: by, at: at}
	done, err := s.walk(ctx, tx, t, p, row, at, w.write)
	if err != nil {
		return 0, err
	}
	if done.digest != digest {
		return 0, &backup.Error{Code: backup.CodeDifferenceChanged, Fault: backup.FaultCustomer, Message: "what this import would do now is not what it was compared to do",
			Hint: "holdfast users preview " + p.Tenant + " shows the difference of now"}
	}
	args := []any{p.Tenant, p.Directory}
	if err := execAll(ctx, tx, append(args, micros(at)), takeOverTouched, takeOverKnown, takeOverPlain); err != nil {
		return 0, err
	}
	if _, err := tx.ExecContext(ctx, addPlainAccounts, p.Tenant, p.Directory, micros(at), row.report); err != nil {
		return 0, err
	}
	err = execAll(ctx, tx, args, forgetAliases, takeOverAliases, forgetCandidates, keepCandidates, forgetEntries)
	if err != nil {
		return 0, err
	}
	for dir, n := range done.behind {
		if _, err := tx.ExecContext(ctx, `UPDATE import_pass SET behind = behind + $3 WHERE tenant = $1 AND directory = $2`, p.Tenant, dir, n); err != nil {
			return 0, err
		}
	}
	if err := forgetPlans(ctx, tx, p.Tenant); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE import_pass SET open = FALSE, applied = pass, cursor = next_cursor, ruled = rules WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory)
	if err != nil {
		return 0, err
	}
	return done.Plain, updateReport(ctx, tx, p.Tenant, row.report, func(r *backup.ImportReport) {
		r.Outcome, r.Approved, r.Ended, r.Counts, r.Digest = backup.ImportApplied, approvedBy, at.UTC(), done.counts, done.digest
	})
}

const (
	entryColumns  = `tenant, directory, entry_id, hash, ` + statedColumns + `, ` + keyColumns + `, problem, since, present, account_id, joined, backs, held, held_key, held_active`
	ofSamePrimary = `s.tenant = t.tenant AND s.directory = t.directory AND s.entry_id = t.entry_id`
)

// The statements of apply; $1 is the tenant, $2 the directory, $3 the time. An entry that has a problem leaves what its account goes by:
// held, which accountWriter wrote where it was the entry itself until now, and held_key, held_active and backs.
var (
	takeOverTouched = `INSERT INTO directory_entry (` + entryColumns + `)
		SELECT s.tenant, s.directory, s.entry_id, s.hash, ` + prefixed("s", statedColumns) + `, ` + prefixed("s", keyColumns) + `, t.status, CASE WHEN t.status = '' THEN 0 ELSE CAST($3 AS BIGINT) END,
			TRUE, t.account, t.joined, t.status = '', '', CASE WHEN t.status = '' THEN s.mail_key ELSE '' END, t.status = '' AND NOT s.disabled
		FROM import_touched t CROSS JOIN staged_entry s WHERE ` + isTouched + ` AND t.staged AND ` + ofSamePrimary + `
		ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET ` + assignments(`hash, `+statedColumns+`, `+keyColumns+`, present, account_id, joined`) + `,
			since = CASE WHEN excluded.problem = directory_entry.problem AND NOT ` + waitsAgain(`excluded.problem`) + ` THEN directory_entry.since ELSE excluded.since END,
			problem = excluded.problem, ` + heldAfter(`excluded.problem`, `excluded.account_id`, `excluded.mail_key`, `NOT excluded.disabled`)

	takeOverKnown = `UPDATE directory_entry SET present = t.present, account_id = t.account, joined = t.joined,
			since = CASE WHEN NOT t.present OR t.status = '' THEN 0 WHEN t.status = directory_entry.problem AND NOT ` + waitsAgain(`t.status`) + ` THEN directory_entry.since
				ELSE CAST($3 AS BIGINT) END,
			problem = CASE WHEN t.present THEN t.status ELSE '' END,
			backs = CASE WHEN NOT t.present OR t.account = '' THEN FALSE WHEN t.status = '' THEN TRUE ELSE directory_entry.backs END,
			held = CASE WHEN t.account = '' OR t.present AND t.status = '' THEN '' ELSE directory_entry.held END,
			held_key = CASE WHEN t.account = '' THEN '' WHEN t.present AND t.status = '' THEN directory_entry.mail_key ELSE directory_entry.held_key END,
			held_active = CASE WHEN NOT t.present OR t.account = '' THEN FALSE WHEN t.status = '' THEN NOT directory_entry.disabled ELSE directory_entry.held_active END
		FROM import_touched t WHERE ` + isTouched + ` AND NOT t.staged
			AND directory_entry.tenant = t.tenant AND directory_entry.directory = t.directory AND directory_entry.entry_id = t.entry_id`

	takeOverPlain = `INSERT INTO directory_entry (` + entryColumns + `)
		SELECT s.tenant, s.directory, s.entry_id, s.hash, ` + prefixed("s", statedColumns) + `, ` + prefixed("s", keyColumns) + `, '', CAST($3 AS BIGINT) * 0,
			TRUE, s.account_id, 'first', TRUE, '', s.mail_key, NOT s.disabled
		FROM staged_entry s WHERE ` + isStaged + ` AND ` + isPlain

	addPlainAccounts = `INSERT INTO account (tenant, id, directory, entry_id, mail, upn, display_name, employee_id, department, kind, profile, mail_key, upn_key,
			state, reason, since, provenance, added_report, added)
		SELECT s.tenant, s.account_id, s.directory, s.entry_id, CASE WHEN s.mail <> '' THEN s.mail ELSE s.upn END, s.upn, s.display_name, s.employee_id, s.department, s.entry_kind,
			s.profile, s.mail_key, s.upn_key, CASE WHEN s.disabled THEN 'preserved' ELSE 'active' END, CASE WHEN s.disabled THEN 'disabled' ELSE '' END,
			CAST($3 AS BIGINT), '', CAST($4 AS BIGINT), CAST($3 AS BIGINT)
		FROM staged_entry s WHERE ` + isStaged + ` AND ` + isPlain
)

// waitsAgain: a person decided about the entry since it is in conflict, and it still is, because that could not be carried out.
func waitsAgain(problem string) string {
	return `(` + problem + ` = 'conflict' AND EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = directory_entry.tenant AND d.directory = directory_entry.directory
		AND d.entry_id = directory_entry.entry_id AND d.at >= directory_entry.since))`
}

// heldAfter sets what an account goes by, for an entry that is there already, when it is written anew.
func heldAfter(problem, account, key, active string) string {
	return `held = CASE WHEN ` + problem + ` = '' OR ` + account + ` = '' THEN '' ELSE directory_entry.held END,
		held_key = CASE WHEN ` + problem + ` = '' THEN ` + key + ` WHEN ` + account + ` = '' THEN '' ELSE directory_entry.held_key END,
		held_active = CASE WHEN ` + problem + ` = '' THEN ` + active + ` WHEN ` + account + ` = '' THEN FALSE ELSE directory_entry.held_active END,
		backs = CASE WHEN ` + problem + ` = '' THEN TRUE WHEN ` + account + ` = '' THEN FALSE ELSE directory_entry.backs END`
}

const (
	forgetAliases = `DELETE FROM entry_alias AS l WHERE l.tenant = $1 AND l.directory = $2 AND l.entry_id IN (
		SELECT t.entry_id FROM import_touched t WHERE ` + isTouched + ` AND t.staged)`
	takeOverAliases = `INSERT INTO entry_alias (tenant, directory, entry_id, alias_key) SELECT l.tenant, l.directory, l.entry_id, l.alias_key
		FROM staged_alias l JOIN staged_entry s ON s.tenant = l.tenant AND s.directory = l.directory AND s.entry_id = l.entry_id AND s.hash = l.hash
		WHERE ` + isStaged + ` AND s.kind IN ('new', 'changed') ON CONFLICT DO NOTHING`
	forgetCandidates = `DELETE FROM merge_candidate AS c WHERE c.tenant = $1 AND c.directory = $2 AND c.entry_id IN (SELECT t.entry_id FROM import_touched t WHERE ` + isTouched + `)`
	keepCandidates   = `INSERT INTO merge_candidate (tenant, directory, entry_id, account, field) SELECT c.tenant, c.directory, c.entry_id, c.account, c.field
		FROM import_candidate c JOIN import_touched t ON ` + itsCandidate + ` WHERE ` + isTouched + ` AND t.status = 'conflict'`
	// forgetEntries: of those who are gone only those are remembered who are behind an account.
	forgetEntries = `DELETE FROM directory_entry AS e WHERE e.tenant = $1 AND e.directory = $2 AND NOT e.present AND e.account_id = ''`
)

// accountWriter writes the accounts of a pass, with their events.
type accountWriter struct {
	store  *Store
	tx     *sql.Tx
	pass   backup.Pass
	report int64
	by     string
	at     time.Time
}

func (w *accountWriter) write(ctx context.Context, changes []accountChange) error {
	var accounts, events [][]any
	for _, c := range changes {
		if err := w.hold(ctx, c.links); err != nil {
			return err
		}
		if c.after.ID == "" || c.change == nil {
			continue
		}
		row, err := accountRow(c.after, w.report, w.at)
		if err != nil {
			return err
		}
		accounts = append(accounts, row)
		event := backup.AccountEvent{Account: c.after.ID, At: w.at.UTC(), Report: w.report, Directory: w.pass.Directory, By: w.by, Kind: c.change.Kind, Fields: c.change.Fields}
		body, err := json.Marshal(event)
		if err != nil {
			return err
		}
		events = append(events, []any{w.pass.Tenant, c.after.ID, micros(w.at), w.report, string(event.Kind), string(body)})
	}
	err := w.store.insertRows(ctx, w.tx, "account", storedColumns, accounts, `ON CONFLICT (tenant, id) DO UPDATE SET `+
		assignments(`directory, entry_id, mail, upn, display_name, employee_id, department, kind, profile, mail_key, upn_key, state, reason, since, provenance`))
	if err != nil {
		return err
	}
	return w.store.insertRows(ctx, w.tx, "account_event", `tenant, account, at, report, kind, body`, events, `ON CONFLICT DO NOTHING`)
}

// hold keeps what an account goes by, before its entry is overwritten by a version that has a problem.
func (w *accountWriter) hold(ctx context.Context, links []linkChange) error {
	for _, l := range links {
		if !l.held || l.directory != w.pass.Directory {
			continue
		}
		held, err := json.Marshal(l.before.entry)
		if err != nil {
			return err
		}
		_, err = w.tx.ExecContext(ctx, `UPDATE directory_entry SET held = $4 WHERE tenant = $1 AND directory = $2 AND entry_id = $3`, w.pass.Tenant, l.directory, l.id, clean(string(held)))
		if err != nil {
			return err
		}
	}
	return nil
}

const storedColumns = `tenant, id, directory, entry_id, mail, upn, display_name, employee_id, department, kind, profile, mail_key, upn_key, state, reason, since, provenance, added_report, added`

func accountRow(a storedAccount, report int64, at time.Time) ([]any, error) {
	provenance, err := provenanceText(a)
	mailKey, upnKey := strings.ToLower(a.Mail), strings.ToLower(a.UPN)
	if upnKey == mailKey {
		upnKey = ""
	}
	return []any{a.Tenant, a.ID, string(a.Directory), a.EntryID, a.Mail, a.UPN, a.DisplayName, a.EmployeeID, a.Department, string(a.Kind), a.Profile, mailKey, upnKey,
		string(a.State), string(a.Reason), micros(a.Since), provenance, report, micros(at)}, err
}
