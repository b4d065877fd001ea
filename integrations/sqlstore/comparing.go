package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The parameters of every statement about a staged listing are $1 tenant and $2 directory; which pass is staged was made sure of
// by lockPass before.
const (
	// isStaged: the staged entry s belongs to the listing.
	isStaged = `s.tenant = $1 AND s.directory = $2`

	// withKnown joins the staged entry s with what is known of it: its entry e and its account a.
	withKnown = `staged_entry s
		LEFT JOIN directory_entry e ON e.tenant = s.tenant AND e.directory = s.directory AND e.entry_id = s.entry_id
		LEFT JOIN account a ON a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id`

	// shielded are the ids of known entries that an entry without an id may stand for, because it has their DN. Nobody may
	// vanish for being unreadable.
	shielded = `SELECT k.entry_id FROM directory_entry k WHERE k.tenant = $1 AND k.directory = $2 AND k.dn IN (
		SELECT s.dn FROM staged_entry s WHERE ` + isStaged + ` AND s.entry_id LIKE '` + unidentified + `%' AND s.dn <> '')`
)

// notListed is the condition on an account or entry of the directory that is not listed any more.
func notListed(table string) string {
	return table + `.tenant = $1 AND ` + table + `.directory = $2
		AND NOT EXISTS (SELECT 1 FROM staged_entry s WHERE ` + isStaged + ` AND s.entry_id = ` + table + `.entry_id)
		AND ` + table + `.entry_id NOT IN (` + shielded + `)`
}

// differs: the staged entry s and the known entry e say different things.
var differs = `(` + prefixed("s", entryColumns) + `) <> (` + prefixed("e", entryColumns) + `)`

// ComparePass tells the staged pass from what is known. It changes nothing but the staged entries' problems (duplicates),
// and keeps the counts for the preview.
func (s *Store) comparePass(ctx context.Context, tenant string, dir backup.DirectoryName, pass string) (c backup.ImportCounts, err error) {
	err = s.change(ctx, "compare an import", func(tx *sql.Tx) error {
		if err := lockPass(ctx, tx, tenant, dir, pass); err != nil {
			return err
		}
		if err := markDuplicates(ctx, tx, tenant, dir); err != nil {
			return err
		}
		if c, err = countDifference(ctx, tx, tenant, dir); err != nil {
			return err
		}
		counts, err := json.Marshal(c)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE import_pass SET counts = $3 WHERE tenant = $1 AND directory = $2`, tenant, dir, string(counts))
		return err
	})
	return c, err
}

// markDuplicates finds the entries that cannot have the mail they state. Of several with one mail, the one whose account has
// it already keeps it, an active account before a preserved one; otherwise the lowest id wins.
//
// An entry with a problem leaves its account as it is, so the mail of such an account is not free for another entry
// either: two active accounts of one mailbox would back it up twice, once under a wrong name. Whoever thereby becomes a
// duplicate leaves his account as it is in turn, so the last statement follows the chain to its end. Its CROSS JOINs keep SQLite from
// looking at all entries for each mail (https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join).
func markDuplicates(ctx context.Context, tx *sql.Tx, tenant string, dir backup.DirectoryName) error {
	return execAll(ctx, tx, []any{tenant, dir},
		`UPDATE staged_entry AS s SET problem = '' WHERE `+isStaged+` AND s.problem = 'duplicate_mail'`,

		`UPDATE staged_entry AS s SET problem = 'duplicate_mail' WHERE `+isStaged+` AND s.entry_id IN (
			SELECT claim.entry_id FROM (
				SELECT s.entry_id, ROW_NUMBER() OVER (PARTITION BY s.mail_key ORDER BY
					CASE WHEN a.state = 'active' THEN 0 WHEN a.state = 'preserved' THEN 1 ELSE 2 END, s.entry_id) AS place
				FROM staged_entry s LEFT JOIN account a
					ON a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id AND a.mail_key = s.mail_key
				WHERE `+isStaged+` AND s.problem = '') AS claim
			WHERE claim.place > 1)`,

		`WITH RECURSIVE held (mail_key) AS (
			SELECT a.mail_key FROM staged_entry s
				JOIN account a ON a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id AND a.state = 'active'
				WHERE `+isStaged+` AND s.problem <> ''
			UNION
			SELECT a.mail_key FROM held CROSS JOIN staged_entry s CROSS JOIN account a
				WHERE `+isStaged+` AND s.mail_key = held.mail_key AND s.problem = ''
				AND a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id AND a.state = 'active')
		UPDATE staged_entry AS s SET problem = 'duplicate_mail' WHERE `+isStaged+` AND s.problem = '' AND s.mail_key IN (SELECT mail_key FROM held)
			AND NOT EXISTS (SELECT 1 FROM account a WHERE a.tenant = s.tenant AND a.directory = s.directory AND a.entry_id = s.entry_id
				AND a.mail_key = s.mail_key)`)
}

// countDifference counts the listing once its duplicates are marked.
func countDifference(ctx context.Context, tx *sql.Tx, tenant string, dir backup.DirectoryName) (c backup.ImportCounts, err error) {
	var newlyDisabled int
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*),
			COUNT(CASE WHEN e.entry_id IS NULL THEN 1 END),
			COUNT(CASE WHEN `+differs+` THEN 1 END),
			COUNT(CASE WHEN s.disabled THEN 1 END),
			COUNT(CASE WHEN s.problem = '' AND NOT s.disabled AND a.state = 'preserved' THEN 1 END),
			COUNT(CASE WHEN s.problem = 'no_mail' THEN 1 END),
			COUNT(CASE WHEN s.problem = 'duplicate_mail' THEN 1 END),
			COUNT(CASE WHEN s.problem = 'bad_entry' THEN 1 END),
			COUNT(CASE WHEN s.problem = '' AND s.disabled AND a.state = 'active' THEN 1 END)
		FROM `+withKnown+` WHERE `+isStaged, tenant, dir).
		Scan(&c.Listed, &c.Added, &c.Changed, &c.Disabled, &c.Returned, &c.NoMail, &c.DuplicateMail, &c.BadEntries, &newlyDisabled)
	if err != nil {
		return c, err
	}
	c.Unchanged = c.Listed - c.Added - c.Changed
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*), COUNT(CASE WHEN `+notListed("a")+` THEN 1 END)
		FROM account a WHERE a.tenant = $1 AND a.directory = $2 AND a.state = 'active'`, tenant, dir).Scan(&c.KnownActive, &c.Vanished)
	c.Leaving = c.Vanished + newlyDisabled
	return c, err
}
