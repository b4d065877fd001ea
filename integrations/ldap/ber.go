package ldap

import (
	"encoding/binary"
	"errors"
)

// errMalformed is for bytes that are not LDAP. It says nothing of them: they may be anybody's.
var errMalformed = errors.New("the bytes are not LDAP")

// Tags of LDAP messages, as the identifier octet that stands on the wire (RFC 4511, appendix B; X.690, section 8.1.2).
const (
	tagBoolean     = 0x01
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagEnumerated  = 0x0a
	tagSequence    = 0x30
	tagSet         = 0x31
	tagControls    = 0xa0
	tagReferral    = 0xa3 // in an LDAPResult

	opSearch          = 0x63
	opSearchEntry     = 0x64
	opSearchDone      = 0x65
	opSearchReference = 0x73
)

// maxLengthBytes is how many bytes of a length are read: 4 are enough for messages of 4 GB.
const maxLengthBytes = 4

// cut splits the first element off b. value and rest are parts of b. LDAP allows the definite form of lengths only, and has no tag
// over 30 (RFC 4511, section 5.1).
func cut(b []byte) (tag byte, value, rest []byte, err error) {
	header, length, err := measure(b)
	if err != nil || header == 0 || length > len(b)-header {
		return 0, nil, nil, errMalformed
	}
	return b[0], b[header : header+length], b[header+length:], nil
}

// cutTag is cut for an element that must have this tag.
func cutTag(b []byte, tag byte) (value, rest []byte, err error) {
	got, value, rest, err := cut(b)
	if err == nil && got != tag {
		err = errMalformed
	}
	return value, rest, err
}

// measure reads an element's header and returns its size and that of what follows, in bytes; header is 0 when b is too short to tell.
func measure(b []byte) (header, length int, err error) {
	if len(b) < 2 {
		return 0, 0, nil
	}
	if b[0]&0x1f == 0x1f {
		return 0, 0, errMalformed
	}
	if b[1] < 0x80 {
		return 2, int(b[1]), nil
	}
	n := int(b[1] & 0x7f)
	switch {
	case n == 0 || n > maxLengthBytes:
		return 0, 0, errMalformed
	case len(b) < 2+n:
		return 0, 0, nil
	}
	for _, c := range b[2 : 2+n] {
		length = length<<8 | int(c)
	}
	return 2 + n, length, nil
}

// integer reads the contents of an INTEGER or ENUMERATED, of which LDAP has none beyond 31 bits. A negative one is malformed.
func integer(value []byte) (int32, error) {
	if len(value) == 0 || len(value) > 4 || value[0]&0x80 != 0 {
		return 0, errMalformed
	}
	var wide [4]byte
	copy(wide[4-len(value):], value)
	return int32(binary.BigEndian.Uint32(wide[:])), nil // the sign bit was looked at
}

// appendElement appends an element made of parts.
func appendElement(b []byte, tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = append(b, tag)
	if n < 0x80 {
		b = append(b, byte(n))
	} else {
		b = append(b, 0x80|maxLengthBytes)
		b = binary.BigEndian.AppendUint32(b, uint32(n)) // requests are small
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func element(tag byte, parts ...[]byte) []byte { return appendElement(nil, tag, parts...) }

func textElement(tag byte, text string) []byte { return element(tag, []byte(text)) }

// intElement encodes a number that is not negative, in the fewest bytes.
func intElement(tag byte, n int32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(n)) // not negative
	for len(b) > 1 && b[0] == 0 && b[1]&0x80 == 0 {
		b = b[1:]
	}
	return element(tag, b)
}
