package ldap

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var (
	errNoSyncrepl = errors.New("the database does not know syncrepl (RFC 4533)")
	errNoSyncDone = errors.New("the changes ended without the sync done control (RFC 4533)")
)

// presentPage is how many ids of those who are there as they were are told at once.
const presentPage = 5000

// syncrepl follows a directory by content synchronization (RFC 4533), refresh only. The first listing is not made by it, because the
// reader of full listings is several times faster: a refresh that selects nothing gives the cookie before that.
type syncrepl struct {
	d       *Directory
	members *membership
	top     string
}

// locate finds the top of the naming context. Its entryUUID is that of the database: its replicas share it, and a new one has another.
func (s *syncrepl) locate(ctx context.Context, c *cursor) error {
	s.top = s.d.contextOf(s.d.settings.BaseDN)
	if s.top == "" {
		s.top = s.d.settings.BaseDN
	}
	e, err := s.d.readEntry(ctx, s.top, entryUUID)
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights) && s.top != s.d.settings.BaseDN {
		s.top = s.d.settings.BaseDN
		e, err = s.d.readEntry(ctx, s.top, entryUUID)
	}
	if err != nil {
		return err
	}
	c.Server, _ = uuidText(e.GetEqualFoldAttributeValue(entryUUID))
	if c.Server == "" {
		return errNoSyncrepl
	}
	_, err = s.refresh(ctx, s.top, nothing, nil, nil)
	return err
}

func (s *syncrepl) begin(ctx context.Context, c *cursor) error {
	end, err := s.refresh(ctx, s.top, nothing, nil, nil)
	if err == nil && len(end.cookie) == 0 {
		err = errNoSyncDone
	}
	c.Cookie, c.Containers = end.cookie, end.cookie
	return err
}

// follow looks first at what has entries below it: those move along with it, and do not count as changed.
func (s *syncrepl) follow(ctx context.Context, c *cursor, yield func(backup.EntryPage) error) (backup.ReadMode, error) {
	if len(c.Containers) == 0 {
		return "", needsFull("the cursor cannot be read")
	}
	containers := 0
	end, err := s.refresh(ctx, s.top, "(hasSubordinates=TRUE)", c.Containers, func(syncMessage) error { containers++; return nil }, noAttributes)
	if err != nil {
		return "", err
	}
	if end.added > 0 {
		return "", needsFull("a container was changed, renamed or moved")
	}
	if len(end.cookie) > 0 {
		c.Containers = end.cookie
	}
	p := &syncPages{s: s, yield: yield}
	end, err = s.refresh(ctx, s.d.settings.BaseDN, s.d.settings.Filter, c.Cookie, p.take, s.d.reader.attributes()...)
	if err != nil {
		return "", err
	}
	if len(end.cookie) > 0 {
		c.Cookie = end.cookie
	}
	return p.end(end)
}

// syncMessage is one message of a refresh.
type syncMessage struct {
	entry *ldap.Entry
	state ldap.ControlSyncStateState
	ids   []string
	// deletes: the ids are of those who are gone, and not of those who are there.
	deletes bool
}

type syncEnd struct {
	cookie  []byte // empty: keep the old one
	deletes bool   // who is gone was named
	added   int    // entries that were sent
}

// refresh runs one synchronization. Only the sync done control says that it is complete: go-ldap ends a search that was given up alike.
func (s *syncrepl) refresh(ctx context.Context, base, filter string, cookie []byte, take func(syncMessage) error, attributes ...string) (end syncEnd, err error) {
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil)
	err = s.d.within(ctx, func(ctx context.Context) error {
		complete := false
		answer := s.d.conn.Syncrepl(ctx, request, 64, ldap.SyncRequestModeRefreshOnly, cookie, false)
		for answer.Next() {
			if e := answer.Entry(); e != nil {
				end.added++
			}
			m, done, err := readSync(answer)
			if err != nil {
				return err
			}
			if done != nil {
				complete, end.cookie, end.deletes = true, done.Cookie, done.RefreshDeletes
				continue
			}
			if take != nil && (m.entry != nil || len(m.ids) > 0) {
				if err := take(m); err != nil {
					return err
				}
			}
		}
		switch err := answer.Err(); {
		case ldap.IsErrorAnyOf(err, ldap.LDAPResultUnavailableCriticalExtension):
			return errNoSyncrepl
		case len(cookie) > 0 && ldap.IsErrorAnyOf(err, ldap.LDAPResultSyncRefreshRequired, ldap.LDAPResultProtocolError, ldap.LDAPResultUnwillingToPerform):
			return needsFull("the directory does not accept the cookie")
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !complete:
			return errNoSyncDone
		}
		return nil
	})
	return end, err
}

func readSync(answer ldap.Response) (m syncMessage, done *ldap.ControlSyncDone, err error) {
	m.entry = answer.Entry()
	stated := false
	for _, c := range answer.Controls() {
		switch c := c.(type) {
		case *ldap.ControlSyncDone:
			done = c
		case *ldap.ControlSyncState:
			m.state, stated = c.State, true
			m.ids = []string{c.EntryUUID.String()}
		case *ldap.ControlSyncInfo:
			if c.SyncIdSet == nil {
				continue
			}
			m.deletes = c.SyncIdSet.RefreshDeletes
			for _, id := range c.SyncIdSet.SyncUUIDs {
				m.ids = append(m.ids, id.String())
			}
		}
	}
	if m.entry != nil && !stated {
		return m, nil, fmt.Errorf("%w: an entry without its state", errNoSyncDone)
	}
	return m, done, nil
}

// syncPages makes pages of messages. It cannot know before the end whether this is a refresh by deletes or by presents.
type syncPages struct {
	s       *syncrepl
	page    backup.EntryPage
	yield   func(backup.EntryPage) error
	any     bool
	present bool
}

func (p *syncPages) take(m syncMessage) error {
	p.any = true
	switch {
	case m.entry == nil && m.deletes, m.entry != nil && m.state == ldap.SyncStateDelete:
		p.page.Gone = append(p.page.Gone, m.ids...)
	case m.entry == nil, m.state == ldap.SyncStatePresent:
		p.present = true
		p.page.Present = append(p.page.Present, m.ids...)
	default:
		if err := p.changed(m.entry); err != nil {
			return err
		}
	}
	if len(p.page.Entries) >= p.s.d.settings.PageSize || len(p.page.Present)+len(p.page.Gone) >= presentPage {
		return p.flush()
	}
	return nil
}

func (p *syncPages) changed(e *ldap.Entry) error {
	person, hasID := p.s.d.reader.read(e)
	switch {
	case !hasID:
		return p.s.d.settings.noIDs(p.s.d.reader.names.ID)
	case p.s.members.has(e.DN):
		p.page.Entries = append(p.page.Entries, person)
	default:
		p.page.Gone = append(p.page.Gone, person.ID)
	}
	return nil
}

func (p *syncPages) flush() error {
	if len(p.page.Entries)+len(p.page.Present)+len(p.page.Gone) == 0 {
		return nil
	}
	page := p.page
	p.page = backup.EntryPage{}
	return p.yield(page)
}

// end tells what the refresh was. Without the word that who is gone was named, whoever was not named is gone (RFC 4533, section 3.3.2),
// unless nothing came at all and the cookie stayed: then nothing changed.
func (p *syncPages) end(end syncEnd) (backup.ReadMode, error) {
	if err := p.flush(); err != nil {
		return "", err
	}
	if end.deletes && !p.present || !p.any && len(end.cookie) == 0 {
		return backup.ChangesRead, nil
	}
	return backup.FullRead, nil
}
