package ldap

import (
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func TestGUIDText(t *testing.T) {
	// The example of [MS-DTYP] 2.3.4: the bytes of a GUID and its text.
	b, err := hex.DecodeString("33221100554477668899aabbccddeeff")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := guidText(b); !ok || got != "00112233-4455-6677-8899-aabbccddeeff" {
		t.Errorf("%s, %v", got, ok)
	}
	for _, n := range []int{0, 15, 17} {
		if _, ok := guidText(make([]byte, n)); ok {
			t.Errorf("%d bytes are a GUID", n)
		}
	}
}

func TestUUIDText(t *testing.T) {
	if got, ok := uuidText("0011AAFF-4455-6677-8899-AABBCCDDEEFF"); !ok || got != "0011aaff-4455-6677-8899-aabbccddeeff" {
		t.Errorf("%s, %v", got, ok)
	}
	for _, bad := range []string{"", "0011aaff445566778899aabbccddeeff", "0011aaff-4455-6677-8899-aabbccddeef", "0011aafg-4455-6677-8899-aabbccddeeff", "0011aaf-f4455-6677-8899-aabbccddeeff"} {
		if _, ok := uuidText(bad); ok {
			t.Errorf("%q is a UUID", bad)
		}
	}
}

func TestCanonicalDN(t *testing.T) {
	same := [][]string{
		{"cn=Anna Berg,ou=People,dc=acme", "CN=anna berg, OU=people ,DC=ACME", "cn = Anna   Berg,ou=people,dc=acme", `cn=\41nna Berg,ou=people,dc=acme`},
		{`cn=Berg\, Anna,dc=acme`, `CN=berg\2c anna,DC=acme`},
		{"cn=a+uid=b,dc=acme", "UID=B+CN=A,dc=acme"},
		{`cn=Dvořák,dc=acme`, `cn=dvo\c5\99\c3\a1k,dc=acme`},
		{"not a DN", "NOT a dn"},
	}
	for i, group := range same {
		for _, dn := range group {
			if canonicalDN(dn) != canonicalDN(group[0]) {
				t.Errorf("%q and %q differ: %q, %q", dn, group[0], canonicalDN(dn), canonicalDN(group[0]))
			}
			for j, other := range same {
				if i != j && keyOf(dn) == keyOf(other[0]) {
					t.Errorf("%q and %q are the same", dn, other[0])
				}
			}
		}
	}
	if canonicalDN(`cn=a\,ou=b,dc=c`) == canonicalDN("cn=a,ou=b,dc=c") {
		t.Error("an escaped comma parts like a bare one")
	}
}

func TestParseRange(t *testing.T) {
	good := map[string]int{"member;range=0-1499": 1499, "Member;Range=1500-2999": 2999, "member;range=3000-*": -1, "member;range=0-0": 0}
	for name, want := range good {
		if last, ok := parseRange(name); !ok || last != want {
			t.Errorf("%s: %d, %v", name, last, ok)
		}
	}
	for _, bad := range []string{"member", "member;range=", "member;range=5", "member;range=-1-4", "member;range=5-4", "member;range=0-99999999999", "memberOf;range=0-1", "member;range=*-*"} {
		if last, ok := parseRange(bad); ok {
			t.Errorf("%s is a range up to %d", bad, last)
		}
	}
}

func TestMembersOf(t *testing.T) {
	e := ldap.NewEntry("cn=g", map[string][]string{
		"member": {}, "member;range=0-1": {"cn=a", "cn=b"}, "uniqueMember": {"cn=c#'0101'B", "cn=d"}, "memberUid": {"e"},
	})
	members, next := membersOf(e)
	if got := strings.Join(slices.Sorted(slices.Values(members)), " "); got != "cn=a cn=b cn=c cn=d" || next != 2 {
		t.Errorf("%s, next %d", got, next)
	}
}

const (
	guidBytes = "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
	guid      = "00112233-4455-6677-8899-aabbccddeeff"
)

func TestReadsEntries(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	cases := map[string]struct {
		kind   string
		names  backup.LDAPAttributes
		values map[string][]string
		want   backup.DirectoryEntry
	}{
		"Active Directory": {kindAD, backup.LDAPAttributes{},
			map[string][]string{"objectGUID": {guidBytes}, "mail": {"a@acme.example"}, "userPrincipalName": {"a@corp.acme.example"}, "displayName": {" Anna "}, "employeeID": {"7"}, "department": {"Sales"}, "userAccountControl": {"512"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@acme.example", UPN: "a@corp.acme.example", DisplayName: "Anna", EmployeeID: "7", Department: "Sales"}},
		"disabled in Active Directory": {kindAD, backup.LDAPAttributes{},
			map[string][]string{"objectguid": {guidBytes}, "mail": {"a@b.c"}, "useraccountcontrol": {"66050"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", Disabled: true}},
		"numbers that are none": {kindAD, backup.LDAPAttributes{},
			map[string][]string{"objectGUID": {guidBytes}, "mail": {"a@b.c"}, "userAccountControl": {"off"}, "accountExpires": {"never"}, "msExchRecipientTypeDetails": {"\xff"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c"}},
		"UPN without mail": {kindAD, backup.LDAPAttributes{},
			map[string][]string{"objectGUID": {guidBytes}, "userPrincipalName": {"a@b.c"}},
			backup.DirectoryEntry{ID: guid, UPN: "a@b.c"}},
		"OpenLDAP, mail for UPN, cn for the name": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {strings.ToUpper(guid)}, "mail": {"a@b.c", "other@b.c"}, "cn": {"Anna"}, "employeeNumber": {"7"}, "departmentNumber": {"S"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c", DisplayName: "Anna", EmployeeID: "7", Department: "S", Aliases: []string{"other@b.c"}}},
		"locked by an administrator": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {"a@b.c"}, "pwdAccountLockedTime": {"000001010000Z"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c", Disabled: true}},
		"locked after wrong passwords": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {"a@b.c"}, "pwdAccountLockedTime": {"20261101120000Z"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c"}},
		"disabled by a configured value": {kindOther, backup.LDAPAttributes{Disabled: "employeeType", DisabledValue: "Left"},
			map[string][]string{"entryUUID": {guid}, "mail": {"a@b.c"}, "employeetype": {"staff", "LEFT "}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c", Disabled: true}},
		"own names": {kindOther, backup.LDAPAttributes{ID: "nsUniqueId", Mail: "mailPrimary", DisplayName: "fullName"},
			map[string][]string{"nsUniqueId": {"66446001-1dd211b2"}, "mailPrimary": {"a@b.c"}, "fullName": {"Anna"}, "cn": {"x"}},
			backup.DirectoryEntry{ID: "66446001-1dd211b2", Mail: "a@b.c", UPN: "a@b.c", DisplayName: "Anna"}},
		"no mail": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {" "}},
			backup.DirectoryEntry{ID: guid, Problem: backup.NoMail}},
		"no id": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"mail": {"a@b.c"}},
			backup.DirectoryEntry{ID: idFromDN(testDN), Mail: "a@b.c", UPN: "a@b.c", Problem: backup.BadEntry}},
		"two ids": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid, guid}, "mail": {"a@b.c"}},
			backup.DirectoryEntry{ID: idFromDN(testDN), Mail: "a@b.c", UPN: "a@b.c", Problem: backup.BadEntry}},
		"too long": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {"a@b.c"}, "departmentNumber": {long}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c"}},
		"a mail that is too long": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {long}},
			backup.DirectoryEntry{ID: guid, Problem: backup.BadEntry}},
		"a UPN that is not UTF-8": {kindAD, backup.LDAPAttributes{},
			map[string][]string{"objectGUID": {guidBytes}, "mail": {"a@b.c"}, "userPrincipalName": {"a\xff@b.c"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", Problem: backup.BadEntry}},
		"not UTF-8": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {"a\xff@b.c"}},
			backup.DirectoryEntry{ID: guid, Problem: backup.BadEntry}},
		"control characters": {kindOpenLDAP, backup.LDAPAttributes{},
			map[string][]string{"entryUUID": {guid}, "mail": {"a@b.c"}, "displayName": {"\x1b[2JAnna"}, "cn": {"Anna"}},
			backup.DirectoryEntry{ID: guid, Mail: "a@b.c", UPN: "a@b.c", DisplayName: "Anna"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.want.DN = testDN
			if got, _ := newReader(c.kind, c.names).read(ldap.NewEntry(testDN, c.values)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("read  %+v\nwant  %+v", got, c.want)
			}
		})
	}
}

const testDN = "uid=anna,ou=people,dc=acme,dc=example"

func FuzzCanonicalDN(f *testing.F) {
	for _, s := range []string{testDN, `cn=Berg\, Anna+uid=b,dc=acme`, `cn=#0401,dc=\c3\a1`, "=", ",", "cn=a,", `cn=\`, "cn=  "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, dn string) {
		once := canonicalDN(dn)
		if keyOf(dn) != keyOf(dn) || len(idFromDN(dn)) != len("dn-")+32 {
			t.Error("the key is not stable")
		}
		parsed, err := ldap.ParseDN(dn)
		if err != nil || len(dn) > maxDN {
			return
		}
		again, err := ldap.ParseDN(once)
		if err != nil {
			t.Fatalf("%q became %q, which is no DN: %v", dn, once, err)
		}
		if len(again.RDNs) != len(parsed.RDNs) {
			t.Errorf("%q has %d parts, its canonical form %q has %d", dn, len(parsed.RDNs), once, len(again.RDNs))
		}
	})
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"member;range=0-1499", "member;range=1500-*", "MEMBER;RANGE=0-0", "member;range=--", "member;range=0-2147483648"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if last, ok := parseRange(name); ok && last < -1 {
			t.Errorf("%q ends at %d", name, last)
		}
		withoutUID(name)
	})
}

func FuzzReadEntry(f *testing.F) {
	f.Add(testDN, "entryUUID", []byte(guid), []byte("a@b.c"), []byte("512"))
	f.Add("cn=x\xff", "objectGUID", []byte(guidBytes), []byte(""), []byte("-2"))
	f.Add("", "OBJECTGUID", []byte("short"), []byte("\x00"), []byte("000001010000Z"))
	f.Add("cn=#", "uid", []byte("  "), []byte(strings.Repeat("m", 2000)), []byte("99999999999999999999"))
	f.Fuzz(func(t *testing.T, dn, id string, idValue, mail, state []byte) {
		for _, kind := range []string{kindAD, kindOpenLDAP} {
			e := ldap.NewEntry(dn, map[string][]string{
				id: {string(idValue)}, "mail": {string(mail)}, "userPrincipalName": {string(mail)}, "displayName": {string(mail)},
				userControl: {string(state)}, lockedTime: {string(state)},
			})
			p, hasID := newReader(kind, backup.LDAPAttributes{}).read(e)
			checkPerson(t, p, hasID)
		}
	})
}

// checkPerson holds whatever the directory sends.
func checkPerson(t *testing.T, p backup.DirectoryEntry, hasID bool) {
	t.Helper()
	if p.ID == "" || !hasID && (p.Problem != backup.BadEntry || !strings.HasPrefix(p.ID, "dn-")) {
		t.Errorf("an entry without an id of its own: %+v", p)
	}
	if p.Problem == "" && p.Mail == "" && p.UPN == "" {
		t.Errorf("nobody can be looked up by this: %+v", p)
	}
	for _, s := range []string{p.ID, p.Mail, p.UPN, p.DisplayName, p.EmployeeID, p.Department} {
		if len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
			t.Errorf("unfit text %q", s)
		}
	}
	if len(p.DN) > maxDN || !utf8.ValidString(p.DN) {
		t.Errorf("unfit DN %q", p.DN)
	}
}
