package graph

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// Options describe a tenant. Only People and ClientID are required.
type Options struct {
	// Listen, ContentListen and AdminListen are host:port; default 127.0.0.1:0. AdminListen must be loopback.
	Listen, ContentListen, AdminListen string
	// CA issues the certificates; default: one made on the spot, see Server.CA.
	CA *sandbox.CA
	// PlainHTTP serves everything without TLS, on loopback only. It exists for a protocol judge that stands between client and
	// server and cannot speak TLS; nothing else may use it.
	PlainHTTP bool

	Seed               uint64
	People             []sandbox.Person
	MessagesPerMailbox int // default 12; negative: none
	FilesPerDrive      int // default 8; negative: none
	// Crowd is how many more users the directory has, without mailboxes and drives. They are made up when they are looked at.
	Crowd int

	TenantID string // GUID; default: made from the seed
	Domain   string // the verified domain; default: that of the first person's UPN
	ClientID string
	// ClientSecret and ClientCertificates are what the token endpoint accepts.
	ClientSecret       string
	ClientCertificates []*x509.Certificate
	// Roles are the application permissions that were consented to; default DefaultRoles.
	Roles []string
	// TokenLife of access tokens; default 3599 s. DownloadLife of pre-authenticated download URLs; default 5 min.
	TokenLife, DownloadLife time.Duration

	// StateFile records every change (one JSON document a line) and is replayed at start. Its folder must exist. Mail and files
	// put in as they are lie beside it in StateFile+".raw". Empty: changes are kept in memory only.
	StateFile string
	// AdminToken is the bearer token of the administration endpoint; default: random, see Server.AdminToken.
	AdminToken string
}

// DefaultRoles are what a backup needs to read people, mail and files.
func DefaultRoles() []string {
	return []string{"User.Read.All", "Organization.Read.All", "MailboxSettings.Read", "Mail.Read", "Files.Read.All"}
}

// Server is a running tenant.
type Server struct {
	opt     Options
	ca      *sandbox.CA
	company *company
	signer  *ecdsa.PrivateKey // of access tokens
	tokens  tokenState
	faults  faults
	calls   counters
	journal *journal
	ahead   atomic.Int64 // of the directory's clock, in nanoseconds
	api     *http.ServeMux

	graphURL, contentURL, adminURL string
	servers                        []*http.Server
	serving                        sync.WaitGroup
	stop                           func() bool
}

// Start builds the tenant, replays the state file and serves until Close or the end of ctx.
func Start(ctx context.Context, opt Options) (*Server, error) {
	if err := opt.complete(); err != nil {
		return nil, err
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	s := &Server{opt: opt, ca: opt.CA, signer: signer, company: newCompany(opt)}
	s.tokens.roles = opt.Roles
	if s.journal, err = openJournal(opt.StateFile, s.company); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.stop = context.AfterFunc(ctx, func() { s.Close() })
	return s, nil
}

func (o *Options) complete() error {
	switch {
	case len(o.People) == 0:
		return errors.New("sandbox tenant: Options.People is empty")
	case o.ClientID == "":
		return errors.New("sandbox tenant: Options.ClientID is empty")
	}
	for _, address := range []*string{&o.Listen, &o.ContentListen, &o.AdminListen} {
		if *address == "" {
			*address = "127.0.0.1:0"
		}
	}
	loopbackOnly := []string{o.AdminListen}
	if o.PlainHTTP {
		loopbackOnly = append(loopbackOnly, o.Listen, o.ContentListen)
	}
	for _, address := range loopbackOnly {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("sandbox tenant: %q is not a loopback address and port", address)
		}
	}
	if o.CA == nil && !o.PlainHTTP {
		ca, err := sandbox.NewCA("Sandbox tenant CA")
		if err != nil {
			return err
		}
		o.CA = ca
	}
	o.fillDefaults()
	return nil
}

func (o *Options) fillDefaults() {
	if o.MessagesPerMailbox == 0 {
		o.MessagesPerMailbox = 12
	}
	if o.FilesPerDrive == 0 {
		o.FilesPerDrive = 8
	}
	if o.TenantID == "" {
		o.TenantID = guid(o.Seed, "tenant")
	}
	if o.Domain == "" {
		_, o.Domain, _ = strings.Cut(o.People[0].UPN, "@")
	}
	if o.Roles == nil {
		o.Roles = DefaultRoles()
	}
	if o.TokenLife == 0 {
		o.TokenLife = 3599 * time.Second
	}
	if o.DownloadLife == 0 {
		o.DownloadLife = 5 * time.Minute
	}
	if o.AdminToken == "" {
		o.AdminToken = rand.Text()
	}
}

// listen opens the three listeners. Graph and the token endpoint share one. The content host is opened first, because Graph's answers name it.
func (s *Server) listen() error {
	scheme, config := "http", (*tls.Config)(nil)
	if !s.opt.PlainHTTP {
		cert, err := s.ca.Issue("localhost", "127.0.0.1", "::1")
		if err != nil {
			return err
		}
		scheme, config = "https", &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	}
	for _, l := range []struct {
		address string
		url     *string
		handler http.Handler
	}{{s.opt.ContentListen, &s.contentURL, s.contentHandler()}, {s.opt.AdminListen, &s.adminURL, s.adminHandler()}, {s.opt.Listen, &s.graphURL, s.graphHandler()}} {
		listener, err := net.Listen("tcp", l.address)
		if err != nil {
			return err
		}
		*l.url = scheme + "://" + listener.Addr().String()
		s.serve(listener, config.Clone(), l.handler)
	}
	return nil
}

// serve answers on a listener until Close; without a TLS configuration in plain text.
func (s *Server) serve(l net.Listener, config *tls.Config, handler http.Handler) {
	srv := &http.Server{Handler: handler, TLSConfig: config, ReadHeaderTimeout: 20 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	s.servers = append(s.servers, srv)
	s.serving.Go(func() {
		if config == nil {
			srv.Serve(l)
		} else {
			srv.ServeTLS(l, "", "")
		}
	})
}

// Close ends all connections, waits for the listeners and closes the state file. It may be called twice.
func (s *Server) Close() error {
	if s.stop != nil {
		s.stop()
	}
	for _, srv := range s.servers {
		srv.Close()
	}
	s.serving.Wait()
	return s.journal.close()
}

// LoginURL is the base of the token endpoint, without a tenant: clients add /{tenant}/oauth2/v2.0/token.
func (s *Server) LoginURL() string { return s.graphURL }

// GraphURL is the base of Graph including the version, for example https://127.0.0.1:4711/v1.0.
func (s *Server) GraphURL() string { return s.graphURL + "/v1.0" }

// ContentHost is the host:port that file contents are downloaded from; clients must be told to trust it.
func (s *Server) ContentHost() string { return s.contentURL[strings.Index(s.contentURL, "//")+2:] }

// AdminURL is the base of the administration endpoint, for example https://127.0.0.1:4712/sandbox/v1.
func (s *Server) AdminURL() string { return s.adminURL + "/sandbox/v1" }

// AdminToken is the bearer token of the administration endpoint.
func (s *Server) AdminToken() string { return s.opt.AdminToken }

// CA issued the server's certificates; nil with PlainHTTP.
func (s *Server) CA() *sandbox.CA { return s.ca }

// TenantID is the tenant's GUID.
func (s *Server) TenantID() string { return s.opt.TenantID }
