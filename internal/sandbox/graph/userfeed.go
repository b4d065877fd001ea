package graph

import (
	"net/http"
	"strconv"
	"time"
)

// deltaLife is how long a token of the directory is good. See https://learn.microsoft.com/graph/delta-query-overview, token duration.
const deltaLife = 7 * 24 * time.Hour

// Advance sets the clock of the directory's delta tokens forward.
func (s *Server) Advance(d time.Duration) { s.ahead.Add(int64(d)) }

func (s *Server) clock() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

// userDelta serves users/delta. Its pages are set by Prefer: odata.maxpagesize alone. See https://learn.microsoft.com/graph/api/user-delta.
func (s *Server) userDelta(c *call) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	switch {
	case e != nil:
		return e
	case o.Top > 0 || o.Skip > 0:
		return badRequest("Request_UnsupportedQuery", "The query parameters $top and $skip are not supported by delta queries of users.")
	case o.Filter != "":
		return badRequest("Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	r, e := s.openRound(c, Directory, "users/delta", o, d.now(), usersDefault, usersMax)
	if e == nil {
		e = s.judgeAge(c, &r)
	}
	if e != nil {
		return e
	}
	entries, more := r.page(d, d.current(r.cursor.Floor))
	_, partial := s.faults.strike(c.kind, "", FaultPartial)
	value := make([]object, 0, len(entries))
	for _, f := range entries {
		value = append(value, d.entry(f.n).change(r.cursor.Select, partial && f.seq > uint64(d.first())))
	}
	s.writePage(c, r, "#users", value, more)
	return nil
}

// judgeAge refuses tokens that are too old, in either of the ways that are seen: 410 with the address of a new round for a deltaLink,
// 400 for a page in the midst of a round. A round's age is that of its first page.
func (s *Server) judgeAge(c *call, r *round) *apiError {
	now := s.clock().Unix()
	if r.cursor.Made == 0 {
		r.cursor.Made = now
		return nil
	}
	if now-r.cursor.Made > int64(deltaLife/time.Second) {
		if r.cursor.Page > 0 {
			return badRequest("Directory_ExpiredPageToken", "The specified page token value has expired and can no longer be included in your request.")
		}
		return s.expired(c, r.service, r.cursor)
	}
	if r.cursor.Page == 0 {
		r.cursor.Made = now
	}
	return nil
}

// change is a user in the feed: with the properties, gone, or, when partial, with one of the properties alone.
func (e *entry) change(selected []string, partial bool) object {
	switch {
	case e.where == softDeleted:
		return object{"id": e.id, "@removed": object{"reason": "changed"}}
	case e.where == purged:
		return object{"id": e.id, "@removed": object{"reason": "deleted"}}
	case partial:
		return object{"id": e.id, "displayName": e.DisplayName}
	case len(selected) == 0:
		return e.object()
	}
	return pick(e.object(), selected)
}

// deletedUsers lists the container of deleted users.
func (s *Server) deletedUsers(c *call) error {
	return s.writeUsers(c, softDeleted, listing{feed: "deletedItems", context: "#directoryObjects/microsoft.graph.user"})
}

// writeUsers writes a page of the users that are in a place.
func (s *Server) writeUsers(c *call, where whereabouts, l listing) error {
	o, e := parseOptions(c.r.URL.Query(), c.r.Header, userProperties)
	switch {
	case e != nil:
		return e
	case o.Top > usersMax:
		return badRequest("Request_UnsupportedQuery", "Invalid page size specified: '"+strconv.Itoa(o.Top)+"'. Must be between 1 and 999 inclusive.")
	case o.Filter != "":
		return badRequest("Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
	}
	l.size = o.size(usersDefault, usersMax)
	if e := s.resume(&l, &o); e != nil {
		return e
	}
	if len(o.Select) == 0 {
		o.Select = userDefaults
	}
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	page, last := make([]object, 0, l.size), 0
	body := object{"@odata.context": s.GraphURL() + "/$metadata" + l.context}
	for u := range d.numbers(l.position, where) {
		if len(page) == l.size {
			body["@odata.nextLink"] = s.link(c, "$skiptoken", cursor{Feed: l.feed, Since: uint64(last), Size: l.size, Select: o.Select})
			break
		}
		page, last = append(page, pick(u.object(), o.Select)), u.n
	}
	body["value"] = page
	writeJSON(c.w, http.StatusOK, body)
	return nil
}
