package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// A person opens the Web UI of `dev` in a browser and reads what a workflow was started with; nothing is to be set. Without the codec's
// endpoint the same page of the same workflow shows nothing of it.
func TestWebUIShowsDecodedValues(t *testing.T) {
	s := settings{State: t.TempDir()}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	if err := s.ensurePayloadKeys(); err != nil {
		t.Fatal(err)
	}
	codec, err := s.openCodec(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"} {
		t.Setenv(name, "")
	}
	profile, stop, err := startTemporal(t.Context(), s, zap.NewNop(), codec, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	const input = "canary-of-the-input"
	page := "/namespaces/default/workflows/seen-in-a-browser/" + startFor(t, profile, s, input) + "/history"

	browser := startBrowser(t)
	text := browser.open(profile.WebUI + page)
	if !text.shows(t, "Input\n\""+input+"\"\n") {
		t.Errorf("the Web UI does not show the decoded value:\n%s", text.now(t))
	}
	stop()

	off, err := devserver.Start(t.Context(), devserver.Options{Database: filepath.Join(s.State, temporalFile), Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer off.Stop()
	text = browser.open(off.WebUI + page)
	if !text.shows(t, "Input\n\"A") { // the sealed payload in base64, whose first byte is the version
		t.Errorf("without the endpoint the page does not show the sealed payload:\n%s", text.now(t))
	}
	if got := text.now(t); strings.Contains(got, input) || !strings.Contains(got, "seen-in-a-browser") {
		t.Errorf("without the endpoint the page shows:\n%s", got)
	}
}

// startFor starts a workflow that nobody works on, with the connection that a command line would have. It returns the run's id.
func startFor(t *testing.T, profile readapi.Profile, s settings, input string) string {
	t.Helper()
	profile.PayloadKeys = backup.SecretRef(s.PayloadKeys)
	c, err := orchestrator.Dial(t.Context(), orchestrator.Options{Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run, err := c.Temporal().ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "seen-in-a-browser", TaskQueue: "nobody"}, "Look", input)
	if err != nil {
		t.Fatal(err)
	}
	return run.GetRunID()
}

// browser is a Chromium that is spoken to over pipes, in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol): JSON
// messages that end with a zero byte.
type browser struct {
	t    *testing.T
	to   io.Writer
	from *bufio.Reader
	last int
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		if out, err := exec.CommandContext(t.Context(), "../scripts/install-test-servers.sh").CombinedOutput(); err != nil {
			t.Fatalf("Chromium is not to be had: %v\n%s", err, out)
		}
		program = "chromium"
	}
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--window-size=1400,2000", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, answers} // file descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	answers.Close()
	deadline := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }) // a browser that hangs must not hang the test
	b := &browser{t: t, to: to, from: bufio.NewReader(from)}
	t.Cleanup(func() {
		deadline.Stop()
		b.call("", "Browser.close", nil, nil)
		to.Close()
		_ = cmd.Wait()
		from.Close()
	})
	return b
}

// call sends one command and waits for its answer; events in between are of no interest.
func (b *browser) call(session, method string, params, result any) {
	b.t.Helper()
	b.last++
	message, err := json.Marshal(map[string]any{"id": b.last, "method": method, "params": params, "sessionId": session})
	if session == "" {
		message, err = json.Marshal(map[string]any{"id": b.last, "method": method, "params": params})
	}
	if err == nil {
		_, err = b.to.Write(append(message, 0))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for {
		line, err := b.from.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("the browser is gone: %v", err)
		}
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(line[:len(line)-1], &answer); err != nil {
			b.t.Fatal(err)
		}
		switch {
		case answer.ID != b.last:
			continue
		case answer.Error != nil:
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		case result != nil:
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// view is an open page.
type view struct {
	browser *browser
	session string
}

func (b *browser) open(url string) view {
	b.t.Helper()
	var target struct{ TargetID string }
	b.call("", "Target.createTarget", map[string]any{"url": url}, &target)
	var attached struct{ SessionID string }
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	return view{b, attached.SessionID}
}

// now is the text that a person would see on the page.
func (v view) now(t *testing.T) string {
	t.Helper()
	var answer struct{ Result struct{ Value string } }
	v.browser.call(v.session, "Runtime.evaluate", map[string]any{"expression": "document.body ? document.body.innerText : ''", "returnByValue": true}, &answer)
	return answer.Result.Value
}

// shows waits until the page has a text.
func (v view) shows(t *testing.T, text string) bool {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if strings.Contains(v.now(t), text) {
			return true
		}
	}
	return false
}
