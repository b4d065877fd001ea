package ldapserver

import (
	"crypto/rand"
	"slices"
	"strings"
)

// paging is a listing between two of its pages.
type paging struct {
	cookie    string
	rest      []Entry
	page      int // the number of the last page sent
	delivered int
}

// search answers one search request: a whole search, or one page of a listing.
func (c *session) search(req *request, op searchRequest) error {
	if op.base == "" && op.scope == 0 {
		if err := c.sendEntry(req, "", selectAttributes(c.rootDSE(), op.attributes), op.typesOnly); err != nil {
			return err
		}
		return c.reply(req, searchDone, result{})
	}
	tree, faults := c.server.state()
	switch {
	case !c.bound:
		return c.reply(req, searchDone, result{insufficientAccess, "bind first"})
	case faults.Busy:
		return c.reply(req, searchDone, result{busy, "come back later"})
	case faults.Stall:
		c.in.Peek(1) //nolint:errcheck // whatever ends the wait ends the session
		return errHangUp
	}
	listing, refusal := c.listing(req, op, tree, faults)
	if refusal.code != 0 {
		return c.reply(req, searchDone, refusal)
	}
	return c.sendPage(req, op, listing, faults)
}

// listing begins a listing, or goes on with the one that the cookie names. The cookie is good once and on this connection only.
func (c *session) listing(req *request, op searchRequest, tree []Entry, faults Faults) (*paging, result) {
	before := c.paging
	c.paging = nil
	if req.page != nil && req.page.cookie != "" {
		if before == nil || before.cookie != req.page.cookie {
			return nil, result{unwillingToPerform, "paged results cookie is invalid or old"}
		}
		return before, result{}
	}
	found, refusal := find(tree, op)
	if faults.Empty && op.scope != 0 {
		found = nil
	}
	return &paging{rest: found}, refusal
}

func find(tree []Entry, op searchRequest) ([]Entry, result) {
	base := normalDN(op.base)
	var found []Entry
	seen := false
	for _, e := range tree {
		depth, below := depthBelow(e.DN, base)
		seen = seen || below && depth == 0
		if !below || op.scope == 0 && depth != 0 || op.scope == 1 && depth != 1 {
			continue
		}
		ok, err := matches(e, op.filter)
		if err != nil {
			return nil, result{unwillingToPerform, err.Error()}
		}
		if ok {
			found = append(found, e)
		}
	}
	if !seen {
		return nil, result{noSuchObject, ""}
	}
	return found, result{}
}

// sendPage sends the next page, or the whole listing when no paging was asked for, and remembers where it stands.
func (c *session) sendPage(req *request, op searchRequest, l *paging, faults Faults) error {
	n := len(l.rest)
	paged := req.page != nil && req.page.size > 0 && !faults.NoPaging
	if paged {
		n = min(n, int(min(req.page.size, 1<<20)))
	}
	l.page++
	limit := smallest(int(op.sizeLimit), faults.SizeLimit)
	for i, e := range l.rest[:n] {
		if limit > 0 && l.delivered >= limit {
			return c.reply(req, searchDone, result{sizeLimitExceeded, ""})
		}
		if l.page == faults.CutPage && i == n/2 {
			return c.cut()
		}
		if err := c.sendEntry(req, e.DN, selectAttributes(e.Attributes, op.attributes), op.typesOnly); err != nil {
			return err
		}
		l.delivered++
	}
	if !paged {
		return c.reply(req, searchDone, result{})
	}
	answer := &pageControl{}
	if l.rest = l.rest[n:]; len(l.rest) > 0 {
		l.cookie = rand.Text()
		c.paging, answer.cookie = l, l.cookie
	}
	return c.replyPage(req, searchDone, result{}, answer)
}

// cut sends what is in the buffer and half of an entry's first bytes, then hangs up.
func (c *session) cut() error {
	c.out.Write([]byte{0x30, 0x82, 0x01})
	c.out.Flush()
	return errHangUp
}

func (c *session) rootDSE() []Attribute {
	return []Attribute{
		one("objectClass", "top"),
		operational("namingContexts", c.server.options.BaseDN),
		operational("supportedControl", pagedResultsOID),
		operational("supportedExtension", startTLSOID),
		operational("supportedLDAPVersion", "3"),
		operational("vendorName", "Holdfast sandbox"),
	}
}

// selectAttributes gives what was asked for: names, "*" for all that are not operational, "+" for those that are, nothing for
// "1.1" (RFC 4511, section 4.5.1.8).
func selectAttributes(all []Attribute, wanted []string) []Attribute {
	if len(wanted) == 0 {
		wanted = []string{"*"}
	}
	var selected []Attribute
	for _, a := range all {
		if slices.ContainsFunc(wanted, func(w string) bool {
			return strings.EqualFold(w, a.Name) || w == "*" && !a.Operational || w == "+" && a.Operational
		}) {
			selected = append(selected, a)
		}
	}
	return selected
}

// smallest is the smaller of two limits of which zero means none.
func smallest(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}
