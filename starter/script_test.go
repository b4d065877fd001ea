package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/payload"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"holdfast": main}) }

// TestScripts runs the program itself, as a shell would.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/scripts",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TEMPORAL_CONFIG_FILE", os.DevNull)
			e.Setenv("TEMPORAL_ADDRESS", "")
			e.Setenv("HOLDFAST_USER", "anna@acme.example")
			e.Setenv("NOBODY", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
			example, err := os.ReadFile("../docs/tenant.example.yaml")
			if err != nil {
				return err
			}
			return os.WriteFile(e.WorkDir+"/acme.yaml", example, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "temporal": temporal},
	})
}

// exits CODE COMMAND...: the program ends with exactly this code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if exit, ok := err.(*exec.ExitError); ok {
		code = fmt.Sprint(exit.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("exit code %s, want %s", code, args[0])
	}
}

// temporal [prepared]: starts a real server, without any worker, and points the program at it.
func temporal(ts *testscript.TestScript, _ bool, args []string) {
	server, err := devserver.Start(context.Background(), devserver.Options{UIPort: -1, Log: os.Stderr})
	if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Defer(server.Stop)
	ts.Setenv("TEMPORAL_ADDRESS", server.Address)
	ring := payload.NewKeyring(time.Now())
	keys, err := ring.Marshal()
	if err == nil {
		err = os.WriteFile(ts.MkAbs("payload-keys.json"), keys, 0o600)
	}
	if err != nil {
		ts.Fatalf("%v", err)
	}
	ts.Setenv("HOLDFAST_PAYLOAD_KEYS", "file:"+ts.MkAbs("payload-keys.json"))
	if len(args) == 0 {
		return
	}
	c, err := orchestrator.Dial(context.Background(), orchestrator.Options{Profile: readapi.Profile{TemporalAddress: server.Address}, Codec: payload.NewCodec(ring)})
	if err == nil {
		err = c.CheckNamespace(context.Background(), true)
		c.Close()
	}
	if err != nil {
		ts.Fatalf("%v", err)
	}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
