package ldap

import (
	"cmp"
	"slices"
	"strings"
	"time"
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

	consistencyGUID = "mS-DS-ConsistencyGuid"
	accountExpires  = "accountExpires"             // Active Directory
	shadowExpire    = "shadowExpire"               // RFC 2307
	accountLock     = "nsAccountLock"              // 389 Directory Server
	proxyAddresses  = "proxyAddresses"             // Exchange
	recipientType   = "msExchRecipientTypeDetails" // Exchange
	alternateMail   = "mailAlternateAddress"
	smtpPrefix      = "smtp:"

	maxValues = 2000 // of one attribute of a person
)

// reader makes people of entries, with the attribute names of one directory.
type reader struct {
	names backup.LDAPAttributes
	rules []string       // further attributes, in lower case
	slots map[string]int // by name, as it is asked for and in lower case
	asked []string       // by slot
	shown []int          // by slot, the slot that has its attribute: the first of those of one name; -1 for no name
}

// Slots of what every reader asks for; those of the rules' attributes follow.
const (
	slotID = iota
	slotMail
	slotUPN
	slotDisplayName
	slotCommonName
	slotEmployeeID
	slotDepartment
	slotDisabled
	slotControl
	slotLocked
	slotExpires
	slotShadow
	slotAccountLock
	slotProxies
	slotAlternate
	slotRecipient
	slotRules
)

// newReader fills in the names that the tenant left out.
func newReader(kind string, names backup.LDAPAttributes) reader {
	defaults := backup.LDAPAttributes{ID: entryUUID, Mail: "mail", EmployeeID: "employeeNumber", Department: "departmentNumber"}
	defaults.UPN = cmp.Or(names.Mail, defaults.Mail)
	if kind == kindAD {
		defaults = backup.LDAPAttributes{ID: objectGUID, Mail: "mail", UPN: "userPrincipalName", EmployeeID: "employeeID", Department: "department"}
	}
	r := reader{names: backup.LDAPAttributes{
		ID:            cmp.Or(names.ID, defaults.ID),
		Mail:          cmp.Or(names.Mail, defaults.Mail),
		UPN:           cmp.Or(names.UPN, defaults.UPN),
		DisplayName:   cmp.Or(names.DisplayName, "displayName"),
		EmployeeID:    cmp.Or(names.EmployeeID, defaults.EmployeeID),
		Department:    cmp.Or(names.Department, defaults.Department),
		Disabled:      names.Disabled,
		DisabledValue: names.DisabledValue,
	}}
	return r.with(nil)
}

// with asks for the attributes that rules name, too.
func (r reader) with(rules []string) reader {
	n := r.names
	r.rules = rules
	r.asked = append([]string{n.ID, n.Mail, n.UPN, n.DisplayName, commonName, n.EmployeeID, n.Department, n.Disabled, userControl, lockedTime,
		accountExpires, shadowExpire, accountLock, proxyAddresses, alternateMail, recipientType}, rules...)
	r.slots = map[string]int{}
	for i, name := range r.asked {
		base, _, _ := strings.Cut(name, ";")
		if _, taken := r.slots[strings.ToLower(base)]; !taken && base != "" {
			r.slots[base], r.slots[strings.ToLower(base)] = i, i
		}
	}
	r.shown = make([]int, len(r.asked))
	for i, name := range r.asked {
		r.shown[i] = -1
		if base, _, _ := strings.Cut(name, ";"); base != "" {
			r.shown[i] = r.slots[strings.ToLower(base)]
		}
	}
	return r
}

// attributes are the names to ask for. entryUUID and pwdAccountLockedTime are operational: they come only when named.
func (r reader) attributes() []string {
	all := slices.DeleteFunc(slices.Clone(r.asked), func(name string) bool { return name == "" })
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return slices.CompactFunc(all, strings.EqualFold)
}

// read makes a person of an entry of go-ldap's; see person.
func (r reader) read(e *ldap.Entry) (p backup.DirectoryEntry, hasID bool) {
	var rec record
	rec.take(e)
	p, hasID, _ = r.person(&rec)
	return p, hasID
}

// person makes a person of an entry. hasID tells whether the immutable id was readable; without it the entry gets one made of its
// DN. whole is false when an attribute came in parts, of which this was the first.
//
// A value that breaks a limit, is not UTF-8 or holds control characters is left out. The person is kept, unless it is one that a person is
// found by: a DN, a mail or a UPN that cannot be read marks the entry bad, under its own id, so that the account behind it does not count
// as gone.
func (r reader) person(rec *record) (p backup.DirectoryEntry, hasID, whole bool) {
	rec.choose(r.slots, len(r.asked))
	v := view{r: r, rec: rec}
	p = backup.DirectoryEntry{
		Mail: v.vital(slotMail), UPN: v.vital(slotUPN), DisplayName: cmp.Or(v.text(slotDisplayName), v.text(slotCommonName)),
		EmployeeID: v.text(slotEmployeeID), Department: v.text(slotDepartment), Kind: v.kind(),
	}
	p.Aliases, p.Attributes, p.Disabled = v.aliases(p.Mail), v.rules(), v.disabled(time.Now())
	var dnOK bool
	if p.DN, dnOK = clean(string(rec.dn), maxDN); !dnOK {
		v.bad = true
	}
	if p.ID, hasID = v.id(); !hasID {
		p.ID = idFromDN(string(rec.dn))
	}
	switch {
	case v.bad || !hasID:
		p.Problem = backup.BadEntry
	case p.Mail == "" && p.UPN == "":
		p.Problem = backup.NoMail
	}
	return p, hasID, !v.parts
}

// view is an entry seen with a reader's names.
type view struct {
	r     reader
	rec   *record
	bad   bool // something that a person is found by could not be read
	parts bool // something is longer than this answer
}

// attribute returns what stands in a slot, or nil.
func (v *view) attribute(slot int) *attribute {
	at := v.r.shown[slot]
	if at < 0 || v.rec.chosen[at] == 0 {
		return nil
	}
	a := &v.rec.attributes[v.rec.chosen[at]-1]
	v.parts = v.parts || a.nextRange() > 0
	return a
}

// first is the first value in a slot; one that is not there is nil.
func (v *view) first(slot int) []byte {
	if a := v.attribute(slot); a != nil {
		for value := range a.all() {
			return value
		}
	}
	return nil
}

// text is the first value in a slot, and empty when it is not text.
func (v *view) text(slot int) string {
	text, _ := cleanValue(v.first(slot))
	return text
}

// vital is text that makes the entry bad when it cannot be read.
func (v *view) vital(slot int) string {
	text, ok := cleanValue(v.first(slot))
	v.bad = v.bad || !ok
	return text
}

// id reads the immutable id, which must have exactly one value. It is compared in lower case.
func (v *view) id() (string, bool) {
	a := v.attribute(slotID)
	if a == nil {
		return "", false
	}
	var value []byte
	n := 0
	for value = range a.all() {
		n++
	}
	if n != 1 || len(value) > maxText {
		return "", false
	}
	switch {
	case strings.EqualFold(v.r.names.ID, objectGUID), strings.EqualFold(v.r.names.ID, consistencyGUID):
		return guidText(value)
	case strings.EqualFold(v.r.names.ID, entryUUID):
		return uuidText(string(value))
	}
	id, ok := clean(string(value), maxText)
	return strings.ToLower(id), ok && id != ""
}

// aliases are all other addresses: proxyAddresses of Exchange ("smtp:" and an address; other kinds are no mail), mailAlternateAddress, and
// mail's further values. Sorted, each once, from at most maxValues of each.
func (v *view) aliases(primary string) (all []string) {
	add := func(value []byte) {
		if address, _ := cleanValue(value); address != "" && !strings.EqualFold(address, primary) {
			all = append(all, address)
		}
	}
	for _, slot := range []int{slotMail, slotAlternate, slotProxies} {
		a := v.attribute(slot)
		if a == nil {
			continue
		}
		n := 0
		for value := range a.all() {
			if n++; n > maxValues {
				break
			}
			if slot == slotProxies {
				if len(value) < len(smtpPrefix) || !strings.EqualFold(string(value[:len(smtpPrefix)]), smtpPrefix) {
					continue
				}
				value = value[len(smtpPrefix):]
			}
			add(value)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
	})
	return slices.CompactFunc(all, strings.EqualFold)
}

// rules are the values of the attributes that the tenant's rules name, at most maxValues of each.
func (v *view) rules() (all []backup.EntryAttribute) {
	for i, name := range v.r.rules {
		a := v.attribute(slotRules + i)
		if a == nil {
			continue
		}
		n := 0
		for value := range a.all() {
			if n++; n > maxValues {
				break
			}
			if text, _ := cleanValue(value); text != "" {
				all = append(all, backup.EntryAttribute{Name: name, Value: text})
			}
		}
	}
	return all
}

// cleanValue is clean for one value of an attribute; none is empty text.
func cleanValue(value []byte) (string, bool) {
	if len(value) > 2*maxText { // not worth a copy
		return "", false
	}
	return clean(string(value), maxText)
}

// clean takes text that is UTF-8, without control characters and at most so many bytes long, and drops the spaces around it.
func clean(text string, most int) (string, bool) {
	text = strings.TrimSpace(text)
	if len(text) > most || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", false
	}
	return text, true
}
