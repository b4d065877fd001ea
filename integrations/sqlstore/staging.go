package sqlstore

import (
	"context"
	"database/sql"
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

// pagesWaiting bounds the pages that are made and not kept yet, beside the one that is being kept.
const pagesWaiting = 1

// staging keeps pages one after the other, while the next are read and made ready.
type staging struct {
	store *Store
	pass  backup.Pass
	pages chan readyPage
	ended chan struct{}
	err   error // good after ended
}

// readyPage is a page of which only the database does not know yet. It shares nothing with the page that it was made of.
type readyPage struct {
	entries       []staged
	present, gone []string
	resume        string
}

// Stage keeps pages of the read of a pass, until it is closed. An entry that says what is known of it costs a narrow row; of two entries
// with one id the last wins. CodeNotFound when another pass, or another attempt at this one, began since.
func (s *Store) Stage(ctx context.Context, p backup.Pass) backup.Staging {
	st := &staging{store: s, pass: p, pages: make(chan readyPage, pagesWaiting), ended: make(chan struct{})}
	go func() {
		defer close(st.ended)
		for page := range st.pages {
			if st.err = s.stagePage(ctx, p, page); st.err != nil {
				return
			}
		}
	}()
	return st
}

// Page implements backup.Staging.
func (st *staging) Page(page backup.EntryPage) error {
	ready := readyPage{entries: prepare(st.pass, page.Entries), present: distinct(page.Present), gone: distinct(page.Gone), resume: string(page.Resume)}
	select {
	case st.pages <- ready:
		return nil
	case <-st.ended:
		return st.err
	}
}

// Close implements backup.Staging.
func (st *staging) Close() error {
	close(st.pages)
	<-st.ended
	return st.err
}

func (s *Store) stagePage(ctx context.Context, p backup.Pass, page readyPage) error {
	return s.loadTenant(ctx, p.Tenant, "stage a page of an import", func(on *sql.Conn, tx *sql.Tx) error {
		row, err := lockOpenPass(ctx, tx, p)
		if err != nil {
			return err
		}
		if err := s.stageEntries(ctx, on, tx, p, row.known, page.entries); err != nil {
			return err
		}
		if err := s.stagePresent(ctx, tx, p, row.known, page.present); err != nil {
			return err
		}
		if err := s.stageGone(ctx, tx, p, page.gone); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE import_pass SET pages = pages + 1, complete = FALSE, planned = '', resume = $3 WHERE tenant = $1 AND directory = $2`,
			p.Tenant, p.Directory, page.resume)
		return err
	})
}

// known is what is known of an entry that is being staged.
type known struct {
	id, hash, problem string
	disabled, present bool
}

// lookUp finds what is known of entries by id; those that are not known are not in the answer.
func (s *Store) lookUp(ctx context.Context, tx *sql.Tx, p backup.Pass, ids []string) (map[string]known, error) {
	found := make(map[string]known, len(ids))
	of, list := s.dialect.texts(ids)
	rows, err := tx.QueryContext(ctx, `SELECT entry_id, hash, problem, disabled, present FROM directory_entry
		WHERE tenant = $1 AND directory = $2 AND entry_id IN (SELECT * FROM `+of+`)`, p.Tenant, p.Directory, list)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var k known
		if err := rows.Scan(&k.id, &k.hash, &k.problem, &k.disabled, &k.present); err != nil {
			return nil, err
		}
		found[k.id] = k
	}
	return found, rows.Err()
}

// stageEntries stages whole entries; narrow is a row for each that says what is known.
func (s *Store) stageEntries(ctx context.Context, on *sql.Conn, tx *sql.Tx, p backup.Pass, anyKnown bool, entries []staged) error {
	var wide, narrow, aliases [][]any
	var found map[string]known
	if anyKnown {
		ids := make([]string, len(entries))
		for i, e := range entries {
			ids[i] = e.id
		}
		var err error
		if found, err = s.lookUp(ctx, tx, p, ids); err != nil {
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
	err := s.loadRows(ctx, on, tx, "staged_entry", stagedColumns, wide, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+overwritten)
	if err != nil {
		return err
	}
	err = s.loadRows(ctx, on, tx, "staged_entry", narrowColumns, narrow, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+assignments("kind, disabled, own"))
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
	found, err := s.lookUp(ctx, tx, p, ids)
	if err != nil {
		return err
	}
	var rows [][]any
	for _, id := range ids {
		if k, ok := found[id]; ok {
			rows = append(rows, narrowRow(p, k))
		}
	}
	return s.insertRows(ctx, tx, "staged_entry", narrowColumns, rows, `ON CONFLICT (tenant, directory, entry_id) DO UPDATE SET `+
		assignments("kind, disabled, own")+` WHERE staged_entry.kind = 'gone'`)
}

func (s *Store) stageGone(ctx context.Context, tx *sql.Tx, p backup.Pass, ids []string) error {
	var rows [][]any
	for _, id := range ids {
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
