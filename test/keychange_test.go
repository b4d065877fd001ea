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
	t.Parallel()
	faulty := filepath.Join(t.TempDir(), "holdfastd-faults")
	if out, err := exec.Command("go", "build", "-tags", "faults", "-o", faulty, "../worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := outside(t, stage.Options{People: 4, Messages: 1, Files: 1, KMS: true})
	tenant := c.tenant()
	tenant.Key.KMS = c.kmsTenant().Key.KMS
	tenant.Key.Grace = backup.Duration(1)
	heir, err := c.StartWorker("first")
	started(t, heir, err)
	c.applyTenant(tenant)
	c.onboarded(recovery)
	c.provenRun(1)
	c.enrolled("branch")

	every := 5
	if kills(t) >= 20 {
		every = 1
	}
	met := 0
	for _, change := range []struct {
		name  string
		start func() (string, error)
	}{
		{"rotate", func() (string, error) { return c.orchestrator.RotateKey(t.Context(), stage.Tenant, anna) }},
		{"switch", func() (string, error) { return c.orchestrator.SwitchKey(t.Context(), stage.Tenant, c.other(), anna) }},
	} {
		for boundary := 1; ; boundary++ {
			over := false
			for _, moment := range []string{"before", "after"} {
				if (2*boundary+len(moment))%every != 0 {
					continue
				}
				fault := fmt.Sprintf("ChangeKey:%d:%s", boundary, moment)
				before := c.generation()
				if err := heir.Stop(); err != nil {
					t.Fatal(err)
				}
				victim, err := c.StartFaultyWorker("victim", faulty, fault)
				started(t, victim, err)
				run, err := change.start()
				if err != nil {
					t.Fatal(err)
				}
				killed := c.approvedUntilKilled(victim, run)
				if !killed {
					over = true
					if err := victim.Stop(); err != nil {
						t.Fatal(err)
					}
				}
				heir, err = c.StartWorker("heir-" + strings.ReplaceAll(fault, ":", "-"))
				started(t, heir, err)
				if killed {
					met++
					c.approveIfAsked()
				}
				flow := c.keyChanged(run)
				after := c.generation()
				if flow.Err != nil || after.Generation == before.Generation {
					t.Errorf("%s at %s: generation %d after %d, %v", change.name, fault, after.Generation, before.Generation, flow.Err)
				}
				c.opensByOne()
			}
			if over || boundary > 60 {
				break
			}
		}
	}
	if met == 0 {
		t.Fatal("no worker was killed")
	}
	t.Logf("killed at %d boundaries; %d generations since", met, c.generation().Generation)
	c.run()
	if report := c.runEnded(2, recovery); report.Run.Outcome != backup.RunComplete {
		t.Fatalf("the run after all of that ended %s: %s", report.Run.Outcome, report.Run.Detail)
	}
	c.restoredEqual(anna)
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
