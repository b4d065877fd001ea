package postgres

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// How the server is asked to end (https://www.postgresql.org/docs/15/server-shutdown.html): politely it ends the sessions and writes
// everything down; immediately it does neither.
const (
	politely    = syscall.SIGINT
	immediately = syscall.SIGQUIT
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it is gone
}

// launch starts the server in the foreground, so that the process we started is the server and ends by its own pid.
func (s *Server) launch(arguments []string) (*process, error) {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(s.programs, "postgres"), arguments...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.folder, log, log, s.account.attributes()
	cmd.SysProcAttr.Pdeathsig = immediately
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The server ends with the thread that started it, so this thread stays.
		runtime.LockOSThread()
		defer close(p.done)
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log
		}
	}()
	return p, <-started
}

// end signals the server and waits until it is gone.
func (p *process) end(signal syscall.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("PostgreSQL did not end after %v", stopTimeout), err)
}

func (s *Server) log() string { return filepath.Join(s.folder, "log") }

// lastWords are the last lines of the server's log.
func (s *Server) lastWords() string {
	f, err := os.Open(s.log())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const most = 4 << 10
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	return lastLines(text)
}
