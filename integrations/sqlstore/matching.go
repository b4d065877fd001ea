package sqlstore

import (
	"context"
	"database/sql"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// fits joins an entry x without an account with the entries k of other directories, for each field by which people are matched. Each
// is a statement of its own, so that each finds k by an index. x is staged (a possible plain addition) or touched.
var fits = map[backup.PersonField][]string{
	backup.FieldMail: {
		`x CROSS JOIN directory_entry k WHERE x.has_mail AND k.tenant = x.tenant AND k.mail_key = x.mail_key AND k.mail <> ''`,
		`x CROSS JOIN entry_alias l CROSS JOIN directory_entry k WHERE x.has_mail AND l.tenant = x.tenant AND l.alias_key = x.mail_key
			AND k.tenant = l.tenant AND k.directory = l.directory AND k.entry_id = l.entry_id`,
		`x CROSS JOIN ` + aliasesOfX + ` CROSS JOIN directory_entry k WHERE ` + areOfX + ` AND k.tenant = x.tenant AND k.mail_key = m.alias_key AND k.mail <> ''`,
		`x CROSS JOIN ` + aliasesOfX + ` CROSS JOIN entry_alias l CROSS JOIN directory_entry k WHERE ` + areOfX + ` AND l.tenant = x.tenant AND l.alias_key = m.alias_key
			AND k.tenant = l.tenant AND k.directory = l.directory AND k.entry_id = l.entry_id`,
	},
	backup.FieldUPN: {
		`x CROSS JOIN directory_entry k WHERE x.has_upn AND k.tenant = x.tenant AND k.upn_key = CASE WHEN x.upn_key = '' THEN x.mail_key ELSE x.upn_key END AND k.upn_key <> ''`,
		`x CROSS JOIN directory_entry k WHERE x.has_upn AND k.tenant = x.tenant AND k.mail_key = CASE WHEN x.upn_key = '' THEN x.mail_key ELSE x.upn_key END
			AND k.upn_key = '' AND k.upn <> ''`,
	},
	backup.FieldEmployeeID: {
		`x CROSS JOIN directory_entry k WHERE x.employee_key <> '' AND k.tenant = x.tenant AND k.employee_key = x.employee_key AND k.employee_key <> ''`,
	},
}

const (
	// aliasesOfX are the aliases m, of which areOfX chooses: those of the version that is staged, or those that are known.
	aliasesOfX = `(SELECT tenant, directory, entry_id, alias_key, hash FROM staged_alias UNION ALL SELECT tenant, directory, entry_id, alias_key, '' FROM entry_alias) m`
	areOfX     = `m.tenant = x.tenant AND m.directory = x.directory AND m.entry_id = x.entry_id AND m.hash = x.hash`

	// unlinked are the entries x that need an account.
	unlinked = `(SELECT t.tenant, t.directory, t.entry_id, t.mail_key, t.upn_key, t.employee_key, t.has_mail, t.has_upn,
				COALESCE((SELECT s.hash FROM staged_entry s WHERE t.staged AND s.tenant = t.tenant AND s.directory = t.directory AND s.entry_id = t.entry_id), '') AS hash
			FROM import_touched t WHERE ` + isTouched + ` AND t.present AND t.status = '' AND t.old_account = ''
				AND NOT EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = t.tenant AND d.directory = t.directory AND d.entry_id = t.entry_id)
		UNION ALL SELECT s.tenant, s.directory, s.entry_id, s.mail_key, s.upn_key, s.employee_key, s.mail <> '', s.upn <> '', s.hash
			FROM staged_entry s WHERE ` + isStaged + ` AND ` + isPlain + `) `

	// isThere: k is behind an account of another directory, and listed there.
	isThere = `k.directory <> $2 AND k.account_id <> '' AND k.present`
	// isLeft: k is behind an account that every directory has left, and this one never had. Somebody who moves from one directory to
	// another is himself also when he was gone for a while.
	isLeft = `k.directory <> $2 AND k.account_id <> '' AND NOT k.present AND NOT EXISTS (SELECT 1 FROM directory_entry o
			WHERE o.tenant = k.tenant AND o.account_id = k.account_id AND (o.present OR o.directory = $2))
		AND NOT EXISTS (SELECT 1 FROM import_candidate c WHERE c.tenant = x.tenant AND c.directory = x.directory AND c.entry_id = x.entry_id AND c.field NOT LIKE 'left:%')`

	// needsAccount: the touched entry t is one of those, and nobody decided about it.
	needsAccount = isTouched + ` AND t.present AND t.status = '' AND t.account = ''`
	itsCandidate = `c.tenant = t.tenant AND c.directory = t.directory AND c.entry_id = t.entry_id`

	// isTaken: another entry of the directory, present after the pass, is that account c.account already.
	isTaken = `(EXISTS (SELECT 1 FROM directory_entry k WHERE k.tenant = c.tenant AND k.account_id = c.account AND k.account_id <> '' AND k.directory = c.directory AND k.present
				AND NOT EXISTS (SELECT 1 FROM import_touched u WHERE u.tenant = k.tenant AND u.directory = k.directory AND u.entry_id = k.entry_id))
			OR EXISTS (SELECT 1 FROM import_touched u WHERE u.tenant = c.tenant AND u.directory = c.directory AND u.account = c.account AND u.present AND u.entry_id <> c.entry_id))`
	// isWanted: another entry of the pass fits it as well.
	isWanted = `EXISTS (SELECT 1 FROM import_candidate o WHERE o.tenant = c.tenant AND o.directory = c.directory AND o.account = c.account AND o.entry_id <> c.entry_id)`
)

// The statements that give accounts to entries. An UPDATE must not look at the column that it sets: SQLite would show it half of what it
// did. So conflicts set the status by looking at accounts, and accounts are set by looking at the status.
const (
	touchMatched = touchStaged + ` AND s.kind = 'new' AND EXISTS (SELECT 1 FROM import_candidate c
		WHERE c.tenant = s.tenant AND c.directory = s.directory AND c.entry_id = s.entry_id)` + once
	namePlainly = `UPDATE import_candidate SET field = SUBSTR(field, 6) WHERE tenant = $1 AND directory = $2 AND field LIKE 'left:%'`

	decideSame = `UPDATE import_touched AS t SET account = d.account, joined = 'decision' FROM merge_decision d
		WHERE ` + isTouched + ` AND t.present AND t.status = '' AND d.tenant = t.tenant AND d.directory = t.directory AND d.entry_id = t.entry_id AND d.verdict = 'same'`
	decideSeparate = `UPDATE import_touched AS t SET account = t.own_account, joined = 'decision' FROM merge_decision d
		WHERE ` + isTouched + ` AND t.present AND t.status = '' AND d.tenant = t.tenant AND d.directory = t.directory AND d.entry_id = t.entry_id AND d.verdict = 'separate'`
	refuseDecided = `UPDATE import_touched AS t SET status = 'conflict' FROM merge_decision c
		WHERE ` + isTouched + ` AND t.present AND t.status = '' AND ` + itsCandidate + ` AND c.verdict = 'same' AND t.account <> t.old_account AND ` + isTaken
	leaveRefused = `UPDATE import_touched AS t SET account = t.old_account, joined = COALESCE((SELECT e.joined FROM directory_entry e
		WHERE e.tenant = t.tenant AND e.directory = t.directory AND e.entry_id = t.entry_id), '') WHERE ` + isTouched + ` AND t.status = 'conflict'`

	markConflicts = `UPDATE import_touched AS t SET status = 'conflict' WHERE ` + needsAccount + ` AND (
		(SELECT COUNT(*) FROM import_candidate c WHERE ` + itsCandidate + `) > 1
		OR EXISTS (SELECT 1 FROM import_candidate c WHERE ` + itsCandidate + ` AND (` + isTaken + ` OR ` + isWanted + `)))`
	joinAccounts = `UPDATE import_touched AS t SET account = c.account, joined = c.field FROM import_candidate c WHERE ` + needsAccount + ` AND ` + itsCandidate
	makeAccounts = `UPDATE import_touched AS t SET account = t.own_account, joined = 'first' WHERE ` + needsAccount
)

// match finds the accounts of the entries that have none: those of people whom other directories know, or new ones.
func match(ctx context.Context, tx *sql.Tx, matchBy []backup.PersonField, p backup.Pass) error {
	args := []any{p.Tenant, p.Directory}
	others, err := hasOthers(ctx, tx, p)
	if err != nil {
		return err
	}
	if others {
		if err := findCandidates(ctx, tx, matchBy, p); err != nil {
			return err
		}
		if err := execAll(ctx, tx, args, namePlainly, touchMatched); err != nil {
			return err
		}
	}
	if err := nameOwnAccounts(ctx, tx, p); err != nil {
		return err
	}
	return execAll(ctx, tx, args, decideSame, decideSeparate, refuseDecided, leaveRefused, markConflicts, joinAccounts, makeAccounts)
}

// hasOthers tells whether the tenant has entries of another directory. It asks in two halves, because an index cannot answer "another".
func hasOthers(ctx context.Context, tx *sql.Tx, p backup.Pass) (others bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM directory_entry WHERE tenant = $1 AND directory < $2)
		OR EXISTS (SELECT 1 FROM directory_entry WHERE tenant = $1 AND directory > $2)`, p.Tenant, p.Directory).Scan(&others)
	return others, err
}

func findCandidates(ctx context.Context, tx *sql.Tx, matchBy []backup.PersonField, p backup.Pass) error {
	for _, round := range []struct{ mark, where string }{{"", isThere}, {"left:", isLeft}} {
		for _, f := range matchBy {
			for _, join := range fits[f] {
				_, err := tx.ExecContext(ctx, `INSERT INTO import_candidate (tenant, directory, entry_id, account, field)
					SELECT DISTINCT x.tenant, x.directory, x.entry_id, k.account_id, '`+round.mark+string(f)+`' FROM `+unlinked+join+` AND `+round.where+`
					ON CONFLICT (tenant, directory, entry_id, account) DO NOTHING`, p.Tenant, p.Directory)
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// nameOwnAccounts gives their own account's id to known entries that may come to need it: a database cannot derive it.
func nameOwnAccounts(ctx context.Context, tx *sql.Tx, p backup.Pass) error {
	for after := ""; ; {
		ids, err := list(ctx, tx, func(r row) (id string, err error) { return id, r.Scan(&id) }, `SELECT x.entry_id FROM import_touched x
			WHERE x.tenant = $1 AND x.directory = $2 AND x.own_account = '' AND x.present AND x.status = '' AND x.entry_id > $3
				AND (x.old_account = '' OR `+isDecided+`) ORDER BY x.entry_id LIMIT 500`, p.Tenant, p.Directory, after)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			_, err := tx.ExecContext(ctx, `UPDATE import_touched SET own_account = $4 WHERE tenant = $1 AND directory = $2 AND entry_id = $3`,
				p.Tenant, p.Directory, id, accountID(p.Tenant, p.Directory, id))
			if err != nil {
				return err
			}
		}
		after = ids[len(ids)-1]
	}
}
