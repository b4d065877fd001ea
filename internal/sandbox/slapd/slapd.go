// Package slapd starts a real OpenLDAP on loopback with the people of a sandbox company, for tests and for a demo that
// wants a directory nobody here wrote. It answers on one port for LDAPS and on one for StartTLS, both with a certificate of
// a CA made on the spot.
//
// Everything it needs lives in one temporary folder that goes away with it. The programs are Debian's packages slapd and
// ldap-utils; scripts/install-test-servers.sh installs them.
package slapd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

const (
	startTimeout = 20 * time.Second // slapd is up in a tenth of a second; a busy machine takes its time
	stopTimeout  = 10 * time.Second // after SIGTERM, then it is killed
	loopback     = "127.0.0.1"
)

// Options describe the directory. CA and Password must be set.
type Options struct {
	// CA issues the certificate for 127.0.0.1 and localhost.
	CA     *sandbox.CA
	People []sandbox.Person
	// BaseDN and BindDN default to those of ldapserver.
	BaseDN, BindDN string
	// Password of the bind DN.
	Password string
	// Listen is the address of LDAPS, on loopback; default: 127.0.0.1 and a free port.
	Listen string
	// SizeLimit cuts every search of the bind DN, paged ones too, after so many entries; 0: unlimited.
	SizeLimit int
	// Changes can be followed by content synchronization (RFC 4533), with a log of the last 1,000, and the bind DN may make some.
	Changes bool
	// Global and Database are further lines of slapd.conf(5), for its general part and for the database, where they stand before ours:
	// of limits and access the first that fits counts.
	Global, Database string
}

// Server is a slapd that runs.
type Server struct {
	// URL is ldaps://host:port, StartTLSURL is ldap://host:port of the same directory.
	URL, StartTLSURL string
	// CAFile is the PEM file of the CA, for clients that read files.
	CAFile string

	folder  string
	program string
	stop    context.CancelFunc
	done    chan struct{} // closed when the process is gone
	stderr  limitedBuffer
}

// Start loads the people into a new directory and starts slapd. The server ends with ctx or by Close.
func Start(ctx context.Context, o Options) (*Server, error) {
	programs, err := findPrograms("slapadd", "slapd")
	if err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "holdfast-slapd-")
	if err != nil {
		return nil, err
	}
	s, err := o.start(ctx, folder, programs)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.CA == nil || o.Password == "" {
		return o, errors.New("slapd needs a CA and a password")
	}
	if o.BaseDN == "" {
		o.BaseDN = ldapserver.DefaultBaseDN
	}
	if o.BindDN == "" {
		o.BindDN = ldapserver.DefaultBindDN
	}
	if strings.ContainsAny(o.BaseDN+o.BindDN, "\"\\\r\n") {
		return o, errors.New("slapd: a DN with a quote, backslash or line break does not fit into slapd.conf")
	}
	return o, nil
}

func (o Options) start(ctx context.Context, folder string, programs []string) (*Server, error) {
	s := &Server{CAFile: filepath.Join(folder, "tls", "ca.pem"), folder: folder, program: programs[1]}
	config, ldif := s.config(), filepath.Join(folder, "people.ldif")
	err := errors.Join(
		os.Mkdir(filepath.Join(folder, "db"), 0o700),
		o.CA.WriteFiles(filepath.Join(folder, "tls"), loopback, "localhost"),
		o.writeConfig(config, folder),
		o.writeLDIF(ldif),
	)
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, programs[0], "-q", "-f", config, "-l", ldif).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("slapadd: %w: %s", err, lastLines(out))
	}
	return s, s.run(ctx, o.Listen)
}

func (s *Server) config() string { return filepath.Join(s.folder, "slapd.conf") }

// Restart ends slapd and starts it again over the same database. What it only had in memory, like the log of changes, is lost; the ports
// are others. Meanwhile nobody may use s.
func (s *Server) Restart(ctx context.Context) error {
	s.end()
	return s.run(ctx, "")
}

// run starts slapd and waits until it accepts connections. A port that was free a moment ago may be taken meanwhile: then
// it tries others.
func (s *Server) run(ctx context.Context, listen string) error {
	var err error
	for range 3 {
		var secure, plain string
		if secure, plain, err = freeAddresses(listen); err != nil {
			return err
		}
		s.URL, s.StartTLSURL = "ldaps://"+secure, "ldap://"+plain
		s.launch(ctx)
		if err = s.awaitReady(ctx, secure, plain); err == nil {
			return nil
		}
		s.end()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return err
}

// launch runs slapd in the foreground (-d 0), so that the process we started is the server and ends by its own pid.
func (s *Server) launch(ctx context.Context) {
	ctx, s.stop = context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, s.program, "-h", s.URL+" "+s.StartTLSURL, "-f", s.config(), "-d", "0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	s.stderr.reset()
	cmd.Stderr = &s.stderr
	s.done = make(chan struct{})
	err := cmd.Start()
	if err != nil {
		fmt.Fprintln(&s.stderr, err)
		close(s.done)
		return
	}
	go func() {
		defer close(s.done)
		if err := cmd.Wait(); err != nil {
			fmt.Fprintln(&s.stderr, err)
		}
	}()
}

func (s *Server) awaitReady(ctx context.Context, addresses ...string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if reachable(ctx, addresses) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("slapd ended at once: %s", lastLines(s.stderr.bytes()))
		case <-ctx.Done():
			return fmt.Errorf("slapd does not answer: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func reachable(ctx context.Context, addresses []string) bool {
	var d net.Dialer
	for _, a := range addresses {
		c, err := d.DialContext(ctx, "tcp", a)
		if err != nil {
			return false
		}
		c.Close()
	}
	return true
}

// Close ends slapd and removes its folder.
func (s *Server) Close() error {
	s.end()
	return os.RemoveAll(s.folder)
}

func (s *Server) end() {
	s.stop()
	<-s.done
}

// freeAddresses finds a free port for each listener, both held at once so that they differ.
func freeAddresses(listen string) (secure, plain string, err error) {
	if listen == "" {
		listen = net.JoinHostPort(loopback, "0")
	}
	a, err := net.Listen("tcp", listen)
	if err != nil {
		return "", "", err
	}
	defer a.Close()
	b, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		return "", "", err
	}
	defer b.Close()
	return a.Addr().String(), b.Addr().String(), nil
}

// findPrograms looks on the path and in /usr/sbin, which is not on everybody's.
func findPrograms(names ...string) ([]string, error) {
	var paths []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			return nil, fmt.Errorf("%s is not installed: run scripts/install-test-servers.sh", name)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

func lastLines(b []byte) string {
	const most = 600
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-most):])
}
