package orchestrator_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// startServer runs a real Temporal server for one test and returns its address. It is the only place that knows where the
// server's program is.
func startServer(t testing.TB) string {
	t.Helper()
	program := os.Getenv("HOLDFAST_TEMPORAL_SERVER")
	if program == "" {
		t.Fatal("HOLDFAST_TEMPORAL_SERVER must name the Temporal server's program")
	}
	port := freePort(t)
	cmd := exec.Command(program, "-port", fmt.Sprint(port), "-ui-port", "0", "-db", "")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(cmd) })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "ready ") {
			return fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	t.Fatal("the Temporal server ended before it was ready")
	return ""
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(15*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait()
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// env is an environment without anything of this machine's.
type env map[string]string

func (e env) Environ() []string {
	var all []string
	for k, v := range e {
		all = append(all, k+"="+v)
	}
	return all
}

func (e env) LookupEnv(name string) (string, bool) { v, ok := e[name]; return v, ok }

func dial(t testing.TB, address, namespace string) *orchestrator.Client {
	t.Helper()
	c, err := orchestrator.Dial(context.Background(), orchestrator.Options{
		Profile: readapi.Profile{TemporalAddress: address, TemporalNamespace: namespace}, Env: env{"TEMPORAL_CONFIG_FILE": os.DevNull}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
