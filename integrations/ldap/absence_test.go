package ldap_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/activities"
	ourldap "github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

const (
	peopleDN = "ou=people," + ldapserver.DefaultBaseDN
	hidingDN = "cn=blinded,ou=groups," + ldapserver.DefaultBaseDN
)

// trouble is something that befalls a directory between two imports, or in the middle of the second.
type trouble struct {
	slapd  slapd.Options
	change func(*testing.T, *site)                          // of the directory, before the second import
	config func(*testing.T, *site) func(*backup.LDAPConfig) // of the second import
	during func(*testing.T, *site)                          // after its first page
	// code is how the second import fails; empty: it lists nobody, and the verdict must refuse that.
	code backup.Code
	says string
}

// site is a slapd with somebody who administers it.
type site struct {
	*slapd.Server
	ca    *sandbox.CA
	admin *ldap.Conn
}

var troubles = map[string]trouble{
	"size limit":  {slapd: slapd.Options{Database: limits("size=150 size.prtotal=150")}, config: with(func(c *backup.LDAPConfig) { c.BindDN = otherDN }), code: backup.CodeBadConfig, says: "limit"},
	"admin limit": {slapd: slapd.Options{Database: limits("size.unchecked=20")}, config: with(func(c *backup.LDAPConfig) { c.BindDN = otherDN }), code: backup.CodeBadConfig, says: "limit"},
	"time limit": {slapd: slapd.Options{Database: limits("time=1 size=unlimited size.prtotal=unlimited")}, code: backup.CodeBadResponse, says: "time limit",
		config: with(func(c *backup.LDAPConfig) { c.BindDN, c.PageSize, c.Filter = otherDN, 5000, slowFilter() })},
	"restarted between pages": {code: backup.CodeBadResponse, during: func(t *testing.T, s *site) {
		if err := s.Restart(t.Context()); err != nil {
			t.Error(err)
		}
	}},
	"cut in the middle": {code: backup.CodeBadResponse, config: func(t *testing.T, s *site) func(*backup.LDAPConfig) {
		c := cutAfter(t, s.URL, 30_000)
		return func(l *backup.LDAPConfig) { l.URL = "ldaps://" + c.address }
	}},
	"page cookie refused": {config: func(t *testing.T, s *site) func(*backup.LDAPConfig) {
		address := spoilCookies(t, s)
		return func(l *backup.LDAPConfig) { l.URL = "ldaps://" + address }
	}, code: backup.CodeBadResponse, says: "cookie is invalid"},
	"base deleted": {config: with(inPeople), code: backup.CodeBadConfig, says: peopleDN, change: func(t *testing.T, s *site) {
		for _, p := range company()[:absentees] {
			succeed(t, s.admin.Del(ldap.NewDelRequest(ldapserver.PersonDN(ldapserver.DefaultBaseDN, p), nil)))
		}
		succeed(t, s.admin.Del(ldap.NewDelRequest(peopleDN, nil)))
	}},
	"base renamed": {config: with(inPeople), code: backup.CodeBadConfig, says: peopleDN, change: func(t *testing.T, s *site) {
		succeed(t, s.admin.ModifyDN(ldap.NewModifyDNRequest(peopleDN, "ou=staff", true, "")))
	}},
	"everything hidden by an ACL": {slapd: slapd.Options{Database: `access to dn.subtree="` + peopleDN + `" by group.exact="` + hidingDN + `" none by * break`},
		change: func(t *testing.T, s *site) {
			hide := ldap.NewAddRequest(hidingDN, nil)
			hide.Attribute("objectClass", []string{"groupOfNames"})
			hide.Attribute("member", []string{ldapserver.DefaultBindDN})
			succeed(t, s.admin.Add(hide))
		}},
	"a filter that finds nobody any more": {config: with(func(c *backup.LDAPConfig) { c.Filter = "(employeeType=staff)" })},
	"a subtree became a referral": {code: backup.CodeBadConfig, says: "directory.ldap.referrals", change: func(t *testing.T, s *site) {
		addReferral(t, s.admin, "ou=abroad,"+ldapserver.DefaultBaseDN, "ldaps://elsewhere.example/ou=people,dc=acme,dc=example??sub")
	}},
	"a referral that leads nowhere": {code: backup.CodeUnreachable, change: func(t *testing.T, s *site) {
		addReferral(t, s.admin, "ou=abroad,"+ldapserver.DefaultBaseDN, "ldaps://127.0.0.1:1/ou=people,dc=acme,dc=example??sub")
	}, config: with(func(c *backup.LDAPConfig) { c.Referrals = []string{"127.0.0.1:1"} })},
}

const (
	absentees = 300
	otherDN   = "uid=limited," + ldapserver.DefaultBaseDN
)

// limits are those of a second account, who reads with the first one's password.
func limits(what string) string {
	return fmt.Sprintf("limits dn.exact=%q %s\naccess to * by dn.exact=%q read by * break", otherDN, what, otherDN)
}

func with(change func(*backup.LDAPConfig)) func(*testing.T, *site) func(*backup.LDAPConfig) {
	return func(*testing.T, *site) func(*backup.LDAPConfig) { return change }
}

func inPeople(c *backup.LDAPConfig) { c.BaseDN = peopleDN }

// slowFilter finds everybody after a great many comparisons without an index, so that the server's clock strikes on the way.
func slowFilter() string {
	var b strings.Builder
	b.WriteString("(&(objectClass=inetOrgPerson)(|")
	for n := range 60_000 {
		fmt.Fprintf(&b, "(cn=*%dq*z%d*)", n, n)
	}
	b.WriteString("(uid=*)))")
	return b.String()
}

func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestErrorsAreNotAbsences imports from a real slapd into the real store, lets something go wrong, and imports again as the workflow does:
// whatever it was, everybody who was backed up still is.
func TestErrorsAreNotAbsences(t *testing.T) {
	for name, c := range troubles {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, c.slapd)
			dir := directory{ldaps: s.URL, caFile: s.CAFile}
			i := newImports(t)
			if err := i.read(opened(t, dir.config()), nil); err != nil {
				t.Fatal(err)
			}
			if verdict, why := i.judge(); verdict != backup.ImportApply {
				t.Fatalf("the first import: %s, %s", verdict, why)
			}
			i.apply()
			before := i.active()
			if before < absentees*8/10 {
				t.Fatalf("only %d people to lose", before)
			}
			if c.change != nil {
				c.change(t, s)
			}
			config := dir.config(func(c *backup.LDAPConfig) { c.PageSize = 50 })
			if c.config != nil {
				c.config(t, s)(&config)
			}
			i.again(t, s, c, config)
			if after := i.active(); after != before {
				t.Errorf("%d of %d people are left", after, before)
			}
		})
	}
}

// again is the second import. The directory may refuse already when it is opened.
func (i *imports) again(t *testing.T, s *site, c trouble, config backup.LDAPConfig) {
	t.Helper()
	d, err := open(t.Context(), config)
	if err == nil {
		defer d.Close()
		err = i.read(d, func() {
			if c.during != nil {
				c.during(t, s)
			}
		})
	}
	if c.code != "" {
		if e := backup.AsError(err); err == nil || e.Code != c.code || !strings.Contains(e.Error()+e.Hint, c.says) {
			t.Errorf("%v; want %s that says %q", err, c.code, c.says)
		}
		i.refused(c.code)
		return
	}
	succeed(t, err)
	if verdict, why := i.judge(); verdict != backup.ImportRefuse {
		t.Errorf("%s, %s", verdict, why)
	}
	i.refused(backup.CodeBadConfig)
}

// startSite starts a slapd with the first people of the company, unless it is told others.
func startSite(t *testing.T, o slapd.Options) *site {
	t.Helper()
	o.CA, o.Password, o.Changes = must(sandbox.NewCA("slapd"))(t), password, true
	if o.People == nil {
		o.People = company()[:absentees]
	}
	s := &site{Server: must(slapd.Start(t.Context(), o))(t), ca: o.CA}
	t.Cleanup(func() { s.Close() })
	s.admin = must(ldap.DialURL(s.URL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: o.CA.Pool()})))(t)
	t.Cleanup(func() { s.admin.Close() })
	succeed(t, s.admin.Bind(ldapserver.DefaultBindDN, password))
	limited := ldap.NewAddRequest(otherDN, nil)
	limited.Attribute("objectClass", []string{"account", "simpleSecurityObject"})
	limited.Attribute("uid", []string{"limited"})
	limited.Attribute("userPassword", []string{password})
	succeed(t, s.admin.Add(limited))
	return s
}

func addReferral(t *testing.T, admin *ldap.Conn, dn, to string) {
	t.Helper()
	entry := ldap.NewAddRequest(dn, []ldap.Control{ldap.NewControlManageDsaIT(true)})
	entry.Attribute("objectClass", []string{"referral", "extensibleObject"})
	entry.Attribute("ref", []string{to})
	succeed(t, admin.Add(entry))
}

// imports runs passes on a store as the workflow does.
type imports struct {
	t      *testing.T
	store  *sqlstore.Store
	tenant backup.Tenant
	pass   backup.Pass
	n      int
}

var _ activities.People = (*sqlstore.Store)(nil)

func newImports(t *testing.T) *imports {
	t.Helper()
	s := must(sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "holdfast.db")))(t)
	t.Cleanup(func() { s.Close() })
	return &imports{t: t, store: s, tenant: backup.Tenant{ID: "acme", Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP}}}}
}

// read stages a listing; afterFirst is called when its first page was staged.
func (i *imports) read(d *ourldap.Directory, afterFirst func()) error {
	i.t.Helper()
	ctx := i.t.Context()
	i.n++
	i.pass = backup.Pass{Tenant: "acme", Directory: "ldap", ID: fmt.Sprint("pass-", i.n)}
	must(i.store.BeginPass(ctx, i.pass, backup.ImportStart{}))(i.t)
	staging := i.store.Stage(ctx, i.pass)
	end, err := d.Read(ctx, backup.ReadFrom{}, func(p backup.EntryPage) error {
		defer func() {
			if afterFirst != nil {
				afterFirst()
				afterFirst = nil
			}
		}()
		return staging.Page(p)
	})
	succeed(i.t, staging.Close())
	if err == nil {
		succeed(i.t, i.store.EndRead(ctx, i.pass, end))
	}
	return err
}

func (i *imports) judge() (backup.ImportVerdict, string) {
	i.t.Helper()
	return backup.JudgeImport(must(i.store.ComparePass(i.t.Context(), i.tenant, i.pass))(i.t), backup.RemovalThreshold{}, false)
}

func (i *imports) apply() {
	i.t.Helper()
	d := must(i.store.ComparePass(i.t.Context(), i.tenant, i.pass))(i.t)
	must(i.store.ApplyPass(i.t.Context(), i.tenant, i.pass, d.Digest, "", time.Now()))(i.t)
}

func (i *imports) refused(code backup.Code) {
	i.t.Helper()
	if i.n > 1 {
		succeed(i.t, i.store.EndPass(i.t.Context(), i.pass, backup.ImportEnd{Outcome: backup.ImportRefused, Code: code}, time.Now()))
	}
}

func (i *imports) active() int {
	i.t.Helper()
	return must(i.store.CountAccounts(i.t.Context(), "acme"))(i.t).Active
}

// spoilCookies is a proxy that ends TLS and turns the first byte of every page cookie around, on its way to the server.
func spoilCookies(t *testing.T, s *site) string {
	t.Helper()
	cert := must(s.ca.Issue("127.0.0.1"))(t)
	l := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))(t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { spoil(t.Context(), client, s) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return l.Addr().String()
}

func spoil(ctx context.Context, client net.Conn, s *site) {
	defer client.Close()
	target, err := url.Parse(s.URL)
	if err != nil {
		return
	}
	server, err := (&tls.Dialer{Config: &tls.Config{RootCAs: s.ca.Pool()}}).DialContext(ctx, "tcp", target.Host)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		defer client.Close()
		copyMessages(client, server, func(*ber.Packet) {})
	}()
	copyMessages(server, client, func(p *ber.Packet) {
		if len(p.Children) < 3 || len(p.Children[2].Children) == 0 {
			return
		}
		control := p.Children[2].Children[0]
		if control.Children[0].Value != ldap.ControlTypePaging {
			return
		}
		value := ber.DecodePacket(control.Children[1].ByteValue)
		cookie := value.Children[1].Data.Bytes()
		if len(cookie) == 0 {
			return
		}
		cookie[0] ^= 0xff
		spoilt := construct(ber.ClassUniversal, ber.TagSequence, value.Children[0], octetString(string(cookie)))
		p.Children[2] = construct(ber.ClassContext, 0, construct(ber.ClassUniversal, ber.TagSequence, octetString(ldap.ControlTypePaging), octetString(string(spoilt.Bytes()))))
		*p = *construct(ber.ClassUniversal, ber.TagSequence, p.Children...)
	})
}

func copyMessages(to, from net.Conn, change func(*ber.Packet)) {
	for {
		p, err := ber.ReadPacket(from)
		if err != nil {
			return
		}
		change(p)
		if _, err := to.Write(p.Bytes()); err != nil {
			return
		}
	}
}
