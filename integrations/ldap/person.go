package ldap

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	maxText = 1 << 10 // bytes of one attribute

	objectGUID  = "objectGUID"
	entryUUID   = "entryUUID"
	userControl = "userAccountControl"   // Active Directory
	lockedTime  = "pwdAccountLockedTime" // OpenLDAP's password policy
	commonName  = "cn"

	// accountDisable is bit 2 of userAccountControl ([MS-ADTS] 2.2.16).
	accountDisable = 0x2
	// lockedForGood is set by an administrator. Any other time is a lock after wrong passwords, which passes: such a person is
	// not gone (draft-behera-ldap-password-policy, section 5.3.3).
	lockedForGood = "000001010000Z"
)

// reader makes people of entries, with the attribute names of one directory.
type reader struct {
	names       backup.LDAPAttributes
	nameChoices []string // what is tried for the display name, in order
}

// newReader fills in the names that the tenant left out.
func newReader(kind string, names backup.LDAPAttributes) reader {
	r := reader{nameChoices: []string{cmp.Or(names.DisplayName, "displayName"), commonName}}
	defaults := backup.LDAPAttributes{ID: entryUUID, Mail: "mail", EmployeeID: "employeeNumber", Department: "departmentNumber"}
	defaults.UPN = cmp.Or(names.Mail, defaults.Mail)
	if kind == kindAD {
		defaults = backup.LDAPAttributes{ID: objectGUID, Mail: "mail", UPN: "userPrincipalName", EmployeeID: "employeeID", Department: "department"}
	}
	r.names = backup.LDAPAttributes{
		ID:            cmp.Or(names.ID, defaults.ID),
		Mail:          cmp.Or(names.Mail, defaults.Mail),
		UPN:           cmp.Or(names.UPN, defaults.UPN),
		EmployeeID:    cmp.Or(names.EmployeeID, defaults.EmployeeID),
		Department:    cmp.Or(names.Department, defaults.Department),
		Disabled:      names.Disabled,
		DisabledValue: names.DisabledValue,
	}
	return r
}

// attributes are the names to ask for. entryUUID and pwdAccountLockedTime are operational: they come only when named.
func (r reader) attributes() []string {
	n := r.names
	all := append([]string{n.ID, n.Mail, n.UPN, n.EmployeeID, n.Department, userControl, lockedTime}, r.nameChoices...)
	if n.Disabled != "" {
		all = append(all, n.Disabled)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// read makes a person of an entry. hasID tells whether the immutable id was readable; without it the entry gets one made of its
// DN. An attribute that breaks a limit, is not UTF-8 or holds control characters is left out and the entry is marked bad; its
// own id stays, so that the account behind it does not count as gone.
func (r reader) read(e *ldap.Entry) (p backup.DirectoryEntry, hasID bool) {
	bad := false
	text := func(names ...string) string {
		for _, name := range names {
			value, ok := textOf(e, name)
			bad = bad || !ok
			if value != "" {
				return value
			}
		}
		return ""
	}
	p = backup.DirectoryEntry{
		Mail: text(r.names.Mail), UPN: text(r.names.UPN), DisplayName: text(r.nameChoices...),
		EmployeeID: text(r.names.EmployeeID), Department: text(r.names.Department),
	}
	var dnOK, stateOK bool
	p.DN, dnOK = clean(e.DN, maxDN)
	p.Disabled, stateOK = r.disabled(e)
	if p.ID, hasID = r.id(e); !hasID {
		p.ID = idFromDN(e.DN)
	}
	switch {
	case bad || !dnOK || !stateOK || !hasID:
		p.Problem = backup.BadEntry
	case p.Mail == "" && p.UPN == "":
		p.Problem = backup.NoMail
	}
	return p, hasID
}

// id reads the immutable id, which must have exactly one value.
func (r reader) id(e *ldap.Entry) (string, bool) {
	values := e.GetEqualFoldRawAttributeValues(r.names.ID)
	if len(values) != 1 {
		return "", false
	}
	switch {
	case strings.EqualFold(r.names.ID, objectGUID):
		return guidText(values[0])
	case strings.EqualFold(r.names.ID, entryUUID):
		return uuidText(string(values[0]))
	}
	id, ok := clean(string(values[0]), maxText)
	return id, ok && id != ""
}

// disabled tells whether the account is closed; ok is false when the directory's word for it cannot be read.
func (r reader) disabled(e *ldap.Entry) (disabled, ok bool) {
	if slices.Contains(e.GetEqualFoldAttributeValues(lockedTime), lockedForGood) {
		return true, true
	}
	if n := r.names.Disabled; n != "" {
		for _, v := range e.GetEqualFoldAttributeValues(n) {
			if strings.EqualFold(strings.TrimSpace(v), r.names.DisabledValue) {
				return true, true
			}
		}
	}
	control := e.GetEqualFoldAttributeValue(userControl)
	if control == "" {
		return false, true
	}
	bits, err := strconv.ParseInt(control, 10, 64)
	return bits&accountDisable != 0, err == nil
}

// textOf reads the first value of an attribute; an attribute that is not there is the empty text.
func textOf(e *ldap.Entry, name string) (string, bool) {
	values := e.GetEqualFoldRawAttributeValues(name)
	if len(values) == 0 {
		return "", true
	}
	return clean(string(values[0]), maxText)
}

// clean takes text that is UTF-8, without control characters and at most so many bytes long, and drops the spaces around it.
func clean(text string, most int) (string, bool) {
	text = strings.TrimSpace(text)
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", false
	}
	return text, true
}
