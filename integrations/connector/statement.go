package connector

import "encoding/binary"

// Domains of what is signed. A signature made for one can never be taken for another, because the domain is the first field.
const (
	requestDomain = "holdfast/key-request/v1"
	answerDomain  = "holdfast/key-answer/v1"
	callDomain    = "holdfast/connector-call/v1"
	addressDomain = "holdfast/connector-address/v1"
	depositDomain = "holdfast/key-deposit/v1"
	proofDomain   = "holdfast/key-proof/v1"
)

// statement is the bytes that are signed: a row of fields, each preceded by its length as 4 bytes, most significant first, so
// that no two rows of fields have the same bytes. Numbers are fields of 8 bytes.
type statement []byte

func newStatement(domain string) statement { return statement{}.text(domain) }

func (s statement) bytes(b []byte) statement {
	s = binary.BigEndian.AppendUint32(s, uint32(len(b)))
	return append(s, b...)
}

func (s statement) text(t string) statement { return s.bytes([]byte(t)) }

func (s statement) number(n int64) statement {
	return s.bytes(binary.BigEndian.AppendUint64(nil, uint64(n)))
}
