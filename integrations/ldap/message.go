package ldap

import (
	"bufio"
	"fmt"
	"io"

	"github.com/go-ldap/ldap/v3"
)

// readBuffer is how much is read ahead, in bytes. A message that fits is used where it lies.
const readBuffer = 64 << 10

// message is an LDAPMessage (RFC 4511, section 4.1.1), in place.
type message struct {
	id       int32
	op       byte
	body     []byte
	controls []byte // what is inside of [0]; nil when there is none
}

func parseMessage(frame []byte) (m message, err error) {
	whole, rest, err := cutTag(frame, tagSequence)
	if err != nil || len(rest) > 0 {
		return m, errMalformed
	}
	id, whole, err := cutTag(whole, tagInteger)
	if err != nil {
		return m, err
	}
	if m.id, err = integer(id); err != nil {
		return m, err
	}
	m.op, m.body, whole, err = cut(whole)
	if err != nil || len(whole) == 0 {
		return m, err
	}
	m.controls, _, err = cutTag(whole, tagControls)
	return m, err
}

// frames parts a stream into messages.
type frames struct {
	in  *bufio.Reader
	big []byte // what did not fit into in's buffer
}

func newFrames(r io.Reader) *frames { return &frames{in: bufio.NewReaderSize(r, readBuffer)} }

// next returns the bytes of the next message, which are good until it is called again. Errors: errMalformed, also for one over maxMessage;
// io.EOF between two messages and io.ErrUnexpectedEOF inside of one; those of the connection.
func (f *frames) next() ([]byte, error) {
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	if size > readBuffer {
		return f.readBig(size)
	}
	f.big = nil
	frame, err := f.in.Peek(size)
	if err != nil {
		return nil, midway(err)
	}
	_, err = f.in.Discard(size)
	return frame, err
}

// size waits for the next message's header.
func (f *frames) size() (int, error) {
	for want := 2; ; want++ {
		head, err := f.in.Peek(want)
		if err != nil {
			if len(head) > 0 {
				err = midway(err)
			}
			return 0, err
		}
		header, length, err := measure(head)
		switch {
		case err != nil || head[0] != tagSequence || length > maxMessage:
			return 0, errMalformed
		case header > 0:
			return header + length, nil
		}
	}
}

// readBig takes memory as bytes come, and not as they are announced.
func (f *frames) readBig(size int) ([]byte, error) {
	f.big = f.big[:0]
	for len(f.big) < size {
		from := len(f.big)
		more := min(size-from, max(from, readBuffer))
		f.big = append(f.big, make([]byte, more)...)
		if _, err := io.ReadFull(f.in, f.big[from:]); err != nil {
			return nil, midway(err)
		}
	}
	return f.big, nil
}

func midway(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// searchEnd is a SearchResultDone with its paging control (RFC 4511, section 4.5.2; RFC 2696).
type searchEnd struct {
	code      int32
	text      string
	referrals []string
	paged     bool // the control was there
	cookie    []byte
}

// maxReferrals is how many addresses of one reference are read.
const maxReferrals = 64

func parseEnd(m message) (end searchEnd, err error) {
	code, rest, err := cutTag(m.body, tagEnumerated)
	if err != nil {
		return end, err
	}
	if end.code, err = integer(code); err != nil {
		return end, err
	}
	if _, rest, err = cutTag(rest, tagOctetString); err != nil { // matchedDN
		return end, err
	}
	text, rest, err := cutTag(rest, tagOctetString)
	if err != nil {
		return end, err
	}
	end.text = string(text[:min(len(text), maxText)])
	if len(rest) > 0 && rest[0] == tagReferral {
		list, _, err := cutTag(rest, tagReferral)
		if err != nil {
			return end, err
		}
		if end.referrals, err = parseAddresses(list); err != nil {
			return end, err
		}
	}
	return end, end.parseControls(m.controls)
}

func (end *searchEnd) parseControls(controls []byte) error {
	for len(controls) > 0 {
		control, rest, err := cutTag(controls, tagSequence)
		if err != nil {
			return err
		}
		controls = rest
		oid, control, err := cutTag(control, tagOctetString)
		if err != nil {
			return err
		}
		if string(oid) != ldap.ControlTypePaging {
			continue
		}
		if end.cookie, err = parsePaging(control); err != nil {
			return err
		}
		end.paged = true
	}
	return nil
}

// parsePaging reads what follows the control's OID and returns a copy of the cookie.
func parsePaging(control []byte) ([]byte, error) {
	tag, value, rest, err := cut(control)
	if err == nil && tag == tagBoolean { // criticality
		tag, value, _, err = cut(rest)
	}
	if err != nil || tag != tagOctetString {
		return nil, errMalformed
	}
	pair, _, err := cutTag(value, tagSequence)
	if err != nil {
		return nil, err
	}
	_, pair, err = cutTag(pair, tagInteger) // an estimate of the listing's size, which nobody keeps
	if err != nil {
		return nil, err
	}
	cookie, _, err := cutTag(pair, tagOctetString)
	return append([]byte(nil), cookie...), err
}

// parseAddresses reads LDAP URLs, those of a SearchResultReference or of a referral.
func parseAddresses(list []byte) (addresses []string, err error) {
	for len(list) > 0 {
		var one []byte
		if one, list, err = cutTag(list, tagOctetString); err != nil {
			return nil, err
		}
		if len(addresses) == maxReferrals || len(one) > maxDN {
			return nil, errMalformed
		}
		addresses = append(addresses, string(one))
	}
	return addresses, nil
}

// err is what a search that ended so means; nil when it succeeded.
func (end searchEnd) err() error {
	if end.code == ldap.LDAPResultSuccess {
		return nil
	}
	return ldap.NewError(uint16(end.code), fmt.Errorf("%s", end.text)) // a code is small; another one is unknown anyway
}
