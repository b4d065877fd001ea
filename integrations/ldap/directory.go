package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	adCapability   = "1.2.840.113556.1.4.800" // [MS-ADTS] 3.1.1.3.4.3.1: LDAP_CAP_ACTIVE_DIRECTORY_OID
	maxEntries     = 10_000_000               // of one listing
	maxEmptyPages  = 1000                     // in a row; Active Directory sends some when a filter finds little
	kindAD         = "Active Directory"
	kindOpenLDAP   = "OpenLDAP"
	kindOther      = "LDAP directory"
	noAttributes   = "1.1" // RFC 4511, section 4.5.1.8
	openLDAPObject = "OpenLDAProotDSE"
)

// Directory is a connection that is bound. It takes one call at a time.
type Directory struct {
	settings settings
	raw      net.Conn
	conn     *ldap.Conn

	kind           string
	namingContexts []string
	controls       []string // OIDs; empty when the rootDSE does not tell
	reader         reader
}

// errNoAnswer is the cause of a context that a time limit of ours has ended.
var errNoAnswer = errors.New("no answer in time")

// within runs one exchange. go-ldap's calls know no context, so the connection is closed under them when ctx ends or the
// answer takes too long. go-ldap's own time limit stays off: it drops answers that are not taken in time, and a dropped
// answer is a person who is missing.
func (d *Directory) within(ctx context.Context, exchange func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { d.raw.Close() })
	defer stop()
	err := exchange(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// detect asks the rootDSE what the directory is. A directory that hides its rootDSE counts as any LDAP directory.
func (d *Directory) detect(ctx context.Context) error {
	root, err := d.readEntry(ctx, "", "objectClass", "supportedCapabilities", "supportedControl", "namingContexts")
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights) {
		root, err = &ldap.Entry{}, nil
	}
	if err != nil {
		return d.settings.classify(err)
	}
	d.kind = kindOther
	switch {
	case slices.Contains(root.GetEqualFoldAttributeValues("supportedCapabilities"), adCapability):
		d.kind = kindAD
	case slices.Contains(root.GetEqualFoldAttributeValues("objectClass"), openLDAPObject):
		d.kind = kindOpenLDAP
	}
	d.namingContexts = root.GetEqualFoldAttributeValues("namingContexts")
	d.controls = root.GetEqualFoldAttributeValues("supportedControl")
	d.reader = newReader(d.kind, d.settings.Attributes)
	return nil
}

// readEntry reads one entry by its DN.
func (d *Directory) readEntry(ctx context.Context, dn string, attributes ...string) (entry *ldap.Entry, err error) {
	request := ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", attributes, nil)
	err = d.within(ctx, func(context.Context) error {
		found, err := d.conn.Search(request)
		if err != nil {
			return err
		}
		if len(found.Entries) != 1 {
			return ldap.NewError(ldap.LDAPResultNoSuchObject, errors.New("the entry is not visible"))
		}
		entry = found.Entries[0]
		return nil
	})
	return entry, err
}

// Probe looks at the base, at the configured groups and at what the directory can do, without listing anybody.
func (d *Directory) Probe(ctx context.Context) (string, error) {
	if len(d.controls) > 0 && !slices.Contains(d.controls, ldap.ControlTypePaging) {
		return "", badConfig("the directory does not know paged results (RFC 2696)", "a complete listing cannot be told from a cut one without them")
	}
	if _, err := d.readEntry(ctx, d.settings.BaseDN, noAttributes); err != nil {
		return "", d.settings.classify(err)
	}
	for _, g := range d.settings.Groups {
		if _, err := d.readEntry(ctx, g, noAttributes); err != nil {
			return "", d.settings.groupError(g, err)
		}
	}
	way := "StartTLS"
	if d.settings.secure {
		way = "LDAPS"
	}
	text := fmt.Sprintf("%s at %s over %s, bound as %s; %s is there", d.kind, d.settings.address, d.encryption(way), d.settings.BindDN, d.settings.BaseDN)
	if n := len(d.settings.Groups); n > 0 {
		text += fmt.Sprintf(", and so are the groups (%d)", n)
	}
	return text, nil
}

func (d *Directory) encryption(way string) string {
	if c, ok := d.raw.(*tls.Conn); ok {
		return way + " (" + tls.VersionName(c.ConnectionState().Version) + ")"
	}
	return way
}

// List calls yield for every page. It returns nil only when the directory has said that the listing is complete. No more than
// one page is held in memory, and with a groups filter 16 bytes for each member. A page on which nobody is a member is left out.
func (d *Directory) List(ctx context.Context, yield func([]backup.DirectoryEntry) error) error {
	keep, err := d.membership(ctx)
	if err != nil {
		return err
	}
	request := ldap.NewSearchRequest(d.settings.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, d.settings.Filter, d.reader.attributes(), nil)
	var page []backup.DirectoryEntry
	anyID, first := false, true
	take := func(e *ldap.Entry) {
		if keep.has(e.DN) {
			p, ok := d.reader.read(e)
			page, anyID = append(page, p), anyID || ok
		}
	}
	return d.eachPage(ctx, request, take, func() error {
		if len(page) == 0 {
			return nil
		}
		if first && !anyID {
			return d.settings.noIDs(d.reader.names.ID)
		}
		ready := page
		page, first = nil, false
		return yield(ready)
	})
}

// eachPage reads a search page by page until the directory says that it was the last: take gets every entry as it comes and
// must be quick, done is called after every page that is whole. Errors of done are returned as they are.
func (d *Directory) eachPage(ctx context.Context, request *ldap.SearchRequest, take func(*ldap.Entry), done func() error) error {
	var cookie []byte
	total, empty := 0, 0
	for {
		n, next, err := d.page(ctx, request, cookie, take)
		if err != nil {
			return d.settings.classify(err)
		}
		if err := done(); err != nil {
			return err
		}
		if len(next) == 0 {
			return nil
		}
		cookie, total, empty = next, total+n, empty+1
		if n > 0 {
			empty = 0
		}
		if total > maxEntries || empty > maxEmptyPages {
			return d.settings.classify(errEndless)
		}
	}
}

// page reads one page and returns its number of entries and the cookie of the next one. The page's last message must carry the
// paging control: a search that go-ldap gave up, because its context or its connection ended, looks just like a complete one
// otherwise.
func (d *Directory) page(ctx context.Context, request *ldap.SearchRequest, cookie []byte, take func(*ldap.Entry)) (n int, next []byte, err error) {
	size := d.settings.PageSize
	request.Controls = []ldap.Control{&ldap.ControlPaging{PagingSize: uint32(size), Cookie: cookie}} // 1 to maxPageSize
	err = d.within(ctx, func(ctx context.Context) error {
		var last ldap.Control
		answer := d.conn.SearchAsync(ctx, request, 16)
		for answer.Next() {
			switch e := answer.Entry(); {
			case e == nil: // a continuation reference, or what came with the end of the search
				last = ldap.FindControl(answer.Controls(), ldap.ControlTypePaging)
			case n == size:
				return errTooLong
			default:
				n++
				take(e)
			}
		}
		end, complete := last.(*ldap.ControlPaging)
		switch {
		case answer.Err() != nil:
			return answer.Err()
		case ctx.Err() != nil:
			return ctx.Err()
		case complete:
			next = end.Cookie
			return nil
		case d.conn.IsClosing():
			return errBrokenOff
		}
		return errNoPaging
	})
	return n, next, err
}

// Read lists everybody.
func (d *Directory) Read(ctx context.Context, _ backup.ReadFrom, yield func(backup.EntryPage) error) (backup.ReadEnd, error) {
	err := d.List(ctx, func(page []backup.DirectoryEntry) error { return yield(backup.EntryPage{Entries: page}) })
	return backup.ReadEnd{Mode: backup.FullRead}, err
}

// Close ends the connection. It may be called again. An error of closing only says that the connection was gone already, and
// nothing was written that could be lost.
func (d *Directory) Close() error {
	d.conn.Close()
	return nil
}
