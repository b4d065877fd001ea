// Package test holds what Holdfast promises, as tests over the built programs and real servers.
package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

// bin holds the built programs.
var bin string

func TestMain(m *testing.M) {
	if job := os.Getenv(importJob); job != "" {
		if err := importInChild(context.Background(), job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "holdfast-bin-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	for name, source := range map[string]string{"holdfast": "../starter", "holdfastd": "../worker"} {
		if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, name), source).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build %s: %v\n%s", source, err, out)
			return 1
		}
	}
	// Scripts run the command line under the actor's name.
	if err := os.Symlink("holdfast", filepath.Join(bin, "admin")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// company is a stage with a Holdfast on it, and the means to talk to both.
type company struct {
	*stage.Stage
	t            testing.TB
	orchestrator *orchestrator.Client
	read         *readapi.Client
}

// open sets up a stage in a folder of its own.
func open(t testing.TB, o stage.Options) *company {
	t.Helper()
	o.Bin, o.Seed = bin, 1
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := stage.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &company{Stage: s, t: t}
}

// connect talks to the Holdfast on the stage: to Temporal at the address, and to the gateway's read API.
func (c *company) connect(p readapi.Profile) {
	c.t.Helper()
	var err error
	if c.orchestrator, err = orchestrator.Dial(c.t.Context(), orchestrator.Options{Profile: p, Env: noEnvironment{}}); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.orchestrator.Close)
	if c.read, err = readapi.NewClient(readapi.ClientOptions{Gateway: p.Gateway, CAFile: p.CAFile, TokenFile: p.TokenFile}); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(c.read.Close)
}

// noEnvironment keeps a test from using the Temporal server of whoever runs it.
type noEnvironment struct{}

func (noEnvironment) Environ() []string               { return nil }
func (noEnvironment) LookupEnv(string) (string, bool) { return "", false }

// tenant is the demo's, on this stage.
func (c *company) tenant() backup.Tenant {
	c.t.Helper()
	if err := c.EnsureConnectorKey(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	file, err := c.TenantFile("../demo/acme.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	t, err := tenantfile.Read(file)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// apply starts the onboarding.
func (c *company) apply() {
	c.t.Helper()
	if _, err := c.orchestrator.ApplyTenant(c.t.Context(), c.tenant(), backup.Microsoft365, "anna@acme.example"); err != nil {
		c.t.Fatal(err)
	}
}

// started makes a process end with the test.
func started(t testing.TB, p *stage.Process, err error) *stage.Process {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// await asks until what answers is there, and fails with the last error when it does not come.
func await[T any](t testing.TB, what string, within time.Duration, ask func(context.Context) (T, bool, error)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	var last error
	for {
		v, ok, err := ask(ctx)
		if ok && err == nil {
			return v
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not come within %v: %v, %+v", what, within, last, v)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// onboarded waits until the onboarding has ended well.
func (c *company) onboarded(within time.Duration) {
	c.t.Helper()
	await(c.t, "the end of the onboarding", within, func(ctx context.Context) (orchestrator.Onboarding, bool, error) {
		o, err := c.orchestrator.Onboarding(ctx, stage.Tenant, backup.Microsoft365)
		if err == nil && !o.Running && o.Err != nil {
			c.t.Fatal(o.Err)
		}
		return o, err == nil && !o.Running, err
	})
}

// runEnded waits for the end of a run.
func (c *company) runEnded(number int64, within time.Duration) readapi.RunReport {
	c.t.Helper()
	return await(c.t, fmt.Sprint("the end of run ", number), within, func(ctx context.Context) (readapi.RunReport, bool, error) {
		r, err := c.read.Run(ctx, stage.Tenant, number)
		return r, err == nil && r.Run.Outcome != backup.RunRunning, err
	})
}

// restoredEqual restores a mailbox and a drive and compares them with the source, byte for byte.
func (c *company) restoredEqual(account string) {
	c.t.Helper()
	for service, compare := range map[backup.Service]func(string, string) (int, int64, error){backup.Mail: c.CompareMail, backup.Drive: c.CompareDrive} {
		to := filepath.Join(c.t.TempDir(), string(service))
		_, err := c.orchestrator.Restore(c.t.Context(), orchestrator.RestoreRequest{Tenant: stage.Tenant, Account: account, App: backup.Microsoft365, Service: service, To: to, RequestedBy: "anna@acme.example"})
		if err != nil {
			c.t.Fatal(err)
		}
		if n, _, err := compare(account, to); err != nil || n == 0 {
			c.t.Errorf("%s of %s: %d files are equal, %v", service, account, n, err)
		}
	}
}
