package entra

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// longestValue bounds one text of an entry, in bytes, and mostValues the number of its addresses.
	longestValue = 4 << 10
	mostValues   = 500
)

// person is what is looked at in a user.
type person struct {
	ID         string               `json:"id"`
	Removed    *msgraph.RemovedMark `json:"@removed"`
	Name       string               `json:"displayName"`
	UPN        string               `json:"userPrincipalName"`
	Mail       string               `json:"mail"`
	Proxies    []string             `json:"proxyAddresses"`
	Enabled    *bool                `json:"accountEnabled"`
	UserType   string               `json:"userType"`
	Department string               `json:"department"`
	EmployeeID string               `json:"employeeId"`
	Licences   []json.RawMessage    `json:"assignedLicenses"`

	attributes []backup.EntryAttribute
}

// Key is the id.
func (p *person) Key() string { return p.ID }

// whole tells whether the object has what every user has: a change may come with the changed properties alone, and an absent one is
// then not an empty one.
func (p *person) whole() bool { return p.UPN != "" && p.Enabled != nil }

// readPerson decodes a user with the attributes that are asked for.
func readPerson(raw json.RawMessage, names []string) (*person, error) {
	p := &person{}
	if err := msgraph.Entry(raw, p); err != nil {
		return nil, err
	}
	p.ID = strings.ToLower(p.ID)
	if len(names) == 0 || p.Removed != nil {
		return p, nil
	}
	var all map[string]json.RawMessage
	var extended map[string]json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return nil, msgraph.BadResponse("a user of Microsoft Graph is not what it should be", nil)
	}
	if e := all[extensions]; e != nil && json.Unmarshal(e, &extended) != nil {
		return nil, msgraph.BadResponse("a user of Microsoft Graph is not what it should be", nil)
	}
	for _, name := range names {
		value := all[properties[name]]
		if extension.MatchString(name) {
			value = extended["extensionAttribute"+strings.TrimPrefix(name, "extensionattribute")]
		}
		for _, text := range texts(value) {
			p.attributes = append(p.attributes, backup.EntryAttribute{Name: name, Value: text})
		}
	}
	return p, nil
}

// texts are the values of a property: a text, a list of texts, or none.
func texts(raw json.RawMessage) (values []string) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		if one == "" {
			return nil
		}
		return []string{one}
	}
	if json.Unmarshal(raw, &values) != nil {
		return nil
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// entry makes the user an entry. purpose is the mailbox's where that was asked for.
func (w wanted) entry(p *person, groups []string, purpose mailboxPurpose) backup.DirectoryEntry {
	primary, aliases := addresses(p.Mail, p.Proxies)
	e := backup.DirectoryEntry{ID: p.ID, Mail: primary, UPN: p.UPN, DisplayName: p.Name, EmployeeID: p.EmployeeID, Department: p.Department,
		Disabled: p.Enabled != nil && !*p.Enabled, Aliases: aliases, Groups: groups, Attributes: p.attributes, Kind: purpose.kind()}
	if p.guest() {
		e.Kind = backup.Guest
	}
	if e.Kind != "" && e.Kind != backup.Guest {
		e.Disabled = false // nobody signs in to such a mailbox, by design
	}
	if e.Kind != "" && slices.Contains(w.Attributes, kindAttribute) {
		e.Attributes = append(e.Attributes, backup.EntryAttribute{Name: kindAttribute, Value: string(e.Kind)})
		slices.SortStableFunc(e.Attributes, func(a, b backup.EntryAttribute) int { return strings.Compare(a.Name, b.Name) })
	}
	switch {
	case p.tooLarge():
		e = backup.DirectoryEntry{ID: e.ID, UPN: msgraph.Plain(e.UPN, 200), Problem: backup.BadEntry}
	case e.Mail == "" && e.UPN == "":
		e.Problem = backup.NoMail
	}
	return e
}

func (p *person) guest() bool { return strings.EqualFold(p.UserType, "Guest") }

func (p *person) tooLarge() bool {
	long := func(s string) bool { return len(s) > longestValue }
	return len(p.Proxies) > mostValues || len(p.attributes) > mostValues || slices.ContainsFunc(p.Proxies, long) ||
		slices.ContainsFunc([]string{p.ID, p.Name, p.UPN, p.Mail, p.Department, p.EmployeeID}, long) ||
		slices.ContainsFunc(p.attributes, func(a backup.EntryAttribute) bool { return long(a.Value) })
}

// addresses are the primary mail address and the others. proxyAddresses are "SMTP:" the primary, "smtp:" another, and other systems' with
// other prefixes.
func addresses(mail string, proxies []string) (primary string, aliases []string) {
	for _, proxy := range proxies {
		scheme, address, ok := strings.Cut(proxy, ":")
		if !ok || !strings.EqualFold(scheme, "smtp") || address == "" {
			continue
		}
		if scheme == "SMTP" && mail == "" {
			mail = address
		}
		aliases = append(aliases, address)
	}
	aliases = slices.DeleteFunc(aliases, func(a string) bool { return strings.EqualFold(a, mail) })
	slices.Sort(aliases)
	return mail, slices.Compact(aliases)
}

// hasMailbox tells whether the user may have a mailbox. A shared one needs no licence (up to 50 GB), so the address tells, and not the plan.
func (p *person) hasMailbox() bool {
	primary, _ := addresses(p.Mail, p.Proxies)
	return primary != ""
}

// inGroups tells whether somebody in these groups is in one of those that people are limited to.
func (w wanted) inGroups(groups []string) bool {
	only := w.Config.Groups
	return len(only) == 0 || slices.ContainsFunc(only, func(g string) bool { return slices.Contains(groups, g) })
}

// selects tells whether the user is one of those wanted, of the groups given.
func (w wanted) selects(p *person, groups []string) bool {
	c := w.Config
	switch {
	case p.guest() && !c.Guests, c.Licensed && len(p.Licences) == 0:
		return false
	case !w.inGroups(groups):
		return false
	}
	for name, values := range c.Attributes {
		name = strings.ToLower(name)
		if !slices.ContainsFunc(p.attributes, func(a backup.EntryAttribute) bool {
			return a.Name == name && slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(v, a.Value) })
		}) {
			return false
		}
	}
	return true
}
