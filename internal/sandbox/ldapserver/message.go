package ldapserver

import (
	"errors"
	"fmt"
	"io"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// maxRequest is the longest request in bytes; a search for people takes a few hundred.
const maxRequest = 64 << 10

// Tags of the protocol operations (RFC 4511, appendix B).
const (
	tagBind, bindResponse         = 0, 1
	tagUnbind                     = 2
	tagSearch                     = 3
	searchEntry, searchDone       = 4, 5
	tagAbandon                    = 16
	tagExtended, extendedResponse = 23, 24
)

// Result codes (RFC 4511, section 4.1.9).
const (
	operationsError         = 1
	protocolError           = 2
	sizeLimitExceeded       = 4
	confidentialityRequired = 13
	noSuchObject            = 32
	invalidCredentials      = 49
	insufficientAccess      = 50
	busy                    = 51
	unwillingToPerform      = 53
)

type result struct {
	code    int
	message string
}

type request struct {
	id   int64
	op   any // one of the types below, nil when it is none that we know
	page *pageControl
}

type bindRequest struct{ dn, password string }

type unbindRequest struct{}

type abandonRequest struct{}

type extendedRequest struct{ name string }

type searchRequest struct {
	base       string
	scope      int64 // 0 base, 1 one level, 2 subtree
	sizeLimit  int64
	typesOnly  bool
	filter     *ber.Packet
	attributes []string
}

// pageControl is the paged results control (RFC 2696), of a request or of a response.
type pageControl struct {
	size   int64
	cookie string
}

const pagedResultsOID = "1.2.840.113556.1.4.319"

var errMalformed = errors.New("malformed request")

// readRequest reads one LDAPMessage. The length is looked at before anything is kept.
func readRequest(r io.Reader) (*request, error) {
	header := make([]byte, 2, 6)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	length, more := int(header[1]), 0
	if length >= 0x80 {
		more, length = length&0x7f, 0
	}
	if header[0] != 0x30 || more > 4 || header[1] == 0x80 {
		return nil, errMalformed
	}
	header = header[:2+more]
	if _, err := io.ReadFull(r, header[2:]); err != nil {
		return nil, err
	}
	for _, b := range header[2:] {
		length = length<<8 | int(b)
	}
	if length > maxRequest {
		return nil, fmt.Errorf("%w: %d bytes are too many", errMalformed, length)
	}
	message := append(header, make([]byte, length)...)
	if _, err := io.ReadFull(r, message[len(header):]); err != nil {
		return nil, err
	}
	return parseRequest(message)
}

func parseRequest(message []byte) (*request, error) {
	p, err := ber.DecodePacketErr(message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if len(p.Children) < 2 {
		return nil, errMalformed
	}
	id, ok := p.Children[0].Value.(int64)
	if !ok || p.Children[1].ClassType != ber.ClassApplication {
		return nil, errMalformed
	}
	req := &request{id: id}
	if req.op, err = parseOperation(p.Children[1]); err != nil {
		return nil, err
	}
	if len(p.Children) > 2 {
		req.page, err = parseControls(p.Children[2])
	}
	return req, err
}

func parseOperation(op *ber.Packet) (any, error) {
	switch op.Tag {
	case tagBind:
		if len(op.Children) != 3 || op.Children[2].Tag != 0 { // [0] is simple authentication
			return nil, errMalformed
		}
		return bindRequest{octets(op.Children[1]), octets(op.Children[2])}, nil
	case tagUnbind:
		return unbindRequest{}, nil
	case tagAbandon:
		return abandonRequest{}, nil
	case tagSearch:
		return parseSearch(op)
	case tagExtended:
		if len(op.Children) < 1 {
			return nil, errMalformed
		}
		return extendedRequest{octets(op.Children[0])}, nil
	}
	return nil, nil
}

func parseSearch(op *ber.Packet) (any, error) {
	if len(op.Children) != 8 {
		return nil, errMalformed
	}
	scope, ok1 := op.Children[1].Value.(int64)
	limit, ok2 := op.Children[3].Value.(int64)
	types, ok3 := op.Children[5].Value.(bool)
	if !ok1 || !ok2 || !ok3 {
		return nil, errMalformed
	}
	s := searchRequest{base: octets(op.Children[0]), scope: scope, sizeLimit: limit, typesOnly: types, filter: op.Children[6]}
	for _, a := range op.Children[7].Children {
		s.attributes = append(s.attributes, octets(a))
	}
	return s, nil
}

// parseControls finds the paging control and passes over the others, none of which is critical to a reader of people.
func parseControls(controls *ber.Packet) (*pageControl, error) {
	for _, c := range controls.Children {
		if len(c.Children) < 2 || octets(c.Children[0]) != pagedResultsOID {
			continue
		}
		value, err := ber.DecodePacketErr(c.Children[len(c.Children)-1].ByteValue)
		if err != nil || len(value.Children) != 2 {
			return nil, errMalformed
		}
		size, ok := value.Children[0].Value.(int64)
		if !ok || size < 0 {
			return nil, errMalformed
		}
		return &pageControl{size: size, cookie: octets(value.Children[1])}, nil
	}
	return nil, nil
}

// octets is the content of a primitive, whatever its tag.
func octets(p *ber.Packet) string {
	if p.ByteValue != nil {
		return string(p.ByteValue)
	}
	return p.Data.String()
}

// reply writes an LDAPResult.
func (c *session) reply(req *request, tag ber.Tag, r result) error {
	return c.replyPage(req, tag, r, nil)
}

func (c *session) replyPage(req *request, tag ber.Tag, r result, page *pageControl) error {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, tag, nil, "")
	op.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, r.code, ""))
	op.AppendChild(text("")) // matchedDN
	op.AppendChild(text(r.message))
	return c.send(req, op, page)
}

func (c *session) sendEntry(req *request, dn string, attributes []Attribute, typesOnly bool) error {
	list := sequence()
	for _, a := range attributes {
		set := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSet, nil, "")
		if !typesOnly {
			for _, v := range a.Values {
				set.AppendChild(text(v))
			}
		}
		list.AppendChild(sequence(text(a.Name), set))
	}
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, searchEntry, nil, "")
	op.AppendChild(text(dn))
	op.AppendChild(list)
	return c.send(req, op, nil)
}

func (c *session) send(req *request, op *ber.Packet, page *pageControl) error {
	m := sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, req.id, ""), op)
	if page != nil {
		value := sequence(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, page.size, ""), text(page.cookie))
		controls := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		controls.AppendChild(sequence(text(pagedResultsOID), text(string(value.Bytes()))))
		m.AppendChild(controls)
	}
	_, err := c.out.Write(m.Bytes())
	return err
}

func text(s string) *ber.Packet {
	return ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, s, "")
}

func sequence(children ...*ber.Packet) *ber.Packet {
	p := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	for _, c := range children {
		p.AppendChild(c)
	}
	return p
}
