// Package stage sets up a whole Holdfast around a sandbox company: the company's LDAP directory and Microsoft 365, and the built
// programs as processes of their own. The demo, the end-to-end tests and the benchmarks play on it.
package stage

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/internal/sandbox/keyserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
	"github.com/holdfast-backup/holdfast/internal/sandbox/slapd"
)

// Tenant and ClientID are the company's, as demo/acme.yaml has them.
const (
	Tenant   = "acme"
	Domain   = "acme.example"
	ClientID = "7f3c1b52-6a0e-4d7c-9a35-0d6f4c1f2b11"
)

// DefaultBasePort is the one of demo/acme.yaml: the stage listens on the ports behind it.
const DefaultBasePort = 13700

// Offsets from the base port.
const (
	ldapPort = iota + 1
	graphPort
	contentPort
	gatewayPort
	temporalPort
	uiPort
	vaultPort
)

// Options of a stage. Dir and Bin are needed.
type Options struct {
	// Dir keeps everything: customer/, holdfast/, logs/, sandbox/.
	Dir string
	// Bin holds the built programs holdfast and holdfastd.
	Bin string
	// BasePort and the ones behind it are used; 0: any free ones, chosen once per Dir.
	BasePort int
	Seed     uint64
	// People, Messages and Files: how many, and of what each has.
	People, Messages, Files int
	// OpenLDAP starts a real slapd as the directory instead of the sandbox's own.
	OpenLDAP bool
	// KMS starts a real Vault (OpenBao) as the customer's, and no connector is needed.
	KMS bool
	// Temporal is the address of a running server that the programs use instead of starting one.
	Temporal string
	// Store is the address of another store than the stage's own.
	Store string
}

// Stage is a set-up stage.
type Stage struct {
	o         Options
	ports     [vaultPort + 1]int
	people    []sandbox.Person
	ca        *sandbox.CA
	Graph     *graph.Server
	directory interface{ Close() error }
	LDAP      *ldapserver.Server // nil with OpenLDAP
	Vault     *keyserver.Server  // nil without KMS
}

// Open starts the company's servers.
func Open(ctx context.Context, o Options) (*Stage, error) {
	abs, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = abs
	s := &Stage{o: o, people: sandbox.People(o.Seed, o.People, Domain)}
	for _, d := range []string{"customer", "holdfast", "logs", "sandbox"} {
		if err := os.MkdirAll(filepath.Join(o.Dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := s.choosePorts(); err != nil {
		return nil, err
	}
	if err := s.startCompany(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// People are the company's.
func (s *Stage) People() []sandbox.Person { return s.people }

// Path is below the stage's folder.
func (s *Stage) Path(elem ...string) string {
	return filepath.Join(append([]string{s.o.Dir}, elem...)...)
}

// choosePorts takes the ports behind BasePort, or free ones that it remembers, because a connector's key file names the gateway.
func (s *Stage) choosePorts() error {
	if s.o.BasePort != 0 {
		for i := ldapPort; i <= vaultPort; i++ {
			s.ports[i] = s.o.BasePort + i
		}
		return s.checkPorts()
	}
	file := s.Path("ports")
	if b, err := os.ReadFile(file); err == nil {
		for i, f := range strings.Fields(string(b)) {
			if s.ports[i+1], err = strconv.Atoi(f); err != nil {
				return err
			}
		}
		return nil
	}
	// Ports that the kernel would choose are easily taken again by an outgoing connection before a program listens on them.
	const lowest, highest, tries = 10_000, 30_000, 100
	var err error
	for range tries {
		base := lowest + rand.IntN(highest-lowest)
		for i := ldapPort; i <= vaultPort; i++ {
			s.ports[i] = base + i
		}
		if err = s.checkPorts(); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, p := range s.ports[ldapPort:] {
		fmt.Fprintln(&text, p)
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// checkPorts says which port is taken before anything is started.
func (s *Stage) checkPorts() error {
	for _, p := range s.ports[ldapPort:] {
		l, err := net.Listen("tcp", s.address(p))
		if err != nil {
			return fmt.Errorf("port %d is in use (%w); choose others, for example PORT=%d", p, err, s.o.BasePort+1000)
		}
		l.Close()
	}
	return nil
}

func (s *Stage) address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// startCompany makes a CA and starts directory and Microsoft 365 under it.
func (s *Stage) startCompany(ctx context.Context) error {
	var err error
	if s.ca, err = sandbox.NewCA("Sandbox company CA"); err != nil {
		return err
	}
	clientSecret, err := s.secret("client-secret")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.Path("sandbox", "ca.pem"), s.ca.PEM(), 0o644); err != nil {
		return err
	}
	if err := s.OpenDirectory(ctx); err != nil {
		return err
	}
	if s.o.KMS {
		if err := s.startVault(ctx); err != nil {
			return err
		}
	}
	s.Graph, err = graph.Start(ctx, graph.Options{
		Listen: s.address(s.ports[graphPort]), ContentListen: s.address(s.ports[contentPort]), CA: s.ca,
		Seed: s.o.Seed, People: s.people, MessagesPerMailbox: s.o.Messages, FilesPerDrive: s.o.Files,
		Domain: Domain, ClientID: ClientID, ClientSecret: clientSecret, StateFile: s.Path("sandbox", "changes.jsonl"),
	})
	return err
}

// OpenDirectory starts the directory, also again after CloseDirectory; then everybody is in it who was when the stage opened.
func (s *Stage) OpenDirectory(ctx context.Context) error {
	password, err := s.secret("ldap-password")
	if err != nil {
		return err
	}
	listen := s.address(s.ports[ldapPort])
	if s.o.OpenLDAP {
		server, err := slapd.Start(ctx, slapd.Options{CA: s.ca, People: s.people, Password: password, Listen: listen})
		if err != nil {
			return err
		}
		s.directory = server
		return nil
	}
	cert, err := s.ca.Issue("127.0.0.1", "localhost")
	if err != nil {
		return err
	}
	server, err := ldapserver.Start(ctx, ldapserver.Options{Listen: listen, TLS: cert, Password: password, People: s.people})
	if err != nil {
		return err
	}
	s.directory, s.LDAP = server, server
	return nil
}

// CloseDirectory makes the directory unreachable.
func (s *Stage) CloseDirectory() error { return s.directory.Close() }

// secret makes a random secret once and keeps it in a file.
func (s *Stage) secret(name string) (string, error) {
	file := s.Path("sandbox", name)
	if b, err := os.ReadFile(file); err == nil {
		return string(b), nil
	}
	text := cryptorand.Text()
	return text, os.WriteFile(file, []byte(text), 0o600)
}

// Close stops the company's servers.
func (s *Stage) Close() error {
	var errs []error
	if s.Graph != nil {
		errs = append(errs, s.Graph.Close())
	}
	if s.Vault != nil {
		s.Vault.Stop()
	}
	if s.directory != nil {
		errs = append(errs, s.directory.Close())
	}
	return errors.Join(errs...)
}

// TenantFile returns the file to apply: source as it is when the stage stands where source expects it, and otherwise a copy with
// this stage's ports and folders.
func (s *Stage) TenantFile(source string) (string, error) {
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	expected, err := filepath.Abs(filepath.Join(filepath.Dir(source), "..", "build", "demo"))
	if err != nil {
		return "", err
	}
	if expected == s.o.Dir && s.o.BasePort == DefaultBasePort {
		return source, nil
	}
	changes := []string{"../build/demo/", s.o.Dir + "/"}
	for _, i := range []int{ldapPort, graphPort, contentPort, vaultPort} {
		changes = append(changes, s.address(DefaultBasePort+i), s.address(s.ports[i]))
	}
	copied := s.Path("acme.yaml")
	return copied, os.WriteFile(copied, []byte(strings.NewReplacer(changes...).Replace(string(text))), 0o600)
}
