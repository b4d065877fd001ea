package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// TestEnrolment: the token stands alone on standard output, holds what the connector needs, and the workflow learns its hash only.
func TestEnrolment(t *testing.T) {
	ca, err := sandbox.NewCA("gateway")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "gateway.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &fakeFlows{holds: 1}
	var stdout, stderr bytes.Buffer
	env := map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://gateway.example:8443", "HOLDFAST_CA_FILE": file}
	if code := run(t.Context(), newFake(&stdout, &stderr, c, &fakeReader{}, env), strings.Fields("connector enroll acme --name hq --valid 1h --wait")); code != exitOK {
		t.Fatalf("%d %s", code, &stderr)
	}
	text := stdout.String()
	token, err := backup.ParseEnrolmentToken(text)
	if err != nil || strings.Count(text, "\n") != 1 || strings.Contains(stderr.String(), strings.TrimSpace(text)) {
		t.Fatalf("standard output is not the token alone: %v", err)
	}
	if token.Tenant != "acme" || token.Connector != "hq" || token.Gateway != env["HOLDFAST_GATEWAY"] || !token.Expires.Equal(morning.Add(time.Hour)) || len(token.Workers) != 1 || len(token.GatewayCA) == 0 {
		t.Errorf("%+v", token)
	}
	want := orchestrator.EnrolmentRequest{Tenant: "acme", Connector: "hq", SecretHash: token.Hash(), Expires: token.Expires, RequestedBy: "anna"}
	if got := c.enrolled; got.Tenant != want.Tenant || got.Connector != want.Connector || !bytes.Equal(got.SecretHash, want.SecretHash) || !got.Expires.Equal(want.Expires) || got.RequestedBy != "anna" || got.Replace {
		t.Errorf("asked for %+v", got)
	}
	if bytes.Equal(c.enrolled.SecretHash, token.Secret()) || !strings.Contains(stderr.String(), "holdfastd connector --enroll -") || !strings.Contains(stderr.String(), "generation 1") {
		t.Errorf("%s", &stderr)
	}
}

// TestEnrolmentRefused: when the enrolment is not accepted, nobody gets a token.
func TestEnrolmentRefused(t *testing.T) {
	folder := t.TempDir()
	notPEM := filepath.Join(folder, "not.pem")
	if err := os.WriteFile(notPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600); err != nil {
		t.Fatal(err)
	}
	ca, err := sandbox.NewCA("gateway")
	if err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(folder, "good.pem")
	if err := os.WriteFile(good, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args string
		err  error
		code int
		says string
	}{
		"no name":        {"connector enroll acme", nil, exitUsage, "--name"},
		"too long valid": {"connector enroll acme --name hq --valid 48h", nil, exitUsage, "24h"},
		"no certificate": {"connector enroll acme --name hq", nil, exitFailed, "--gateway-ca"},
		"not one":        {"connector enroll acme --name hq --gateway-ca " + notPEM, nil, exitFailed, "certificate"},
		"under way":      {"connector enroll acme --name hq --gateway-ca " + good, underWay, exitRefused, "under way"},
	} {
		var stdout, stderr bytes.Buffer
		p := newFake(&stdout, &stderr, &fakeFlows{err: c.err}, &fakeReader{}, map[string]string{"HOLDFAST_USER": "anna", "HOLDFAST_GATEWAY": "https://g"})
		if code := run(t.Context(), p, strings.Fields(c.args)); code != c.code || stdout.Len() > 0 || !strings.Contains(stderr.String(), c.says) {
			t.Errorf("%s: %d %s %s", name, code, &stdout, &stderr)
		}
	}
}

// TestShredIsConfirmed: the destruction of a key is asked for when the tenant's id was given twice, and never otherwise.
func TestShredIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		args, typed string
		terminal    bool
		asked       bool
	}{
		"typed":                  {"key shred acme --reason ended", "acme\n", true, true},
		"typed without newline":  {"key shred acme --reason ended", "acme", true, true},
		"typed another":          {"key shred acme --reason ended", "globex\n", true, false},
		"typed yes":              {"key shred acme --reason ended", "yes\n", true, false},
		"typed nothing":          {"key shred acme --reason ended", "\n", true, false},
		"end of input":           {"key shred acme --reason ended", "", true, false},
		"piped, not confirmed":   {"key shred acme --reason ended", "acme\n", false, false},
		"script":                 {"key shred acme --reason ended --yes-destroy acme", "", false, true},
		"script, another tenant": {"key shred acme --reason ended --yes-destroy acm", "", false, false},
		"json is not asked":      {"key shred acme --reason ended --json", "acme\n", true, false},
		"no reason":              {"key shred acme --yes-destroy acme", "", false, false},
	} {
		var out bytes.Buffer
		f := &fakeFlows{}
		p := newFake(&out, &out, f, &fakeReader{}, map[string]string{"HOLDFAST_USER": "anna"})
		p.in, p.asks = strings.NewReader(c.typed), c.terminal
		code := run(t.Context(), p, strings.Fields(c.args))
		if asked := f.change != ""; asked != c.asked || asked != (code == exitOK) || !asked && code != exitUsage {
			t.Errorf("%s: asked %q, code %d, %s", name, f.change, code, &out)
		}
		if c.asked && f.change != "shred acme by anna: ended" {
			t.Errorf("%s: %s", name, f.change)
		}
	}
}

// TestRemovalIsConfirmed: a connector is removed when its name was given twice, and in the name of who asks.
func TestRemovalIsConfirmed(t *testing.T) {
	for name, c := range map[string]struct {
		args, typed string
		want        string
	}{
		"typed":                  {"connector remove acme branch", "branch\n", "remove branch of acme by anna"},
		"typed another":          {"connector remove acme branch", "hq\n", ""},
		"typed the tenant":       {"connector remove acme branch", "acme\n", ""},
		"end of input":           {"connector remove acme branch", "", ""},
		"script":                 {"connector remove acme branch --yes-remove branch --by bela", "", "remove branch of acme by bela"},
		"script, another":        {"connector remove acme branch --yes-remove hq", "", ""},
		"json is not asked":      {"connector remove acme branch --json", "branch\n", ""},
		"json":                   {"connector remove acme branch --json --yes-remove branch", "", "remove branch of acme by anna"},
		"the gateway is not had": {"connector remove acme branch --yes-remove branch", "no gateway", "remove branch of acme by anna"},
	} {
		var out bytes.Buffer
		f, r := &fakeFlows{}, &fakeReader{}
		if c.typed == "no gateway" {
			r.err = errors.New("no route")
		}
		p := newFake(&out, &out, f, r, map[string]string{"HOLDFAST_USER": "anna"})
		p.in, p.asks = strings.NewReader(c.typed), true
		code := run(t.Context(), p, strings.Fields(c.args))
		if f.change != c.want || (c.want != "") != (code == exitOK) || c.want == "" && code != exitUsage {
			t.Errorf("%s: %q, code %d, %s", name, f.change, code, &out)
		}
		if r.err != nil && !strings.Contains(out.String(), "holdfast key rotate acme") {
			t.Errorf("%s: %s", name, &out)
		}
	}
}

// TestKeyMessages: what is asked for is what was typed.
func TestKeyMessages(t *testing.T) {
	for args, want := range map[string]string{
		"key rotate acme":                       "rotate acme by anna",
		"key rotate acme --by bela":             "rotate acme by bela",
		"key rotate acme --rewrap-only":         "rewrap acme by anna",
		"key switch acme --to kms":              "switch acme to kms by anna",
		"key switch acme --to connector --json": "switch acme to connector by anna",
	} {
		var out bytes.Buffer
		f := &fakeFlows{}
		if code := run(t.Context(), newFake(&out, &out, f, &fakeReader{}, map[string]string{"HOLDFAST_USER": "anna"}), strings.Fields(args)); code != exitOK || f.change != want {
			t.Errorf("%s: %d %q", args, code, f.change)
		}
	}
	f := &fakeFlows{}
	var out bytes.Buffer
	run(t.Context(), newFake(&out, &out, f, &fakeReader{}, map[string]string{"HOLDFAST_USER": "anna"}), strings.Fields("approve acme connector --workflow enroll/acme/hq"))
	if f.inside != "enroll/acme/hq" || f.decision.Task != backup.TaskConnector {
		t.Errorf("%q %+v", f.inside, f.decision)
	}
}

// TestMuting: every open alert of the kind, or the one of the subject, until the time that was said.
func TestMuting(t *testing.T) {
	alerts := []backup.Alert{{Kind: backup.AlertKeyDrill, Subject: "vault"}, {Kind: backup.AlertKeyDrill, Subject: "connector hq"}, {Kind: backup.AlertRunFailed, Subject: "vault"}}
	for args, want := range map[string][]readapi.Mute{
		"alerts mute acme key_drill --for 90m":         {{Kind: backup.AlertKeyDrill, Subject: "vault", Until: morning.Add(90 * time.Minute)}, {Kind: backup.AlertKeyDrill, Subject: "connector hq", Until: morning.Add(90 * time.Minute)}},
		"alerts mute acme key_drill --subject vault":   {{Kind: backup.AlertKeyDrill, Subject: "vault", Until: morning.Add(4 * time.Hour)}},
		"alerts unmute acme key_drill --subject vault": {{Kind: backup.AlertKeyDrill, Subject: "vault"}},
		"alerts mute acme key_drill --for 999h":        nil,
		"alerts mute acme key_drill --for -1h":         nil,
	} {
		r := &fakeReader{alerts: alerts}
		var out bytes.Buffer
		run(t.Context(), newFake(&out, &out, &fakeFlows{}, r, nil), strings.Fields(args))
		if !slices.Equal(r.muted, want) {
			t.Errorf("%s: %+v", args, r.muted)
		}
	}
}

// TestNoOneAnswers: a change is asked for although no worker runs, and the command does not hang.
func TestNoOneAnswers(t *testing.T) {
	var out bytes.Buffer
	p := newFake(&out, &out, &fakeFlows{}, &fakeReader{}, map[string]string{"HOLDFAST_USER": "anna"})
	p.settle = 20 * time.Millisecond
	p.openFlows = func(context.Context, settings) (flows, error) { return silentFlows{&fakeFlows{}}, nil }
	if code := run(t.Context(), p, strings.Fields("key rotate acme")); code != exitOK || !strings.Contains(out.String(), "was asked for") {
		t.Errorf("%d %s", code, &out)
	}
}

// silentFlows has no worker: a query is never answered.
type silentFlows struct{ *fakeFlows }

func (silentFlows) KeyFlow(ctx context.Context, _, _ string) (orchestrator.KeyFlow, error) {
	<-ctx.Done()
	return orchestrator.KeyFlow{}, orchestrator.ErrNoAnswer
}
