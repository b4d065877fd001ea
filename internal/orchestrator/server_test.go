package orchestrator_test

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// startServer runs a real Temporal server for one test and returns its address.
func startServer(t testing.TB) string {
	t.Helper()
	s, err := devserver.Start(context.Background(), devserver.Options{UIPort: -1, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s.Address
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

// codec is one for every client of a test, as workers, gateway and command line share their keys.
func codec() *payload.Codec { return payload.NewCodec(testRing) }

var testRing = payload.NewKeyring(time.Now())

func dial(t testing.TB, address, namespace string) *orchestrator.Client {
	t.Helper()
	c, err := orchestrator.Dial(context.Background(), orchestrator.Options{
		Profile: readapi.Profile{TemporalAddress: address, TemporalNamespace: namespace}, Codec: codec(), Env: env{"TEMPORAL_CONFIG_FILE": os.DevNull}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
