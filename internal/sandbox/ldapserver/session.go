package ldapserver

import (
	"bufio"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"net"
	"time"
)

const startTLSOID = "1.3.6.1.4.1.1466.20037" // RFC 4511, section 4.14.1

// session is one connection and what it has come to.
type session struct {
	server *Server
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it
	in     *bufio.Reader
	out    *bufio.Writer
	secure bool
	bound  bool
	paging *paging // the listing whose next page may be asked for
}

// errHangUp ends a session without an answer.
var errHangUp = errors.New("hang up")

func (s *Server) serve(c net.Conn) {
	stop := context.AfterFunc(s.ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	session := &session{server: s, raw: c, conn: c, in: bufio.NewReader(c), out: bufio.NewWriter(c)}
	if session.begin() != nil {
		return
	}
	for session.next() == nil {
	}
}

// begin takes a connection whose first byte is that of a TLS handshake (RFC 8446, section 5.1) for LDAPS.
func (c *session) begin() error {
	c.raw.SetDeadline(time.Now().Add(idleTimeout))
	first, err := c.in.Peek(1)
	if err != nil {
		return err
	}
	if first[0] == 0x16 {
		return c.secureNow(peeked{c.raw, c.in})
	}
	return nil
}

func (c *session) secureNow(below net.Conn) error {
	t := tls.Server(below, c.server.tls)
	if err := t.HandshakeContext(c.server.ctx); err != nil {
		return err
	}
	c.conn, c.in, c.out, c.secure = t, bufio.NewReader(t), bufio.NewWriter(t), true
	return nil
}

// peeked is a connection of which a reader has taken some bytes already.
type peeked struct {
	net.Conn
	in *bufio.Reader
}

func (p peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

// next answers one request.
func (c *session) next() error {
	c.raw.SetReadDeadline(time.Now().Add(idleTimeout))
	req, err := readRequest(c.in)
	if err != nil {
		return err
	}
	c.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := c.answer(req); err != nil {
		return err
	}
	return c.out.Flush()
}

func (c *session) answer(req *request) error {
	switch op := req.op.(type) {
	case bindRequest:
		return c.reply(req, bindResponse, c.bind(op))
	case searchRequest:
		return c.search(req, op)
	case extendedRequest:
		return c.extended(req, op)
	case unbindRequest:
		return errHangUp
	case abandonRequest:
		return nil // every request is answered before the next one is read: there is nothing left to abandon
	}
	return c.reply(req, extendedResponse, result{protocolError, "not understood"})
}

func (c *session) bind(op bindRequest) result {
	_, faults := c.server.state()
	c.bound = false
	switch {
	case !c.secure:
		return result{confidentialityRequired, "TLS first"}
	case op.password == "":
		return result{unwillingToPerform, "unauthenticated bind (DN with no password) disallowed"}
	case faults.RefuseBind, !sameDN(op.dn, c.server.options.BindDN), subtle.ConstantTimeCompare([]byte(op.password), []byte(c.server.options.Password)) != 1:
		return result{invalidCredentials, ""}
	}
	c.bound = true
	return result{}
}

// extended knows StartTLS alone.
func (c *session) extended(req *request, op extendedRequest) error {
	switch {
	case op.name != startTLSOID:
		return c.reply(req, extendedResponse, result{protocolError, "unsupported extended operation"})
	case c.secure:
		return c.reply(req, extendedResponse, result{operationsError, "TLS already started"})
	case c.in.Buffered() > 0: // RFC 4511, section 4.14.1: nothing may follow the request; what does was not meant for TLS
		return errHangUp
	}
	if err := errors.Join(c.reply(req, extendedResponse, result{}), c.out.Flush()); err != nil {
		return err
	}
	return c.secureNow(c.raw)
}
