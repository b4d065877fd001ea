package ldap

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// fullWithoutTombstones is how long deletions may go unseen when the account may not read deleted objects.
const fullWithoutTombstones = 24 * time.Hour

// deletedObjects is the container of what was deleted, by its well-known id ([MS-ADTS] 6.1.1.4).
const deletedObjects = "18E2EA80684F11D2B9AA00C04F79F805"

// usnFeed follows one controller of Active Directory by the number that each change of an entry gets. It names every entry that changed in
// any way, and those that were deleted only to an account that may see them.
type usnFeed struct {
	resolver
	highest    int64
	tombstones bool
}

// seeDeleted finds out whether deleted objects are visible. A search for them that nobody may make finds nothing and is no error; so the
// container itself is asked for.
func (u *usnFeed) seeDeleted(ctx context.Context) error {
	base := "<WKGUID=" + deletedObjects + "," + u.context + ">"
	request := ldap.NewSearchRequest(base, ldap.ScopeBaseObject, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"isDeleted"}, showDeleted())
	return u.d.within(ctx, func(context.Context) error {
		found, err := u.d.conn.Search(request)
		if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultUnavailableCriticalExtension) {
			return nil
		}
		u.tombstones = err == nil && len(found.Entries) == 1
		return err
	})
}

func showDeleted() []ldap.Control { return []ldap.Control{ldap.NewControlMicrosoftShowDeleted()} }

func (u *usnFeed) begin(_ context.Context, c *cursor) error {
	c.USN = u.highest
	return nil
}

// follow reads what has a number above the cursor's. What changes meanwhile is told now and once more next time.
func (u *usnFeed) follow(ctx context.Context, c *cursor, yield func(backup.EntryPage) error) (backup.ReadMode, error) {
	switch {
	case u.highest < c.USN:
		return "", needsFull("the controller's numbers went back")
	case u.highest == c.USN:
		return backup.ChangesRead, nil
	case !u.tombstones && time.Since(c.Full) > fullWithoutTombstones:
		return "", needsFull("deletions are seen by a full listing only")
	}
	all, err := u.since(ctx, c.USN)
	if err != nil {
		return "", err
	}
	c.USN = u.highest
	if len(all) == 0 {
		return backup.ChangesRead, nil
	}
	return backup.ChangesRead, u.yield(ctx, all, nil, yield)
}

func (u *usnFeed) since(ctx context.Context, usn int64) (all []changed, err error) {
	filter := fmt.Sprintf("(uSNChanged>=%d)", usn+1)
	attributes := []string{objectGUID, "isDeleted", "uSNCreated"}
	var controls []ldap.Control
	if u.tombstones {
		controls = showDeleted()
	}
	err = u.d.look(ctx, u.context, filter, attributes, controls, func(e *ldap.Entry) error {
		one, ok := changedOf(e)
		if !ok {
			return errNoGUID
		}
		if len(all) == maxChanged {
			return needsFull("too much changed")
		}
		created, err := parseUSN(e.GetEqualFoldAttributeValue("uSNCreated"))
		// What was changed is not told: a container that was changed may have been renamed. The top of the naming context cannot be.
		one.moved = (err != nil || created <= usn) && keyOf(e.DN) != keyOf(u.context)
		all = append(all, one)
		return nil
	})
	return all, err
}

func parseUSN(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	return n, err
}
