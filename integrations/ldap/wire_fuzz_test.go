package ldap

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The seeds are encoded by go-ldap's BER package, which also judges what we read.

func construct(class ber.Class, tag ber.Tag, children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(class, ber.TypeConstructed, tag, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}

func octets(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func number(tag ber.Tag, n int64) *ber.Packet {
	return ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, tag, n, "")
}

func envelope(id int64, parts ...*ber.Packet) []byte {
	return construct(ber.ClassUniversal, ber.TagSequence, append([]*ber.Packet{number(ber.TagInteger, id)}, parts...)...).Bytes()
}

// seedEntry is a SearchResultEntry of one attribute.
func seedEntry(dn, name string, values ...string) *ber.Packet {
	set := construct(ber.ClassUniversal, ber.TagSet)
	for _, v := range values {
		set.AppendChild(octets(v))
	}
	attribute := construct(ber.ClassUniversal, ber.TagSequence, octets(name), set)
	return construct(ber.ClassApplication, ldap.ApplicationSearchResultEntry, octets(dn), construct(ber.ClassUniversal, ber.TagSequence, attribute))
}

// seedEnd is a SearchResultDone with the paging control.
func seedEnd(code int64, text, cookie string, referrals ...string) []*ber.Packet {
	done := construct(ber.ClassApplication, ldap.ApplicationSearchResultDone, number(ber.TagEnumerated, code), octets(""), octets(text))
	if len(referrals) > 0 {
		list := construct(ber.ClassContext, 3)
		for _, r := range referrals {
			list.AppendChild(octets(r))
		}
		done.AppendChild(list)
	}
	value := construct(ber.ClassUniversal, ber.TagSequence, number(ber.TagInteger, 0), octets(cookie))
	control := construct(ber.ClassUniversal, ber.TagSequence, octets(ldap.ControlTypePaging), octets(string(value.Bytes())))
	return []*ber.Packet{done, construct(ber.ClassContext, 0, control)}
}

func seedReference(urls ...string) *ber.Packet {
	p := construct(ber.ClassApplication, ldap.ApplicationSearchResultReference)
	for _, u := range urls {
		p.AppendChild(octets(u))
	}
	return p
}

func seedMessages() [][]byte {
	return [][]byte{
		envelope(firstOwnID, seedEntry(testDN, "mail", "a@b.c", "", "\xff")),
		envelope(firstOwnID, seedEntry("cn=x", "member;range=0-1499", strings.Repeat("m", 300))),
		envelope(firstOwnID, seedReference("ldap://elsewhere.example/dc=a??sub", "ldaps://b")),
		envelope(firstOwnID, seedEnd(0, "", "next")...),
		envelope(firstOwnID, seedEnd(10, "see there", "", "ldaps://elsewhere.example/")...),
		envelope(1, seedEnd(4, "size limit exceeded", "")...),
	}
}

// FuzzMessage reads whatever comes as a message: it fails, or everything in it lies inside of it.
func FuzzMessage(f *testing.F) {
	for _, m := range seedMessages() {
		f.Add(m)
		f.Add(m[:len(m)-1])
	}
	f.Add([]byte{0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02})
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := parseMessage(frame)
		if err != nil {
			return
		}
		if m.id < 0 || len(m.body)+len(m.controls) > len(frame) {
			t.Fatalf("id %d, %d bytes of %d", m.id, len(m.body)+len(m.controls), len(frame))
		}
		if end, err := parseEnd(m); err == nil {
			if len(end.text) > maxText || len(end.referrals) > maxReferrals || len(end.cookie) > len(frame) || end.code < 0 {
				t.Errorf("an end out of its bounds: %+v", end)
			}
			if (end.err() == nil) != (end.code == 0) {
				t.Errorf("code %d is %v", end.code, end.err())
			}
		}
		if urls, err := parseAddresses(m.body); err == nil && len(urls) > maxReferrals {
			t.Errorf("%d addresses", len(urls))
		}
		var r record
		if r.fill(m.body) == nil {
			checkRecord(t, &r, len(frame))
		}
	})
}

// checkRecord makes everything of a record that is made of one.
func checkRecord(t *testing.T, r *record, size int) {
	t.Helper()
	total := len(r.dn)
	for i := range r.attributes {
		total += len(r.attributes[i].name)
		for v := range r.attributes[i].all() {
			total += len(v)
		}
		if r.attributes[i].nextRange() < 0 {
			t.Errorf("%q goes on below zero", r.attributes[i].name)
		}
	}
	if total > size || len(r.attributes) > maxAttributes {
		t.Fatalf("%d bytes of values and %d attributes in a message of %d", total, len(r.attributes), size)
	}
	for _, kind := range []string{kindAD, kindOpenLDAP} {
		p, hasID, _ := newReader(kind, backup.LDAPAttributes{}).with([]string{"title", "member"}).person(r)
		checkPerson(t, p, hasID)
	}
}

// FuzzEntry encodes an entry by another's code and reads it by ours: nothing may be lost or altered, whatever the values are.
func FuzzEntry(f *testing.F) {
	f.Add(testDN, "mail", []byte("a@b.c"), []byte(""))
	f.Add("", "member;range=0-1499", []byte("\xff\x00"), bytes.Repeat([]byte("x"), 200))
	f.Fuzz(func(t *testing.T, dn, name string, one, two []byte) {
		m, err := parseMessage(envelope(7, seedEntry(dn, name, string(one), string(two))))
		if err != nil || m.id != 7 || m.op != opSearchEntry {
			t.Fatalf("%+v, %v", m, err)
		}
		var r record
		if err := r.fill(m.body); err != nil {
			t.Fatal(err)
		}
		e := r.entry()
		if e.DN != dn || len(e.Attributes) != 1 || e.Attributes[0].Name != name || !slices.Equal(e.Attributes[0].Values, []string{string(one), string(two)}) {
			t.Errorf("%q %q %q %q became %+v", dn, name, one, two, e)
		}
	})
}

// FuzzEnd does the same with the end of a search.
func FuzzEnd(f *testing.F) {
	f.Add(int64(0), "", "", "")
	f.Add(int64(10), "elsewhere", "cookie\x00", "ldap://a.example/dc=b")
	f.Fuzz(func(t *testing.T, code int64, text, cookie, url string) {
		code &= 0x7fff
		var urls []string
		if url != "" {
			urls = []string{url}
		}
		m, err := parseMessage(envelope(7, seedEnd(code, text, cookie, urls...)...))
		if err != nil {
			t.Fatal(err)
		}
		end, err := parseEnd(m)
		if len(url) > maxDN {
			if err == nil {
				t.Error("an endless address is taken")
			}
			return
		}
		if err != nil || int64(end.code) != code || !end.paged || string(end.cookie) != cookie || end.text != text[:min(len(text), maxText)] || !slices.Equal(end.referrals, urls) {
			t.Errorf("%d %q %q %q became %+v, %v", code, text, cookie, url, end, err)
		}
	})
}

// FuzzFrames reads a stream byte by byte and at once: both ways give the same messages and the same end.
func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(seedMessages()...))
	f.Add(append(seedMessages()[0], "HTTP/1.1 400 Bad Request"...))
	f.Add([]byte{0x30, 0x84, 0x01, 0xff, 0xff, 0xff, 1, 2, 3})
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, wholeErr := allFrames(bytes.NewReader(stream))
		bytewise, bytewiseErr := allFrames(iotest.OneByteReader(bytes.NewReader(stream)))
		if !slices.EqualFunc(whole, bytewise, bytes.Equal) || wholeErr.Error() != bytewiseErr.Error() {
			t.Errorf("%d frames and %v, byte by byte %d and %v", len(whole), wholeErr, len(bytewise), bytewiseErr)
		}
		if joined := slices.Concat(whole...); !bytes.HasPrefix(stream, joined) || wholeErr == io.EOF && len(joined) != len(stream) {
			t.Errorf("%d of %d bytes came back, %v", len(joined), len(stream), wholeErr)
		}
	})
}

func allFrames(r io.Reader) (all [][]byte, err error) {
	f := newFrames(r)
	for {
		one, err := f.next()
		if err != nil {
			return all, err
		}
		all = append(all, bytes.Clone(one))
	}
}

// FuzzLink is a server that answers one search with anything and hangs up. The search ends by what the answer says, or breaks off, and
// whatever is not a message of the search's own ends the connection.
func FuzzLink(f *testing.F) {
	for _, m := range seedMessages() {
		f.Add(m)
	}
	f.Add(slices.Concat(seedMessages()...))
	f.Fuzz(func(t *testing.T, answer []byte) {
		client, server := net.Pipe()
		l := newLink(client)
		go io.Copy(io.Discard, l) // go-ldap's part
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer server.Close()
			if _, err := newFrames(server).next(); err != nil {
				return
			}
			server.Write(answer) // the other side may have had enough
		}()
		var dns []string
		var r record
		x := &exchange{
			ended:     make(chan searchEnd, 1),
			reference: func([]string) error { return nil },
			entry: func(body []byte) error {
				err := r.fill(body)
				dns = append(dns, string(r.dn))
				return err
			},
		}
		if err := l.ask(x, textElement(opSearch, ""), pagingControl(1, nil)); err != nil {
			t.Fatal(err)
		}
		end, err := l.await(t.Context(), x)
		if err != nil && !errors.Is(err, errBrokenOff) || err == nil && end.code < 0 {
			t.Errorf("%+v, %v", end, err)
		}
		l.Close()
		<-served
		<-l.done
		for _, dn := range dns {
			if !bytes.Contains(answer, []byte(dn)) {
				t.Errorf("%q was never sent", dn)
			}
		}
	})
}

// FuzzReferralAddress reads LDAP URLs as servers send them.
func FuzzReferralAddress(f *testing.F) {
	for _, s := range []string{"ldap://a.example/dc=acme,dc=example??sub?(uid=a)", "ldaps://[::1]:1636/ou=%20x??one", "ldap:///dc=a", "http://a/", "ldap://u:p@a/", "ldap://a/dc=b????!x", "ldap://a/%zz", "ldAp://]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseAddress(text)
		meansNothing(text)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(a.server.address)
		if err != nil || host != a.server.host || host == "" || port == "" || a.scope < ldap.ScopeBaseObject || a.scope > ldap.ScopeWholeSubtree || len(a.base) > maxDN {
			t.Errorf("%q became %+v", text, a)
		}
		nobody := &Directory{}
		if _, ok := nobody.allowed(text); ok {
			t.Errorf("%q is allowed by an empty list", text)
		}
		only := &Directory{settings: settings{LDAPConfig: backup.LDAPConfig{Referrals: []string{"ldap2.acme.example"}}}}
		if got, ok := only.allowed(text); ok && got.server.host != "ldap2.acme.example" {
			t.Errorf("%q leads to %s", text, got.server.host)
		}
	})
}
