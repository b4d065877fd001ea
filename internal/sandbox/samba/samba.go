// Package samba starts a real Active Directory domain controller on loopback, which Samba is, for tests of what OpenLDAP does not
// have: DirSync, uSNChanged, tombstones, primary groups. Every controller has a loopback address of its own, because the ports of
// Active Directory are fixed; so several run side by side. It answers LDAPS and StartTLS with a certificate of a CA made on the spot.
//
// Everything it needs lives in one temporary folder that goes away with it. Samba is softer than the original: it knows no limit of
// 1,000 entries to a page, and gives all members of a group at once unless it is asked for a range. The programs are Debian's
// packages samba, samba-ad-dc, samba-ad-provision, samba-dsdb-modules and samba-vfs-modules; scripts/install-test-servers.sh installs them.
package samba

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

const (
	// Realm and BaseDN are those of every domain made here.
	Realm  = "CORP.EXAMPLE.TEST"
	BaseDN = "DC=corp,DC=example,DC=test"
	// Administrator may do everything. It binds by this name or by its DN.
	Administrator   = "administrator@corp.example.test"
	AdministratorDN = "CN=Administrator,CN=Users," + BaseDN

	startTimeout = 2 * time.Minute // provisioning takes 4 s and the start 1 s; a busy machine takes its time
	stopTimeout  = 20 * time.Second
)

// Options describe the controller. CA and Password must be set.
type Options struct {
	// CA issues the certificate for the controller's address.
	CA *sandbox.CA
	// Password of the administrator; Active Directory wants capitals, small letters and digits in it.
	Password string
	// Crowd is how many contacts there are in CrowdUnit, all of them members of CrowdGroup; 0: neither is there.
	Crowd int
}

// Server is a controller that runs.
type Server struct {
	// Address is the loopback address that is its own. URL is ldaps://address, StartTLSURL ldap://address.
	Address, URL, StartTLSURL string
	// CAFile is the PEM file of the CA, for clients that read files.
	CAFile string

	options Options
	folder  string
	stop    context.CancelFunc
	done    chan struct{} // closed when the process is gone
}

// Start provisions a new domain and starts its controller, which ends with ctx or by Close.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.CA == nil || o.Password == "" {
		return nil, errors.New("samba needs a CA and a password")
	}
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.provision(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.folder))
	}
	if err := s.fill(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.folder))
	}
	return s.started(ctx)
}

// newServer takes a folder and a free address.
func newServer(o Options) (*Server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "holdfast-samba-")
	if err != nil {
		return nil, err
	}
	tls := filepath.Join(folder, "tls")
	s := &Server{Address: address, URL: "ldaps://" + address, StartTLSURL: "ldap://" + address, CAFile: filepath.Join(tls, "ca.pem"), options: o, folder: folder}
	if err := errors.Join(o.CA.WriteFiles(tls, address), os.Mkdir(filepath.Join(folder, "ncalrpc"), 0o755)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return s, nil
}

func (s *Server) provision(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "samba-tool", "domain", "provision", "--use-rfc2307", "--realm="+Realm, "--domain=CORP", "--server-role=dc",
		"--dns-backend=NONE", "--adminpass="+s.options.Password, "--targetdir="+s.domain(), "--host-ip="+s.Address, "--host-name=dc1",
		"--option=interfaces="+s.Address+"/8", "--option=bind interfaces only=yes")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("samba-tool is not installed: run scripts/install-test-servers.sh")
	}
	if err != nil {
		return fmt.Errorf("samba-tool domain provision: %w: %s", err, lastLines(out))
	}
	return nil
}

// domain is the folder that holds the directory itself.
func (s *Server) domain() string { return filepath.Join(s.folder, "domain") }

// started runs the controller, and removes its folder when it does not start.
func (s *Server) started(ctx context.Context) (*Server, error) {
	if err := s.run(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.folder))
	}
	return s, nil
}

func (s *Server) run(ctx context.Context) error {
	if err := s.launch(ctx); err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		s.end()
		return err
	}
	return nil
}

// launch runs samba in the foreground and in one process (-i -M single), so that the process we started is the server and ends by its
// own pid. It also ends when its standard input, a pipe, is closed: it does not outlive us.
func (s *Server) launch(ctx context.Context) error {
	program, err := exec.LookPath("samba")
	if err != nil {
		program = "/usr/sbin/samba"
	}
	ctx, s.stop = context.WithCancel(ctx)
	tls := filepath.Join(s.folder, "tls")
	options := []string{
		"server services=ldap", "interfaces=" + s.Address + "/8", "bind interfaces only=yes",
		"tls keyfile=" + filepath.Join(tls, "server.key"), "tls certfile=" + filepath.Join(tls, "server.pem"), "tls cafile=" + s.CAFile,
		"pid directory=" + s.folder, "ncalrpc dir=" + filepath.Join(s.folder, "ncalrpc"),
	}
	args := []string{"-i", "-M", "single", "--debug-stdout", "-s", filepath.Join(s.domain(), "etc", "smb.conf")}
	for _, o := range options {
		args = append(args, "--option="+o)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	input, err := cmd.StdinPipe()
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, log.Close())
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		defer log.Close()
		defer input.Close()
		_ = cmd.Wait() // it ends by a signal, which is an error to Wait; what it says stands in the log
	}()
	return nil
}

func (s *Server) log() string { return filepath.Join(s.folder, "samba.log") }

func (s *Server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if s.reachable(ctx) {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("samba ended at once: %s", s.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("samba does not answer: %w: %s", ctx.Err(), s.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) reachable(ctx context.Context) bool {
	for _, port := range []string{"389", "636"} {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(s.Address, port))
		if err != nil {
			return false
		}
		c.Close()
	}
	return true
}

func (s *Server) lastWords() string {
	said, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	return lastLines(said)
}

// Close ends the controller and removes its folder.
func (s *Server) Close() error {
	s.end()
	return os.RemoveAll(s.folder)
}

func (s *Server) end() {
	s.stop()
	<-s.done
}

func lastLines(b []byte) string {
	const most = 800
	return string(b[max(0, len(b)-most):])
}
