package scim

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// search is what a list shall hold, whether it was asked for by a query or by a SearchRequest.
type search struct {
	filter               string
	attributes, excluded []string
	page                 backup.SCIMPage
}

func listOf(t *resourceType) endpoint {
	return func(q *request, _ string) error {
		s, err := q.searchOfQuery()
		if err != nil {
			return err
		}
		return q.list(s, t)
	}
}

func searchOf(t *resourceType) endpoint {
	return func(q *request, _ string) error {
		s, err := q.searchOfBody()
		if err != nil {
			return err
		}
		return q.list(s, t)
	}
}

// searchAll searches users, then groups.
func (q *request) searchAll(string) error {
	s, err := q.searchOfBody()
	if err != nil {
		return err
	}
	return q.list(s, userType, groupType)
}

func (q *request) searchOfQuery() (search, error) {
	if q.query.Has("sortBy") {
		return search{}, unsorted()
	}
	s := search{filter: q.query.Get("filter"), attributes: names(q.query["attributes"]), excluded: names(q.query["excludedAttributes"])}
	start, err := number("startIndex", q.query.Get("startIndex"), 1)
	if err != nil {
		return s, err
	}
	count, err := number("count", q.query.Get("count"), MaxPage)
	s.page = page(start, count)
	return s, err
}

func unsorted() error {
	return refuse(http.StatusNotImplemented, "", "Sorting is not supported; leave sortBy out. Lists are in the order of creation.")
}

func number(name, text string, otherwise int) (int, error) {
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, badValue("%s is not a whole number.", name)
	}
	return n, nil
}

// page brings start and count into their bounds (RFC 7644 section 3.4.2.4).
func page(start, count int) backup.SCIMPage {
	const furthest = 1 << 40
	return backup.SCIMPage{StartIndex: min(max(start, 1), furthest), Count: min(max(count, 0), MaxPage)}
}

// searchOfBody reads a SearchRequest (RFC 7644 section 3.4.3).
func (q *request) searchOfBody() (search, error) {
	body, err := readBody(q.w, q.r, q.options.MaxBody)
	if err != nil {
		return search{}, err
	}
	m := folded(body)
	if schemas, there := m["schemas"]; there && !lists(schemas, searchURN) {
		return search{}, badSyntax("The schemas of the body must name %s.", searchURN)
	}
	if m["sortby"] != nil {
		return search{}, unsorted()
	}
	s := search{attributes: names(texts(m["attributes"])), excluded: names(texts(m["excludedattributes"]))}
	var ok bool
	if s.filter, ok = m["filter"].(string); !ok && m["filter"] != nil {
		return s, badFilter("filter is not a string.")
	}
	start, err := number("startIndex", numeral(m["startindex"]), 1)
	if err != nil {
		return s, err
	}
	count, err := number("count", numeral(m["count"]), MaxPage)
	s.page = page(start, count)
	return s, err
}

func numeral(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		return v
	case nil:
		return ""
	}
	return "?"
}

func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// found is a page of one resource type.
type found struct {
	projection
	users  []backup.SCIMUser
	groups []backup.SCIMGroup
	total  int
}

// list answers a ListResponse over the types, one after the other. With several, a type that does not know an attribute of the filter has
// nothing that fits.
func (q *request) list(s search, types ...*resourceType) error {
	var parts []found
	var refused error
	total, shown := 0, 0
	for _, t := range types {
		f, err := t.resolveFilter(s.filter)
		if err != nil {
			refused = err
			continue
		}
		part, err := q.find(t, f, s, total, shown)
		if err != nil {
			return err
		}
		total += part.total
		shown += len(part.users) + len(part.groups)
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return refused
	}
	return q.writeList(s, total, shown, parts)
}

// find reads the page's part of one type, when total of other types come before and shown of those are on the page.
func (q *request) find(t *resourceType, f backup.SCIMFilter, s search, total, shown int) (found, error) {
	var out found
	var err error
	if out.projection, err = t.project(s.attributes, s.excluded); err != nil {
		return out, err
	}
	p := backup.SCIMPage{StartIndex: max(1, s.page.StartIndex-total), Count: s.page.Count - shown}
	if t == userType {
		out.users, out.total, err = q.store.ListUsers(q.context(), q.scope, f, p)
	} else {
		out.groups, out.total, err = q.store.ListGroups(q.context(), q.scope, f, p)
	}
	return out, err
}

// writeList writes the page. Groups are written one after the other, with their members page by page.
func (q *request) writeList(s search, total, shown int, parts []found) error {
	var users []any
	for _, p := range parts {
		more, err := q.showUsers(p.users, p.projection)
		if err != nil {
			return err
		}
		users = append(users, more...)
	}
	head, err := json.Marshal(map[string]any{"schemas": []string{listURN}, "totalResults": total, "startIndex": s.page.StartIndex, "itemsPerPage": shown})
	if err != nil {
		return err
	}
	b, err := json.Marshal(users)
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", contentType)
	q.w.WriteHeader(http.StatusOK)
	q.started = true
	_, _ = q.w.Write(head[:len(head)-1])
	_, _ = q.w.Write([]byte(`,"Resources":[`))
	separator := ""
	if len(users) > 0 {
		_, _ = q.w.Write(b[1 : len(b)-1])
		separator = ","
	}
	for _, p := range parts {
		for _, g := range p.groups {
			_, _ = q.w.Write([]byte(separator))
			first, err := q.firstMembers(g, p.projection)
			if err != nil {
				return err
			}
			if err := q.writeGroup(g, first, p.projection); err != nil {
				return err
			}
			separator = ","
		}
	}
	_, err = q.w.Write([]byte("]}"))
	return err
}
