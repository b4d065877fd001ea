package sqlstore

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// stated scans statedColumns.
type stated struct {
	entry backup.DirectoryEntry
	more  string
}

func (s *stated) fields() []any {
	e := &s.entry
	return []any{&e.Disabled, &e.Problem, &e.DN, &e.Mail, &e.UPN, &e.DisplayName, &e.EmployeeID, &e.Department, &e.Kind, &s.more, &e.Profile}
}

func (s *stated) read(id string) (backup.DirectoryEntry, error) {
	e := s.entry
	e.ID = id
	if s.more == "" {
		return e, nil
	}
	var more further
	err := json.Unmarshal([]byte(s.more), &more)
	e.Aliases, e.Groups, e.Attributes = more.Aliases, more.Groups, more.Attributes
	return e, err
}

// scanStated scans an entry's id and statedColumns.
func scanStated(r row) (backup.DirectoryEntry, error) {
	var s stated
	var id string
	if err := r.Scan(append([]any{&id}, s.fields()...)...); err != nil {
		return s.entry, err
	}
	return s.read(id)
}

// selectEntries are known entries e with all that is known of them.
var selectEntries = `SELECT e.directory, e.entry_id, ` + prefixed("e", statedColumns) + `, e.problem, e.present, e.joined, e.account_id FROM directory_entry e`

func scanKnownEntry(r row) (k backup.KnownEntry, err error) {
	var s stated
	var id string
	var problem backup.EntryProblem
	into := append([]any{&k.Directory, &id}, s.fields()...)
	if err := r.Scan(append(into, &problem, &k.Present, &k.By, &k.Account)...); err != nil {
		return k, err
	}
	k.Entry, err = s.read(id)
	k.Entry.Problem = problem
	return k, err
}

// entryCursor is a place in the order of entries: directory, then id.
func entryCursor(k backup.KnownEntry) string { return string(k.Directory) + " " + k.Entry.ID }

func parseEntryCursor(cursor string) (dir, id string) {
	dir, id, _ = strings.Cut(clean(cursor), " ")
	return dir, id
}

func (s *Store) pageOfEntries(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int, condition string) (page []backup.KnownEntry, next string, err error) {
	limit = pageSize(limit)
	directory, id := parseEntryCursor(after)
	rows, err := list(ctx, s.read, scanKnownEntry, selectEntries+` WHERE e.tenant = $1 AND ($2 = '' OR e.directory = $2) AND (e.directory, e.entry_id) > ($3, $4)`+condition+`
		ORDER BY e.directory, e.entry_id LIMIT $5`, tenant, dir, directory, id, limit+1)
	if err != nil {
		return nil, "", classify(ctx, "list entries", err)
	}
	page, more := cut(rows, limit)
	if more {
		next = entryCursor(page[limit-1])
	}
	for i := range page {
		page[i].Entry.ID = shownID(page[i].Entry.ID)
	}
	return page, next, nil
}

// ListProblems returns a page of listed entries that have a problem, of a directory or of all. after is the next of the page before;
// next is empty on the last page. A limit below 1 or over 1,000 means 1,000.
func (s *Store) ListProblems(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int) (page []backup.DirectoryEntry, next string, err error) {
	known, next, err := s.pageOfEntries(ctx, tenant, dir, after, limit, ` AND e.present AND e.problem <> ''`)
	for _, k := range known {
		page = append(page, k.Entry)
	}
	return page, next, err
}

// ListEntries returns a page of what a directory, or all of them, said last; of those who are gone as long as they are behind an account.
func (s *Store) ListEntries(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int) (page []backup.KnownEntry, next string, err error) {
	return s.pageOfEntries(ctx, tenant, dir, after, limit, "")
}

// FindEntries finds entries by id, mail, alias, UPN or DN, whether they are behind an account or not.
func (s *Store) FindEntries(ctx context.Context, tenant, ref string, limit int) ([]backup.KnownEntry, error) {
	ref = strings.TrimSpace(clean(ref))
	if ref == "" {
		return nil, nil // and not all those who have no address
	}
	found, err := list(ctx, s.read, scanKnownEntry, selectEntries+` WHERE e.tenant = $1 AND (e.directory, e.entry_id) IN (
			SELECT directory, entry_id FROM directory_entry WHERE tenant = $1 AND (entry_id = $2 OR dn = $2)
			UNION SELECT directory, entry_id FROM directory_entry WHERE tenant = $1 AND mail_key = $3
			UNION SELECT directory, entry_id FROM directory_entry WHERE tenant = $1 AND upn_key = $3 AND upn_key <> ''
			UNION SELECT directory, entry_id FROM entry_alias WHERE tenant = $1 AND alias_key = $3)
		ORDER BY e.directory, e.entry_id LIMIT $4`, tenant, ref, strings.ToLower(ref), pageSize(limit))
	for i := range found {
		found[i].Entry.ID = shownID(found[i].Entry.ID)
	}
	return found, classify(ctx, "find entries", err)
}

// shownID hides the id that an entry without one was given.
func shownID(id string) string {
	if strings.HasPrefix(id, unidentified) {
		return ""
	}
	return id
}
