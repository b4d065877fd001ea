package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// CountConflicts counts the entries that wait for a person's word: those in conflict about whom nobody decided since.
func (s *Store) CountConflicts(ctx context.Context, tenant string) (n int, err error) {
	err = s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM directory_entry e WHERE e.tenant = $1 AND e.present AND e.problem = 'conflict' AND e.problem <> ''`+undecided, tenant).Scan(&n)
	return n, classify(ctx, "count conflicts", err)
}

// undecided: no decision came after the entry's conflict began.
const undecided = ` AND NOT EXISTS (SELECT 1 FROM merge_decision d WHERE d.tenant = e.tenant AND d.directory = e.directory AND d.entry_id = e.entry_id AND d.at >= e.since)`

// ListConflicts returns a page of the entries that wait for a person's word, with the accounts that each may be.
func (s *Store) ListConflicts(ctx context.Context, tenant, after string, limit int) (page []backup.MergeConflict, next string, err error) {
	known, next, err := s.pageOfEntries(ctx, tenant, "", after, limit, ` AND e.present AND e.problem = 'conflict' AND e.problem <> ''`+undecided)
	if err != nil {
		return nil, "", err
	}
	for _, k := range known {
		c := backup.MergeConflict{Directory: k.Directory, Entry: k.Entry}
		err := s.read.QueryRowContext(ctx, `SELECT since FROM directory_entry WHERE tenant = $1 AND directory = $2 AND entry_id = $3`, tenant, k.Directory, k.Entry.ID).Scan(moment{&c.Since})
		if err != nil {
			return nil, "", classify(ctx, "list conflicts", err)
		}
		c.Candidates, err = list(ctx, s.read, func(r row) (one backup.ConflictCandidate, err error) {
			err = r.Scan(append(accountFields(&one.Account), &one.By)...)
			return one, err
		}, `SELECT `+prefixed("a", accountColumns)+`, c.field FROM merge_candidate c JOIN account a ON a.tenant = c.tenant AND a.id = c.account
			WHERE c.tenant = $1 AND c.directory = $2 AND c.entry_id = $3 ORDER BY a.id`, tenant, k.Directory, k.Entry.ID)
		if err != nil {
			return nil, "", classify(ctx, "list conflicts", err)
		}
		page = append(page, c)
	}
	return page, next, nil
}

// DecideConflict keeps a decision for this and every later import; the next import carries it out. It replaces an earlier one.
// CodeNotFound: there is no such entry, or no such account. CodeNotAllowed: the account has another entry of the directory already.
func (s *Store) DecideConflict(ctx context.Context, tenant string, d backup.MergeDecision) error {
	if err := d.Check(); err != nil {
		return err
	}
	return s.changeTenant(ctx, tenant, "keep a decision", func(tx *sql.Tx) error {
		var account string
		err := tx.QueryRowContext(ctx, `SELECT account_id FROM directory_entry WHERE tenant = $1 AND directory = $2 AND entry_id = $3`, tenant, d.Directory, d.EntryID).Scan(&account)
		if err != nil {
			return orNotFound(err, notFound(backup.FaultCustomer, "the directory "+string(d.Directory)+" has no entry "+d.EntryID, "holdfast users conflicts "+tenant+" shows who waits"))
		}
		if d.Verdict == backup.MergeSame {
			if err := mayJoin(ctx, tx, tenant, d); err != nil {
				return err
			}
			account = d.Account
		}
		if d.At.IsZero() {
			d.At = time.Now()
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO merge_decision (tenant, directory, entry_id, verdict, account, decided_by, reason, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
			ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+assignments(`verdict, account, decided_by, reason, at`),
			tenant, d.Directory, d.EntryID, d.Verdict, d.Account, clean(d.By), clean(d.Reason), micros(d.At))
		if err != nil {
			return err
		}
		if err := forgetPlans(ctx, tx, tenant); err != nil || account == "" {
			return err
		}
		reason := string(d.Verdict) + ": " + string(d.Directory) + "/" + d.EntryID
		if d.Reason != "" {
			reason += ": " + clean(d.Reason)
		}
		return s.recordEvent(ctx, tx, tenant, backup.AccountEvent{Account: account, At: d.At.UTC(), Directory: d.Directory, By: clean(d.By), Kind: backup.ChangeDecided, Reason: reason})
	})
}

// mayJoin refuses an account that is not there, or is, or was decided to be, another present entry of the same directory.
func mayJoin(ctx context.Context, tx *sql.Tx, tenant string, d backup.MergeDecision) error {
	var known, taken bool
	err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM account WHERE tenant = $1 AND id = $2), EXISTS (SELECT 1 FROM directory_entry
			WHERE tenant = $1 AND account_id = $2 AND account_id <> '' AND directory = $3 AND entry_id <> $4 AND present)
		OR EXISTS (SELECT 1 FROM merge_decision o JOIN directory_entry e ON e.tenant = o.tenant AND e.directory = o.directory AND e.entry_id = o.entry_id
			WHERE o.tenant = $1 AND o.verdict = 'same' AND o.account = $2 AND o.directory = $3 AND o.entry_id <> $4 AND e.present)`, tenant, d.Account, d.Directory, d.EntryID).Scan(&known, &taken)
	switch {
	case err != nil:
		return err
	case !known:
		return notFound(backup.FaultCustomer, "the tenant "+tenant+" has no account "+d.Account, "holdfast users list "+tenant+" shows whom it has")
	case taken:
		return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: "the account " + d.Account + " has another entry of the directory " + string(d.Directory) + " already",
			Hint: "entries of one directory are never one person: decide separate, or ignore"}
	}
	return nil
}

func (s *Store) recordEvent(ctx context.Context, tx *sql.Tx, tenant string, e backup.AccountEvent) error {
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.insertRows(ctx, tx, "account_event", `tenant, account, at, report, kind, body`, [][]any{{tenant, e.Account, micros(e.At), e.Report, string(e.Kind), string(body)}}, `ON CONFLICT DO NOTHING`)
}
