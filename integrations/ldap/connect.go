package ldap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

const (
	dialTimeout   = 15 * time.Second // name, TCP, TLS and bind together
	answerTimeout = 90 * time.Second // one page, or one entry; Active Directory gives up after 120 s itself
	writeTimeout  = 30 * time.Second
	maxCAFile     = 1 << 20 // bytes
	// maxMessage bounds one answer, in bytes. The largest that are met are groups: 100,000 members are some 10 MB in OpenLDAP.
	maxMessage = 32 << 20
)

// go-ldap reads answers with this package, whose own bound of 2 GB is too wide for a stranger's bytes.
func init() { ber.MaxPacketLengthBytes = maxMessage }

// open connects to one server, binds and asks the directory what it is.
func (d *dialer) open(ctx context.Context, at server) (*Directory, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	s := d.settings
	s.server = at
	secure, err := d.dial(ctx, s)
	if err != nil {
		return nil, s.connectError(ctx, err)
	}
	dir := &Directory{settings: s, dialer: d, secure: secure, link: newLink(secure)}
	dir.conn = ldap.NewConn(dir.link, true)
	dir.conn.Start()
	if err := d.login(ctx, dir); err != nil {
		dir.Close()
		return nil, err
	}
	if err := dir.detect(ctx); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// dial makes the connection and secures it. Nothing but the request for TLS is sent before TLS stands.
func (d *dialer) dial(ctx context.Context, s settings) (*tls.Conn, error) {
	config, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	if config.Certificates, err = d.certificate(ctx); err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{Resolver: d.resolver}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	c = timedConn{c}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if !s.secure {
		if err := startTLS(c); err != nil {
			c.Close()
			return nil, err
		}
	}
	secure := tls.Client(c, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, &tlsError{err}
	}
	return secure, nil
}

func (s settings) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.host}
	if s.CAFile == "" {
		return config, nil
	}
	f, err := os.Open(s.CAFile)
	if err != nil {
		return nil, badConfig("directory.ldap.caFile cannot be read: "+err.Error(), "the file must exist on the worker's machine")
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile))
	if err != nil {
		return nil, badConfig("directory.ldap.caFile cannot be read: "+err.Error(), "it must be a PEM file")
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, badConfig("directory.ldap.caFile holds no certificate", "it must be a PEM file of the directory's CA")
	}
	return config, nil
}

// startTLS asks for TLS and reads the answer (RFC 4511, section 4.14). It is done here and not in go-ldap so that the
// handshake's error keeps its type, and so that no byte is read ahead: what an attacker sends after the answer in the clear
// lands in the handshake and breaks it.
func startTLS(c net.Conn) error {
	op := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationExtendedRequest, nil, "")
	op.AppendChild(ber.NewString(ber.ClassContext, ber.TypePrimitive, 0, "1.3.6.1.4.1.1466.20037", ""))
	request := ber.Encode(ber.ClassUniversal, ber.TypeConstructed, ber.TagSequence, nil, "")
	request.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, int64(1), ""))
	request.AppendChild(op)
	if _, err := c.Write(request.Bytes()); err != nil {
		return err
	}
	answer, err := ber.ReadPacket(io.LimitReader(c, 4<<10))
	if err != nil {
		return fmt.Errorf("the answer to StartTLS: %w", err)
	}
	return ldap.GetLDAPError(answer)
}

// timedConn bounds every write, because a request must not wait for ever for a peer that does not read. Reads are
// bounded by request, in Directory.within: between two pages nothing is expected, for as long as the page takes to be stored.
type timedConn struct{ net.Conn }

func (c timedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
