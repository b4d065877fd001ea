package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/workflows"
)

// TestEveryCommandIsDocumented: a short text, examples that begin with the command, and --json on all that answer.
func TestEveryCommandIsDocumented(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		for _, below := range c.Commands() {
			visit(below)
		}
		if !c.Runnable() || c.HasSubCommands() || strings.Contains(c.CommandPath(), "completion") || c.Name() == "help" {
			return
		}
		if c.Short == "" || !strings.Contains(c.Example, "  "+c.CommandPath()) {
			t.Errorf("%s lacks a short text or an example", c.CommandPath())
		}
		if c.InheritedFlags().Lookup("json") == nil {
			t.Errorf("%s has no --json", c.CommandPath())
		}
	}
	visit(newRoot(newFake(nil, nil, nil, nil, nil)))
}

// TestInterruptedByAPerson: a long command ends with the context, says that what it started goes on, and leaves nothing behind.
func TestInterruptedByAPerson(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, args := range []string{"backup run acme --wait", "users import acme", "restore acme --account a --service mail --to /x", "status acme --watch"} {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		interrupted, stop := context.WithCancel(ctx)
		time.AfterFunc(20*time.Millisecond, stop)
		var stdout, stderr bytes.Buffer
		c := &fakeFlows{wait: time.Hour, started: true, onboardings: []orchestrator.Onboarding{onboarding(true, keyTask)}}
		p := newFake(&stdout, &stderr, c, &fakeReader{report: report()}, map[string]string{"HOLDFAST_USER": "anna"})
		if code := run(interrupted, p, strings.Fields(args)); code != exitInterrupted || !strings.Contains(stderr.String(), "what was started goes on") {
			t.Errorf("%s: %d %s", args, code, &stderr)
		}
		stop()
		cancel()
	}
}

// TestProgressOfARun: the progress tells the run's own counts, not another's, and guesses the rest.
func TestProgressOfARun(t *testing.T) {
	going := secondRun
	going.Outcome, going.Parts, going.Done, going.Failed, going.NoService, going.Counts = backup.RunRunning, 12, 3, 1, 0, backup.Counts{Bytes: 3000}
	r := &fakeReader{runs: []backup.Run{firstRun, going}}
	w := &runWatch{reader: r, tenant: "acme", workflowID: going.WorkflowID, began: morning, now: func() time.Time { return morning.Add(time.Minute) }}
	if got, want := w.look(t.Context()), "run 2: 3 of 12 done, 1 failed, 3 kB, about 2 min left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if r.runs = r.runs[:1]; w.look(t.Context()) != "" {
		t.Error("another run's progress is shown")
	}
}

// TestOnATerminal: the checklist is redrawn in its place, with colours.
func TestOnATerminal(t *testing.T) {
	var stdout, stderr bytes.Buffer
	c := &fakeFlows{onboardings: []orchestrator.Onboarding{onboarding(true, keyTask, pendingTask), onboarding(false, passed(keyTask), passed(pendingTask))}}
	p := newFake(&stdout, &stderr, c, &fakeReader{}, nil)
	p.live, p.colours = true, true
	if code := run(t.Context(), p, []string{"status", "acme", "--watch"}); code != exitOK {
		t.Fatal(code)
	}
	if !strings.Contains(stderr.String(), "\x1b[2A") || !strings.Contains(stderr.String(), green) {
		t.Errorf("not redrawn: %q", &stderr)
	}
	stdout.Reset()
	stderr.Reset()
	if run(t.Context(), p, []string{"status", "acme", "--watch", "--json"}); strings.Contains(stdout.String()+stderr.String(), "\x1b") || !json.Valid(stdout.Bytes()) {
		t.Errorf("colours in JSON: %q %q", &stdout, &stderr)
	}
}

func TestSettings(t *testing.T) {
	folder := t.TempDir()
	profile, _ := json.Marshal(readapi.Profile{Gateway: "https://of-file", User: "file@acme.example", TemporalAddress: "t:1"})
	if err := os.WriteFile(filepath.Join(folder, "client.json"), profile, 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HOLDFAST_STATE": folder, "HOLDFAST_USER": "env@acme.example"}
	p := newFake(nil, nil, nil, nil, env)
	s, err := p.settings()
	if err != nil || s.Gateway != "https://of-file" || s.User != "env@acme.example" || s.TemporalAddress != "t:1" {
		t.Errorf("%+v %v", s, err)
	}
	if p.state = t.TempDir(); p.stateFolder() == folder {
		t.Error("--state does not stand above HOLDFAST_STATE")
	}
	for env, want := range map[string]string{"HOLDFAST_STATE=/a,XDG_DATA_HOME=/b,HOME=/c": "/a", "XDG_DATA_HOME=/b,HOME=/c": "/b/holdfast", "HOME=/c": "/c/.local/share/holdfast"} {
		vars := map[string]string{}
		for _, pair := range strings.Split(env, ",") {
			name, value, _ := strings.Cut(pair, "=")
			vars[name] = value
		}
		if got := newFake(nil, nil, nil, nil, vars).stateFolder(); got != want {
			t.Errorf("%s: %s", env, got)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "client.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p.state = folder; p.stateFolder() != folder {
		t.Error(p.stateFolder())
	}
	if _, err := p.settings(); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("a broken client.json: %v", err)
	}
}

// TestWhatReachesTheWorkflows: the messages hold what the person typed.
func TestWhatReachesTheWorkflows(t *testing.T) {
	c := &fakeFlows{started: true, schedule: &orchestrator.BackupSchedule{}, run: workflows.BackUpAppResult{}}
	say := func(args ...string) int {
		var out bytes.Buffer
		return run(t.Context(), newFake(&out, &out, c, &fakeReader{report: report()}, map[string]string{"HOLDFAST_USER": "anna"}), args)
	}
	say("waive", "acme", "app-permissions", "--reason", "pilot", "--by", "bela")
	if c.decision != (backup.Decision{Task: "app-permissions", Action: backup.Waive, By: "bela", Reason: "pilot"}) {
		t.Errorf("%+v", c.decision)
	}
	if code := say("waive", "acme", "app-permissions"); code != exitUsage {
		t.Errorf("to waive without a reason: %d", code)
	}
	say("restore", "acme", "--account", "x", "--service", "drive", "--to", "here", "--snapshot", "k1")
	if r := c.restore; !filepath.IsAbs(r.To) || r.Service != backup.Drive || r.Snapshot != "k1" || r.RequestedBy != "anna" || r.App != app {
		t.Errorf("%+v", r)
	}
	if say("backup", "pause", "acme"); c.note != "paused by anna" {
		t.Errorf("%q", c.note)
	}
	shown := removals
	shown.Difference = "d1"
	c.inbox = []orchestrator.Waiting{{Tenant: "acme", WorkflowID: "import/acme/ldap", Task: shown}}
	if say("approve", "acme", "removals", "--by", "bela"); c.decision.Difference != "d1" {
		t.Errorf("what was approved is not what the inbox shows: %+v", c.decision)
	}
	if say("approve", "acme", "removals", "--by", "bela", "--difference", "d0"); c.decision.Difference != "d0" {
		t.Errorf("%+v", c.decision)
	}
	if say("users", "preview", "acme"); c.preview != 0 {
		t.Error("a preview was started beside an import that waits for an approval")
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 3_456_789: "3.46 MB", 999_999: "1 MB", 5_000_000_000_000: "5 TB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{500 * time.Millisecond: "1 s", 59 * time.Second: "59 s", 90 * time.Second: "2 min", 26 * time.Hour: "26 h", 72 * time.Hour: "3 days"} {
		if got := about(d); got != want {
			t.Errorf("about(%v) = %s, want %s", d, got, want)
		}
	}
	if got := clean("a\x1b]0;x\x07b\u202ec\nd\xff"); got != "a ]0;x b c d?" {
		t.Errorf("clean: %q", got)
	}
}
