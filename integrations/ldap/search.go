package ldap

import (
	"context"
	"fmt"

	"github.com/go-ldap/ldap/v3"
)

// query is a search of a subtree, as it goes over the wire page by page.
type query struct {
	base       string
	scope      int
	filter     string
	attributes []string
}

// op encodes the SearchRequest (RFC 4511, section 4.5.1): aliases are not followed, and we ask for no limits of size or time of our own.
func (q query) op() ([]byte, error) {
	filter, err := ldap.CompileFilter(q.filter)
	if err != nil {
		return nil, badConfig("directory.ldap.filter is not an LDAP filter", "for example "+defaultFilter)
	}
	var names []byte
	for _, name := range q.attributes {
		names = appendElement(names, tagOctetString, []byte(name))
	}
	zero := intElement(tagInteger, 0)
	return element(opSearch, textElement(tagOctetString, q.base), intElement(tagEnumerated, int32(q.scope)), intElement(tagEnumerated, 0), // 0 to 2
		zero, zero, element(tagBoolean, []byte{0}), filter.Bytes(), element(tagSequence, names)), nil
}

// pagingControl asks for the next page (RFC 2696, section 2).
func pagingControl(size int, cookie []byte) []byte {
	value := element(tagSequence, intElement(tagInteger, int32(size)), element(tagOctetString, cookie)) // 1 to maxPageSize
	return element(tagSequence, textElement(tagOctetString, ldap.ControlTypePaging), element(tagOctetString, value))
}

// sheet is a page of what P's are made of.
type sheet[P any] struct {
	of         *P
	entries    int
	references [][]string
}

// paged reads a search page by page until the directory says that it was the last one. take gets every entry as it comes, on the goroutine
// that reads from the network; yield gets each page when it is whole, on the caller's, while the next one is on its way. So two pages are
// held at once: one that is used and one that is read. references are told apart by d.refer and come back at the end.
func paged[P any](ctx context.Context, d *Directory, q query, take func(*P, *record) error, yield func(*P) error) (follow []address, err error) {
	op, err := q.op()
	if err != nil {
		return nil, err
	}
	p := &pager[P]{d: d, op: op, take: take}
	defer p.settle(ctx)
	if err := p.ask(nil); err != nil {
		return nil, d.settings.classify(err)
	}
	for {
		page, more, err := p.next(ctx)
		if err != nil {
			return nil, d.settings.classify(err)
		}
		found, err := d.refer(page.references)
		if err != nil {
			return nil, err
		}
		if follow = append(follow, found...); len(follow) > maxFollowed {
			return nil, d.settings.classify(errEndless)
		}
		if err := yield(page.of); err != nil {
			return nil, err
		}
		if !more {
			return follow, nil
		}
	}
}

// pager is a paged search under way.
type pager[P any] struct {
	d    *Directory
	op   []byte
	take func(*P, *record) error

	under        *exchange // the page that is being read; nil between the last one and nothing
	page         *sheet[P]
	total, empty int
}

func (p *pager[P]) ask(cookie []byte) error {
	page := &sheet[P]{of: new(P)}
	var rec record
	size := p.d.settings.PageSize
	p.page = page
	p.under = &exchange{
		ended: make(chan searchEnd, 1),
		entry: func(body []byte) error {
			if page.entries == size {
				return errTooLong
			}
			page.entries++
			if err := rec.fill(body); err != nil {
				return err
			}
			return p.take(page.of, &rec)
		},
		reference: func(addresses []string) error {
			if len(page.references) == maxFollowed {
				return errTooLong
			}
			page.references = append(page.references, addresses)
			return nil
		},
	}
	p.d.calls.Add(1)
	return p.d.link.ask(p.under, p.op, pagingControl(size, cookie))
}

// next waits for the page under way and asks for the one after it. The last message of each must carry the paging control, and success:
// anything else may be the end of the connection, of a limit or of a permission, and not of the directory.
func (p *pager[P]) next(ctx context.Context) (page *sheet[P], more bool, err error) {
	if err := ctx.Err(); err != nil {
		p.d.link.Close()
		return nil, false, context.Cause(ctx)
	}
	end, err := p.d.link.await(ctx, p.under)
	page, p.under = p.page, nil
	switch {
	case err != nil:
		return nil, false, err
	case end.code == ldap.LDAPResultReferral && p.total == 0 && page.entries == 0 && len(end.referrals) > 0:
		page.references = append(page.references, end.referrals)
		return page, false, nil
	case end.code != ldap.LDAPResultSuccess:
		return nil, false, end.err()
	case !end.paged:
		return nil, false, errNoPaging
	case len(end.cookie) == 0:
		return page, false, nil
	}
	if p.empty++; page.entries > 0 {
		p.empty = 0
	}
	if p.total += page.entries; p.total > maxEntries || p.empty > maxEmptyPages {
		return nil, false, fmt.Errorf("%w: after %d entries", errEndless, p.total)
	}
	return page, true, p.ask(end.cookie)
}

// settle waits for a page that nobody will use, so that the connection can be used again.
func (p *pager[P]) settle(ctx context.Context) {
	if p.under != nil {
		_, _ = p.d.link.await(ctx, p.under) // without an end, the connection is closed, which the next one to use it learns
	}
}
