// Package keyserver starts a real OpenBao on loopback, as the Vault of a customer, for tests and the demo: over TLS with a certificate
// of a CA made on the spot, initialised with one unseal key, and with everything in one folder.
//
// The server is a program of its own (the nested module in server/); scripts/key-server.sh builds it once. It ends with the process that
// started it, even when that one is killed: its standard input is a pipe whose other end closes then.
package keyserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// Version is the version of OpenBao that the nested module builds.
const Version = "OpenBao 2.4.0"

const (
	startTimeout = time.Minute // it listens in a fifth of a second; a busy machine takes its time
	stopTimeout  = 10 * time.Second
	loopback     = "127.0.0.1"
)

// Options choose where the server keeps its state and listens.
type Options struct {
	// Binary is the program; empty: Locate.
	Binary string
	// Folder keeps storage, certificates and keys (keys.json, 0600), so that a server started in it again is the same one. Empty: a
	// temporary folder that goes away with Stop.
	Folder string
	// CA issues the certificate for 127.0.0.1 and localhost; nil: a new one, or the one in Folder.
	CA *sandbox.CA
	// Port is a TCP port on loopback; 0 draws a free one, which the server keeps over restarts.
	Port int
	// Log receives the server's own log lines (warnings and worse). Nil discards them.
	Log io.Writer
}

// Server is an OpenBao server. Its methods may be called by one goroutine at a time.
type Server struct {
	// Address is https://127.0.0.1:port, HostPort the same without the scheme.
	Address, HostPort string
	// CAFile is the PEM file of the CA.
	CAFile string
	// RootToken and UnsealKey (base64) are secrets of this sandbox server.
	RootToken, UnsealKey string

	o         Options
	temporary bool
	process   *process
	api       api
}

// keys is what keys.json holds.
type keys struct {
	HostPort  string `json:"hostPort"`
	RootToken string `json:"rootToken"`
	UnsealKey string `json:"unsealKey"`
}

// Locate finds the built server: $HOLDFAST_KEY_SERVER, else in the user's cache, where scripts/key-server.sh keeps it.
func Locate() (string, error) {
	if p := os.Getenv("HOLDFAST_KEY_SERVER"); p != "" {
		return p, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	path := filepath.Join(cache, "holdfast", "keyserver")
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", errors.New("the key server has not been built on this machine; run scripts/key-server.sh in the source tree")
	}
	return path, nil
}

// Start starts a server, initialises it when it is new, and unseals it.
func Start(ctx context.Context, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	if err := s.begin(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// newServer prepares the folder and reads what an earlier server left there.
func newServer(o Options) (_ *Server, err error) {
	if o.Binary == "" {
		if o.Binary, err = Locate(); err != nil {
			return nil, err
		}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	s := &Server{o: o, temporary: o.Folder == ""}
	if s.temporary {
		if s.o.Folder, err = os.MkdirTemp("", "holdfast-keyserver-"); err != nil {
			return nil, err
		}
	}
	s.CAFile = s.path("tls", "ca.pem")
	if err = errors.Join(os.MkdirAll(s.path("storage"), 0o700), s.certify(), s.recall()); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func (s *Server) path(elements ...string) string {
	return filepath.Join(append([]string{s.o.Folder}, elements...)...)
}

// certify issues the server's certificate, unless the folder has one and nobody asks for another CA.
func (s *Server) certify() error {
	if _, err := os.Stat(s.CAFile); err == nil && s.o.CA == nil {
		return nil
	}
	ca := s.o.CA
	if ca == nil {
		var err error
		if ca, err = sandbox.NewCA("Key server of the sandbox"); err != nil {
			return err
		}
	}
	return ca.WriteFiles(s.path("tls"), loopback, "localhost")
}

// recall takes port and keys from the folder.
func (s *Server) recall() error {
	data, err := os.ReadFile(s.path("keys.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var k keys
	if err = errors.Join(err, json.Unmarshal(data, &k)); err != nil {
		return fmt.Errorf("the key server's keys: %w", err)
	}
	s.RootToken, s.UnsealKey = k.RootToken, k.UnsealKey
	if s.o.Port == 0 {
		s.HostPort = k.HostPort
	}
	return nil
}

// begin draws the port where it is not known, starts the program and makes it ready for use.
func (s *Server) begin(ctx context.Context) error {
	if s.HostPort == "" {
		port, err := freePort(s.o.Port)
		if err != nil {
			return err
		}
		s.HostPort = net.JoinHostPort(loopback, strconv.Itoa(port))
	}
	s.Address = "https://" + s.HostPort
	client, err := newAPI(s.Address, s.CAFile)
	if err != nil {
		return err
	}
	s.api = client
	if err := s.launch(ctx); err != nil {
		return err
	}
	if s.UnsealKey == "" {
		if err := s.initialise(ctx); err != nil {
			return err
		}
	}
	return s.Unseal(ctx)
}

func (s *Server) initialise(ctx context.Context) error {
	var made struct {
		Keys      []string `json:"keys_base64"`
		RootToken string   `json:"root_token"`
	}
	if err := s.api.put(ctx, "sys/init", "", map[string]int{"secret_shares": 1, "secret_threshold": 1}, &made); err != nil {
		return err
	}
	if len(made.Keys) != 1 {
		return errors.New("the key server was initialised without an unseal key")
	}
	s.UnsealKey, s.RootToken = made.Keys[0], made.RootToken
	data, err := json.Marshal(keys{s.HostPort, s.RootToken, s.UnsealKey})
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("keys.json"), data, 0o600)
}

// Unseal unseals the server and waits until it serves.
func (s *Server) Unseal(ctx context.Context) error {
	if err := s.unseal(ctx); err != nil {
		return err
	}
	return s.awaitHealth(ctx, 200)
}

func (s *Server) unseal(ctx context.Context) error {
	return s.api.put(ctx, "sys/unseal", "", map[string]string{"key": s.UnsealKey}, nil)
}

// Seal seals the server, as an operator does in an emergency: it goes on listening, and refuses.
func (s *Server) Seal(ctx context.Context) error {
	return s.api.put(ctx, "sys/seal", s.RootToken, nil, nil)
}

// Restart ends the server and starts it again at the same address with the same storage. It is sealed afterwards.
func (s *Server) Restart(ctx context.Context) error {
	s.process.end()
	return s.launch(ctx)
}

// RestartAsStandby is Restart as a standby of a cluster whose active node is not there; unsealed. Restart and Unseal end that.
func (s *Server) RestartAsStandby(ctx context.Context) error {
	s.process.end()
	if err := s.launch(ctx, "-standby"); err != nil {
		return err
	}
	if err := s.unseal(ctx); err != nil {
		return err
	}
	return s.awaitHealth(ctx, 429)
}

// Pause stops the process in its tracks: connections are accepted by the system and nobody answers. Resume lets it go on.
func (s *Server) Pause() error {
	if err := s.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for !s.process.stopped() { // a thread on another processor may go on for a moment
		select {
		case <-s.process.done:
			return errors.New("the key server has ended")
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Resume lets a paused process go on.
func (s *Server) Resume() error { return s.process.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the process without a warning; Restart starts it again.
func (s *Server) Kill() { s.process.kill() }

// Stop ends the server; a temporary folder goes away.
func (s *Server) Stop() {
	if s.process != nil {
		s.process.end()
	}
	if s.temporary {
		os.RemoveAll(s.o.Folder)
	}
}

// launch starts the program and returns when it listens.
func (s *Server) launch(ctx context.Context, more ...string) error {
	arguments := append([]string{"-addr", s.HostPort, "-storage", s.path("storage"),
		"-tls-cert", s.path("tls", "server.pem"), "-tls-key", s.path("tls", "server.key")}, more...)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := start(ctx, s.o.Binary, arguments, s.o.Log)
	if err != nil {
		return fmt.Errorf("the key server did not start: %w", err)
	}
	s.process = p
	return nil
}

// awaitHealth waits for a status of sys/health: 200 active, 429 standby, 503 sealed.
func (s *Server) awaitHealth(ctx context.Context, status int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		got, err := s.api.health(ctx)
		if err == nil && got == status {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the key server's health is %d, not %d: %w", got, status, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// process is one run of the program.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when it is gone
	once  sync.Once
}

// start returns when the program has said that it listens.
func start(ctx context.Context, binary string, arguments []string, log io.Writer) (*process, error) {
	cmd := exec.Command(binary, arguments...)
	cmd.Env = append(withoutVault(os.Environ()), "BAO_DISABLE_MLOCK=true")
	// Its own process group: a Ctrl-C on the terminal is for the parent, which stops the server last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	ready := make(chan error, 1)
	go func() {
		defer close(p.done)
		_, err := bufio.NewReader(stdout).ReadString('\n')
		ready <- err
		_ = cmd.Wait()
	}()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// stopped tells whether all threads are stopped (proc(5): the state follows the name in parentheses).
func (p *process) stopped() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if _, state, ok := strings.Cut(string(stat), ") "); err == nil && ok && !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}

// withoutVault keeps settings that were meant for clients, or for another server, away from this one.
func withoutVault(environment []string) []string {
	var kept []string
	for _, e := range environment {
		if !strings.HasPrefix(e, "VAULT_") && !strings.HasPrefix(e, "BAO_") {
			kept = append(kept, e)
		}
	}
	return kept
}

// end ends the program in order, or by force when it does not end in time.
func (p *process) end() {
	p.once.Do(func() {
		p.stdin.Close()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be paused
	})
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// freePort returns the wanted port, or draws one that nobody listens on, from below the range that kernels give to outgoing connections:
// one from that range is easily taken before the server comes to listen on it.
func freePort(wanted int) (int, error) {
	if wanted != 0 {
		return wanted, nil
	}
	const lowest, highest, tries = 10_000, 30_000, 100
	var err error
	for range tries {
		port := lowest + rand.IntN(highest-lowest)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
