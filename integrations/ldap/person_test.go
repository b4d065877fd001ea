package ldap

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// adEntry is a person of Active Directory with further attributes.
func adEntry(more map[string][]string) *ldap.Entry {
	values := map[string][]string{"objectGUID": {guidBytes}, "mail": {"a@b.c"}}
	for name, v := range more {
		values[name] = v
	}
	return ldap.NewEntry(testDN, values)
}

func TestAliases(t *testing.T) {
	many := []string{}
	for n := range maxValues + 50 {
		many = append(many, fmt.Sprintf("smtp:x%04d@b.c", n))
	}
	cases := map[string]struct {
		values map[string][]string
		want   string
		count  int
	}{
		"of Exchange":            {map[string][]string{"proxyAddresses": {"SMTP:A@b.c", "smtp:z@b.c", "Smtp:anna@b.c", "X500:/o=acme/cn=a", "sip:a@b.c", "smtp"}}, "anna@b.c z@b.c", 2},
		"one of them unreadable": {map[string][]string{"proxyAddresses": {"smtp:\xff@b.c", "smtp:ok@b.c", "smtp:" + strings.Repeat("x", 3*maxText), "smtp:a\x00b@b.c", "smtp:"}}, "ok@b.c", 1},
		"binary":                 {map[string][]string{"mailAlternateAddress": {"\x00\x01\x02\xfe"}}, "", 0},
		"of three places, each once": {map[string][]string{"mail": {"a@b.c", "B@b.c"}, "mailAlternateAddress": {"b@b.c", "c@b.c"}, "proxyAddresses": {"smtp:C@b.c"}},
			"B@b.c C@b.c", 2},
		"too many": {map[string][]string{"proxyAddresses": many}, "", maxValues},
	}
	for name, c := range cases {
		p, _ := newReader(kindAD, backup.LDAPAttributes{}).read(adEntry(c.values))
		if p.Problem != "" || p.Mail != "a@b.c" || len(p.Aliases) != c.count || c.want != "" && strings.Join(p.Aliases, " ") != c.want {
			t.Errorf("%s: %d aliases %.200q, problem %q", name, len(p.Aliases), p.Aliases, p.Problem)
		}
	}
}

func TestKinds(t *testing.T) {
	for value, want := range map[string]backup.EntryKind{
		"": "", "1": "", "4": backup.SharedMailbox, "34359738368": backup.SharedMailbox, "16": backup.RoomMailbox, "8589934592": backup.RoomMailbox,
		"32": backup.ResourceMailbox, "17179869184": backup.ResourceMailbox, "room": "", "99999999999999999999": "",
	} {
		p, _ := newReader(kindAD, backup.LDAPAttributes{}).read(adEntry(map[string][]string{"msExchRecipientTypeDetails": {value}}))
		if p.Kind != want || p.Problem != "" {
			t.Errorf("%q is a %q, problem %q", value, p.Kind, p.Problem)
		}
	}
}

func TestRuleAttributes(t *testing.T) {
	r := newReader(kindAD, backup.LDAPAttributes{}).with([]string{"employeetype", "jpegphoto", "mail", "title"})
	p, _ := r.read(adEntry(map[string][]string{
		"employeeType": {"staff", " board "}, "jpegPhoto": {"\xff\xd8\xff\xe0", strings.Repeat("p", 100_000)}, "title": {"\x1b[2J", "Chief"},
	}))
	want := []backup.EntryAttribute{{Name: "employeetype", Value: "staff"}, {Name: "employeetype", Value: "board"}, {Name: "mail", Value: "a@b.c"}, {Name: "title", Value: "Chief"}}
	if p.Problem != "" || p.Mail != "a@b.c" || !reflect.DeepEqual(p.Attributes, want) {
		t.Errorf("%+v", p)
	}
}

func TestExpiry(t *testing.T) {
	fileTime := func(at time.Time) string { return fmt.Sprint(at.Unix()*fileTimeUnits + fileTimeEpoch) }
	days := func(at time.Time) string { return fmt.Sprint(at.Unix() / secondsPerDay) }
	now := time.Now()
	cases := []struct {
		attribute, value string
		disabled         bool
	}{
		{"accountExpires", "0", false},
		{"accountExpires", "9223372036854775807", false},
		{"accountExpires", fileTime(now.Add(-time.Hour)), true},
		{"accountExpires", fileTime(now.Add(time.Hour)), false},
		{"accountExpires", "9223372036854775806", false},
		{"accountExpires", "-1", false},
		{"shadowExpire", days(now), true},
		{"shadowExpire", days(now.AddDate(0, 0, 2)), false},
		{"shadowExpire", "0", false},
		{"shadowExpire", "-1", false},
		{"shadowExpire", "9223372036854775807", false},
		{"nsAccountLock", "TRUE", true},
		{"nsAccountLock", "false", false},
	}
	for _, c := range cases {
		if p, _ := newReader(kindAD, backup.LDAPAttributes{}).read(adEntry(map[string][]string{c.attribute: {c.value}})); p.Disabled != c.disabled || p.Problem != "" {
			t.Errorf("%s %s: disabled %v, problem %q", c.attribute, c.value, p.Disabled, p.Problem)
		}
	}
}

// TestOptions: of one attribute with several options the bare one counts, and with options only the first that has a value.
func TestOptions(t *testing.T) {
	cases := map[string]struct {
		attributes []*ldap.EntryAttribute
		want       string
	}{
		"bare after others": {[]*ldap.EntryAttribute{ldap.NewEntryAttribute("displayName;lang-de", []string{"Änne"}), ldap.NewEntryAttribute("DISPLAYNAME", []string{"Anna"})}, "Anna"},
		"only others":       {[]*ldap.EntryAttribute{ldap.NewEntryAttribute("displayName;lang-de", []string{"Änne"}), ldap.NewEntryAttribute("displayName;lang-fr", []string{"Anne"})}, "Änne"},
		"an empty bare one": {[]*ldap.EntryAttribute{ldap.NewEntryAttribute("displayName", nil), ldap.NewEntryAttribute("displayName;lang-fr", []string{"Anne"})}, "Anne"},
		"another attribute": {[]*ldap.EntryAttribute{ldap.NewEntryAttribute("displayNamePrintable", []string{"x"}), ldap.NewEntryAttribute("cn", []string{"Anna"})}, "Anna"},
	}
	for name, c := range cases {
		e := adEntry(nil)
		e.Attributes = append(e.Attributes, c.attributes...)
		if p, _ := newReader(kindAD, backup.LDAPAttributes{}).read(e); p.DisplayName != c.want || p.Problem != "" {
			t.Errorf("%s: %q, problem %q", name, p.DisplayName, p.Problem)
		}
	}
}

// TestSettings refuses what could not work, in words that name the setting.
func TestSettings(t *testing.T) {
	good := func() backup.LDAPConfig {
		return backup.LDAPConfig{URL: "ldaps://a.acme.example", BindDN: "cn=r,dc=acme", BindPassword: "env:X", BaseDN: "dc=acme",
			Referrals: []string{"b.acme.example", "b.acme.example:1636", "::1", "[::1]:636", "127.0.0.1"}}
	}
	rule := func(attribute string, only ...backup.DirectoryName) backup.Tenant {
		return backup.Tenant{ID: "acme", Profiles: []backup.ProfileRule{{Name: "p", When: backup.ProfileCondition{Directories: only, Attributes: map[string][]string{attribute: {"x"}}}}}}
	}
	kerberos := func(k backup.KerberosLogin) func(*backup.LDAPConfig) {
		return func(c *backup.LDAPConfig) { c.BindPassword, c.Kerberos = "", &k }
	}
	cases := map[string]struct {
		tenant backup.Tenant
		change func(*backup.LDAPConfig)
		says   string // empty: nothing is wrong
	}{
		"good":                      {rule("employeeType"), func(*backup.LDAPConfig) {}, ""},
		"a rule for elsewhere":      {rule("urn:x:y", "entra"), func(*backup.LDAPConfig) {}, ""},
		"a rule's attribute":        {rule("employee type)(uid=*"), func(*backup.LDAPConfig) {}, "profiles"},
		"an address for a referral": {backup.Tenant{}, func(c *backup.LDAPConfig) { c.Referrals = []string{"ldaps://b.acme.example"} }, "referrals"},
		"a referral's port":         {backup.Tenant{}, func(c *backup.LDAPConfig) { c.Referrals = []string{"b.acme.example:ldap"} }, "referrals"},
		"an empty referral":         {backup.Tenant{}, func(c *backup.LDAPConfig) { c.Referrals = []string{""} }, "referrals"},
		"any referral":              {backup.Tenant{}, func(c *backup.LDAPConfig) { c.Referrals = []string{"*"} }, "referrals"},
		"Kerberos":                  {backup.Tenant{}, kerberos(backup.KerberosLogin{Principal: "h@ACME", Keytab: "/etc/h.keytab"}), ""},
		"a relative keytab":         {backup.Tenant{}, kerberos(backup.KerberosLogin{Principal: "h@ACME", Keytab: "h.keytab"}), "keytab"},
		"no keytab":                 {backup.Tenant{}, kerberos(backup.KerberosLogin{Principal: "h@ACME"}), "keytab"},
		"a relative krb5.conf":      {backup.Tenant{}, kerberos(backup.KerberosLogin{Principal: "h@ACME", Keytab: "/k", Config: "krb5.conf"}), "kerberos.config"},
		"a principal":               {backup.Tenant{}, kerberos(backup.KerberosLogin{Principal: "h", Keytab: "/k"}), "principal"},
		"two ways to bind":          {backup.Tenant{}, func(c *backup.LDAPConfig) { c.ClientCertificate = "env:Y" }, "exactly one"},
		"no way to bind":            {backup.Tenant{}, func(c *backup.LDAPConfig) { c.BindPassword = "" }, "exactly one"},
		"one server of two":         {backup.Tenant{}, func(c *backup.LDAPConfig) { c.URL += ",ldap://b.acme.example" }, "in the clear"},
	}
	for name, c := range cases {
		config := good()
		c.change(&config)
		_, err := settingsOf(c.tenant, backup.DirectoryConfig{Name: "ldap", LDAP: &config})
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" && (err == nil || backup.AsError(err).Code != backup.CodeBadConfig || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
}

// TestKerberosWithoutItsFiles tells which setting to look at, and nothing of the files.
func TestKerberosWithoutItsFiles(t *testing.T) {
	_, err := kerberos(&backup.KerberosLogin{Principal: "holdfast@ACME.EXAMPLE", Keytab: t.TempDir() + "/none.keytab", Config: t.TempDir() + "/none.conf"})
	if err == nil || backup.AsError(err).Code != backup.CodeBadConfig || !strings.Contains(err.Error(), "directory.ldap.kerberos") {
		t.Errorf("%v", err)
	}
}
