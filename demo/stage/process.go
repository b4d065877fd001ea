package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

const (
	readyTimeout = time.Minute
	stopTimeout  = 40 * time.Second
)

// Process is one of Holdfast's programs, running.
type Process struct {
	name   string
	cmd    *exec.Cmd
	log    *os.File
	exited chan struct{}
	err    error
}

// StartDev starts `holdfastd dev` and waits until it is ready.
func (s *Stage) StartDev(ctx context.Context) (*Process, error) {
	profile := s.Path("holdfast", "client.json")
	if err := os.Remove(profile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	p, err := s.start("dev", nil, "dev", "--state", s.Path("holdfast"), "--listen", s.address(s.ports[gatewayPort]),
		"--temporal-port", fmt.Sprint(s.ports[temporalPort]), "--ui-port", fmt.Sprint(s.ports[uiPort]))
	if err != nil {
		return nil, err
	}
	return p, p.awaitFile(ctx, profile)
}

// StartWorker starts one more `holdfastd run` on the stage's store and repositories, against an outside Temporal server.
func (s *Stage) StartWorker(name string) (*Process, error) {
	return s.start(name, nil, "run", "--state", s.Path("holdfast"))
}

// StartFaultyWorker starts a worker that kills itself at a moment (HOLDFAST_FAULT of worker/faults.go); program is a build with faults.
func (s *Stage) StartFaultyWorker(name, program, fault string) (*Process, error) {
	return s.startProgram(name, program, []string{"HOLDFAST_FAULT=" + fault}, "run", "--state", s.Path("holdfast"))
}

// EnsurePayloadKeys makes the keys of what goes to Temporal, unless there are some. `dev` does so by itself.
func (s *Stage) EnsurePayloadKeys(ctx context.Context) error {
	file := s.Path("holdfast", "payload-keys.json")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, s.program("holdfastd"), "payload-key", "new", "--out", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("holdfastd payload-key new: %w: %s", err, out)
	}
	return nil
}

// StartGateway starts `holdfastd gateway` and waits until it listens.
func (s *Stage) StartGateway(ctx context.Context) (*Process, error) {
	if err := s.EnsurePayloadKeys(ctx); err != nil {
		return nil, err
	}
	p, err := s.start("gateway", nil, "gateway", "--state", s.Path("holdfast"), "--listen", s.address(s.ports[gatewayPort]))
	if err != nil {
		return nil, err
	}
	return p, p.awaitFile(ctx, s.Path("holdfast", "read.token"))
}

// EnsureConnectorKey makes the customer's key file, unless there is one.
func (s *Stage) EnsureConnectorKey(ctx context.Context) error {
	if _, err := os.Stat(s.ConnectorKey()); err == nil {
		return nil
	}
	return s.NewConnectorKey(ctx, Tenant, "headquarters", s.ConnectorKey())
}

// NewConnectorKey makes a key file with an identity and an ekey of its own, and the public identity beside it, as file.pub.
func (s *Stage) NewConnectorKey(ctx context.Context, tenant, name, file string) error {
	worker, err := s.workerIdentity(ctx)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, s.program("holdfastd"), "connector", "new", "--tenant", tenant, "--name", name,
		"--gateway", "https://"+s.address(s.ports[gatewayPort]), "--gateway-ca", s.Path("holdfast", "gateway.pem"),
		"--worker", worker, "--key-file", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("holdfastd connector new: %w: %s", err, out)
	}
	return nil
}

// workerIdentity is the public identity that connectors pin.
func (s *Stage) workerIdentity(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, s.program("holdfastd"), "identity", "--state", s.Path("holdfast")).Output()
	if err != nil {
		return "", fmt.Errorf("holdfastd identity: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// ConnectorKey is the customer's key file. It is outside of everything that Holdfast keeps.
func (s *Stage) ConnectorKey() string { return s.Path("customer", "connector.key") }

// StartConnector starts the customer's connector.
func (s *Stage) StartConnector() (*Process, error) {
	return s.StartConnectorOf("connector", s.ConnectorKey())
}

// StartConnectorOf starts a connector with another key file, and more arguments. Its log has the name.
func (s *Stage) StartConnectorOf(name, keyFile string, more ...string) (*Process, error) {
	return s.start(name, nil, append([]string{"connector", "--key-file", keyFile}, more...)...)
}

// EnrollConnector asks for a token, as an administrator does, and starts a connector with it that makes its own key file.
func (s *Stage) EnrollConnector(ctx context.Context, name, keyFile string) (*Process, error) {
	worker, err := s.workerIdentity(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.Holdfast(ctx, "connector", "enroll", Tenant, "--name", name, "--worker", worker, "--by", "anna@"+Domain)
	if err != nil || r.Code != 0 {
		return nil, fmt.Errorf("holdfast connector enroll: exit code %d: %s %w", r.Code, r.Stderr, err)
	}
	token := keyFile + ".token"
	if err := os.WriteFile(token, []byte(r.Stdout), 0o600); err != nil {
		return nil, err
	}
	return s.start(name, nil, "connector", "--enroll", "@"+token, "--key-file", keyFile)
}

func (s *Stage) program(name string) string { return filepath.Join(s.o.Bin, name) }

// Environment is what the programs run with: this stage's Holdfast and no other.
func (s *Stage) Environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TEMPORAL_") && (!strings.HasPrefix(v, "HOLDFAST_") || strings.HasPrefix(v, "HOLDFAST_TEMPORAL_SERVER=")) {
			env = append(env, v)
		}
	}
	env = append(env, "HOLDFAST_STATE="+s.Path("holdfast"))
	if s.o.Store != "" {
		env = append(env, "HOLDFAST_STORE="+s.o.Store)
	}
	if s.o.Temporal != "" {
		env = append(env, "TEMPORAL_ADDRESS="+s.o.Temporal, "HOLDFAST_GATEWAY=https://"+s.address(s.ports[gatewayPort]),
			"HOLDFAST_CA_FILE="+s.Path("holdfast", "gateway.pem"), "HOLDFAST_TOKEN_FILE="+s.Path("holdfast", "read.token"))
	}
	return env
}

func (s *Stage) start(name string, env []string, args ...string) (*Process, error) {
	return s.startProgram(name, s.program("holdfastd"), env, args...)
}

func (s *Stage) startProgram(name, program string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(s.Path("logs", name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(s.Environment(), env...), log, log
	// A Ctrl-C on the terminal reaches the stage, which stops its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &Process{name: name, cmd: cmd, log: log, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		log.Close()
		close(p.exited)
	}()
	return p, nil
}

// awaitFile returns when file is there, and stops the process when it does not come.
func (p *Process) awaitFile(ctx context.Context, file string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if _, err := os.Stat(file); err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, p.err, tail(p.log.Name()))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s did not get ready: %w\n%s", p.name, ctx.Err(), tail(p.log.Name())), p.Stop())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop asks the process to end and waits for it.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
		return p.err
	case <-time.After(stopTimeout):
		p.Kill()
		return fmt.Errorf("%s did not stop in %v", p.name, stopTimeout)
	}
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Profile is what the command line knows of this stage's Holdfast.
func (s *Stage) Profile() (readapi.Profile, error) {
	var p readapi.Profile
	b, err := os.ReadFile(s.Path("holdfast", "client.json"))
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	return p, err
}

// GatewayProfile is what the command line would need of a gateway that runs without `dev`.
func (s *Stage) GatewayProfile() (readapi.Profile, error) {
	p := readapi.Profile{Gateway: "https://" + s.address(s.ports[gatewayPort]), CAFile: s.Path("holdfast", "gateway.pem"), TokenFile: s.Path("holdfast", "read.token"),
		PayloadKeys: backup.SecretRef("file:" + s.Path("holdfast", "payload-keys.json"))}
	_, err := os.Stat(p.TokenFile)
	return p, err
}

// Result is what a command said.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Holdfast runs the command line.
func (s *Stage) Holdfast(ctx context.Context, args ...string) (Result, error) {
	cmd := exec.CommandContext(ctx, s.program("holdfast"), args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = s.Environment(), &out, &errs
	err := cmd.Run()
	r := Result{Code: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errs.String()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	return r, err
}

// Query runs a command with --json and decodes what it prints. Exit codes other than ok are errors.
func (s *Stage) Query(ctx context.Context, into any, args ...string) error {
	r, err := s.Holdfast(ctx, append(args, "--json")...)
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("holdfast %s: exit code %d: %s%s", strings.Join(args, " "), r.Code, r.Stderr, r.Stdout)
	}
	return json.Unmarshal([]byte(r.Stdout), into)
}

// tail is the end of a log, for an error.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(b[max(0, len(b)-2000):])
}
