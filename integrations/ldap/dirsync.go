package ldap

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// dirSyncBytes is how much the controller may put into one answer, in bytes.
	dirSyncBytes = 1 << 20
	// nothing matches no entry: each has an objectClass.
	nothing = "(!(objectClass=*))"
	// maxDirSyncAnswers bounds one read: even a controller that gives one entry at a time comes to an end.
	maxDirSyncAnswers = 1_000_000
)

// dirSync follows Active Directory by its DirSync control ([MS-ADTS] 3.1.1.3.4.1.3). It works on a whole naming context, and tells
// attributes that changed and not entries that are selected; so it is asked for everything, and what it names is read again.
type dirSync struct{ resolver }

// permitted asks for nothing: the right is looked at first.
func (s *dirSync) permitted(ctx context.Context) error {
	_, err := s.d.readDirSync(ctx, s.context, nothing, []string{objectGUID}, nil)
	return err
}

// begin goes through the directory once without an entry being sent. The cookie does not depend on the filter.
func (s *dirSync) begin(ctx context.Context, c *cursor) error {
	return s.each(ctx, nothing, nil, func(_ []*ldap.Entry, cookie []byte) error {
		c.Cookie = cookie
		return nil
	})
}

// follow can be resumed after each answer.
func (s *dirSync) follow(ctx context.Context, c *cursor, yield func(backup.EntryPage) error) (backup.ReadMode, error) {
	err := s.each(ctx, "(objectClass=*)", c.Cookie, func(entries []*ldap.Entry, cookie []byte) error {
		var all []changed
		for _, e := range entries {
			one, ok := changedOf(e)
			if !ok {
				return errNoGUID
			}
			// A new entry comes with all it has. Of an old one only what changed comes, and a move changes the name, too.
			one.moved = e.GetEqualFoldAttributeValue("name") != "" && e.GetEqualFoldAttributeValue("whenCreated") == ""
			all = append(all, one)
		}
		c.Cookie = cookie
		if len(all) == 0 {
			return nil
		}
		return s.yield(ctx, all, c.encode(), yield)
	})
	return backup.ChangesRead, err
}

// each reads answers until the controller says that there is no more (a flag in the control of each).
func (s *dirSync) each(ctx context.Context, filter string, cookie []byte, visit func([]*ldap.Entry, []byte) error) error {
	for range maxDirSyncAnswers {
		found, err := s.d.readDirSync(ctx, s.context, filter, s.attributes(), cookie)
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultProtocolError, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultOperationsError, ldap.LDAPResultOther) && len(cookie) > 0 {
			return needsFull("the controller does not accept the cookie")
		}
		if err != nil {
			return err
		}
		if len(found.cookie) == 0 {
			return errNoDirSync
		}
		if err := visit(found.entries, found.cookie); err != nil {
			return err
		}
		if !found.more {
			return nil
		}
		cookie = found.cookie
	}
	return errEndless
}

var errNoDirSync = errors.New("the changes ended without the DirSync control")

// attributes are those whose change may make an entry another one, or one that is selected or not.
func (s *dirSync) attributes() []string {
	names := append(s.d.reader.attributes(), objectGUID, "name", "isDeleted", "whenCreated")
	names = append(names, filterAttributes(s.d.settings.Filter)...)
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return slices.CompactFunc(names, strings.EqualFold)
}

type dirSyncAnswer struct {
	entries []*ldap.Entry
	cookie  []byte
	more    bool
}

// readDirSync reads one answer. Referrals to other naming contexts, which each carries, are left alone.
func (d *Directory) readDirSync(ctx context.Context, base, filter string, attributes []string, cookie []byte) (a dirSyncAnswer, err error) {
	request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil)
	err = d.within(ctx, func(context.Context) error {
		found, err := d.conn.DirSync(request, 0, dirSyncBytes, cookie)
		if err != nil {
			return err
		}
		end, complete := ldap.FindControl(found.Controls, ldap.ControlTypeDirSync).(*ldap.ControlDirSync)
		if !complete {
			return errNoDirSync
		}
		a = dirSyncAnswer{found.Entries, end.Cookie, end.Flags != 0}
		return nil
	})
	return a, err
}
