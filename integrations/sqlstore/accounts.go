package sqlstore

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const accountColumns = `id, tenant, mail, upn, display_name, state, reason, since, employee_id, department, kind, profile, directory, entry_id`

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
			UNION SELECT id FROM account WHERE tenant = $1 AND upn_key = $2 AND upn_key <> '')
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

// countAccounts counts all by one index and those who are not active by another, which is small.
func countAccounts(ctx context.Context, db database, tenant string) (n backup.Accounts, err error) {
	var all int
	err = db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM account WHERE tenant = $1), COUNT(CASE WHEN state = 'preserved' THEN 1 END),
			COUNT(CASE WHEN state = 'due' THEN 1 END), COUNT(CASE WHEN state = 'released' THEN 1 END)
		FROM account WHERE tenant = $1 AND state <> 'active'`, tenant).Scan(&all, &n.Preserved, &n.Due, &n.Released)
	n.Active = all - n.Preserved - n.Due - n.Released
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

func accountFields(a *backup.Account) []any {
	return []any{&a.ID, &a.Tenant, &a.Mail, &a.UPN, &a.DisplayName, &a.State, &a.Reason, moment{&a.Since}, &a.EmployeeID, &a.Department, &a.Kind, &a.Profile, &a.Directory, &a.EntryID}
}

func scanAccount(r row) (a backup.Account, err error) {
	err = r.Scan(accountFields(&a)...)
	return a, err
}

func scanStoredAccount(r row) (a storedAccount, err error) {
	var provenance string
	if err := r.Scan(append(accountFields(&a.Account), &provenance)...); err != nil {
		return a, err
	}
	a.known = true
	if provenance != "" {
		err = json.Unmarshal([]byte(provenance), &a.provenance)
	}
	return a, err
}

// AccountReport returns all that is known of one account, with at most events of its newest events. ref is as in FindAccount.
func (s *Store) AccountReport(ctx context.Context, t backup.Tenant, ref string, events int) (backup.AccountReport, error) {
	a, err := s.FindAccount(ctx, t.ID, ref)
	if err != nil {
		return backup.AccountReport{}, err
	}
	r, err := s.accountReport(ctx, t, a, pageSize(events))
	return r, classify(ctx, "report on an account", err)
}

func (s *Store) accountReport(ctx context.Context, t backup.Tenant, a backup.Account, events int) (r backup.AccountReport, err error) {
	r.Account = a
	var provenance string
	var report int64
	var added time.Time
	err = s.read.QueryRowContext(ctx, `SELECT provenance, added_report, added FROM account WHERE tenant = $1 AND id = $2`, t.ID, a.ID).Scan(&provenance, &report, moment{&added})
	if err != nil {
		return r, err
	}
	if r.Provenance, err = readProvenance(a, provenance); err != nil {
		return r, err
	}
	known, err := list(ctx, s.read, scanKnownEntry, selectEntries+` WHERE e.tenant = $1 AND e.account_id = $2 AND e.account_id <> '' ORDER BY e.directory, e.entry_id`, t.ID, a.ID)
	if err != nil {
		return r, err
	}
	for _, k := range known {
		r.Links = append(r.Links, k.Link)
	}
	order := t.PrecedenceOf(backup.FieldEntry)
	slices.SortStableFunc(r.Links, func(x, y backup.Link) int {
		return slices.Index(order, x.Directory) - slices.Index(order, y.Directory)
	})
	r.Events, err = s.accountEvents(ctx, t.ID, a.ID, events)
	// That a plain addition was added is no row of its own.
	if err == nil && len(r.Events) < events && !slices.ContainsFunc(r.Events, func(e backup.AccountEvent) bool { return e.Kind == backup.ChangeAdded }) {
		e, err := s.plainlyAdded(ctx, r, report)
		if err != nil {
			return r, err
		}
		e.At = added
		r.Events = append(r.Events, e)
	}
	return r, err
}

// plainlyAdded is the event that a plain addition was, as long as the report is kept with the name of who asked for it or approved it.
func (s *Store) plainlyAdded(ctx context.Context, r backup.AccountReport, report int64) (backup.AccountEvent, error) {
	e := backup.AccountEvent{Account: r.Account.ID, Report: report, Directory: r.Account.Directory, Kind: backup.ChangeAdded}
	if i := slices.IndexFunc(r.Links, func(l backup.Link) bool { return l.By == "first" }); i >= 0 {
		e.Directory = r.Links[i].Directory
	}
	made, err := readReport(ctx, s.read, r.Account.Tenant, report)
	if err != nil && !backup.HasCode(err, backup.CodeNotFound) {
		return e, err
	}
	e.By = cmp.Or(made.Approved, made.By)
	return e, nil
}

func (s *Store) accountEvents(ctx context.Context, tenant, account string, limit int) ([]backup.AccountEvent, error) {
	return list(ctx, s.read, func(r row) (e backup.AccountEvent, err error) {
		var body string
		if err := r.Scan(&body); err != nil {
			return e, err
		}
		return e, json.Unmarshal([]byte(body), &e)
	}, `SELECT body FROM account_event WHERE tenant = $1 AND account = $2 ORDER BY at DESC, report DESC, kind DESC LIMIT $3`, tenant, account, limit)
}

// readProvenance tells where each field that the account has comes from.
func readProvenance(a backup.Account, text string) (map[backup.PersonField]backup.DirectoryName, error) {
	of := map[backup.PersonField]backup.DirectoryName{}
	if text != "" {
		return of, json.Unmarshal([]byte(text), &of)
	}
	for _, f := range mergedFields {
		if *f.into(&a) != "" {
			of[f.field] = a.Directory
		}
	}
	of[backup.FieldState] = a.Directory
	return of, nil
}
