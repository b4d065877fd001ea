// Package ldapserver is an LDAP directory in the process, over TLS, with the people of a sandbox company. It speaks as much of
// LDAP version 3 (RFC 4511) as a reader of people needs: simple bind, StartTLS, the rootDSE, searches with the usual filters,
// and paged results (RFC 2696) with cookies that belong to the connection, as in OpenLDAP.
//
// One port takes both ways: a connection that begins with a TLS handshake is LDAPS, any other one must ask for StartTLS before it
// binds. Faults, set while it runs, make it misbehave as real directories do.
package ldapserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

const (
	maxConnections = 128
	idleTimeout    = 10 * time.Minute
	writeTimeout   = 30 * time.Second
)

// Options describe the directory. TLS and Password must be set.
type Options struct {
	// Listen is host:port; default 127.0.0.1 and a free port.
	Listen string
	TLS    tls.Certificate
	// BaseDN and BindDN have defaults.
	BaseDN, BindDN string
	Password       string
	People         []sandbox.Person
}

// Faults say how the directory misbehaves until they are set anew. The zero value is a well-behaved one.
type Faults struct {
	// CutPage cuts the connection in the middle of the page of this number, counted from 1, of every listing that gets so far.
	CutPage int
	// Busy answers every search below the rootDSE with busy (51).
	Busy bool
	// Empty finds nobody below the base, without an error, as a filter or a right that went wrong does.
	Empty bool
	// SizeLimit ends every listing of more entries with sizeLimitExceeded (4).
	SizeLimit int
	// RefuseBind answers every bind with invalidCredentials (49).
	RefuseBind bool
	// NoPaging answers a search as a whole and leaves the paging control out.
	NoPaging bool
	// Stall keeps every search waiting until its connection ends.
	Stall bool
}

// Server is a directory that runs.
type Server struct {
	options  Options
	listener net.Listener
	tls      *tls.Config
	ctx      context.Context //nolint:containedctx // it is the server's life, which every connection shares
	stop     context.CancelFunc
	running  sync.WaitGroup
	slots    chan struct{} // one per connection

	mu     sync.Mutex
	tree   []Entry
	faults Faults
}

// Start begins to answer. The server ends with ctx or by Close.
func Start(ctx context.Context, o Options) (*Server, error) {
	if len(o.TLS.Certificate) == 0 || o.Password == "" {
		return nil, errors.New("the sandbox directory needs a certificate and a password")
	}
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:0")
	o.BaseDN, o.BindDN = cmp.Or(o.BaseDN, DefaultBaseDN), cmp.Or(o.BindDN, DefaultBindDN)
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{
		options: o, listener: listener, tree: Tree(o.BaseDN, o.People), slots: make(chan struct{}, maxConnections),
		tls: &tls.Config{Certificates: []tls.Certificate{o.TLS}, MinVersion: tls.VersionTLS12},
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	context.AfterFunc(s.ctx, func() { listener.Close() })
	s.running.Go(s.accept)
	return s, nil
}

// Addr is host:port, the same for ldaps:// and for ldap:// with StartTLS.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// SetPeople replaces everybody. A listing that is under way goes on with the people it began with.
func (s *Server) SetPeople(people []sandbox.Person) {
	tree := Tree(s.options.BaseDN, people)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tree = tree
}

// SetFaults changes how the server misbehaves, from the next request on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *Server) state() ([]Entry, Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tree, s.faults
}

// Close ends every connection and returns when all of them are gone.
func (s *Server) Close() error {
	s.stop()
	s.running.Wait()
	return nil
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, for example: it passes
			continue
		}
		select {
		case s.slots <- struct{}{}:
			s.running.Go(func() {
				defer func() { <-s.slots }()
				s.serve(c)
			})
		default:
			c.Close()
		}
	}
}
