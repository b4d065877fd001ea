package graph

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Limits of groups: how many ids groups/delta may be filtered to, and how many checkMemberGroups looks at. See
// https://learn.microsoft.com/graph/api/group-delta and https://learn.microsoft.com/graph/api/user-checkmembergroups.
const (
	maxFiltered = 50
	maxChecked  = 20
)

// belonging is a user or a group in a group; with neither it is the group itself.
type belonging struct {
	group string
	user  int
	inner string
}

// tell notes in the feed of groups that a belonging began or ended.
func (d *directory) tell(b belonging) {
	d.belongings = append(d.belongings, b)
	d.newest[b] = uint64(len(d.belongings))
	d.groupLog.note(d.newest[b], len(d.belongings))
}

// holds tells whether a belonging is there now.
func (d *directory) holds(b belonging) bool {
	g := d.groups[b.group]
	switch {
	case g == nil || b.user == 0 && b.inner == "":
		return g != nil
	case b.user != 0:
		return g.users[b.user]
	}
	return g.groups[b.inner]
}

// toldTo tells which entries of the feed a round shows: the newest of each belonging to one of its groups, and no more who belonged to a group that
// is gone, nor a user who is. Endings up to the floor are not told to who lists from the start.
func (d *directory) toldTo(c cursor) func(feedEntry) bool {
	wanted := map[string]bool{}
	for _, id := range c.Groups {
		wanted[id] = true
	}
	return func(e feedEntry) bool {
		b := d.belongings[e.n-1]
		itself := b.user == 0 && b.inner == ""
		switch {
		case len(wanted) > 0 && !wanted[b.group], d.newest[b] != e.seq, !d.holds(b) && e.seq <= c.Floor:
			return false
		case itself:
			return true
		case len(c.Select) > 0 && !slices.Contains(c.Select, "members"):
			return false
		}
		return d.groups[b.group] != nil && (b.user == 0 || d.entry(b.user).where == present)
	}
}

// deltaGroupProperties may be selected of groups/delta: members are those that came and went.
var deltaGroupProperties = append([]string{"members"}, groupProperties...)

// groupDelta serves groups/delta. A page holds so many groups and members together, so a large group comes on several under the same id.
func (s *Server) groupDelta(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, deltaGroupProperties)
	switch {
	case e != nil:
		return e
	case o.Top > 0 || o.Skip > 0:
		return badRequest("Request_UnsupportedQuery", "The query parameters $top and $skip are not supported by delta queries of groups.")
	}
	filtered, e := parseGroupFilter(o.Filter)
	if e != nil {
		return e
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	r, e := s.openRound(c, Groups, "groups/delta", o, uint64(len(d.belongings)), usersDefault, usersMax)
	if o.Token == "" || o.Token == "latest" {
		r.cursor.Groups = filtered
	}
	if e == nil {
		e = s.judgeAge(c, &r)
	}
	if e != nil {
		return e
	}
	entries, more := r.page(d.groupLog, d.toldTo(r.cursor))
	s.writePage(c, r, "#groups", d.groupChanges(entries, r.cursor.Select), more)
	return nil
}

// groupChanges gathers the entries of a page by group.
func (d *directory) groupChanges(entries []feedEntry, selected []string) []object {
	value, at := []object{}, map[string]object{}
	for _, e := range entries {
		b := d.belongings[e.n-1]
		o := at[b.group]
		if o == nil {
			o = object{"id": b.group}
			if g := d.groups[b.group]; g == nil {
				o["@removed"] = object{"reason": "changed"}
			} else {
				o = pick(g.object(), selected)
			}
			at[b.group], value = o, append(value, o)
		}
		if b.user != 0 || b.inner != "" {
			members, _ := o["members@delta"].([]object)
			o["members@delta"] = append(members, d.memberChange(b))
		}
	}
	return value
}

func (d *directory) memberChange(b belonging) object {
	o := object{"@odata.type": "#microsoft.graph.group", "id": b.inner}
	if b.user != 0 {
		o = object{"@odata.type": "#microsoft.graph.user", "id": d.entry(b.user).id}
	}
	if !d.holds(b) {
		o["@removed"] = object{"reason": "deleted"}
	}
	return o
}

var groupTerm = regexp.MustCompile(`^id eq '([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})'$`)

// parseGroupFilter reads the only filter that there is: id eq 'x' or id eq 'y'.
func parseGroupFilter(filter string) (ids []string, e *apiError) {
	if filter == "" {
		return nil, nil
	}
	for term := range strings.SplitSeq(filter, " or ") {
		m := groupTerm.FindStringSubmatch(strings.TrimSpace(term))
		if m == nil || len(ids) == maxFiltered {
			return nil, badRequest("Request_UnsupportedQuery", fmt.Sprintf("Unsupported or invalid query filter clause: delta queries are filtered by at most %d ids.", maxFiltered))
		}
		ids = append(ids, strings.ToLower(m[1]))
	}
	return ids, nil
}

// groupFilter is the filter that parseGroupFilter reads.
func groupFilter(ids []string) string {
	return "id eq '" + strings.Join(ids, "' or id eq '") + "'"
}

// checkMemberGroups tells which of the groups named a user is in, directly or nested.
func (s *Server) checkMemberGroups(c *call) error {
	var ask struct {
		GroupIDs []string `json:"groupIds"`
	}
	if json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBatchBody)).Decode(&ask) != nil || len(ask.GroupIDs) == 0 || len(ask.GroupIDs) > maxChecked {
		return badRequest("Request_BadRequest", fmt.Sprintf("A collection of 1 to %d group ids is expected in 'groupIds'.", maxChecked))
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	in := []string{}
	for _, id := range ask.GroupIDs {
		if !groupTerm.MatchString("id eq '" + id + "'") {
			return badRequest("Request_BadRequest", "Invalid GUID: '"+id+"'.")
		}
		if d.reaches(strings.ToLower(id), c.account.n) {
			in = append(in, strings.ToLower(id))
		}
	}
	writeJSON(c.w, http.StatusOK, object{"@odata.context": s.GraphURL() + "/$metadata#Collection(Edm.String)", "value": in})
	return nil
}

// reaches tells whether a user is in a group or in one that is in it.
func (d *directory) reaches(group string, user int) bool {
	seen := map[string]bool{group: true}
	for open := []string{group}; len(open) > 0; open = open[1:] {
		g := d.groups[open[0]]
		if g == nil {
			continue
		}
		if g.users[user] {
			return true
		}
		for inner := range g.groups {
			if !seen[inner] {
				seen[inner] = true
				open = append(open, inner)
			}
		}
	}
	return false
}
