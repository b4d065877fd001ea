package ldapserver

import (
	"bytes"
	"testing"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// FuzzReadRequest feeds bytes of strangers through everything that looks at them before a bind.
func FuzzReadRequest(f *testing.F) {
	filter, err := ldap.CompileFilter("(|(objectClass=inetOrgPerson)(&(mail=*)(!(uid=x))))")
	if err != nil {
		f.Fatal(err)
	}
	search := sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, 1, ""))
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tagSearch, nil, "")
	op.AppendChild(text(DefaultBaseDN))
	for range 4 {
		op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""))
	}
	op.AppendChild(ber.NewBoolean(ber.ClassUniversal, ber.TypePrimitive, ber.TagBoolean, false, ""))
	op.AppendChild(filter)
	op.AppendChild(sequence(text("mail")))
	search.AppendChild(op)
	f.Add(search.Bytes())
	f.Add([]byte("\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"))
	f.Add([]byte("\x30\x84\x00\x00\x00\x05\x02\x01\x01\x42\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		req, err := readRequest(bytes.NewReader(message))
		if err != nil {
			return
		}
		if s, ok := req.op.(searchRequest); ok {
			for _, e := range Tree(DefaultBaseDN, nil) {
				matches(e, s.filter)
				depthBelow(e.DN, normalDN(s.base))
			}
		}
	})
}
