package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// accountsAtOnce is how many accounts of a difference are in memory at once.
const accountsAtOnce = 300

// rowsOfAdditions is up to how many plain additions a difference has rows of them; of more they are derived.
const rowsOfAdditions = 1000

// ComparePass tells the staged pass from what is known, and keeps the difference for whoever looks at it. It changes nothing else. Of a
// pass that has ended it returns what was compared.
func (s *Store) ComparePass(ctx context.Context, t backup.Tenant, p backup.Pass) (d backup.ImportDifference, err error) {
	if err := s.knowStaged(ctx, p); err != nil {
		return d, err
	}
	err = s.changeTenant(ctx, p.Tenant, "compare an import", func(tx *sql.Tx) error {
		row, err := lockPass(ctx, tx, p)
		if err != nil {
			return err
		}
		if !row.open {
			r, err := readReport(ctx, tx, p.Tenant, row.report)
			if err == nil {
				d, err = reportedDifference(r, row.applied == "")
			}
			return err
		}
		keep := &changeKeeper{store: s, tx: tx, tenant: p.Tenant, number: row.report}
		if _, err := tx.ExecContext(ctx, `DELETE FROM import_change WHERE tenant = $1 AND number = $2`, p.Tenant, row.report); err != nil {
			return err
		}
		w, err := s.walk(ctx, tx, t, p, row, time.Time{}, keep.change)
		if err != nil {
			return err
		}
		if err := keep.finish(ctx, p, w.Plain); err != nil {
			return err
		}
		if err := keepPlan(ctx, tx, p, w.plan); err != nil {
			return err
		}
		d = backup.ImportDifference{Report: row.report, Mode: row.mode, Counts: w.counts, Digest: w.digest, First: row.applied == ""}
		return updateReport(ctx, tx, p.Tenant, row.report, func(r *backup.ImportReport) { r.Counts, r.Digest = w.counts, w.digest })
	})
	return d, err
}

// walked is what a pass does.
type walked struct {
	plan
	counts backup.ImportCounts
	digest string
	behind map[backup.DirectoryName]int
}

// accountChange is one account, or an entry that becomes none, in the difference of a pass.
type accountChange struct {
	before, after storedAccount
	links         []linkChange
	change        *backup.ImportChange // nil: nothing that anybody would see
}

// walk plans the pass, shows each step of it to visit, in a canonical order, and sums up. Comparing and applying differ in visit only:
// that is why a preview is what happens.
func (s *Store) walk(ctx context.Context, tx *sql.Tx, t backup.Tenant, p backup.Pass, row importPass, at time.Time, visit func(ctx context.Context, c []accountChange) error) (w walked, err error) {
	if !row.complete {
		return w, &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultOurs, Message: "the read of the directory is not complete, so it is not compared", Retryable: true}
	}
	if w.plan, err = s.plan(ctx, tx, t, p, row); err != nil {
		return w, err
	}
	w.counts, w.behind = w.Counts, map[backup.DirectoryName]int{p.Directory: w.PlainActive}
	w.counts.KnownActive = int(row.behind)
	sum := sha256.New()
	if err := walkAccounts(ctx, tx, t, p, at, sum, &w, visit); err != nil {
		return w, err
	}
	if err := walkSkipped(ctx, tx, p, visit); err != nil {
		return w, err
	}
	sum.Write([]byte(w.PlainDigest))
	w.digest = hex.EncodeToString(sum.Sum(nil))
	return w, nil
}

func walkAccounts(ctx context.Context, tx *sql.Tx, t backup.Tenant, p backup.Pass, at time.Time, sum hash.Hash, w *walked, visit func(context.Context, []accountChange) error) error {
	for after := ""; ; {
		changes, last, err := accountPage(ctx, tx, t, p, after, at)
		if err != nil || last == "" {
			return err
		}
		for _, c := range changes {
			count(c, p.Directory, w)
			if c.change == nil {
				continue
			}
			line, err := json.Marshal(struct {
				Account string
				*backup.ImportChange
			}{c.after.ID, c.change})
			if err != nil {
				return err
			}
			sum.Write(append(line, '\n'))
		}
		if err := visit(ctx, changes); err != nil {
			return err
		}
		after = last
	}
}

// count counts what happens to one account.
func count(c accountChange, dir backup.DirectoryName, w *walked) {
	before, after := c.before, c.after
	wasActive, isActive := before.known && before.State == backup.Active, after.State == backup.Active
	switch {
	case wasActive && !isActive:
		w.counts.Leaving++
	case before.known && !wasActive && isActive:
		w.counts.Returned++
	}
	was, is := map[backup.DirectoryName]bool{}, map[backup.DirectoryName]bool{}
	for _, l := range c.links {
		was[l.directory] = was[l.directory] || wasActive && l.before.linked && l.before.backs
		is[l.directory] = is[l.directory] || isActive && l.after.linked && l.after.backs
		if l.directory == dir && before.known && !l.before.linked && l.after.linked && l.after.joined != "first" {
			w.counts.Merged++
		}
		if l.directory == dir && wasActive && l.before.linked && l.before.backs && !l.after.backs {
			w.counts.Vanished++
		}
	}
	for d := range was {
		w.behind[d] += truth(is[d]) - truth(was[d])
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// accountPage returns the next accounts of the plan as they are and as they become; last is empty when there are no more.
func accountPage(ctx context.Context, tx *sql.Tx, t backup.Tenant, p backup.Pass, after string, at time.Time) (changes []accountChange, last string, err error) {
	ids, err := list(ctx, tx, func(r row) (id string, err error) { return id, r.Scan(&id) },
		`SELECT account FROM import_account WHERE tenant = $1 AND directory = $2 AND account > $3 ORDER BY account LIMIT $4`, p.Tenant, p.Directory, after, accountsAtOnce)
	if err != nil || len(ids) == 0 {
		return nil, "", err
	}
	last = ids[len(ids)-1]
	args := []any{p.Tenant, p.Directory, after, last}
	stored, err := list(ctx, tx, scanStoredAccount, `SELECT `+prefixed("a", accountColumns)+`, a.provenance FROM import_account x CROSS JOIN account a
		WHERE x.tenant = $1 AND x.directory = $2 AND x.account > $3 AND x.account <= $4 AND a.tenant = x.tenant AND a.id = x.account`, args...)
	if err != nil {
		return nil, "", err
	}
	links, err := list(ctx, tx, linkScanner(p.Directory), linksOfAccounts, args...)
	if err != nil {
		return nil, "", err
	}
	known := map[string]storedAccount{}
	for _, a := range stored {
		known[a.ID] = a
	}
	of := map[string][]linkChange{}
	for _, l := range links {
		of[l.account] = append(of[l.account], l)
	}
	for _, id := range ids {
		before := known[id]
		if !before.known {
			before.Account = backup.Account{ID: id, Tenant: p.Tenant}
		}
		c := accountChange{before: before, links: of[id]}
		slices.SortFunc(c.links, func(a, b linkChange) int {
			return strings.Compare(string(a.directory)+"\x00"+a.id, string(b.directory)+"\x00"+b.id)
		})
		c.after = merge(t, before, c.links, at)
		c.change = difference(before, c.after, c.links, p.Directory)
		changes = append(changes, c)
	}
	return changes, last, nil
}

// coalesced are the columns of a table that may have no row in an outer join.
func coalesced(table, columns string) string {
	var all []string
	for c := range strings.SplitSeq(columns, ", ") {
		empty := `''`
		if c == "disabled" {
			empty = `FALSE`
		}
		all = append(all, `COALESCE(`+table+`.`+c+`, `+empty+`)`)
	}
	return strings.Join(all, ", ")
}

// linksOfAccounts are the entries behind the accounts after $3 up to $4: those that are it now, and those that join.
var linksOfAccounts = `SELECT e.account_id, e.directory, e.entry_id, TRUE, ` + linkColumns + `
		FROM import_account x CROSS JOIN directory_entry e
			LEFT JOIN import_touched t ON t.tenant = e.tenant AND t.directory = e.directory AND t.entry_id = e.entry_id AND t.directory = $2
			LEFT JOIN staged_entry s ON t.staged AND s.tenant = t.tenant AND s.directory = t.directory AND s.entry_id = t.entry_id
		WHERE x.tenant = $1 AND x.directory = $2 AND x.account > $3 AND x.account <= $4 AND e.tenant = x.tenant AND e.account_id = x.account AND e.account_id <> ''
	UNION ALL SELECT t.account, t.directory, t.entry_id, FALSE, ` + linkColumns + `
		FROM import_touched t
			LEFT JOIN directory_entry e ON e.tenant = t.tenant AND e.directory = t.directory AND e.entry_id = t.entry_id
			LEFT JOIN staged_entry s ON t.staged AND s.tenant = t.tenant AND s.directory = t.directory AND s.entry_id = t.entry_id
		WHERE t.tenant = $1 AND t.directory = $2 AND t.account > $3 AND t.account <= $4 AND t.account <> t.old_account`

var linkColumns = coalesced("e", statedColumns) + `, COALESCE(e.held, ''), COALESCE(e.backs, FALSE), COALESCE(e.problem, ''), COALESCE(e.joined, ''),
	t.entry_id IS NOT NULL, COALESCE(t.staged, FALSE), COALESCE(t.present, FALSE), COALESCE(t.status, ''), COALESCE(t.account, ''), COALESCE(t.joined, ''), ` + coalesced("s", statedColumns)

func linkScanner(backup.DirectoryName) func(row) (linkChange, error) {
	return func(r row) (l linkChange, err error) {
		var was, touched, staged, present bool
		var held, account string
		var status backup.EntryProblem
		var joined string
		var known, now stated
		into := append([]any{&l.account, &l.directory, &l.id, &was}, known.fields()...)
		into = append(into, &held, &l.before.backs, &l.before.problem, &l.before.joined, &touched, &staged, &present, &status, &account, &joined)
		if err := r.Scan(append(into, now.fields()...)...); err != nil {
			return l, err
		}
		old, err := known.read(l.id)
		if err != nil {
			return l, err
		}
		l.stated = old
		l.before.linked, l.before.entry = was, old
		if held != "" {
			l.before.entry = backup.DirectoryEntry{}
			if err := json.Unmarshal([]byte(held), &l.before.entry); err != nil {
				return l, err
			}
		}
		l.after = l.before
		if !touched {
			return l, nil
		}
		if staged {
			if l.stated, err = now.read(l.id); err != nil {
				return l, err
			}
		}
		l.after.linked, l.after.problem, l.after.joined = account == l.account, status, joined
		switch {
		case !present:
			l.after.backs = false
		case status == "":
			l.after.backs, l.after.entry = true, l.stated
		case was && held == "" && staged:
			l.held = true
		}
		if !l.after.linked {
			l.after.backs = false
		}
		if !was {
			l.before.backs = false
		}
		return l, nil
	}
}

// walkSkipped visits the entries that newly become no account, or may not change theirs.
func walkSkipped(ctx context.Context, tx *sql.Tx, p backup.Pass, visit func(context.Context, []accountChange) error) error {
	for after := ""; ; {
		entries, err := list(ctx, tx, func(r row) (c backup.ImportChange, err error) {
			var e stated
			var id string
			var status backup.EntryProblem
			if err := r.Scan(append([]any{&id, &status, &c.Account}, e.fields()...)...); err != nil {
				return c, err
			}
			c.Kind = backup.ChangeSkipped
			if status == backup.Conflict {
				c.Kind = backup.ChangeConflict
			}
			c.Entry, err = e.read(id)
			c.Entry.Problem = status
			return c, err
		}, `SELECT t.entry_id, t.status, t.account, `+eitherStated+` FROM import_touched t
				LEFT JOIN staged_entry s ON t.staged AND s.tenant = t.tenant AND s.directory = t.directory AND s.entry_id = t.entry_id
				LEFT JOIN directory_entry e ON e.tenant = t.tenant AND e.directory = t.directory AND e.entry_id = t.entry_id
			WHERE `+isTouched+` AND t.present AND t.status <> '' AND t.status <> t.was AND t.entry_id > $3 ORDER BY t.entry_id LIMIT $4`, p.Tenant, p.Directory, after, accountsAtOnce)
		if err != nil || len(entries) == 0 {
			return err
		}
		after = entries[len(entries)-1].Entry.ID
		page := make([]accountChange, len(entries))
		for i := range entries {
			entries[i].Entry.ID = shownID(entries[i].Entry.ID)
			page[i].change = &entries[i]
		}
		if err := visit(ctx, page); err != nil {
			return err
		}
	}
}

// eitherStated is what a touched entry says: as staged, else as known.
var eitherStated = func() string {
	var all []string
	for c := range strings.SplitSeq(statedColumns, ", ") {
		all = append(all, `COALESCE(s.`+c+`, e.`+c+`)`)
	}
	return strings.Join(all, ", ")
}()

// changeKeeper writes the lines of a difference.
type changeKeeper struct {
	store  *Store
	tx     *sql.Tx
	tenant string
	number int64
	place  int64
}

func (k *changeKeeper) change(ctx context.Context, changes []accountChange) error {
	var rows [][]any
	for _, c := range changes {
		if c.change == nil {
			continue
		}
		body, err := json.Marshal(c.change)
		if err != nil {
			return err
		}
		k.place++
		rows = append(rows, []any{k.tenant, k.number, k.place, string(body)})
	}
	return k.store.insertRows(ctx, k.tx, "import_change", "tenant, number, place, body", rows, "")
}

// finish writes the plain additions, or that they are to be derived.
func (k *changeKeeper) finish(ctx context.Context, p backup.Pass, plain int) error {
	if plain > 0 && plain <= rowsOfAdditions {
		additions, err := list(ctx, k.tx, scanAddition, `SELECT s.entry_id, `+prefixed("s", statedColumns)+` FROM staged_entry s WHERE `+isStaged+` AND `+isPlain+` ORDER BY s.entry_id`,
			p.Tenant, p.Directory)
		if err != nil {
			return err
		}
		changes := make([]accountChange, len(additions))
		for i := range additions {
			changes[i].change = &additions[i]
		}
		if err := k.change(ctx, changes); err != nil {
			return err
		}
	}
	_, err := k.tx.ExecContext(ctx, `UPDATE import_report SET derived = $3 WHERE tenant = $1 AND number = $2`, k.tenant, k.number, plain > rowsOfAdditions)
	return err
}

// provenanceText keeps where the fields of an account come from; empty when all are of its first directory.
func provenanceText(a storedAccount) (string, error) {
	if !slices.ContainsFunc(slices.Collect(maps.Values(a.provenance)), func(d backup.DirectoryName) bool { return d != "" && d != a.Directory }) {
		return "", nil
	}
	b, err := json.Marshal(a.provenance)
	return string(b), err
}
