package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Difference is what a staged import would do with an entry. Kind is one of added, changed, vanished, disabled, returned and
// problem; an entry to which several apply is shown once, by what matters most to a person.
type Difference struct {
	Kind  string
	Entry backup.DirectoryEntry
}

// Preview is a page of a staged import's differences, in order of entry id. Next is empty on the last page.
type Preview struct {
	Counts      backup.ImportCounts
	Differences []Difference
	Next        string
}

// ListProblems returns a page of listed entries that have a problem, in order of entry id. after is the next of the page before;
// next is empty on the last page. A limit below 1 or over 1,000 means 1,000.
func (s *Store) ListProblems(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int) (page []backup.DirectoryEntry, next string, err error) {
	limit = pageSize(limit)
	rows, err := list(ctx, s.read, scanEntry, `SELECT entry_id, `+entryColumns+` FROM directory_entry
		WHERE tenant = $1 AND directory = $2 AND problem <> '' AND present AND entry_id > $3 ORDER BY entry_id LIMIT $4`, tenant, dir, clean(after), limit+1)
	if err != nil {
		return nil, "", classify(ctx, "list entries with problems", err)
	}
	page, more := cut(rows, limit)
	if more {
		next = page[limit-1].ID
	}
	for i := range page {
		page[i].ID = shownID(page[i].ID)
	}
	return page, next, nil
}

// PreviewPass returns a page of what the directory's staged import would do, with the counts of its last comparison. There are no
// counts before it was compared, and nothing at all once it was applied. A limit below 1 or over 1,000 means 1,000.
func (s *Store) PreviewPass(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int) (Preview, error) {
	p, err := s.previewPass(ctx, tenant, dir, clean(after), pageSize(limit))
	return p, classify(ctx, "preview an import", err)
}

func (s *Store) previewPass(ctx context.Context, tenant string, dir backup.DirectoryName, after string, limit int) (p Preview, err error) {
	// One transaction, so that an import that is applied meanwhile does not look like everybody leaving.
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return p, err
	}
	defer tx.Rollback()
	var counts string
	err = tx.QueryRowContext(ctx, `SELECT counts FROM import_pass WHERE tenant = $1 AND directory = $2 AND applied <> pass`, tenant, dir).Scan(&counts)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && counts == "") {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(counts), &p.Counts); err != nil {
		return p, err
	}
	rows, err := list(ctx, tx, scanDifference, differences, tenant, dir, after, limit+1)
	if err != nil {
		return p, err
	}
	var more bool
	if p.Differences, more = cut(rows, limit); more {
		p.Next = p.Differences[limit-1].Entry.ID
	}
	for i := range p.Differences {
		p.Differences[i].Entry.ID = shownID(p.Differences[i].Entry.ID)
	}
	return p, nil
}

// differences lists what a staged listing would do, after entry id $3, at most $4.
var differences = `SELECT kind, entry_id, ` + entryColumns + ` FROM (
		SELECT CASE
			WHEN s.problem <> '' THEN 'problem'
			WHEN s.disabled AND (a.id IS NULL OR a.state = 'active') THEN 'disabled'
			WHEN NOT s.disabled AND a.state = 'preserved' THEN 'returned'
			WHEN e.entry_id IS NULL THEN 'added'
			WHEN ` + differs + ` THEN 'changed'
			ELSE '' END AS kind, s.entry_id, ` + prefixed("s", entryColumns) + `
		FROM ` + withKnown + ` WHERE ` + isStaged + ` AND s.entry_id > $3
		UNION ALL
		SELECT 'vanished', e.entry_id, ` + prefixed("e", entryColumns) + `
		FROM account a JOIN directory_entry e ON e.tenant = a.tenant AND e.directory = a.directory AND e.entry_id = a.entry_id
		WHERE ` + notListed("a") + ` AND a.state = 'active' AND a.entry_id > $3) AS d
	WHERE kind <> '' ORDER BY entry_id LIMIT $4`

// shownID hides the id that an entry without one was given.
func shownID(id string) string {
	if strings.HasPrefix(id, unidentified) {
		return ""
	}
	return id
}

func scanEntry(r row) (e backup.DirectoryEntry, err error) {
	err = r.Scan(&e.ID, &e.DN, &e.Mail, &e.UPN, &e.DisplayName, &e.EmployeeID, &e.Department, &e.Disabled, &e.Problem)
	return e, err
}

func scanDifference(r row) (d Difference, err error) {
	e := &d.Entry
	err = r.Scan(&d.Kind, &e.ID, &e.DN, &e.Mail, &e.UPN, &e.DisplayName, &e.EmployeeID, &e.Department, &e.Disabled, &e.Problem)
	return d, err
}
