package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// A plan says of each entry that a pass has to look at what becomes of it: its problem, and its account. It is worked out by statements
// over sets when a pass is compared, and stands in import_touched; again when it is applied, unless everything it was worked out of is as it was. Whoever is not there is either as he was, or a plain
// addition: a new entry that shares nothing with any other, and becomes the account of its own id.
//
// The parameters of all statements here are $1 tenant and $2 directory.

const touchedColumns = `tenant, directory, entry_id, staged, listed, present, own, mail_key, upn_key, employee_key, has_mail, has_upn, was, old_account, own_account,
	held_key, held_active, status, account, joined`

const (
	// isStaged: the staged entry s belongs to the directory.
	isStaged  = `s.tenant = $1 AND s.directory = $2`
	isTouched = `t.tenant = $1 AND t.directory = $2`
	// isPlain: the staged entry s is a plain addition.
	isPlain = `s.kind = 'new' AND NOT EXISTS (SELECT 1 FROM import_touched t WHERE t.tenant = s.tenant AND t.directory = s.directory AND t.entry_id = s.entry_id)`

	// touchStaged takes an entry as it is staged, touchKnown as it is known.
	touchStaged = `INSERT INTO import_touched (` + touchedColumns + `)
		SELECT s.tenant, s.directory, s.entry_id, TRUE, TRUE, TRUE, s.own, s.mail_key, s.upn_key, s.employee_key, s.mail <> '', s.upn <> '',
			COALESCE(e.problem, ''), COALESCE(e.account_id, ''), s.account_id, COALESCE(e.held_key, ''), COALESCE(e.held_active, FALSE), '', '', COALESCE(e.joined, '')
		FROM staged_entry s LEFT JOIN directory_entry e ON e.tenant = s.tenant AND e.directory = s.directory AND e.entry_id = s.entry_id
		WHERE ` + isStaged
	knownFields = `e.own, e.mail_key, e.upn_key, e.employee_key, e.mail <> '', e.upn <> '', e.problem, e.account_id, '', e.held_key, e.held_active, '', '', e.joined`
	// isListed: the read said that the known entry e is there.
	isListed   = `EXISTS (SELECT 1 FROM staged_entry s WHERE s.tenant = e.tenant AND s.directory = e.directory AND s.entry_id = e.entry_id AND s.kind <> 'gone')`
	touchGone  = `INSERT INTO import_touched (` + touchedColumns + `) SELECT e.tenant, e.directory, e.entry_id, FALSE, FALSE, FALSE, ` + knownFields
	touchKnown = `INSERT INTO import_touched (` + touchedColumns + `) SELECT e.tenant, e.directory, e.entry_id, FALSE, ` + isListed + `, TRUE, ` + knownFields
	isKnown    = `e.tenant = $1 AND e.directory = $2`
	once       = ` ON CONFLICT (tenant, directory, entry_id) DO NOTHING`

	// isDecided: a person decided about the entry x.
	isDecided = `EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = x.tenant AND d.directory = x.directory AND d.entry_id = x.entry_id)`

	// shielded are the ids of known entries that an entry without an id may stand for, because it has their DN. Nobody may
	// vanish for being unreadable.
	shielded = `SELECT k.entry_id FROM directory_entry k WHERE k.tenant = $1 AND k.directory = $2 AND k.dn IN (
		SELECT s.dn FROM staged_entry s WHERE ` + isStaged + ` AND s.entry_id LIKE '` + unidentified + `%' AND s.dn <> '')`
)

// The statements that find the touched entries.
const (
	touchChanged = touchStaged + ` AND s.kind = 'changed'` + once
	touchBack    = `INSERT INTO import_touched (` + touchedColumns + `) SELECT e.tenant, e.directory, e.entry_id, FALSE, TRUE, TRUE, ` + knownFields + `
		FROM staged_entry s JOIN directory_entry e ON e.tenant = s.tenant AND e.directory = s.directory AND e.entry_id = s.entry_id
		WHERE ` + isStaged + ` AND s.kind = 'back'` + once
	touchNamedGone = touchGone + ` FROM staged_entry s JOIN directory_entry e ON e.tenant = s.tenant AND e.directory = s.directory AND e.entry_id = s.entry_id
		WHERE ` + isStaged + ` AND s.kind = 'gone' AND e.present` + once
	touchUnlisted = touchGone + ` FROM directory_entry e WHERE ` + isKnown + ` AND e.present AND NOT ` + isListed + ` AND e.entry_id NOT IN (` + shielded + `)` + once
	// touchUndecided looks again at whoever waits for a decision, or has one.
	touchUndecided = touchKnown + ` FROM directory_entry e WHERE ` + isKnown + ` AND e.present AND e.problem = 'conflict'` + once
	touchDecided   = touchKnown + ` FROM merge_decision d JOIN directory_entry e ON e.tenant = d.tenant AND e.directory = d.directory AND e.entry_id = d.entry_id
		WHERE d.tenant = $1 AND d.directory = $2 AND e.present` + once
	// touchSpecial are new entries that are no plain additions for a reason of their own.
	touchSpecial = touchStaged + ` AND s.kind = 'new' AND (s.own <> ''
		OR EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = s.tenant AND d.directory = s.directory AND d.entry_id = s.entry_id)
		OR EXISTS (SELECT 1 FROM account a WHERE a.tenant = s.tenant AND a.id = s.account_id))` + once
	touchTwins = touchStaged + ` AND s.kind = 'new' AND s.own = '' AND s.mail_key IN (
		SELECT s.mail_key FROM staged_entry s WHERE ` + isStaged + ` AND s.kind = 'new' AND s.own = '' GROUP BY s.mail_key HAVING COUNT(*) > 1)` + once
	// touchShared looks again at whom other directories know, too: by changed rules another directory's word may count.
	touchShared = touchKnown + ` FROM directory_entry e WHERE ` + isKnown + ` AND e.present AND e.account_id <> '' AND EXISTS (
		SELECT 1 FROM directory_entry o WHERE o.tenant = e.tenant AND o.account_id = e.account_id AND o.account_id <> '' AND o.directory <> e.directory)` + once
	touchClaims = touchStaged + ` AND s.kind = 'new' AND s.own = '' AND EXISTS (
		SELECT 1 FROM directory_entry k WHERE k.tenant = s.tenant AND k.mail_key = s.mail_key AND k.directory = s.directory)` + once

	// addresses are those that a touched entry claims or holds: whose entries may be touched by it.
	addresses = `SELECT t.mail_key FROM import_touched t WHERE ` + isTouched + ` AND t.mail_key <> ''
		UNION SELECT t.held_key FROM import_touched t WHERE ` + isTouched + ` AND t.held_key <> ''`
	touchNeighbours = touchKnown + ` FROM directory_entry e WHERE e.tenant = $1 AND e.mail_key IN (` + addresses + `) AND e.directory = $2 AND e.present` + once
	touchNewcomers  = touchStaged + ` AND s.kind = 'new' AND s.mail_key IN (` + addresses + `)` + once
	// touchHolders are those who hold an address of a touched entry and do not state it any more: they have a problem.
	touchHolders = touchKnown + ` FROM directory_entry e WHERE ` + isKnown + ` AND e.problem <> '' AND e.present AND e.held_key IN (` + addresses + `)` + once
)

// The statements that find the entries that cannot have the address they state.
const (
	judgeOwn = `UPDATE import_touched AS t SET account = old_account, status = CASE WHEN NOT t.present THEN ''
			WHEN EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = t.tenant AND d.directory = t.directory AND d.entry_id = t.entry_id AND d.verdict = 'ignore') THEN 'ignored'
			ELSE t.own END WHERE ` + isTouched
	// markDuplicates: of several with one address the one whose account goes by it keeps it, an active account before a preserved one;
	// otherwise the lowest id wins.
	markDuplicates = `UPDATE import_touched AS t SET status = 'duplicate_mail' WHERE ` + isTouched + ` AND t.entry_id IN (
		SELECT claim.entry_id FROM (
			SELECT t.entry_id, ROW_NUMBER() OVER (PARTITION BY t.mail_key ORDER BY
				CASE WHEN t.held_key <> t.mail_key THEN 2 WHEN t.held_active THEN 0 ELSE 1 END, t.entry_id) AS place
			FROM import_touched t WHERE ` + isTouched + ` AND t.present AND t.status = '') AS claim
		WHERE claim.place > 1)`
	// markHeld: an entry with a problem leaves its account as it is, so the address of such an account is not free for another entry
	// either: two active accounts of one mailbox would back it up twice, once under a wrong name. Whoever thereby becomes a
	// duplicate leaves his account as it is in turn, so this follows the chain to its end. The CROSS JOIN keeps SQLite from looking at
	// all entries for each address (https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_cross_join).
	markHeld = `WITH RECURSIVE held (mail_key) AS (
				SELECT t.held_key FROM import_touched t WHERE ` + isTouched + ` AND t.present AND t.status NOT IN ('', 'ignored') AND t.held_active
				UNION
				SELECT t.held_key FROM held CROSS JOIN import_touched t WHERE ` + isTouched + ` AND t.mail_key = held.mail_key
					AND t.present AND t.status = '' AND t.held_active AND t.held_key <> t.mail_key)
		UPDATE import_touched AS t SET status = 'duplicate_mail' WHERE ` + isTouched + ` AND t.present AND t.status = ''
			AND NOT (t.held_active AND t.held_key = t.mail_key) AND t.mail_key IN (SELECT mail_key FROM held)`
	forgetAccounts = `UPDATE import_touched AS t SET account = '' WHERE ` + isTouched + ` AND t.status = 'ignored'`
	listAccounts   = `INSERT INTO import_account (tenant, directory, account)
		SELECT t.tenant, t.directory, t.account FROM import_touched t WHERE ` + isTouched + ` AND t.account <> ''
		UNION SELECT t.tenant, t.directory, t.old_account FROM import_touched t WHERE ` + isTouched + ` AND t.old_account <> ''`
)

// plan is what is known of a plan beside import_touched.
type plan struct {
	MatchBy []backup.PersonField `json:"matchBy"`
	// Counts are those of entries.
	Counts backup.ImportCounts `json:"counts"`
	// Plain is how many plain additions there are, PlainActive how many of them are not disabled, and PlainDigest is over all of them.
	Plain       int    `json:"plain"`
	PlainActive int    `json:"plainActive"`
	PlainDigest string `json:"plainDigest"`
}

// plan works out what becomes of the entries of a pass, or finds that it is worked out already.
func (s *Store) plan(ctx context.Context, tx *sql.Tx, t backup.Tenant, p backup.Pass, row importPass) (of plan, err error) {
	matchBy := matchBy(t)
	if row.planned != "" {
		if err := json.Unmarshal([]byte(row.planned), &of); err != nil || slices.Equal(of.MatchBy, matchBy) {
			return of, err
		}
	}
	of = plan{MatchBy: matchBy}
	if err := s.workOut(ctx, tx, of, p, row); err != nil {
		return of, err
	}
	if err := countPlain(ctx, tx, p, &of); err != nil {
		return of, err
	}
	return of, countEntries(ctx, tx, p, &of.Counts)
}

func matchBy(t backup.Tenant) []backup.PersonField {
	if len(t.People.MatchBy) == 0 {
		return backup.DefaultMatchBy()
	}
	return t.People.MatchBy
}

// keepPlan says that a plan is good until something of what it was worked out of changes: what is staged, and what forgetPlans is called after.
func keepPlan(ctx context.Context, tx *sql.Tx, p backup.Pass, of plan) error {
	text, err := json.Marshal(of)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE import_pass SET planned = $3 WHERE tenant = $1 AND directory = $2`, p.Tenant, p.Directory, string(text))
	return err
}

// forgetPlans is for whoever changes the tenant's entries or decisions, or adds accounts.
func forgetPlans(ctx context.Context, tx *sql.Tx, tenant string) error {
	_, err := tx.ExecContext(ctx, `UPDATE import_pass SET planned = '' WHERE tenant = $1`, tenant)
	return err
}

func (s *Store) workOut(ctx context.Context, tx *sql.Tx, of plan, p backup.Pass, row importPass) error {
	args := []any{p.Tenant, p.Directory}
	err := execAll(ctx, tx, args, `DELETE FROM import_touched WHERE tenant = $1 AND directory = $2`,
		`DELETE FROM import_account WHERE tenant = $1 AND directory = $2`, `DELETE FROM import_candidate WHERE tenant = $1 AND directory = $2`)
	if err != nil {
		return err
	}
	if err := touch(ctx, tx, p, row); err != nil {
		return err
	}
	// This is rare: in most imports hardly anybody is touched.
	if err := s.knowMany(ctx, tx, `SELECT 1 FROM import_touched t WHERE `+isTouched, p, "import_touched"); err != nil {
		return err
	}
	if err := execAll(ctx, tx, args, judgeOwn, markDuplicates, markHeld, forgetAccounts); err != nil {
		return err
	}
	if err := match(ctx, tx, of.MatchBy, p); err != nil {
		return err
	}
	return execAll(ctx, tx, args, listAccounts)
}

// few rows are joined quickly by every plan.
const few = 500

// knowStaged is called before the transaction that compares.
func (s *Store) knowStaged(ctx context.Context, p backup.Pass) error {
	return s.changeRows(ctx, "count who is staged", func(tx *sql.Tx) error {
		return s.knowMany(ctx, tx, `SELECT 1 FROM staged_entry s WHERE `+isStaged, p, "staged_entry")
	})
}

// knowMany counts a table anew when it has more than a few rows of the pass.
func (s *Store) knowMany(ctx context.Context, tx *sql.Tx, rows string, p backup.Pass, table string) error {
	var many bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (`+rows+` LIMIT 1 OFFSET $3)`, p.Tenant, p.Directory, few).Scan(&many)
	if err != nil || !many {
		return err
	}
	return s.know(ctx, tx, table)
}

// touch finds the entries that the pass has to look at.
func touch(ctx context.Context, tx *sql.Tx, p backup.Pass, row importPass) error {
	args := []any{p.Tenant, p.Directory}
	if err := execAll(ctx, tx, args, touchSpecial, touchTwins); err != nil {
		return err
	}
	if !row.known {
		return nil
	}
	if err := execAll(ctx, tx, args, touchChanged, touchBack, touchNamedGone); err != nil {
		return err
	}
	if row.mode != backup.ChangesRead {
		if err := touchMissing(ctx, tx, p); err != nil {
			return err
		}
	}
	again := []string{touchUndecided, touchDecided, touchClaims}
	if row.rules != row.ruled {
		again = append(again, touchShared)
	}
	if err := execAll(ctx, tx, args, again...); err != nil {
		return err
	}
	// Each round reaches the entries that share an address with those of the round before.
	for {
		var found int64
		for _, q := range []string{touchNeighbours, touchHolders, touchNewcomers} {
			n, err := execute(ctx, tx, q, args...)
			if err != nil {
				return err
			}
			found += n
		}
		if found == 0 {
			return nil
		}
	}
}

// touchMissing finds whoever a full read did not list. Every entry that is staged as the same or changed is a present one, so when there
// are as many of them as are present, nobody is missing and nobody need be looked for.
func touchMissing(ctx context.Context, tx *sql.Tx, p backup.Pass) error {
	var missing int64
	err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM directory_entry e WHERE `+isKnown+`)
		- (SELECT COUNT(*) FROM directory_entry e WHERE `+isKnown+` AND NOT e.present)
		- (SELECT COUNT(*) FROM staged_entry s WHERE `+isStaged+` AND s.kind = 'same')
		- (SELECT COUNT(*) FROM import_touched t WHERE `+isTouched+` AND t.staged AND t.listed
			AND EXISTS (SELECT 1 FROM directory_entry e WHERE e.tenant = t.tenant AND e.directory = t.directory AND e.entry_id = t.entry_id AND e.present))`,
		p.Tenant, p.Directory).Scan(&missing)
	if err != nil || missing == 0 {
		return err
	}
	_, err = tx.ExecContext(ctx, touchUnlisted, p.Tenant, p.Directory)
	return err
}

// countPlain counts the plain additions and digests them.
func countPlain(ctx context.Context, tx *sql.Tx, p backup.Pass, of *plan) error {
	sum := sha256.New()
	rows, err := tx.QueryContext(ctx, `SELECT s.account_id, s.hash, s.disabled FROM staged_entry s WHERE `+isStaged+` AND `+isPlain+` ORDER BY s.entry_id`, p.Tenant, p.Directory)
	if err != nil {
		return err
	}
	defer rows.Close()
	var line []byte
	for rows.Next() {
		var id, hash sql.RawBytes
		var disabled bool
		if err := rows.Scan(&id, &hash, &disabled); err != nil {
			return err
		}
		line = append(append(append(append(line[:0], id...), ' '), hash...), '\n')
		sum.Write(line)
		of.Plain++
		of.PlainActive += truth(!disabled)
	}
	of.PlainDigest = hex.EncodeToString(sum.Sum(nil))
	return rows.Err()
}

// countEntries counts what was listed.
func countEntries(ctx context.Context, tx *sql.Tx, p backup.Pass, c *backup.ImportCounts) error {
	err := tx.QueryRowContext(ctx, `SELECT COUNT(CASE WHEN s.kind = 'new' THEN 1 END), COUNT(CASE WHEN s.kind = 'changed' THEN 1 END),
			COUNT(CASE WHEN s.kind IN ('same', 'back') THEN 1 END), COUNT(CASE WHEN s.disabled AND s.kind <> 'gone' THEN 1 END)
		FROM staged_entry s WHERE `+isStaged, p.Tenant, p.Directory).Scan(&c.Added, &c.Changed, &c.Unchanged, &c.Disabled)
	if err != nil {
		return err
	}
	c.Listed = c.Added + c.Changed + c.Unchanged
	type tally struct {
		problem backup.EntryProblem
		n       int
	}
	all, err := list(ctx, tx, func(r row) (t tally, err error) { return t, r.Scan(&t.problem, &t.n) },
		`SELECT status, COUNT(*) FROM (SELECT t.status FROM import_touched t WHERE `+isTouched+` AND t.listed AND t.status <> ''
			UNION ALL SELECT s.own FROM staged_entry s WHERE `+isStaged+` AND s.kind = 'same' AND s.own <> '' AND NOT EXISTS (
				SELECT 1 FROM import_touched t WHERE t.tenant = s.tenant AND t.directory = s.directory AND t.entry_id = s.entry_id)) AS problems
		GROUP BY status`, p.Tenant, p.Directory)
	into := map[backup.EntryProblem]*int{backup.NoMail: &c.NoMail, backup.DuplicateMail: &c.DuplicateMail, backup.BadEntry: &c.BadEntries, backup.Conflict: &c.Conflicts,
		backup.Ignored: &c.Ignored}
	for _, t := range all {
		*into[t.problem] += t.n
	}
	return err
}
