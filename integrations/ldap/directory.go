package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

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
	dialer   *dialer
	secure   *tls.Conn
	link     *link      // on secure
	conn     *ldap.Conn // on link, for all but listings
	calls    atomic.Int64

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
	d.calls.Add(1)
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { d.link.Close() })
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
	d.reader = newReader(d.kind, d.settings.Attributes).with(d.settings.ruleAttributes)
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
	text := fmt.Sprintf("%s at %s over %s, bound as %s; %s is there", d.kind, d.settings.address, d.encryption(way), d.settings.who(), d.settings.BaseDN)
	if n := len(d.settings.Groups); n > 0 {
		text += fmt.Sprintf(", and so are the groups (%d)", n)
	}
	return text, nil
}

func (d *Directory) encryption(way string) string {
	return way + " (" + tls.VersionName(d.secure.ConnectionState().Version) + ")"
}

// alive tells whether the connection still stands.
func (d *Directory) alive() bool {
	select {
	case <-d.link.done:
		return false
	default:
		return true
	}
}

// List calls yield for every page. It returns nil only when the directory has said that the listing is complete. Two pages are held in
// memory, one that is used and one that is read, and with a groups filter 16 bytes for each member. A page on which nobody is a member is
// left out.
func (d *Directory) List(ctx context.Context, yield func([]backup.DirectoryEntry) error) error {
	keep, err := d.membership(ctx)
	if err != nil {
		return err
	}
	return d.list(ctx, keep, yield)
}

// people is a page of a listing.
type people struct {
	entries []backup.DirectoryEntry
	parts   []int // places of entries that had more values than fit into an answer
	anyID   bool
}

func (d *Directory) list(ctx context.Context, keep *membership, yield func([]backup.DirectoryEntry) error) error {
	q := query{base: d.settings.BaseDN, scope: ldap.ScopeWholeSubtree, filter: d.settings.Filter, attributes: d.reader.attributes()}
	first := true
	take := func(at *Directory, p *people, r *record) error {
		if keep != nil && !keep.has(string(r.dn)) {
			return nil
		}
		e, hasID, whole := at.reader.person(r)
		if !whole && e.DN != "" {
			p.parts = append(p.parts, len(p.entries))
		}
		p.entries, p.anyID = append(p.entries, e), p.anyID || hasID
		return nil
	}
	return pagedEverywhere(ctx, d, q, trailFrom(d, q), take, func(at *Directory, p *people) error {
		if len(p.entries) == 0 {
			return nil
		}
		if first && !p.anyID {
			return d.settings.noIDs(d.reader.names.ID)
		}
		first = false
		for _, i := range p.parts {
			if err := at.complete(ctx, &p.entries[i]); err != nil {
				return at.settings.classify(err)
			}
		}
		return yield(p.entries)
	})
}

// maxRanges bounds the answers that one attribute of one entry is put together from.
const maxRanges = 1000

// complete reads an entry again of which an attribute came in parts, and puts these together ([MS-ADTS] 3.1.1.3.1.3.3).
func (d *Directory) complete(ctx context.Context, p *backup.DirectoryEntry) error {
	whole, err := d.readEntry(ctx, p.DN, d.reader.attributes()...)
	if err != nil {
		return err
	}
	for _, a := range whole.Attributes {
		part := attribute{name: []byte(a.Name)}
		base, _, _ := strings.Cut(a.Name, ";")
		for n, next := 0, part.nextRange(); next > 0; n++ {
			more, err := d.readEntry(ctx, p.DN, fmt.Sprintf("%s;%s%d-*", base, rangeOption, next))
			if err != nil {
				return err
			}
			at := slices.IndexFunc(more.Attributes, func(m *ldap.EntryAttribute) bool {
				return strings.HasPrefix(strings.ToLower(m.Name), strings.ToLower(base)+";"+rangeOption)
			})
			if at < 0 || n == maxRanges {
				return errEndless
			}
			a.ByteValues = append(a.ByteValues, more.Attributes[at].ByteValues...)
			from := next
			if next = (&attribute{name: []byte(more.Attributes[at].Name)}).nextRange(); next > 0 && next <= from {
				return errEndless
			}
		}
		a.Name = base
	}
	*p, _ = d.reader.read(whole)
	return nil
}

// Close ends the connection. It may be called again. An error of closing only says that the connection was gone already, and
// nothing was written that could be lost.
func (d *Directory) Close() error {
	d.conn.Close()
	d.link.Close()
	<-d.link.done
	return nil
}
