package ldap

import (
	"context"
	"errors"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// controller is what must be known of a domain controller before its changes are followed.
type controller struct {
	server  string // its invocationId and where that stands
	context string // the naming context that baseDN is in
	highest int64  // the USN that was committed last
}

// controller asks the one we are connected to. Its invocationId changes when it is restored from a backup, after which its USNs
// would lie ([MS-ADTS] 3.1.1.1.9).
func (d *Directory) controller(ctx context.Context) (c controller, err error) {
	root, err := d.readEntry(ctx, "", "dsServiceName", "dnsHostName", "highestCommittedUSN")
	if err != nil {
		return c, err
	}
	service := root.GetEqualFoldAttributeValue("dsServiceName")
	settings, err := d.readEntry(ctx, service, "invocationId")
	if err != nil {
		return c, err
	}
	id, ok := guidText(settings.GetEqualFoldRawAttributeValue("invocationId"))
	highest, numberErr := parseUSN(root.GetEqualFoldAttributeValue("highestCommittedUSN"))
	if !ok || numberErr != nil || len(service) > maxServerText/2 {
		return c, customer(backup.CodeBadResponse, "the controller does not tell its invocationId and highestCommittedUSN", "let the account read "+excerpt(service)+", or set changes: none")
	}
	c = controller{server: id + " " + root.GetEqualFoldAttributeValue("dnsHostName"), context: d.contextOf(d.settings.BaseDN), highest: highest}
	if c.context == "" {
		return c, badConfig("baseDN is in none of the controller's naming contexts", "check directory.ldap.baseDN")
	}
	return c, nil
}

// resolver finds out what became of changed entries of Active Directory.
type resolver struct {
	d       *Directory
	members *membership
	context string
}

// changed is an entry that a feed named.
type changed struct {
	guid    []byte
	id      string // guid as text
	deleted bool
	// moved: it may have been renamed or moved, and existed before.
	moved bool
}

func changedOf(e *ldap.Entry) (c changed, ok bool) {
	c.guid = e.GetEqualFoldRawAttributeValue(objectGUID)
	c.id, ok = guidText(c.guid)
	c.deleted = strings.EqualFold(e.GetEqualFoldAttributeValue("isDeleted"), "TRUE")
	return c, ok
}

// pages reads changed entries again, whole, by the search that lists everybody, and yields them in pages. One that this search does not
// find is deleted, somewhere else, or not selected any more. resume is told with the last page.
func (r resolver) yield(ctx context.Context, all []changed, resume []byte, yield func(backup.EntryPage) error) error {
	for {
		batch := all[:min(reread, len(all))]
		all = all[len(batch):]
		page, err := r.resolve(ctx, batch)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			page.Resume = resume
		}
		if len(page.Entries)+len(page.Gone)+len(page.Resume) > 0 {
			if err := yield(page); err != nil {
				return err
			}
		}
		if len(all) == 0 {
			return nil
		}
	}
}

func (r resolver) resolve(ctx context.Context, batch []changed) (page backup.EntryPage, err error) {
	var alive []changed
	for _, c := range batch {
		if c.deleted {
			page.Gone = append(page.Gone, c.id)
		} else {
			alive = append(alive, c)
		}
	}
	if len(alive) == 0 {
		return page, nil
	}
	found := map[string]bool{}
	filter := "(&" + r.d.settings.Filter + anyOf(alive) + ")"
	err = r.d.look(ctx, r.d.settings.BaseDN, filter, r.d.reader.attributes(), nil, func(e *ldap.Entry) error {
		p, hasID, err := r.d.person(ctx, e)
		if err != nil {
			return err
		}
		if !hasID {
			return r.d.settings.noIDs(r.d.reader.names.ID)
		}
		found[p.ID] = true
		if r.members.has(e.DN) {
			page.Entries = append(page.Entries, p)
		} else {
			page.Gone = append(page.Gone, p.ID)
		}
		return nil
	})
	if err != nil {
		return page, err
	}
	for _, c := range alive {
		if found[c.id] {
			continue
		}
		if err := r.checkContainer(ctx, c); err != nil {
			return page, err
		}
		page.Gone = append(page.Gone, c.id)
	}
	return page, nil
}

// person makes a person of an entry whose page is complete, and reads on where an attribute came in parts.
func (d *Directory) person(ctx context.Context, e *ldap.Entry) (p backup.DirectoryEntry, hasID bool, err error) {
	var rec record
	rec.take(e)
	p, hasID, whole := d.reader.person(&rec)
	if hasID && !whole {
		err = d.complete(ctx, &p)
	}
	return p, hasID, err
}

// checkContainer returns needsFull when something was renamed or moved that has entries below it: they moved along and say nothing.
func (r resolver) checkContainer(ctx context.Context, c changed) error {
	if !c.moved {
		return nil
	}
	request := ldap.NewSearchRequest("<GUID="+c.id+">", ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 1, 0, false, "(objectClass=*)", []string{noAttributes}, nil)
	err := r.d.within(ctx, func(context.Context) error {
		found, err := r.d.conn.Search(request)
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultSizeLimitExceeded) || err == nil && len(found.Entries) > 0 {
			return needsFull("a container was changed, renamed or moved")
		}
		return err
	})
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject) { // it is deleted by now, which is told next time
		return nil
	}
	return err
}

// anyOf is a filter for the entries with these ids.
func anyOf(all []changed) string {
	var b strings.Builder
	b.WriteString("(|")
	for _, c := range all {
		b.WriteString("(" + objectGUID + "=" + escapeBytes(c.guid) + ")")
	}
	b.WriteString(")")
	return b.String()
}

// escapeBytes writes bytes as RFC 4515 has them in a filter.
func escapeBytes(raw []byte) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range raw {
		b.Write([]byte{'\\', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

var errNoGUID = errors.New("a changed entry without an objectGUID")
