package ldapserver_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

const password = "open sesame"

func TestMain(m *testing.M) {
	if out, err := exec.Command("../../../scripts/install-test-servers.sh").CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// start gives a server with 120 people and the file of its CA.
func start(t *testing.T) (*ldapserver.Server, string) {
	t.Helper()
	ca, err := sandbox.NewCA("ldapserver test")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Issue("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ldapserver.Start(t.Context(), ldapserver.Options{TLS: cert, Password: password, People: sandbox.People(1, 120, "acme.example")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, file
}

// ldapsearch is OpenLDAP's client: a judge that is neither ours nor the library that the adapter is made of.
func ldapsearch(t *testing.T, caFile string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ldapsearch", append([]string{"-LLL", "-o", "ldif-wrap=no", "-x", "-D", ldapserver.DefaultBindDN, "-b", ldapserver.DefaultBaseDN}, args...)...)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+caFile, "LDAPTLS_REQCERT=demand")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestAnotherClientReadsThePeople(t *testing.T) {
	s, ca := start(t)
	people := []string{"(objectClass=inetOrgPerson)", "entryUUID", "pwdAccountLockedTime", "mail", "cn"}
	cases := map[string]struct {
		args  []string
		lines map[string]int
	}{
		"LDAPS":       {append([]string{"-H", "ldaps://" + s.Addr()}, people...), map[string]int{"dn:": 120, "entryUUID: ": 120, "mail: ": 116, "pwdAccountLockedTime: 000001010000Z": 4}},
		"StartTLS":    {append([]string{"-ZZ", "-H", "ldap://" + s.Addr()}, people...), map[string]int{"dn:": 120}},
		"paged":       {append([]string{"-H", "ldaps://" + s.Addr(), "-E", "!pr=7/noprompt"}, people...), map[string]int{"dn:": 120, "entryUUID: ": 120}},
		"one level":   {[]string{"-H", "ldaps://" + s.Addr(), "-s", "one"}, map[string]int{"dn:": 2, "entryUUID: ": 0}},
		"operational": {[]string{"-H", "ldaps://" + s.Addr(), "-s", "base", "(objectClass=*)", "+"}, map[string]int{"dn:": 1, "entryUUID: ": 1, "objectClass": 0}},
		"filter":      {[]string{"-H", "ldaps://" + s.Addr(), "(&(objectClass=inetorgperson)(!(departmentNumber=sales))(|(uid=nobody)(mail=*)))", "1.1"}, map[string]int{"dn:": notInSalesWithMail()}},
		"members":     {[]string{"-H", "ldaps://" + s.Addr(), "(member=CN=staff, OU=groups, dc=acme,dc=example)", "1.1"}, map[string]int{"dn: cn=everybody": 1}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, err := ldapsearch(t, ca, append([]string{"-w", password}, c.args...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for what, want := range c.lines {
				if got := strings.Count("\n"+out, "\n"+what); got != want {
					t.Errorf("%d times %q, want %d", got, what, want)
				}
			}
		})
	}
}

func notInSalesWithMail() (n int) {
	for _, p := range sandbox.People(1, 120, "acme.example") {
		if p.Department != "Sales" && !p.NoMail {
			n++
		}
	}
	return n
}

func TestRefusals(t *testing.T) {
	s, ca := start(t)
	secure, plain := "ldaps://"+s.Addr(), "ldap://"+s.Addr()
	cases := map[string]struct {
		args []string
		says string
	}{
		"a password in the clear":    {[]string{"-H", plain, "-w", password}, "Confidentiality required (13)"},
		"a wrong password":           {[]string{"-H", secure, "-w", password + "x"}, "Invalid credentials (49)"},
		"an empty password":          {[]string{"-H", secure, "-w", ""}, "unwilling to perform (53)"},
		"a base that is not there":   {[]string{"-H", secure, "-w", password, "-b", "ou=gone,dc=acme,dc=example"}, "No such object (32)"},
		"a filter it cannot do":      {[]string{"-H", secure, "-w", password, "(uid=a*)"}, "unwilling to perform (53)"},
		"more than the client wants": {[]string{"-H", secure, "-w", password, "-z", "10"}, "Size limit exceeded (4)"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			out, err := ldapsearch(t, ca, c.args...)
			if err == nil || !strings.Contains(out, c.says) {
				t.Fatalf("%v, does not say %q:\n%s", err, c.says, out)
			}
		})
	}
}

// TestACookieBelongsToItsConnection asks for the second page elsewhere, and twice.
func TestACookieBelongsToItsConnection(t *testing.T) {
	s, ca := start(t)
	one, other := bound(t, s, ca), bound(t, s, ca)
	request := ldap.NewSearchRequest(ldapserver.DefaultBaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, "(uid=*)", []string{"1.1"}, nil)
	page := func(c *ldap.Conn, cookie []byte) ([]byte, error) {
		request.Controls = []ldap.Control{&ldap.ControlPaging{PagingSize: 50, Cookie: cookie}}
		found, err := c.Search(request)
		if err != nil {
			return nil, err
		}
		return ldap.FindControl(found.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging).Cookie, nil
	}
	cookie, err := page(one, nil)
	if err != nil || len(cookie) == 0 {
		t.Fatalf("cookie %q, %v", cookie, err)
	}
	if _, err := page(other, cookie); !ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) {
		t.Errorf("another connection went on with the listing: %v", err)
	}
	if _, err := page(one, cookie); err != nil {
		t.Error(err)
	}
	if _, err := page(one, cookie); !ldap.IsErrorWithCode(err, ldap.LDAPResultUnwillingToPerform) {
		t.Errorf("a cookie was good twice: %v", err)
	}
}

func TestCloseEndsEverybody(t *testing.T) {
	s, ca := start(t)
	c := bound(t, s, ca)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Bind(ldapserver.DefaultBindDN, password); err == nil {
		t.Error("a closed server answers")
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("a closed server listens")
	}
}

func TestGarbageEndsTheConnectionOnly(t *testing.T) {
	s, ca := start(t)
	for _, garbage := range []string{"GET / HTTP/1.1\r\n\r\n", "\x30\x84\x7f\xff\xff\xff", "\x30\x80", "\x30\x00", "\x30\x05\x02\x01\x01\x60\x00", "\x16\x03\x01"} {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte(garbage))
		c.(*net.TCPConn).CloseWrite()
		var answer bytes.Buffer
		answer.ReadFrom(c)
		c.Close()
		if bytes.Contains(answer.Bytes(), []byte(ldapserver.DefaultBaseDN)) {
			t.Errorf("%q was answered", garbage)
		}
	}
	bound(t, s, ca)
}

// bound is a connection of another LDAP library, bound over TLS that trusts only the server's CA.
func bound(t *testing.T, s *ldapserver.Server, caFile string) *ldap.Conn {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c, err := ldap.DialURL("ldaps://"+s.Addr(), ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Bind(ldapserver.DefaultBindDN, password); err != nil {
		t.Fatal(err)
	}
	return c
}
