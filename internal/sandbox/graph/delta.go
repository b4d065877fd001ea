package graph

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// round is one page of a delta round: the position it starts from and how much it gives.
type round struct {
	service  Service
	cursor   cursor
	size     int
	shuffled bool
}

// openRound reads the token of a delta call, or begins a round. now is the feed's newest sequence number.
func (s *Server) openRound(c *call, service Service, feedName string, o options, now uint64, standard, limit int) (round, *apiError) {
	r := round{service: service, size: o.size(standard, limit)}
	epoch := s.company.currentEpoch(service)
	upn := ""
	if c.user != nil {
		upn = c.user.UPN
	}
	_, r.shuffled = s.faults.strike(c.kind, upn, FaultShuffle)
	switch {
	case o.Token == "":
		r.cursor = cursor{Feed: feedName, Floor: now, Select: o.Select, Size: r.size, Hidden: o.Hidden, Lean: o.Lean, Epoch: epoch}
		return r, nil
	case o.Token == "latest" && service != Mail:
		r.cursor = cursor{Feed: feedName, Since: now, Select: o.Select, Size: r.size, Lean: o.Lean, Epoch: epoch}
		return r, nil
	}
	cur, ok := parseCursor(s.company.signKey, feedName, o.Token)
	switch {
	case !ok && service == Drive:
		return r, badRequest("invalidRequest", "The provided sync token is malformed.")
	case !ok && (service == Directory || service == Groups):
		return r, badRequest("Request_BadRequest", "Badly formed token.")
	case !ok:
		return r, badRequest("SyncStateInvalid", "The sync state in the token is not valid.")
	case cur.Epoch != epoch:
		return r, s.expired(c, service, cur)
	}
	r.cursor = cur
	if o.Top == 0 && o.PageSize == 0 {
		r.size = min(cur.Size, limit)
	}
	return r, nil
}

// expired answers 410 Gone with the address where a full round begins.
func (s *Server) expired(c *call, service Service, cur cursor) *apiError {
	location, query := s.graphURL+c.r.URL.EscapedPath(), []string{}
	if len(cur.Select) > 0 {
		query = append(query, "$select="+url.QueryEscape(strings.Join(cur.Select, ",")))
	}
	if len(cur.Groups) > 0 {
		query = append(query, "$filter="+url.QueryEscape(groupFilter(cur.Groups)))
	}
	if len(query) > 0 {
		location += "?" + strings.Join(query, "&")
	}
	e := &apiError{Status: http.StatusGone, Location: location, Code: "SyncStateNotFound", Message: "The sync state generation is not found. Please start a full synchronization."}
	if service == Drive {
		e.Code, e.Message = "resyncRequired", "Resync required. Replace any local items with the server's version."
		e.Inner = "resyncChangesApplyDifferences"
	}
	return e
}

// pager is a feed that is read page by page.
type pager interface {
	page(c cursor, size int, live func(feedEntry) bool) (list []feedEntry, next uint64, more bool)
}

// page takes the round's entries from a feed, and moves the cursor.
func (r *round) page(f pager, live func(feedEntry) bool) (list []feedEntry, more bool) {
	if r.shuffled && r.cursor.Page%3 == 1 {
		return nil, true // a page may be empty and still have a next one
	}
	list, next, more := f.page(r.cursor, r.size, live)
	r.cursor.Since = next
	if r.shuffled && len(list) > 1 {
		if more {
			r.cursor.Since = list[len(list)-2].seq // the last item comes again on the next page
		}
		slices.Reverse(list)
		list = append(list, list[0])
	}
	return list, more
}

// writePage writes a delta page, with the link to the next page or to the next round.
func (s *Server) writePage(c *call, r round, context string, value []object, more bool) {
	body := object{"@odata.context": s.GraphURL() + "/$metadata" + context, "value": value}
	next, delta := "$skiptoken", "$deltatoken"
	if r.service == Drive {
		next, delta = "token", "token"
	}
	if more {
		r.cursor.Page++
		body["@odata.nextLink"] = s.link(c, next, r.cursor)
	} else {
		r.cursor.Page = 0
		body["@odata.deltaLink"] = s.link(c, delta, r.cursor)
	}
	writeJSON(c.w, http.StatusOK, body)
}
