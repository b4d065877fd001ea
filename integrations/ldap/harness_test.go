package ldap_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

var _ activities.Directory = (*ldap.Directory)(nil)

const password = "correct horse battery staple"

func TestMain(m *testing.M) {
	if out, err := exec.Command("../../scripts/install-test-servers.sh").CombinedOutput(); err != nil {
		os.Stderr.Write(out)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// company is what both servers hold: 2,500 people, so that a listing takes several pages.
var company = sync.OnceValue(func() []sandbox.Person { return sandbox.People(7, 2500, "acme.example") })

// directory is a server that runs, whoever wrote it.
type directory struct {
	ldaps, startTLS string
	caFile          string
	kind            string // as Probe calls it
}

// options are what a test may change about a server.
type options struct {
	people    []sandbox.Person
	sizeLimit int
}

// peers are the two servers that every test of the suite runs against.
var peers = map[string]func(*testing.T, options) directory{"sandbox": startSandbox, "slapd": startSlapd}

// eachPeer runs a test against both.
func eachPeer(t *testing.T, o options, test func(*testing.T, directory)) {
	t.Helper()
	if o.people == nil {
		o.people = company()
	}
	for name, start := range peers {
		t.Run(name, func(t *testing.T) { test(t, start(t, o)) })
	}
}

func startSandbox(t *testing.T, o options) directory {
	d, s := sandboxServer(t, o.people)
	s.SetFaults(ldapserver.Faults{SizeLimit: o.sizeLimit})
	return d
}

func sandboxServer(t *testing.T, people []sandbox.Person) (directory, *ldapserver.Server) {
	t.Helper()
	ca := must(sandbox.NewCA("sandbox"))(t)
	cert := must(ca.Issue("127.0.0.1"))(t)
	s := must(ldapserver.Start(t.Context(), ldapserver.Options{TLS: cert, Password: password, People: people}))(t)
	t.Cleanup(func() { s.Close() })
	return directory{"ldaps://" + s.Addr(), "ldap://" + s.Addr(), caFile(t, ca), "LDAP directory"}, s
}

func startSlapd(t *testing.T, o options) directory {
	t.Helper()
	ca := must(sandbox.NewCA("slapd"))(t)
	s := must(slapd.Start(t.Context(), slapd.Options{CA: ca, Password: password, People: o.people, SizeLimit: o.sizeLimit}))(t)
	t.Cleanup(func() { s.Close() })
	return directory{s.URL, s.StartTLSURL, s.CAFile, "OpenLDAP"}
}

func caFile(t *testing.T, ca *sandbox.CA) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// config reaches the directory by LDAPS with everything as a customer would set it; change alters it.
func (d directory) config(change ...func(*backup.LDAPConfig)) backup.LDAPConfig {
	c := backup.LDAPConfig{
		URL: d.ldaps, CAFile: d.caFile, BindDN: ldapserver.DefaultBindDN, BindPassword: "env:LDAP_PASSWORD", BaseDN: ldapserver.DefaultBaseDN,
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

// overStartTLS is a change of config.
func (d directory) overStartTLS(c *backup.LDAPConfig) { c.URL, c.StartTLS = d.startTLS, true }

func open(ctx context.Context, c backup.LDAPConfig) (*ldap.Directory, error) {
	return openAs(ctx, c, password)
}

func openAs(ctx context.Context, c backup.LDAPConfig, secret string) (*ldap.Directory, error) {
	a := ldap.New(func(_ context.Context, ref backup.SecretRef) ([]byte, error) {
		if ref != "env:LDAP_PASSWORD" {
			return nil, fmt.Errorf("asked for %s", ref)
		}
		return []byte(secret), nil
	})
	return a.OpenDirectory(ctx, backup.Tenant{ID: "acme"}, backup.DirectoryConfig{Name: "ldap", Kind: backup.LDAP, LDAP: &c})
}

// opened fails the test when the directory does not open.
func opened(t *testing.T, c backup.LDAPConfig) *ldap.Directory {
	t.Helper()
	d := must(open(t.Context(), c))(t)
	t.Cleanup(func() { d.Close() })
	return d
}

// listing is what a List gave.
type listing struct {
	entries map[string]backup.DirectoryEntry // by id
	total   int
	pages   []int
}

func list(ctx context.Context, d *ldap.Directory) (listing, error) {
	l := listing{entries: map[string]backup.DirectoryEntry{}}
	err := d.List(ctx, func(page []backup.DirectoryEntry) error {
		for _, e := range page {
			l.entries[e.ID] = e
		}
		l.total += len(page)
		l.pages = append(l.pages, len(page))
		return nil
	})
	return l, err
}

// wantError checks what an error says to a program and to a person, and that it tells no secret.
func wantError(t *testing.T, err error, code backup.Code, retryable bool, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", code)
	}
	e := backup.AsError(err)
	if e.Code != code || e.Retryable != retryable || e.Fault != backup.FaultCustomer {
		t.Errorf("%s, %s, retryable %v; want %s, %s, %v: %v", e.Code, e.Fault, e.Retryable, code, backup.FaultCustomer, retryable, err)
	}
	said := e.Error() + "\n" + e.Hint
	for _, w := range words {
		if !strings.Contains(said, w) {
			t.Errorf("the error does not say %q: %s", w, said)
		}
	}
	if strings.Contains(said, password) {
		t.Errorf("the error tells the password: %s", said)
	}
}

// cutter is a TCP proxy before a server that hangs up after so many bytes of the server's.
type cutter struct {
	address string
	sent    atomic.Int64
}

func cutAfter(t *testing.T, upstream string, limit int64) *cutter {
	t.Helper()
	target := must(url.Parse(upstream))(t).Host
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	c := &cutter{address: l.Addr().String()}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { c.relay(client, target, limit) })
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return c
}

func (c *cutter) relay(client net.Conn, target string, limit int64) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	n, _ := io.CopyN(client, server, limit)
	c.sent.Add(n)
}
