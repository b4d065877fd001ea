package test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/holdfast-backup/holdfast/demo/stage"
)

// patience is how long `soon` waits. The slowest things that a script waits for are the retries before a person is asked: some 15 s on
// an idle machine.
const patience = 2 * time.Minute

// TestScripts plays the stories in scripts/ on the built programs. A story has actors, and each is a command:
//
//	company      the sandbox company: its directory, its Microsoft 365, its disk. `company opens PEOPLE MESSAGES FILES [vault]` comes first.
//	holdfast-dev start|stop|kill: `holdfastd dev`
//	connector    the customer's connectors
//	admin        the administrator's command line, as anna@acme.example unless --by says otherwise
//	auditor      looks where secrets must not be, and compares what was restored
//	intruder     attacks
//
// `exits CODE admin ...` wants an exit code, and `soon PATTERN admin ...` asks until the output is there (`! soon`: until it is gone).
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "scripts",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("TEMPORAL_CONFIG_FILE", os.DevNull)
			e.Setenv("TEMPORAL_ADDRESS", "")
			e.Setenv("HOLDFAST_USER", "anna@acme.example")
			e.Values[worldKey{}] = &world{t: e.T().(testing.TB), running: map[string]*stage.Process{}}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"company": actor(companyActs), "holdfast-dev": actor(devActs), "connector": actor(connectorActs),
			"auditor": actor(auditorActs), "intruder": actor(allOf(intruderActs, wiretapActs)),
			"admin": admin, "exits": exits, "soon": soon,
		},
	})
}

// world is what one script plays in.
type world struct {
	*company
	t        testing.TB
	ts       *testscript.TestScript
	running  map[string]*stage.Process
	password string // of the directory
	plunder  plunder
}

type worldKey struct{}

// act is one thing that an actor does.
type act func(w *world, args []string) error

// actor makes a command of the acts that are told apart by its first argument. Expecting a failure is `!`, as everywhere.
func actor(acts map[string]act) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		w := worldOf(ts)
		if len(args) == 0 || acts[args[0]] == nil {
			ts.Fatalf("nobody knows how to do %q", args)
		}
		err := acts[args[0]](w, args[1:])
		switch {
		case neg && err == nil:
			ts.Fatalf("this should have failed")
		case !neg && err != nil:
			ts.Fatalf("%v", err)
		case err != nil:
			fmt.Fprintln(ts.Stderr(), err)
		}
	}
}

// allOf puts the acts of an actor together.
func allOf(parts ...map[string]act) map[string]act {
	all := map[string]act{}
	for _, part := range parts {
		maps.Copy(all, part)
	}
	return all
}

func worldOf(ts *testscript.TestScript) *world {
	w := ts.Value(worldKey{}).(*world)
	w.ts = ts
	return w
}

// say puts a line where the script's `stdout` finds it.
func (w *world) say(format string, args ...any) { fmt.Fprintf(w.ts.Stdout(), format+"\n", args...) }

// admin runs the command line.
func admin(ts *testscript.TestScript, neg bool, args []string) {
	if err := ts.Exec("admin", args...); neg != (err != nil) {
		ts.Fatalf("%v", err)
	}
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

// soon PATTERN admin ARGS... or soon PATTERN log NAME: what is asked for comes, or goes with `!`, within patience.
func soon(ts *testscript.TestScript, neg bool, args []string) {
	w, pattern := worldOf(ts), regexp.MustCompile("(?m)"+args[0])
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		text, err := w.ask(args[1], args[2:])
		if err == nil && pattern.MatchString(text) != neg {
			fmt.Fprint(ts.Stdout(), text)
			return
		}
		if time.Since(began) > patience {
			ts.Fatalf("%v after %v:\n%s", err, patience, text)
		}
	}
}

func (w *world) ask(who string, args []string) (string, error) {
	if who == "log" {
		b, err := os.ReadFile(w.Path("logs", args[0]+".log"))
		return string(b), err
	}
	r, err := w.Holdfast(context.Background(), args...)
	return r.Stdout + r.Stderr, err
}

// play keeps a process under its name until the script stops it, or ends.
func (w *world) play(name string, p *stage.Process, err error) error {
	if err != nil {
		return err
	}
	w.running[name] = p
	w.ts.Defer(func() { _ = p.Stop() })
	return nil
}

func (w *world) process(name string) (*stage.Process, error) {
	p := w.running[name]
	if p == nil {
		return nil, fmt.Errorf("%s was not started", name)
	}
	return p, nil
}

func (w *world) stop(name string) error {
	p, err := w.process(name)
	if err != nil {
		return err
	}
	return p.Stop()
}

func (w *world) kill(name string) error {
	p, err := w.process(name)
	if err == nil {
		p.Kill()
	}
	return err
}

// devActs are those of `holdfastd dev`.
var devActs = map[string]act{
	"start": func(w *world, _ []string) error {
		p, err := w.StartDev(w.t.Context())
		if err := w.play("dev", p, err); err != nil {
			return err
		}
		return w.describe()
	},
	"stop": func(w *world, _ []string) error { return w.stop("dev") },
	"kill": func(w *world, _ []string) error { return w.kill("dev") },
}

// describe puts the tenant's file into the script's folder, once there is a gateway that a connector's key file can name.
func (w *world) describe() error {
	if err := w.EnsureConnectorKey(w.t.Context()); err != nil {
		return err
	}
	file, err := w.TenantFile("../demo/acme.yaml")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.ts.MkAbs("acme.yaml"), text, 0o600); err != nil || w.Vault == nil {
		return err
	}
	return w.describeVault()
}

// describeVault puts what a tenant's file says of the Vault into vault.yaml, for the section key.
func (w *world) describeVault() error {
	file, err := w.TenantFile("../demo/acme-kms.yaml")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, section, _ := strings.Cut(string(text), "  method: kms\n")
	section, _, _ = strings.Cut(section, "\ndirectories:")
	return os.WriteFile(w.ts.MkAbs("vault.yaml"), []byte(section), 0o600)
}

// connectorActs are those of the customer's connectors: `new NAME TENANT CONNECTOR` makes a key file NAME.key in the script's folder, `joins
// NAME` shows the token in NAME.token and makes it so, and without a name `start`, `stop` and `kill` mean the company's own. What stands behind
// a name is for the connector's command line.
var connectorActs = map[string]act{
	"new": func(w *world, args []string) error {
		return w.NewConnectorKey(w.t.Context(), args[1], args[2], w.ts.MkAbs(args[0]+".key"))
	},
	"start": func(w *world, args []string) error {
		if len(args) == 0 {
			p, err := w.StartConnector()
			return w.play("connector", p, err)
		}
		p, err := w.StartConnectorOf(args[0], w.ts.MkAbs(args[0]+".key"), args[1:]...)
		return w.play(args[0], p, err)
	},
	"joins": func(w *world, args []string) error {
		p, err := w.StartConnectorOf(args[0], w.ts.MkAbs(args[0]+".key"), "--enroll", "@"+w.ts.MkAbs(args[0]+".token"))
		return w.play(args[0], p, err)
	},
	"stop": func(w *world, args []string) error { return w.stop(named(args)) },
	"kill": func(w *world, args []string) error { return w.kill(named(args)) },
}

func named(args []string) string {
	if len(args) == 0 {
		return "connector"
	}
	return args[0]
}
