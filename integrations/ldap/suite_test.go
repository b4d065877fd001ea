package ldap_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// want is the entry that a person of the sandbox must become.
func want(p sandbox.Person) backup.DirectoryEntry {
	e := backup.DirectoryEntry{
		ID: p.EntryUUID, DN: ldapserver.PersonDN(ldapserver.DefaultBaseDN, p), Mail: p.Mail, UPN: p.Mail, DisplayName: p.DisplayName(),
		EmployeeID: p.EmployeeID, Department: p.Department, Disabled: p.Disabled,
	}
	if p.NoMail {
		e.Problem = backup.NoMail
	}
	return e
}

// wantPeople compares a listing with the people who must be in it, all their attributes included.
func wantPeople(t *testing.T, got listing, people []sandbox.Person) {
	t.Helper()
	if got.total != len(people) || len(got.entries) != len(people) {
		t.Fatalf("%d entries with %d ids, want %d", got.total, len(got.entries), len(people))
	}
	for _, p := range people {
		if e := got.entries[p.EntryUUID]; !reflect.DeepEqual(e, want(p)) {
			t.Fatalf("read  %+v\nwant  %+v", e, want(p))
		}
	}
}

func TestListsEverybodyPageByPage(t *testing.T) {
	eachPeer(t, options{}, func(t *testing.T, d directory) {
		ways := map[string]func(*backup.LDAPConfig){"LDAPS": func(*backup.LDAPConfig) {}, "StartTLS": d.overStartTLS}
		for way, change := range ways {
			t.Run(way, func(t *testing.T) {
				dir := opened(t, d.config(change))
				for range 2 { // the same connection lists again
					begin := time.Now()
					got, err := list(t.Context(), dir)
					if err != nil {
						t.Fatal(err)
					}
					t.Logf("2,500 people in %v", time.Since(begin).Round(time.Millisecond))
					wantPeople(t, got, company())
					if len(got.pages) < 5 || got.pages[0] > 500 {
						t.Errorf("pages of %v", got.pages)
					}
				}
			})
		}
	})
}

func TestSmallPagesAndAnOwnFilter(t *testing.T) {
	eachPeer(t, options{people: company()[:100]}, func(t *testing.T, d directory) {
		dir := opened(t, d.config(func(c *backup.LDAPConfig) {
			c.PageSize, c.Filter, c.BaseDN = 7, "(&(objectClass=inetOrgPerson)(!(departmentNumber=Sales)))", "OU=People, DC=acme, DC=example"
		}))
		got, err := list(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		var rest []sandbox.Person
		for _, p := range company()[:100] {
			if p.Department != "Sales" {
				rest = append(rest, p)
			}
		}
		wantPeople(t, got, rest)
		if got.pages[0] != 7 {
			t.Errorf("pages of %v", got.pages)
		}
	})
}

func TestDisabledByAConfiguredAttribute(t *testing.T) {
	eachPeer(t, options{people: company()[:50]}, func(t *testing.T, d directory) {
		dir := opened(t, d.config(func(c *backup.LDAPConfig) {
			c.Attributes = backup.LDAPAttributes{Disabled: "departmentNumber", DisabledValue: "legal", UPN: "uid"}
		}))
		got, err := list(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range company()[:50] {
			e := got.entries[p.EntryUUID]
			if e.Disabled != (p.Disabled || p.Department == "Legal") || e.UPN != p.UID || e.Problem != "" {
				t.Errorf("%s of %s: %+v", p.UID, p.Department, e)
			}
		}
	})
}

func TestGroupsLimitThePeople(t *testing.T) {
	eachPeer(t, options{}, func(t *testing.T, d directory) {
		of := func(departments ...string) (found []sandbox.Person) {
			for _, p := range company() {
				if strings.Contains(strings.Join(departments, "|"), p.Department) {
					found = append(found, p)
				}
			}
			return found
		}
		base := ldapserver.DefaultBaseDN
		cases := map[string]struct {
			groups []string
			want   []sandbox.Person
		}{
			"one":                         {[]string{ldapserver.GroupDN(base, "Legal")}, of("Legal")},
			"two":                         {[]string{ldapserver.GroupDN(base, "Legal"), ldapserver.GroupDN(base, "People & Culture")}, of("Legal", "People & Culture")},
			"case and spaces":             {[]string{"CN=legal ,  OU=Groups,DC=ACME,dc = example"}, of("Legal")},
			"groups in groups, in a ring": {[]string{ldapserver.GroupDN(base, "everybody")}, company()},
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				got, err := list(t.Context(), opened(t, d.config(func(l *backup.LDAPConfig) { l.Groups = c.groups })))
				if err != nil {
					t.Fatal(err)
				}
				wantPeople(t, got, c.want)
			})
		}
		t.Run("missing", func(t *testing.T) {
			dir := opened(t, d.config(func(l *backup.LDAPConfig) { l.Groups = []string{ldapserver.GroupDN(base, "Nobody")} }))
			_, err := list(t.Context(), dir)
			wantError(t, err, backup.CodeBadConfig, false, "cn=Nobody", "groups")
			_, err = dir.Probe(t.Context())
			wantError(t, err, backup.CodeBadConfig, false, "cn=Nobody", "groups")
		})
	})
}

func TestProbeTellsWhatItFound(t *testing.T) {
	eachPeer(t, options{people: company()[:25]}, func(t *testing.T, d directory) {
		for way, change := range map[string]func(*backup.LDAPConfig){"LDAPS": func(*backup.LDAPConfig) {}, "StartTLS": d.overStartTLS} {
			text, err := opened(t, d.config(change)).Probe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range []string{d.kind, way + " (TLS 1.3)", ldapserver.DefaultBindDN, ldapserver.DefaultBaseDN} {
				if !strings.Contains(text, w) {
					t.Errorf("the probe does not say %q: %s", w, text)
				}
			}
		}
	})
}

func TestNobodyFoundIsAnEmptyListing(t *testing.T) {
	eachPeer(t, options{people: company()[:25]}, func(t *testing.T, d directory) {
		got, err := list(t.Context(), opened(t, d.config(func(c *backup.LDAPConfig) { c.Filter = "(uid=nobody)" })))
		if err != nil || got.total != 0 || len(got.pages) != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}

func TestRefusesToOpen(t *testing.T) {
	other := caFile(t, must(sandbox.NewCA("somebody else"))(t))
	closed := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	nobody := closed.Addr().String()
	closed.Close()
	eachPeer(t, options{people: company()[:25]}, func(t *testing.T, d directory) {
		cases := map[string]struct {
			change    func(*backup.LDAPConfig)
			secret    string
			code      backup.Code
			retryable bool
			words     []string
		}{
			"wrong password":  {nil, password + "!", backup.CodeBadCredential, false, []string{ldapserver.DefaultBindDN, "bindPassword"}},
			"wrong bind DN":   {func(c *backup.LDAPConfig) { c.BindDN = "cn=nobody,dc=acme,dc=example" }, password, backup.CodeBadCredential, false, []string{"cn=nobody"}},
			"empty password":  {nil, "", backup.CodeBadConfig, false, []string{"empty"}},
			"unknown CA":      {func(c *backup.LDAPConfig) { c.CAFile = other }, password, backup.CodeUnreachable, false, []string{"caFile"}},
			"the system's CA": {func(c *backup.LDAPConfig) { c.CAFile = "" }, password, backup.CodeUnreachable, false, []string{"caFile"}},
			"unknown CA over StartTLS": {func(c *backup.LDAPConfig) { d.overStartTLS(c); c.CAFile = other }, password,
				backup.CodeUnreachable, false, []string{"caFile"}},
			"nobody listens": {func(c *backup.LDAPConfig) { c.URL = "ldaps://" + nobody }, password, backup.CodeUnreachable, true, []string{nobody}},
			"plain LDAP":     {func(c *backup.LDAPConfig) { c.URL = d.startTLS }, password, backup.CodeBadConfig, false, []string{"startTLS"}},
		}
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				config := d.config()
				if c.change != nil {
					c.change(&config)
				}
				dir, err := openAs(t.Context(), config, c.secret)
				if err == nil {
					dir.Close()
				}
				wantError(t, err, c.code, c.retryable, c.words...)
			})
		}
	})
}

func TestAMissingBaseIsNamed(t *testing.T) {
	eachPeer(t, options{people: company()[:25]}, func(t *testing.T, d directory) {
		dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.BaseDN = "ou=gone,dc=acme,dc=example" }))
		_, err := list(t.Context(), dir)
		wantError(t, err, backup.CodeBadConfig, false, "ou=gone,dc=acme,dc=example", "baseDN")
		_, err = dir.Probe(t.Context())
		wantError(t, err, backup.CodeBadConfig, false, "ou=gone,dc=acme,dc=example", "baseDN")
	})
}

func TestASizeLimitIsAnErrorAndNotAShortListing(t *testing.T) {
	eachPeer(t, options{sizeLimit: 1200}, func(t *testing.T, d directory) {
		got, err := list(t.Context(), opened(t, d.config()))
		wantError(t, err, backup.CodeBadConfig, false, "limit", "size.prtotal")
		if got.total >= 1200 {
			t.Errorf("%d people in spite of the limit", got.total)
		}
	})
}

// TestACutConnectionIsAnErrorWhereverItIsCut cuts at many places, so that the end of a page and of the TLS records is among them.
func TestACutConnectionIsAnErrorWhereverItIsCut(t *testing.T) {
	eachPeer(t, options{people: company()[:1000]}, func(t *testing.T, d directory) {
		whole := cutAfter(t, d.ldaps, 1<<30)
		config := d.config(func(c *backup.LDAPConfig) { c.PageSize = 100 })
		through := func(c *cutter) backup.LDAPConfig {
			l := config
			l.URL = "ldaps://" + c.address
			return l
		}
		dir := must(open(t.Context(), through(whole)))(t)
		if got := must(list(t.Context(), dir))(t); got.total != 1000 {
			t.Fatalf("%d people through the proxy", got.total)
		}
		dir.Close()
		for whole.sent.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		broken, short := 0, 0
		for i := range int64(40) {
			limit := whole.sent.Load() * (i + 2) / 44 // the first pieces hold the handshake, the last one the good-bye
			dir, err := open(t.Context(), through(cutAfter(t, d.ldaps, limit)))
			if err != nil {
				continue
			}
			got, err := list(t.Context(), dir)
			dir.Close()
			wantError(t, err, backup.CodeBadResponse, true)
			if broken++; got.total > 0 && got.total < 1000 {
				short++
			}
		}
		if broken < 30 || short < 20 {
			t.Errorf("only %d listings broke off, %d of them in the middle", broken, short)
		}
	})
}

func TestCancelling(t *testing.T) {
	eachPeer(t, options{}, func(t *testing.T, d directory) {
		dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.PageSize = 50 }))
		ctx, cancel := context.WithCancel(t.Context())
		pages := 0
		begin := time.Now()
		err := dir.List(ctx, func([]backup.DirectoryEntry) error {
			if pages++; pages == 3 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || pages != 3 || time.Since(begin) > 5*time.Second {
			t.Fatalf("%v after %d pages and %v", err, pages, time.Since(begin))
		}
		if _, err := list(t.Context(), dir); err == nil {
			t.Fatal("the connection of a cancelled listing gave another one")
		}
	})
}

func TestAnErrorOfTheReceiverComesBack(t *testing.T) {
	eachPeer(t, options{people: company()[:60]}, func(t *testing.T, d directory) {
		dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.PageSize = 20 }))
		full := errors.New("the store is full")
		if err := dir.List(t.Context(), func([]backup.DirectoryEntry) error { return full }); err != full { // as it is
			t.Fatalf("%v", err)
		}
		got, err := list(t.Context(), dir)
		if err != nil || got.total != 60 {
			t.Fatalf("afterwards: %d people, %v", got.total, err)
		}
	})
}
