package sqlstore

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const accountColumns = `id, tenant, mail, upn, display_name, state, reason, since, entry_id`

// FindAccount looks an account up by id, mail or UPN (case-insensitively); CodeNotFound when there is none. When a preserved
// and an active account share a mail, the active one is meant; the other one is had by its id.
func (s *Store) FindAccount(ctx context.Context, tenant, ref string) (backup.Account, error) {
	missing := notFound(backup.FaultCustomer, "the tenant "+tenant+" has no account "+ref, "holdfast users list "+tenant+" shows whom it has")
	key := strings.ToLower(strings.TrimSpace(clean(ref)))
	if key == "" {
		return backup.Account{}, missing
	}
	a, err := scanAccount(s.read.QueryRowContext(ctx, `SELECT `+accountColumns+` FROM account
		WHERE tenant = $1 AND id IN (SELECT id FROM account WHERE tenant = $1 AND id = $2
			UNION SELECT id FROM account WHERE tenant = $1 AND mail_key = $2
			UNION SELECT id FROM account WHERE tenant = $1 AND upn_key = $2)
		ORDER BY CASE WHEN id = $2 THEN 0 WHEN state = 'active' THEN 1 ELSE 2 END, since DESC, id LIMIT 1`, tenant, key))
	return a, classify(ctx, "look up an account", orNotFound(err, missing))
}

// ListAccounts returns a page of the tenant's accounts in order of mail: all of them, or those of one state. after is the next
// of the page before, or a mail; next is empty on the last page. A limit below 1 or over 1,000 means 1,000.
func (s *Store) ListAccounts(ctx context.Context, tenant string, state backup.AccountState, after string, limit int) (page []backup.Account, next string, err error) {
	mail, id := parseAccountCursor(after)
	limit = pageSize(limit)
	rows, err := list(ctx, s.read, scanAccount, `SELECT `+accountColumns+` FROM account
		WHERE tenant = $1 AND ($2 = '' OR state = $2) AND (mail_key, id) > ($3, $4) ORDER BY mail_key, id LIMIT $5`, tenant, state, mail, id, limit+1)
	if err != nil {
		return nil, "", classify(ctx, "list accounts", err)
	}
	page, more := cut(rows, limit)
	if more {
		next = accountCursor(page[limit-1])
	}
	return page, next, nil
}

// CountAccounts counts the tenant's accounts by state.
func (s *Store) CountAccounts(ctx context.Context, tenant string) (backup.Accounts, error) {
	n, err := countAccounts(ctx, s.read, tenant)
	return n, classify(ctx, "count accounts", err)
}

func countAccounts(ctx context.Context, db database, tenant string) (n backup.Accounts, err error) {
	err = db.QueryRowContext(ctx, `SELECT COUNT(CASE WHEN state = 'active' THEN 1 END), COUNT(CASE WHEN state = 'preserved' THEN 1 END)
		FROM account WHERE tenant = $1`, tenant).Scan(&n.Active, &n.Preserved)
	return n, err
}

// accountCursor is a place in the order of accounts: mail, then id, because accounts may share a mail.
func accountCursor(a backup.Account) string {
	return strings.ToLower(a.Mail) + " " + a.ID
}

// parseAccountCursor reads an accountCursor, or a bare mail, which means the place behind everybody who has it.
func parseAccountCursor(cursor string) (mail, id string) {
	cursor = clean(cursor)
	if i := strings.LastIndexByte(cursor, ' '); i >= 0 {
		return strings.ToLower(cursor[:i]), cursor[i+1:]
	}
	return strings.ToLower(cursor), "b" // ids begin with "a"
}

func scanAccount(r row) (a backup.Account, err error) {
	err = r.Scan(&a.ID, &a.Tenant, &a.Mail, &a.UPN, &a.DisplayName, &a.State, &a.Reason, moment{&a.Since}, &a.EntryID)
	return a, err
}
