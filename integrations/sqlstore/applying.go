package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ApplyPass makes the staged pass the truth, in one transaction. Applying the same pass again changes nothing. CodeNotFound
// when another pass began since. What was staged stays until the next pass begins: clearing it here would only hold the write
// lock for longer.
func (s *Store) applyPass(ctx context.Context, tenant string, dir backup.DirectoryName, pass string, at time.Time) (accounts backup.Accounts, err error) {
	err = s.change(ctx, "apply an import", func(tx *sql.Tx) error {
		if err := lockPass(ctx, tx, tenant, dir, pass); err != nil {
			return err
		}
		first, err := execute(ctx, tx, `UPDATE import_pass SET applied = pass, applied_at = $4
			WHERE tenant = $1 AND directory = $2 AND pass = $3 AND applied <> $3`, tenant, dir, pass, micros(at))
		if err != nil {
			return err
		}
		if first == 1 {
			if err := apply(ctx, tx, tenant, dir, at); err != nil {
				return err
			}
		}
		accounts, err = countAccounts(ctx, tx, tenant)
		return err
	})
	return accounts, err
}

func apply(ctx context.Context, tx *sql.Tx, tenant string, dir backup.DirectoryName, at time.Time) error {
	// A page may have come after the comparison.
	if err := markDuplicates(ctx, tx, tenant, dir); err != nil {
		return err
	}
	if err := execAll(ctx, tx, []any{tenant, dir, micros(at)}, updateAccounts, addAccounts); err != nil {
		return err
	}
	if err := execAll(ctx, tx, []any{tenant, dir}, takeOverEntries, markAbsent, forgetEntries); err != nil {
		return err
	}
	return execAll(ctx, tx, []any{tenant, dir, micros(at)}, preserveVanished)
}

const (
	// address is what people are found and sorted by.
	address = `CASE WHEN s.mail <> '' THEN s.mail ELSE s.upn END`
	// listedState is the state and reason of an account whose entry is listed without a problem.
	listedState  = `CASE WHEN s.disabled THEN 'preserved' ELSE 'active' END`
	listedReason = `CASE WHEN s.disabled THEN 'disabled' ELSE '' END`
)

// The statements of apply, in their order; $3 is the time.
var (
	// updateAccounts lets accounts follow their entries. An entry with a problem leaves its account as it is.
	updateAccounts = `UPDATE account SET mail = ` + address + `, upn = s.upn, display_name = s.display_name, mail_key = s.mail_key, upn_key = s.upn_key,
			state = ` + listedState + `, reason = ` + listedReason + `,
			since = CASE WHEN account.state = ` + listedState + ` THEN account.since ELSE $3 END
		FROM staged_entry s
		WHERE ` + isStaged + ` AND s.problem = ''
			AND account.tenant = s.tenant AND account.directory = s.directory AND account.entry_id = s.entry_id
			AND (account.mail, account.upn, account.display_name, account.state, account.reason)
				<> (` + address + `, s.upn, s.display_name, ` + listedState + `, ` + listedReason + `)`

	// addAccounts makes an account of every other entry without a problem; of a disabled one too, so that it is visible.
	addAccounts = `INSERT INTO account (tenant, id, directory, entry_id, mail, upn, display_name, mail_key, upn_key, state, reason, since)
		SELECT s.tenant, s.account_id, s.directory, s.entry_id, ` + address + `, s.upn, s.display_name, s.mail_key, s.upn_key,
			` + listedState + `, ` + listedReason + `, CAST($3 AS BIGINT)
		FROM staged_entry s
		WHERE ` + isStaged + ` AND s.problem = '' AND NOT EXISTS (SELECT 1 FROM account a
			WHERE a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id)`

	// takeOverEntries writes what differs.
	takeOverEntries = `INSERT INTO directory_entry (tenant, directory, entry_id, ` + entryColumns + `, present)
		SELECT s.tenant, s.directory, s.entry_id, ` + prefixed("s", entryColumns) + `, TRUE FROM staged_entry s WHERE ` + isStaged + `
		ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET dn = excluded.dn, mail = excluded.mail, upn = excluded.upn,
			display_name = excluded.display_name, employee_id = excluded.employee_id, department = excluded.department,
			disabled = excluded.disabled, problem = excluded.problem, present = TRUE
		WHERE NOT directory_entry.present OR (` + prefixed("directory_entry", entryColumns) + `) <> (` + prefixed("excluded", entryColumns) + `)`

	// markAbsent and forgetEntries: of who is not listed any more, only those are remembered who have an account.
	markAbsent    = `UPDATE directory_entry AS e SET present = FALSE WHERE e.present AND ` + notListed("e")
	forgetEntries = `DELETE FROM directory_entry AS e WHERE e.tenant = $1 AND e.directory = $2 AND NOT e.present AND NOT EXISTS (
		SELECT 1 FROM account a WHERE a.tenant = e.tenant AND a.directory = e.directory AND a.entry_id = e.entry_id)`

	// preserveVanished keeps the data of people who are not listed any more. One who was disabled before stays preserved since then.
	preserveVanished = `UPDATE account SET since = CASE WHEN state = 'preserved' THEN since ELSE $3 END, state = 'preserved', reason = 'vanished'
		WHERE tenant = $1 AND directory = $2 AND reason <> 'vanished' AND entry_id IN (
			SELECT e.entry_id FROM directory_entry e WHERE e.tenant = $1 AND e.directory = $2 AND NOT e.present)`
)
