package ldapserver

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// Where the company of the sandbox lives, unless the options say otherwise.
const (
	DefaultBaseDN = "dc=acme,dc=example"
	DefaultBindDN = "cn=holdfast,dc=acme,dc=example"
)

// LockedForGood is the pwdAccountLockedTime of an account that only an administrator can unlock
// (draft-behera-ldap-password-policy, section 5.3.3).
const LockedForGood = "000001010000Z"

// Attribute is one attribute of an entry with its values, as text.
type Attribute struct {
	Name   string
	Values []string
	// Operational attributes are sent only when they are asked for by name or by "+".
	Operational bool
}

// Entry is one entry of the directory.
type Entry struct {
	DN         string
	Attributes []Attribute
}

// Tree is the whole directory of a company, every parent before its children: the base, ou=people with one inetOrgPerson
// per person, and ou=groups with one group per department, "staff" made of those groups, and "everybody", which has staff
// as a member and is a member of staff: companies do make such circles.
func Tree(baseDN string, people []sandbox.Person) []Entry {
	entries := make([]Entry, 0, len(people)+16)
	entries = append(entries,
		domain(baseDN),
		container(peopleDN(baseDN), one("objectClass", "organizationalUnit"), one("ou", "people")),
		container(groupsDN(baseDN), one("objectClass", "organizationalUnit"), one("ou", "groups")),
	)
	for _, p := range people {
		entries = append(entries, personEntry(baseDN, p))
	}
	return append(entries, groupEntries(baseDN, people)...)
}

// PersonDN is where a person stands in the tree.
func PersonDN(baseDN string, p sandbox.Person) string {
	return "uid=" + p.UID + "," + peopleDN(baseDN)
}

// GroupDN is where a group stands in the tree: a department, "staff" or "everybody".
func GroupDN(baseDN, name string) string { return "cn=" + name + "," + groupsDN(baseDN) }

func peopleDN(baseDN string) string { return "ou=people," + baseDN }
func groupsDN(baseDN string) string { return "ou=groups," + baseDN }

func personEntry(baseDN string, p sandbox.Person) Entry {
	e := Entry{DN: PersonDN(baseDN, p), Attributes: []Attribute{
		one("objectClass", "inetOrgPerson"),
		one("uid", p.UID),
		one("cn", p.DisplayName()),
		one("displayName", p.DisplayName()),
		one("givenName", p.GivenName),
		one("sn", p.Surname),
		one("employeeNumber", p.EmployeeID),
		one("departmentNumber", p.Department),
	}}
	if !p.NoMail && p.Mail != "" {
		e.Attributes = append(e.Attributes, one("mail", p.Mail))
	}
	e.Attributes = append(e.Attributes, operational("entryUUID", p.EntryUUID))
	if p.Disabled {
		e.Attributes = append(e.Attributes, operational("pwdAccountLockedTime", LockedForGood))
	}
	return e
}

func groupEntries(baseDN string, people []sandbox.Person) []Entry {
	members := map[string][]string{}
	for _, p := range people {
		members[p.Department] = append(members[p.Department], PersonDN(baseDN, p))
	}
	var groups []Entry
	staff := []string{GroupDN(baseDN, "everybody")}
	for _, d := range slices.Sorted(maps.Keys(members)) {
		groups = append(groups, groupEntry(baseDN, d, members[d]))
		staff = append(staff, GroupDN(baseDN, d))
	}
	return append(groups,
		groupEntry(baseDN, "staff", staff),
		groupEntry(baseDN, "everybody", []string{GroupDN(baseDN, "staff")}),
	)
}

func groupEntry(baseDN, name string, members []string) Entry {
	return container(GroupDN(baseDN, name), one("objectClass", "groupOfNames"), one("cn", name), Attribute{Name: "member", Values: members})
}

// container is an entry that is not a person. Its entryUUID comes from its name, so that it is the same every time.
func container(dn string, attributes ...Attribute) Entry {
	h := sha256.Sum256([]byte(dn))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // RFC 9562: version 8, variant 10
	uuid := fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
	return Entry{DN: dn, Attributes: append(attributes, operational("entryUUID", uuid))}
}

// domain is the entry at the top: "dc=acme,dc=example" is the organization acme.
func domain(baseDN string) Entry {
	first, _, _ := strings.Cut(baseDN, ",")
	_, name, _ := strings.Cut(first, "=")
	return container(baseDN, Attribute{Name: "objectClass", Values: []string{"dcObject", "organization"}}, one("dc", name), one("o", name))
}

func one(name, value string) Attribute { return Attribute{Name: name, Values: []string{value}} }

func operational(name, value string) Attribute {
	return Attribute{Name: name, Values: []string{value}, Operational: true}
}
