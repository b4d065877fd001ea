package test

import (
	"context"
	"database/sql"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// The key's flows, killed at every boundary of their activities: before one begins, and after it has done its work but before anybody
// knows. Whatever the moment, another worker takes the flow to its end, and afterwards exactly one generation opens the repository.
//
// Every boundary is met with HOLDFAST_KILLS of 20 and more; `make test` takes a sample.
func TestKeyChangesKilledAtEveryBoundary(t *testing.T) {
	faulty := filepath.Join(t.TempDir(), "holdfastd-faults")
	if out, err := exec.Command("go", "build", "-tags", "faults", "-o", faulty, "../worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, start := range map[string]func(*company) (string, error){
		"rotate": func(c *company) (string, error) { return c.orchestrator.RotateKey(c.t.Context(), stage.Tenant, anna) },
		"switch": func(c *company) (string, error) {
			return c.orchestrator.SwitchKey(c.t.Context(), stage.Tenant, c.other(), anna)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &killings{company: bothMethods(t), faulty: faulty, start: start}
			k.all()
			if k.met == 0 {
				t.Fatal("no worker was killed")
			}
			t.Logf("killed at %d boundaries; %d generations since", k.met, k.generation().Generation)
			worker, err := k.StartWorker("last")
			started(t, worker, err)
			k.company.run()
			if report := k.runEnded(2, recovery); report.Run.Outcome != backup.RunComplete {
				t.Fatalf("the run after all of that ended %s: %s", report.Run.Outcome, report.Run.Detail)
			}
			k.restoredEqual(anna)
		})
	}
}

// bothMethods is a company that has connectors and a Vault, and whose key a connector keeps at first. No worker runs.
func bothMethods(t *testing.T) *company {
	t.Helper()
	c := outside(t, stage.Options{People: 4, Messages: 1, Files: 1, KMS: true})
	tenant := c.tenant()
	tenant.Key.KMS = c.kmsTenant().Key.KMS
	tenant.Key.Grace = backup.Duration(1)
	worker, err := c.StartWorker("first")
	started(t, worker, err)
	c.applyTenant(tenant)
	c.onboarded(recovery)
	c.provenRun(1)
	c.enrolled("branch")
	if err := worker.Stop(); err != nil {
		t.Fatal(err)
	}
	return c
}

// killings are changes of one tenant's key, one after the other, each with its worker killed at another moment.
type killings struct {
	*company
	faulty string
	start  func(*company) (string, error)
	met    int
}

// all goes from boundary to boundary until a change ends before its worker is killed.
func (k *killings) all() {
	k.t.Helper()
	every := 9
	if kills(k.t) >= 20 {
		every = 1
	}
	for moment, over := 0, false; !over && moment < 120; moment += every {
		over = !k.change(fmt.Sprintf("ChangeKey:%d:%s", 1+moment/2, []string{"before", "after"}[moment%2]))
	}
}

// change makes one change, and tells whether its worker was killed on the way.
func (k *killings) change(fault string) (killed bool) {
	k.t.Helper()
	before := k.generation()
	victim, err := k.StartFaultyWorker("victim", k.faulty, fault)
	started(k.t, victim, err)
	run, err := k.start(k.company)
	if err != nil {
		k.t.Fatal(err)
	}
	if killed = k.approvedUntilKilled(victim, run); killed {
		k.met++
	} else if err := victim.Stop(); err != nil {
		k.t.Fatal(err)
	}
	heir, err := k.StartWorker("heir-" + strings.ReplaceAll(fault, ":", "-"))
	started(k.t, heir, err)
	k.approveIfAsked()
	flow := k.keyChanged(run)
	if after := k.generation(); flow.Err != nil || after.Generation == before.Generation {
		k.t.Errorf("%s: generation %d after %d, %v", fault, after.Generation, before.Generation, flow.Err)
	}
	k.opensByOne()
	if err := heir.Stop(); err != nil {
		k.t.Fatal(err)
	}
	return killed
}

// other is the method that the tenant does not have now.
func (c *company) other() backup.KeyMethod {
	if c.generation().Method == backup.KeyByKMS {
		return backup.KeyByConnector
	}
	return backup.KeyByKMS
}

// wrapped is the active generation as the store keeps it.
func (c *company) wrapped() (text string) {
	c.t.Helper()
	store, err := sql.Open("sqlite", "file:"+c.Path("holdfast", "holdfast.db")+"?mode=ro")
	if err == nil {
		err = store.QueryRowContext(c.t.Context(), `SELECT wrapped FROM ekey WHERE state = 'active'`).Scan(&text)
		store.Close()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return text
}

// approvedUntilKilled approves the change as soon as it asks, and tells whether the victim killed itself before the flow was over.
func (c *company) approvedUntilKilled(victim *stage.Process, run string) (killed bool) {
	c.t.Helper()
	approved := false
	for {
		select {
		case <-victim.Exited():
			return true
		case <-c.t.Context().Done():
			return false
		case <-time.After(100 * time.Millisecond):
		}
		if !approved {
			_, err := c.orchestrator.Decide(c.t.Context(), stage.Tenant, backup.Decision{Task: backup.TaskKeyChange, Action: backup.Approve, By: bela})
			approved = err == nil
		}
		if f, err := c.orchestrator.KeyFlow(c.t.Context(), stage.Tenant, run); err == nil && !f.Running {
			return false
		}
	}
}

// approveIfAsked approves a change that was not approved before its worker died.
func (c *company) approveIfAsked() {
	c.t.Helper()
	await(c.t, "the change's approval", recovery, func(ctx context.Context) (orchestrator.KeyFlow, bool, error) {
		f, err := c.orchestrator.KeyFlow(ctx, stage.Tenant, "")
		if err != nil || !f.Running {
			return f, err == nil, err
		}
		for _, t := range f.Tasks {
			if t.Name != backup.TaskKeyChange {
				continue
			}
			if t.State == backup.Waiting {
				_, err := c.orchestrator.Decide(ctx, stage.Tenant, backup.Decision{Task: backup.TaskKeyChange, Action: backup.Approve, By: bela})
				return f, err == nil, err
			}
			return f, t.State == backup.Passing, nil
		}
		return f, false, nil
	})
}
