package ldap_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	ourldap "github.com/holdfast-backup/holdfast/integrations/ldap"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

// closedPort is an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	return l.Addr().String()
}

func TestTheNextServerIsTakenWhenOneIsDown(t *testing.T) {
	eachPeer(t, options{people: company()[:25]}, func(t *testing.T, d directory) {
		down := "ldaps://" + closedPort(t)
		dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.URL = down + " , " + d.ldaps }))
		if got, err := list(t.Context(), dir); err != nil || got.total != 25 {
			t.Errorf("%d people, %v", got.total, err)
		}
		_, err := open(t.Context(), d.config(func(c *backup.LDAPConfig) { c.URL = down + "," + "ldaps://" + closedPort(t) }))
		wantError(t, err, backup.CodeUnreachable, true, strings.TrimPrefix(down, "ldaps://"), "before")
	})
}

// TestARefusedLoginIsNotTriedElsewhere, where it would count as another wrong password of the account.
func TestARefusedLoginIsNotTriedElsewhere(t *testing.T) {
	var first, second atomic.Int32
	refusing := func(n *atomic.Int32) func(*reply) {
		return func(r *reply) { n.Add(1); r.done(1, 49, "", nil) }
	}
	a := stranger{t: t, bind: refusing(&first)}.start()
	b := stranger{t: t, bind: refusing(&second)}.start()
	_, err := open(t.Context(), a.config(func(c *backup.LDAPConfig) { c.URL = a.ldaps + "," + b.ldaps }))
	wantError(t, err, backup.CodeBadCredential, false, ldapserver.DefaultBindDN)
	if first.Load() != 1 || second.Load() != 0 {
		t.Errorf("%d and %d attempts", first.Load(), second.Load())
	}
}

// dnsServer answers on loopback what the test says, and remembers what it was asked.
type dnsServer struct {
	services map[string][]dnsmessage.SRVResource // by name
	mu       sync.Mutex
	asked    []string
}

func (s *dnsServer) start(t *testing.T) *net.Resolver {
	t.Helper()
	c := must(net.ListenPacket("udp", "127.0.0.1:0"))(t)
	var running sync.WaitGroup
	running.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) == nil {
				if answer, err := s.answer(m).Pack(); err == nil {
					c.WriteTo(answer, from)
				}
			}
		}
	})
	t.Cleanup(func() { c.Close(); running.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

func (s *dnsServer) answer(m dnsmessage.Message) *dnsmessage.Message {
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	name := q.Name.String()
	s.mu.Lock()
	s.asked = append(s.asked, name)
	s.mu.Unlock()
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
	switch {
	case q.Type == dnsmessage.TypeA && !strings.HasPrefix(name, "_"):
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}})
	case q.Type == dnsmessage.TypeSRV:
		for _, r := range s.services[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &r})
		}
	}
	if len(m.Answers) == 0 && q.Type != dnsmessage.TypeAAAA {
		m.RCode = dnsmessage.RCodeNameError
	}
	return &m
}

// at is an SRV record for a server on loopback.
func at(t *testing.T, priority uint16, name, address string) dnsmessage.SRVResource {
	t.Helper()
	port := must(net.LookupPort("tcp", address[strings.LastIndex(address, ":")+1:]))(t)
	return dnsmessage.SRVResource{Priority: priority, Target: dnsmessage.MustNewName(name), Port: uint16(port)}
}

// TestServersAreLookedUp finds the directory in DNS: in the order of priorities, by StartTLS where only _ldap is there, and never outside of
// the domain, whose names somebody else may hold certificates for.
func TestServersAreLookedUp(t *testing.T) {
	ca := must(sandbox.NewCA("sandbox"))(t)
	cert := must(ca.Issue("dc2.corp.acme.test", "elsewhere.test"))(t)
	s := must(ldapserver.Start(t.Context(), ldapserver.Options{TLS: cert, Password: password, People: company()[:25]}))(t)
	t.Cleanup(func() { s.Close() })
	down := closedPort(t)
	const secure, plain = "_ldaps._tcp.corp.acme.test.", "_ldap._tcp.corp.acme.test."
	cases := map[string]struct {
		services map[string][]dnsmessage.SRVResource
		startTLS bool
		code     backup.Code
		notAsked string
	}{
		"LDAPS, the first one down": {services: map[string][]dnsmessage.SRVResource{secure: {at(t, 20, "dc2.corp.acme.test.", s.Addr()), at(t, 10, "dc1.corp.acme.test.", down)}}, notAsked: plain},
		"only _ldap":                {services: map[string][]dnsmessage.SRVResource{plain: {at(t, 0, "dc2.corp.acme.test.", s.Addr())}}},
		"StartTLS is wanted":        {services: map[string][]dnsmessage.SRVResource{plain: {at(t, 0, "dc2.corp.acme.test.", s.Addr())}}, startTLS: true, notAsked: secure},
		"a server elsewhere":        {services: map[string][]dnsmessage.SRVResource{secure: {at(t, 0, "elsewhere.test.", s.Addr())}}, code: backup.CodeUnreachable, notAsked: "elsewhere.test."},
		"a name that only ends so":  {services: map[string][]dnsmessage.SRVResource{secure: {at(t, 0, "notcorp.acme.test.", s.Addr())}}, code: backup.CodeUnreachable, notAsked: "notcorp.acme.test."},
		"nobody":                    {code: backup.CodeUnreachable},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dns := &dnsServer{services: c.services}
			a := ourldap.New(func(context.Context, backup.SecretRef) ([]byte, error) { return []byte(password), nil })
			a.Resolve(dns.start(t))
			config := directory{caFile: caFile(t, ca)}.config(func(l *backup.LDAPConfig) { l.URL, l.StartTLS = "srv://corp.acme.test", c.startTLS })
			d, err := a.OpenDirectory(t.Context(), backup.Tenant{ID: "acme"}, backup.DirectoryConfig{Name: "ldap", Kind: backup.LDAP, LDAP: &config})
			if c.code != "" {
				wantError(t, err, c.code, true, "_ldaps._tcp")
			} else {
				succeed(t, err)
				defer d.Close()
				if got, err := list(t.Context(), d); err != nil || got.total != 25 {
					t.Errorf("%d people, %v", got.total, err)
				}
			}
			dns.mu.Lock()
			defer dns.mu.Unlock()
			if c.notAsked != "" && slices.Contains(dns.asked, c.notAsked) {
				t.Errorf("asked for %v", dns.asked)
			}
		})
	}
}

// TestClientCertificate binds to a real slapd by SASL EXTERNAL.
func TestClientCertificate(t *testing.T) {
	ca := must(sandbox.NewCA("slapd"))(t)
	s := must(slapd.Start(t.Context(), slapd.Options{CA: ca, Password: password, People: company()[:25],
		Global: "TLSVerifyClient try\nauthz-regexp \"^cn=holdfast$\" \"" + ldapserver.DefaultBindDN + "\""}))(t)
	t.Cleanup(func() { s.Close() })
	stranger := must(sandbox.NewCA("somebody else"))(t)
	cases := map[string]struct {
		pem  []byte
		code backup.Code
		says string
	}{
		"ours":                {must(ca.IssueClient("holdfast"))(t), "", ""},
		"of nobody we know":   {must(ca.IssueClient("somebody"))(t), backup.CodeBadConfig, "the client certificate's owner may read it"},
		"of another CA":       {must(stranger.IssueClient("holdfast"))(t), backup.CodeBadCredential, "client certificate"},
		"not PEM":             {[]byte("-----BEGIN PRIVATE KEY-----\nsecret"), backup.CodeBadConfig, "clientCertificate"},
		"without private key": {ca.PEM(), backup.CodeBadConfig, "clientCertificate"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := ourldap.New(func(context.Context, backup.SecretRef) ([]byte, error) { return slices.Clone(c.pem), nil })
			config := directory{ldaps: s.URL, caFile: s.CAFile}.config(func(l *backup.LDAPConfig) {
				l.BindDN, l.BindPassword, l.ClientCertificate = "", "", "file:/etc/holdfast/client.pem"
			})
			d, err := a.OpenDirectory(t.Context(), backup.Tenant{ID: "acme"}, backup.DirectoryConfig{Name: "ldap", Kind: backup.LDAP, LDAP: &config})
			var got listing
			if err == nil {
				defer d.Close()
				got, err = list(t.Context(), d)
			}
			if c.code == "" {
				if err != nil || got.total != 25 {
					t.Errorf("%d people, %v", got.total, err)
				}
				return
			}
			if got.total > 0 {
				t.Errorf("%d people", got.total)
			}
			wantError(t, err, c.code, false, c.says)
		})
	}
}

// TestAReferralIsFollowedToWhereItMay goes from one real slapd to another, which refers back: everybody of both is listed once.
func TestAReferralIsFollowedToWhereItMay(t *testing.T) {
	here, there := startSite(t, slapd.Options{}), startSite(t, slapd.Options{People: company()[absentees : absentees+100]})
	hereAt, thereAt := strings.TrimPrefix(here.URL, "ldaps://"), strings.TrimPrefix(there.URL, "ldaps://")
	abroad := "ou=abroad," + ldapserver.DefaultBaseDN
	addReferral(t, here.admin, abroad, there.URL+"/"+ldapserver.DefaultBaseDN+"??sub")
	addReferral(t, there.admin, abroad, here.URL+"/"+ldapserver.DefaultBaseDN+"??sub")
	addReferral(t, there.admin, "ou=ring,"+ldapserver.DefaultBaseDN, there.URL+"/"+ldapserver.DefaultBaseDN+"??sub")
	cas := filepath.Join(t.TempDir(), "cas.pem")
	succeed(t, os.WriteFile(cas, append(here.ca.PEM(), there.ca.PEM()...), 0o600))
	config := directory{ldaps: here.URL, caFile: cas}.config(func(c *backup.LDAPConfig) { c.Referrals = []string{hereAt, thereAt} })
	got, err := list(t.Context(), opened(t, config))
	succeed(t, err)
	if got.total != absentees+100 || len(got.entries) != absentees+100 {
		t.Errorf("%d entries of %d people, want %d", got.total, len(got.entries), absentees+100)
	}
	config.Referrals = []string{thereAt[:len(thereAt)-1]} // another port
	_, err = list(t.Context(), opened(t, config))
	wantError(t, err, backup.CodeBadConfig, false, thereAt, "directory.ldap.referrals")
}
