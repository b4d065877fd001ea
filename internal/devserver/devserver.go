// Package devserver finds, starts and stops the Temporal server of one machine (worker/temporalserver), for
// `holdfastd dev` and for tests.
//
// The server is a program of its own, so that the application does not carry its dependencies. It ends with the process
// that started it, even when that one is killed: its standard input is a pipe whose other end closes then.
package devserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// startTimeout is generous: a start takes under a second, and ten on a machine that compiles at the same time.
const startTimeout = time.Minute

// stopTimeout is how long a server may take to drain; it needs two seconds.
const stopTimeout = 20 * time.Second

// Options chooses where the server keeps its state and listens.
type Options struct {
	// Binary is the program; empty: Locate.
	Binary string
	// Database is a SQLite file; empty: memory.
	Database string
	// Port and UIPort are TCP ports on loopback; 0 takes any free one. UIPort -1 starts no Web UI.
	Port, UIPort int
	// Codec is the endpoint by which the Web UI decodes values (https://docs.temporal.io/codec-server); empty: none.
	Codec string
	// MetricsPort serves Prometheus metrics; 0: none.
	MetricsPort int
	// Log receives the server's own log lines (errors only). Nil discards them.
	Log io.Writer
}

// Server is a running Temporal server.
type Server struct {
	Address   string `json:"address"` // host:port of the gRPC frontend
	Namespace string `json:"namespace"`
	WebUI     string `json:"webUI"` // base URL, empty when there is none
	cmd       *exec.Cmd
	stdin     io.Closer
	exited    chan struct{}
	err       error
}

// Locate finds the built server: $HOLDFAST_TEMPORAL_SERVER, else beside this program, else in the user's cache, where
// scripts/temporal-server.sh keeps it.
func Locate() (string, error) {
	if p := os.Getenv("HOLDFAST_TEMPORAL_SERVER"); p != "" {
		return p, nil
	}
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), "temporalserver"))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "holdfast", "temporalserver"))
	}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", errors.New("the Temporal server has not been built on this machine; run `make temporal-server` in the source tree, or set TEMPORAL_ADDRESS to a server that runs already")
}

// Start starts the server and returns when a client can use it.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Binary == "" {
		p, err := Locate()
		if err != nil {
			return nil, err
		}
		o.Binary = p
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	cmd := exec.Command(o.Binary, "-db", o.Database, "-port", strconv.Itoa(o.Port), "-ui-port", strconv.Itoa(o.UIPort), "-metrics-port", strconv.Itoa(o.MetricsPort),
		"-codec", o.Codec)
	cmd.Stderr = o.Log
	// Its own process group: a Ctrl-C on the terminal is for the parent, which stops the server last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the Temporal server %s: %w", o.Binary, err)
	}
	s := &Server{cmd: cmd, stdin: stdin, exited: make(chan struct{})}
	ready := make(chan error, 1)
	go s.wait(stdout, o.Log, ready)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("the Temporal server did not get ready: %w", errors.Join(err, s.err))
	}
	return s, nil
}

// wait reads up to the ready line, then whatever else is printed, and reaps the process. What the server prints before it is ready tells
// why it does not get there.
func (s *Server) wait(stdout io.Reader, log io.Writer, ready chan<- error) {
	defer close(s.exited)
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err == nil && (json.Unmarshal(line, s) != nil || s.Address == "") {
			_, err = log.Write(line)
			if err == nil {
				continue
			}
		}
		ready <- err
		break
	}
	_, _ = io.Copy(io.Discard, lines)
	s.err = s.cmd.Wait()
}

// Exited is closed when the process has ended.
func (s *Server) Exited() <-chan struct{} { return s.exited }

// Stop ends the server in order, or by force when it does not end in time.
func (s *Server) Stop() {
	s.stdin.Close()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
	case <-time.After(stopTimeout):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}
