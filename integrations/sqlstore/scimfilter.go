package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// maxFilterDepth and maxFilterTerms bound the statement that a filter becomes: SQLite takes expressions 1,000 deep.
	maxFilterDepth = 32
	maxFilterTerms = 200
)

// identifying are the paths by whose values an identity provider looks one resource up, userName, externalId and id aside.
var identifying = map[string]bool{
	"emails.value": true,
	"displayname":  true,
	"nickname":     true,
	"urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:employeenumber": true,
}

// scimKind is a table of resources.
type scimKind struct {
	table, columns, present, counter string
	// own are paths that are columns, and members that are rows.
	own map[string]string
}

var (
	scimUsers = scimKind{table: "scim_user", columns: scimUserColumns, present: " AND r.deleted = 0", counter: "user_count", own: map[string]string{
		"id": "r.id", "externalid": "r.external_id", "username": "r.name_key"}}
	scimGroups = scimKind{table: "scim_group", columns: scimGroupColumns, counter: "group_count", own: map[string]string{
		"id": "r.id", "externalid": "r.external_id", "displayname": "r.name_key"}}
)

// listSCIM reads a page and the total. Rows that are counted off are not read: they are chosen by their numbers first.
func listSCIM[T any](ctx context.Context, s *SCIM, scope backup.SCIMScope, k scimKind, f backup.SCIMFilter, p backup.SCIMPage, scan func(row) (T, error)) ([]T, int, error) {
	directory, err := s.scope(ctx, scope)
	if err != nil || directory == 0 {
		return nil, 0, err
	}
	q := &scimQuery{kind: k, args: []any{directory}}
	where, err := q.where(f)
	if err != nil {
		return nil, 0, err
	}
	tx, err := s.store.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // the page and the total are of one moment
	if err != nil {
		return nil, 0, err
	}
	defer tx.Rollback()
	skip, count := int64(max(p.StartIndex, 1)-1), min(max(p.Count, 0), maxPage)
	var page []T
	if count > 0 {
		chosen := `SELECT r.number` + where + ` ORDER BY r.number LIMIT ` + fmt.Sprint(count) + ` OFFSET ` + fmt.Sprint(skip)
		page, err = list(ctx, tx, scan, `SELECT `+k.columns+` FROM `+k.table+` WHERE scope = $1 AND number IN (SELECT number FROM (`+chosen+`) AS chosen) ORDER BY number`, q.args...)
	}
	switch {
	case err != nil:
		return nil, 0, err
	case len(page) < count && (len(page) > 0 || skip == 0):
		return page, int(skip) + len(page), nil
	}
	total, err := q.total(ctx, tx, f, where)
	return page, total, err
}

// total counts who fits. Of everybody there is a count already.
func (q *scimQuery) total(ctx context.Context, tx *sql.Tx, f backup.SCIMFilter, where string) (total int, err error) {
	if everybody(f) {
		err = tx.QueryRowContext(ctx, `SELECT `+q.kind.counter+` FROM scim_directory WHERE id = $1`, q.args[0]).Scan(&total)
		return total, err
	}
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*)`+where, q.args...).Scan(&total)
	return total, err
}

func everybody(f backup.SCIMFilter) bool {
	return len(f.And) == 0 && len(f.Or) == 0 && f.Not == nil && f.Path == ""
}

// scimQuery turns a filter into a condition with parameters. No text from outside becomes part of a statement.
type scimQuery struct {
	kind  scimKind
	args  []any
	terms int
}

var errTooMuchFilter = &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the filter is too large", Hint: "ask with fewer conditions"}

func (q *scimQuery) arg(v any) string {
	q.args = append(q.args, v)
	return fmt.Sprintf("$%d", len(q.args))
}

// where is all behind the columns, up to the order.
func (q *scimQuery) where(f backup.SCIMFilter) (string, error) {
	condition, err := q.condition(f, 0)
	return ` FROM ` + q.kind.table + ` r WHERE r.scope = $1` + q.kind.present + ` AND ` + condition, err
}

func (q *scimQuery) condition(f backup.SCIMFilter, depth int) (string, error) {
	if q.terms++; depth > maxFilterDepth || q.terms > maxFilterTerms {
		return "", errTooMuchFilter
	}
	switch {
	case len(f.And) > 0:
		return q.join(f.And, " AND ", depth)
	case len(f.Or) > 0:
		return q.join(f.Or, " OR ", depth)
	case f.Not != nil:
		c, err := q.condition(*f.Not, depth+1)
		return "NOT " + c, err
	case f.Path == "":
		return "(1 = 1)", nil
	}
	if strings.ContainsRune(f.Text, 0) { // PostgreSQL takes no such text, and none is kept
		return "(1 = 0)", nil
	}
	c, err := q.comparison(f)
	return "(" + c + ")", err
}

func (q *scimQuery) join(parts []backup.SCIMFilter, by string, depth int) (string, error) {
	all := make([]string, len(parts))
	for i, p := range parts {
		c, err := q.condition(p, depth+1)
		if err != nil {
			return "", err
		}
		all[i] = c
	}
	return "(" + strings.Join(all, by) + ")", nil
}

func (q *scimQuery) comparison(f backup.SCIMFilter) (string, error) {
	if column, own := q.kind.own[f.Path]; own {
		return q.compare(column, f.Op, f.Text)
	}
	switch f.Path {
	case "active":
		if q.kind.table == "scim_user" {
			return q.compare(`CASE WHEN r.active THEN 'true' ELSE 'false' END`, f.Op, f.Text)
		}
	case "meta.created":
		return q.compareTime("r.created", f.Op, f.Text)
	case "meta.lastmodified":
		return q.compareTime("r.modified", f.Op, f.Text)
	case "members.value":
		if q.kind.table == "scim_group" {
			c, err := q.compare("m.member", f.Op, f.Text)
			return `r.number IN (SELECT m.in_group FROM scim_member m WHERE m.scope = $1 AND ` + c + `)`, err
		}
	case "groups.value":
		if q.kind.table == "scim_user" {
			c, err := q.compare("g.id", f.Op, f.Text)
			return `r.id IN (SELECT m.member FROM scim_group g JOIN scim_member m ON m.scope = g.scope AND m.in_group = g.number WHERE g.scope = $1 AND ` + c + `)`, err
		}
	}
	return q.compareValue(f)
}

// compareValue looks among the indexed values. A value that tells one resource from another is looked for by itself; any other only among
// the values of resources that fit so far.
func (q *scimQuery) compareValue(f backup.SCIMFilter) (string, error) {
	c, err := q.compare("v.text", f.Op, f.Text)
	c += ` AND v.path = ` + q.arg(f.Path)
	if f.Type != "" {
		c += ` AND v.type = ` + q.arg(f.Type)
	}
	if f.Op == backup.SCIMEqual && identifying[f.Path] {
		return `r.number IN (SELECT v.owner FROM scim_value v WHERE v.scope = $1 AND v.keyed AND ` + c + `)`, err
	}
	return `EXISTS (SELECT 1 FROM scim_value v WHERE v.scope = $1 AND v.owner = r.number AND ` + c + `)`, err
}

// compare is by bytes. LIKE is not used: SQLite's takes no notice of letters' case, PostgreSQL's does.
func (q *scimQuery) compare(column string, op backup.SCIMOperator, text string) (string, error) {
	if text == "" && (op == backup.SCIMContains || op == backup.SCIMStartsWith || op == backup.SCIMEndsWith) {
		op = backup.SCIMPresent // everything that is there contains nothing
	}
	present := column + ` <> ''`
	if op == backup.SCIMPresent {
		return present, nil
	}
	if sign, ordered := scimSigns[op]; ordered {
		if op == backup.SCIMEqual && text != "" {
			return column + ` = ` + q.arg(text), nil
		}
		return column + ` ` + sign + ` ` + q.arg(text) + ` AND ` + present, nil
	}
	given, length := q.arg(text), fmt.Sprint(utf8.RuneCountInString(text))
	switch op {
	case backup.SCIMContains:
		return `REPLACE(` + column + `, ` + given + `, '') <> ` + column, nil
	case backup.SCIMStartsWith:
		return `SUBSTR(` + column + `, 1, ` + length + `) = ` + given, nil
	case backup.SCIMEndsWith:
		return `LENGTH(` + column + `) >= ` + length + ` AND SUBSTR(` + column + `, LENGTH(` + column + `) - ` + length + ` + 1) = ` + given, nil
	}
	return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the operator %q is not known", op)}
}

// compareTime compares with a time that may be finer than the store's microseconds.
func (q *scimQuery) compareTime(column string, op backup.SCIMOperator, text string) (string, error) {
	if op == backup.SCIMPresent {
		return "1 = 1", nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the filter compares with something that is no time", Hint: "give it as 2026-01-31T12:00:00Z"}
	}
	// A time between two microseconds is neither of them, and after the earlier one.
	given, finer := q.arg(micros(t)), t.Nanosecond()%1000 != 0
	switch {
	case finer && op == backup.SCIMEqual:
		return "1 = 0 AND " + column + " = " + given, nil
	case finer && op == backup.SCIMNotEqual:
		return "1 = 1 OR " + column + " = " + given, nil
	case finer && op == backup.SCIMGreaterOrEqual:
		op = backup.SCIMGreater
	case finer && op == backup.SCIMLess:
		op = backup.SCIMLessOrEqual
	}
	if sign, ordered := scimSigns[op]; ordered {
		return column + " " + sign + " " + given, nil
	}
	return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "times are not compared by " + string(op), Hint: "use eq, ne, gt, ge, lt, le or pr"}
}

var scimSigns = map[backup.SCIMOperator]string{backup.SCIMEqual: "=", backup.SCIMNotEqual: "<>",
	backup.SCIMGreater: ">", backup.SCIMGreaterOrEqual: ">=", backup.SCIMLess: "<", backup.SCIMLessOrEqual: "<="}
