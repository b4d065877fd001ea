package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// asProgram makes a process of this test's own binary be holdfastd, so that a test can kill one.
const asProgram = "HOLDFASTD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// process is a holdfastd that runs; said is what it has written.
type process struct {
	*exec.Cmd
	said  *lockedBuffer
	ended chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startProgram(t *testing.T, input string, args ...string) *process {
	t.Helper()
	p := &process{exec.Command(os.Args[0], args...), &lockedBuffer{}, make(chan struct{})}
	p.Env = append(os.Environ(), asProgram+"=1")
	p.Stdin, p.Stdout, p.Stderr = strings.NewReader(input), p.said, p.said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Wait(); close(p.ended) }()
	t.Cleanup(func() { _ = p.Process.Kill(); <-p.ended })
	return p
}

func (p *process) exited() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func eventually(t *testing.T, what string, holds func() bool, said ...*process) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			for _, p := range said {
				t.Log(p.said)
			}
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// nobodyListens is a presence that takes every report.
type nobodyListens struct{}

func (nobodyListens) ConnectorChanged(context.Context, backup.ConnectorPresence) error { return nil }
func (nobodyListens) EnrolmentPresented(context.Context, backup.Enrolment) error       { return nil }

// ground is a gateway over TLS with the real store, as connectors meet it.
type ground struct {
	store  *sqlstore.Store
	url    string
	ca     []byte
	worker connector.Identity
}

// connected tells whether the gateway counts a connector as connected; what the connector says is "not connected" as well.
func (g ground) connected(name string) func() bool {
	return func() bool {
		all, err := g.store.PinnedConnectors(context.Background(), "acme")
		return err == nil && slices.ContainsFunc(all, func(c backup.ConnectorStatus) bool { return c.Name == name && c.Connected })
	}
}

func newGround(t *testing.T) ground {
	t.Helper()
	store, err := sqlstore.Open(t.Context(), "sqlite://"+filepath.Join(t.TempDir(), "holdfast.db"))
	check(t, err)
	t.Cleanup(func() { check(t, store.Close()) })
	check(t, store.SaveTenant(t.Context(), backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector}}))
	ca, err := sandbox.NewCA("gateway's CA")
	check(t, err)
	cert, err := ca.Issue("127.0.0.1")
	check(t, err)
	worker, err := connector.NewIdentity()
	check(t, err)
	g := connector.NewGateway(store, nobodyListens{}, connector.GatewayOptions{PollFor: time.Second})
	server := httptest.NewUnstartedServer(g)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.EnableHTTP2 = true
	server.StartTLS()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait(); server.CloseClientConnections(); server.Close() })
	return ground{store, server.URL, ca.PEM(), worker}
}

func (g ground) token(t *testing.T, name string, valid time.Duration) backup.EnrolmentToken {
	t.Helper()
	token, err := backup.NewEnrolmentToken(backup.EnrolmentToken{Tenant: "acme", Connector: name, Gateway: g.url, GatewayCA: g.ca, Workers: []string{g.worker.Public()}, Expires: time.Now().Add(valid)})
	check(t, err)
	check(t, g.store.OpenEnrolment(t.Context(), backup.Enrolment{Tenant: "acme", Connector: name, SecretHash: token.Hash(), Expires: token.Expires}))
	return token
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Two processes on two machines are given one token: one is admitted and runs, the other ends and leaves no key file.
func TestTwoProcessesWithOneToken(t *testing.T) {
	g := newGround(t)
	token := g.token(t, "hq", time.Hour)
	file := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(file, []byte(token.Text()+"\n"), 0o600))
	keys := []string{filepath.Join(t.TempDir(), "a.key"), filepath.Join(t.TempDir(), "b.key")}
	one := startProgram(t, token.Text(), "connector", "--enroll", "-", "--key-file", keys[0])
	two := startProgram(t, "", "connector", "--enroll", "@"+file, "--key-file", keys[1])
	eventually(t, "one of them ends", func() bool { return one.exited() || two.exited() }, one, two)
	winner, loser, lost := one, two, keys[1]
	if one.exited() {
		winner, loser, lost = two, one, keys[0]
	}
	if loser.ProcessState.ExitCode() != exitFailed || !strings.Contains(loser.said.String(), "the gateway did not take the enrolment token") {
		t.Fatalf("exit %d: %s", loser.ProcessState.ExitCode(), loser.said)
	}
	if _, err := os.Stat(lost); err == nil {
		t.Fatal("the loser's key file is still there")
	}
	eventually(t, "the winner says what it waits for", func() bool {
		return strings.Contains(winner.said.String(), "waiting for an administrator to approve identity ed25519:")
	}, winner)
	if winner.exited() {
		t.Fatal(winner.said)
	}
	check(t, g.store.PinEnrolled(t.Context(), "acme", "hq"))
	eventually(t, "the winner connects", g.connected("hq"), winner)
	if secret := base64.RawURLEncoding.EncodeToString(token.Secret()); strings.Contains(one.said.String()+two.said.String(), secret) {
		t.Fatal("the secret was written")
	}
}

// Killed as soon as the gateway has the token, at whatever line the process is then, it is the admitted connector when it is started again.
func TestKilledAfterPresenting(t *testing.T) {
	g := newGround(t)
	for round, again := range [][]string{nil, {"--enroll"}} {
		name := []string{"hq", "branch"}[round]
		token := g.token(t, name, time.Hour)
		key := filepath.Join(t.TempDir(), "c.key")
		first := startProgram(t, token.Text(), "connector", "--enroll", "-", "--key-file", key)
		eventually(t, "the token is presented", func() bool {
			e, err := g.store.Enrolment(t.Context(), "acme", name)
			return err == nil && !e.Presented.IsZero()
		}, first)
		_ = first.Process.Kill()
		<-first.ended
		kept, err := g.store.Enrolment(t.Context(), "acme", name)
		check(t, err)
		check(t, g.store.PinEnrolled(t.Context(), "acme", name))
		args := []string{"connector", "--key-file", key}
		if again != nil {
			args = append(args, "--enroll", "-")
		}
		second := startProgram(t, token.Text(), args...)
		eventually(t, "it connects", g.connected(name), second)
		k, err := connector.LoadKeyFile(key)
		check(t, err)
		if k.Identity() != kept.Identity {
			t.Fatalf("%s was admitted, %s runs", kept.Identity, k.Identity())
		}
		status := startProgram(t, "", "connector", "status", "--key-file", key, "--json")
		<-status.ended
		var s statusReply
		check(t, json.NewDecoder(strings.NewReader(status.said.String())).Decode(&s)) // an error may stand behind it: it connected a moment ago
		if !s.Running || s.Identity != k.Identity() || !strings.HasPrefix(s.Memory, "locked") && !strings.HasPrefix(s.Memory, "not locked: ") {
			t.Fatalf("%+v", s)
		}
	}
}

func TestBadTokensMakeNothing(t *testing.T) {
	g := newGround(t)
	good := g.token(t, "hq", time.Hour).Text()
	expired := g.token(t, "late", time.Second)
	time.Sleep(time.Until(expired.Expires))
	for what, c := range map[string]struct{ text, says string }{
		"torn":     {good[:len(good)-20], "not whole"},
		"no token": {"hello", "not an enrolment token"},
		"empty":    {"", "not an enrolment token"},
		"expired":  {expired.Text(), "expired"},
	} {
		key := filepath.Join(t.TempDir(), "c.key")
		p := startProgram(t, c.text, "connector", "--enroll", "-", "--key-file", key)
		<-p.ended
		if p.ProcessState.ExitCode() == exitOK || !strings.Contains(p.said.String(), c.says) {
			t.Errorf("%s: exit %d: %s", what, p.ProcessState.ExitCode(), p.said)
		}
		if _, err := os.Stat(key); err == nil {
			t.Errorf("%s: a key file was left", what)
		}
	}
}

// runCommand runs a command in this process and returns what it printed.
func runCommand(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAKeyFileTravelsByCopyAndByShares(t *testing.T) {
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	ca, err := sandbox.NewCA("gateway's CA")
	check(t, err)
	worker, err := connector.NewIdentity()
	check(t, err)
	check(t, os.WriteFile(at("ca.pem"), ca.PEM(), 0o644))
	check(t, os.WriteFile(at("pass"), []byte("correct horse battery staple\n"), 0o600))
	t.Setenv("COPY_PASSPHRASE", "another horse, another battery")
	must := func(args ...string) string {
		t.Helper()
		out, err := runCommand(t, append([]string{"connector"}, args...)...)
		check(t, err)
		return out
	}
	public := must("new", "--tenant", "acme", "--name", "hq", "--gateway", "https://gateway.example", "--gateway-ca", at("ca.pem"), "--worker", worker.Public(), "--key-file", at("c.key"), "--passphrase-file", at("pass"))
	must("export", "--key-file", at("c.key"), "--key-passphrase-file", at("pass"), "--to", at("copy.age"), "--passphrase-env", "COPY_PASSPHRASE")
	check(t, os.WriteFile(at("copypass"), []byte("another horse, another battery"), 0o600))
	must("import", "--from", at("copy.age"), "--copy-passphrase-file", at("copypass"), "--key-file", at("restored.key"))
	files := strings.Fields(must("export", "--key-file", at("restored.key"), "--shares", "2/3", "--to", at("shares")))
	if len(files) != 3 {
		t.Fatalf("%q", files)
	}
	must("import", "--share", files[2], "--share", files[0], "--key-file", at("joined.key"))
	must("pin", "--key-file", at("joined.key"), "--gateway", "https://moved.example:9443")
	k, err := connector.LoadKeyFile(at("joined.key"))
	check(t, err)
	if k.Identity() != strings.TrimSpace(public) || k.Gateway != "https://moved.example:9443" {
		t.Fatalf("%v at %s", k, k.Gateway)
	}
	for what, args := range map[string][]string{
		"no passphrase":      {"pin", "--key-file", at("c.key"), "--gateway", "https://x.example"},
		"never replaced":     {"import", "--from", at("restored.key"), "--key-file", at("joined.key")},
		"one share":          {"import", "--share", files[0], "--key-file", at("x.key")},
		"wrong passphrase":   {"import", "--from", at("copy.age"), "--copy-passphrase-file", at("pass"), "--key-file", at("x.key")},
		"no way to protect":  {"export", "--key-file", at("joined.key"), "--to", at("x.age")},
		"all workers gone":   {"pin", "--key-file", at("joined.key"), "--unpin-worker", worker.Public()},
		"two ways":           {"export", "--key-file", at("joined.key"), "--to", at("x"), "--shares", "2/3", "--recipient", "age1x"},
		"bad split":          {"export", "--key-file", at("joined.key"), "--to", at("x"), "--shares", "3/2"},
		"status, never run":  {"status", "--key-file", at("joined.key")},
		"source, no enrol":   {"--key-file", at("joined.key"), "--ekey-source", "vault:kv/e-{generation}#e"},
		"bad source pattern": {"new", "--tenant", "acme", "--name", "hq", "--gateway", "https://g.example", "--gateway-ca", at("ca.pem"), "--worker", worker.Public(), "--key-file", at("x.key"), "--ekey-source", "vault:kv/e#e"},
	} {
		if out, err := runCommand(t, append([]string{"connector"}, args...)...); err == nil {
			t.Errorf("%s: nothing was refused: %s", what, out)
		}
		if _, err := os.Stat(at("x.key")); err == nil {
			t.Fatalf("%s: a key file was made", what)
		}
	}
	check(t, os.Chmod(at("pass"), 0o644))
	if _, err := runCommand(t, "connector", "pin", "--key-file", at("c.key"), "--passphrase-file", at("pass")); err == nil || !strings.Contains(err.Error(), "read by others") {
		t.Fatal(err)
	}
}
