package ldap_test

import (
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// stranger is a directory that sends whatever a test wants: answers of Active Directory, and of servers that are broken or hostile.
type stranger struct {
	t *testing.T
	// answer gets a search's base, the paging cookie it carries and the attributes asked for; it writes messages with the helpers.
	answer func(r *reply, base, cookie string, attributes []string)
	root   map[string][]string
	bind   func(r *reply)
}

// reply writes the answer to one request.
type reply struct {
	conn net.Conn
	id   int64
}

func (s stranger) start() directory {
	s.t.Helper()
	ca := must(sandbox.NewCA("stranger"))(s.t)
	cert := must(ca.Issue("127.0.0.1"))(s.t)
	l := must(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}))(s.t)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(c) })
		}
	})
	s.t.Cleanup(func() { l.Close(); running.Wait() })
	return directory{ldaps: "ldaps://" + l.Addr().String(), caFile: caFile(s.t, ca)}
}

func (s stranger) serve(c net.Conn) {
	defer c.Close()
	for {
		p, err := ber.ReadPacket(c)
		if err != nil {
			return
		}
		r := &reply{c, p.Children[0].Value.(int64)}
		switch op := p.Children[1]; op.Tag {
		case 0:
			if s.bind != nil {
				s.bind(r)
			} else {
				r.done(1, 0, "", nil)
			}
		case 3:
			s.search(r, p)
		}
	}
}

func (s stranger) search(r *reply, p *ber.Packet) {
	op := p.Children[1]
	base := op.Children[0].Value.(string)
	if base == "" {
		r.entry("", s.root)
		r.done(5, 0, "", nil)
		return
	}
	var attributes []string
	for _, a := range op.Children[7].Children {
		attributes = append(attributes, a.Value.(string))
	}
	cookie := ""
	if len(p.Children) > 2 {
		value := ber.DecodePacket(p.Children[2].Children[0].Children[1].ByteValue)
		cookie = value.Children[1].Value.(string)
	}
	s.answer(r, base, cookie, attributes)
}

func octetString(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func construct(class ber.Class, tag ber.Tag, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(class, ber.TypeConstructed, tag, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}

func (r *reply) send(parts ...*ber.Packet) {
	id := ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, r.id, "")
	r.conn.Write(construct(ber.ClassUniversal, ber.TagSequence, append([]*ber.Packet{id}, parts...)...).Bytes())
}

func (r *reply) entry(dn string, values map[string][]string) {
	attributes := construct(ber.ClassUniversal, ber.TagSequence)
	for name, vs := range values {
		set := construct(ber.ClassUniversal, ber.TagSet)
		for _, v := range vs {
			set.AppendChild(octetString(v))
		}
		attributes.AppendChild(construct(ber.ClassUniversal, ber.TagSequence, octetString(name), set))
	}
	r.send(construct(ber.ClassApplication, 4, octetString(dn), attributes))
}

func (r *reply) reference(url string) { r.send(construct(ber.ClassApplication, 19, octetString(url))) }

// done ends an answer; cookie is nil for one without the paging control.
func (r *reply) done(tag ber.Tag, code int, text string, cookie *string) {
	result := construct(ber.ClassApplication, tag, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, code, ""), octetString(""), octetString(text))
	if cookie == nil {
		r.send(result)
		return
	}
	value := construct(ber.ClassUniversal, ber.TagSequence, ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 0, ""), octetString(*cookie))
	control := construct(ber.ClassUniversal, ber.TagSequence, octetString("1.2.840.113556.1.4.319"), octetString(string(value.Bytes())))
	r.send(result, construct(ber.ClassContext, 0, control))
}

var lastPage = new(string)

var activeDirectory = map[string][]string{
	"supportedCapabilities": {"1.2.840.113556.1.4.800"}, "supportedControl": {"1.2.840.113556.1.4.319"}, "namingContexts": {ldapserver.DefaultBaseDN},
}

// adPerson is user n of an Active Directory: objectGUID n, in its mixed order of bytes.
func adPerson(n byte) (string, map[string][]string) {
	return "CN=User " + string('A'+n) + ",CN=Users," + ldapserver.DefaultBaseDN, map[string][]string{
		"objectGUID": {string([]byte{n, 0, 0, 0, 1, 0, 2, 0, 3, 4, 5, 6, 7, 8, 9, 10})}, "userPrincipalName": {string('a'+n) + "@acme.example"}, "userAccountControl": {"512"},
	}
}

// TestActiveDirectoryGivesMembersInRanges is a group whose members come two at a time, and a listing that names another server.
func TestActiveDirectoryGivesMembersInRanges(t *testing.T) {
	member := func(n byte) string { dn, _ := adPerson(n); return strings.ToUpper(dn) }
	d := stranger{t: t, root: activeDirectory, answer: func(r *reply, base, cookie string, attributes []string) {
		switch want := attributes[0]; {
		case want == "member":
			r.entry(base, map[string][]string{"member": {}, "member;range=0-1": {member(0), member(1)}, "objectClass": {"group"}})
			r.done(5, 0, "", nil)
		case want == "member;range=2-*":
			r.entry(base, map[string][]string{"member;range=2-*": {member(3)}})
			r.done(5, 0, "", nil)
		case want == "1.1":
			r.done(5, 0, "", lastPage)
		default:
			for n := range byte(6) {
				r.entry(adPerson(n))
			}
			r.reference("ldap://elsewhere.example/CN=Configuration,dc=acme,dc=example")
			r.done(5, 0, "", lastPage)
		}
	}}.start()
	dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.Groups = []string{"CN=Backup,CN=Users,dc=acme,dc=example"} }))
	got, err := list(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"00000000-0001-0002-0304-05060708090a", "00000001-0001-0002-0304-05060708090a", "00000003-0001-0002-0304-05060708090a"} {
		if e := got.entries[id]; e.UPN == "" || e.Problem != "" {
			t.Errorf("%s: %+v", id, e)
		}
	}
	if got.total != 3 {
		t.Errorf("%d members, want 3", got.total)
	}
}

func TestActiveDirectoryTellsWhyABindFailed(t *testing.T) {
	for data, hint := range map[string]string{"52e": "password is wrong", "533": "disabled", "775": "locked out", "773": "changed at first logon", "7ff": "bindPassword"} {
		d := stranger{t: t, bind: func(r *reply) {
			r.done(1, 49, "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data "+data+", v4563 "+password, nil)
		}}.start()
		dir, err := open(t.Context(), d.config())
		if err == nil {
			dir.Close()
		}
		wantError(t, err, backup.CodeBadCredential, false, hint)
	}
}

// TestAnswersThatMustNotBeBelieved ends every listing after one person in a way that is not the end of the directory.
func TestAnswersThatMustNotBeBelieved(t *testing.T) {
	one := func(r *reply) { r.entry(adPerson(0)) }
	again := "again"
	cases := map[string]struct {
		answer    func(r *reply)
		code      backup.Code
		retryable bool
	}{
		"no paging control": {func(r *reply) { one(r); r.done(5, 0, "", nil) }, backup.CodeBadResponse, false},
		"hangs up":          {func(r *reply) { one(r); r.conn.Close() }, backup.CodeBadResponse, true},
		"time limit":        {func(r *reply) { one(r); r.done(5, 3, "", lastPage) }, backup.CodeBadResponse, true},
		"size limit":        {func(r *reply) { one(r); r.done(5, 4, "", lastPage) }, backup.CodeBadConfig, false},
		"referral":          {func(r *reply) { one(r); r.done(5, 10, "0000202B: RefErr", lastPage) }, backup.CodeBadConfig, false},
		"admin limit":       {func(r *reply) { one(r); r.done(5, 11, "", lastPage) }, backup.CodeBadConfig, false},
		"no right":          {func(r *reply) { one(r); r.done(5, 50, "", lastPage) }, backup.CodeMissingRole, false},
		"unavailable":       {func(r *reply) { one(r); r.done(5, 52, "", lastPage) }, backup.CodeUnreachable, true},
		"not LDAP":          {func(r *reply) { one(r); r.conn.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); r.conn.Close() }, backup.CodeBadResponse, true},
		"a huge message":    {func(r *reply) { one(r); r.conn.Write([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff}) }, backup.CodeBadResponse, true},
		"more than a page":  {func(r *reply) { one(r); one(r); one(r); one(r); r.done(5, 0, "", lastPage) }, backup.CodeBadResponse, true},
		"empty for ever":    {func(r *reply) { r.done(5, 0, "", &again) }, backup.CodeBadResponse, true},
		"nobody has an id":  {func(r *reply) { r.entry("cn=a,dc=acme,dc=example", nil); r.done(5, 0, "", lastPage) }, backup.CodeMissingRole, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := stranger{t: t, root: activeDirectory, answer: func(r *reply, _, _ string, _ []string) { c.answer(r) }}.start()
			dir := opened(t, d.config(func(c *backup.LDAPConfig) { c.PageSize = 3 }))
			got, err := list(t.Context(), dir)
			wantError(t, err, c.code, c.retryable)
			if got.total != 0 {
				t.Errorf("%d people were handed on", got.total)
			}
		})
	}
}

func TestProbeWantsPagedResults(t *testing.T) {
	d := stranger{t: t, root: map[string][]string{"supportedControl": {"2.16.840.1.113730.3.4.2"}}}.start()
	_, err := opened(t, d.config()).Probe(t.Context())
	wantError(t, err, backup.CodeBadConfig, false, "paged results")
}

// TestAnAttributeOfAPersonInParts is somebody with more addresses than fit into one answer of Active Directory.
func TestAnAttributeOfAPersonInParts(t *testing.T) {
	d := stranger{t: t, root: activeDirectory, answer: func(r *reply, base, cookie string, attributes []string) {
		dn, values := adPerson(0)
		switch {
		case attributes[0] == "proxyAddresses;range=2-*":
			r.entry(dn, map[string][]string{"proxyAddresses;range=2-3": {"smtp:c@acme.example", "smtp:d@acme.example"}})
		case attributes[0] == "proxyAddresses;range=4-*":
			r.entry(dn, map[string][]string{"proxyAddresses;range=4-*": {"smtp:e@acme.example"}})
		default:
			values["proxyAddresses"], values["proxyAddresses;range=0-1"] = nil, []string{"SMTP:a@acme.example", "smtp:b@acme.example"}
			r.entry(dn, values)
			if base == ldapserver.DefaultBaseDN {
				r.entry(adPerson(1))
			}
		}
		r.done(5, 0, "", lastPage)
	}}.start()
	got, err := list(t.Context(), opened(t, d.config()))
	if err != nil || got.total != 2 {
		t.Fatalf("%d people, %v", got.total, err)
	}
	e := got.entries["00000000-0001-0002-0304-05060708090a"]
	if want := "a@acme.example b@acme.example c@acme.example d@acme.example e@acme.example"; strings.Join(e.Aliases, " ") != want || e.Problem != "" || e.UPN != "a@acme.example" {
		t.Errorf("%+v", e)
	}
}
