package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// stageAtOnce is how many entries go into one statement: enough to make its cost small, few enough for its text and its
// parameters (PostgreSQL takes 65,535, SQLite 32,766).
const stageAtOnce = 100

// unidentified begins the id under which an entry is staged that has none of its own.
const unidentified = "?"

// entryColumns are what a directory says of an entry, in staged_entry and directory_entry alike.
const entryColumns = `dn, mail, upn, display_name, employee_id, department, disabled, problem`

const stagedColumns = `tenant, directory, entry_id, ` + entryColumns + `, mail_key, upn_key, account_id`

// BeginPass forgets whatever is staged for this directory and opens the pass.
func (s *Store) beginPass(ctx context.Context, tenant string, dir backup.DirectoryName, pass string) error {
	return s.change(ctx, "begin an import", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO import_pass (tenant, directory, pass, counts, applied, applied_at) VALUES ($1, $2, $3, '', '', 0)
			ON CONFLICT (tenant, directory) DO UPDATE SET pass = excluded.pass, counts = ''`, tenant, dir, pass)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM staged_entry WHERE tenant = $1 AND directory = $2`, tenant, dir)
		return err
	})
}

// StagePage upserts entries by id: a page may be repeated, and of two entries with one id the last wins. The pass must be
// the directory's open one; CodeNotFound when another began since.
func (s *Store) stagePage(ctx context.Context, tenant string, dir backup.DirectoryName, pass string, page []backup.DirectoryEntry) error {
	entries := prepare(tenant, dir, page)
	return s.change(ctx, "stage a page of an import", func(tx *sql.Tx) error {
		if err := lockPass(ctx, tx, tenant, dir, pass); err != nil {
			return err
		}
		for chunk := range slices.Chunk(entries, stageAtOnce) {
			if err := stage(ctx, tx, chunk); err != nil {
				return err
			}
		}
		return nil
	})
}

// lockPass makes sure that the pass is the directory's open one until the transaction ends.
func lockPass(ctx context.Context, tx *sql.Tx, tenant string, dir backup.DirectoryName, pass string) error {
	n, err := execute(ctx, tx, `UPDATE import_pass SET pass = pass WHERE tenant = $1 AND directory = $2 AND pass = $3`, tenant, dir, pass)
	if err == nil && n == 0 {
		return notFound(backup.FaultOurs, "this import is not the directory's current one: another began since", "holdfast users import "+tenant+" starts a new one")
	}
	return err
}

// staged is an entry as a row of staged_entry.
type staged []any

// prepare makes rows of entries, one per id, because a statement may not upsert one row twice (PostgreSQL).
func prepare(tenant string, dir backup.DirectoryName, page []backup.DirectoryEntry) []staged {
	at := make(map[string]int, len(page))
	rows := make([]staged, 0, len(page))
	for _, e := range page {
		id := entryID(e)
		i, again := at[id]
		if !again {
			i = len(rows)
			at[id] = i
			rows = append(rows, nil)
		}
		rows[i] = stagedRow(tenant, dir, id, e)
	}
	return rows
}

func stagedRow(tenant string, dir backup.DirectoryName, id string, e backup.DirectoryEntry) staged {
	mail, upn := strings.TrimSpace(clean(e.Mail)), strings.TrimSpace(clean(e.UPN))
	key := mail
	if key == "" {
		key = upn
	}
	return staged{tenant, string(dir), id, clean(e.DN), mail, upn, clean(e.DisplayName), clean(e.EmployeeID), clean(e.Department), e.Disabled,
		string(problem(e, key)), strings.ToLower(key), strings.ToLower(upn), accountID(tenant, dir, id)}
}

// problem is the entry's own problem. Whether a mail is a duplicate is not for one entry to say: ComparePass looks at all of them.
func problem(e backup.DirectoryEntry, address string) backup.EntryProblem {
	switch {
	case e.Problem == backup.BadEntry || e.ID == "":
		return backup.BadEntry
	case e.Problem == backup.NoMail || address == "":
		return backup.NoMail
	}
	return ""
}

// entryID is the id under which an entry is known. An entry without an id gets one of its content, so that it is
// counted and shown, and never becomes an account.
func entryID(e backup.DirectoryEntry) string {
	id := clean(e.ID)
	switch {
	case id == "":
		return unidentified + digest(e.DN, e.Mail, e.UPN, e.DisplayName, e.EmployeeID)[:32]
	}
	return strings.ToLower(id)
}

// accountID derives an account's id from its directory entry, so that a store that had to be made anew gives everybody the
// id under which the repository keeps his snapshots.
func accountID(tenant string, dir backup.DirectoryName, entry string) string {
	return "a" + digest("account", tenant, string(dir), entry)[:16]
}

func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// clean takes out what a text column cannot hold (PostgreSQL refuses NUL and broken UTF-8).
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// stage upserts rows with different ids. What is staged already in the same words is not written again.
func stage(ctx context.Context, tx *sql.Tx, rows []staged) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO staged_entry (`+stagedColumns+`) VALUES `+placeholders(len(rows), len(rows[0]))+`
		ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET dn = excluded.dn, mail = excluded.mail, upn = excluded.upn,
			display_name = excluded.display_name, employee_id = excluded.employee_id, department = excluded.department,
			disabled = excluded.disabled, problem = excluded.problem, mail_key = excluded.mail_key, upn_key = excluded.upn_key
		WHERE (`+prefixed("staged_entry", entryColumns)+`) <> (`+prefixed("excluded", entryColumns)+`)`, slices.Concat(rows...)...)
	return err
}
