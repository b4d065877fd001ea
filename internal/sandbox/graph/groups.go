package graph

import (
	"net/http"
	"strings"
)

var groupProperties = []string{"id", "displayName", "mailEnabled", "securityEnabled"}

func (g *group) object() object {
	return object{"id": g.id, "displayName": g.name, "mailEnabled": false, "securityEnabled": true}
}

// group finds the group in the path. The caller holds the directory's lock.
func (s *Server) group(c *call) (*group, *apiError) {
	name := c.r.PathValue("group")
	g := s.company.directory.groups[strings.ToLower(name)]
	if g == nil {
		return nil, missing(name)
	}
	return g, nil
}

func (s *Server) getGroup(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, groupProperties)
	if e != nil {
		return e
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	g, e := s.group(c)
	if e != nil {
		return e
	}
	out := pick(g.object(), o.Select)
	out["@odata.context"] = s.GraphURL() + "/$metadata#groups/$entity"
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// member is a user or a group in a group.
type member struct {
	user  *entry
	group *group
}

func (m member) object() object {
	var o object
	if m.user != nil {
		o = m.user.object()
		o["@odata.type"] = "#microsoft.graph.user"
		return o
	}
	o = m.group.object()
	o["@odata.type"] = "#microsoft.graph.group"
	return o
}

// transitiveMembers lists users and groups in a group, nested ones too. See https://learn.microsoft.com/graph/api/group-list-transitivemembers.
func (s *Server) transitiveMembers(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	if e != nil {
		return e
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	g, e := s.group(c)
	if e != nil {
		return e
	}
	l := listing{feed: feedName("members", g.id), context: "#directoryObjects", size: o.size(usersDefault, usersMax)}
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	var all []member
	users, groups := d.members(g)
	for _, inner := range groups {
		all = append(all, member{group: inner})
	}
	for _, n := range users {
		all = append(all, member{user: d.entry(n)})
	}
	return writeList(s, c, l, o, all, member.object)
}
