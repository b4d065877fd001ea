package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The kinds of staged entries.
const (
	stagedNew     = "new"
	stagedChanged = "changed"
	stagedSame    = "same"
	stagedBack    = "back" // as it was, after it had been gone
	stagedGone    = "gone"
)

// lookupAtOnce is how many entries are looked up by one statement.
const lookupAtOnce = 200

// unidentified begins the id under which an entry is staged that has none of its own.
const unidentified = "?"

const (
	// statedColumns are what a directory says of an entry, in staged_entry and directory_entry alike, as scanStated reads them.
	statedColumns = `disabled, own, dn, mail, upn, display_name, employee_id, department, entry_kind, more, profile`
	keyColumns    = `mail_key, upn_key, employee_key`
	narrowColumns = `tenant, directory, entry_id, kind, disabled, own`
	stagedColumns = `tenant, directory, entry_id, kind, hash, ` + statedColumns + `, ` + keyColumns + `, account_id`
)

// overwritten is what an entry that is staged again replaces: the last word counts.
var overwritten = assignments(`kind, hash, ` + statedColumns + `, ` + keyColumns + `, account_id`)

// assignments is "a = excluded.a, b = excluded.b" for the columns "a, b".
func assignments(columns string) string {
	var set []string
	for c := range strings.SplitSeq(columns, ", ") {
		set = append(set, c+" = excluded."+c)
	}
	return strings.Join(set, ", ")
}

// StagePage keeps a page and its Resume, in one transaction. Entries are upserted by id: a page may be repeated, and of two entries
// with one id the last wins. An entry that says what is known of it costs a narrow row. CodeNotFound when another pass began since.
func (s *Store) StagePage(ctx context.Context, p backup.Pass, page backup.EntryPage) error {
	entries := prepare(p, page.Entries)
	return s.changeTenant(ctx, p.Tenant, "stage a page of an import", func(tx *sql.Tx) error {
		row, err := lockOpenPass(ctx, tx, p)
		if err != nil {
			return err
		}
		if err := s.stageEntries(ctx, tx, p, row.known, entries); err != nil {
			return err
		}
		if err := s.stagePresent(ctx, tx, p, row.known, page.Present); err != nil {
			return err
		}
		if err := s.stageGone(ctx, tx, p, page.Gone); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE import_pass SET pages = pages + 1, complete = FALSE, resume = $3 WHERE tenant = $1 AND directory = $2`,
			p.Tenant, p.Directory, string(page.Resume))
		return err
	})
}

// staged is an entry that is ready to be staged.
type staged struct {
	id, hash string
	row      []any // in the order of stagedColumns
	aliases  []string
}

// kindColumn is where in a row the kind stands.
const kindColumn = 3

// prepare makes rows of entries, one per id, because a statement may not upsert one row twice (PostgreSQL).
func prepare(p backup.Pass, page []backup.DirectoryEntry) []staged {
	at := make(map[string]int, len(page))
	all := make([]staged, 0, len(page))
	for _, e := range page {
		one := prepareEntry(p, e)
		if i, again := at[one.id]; again {
			all[i] = one
			continue
		}
		at[one.id] = len(all)
		all = append(all, one)
	}
	return all
}

func prepareEntry(p backup.Pass, e backup.DirectoryEntry) staged {
	e = cleaned(e)
	id := entryID(e)
	address := e.Mail
	if address == "" {
		address = e.UPN
	}
	own := ownProblem(e, address)
	mailKey, upnKey := strings.ToLower(address), strings.ToLower(e.UPN)
	if upnKey == mailKey {
		upnKey = ""
	}
	more := moreOf(e)
	hash := entryHash(e, own, more)
	return staged{id: id, hash: hash, aliases: aliasKeys(e), row: []any{p.Tenant, string(p.Directory), id, stagedNew, hash, e.Disabled, string(own), e.DN, e.Mail, e.UPN, e.DisplayName,
		e.EmployeeID, e.Department, string(e.Kind), more, e.Profile, mailKey, upnKey, strings.ToLower(strings.TrimSpace(e.EmployeeID)), accountID(p.Tenant, p.Directory, id)}}
}

// cleaned takes out of an entry what a text column cannot hold (PostgreSQL refuses NUL and broken UTF-8), and what surrounds addresses.
func cleaned(e backup.DirectoryEntry) backup.DirectoryEntry {
	for _, s := range []*string{&e.ID, &e.DN, &e.Mail, &e.UPN, &e.DisplayName, &e.EmployeeID, &e.Department, &e.Profile, (*string)(&e.Kind)} {
		*s = clean(*s)
	}
	e.Mail, e.UPN = strings.TrimSpace(e.Mail), strings.TrimSpace(e.UPN)
	return e
}

// ownProblem is the entry's own problem. Whether a mail is a duplicate is not for one entry to say.
func ownProblem(e backup.DirectoryEntry, address string) backup.EntryProblem {
	switch {
	case e.Problem == backup.BadEntry || e.ID == "":
		return backup.BadEntry
	case e.Problem == backup.NoMail || address == "":
		return backup.NoMail
	}
	return ""
}

// further is what an entry says beside what has a column of its own.
type further struct {
	Aliases    []string                `json:"aliases,omitempty"`
	Groups     []string                `json:"groups,omitempty"`
	Attributes []backup.EntryAttribute `json:"attributes,omitempty"`
}

func moreOf(e backup.DirectoryEntry) string {
	if len(e.Aliases) == 0 && len(e.Groups) == 0 && len(e.Attributes) == 0 {
		return ""
	}
	b, err := json.Marshal(further{e.Aliases, e.Groups, e.Attributes})
	if err != nil {
		panic(err) // texts can always be written
	}
	return clean(strings.ReplaceAll(string(b), `\u0000`, "\uFFFD"))
}

// aliasKeys are the entry's further addresses as they are matched, each once.
func aliasKeys(e backup.DirectoryEntry) []string {
	var keys []string
	for _, a := range e.Aliases {
		if key := strings.ToLower(strings.TrimSpace(clean(a))); key != "" && !strings.EqualFold(key, e.Mail) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// entryHash tells whether an entry says something else than before: 128 bits of a SHA-256 over all that it says.
func entryHash(e backup.DirectoryEntry, own backup.EntryProblem, more string) string {
	state := "enabled"
	if e.Disabled {
		state = "disabled"
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{e.ID, e.DN, e.Mail, e.UPN, e.DisplayName, e.EmployeeID, e.Department, string(e.Kind), e.Profile, string(own), state, more}, "\x00")))
	return base64.RawStdEncoding.EncodeToString(sum[:16])
}

// entryID is the id under which an entry is known. An entry without an id gets one of its content, so that it is
// counted and shown, and never becomes an account.
func entryID(e backup.DirectoryEntry) string {
	if e.ID == "" {
		return unidentified + digest(e.DN, e.Mail, e.UPN, e.DisplayName, e.EmployeeID)[:32]
	}
	return e.ID
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

// known is what is known of an entry that is being staged.
type known struct {
	id, hash, problem string
	disabled, present bool
}

// lookUp finds what is known of entries by id; those that are not known are not in the answer.
func lookUp(ctx context.Context, tx *sql.Tx, p backup.Pass, ids []string) (map[string]known, error) {
	found := make(map[string]known, len(ids))
	for chunk := range slices.Chunk(ids, lookupAtOnce) {
		parameters, args := numbered(chunk, p.Tenant, p.Directory)
		all, err := list(ctx, tx, func(r row) (k known, err error) {
			err = r.Scan(&k.id, &k.hash, &k.problem, &k.disabled, &k.present)
			return k, err
		}, `SELECT entry_id, hash, problem, disabled, present FROM directory_entry WHERE tenant = $1 AND directory = $2 AND entry_id IN (`+parameters+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, k := range all {
			found[k.id] = k
		}
	}
	return found, nil
}

// stageEntries stages whole entries; narrow is a row for each that says what is known.
func (s *Store) stageEntries(ctx context.Context, tx *sql.Tx, p backup.Pass, anyKnown bool, entries []staged) error {
	var wide, narrow, aliases [][]any
	var found map[string]known
	if anyKnown {
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.id
		}
		var err error
		if found, err = lookUp(ctx, tx, p, ids); err != nil {
			return err
		}
	}
	for _, e := range entries {
		k, isKnown := found[e.id]
		if isKnown && k.hash == e.hash {
			narrow = append(narrow, narrowRow(p, k))
			continue
		}
		if isKnown {
			e.row[kindColumn] = stagedChanged
		}
		wide = append(wide, e.row)
		for _, a := range e.aliases {
			aliases = append(aliases, []any{p.Tenant, string(p.Directory), e.id, a, e.hash})
		}
	}
	err := s.insertRows(ctx, tx, "staged_entry", stagedColumns, wide, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+overwritten)
	if err != nil {
		return err
	}
	err = s.insertRows(ctx, tx, "staged_entry", narrowColumns, narrow, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+assignments("kind, disabled, own"))
	if err != nil {
		return err
	}
	return s.insertRows(ctx, tx, "staged_alias", `tenant, directory, entry_id, alias_key, hash`, aliases,
		`ON CONFLICT (tenant, directory, entry_id, alias_key) DO UPDATE SET hash = excluded.hash`)
}

func narrowRow(p backup.Pass, k known) []any {
	kind := stagedSame
	if !k.present {
		kind = stagedBack
	}
	return []any{p.Tenant, string(p.Directory), k.id, kind, k.disabled, k.problem}
}

// stagePresent stages entries that are there as they were. What the same read says of one in full counts more; ids that nobody knows mean
// nothing.
func (s *Store) stagePresent(ctx context.Context, tx *sql.Tx, p backup.Pass, anyKnown bool, ids []string) error {
	if !anyKnown || len(ids) == 0 {
		return nil
	}
	found, err := lookUp(ctx, tx, p, distinct(ids))
	if err != nil {
		return err
	}
	var rows [][]any
	for _, id := range distinct(ids) {
		if k, ok := found[id]; ok {
			rows = append(rows, narrowRow(p, k))
		}
	}
	return s.insertRows(ctx, tx, "staged_entry", narrowColumns, rows, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+
		assignments("kind, disabled, own")+` WHERE staged_entry.kind = 'gone'`)
}

func (s *Store) stageGone(ctx context.Context, tx *sql.Tx, p backup.Pass, ids []string) error {
	var rows [][]any
	for _, id := range distinct(ids) {
		rows = append(rows, []any{p.Tenant, string(p.Directory), id, stagedGone, false, ""})
	}
	return s.insertRows(ctx, tx, "staged_entry", narrowColumns, rows, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+assignments("kind, disabled, own"))
}

// distinct are the ids as they are stored, sorted, each once.
func distinct(ids []string) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = clean(id)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
