package test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
)

const (
	anna = "anna@acme.example" // cloud-admin
	bela = "bela@acme.example" // approver
)

// The full measure of an absence is 500 accounts and a minute; in `make test` both are smaller. HOLDFAST_ABSENCE=500,60s says otherwise.
func absence(t *testing.T) (people int, away time.Duration) {
	people, away = 80, 12*time.Second
	count, length, ok := strings.Cut(os.Getenv("HOLDFAST_ABSENCE"), ",")
	if !ok {
		return people, away
	}
	people, err := strconv.Atoi(count)
	if err != nil {
		t.Fatal(err)
	}
	if away, err = time.ParseDuration(length); err != nil {
		t.Fatal(err)
	}
	return people, away
}

// slowly makes the SaaS app take its time, so that a run can be met in its middle.
func (c *company) slowly() {
	c.t.Helper()
	if err := c.Graph.Inject(graph.Fault{Kind: graph.FaultSlow, DelayMillis: 60}); err != nil {
		c.t.Fatal(err)
	}
}

// midRun returns when some of a run's parts are done and most are not.
func (c *company) midRun(number int64) {
	c.t.Helper()
	await(c.t, "the middle of the run", recovery, func(ctx context.Context) (backup.Run, bool, error) {
		r, err := c.read.Run(ctx, stage.Tenant, number)
		done := 0
		for _, p := range r.Parts {
			if p.State == backup.PartDone {
				done++
			}
		}
		return r.Run, err == nil && done > 0, err
	})
}

// alerted waits for an open alert of a kind.
func (c *company) alerted(kind backup.AlertKind, within time.Duration) backup.Alert {
	c.t.Helper()
	return await(c.t, "the alert "+kind.Title(), within, func(ctx context.Context) (backup.Alert, bool, error) {
		page, err := c.read.Alerts(ctx, stage.Tenant, false)
		i := slices.IndexFunc(page.Alerts, func(a backup.Alert) bool { return a.Kind == kind })
		if i < 0 {
			return backup.Alert{}, false, err
		}
		return page.Alerts[i], true, err
	})
}

// calm fails when an alert of a kind is open.
func (c *company) calm(kind backup.AlertKind) {
	c.t.Helper()
	await(c.t, "the end of the alert "+kind.Title(), time.Minute, func(ctx context.Context) (int, bool, error) {
		page, err := c.read.Alerts(ctx, stage.Tenant, false)
		open := slices.ContainsFunc(page.Alerts, func(a backup.Alert) bool { return a.Kind == kind })
		return len(page.Alerts), err == nil && !open, err
	})
}

// kmsTenant is the demo's, with a Vault.
func (c *company) kmsTenant() backup.Tenant {
	c.t.Helper()
	file, err := c.TenantFile("../demo/acme-kms.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	t, err := tenantfile.Read(file)
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

func (c *company) applyTenant(t backup.Tenant) {
	c.t.Helper()
	if _, err := c.orchestrator.ApplyTenant(c.t.Context(), t, backup.Microsoft365, anna); err != nil {
		c.t.Fatal(err)
	}
}

// devOn starts everything on one machine.
func devOn(t *testing.T, o stage.Options) *company {
	t.Helper()
	c := open(t, o)
	dev, err := c.StartDev(t.Context())
	started(t, dev, err)
	c.connectDev()
	return c
}

// A Vault that is sealed in the middle of a run delays it, and says what to do; unsealed, the run goes on by itself and completes.
func TestVaultSealedInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	people, away := absence(t)
	c := devOn(t, stage.Options{People: people, Messages: 1, Files: 1, KMS: true})
	c.slowly()
	c.applyTenant(c.kmsTenant())
	c.onboarded(recovery)
	c.midRun(1)
	if err := c.Vault.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	alert := c.alerted(backup.AlertKeyUnavailable, recovery)
	if !strings.Contains(alert.Message, "sealed") || !strings.Contains(strings.ToLower(alert.Hint), "unseal") {
		t.Errorf("the alert does not say what to do: %+v", alert)
	}
	time.Sleep(away - time.Since(began))
	if r, err := c.read.Run(t.Context(), stage.Tenant, 1); err != nil || r.Run.Outcome != backup.RunRunning {
		t.Fatalf("the run did not wait for the Vault: %+v %v", r.Run, err)
	}
	if err := c.Vault.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	c.provenRun(1)
	t.Logf("%d people; sealed for %v, complete %v after the unsealing", people, back.Sub(began).Round(time.Second), time.Since(back).Round(time.Second))
	c.calm(backup.AlertKeyUnavailable)
}

// Both connectors are killed in the middle of a run. Where the tenant waits, the run goes on when one returns; where it does not, the run
// fails at once and says so, and the next one completes.
func TestConnectorsKilledInTheMiddleOfARun(t *testing.T) {
	people, away := absence(t)
	for policy, check := range map[backup.AbsencePolicy]func(*company, time.Duration, func()){
		backup.WaitWhenAbsent: waits, backup.FailWhenAbsent: failsAtOnce,
	} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			c := devOn(t, stage.Options{People: people, Messages: 1, Files: 1})
			tenant := c.tenant()
			tenant.Key.ConnectorAbsent = policy
			first, err := c.StartConnector()
			started(t, first, err)
			c.applyTenant(tenant)
			c.onboarded(recovery)
			c.provenRun(1)
			second := c.enrolled("branch")
			c.slowly()
			c.run()
			c.midRun(2)
			first.Kill()
			second.Kill()
			check(c, away, func() {
				p, err := c.StartConnectorOf("branch-again", c.Path("customer", "branch.key"))
				started(t, p, err)
			})
		})
	}
}

func waits(c *company, away time.Duration, comeBack func()) {
	c.t.Helper()
	began := time.Now()
	alert := c.alerted(backup.AlertNotConnected, 2*time.Minute)
	if alert.Hint == "" {
		c.t.Errorf("the alert does not say what to do: %+v", alert)
	}
	time.Sleep(away - time.Since(began))
	comeBack()
	back := time.Now()
	c.provenRun(2)
	c.t.Logf("away for %v, complete %v after one came back", back.Sub(began).Round(time.Second), time.Since(back).Round(time.Second))
	c.calm(backup.AlertNotConnected)
}

func failsAtOnce(c *company, _ time.Duration, comeBack func()) {
	c.t.Helper()
	began := time.Now()
	report := c.runEnded(2, 2*time.Minute)
	if report.Run.Outcome != backup.RunFailed || report.Run.Code != backup.CodeNotConnected {
		c.t.Fatalf("the run ended %s %s: %s", report.Run.Outcome, report.Run.Code, report.Run.Detail)
	}
	c.t.Logf("failed %v after the connectors were killed", time.Since(began).Round(time.Second))
	c.alerted(backup.AlertNotConnected, time.Minute)
	comeBack()
	c.calm(backup.AlertNotConnected)
	c.run()
	if next := c.runEnded(3, recovery); next.Run.Outcome != backup.RunComplete {
		c.t.Errorf("the next run ended %s: %s", next.Run.Outcome, next.Run.Detail)
	}
}

// run asks for a run now.
func (c *company) run() {
	c.t.Helper()
	if _, _, err := c.orchestrator.TriggerBackup(c.t.Context(), stage.Tenant, backup.Microsoft365); err != nil {
		c.t.Fatal(err)
	}
}

// enrolled admits one more connector, as an administrator and the customer do it together, and waits until it holds the ekey.
func (c *company) enrolled(name string) *stage.Process {
	c.t.Helper()
	p, err := c.EnrollConnector(c.t.Context(), name, c.Path("customer", name+".key"))
	started(c.t, p, err)
	c.decide(backup.TaskConnector, backup.Approve, bela)
	c.holders(name)
	return p
}

// holders waits until the connector says that it holds the active generation.
func (c *company) holders(name string) {
	c.t.Helper()
	await(c.t, "the ekey at "+name, recovery, func(ctx context.Context) (backup.KeyStatus, bool, error) {
		k, err := c.read.Key(ctx, stage.Tenant)
		holds := slices.ContainsFunc(k.Connectors, func(s backup.ConnectorStatus) bool {
			return s.Name == name && slices.ContainsFunc(s.Holds, func(h backup.HeldKey) bool { return h.Generation == k.Generation })
		})
		return k, holds, err
	})
}

// decide waits until a task waits, and decides on it.
func (c *company) decide(task string, action backup.Action, by string) {
	c.t.Helper()
	await(c.t, fmt.Sprintf("%s by %s", action, by), recovery, func(ctx context.Context) (backup.Task, bool, error) {
		t, err := c.orchestrator.Decide(ctx, stage.Tenant, backup.Decision{Task: task, Action: action, By: by})
		return t, err == nil, err
	})
}

// changed waits for the end of a flow of the key.
func (c *company) keyChanged(runID string) orchestrator.KeyFlow {
	c.t.Helper()
	return await(c.t, "the end of the key's flow", recovery, func(ctx context.Context) (orchestrator.KeyFlow, bool, error) {
		f, err := c.orchestrator.KeyFlow(ctx, stage.Tenant, runID)
		return f, err == nil && !f.Running, err
	})
}

// generation is the active one.
func (c *company) generation() backup.EKey {
	c.t.Helper()
	k := c.keyStatus()
	i := slices.IndexFunc(k.Generations, func(g backup.EKey) bool { return g.State == backup.EKeyActive })
	if i < 0 {
		c.t.Fatalf("no generation is active: %+v", k.Generations)
	}
	return k.Generations[i]
}

func (c *company) keyStatus() backup.KeyStatus {
	c.t.Helper()
	k, err := c.read.Key(c.t.Context(), stage.Tenant)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// opensByOne looks which of the customer's ekeys open the repository: exactly one must, and it must be the active one.
func (c *company) opensByOne() {
	c.t.Helper()
	leases, err := c.EKeys()
	if err != nil {
		c.t.Fatal(err)
	}
	var open []int
	for number, lease := range leases {
		password, err := lease.RepositoryPassword(stage.Tenant, stage.Tenant)
		if err != nil {
			c.t.Fatal(err)
		}
		lease.Close()
		if c.openWith(password) == nil {
			open = append(open, number)
		}
	}
	if active := c.generation().Generation; len(open) != 1 || open[0] != active {
		c.t.Fatalf("the repository opens with the generations %v of %d, and %d is active", open, len(leases), active)
	}
}

// A connector that is killed between two looks is replaced by the other one within seconds, and nobody is told of anything.
func TestAnotherConnectorTakesOver(t *testing.T) {
	t.Parallel()
	c := devOn(t, stage.Options{People: 20, Messages: 1, Files: 1})
	tenant := c.tenant()
	first, err := c.StartConnector()
	started(t, first, err)
	c.applyTenant(tenant)
	c.onboarded(recovery)
	c.provenRun(1)
	c.enrolled("branch")
	first.Kill()
	began := time.Now()
	c.run()
	if report := c.runEnded(2, recovery); report.Run.Outcome != backup.RunComplete {
		t.Fatalf("run 2 ended %s: %s", report.Run.Outcome, report.Run.Detail)
	}
	t.Logf("the run took %v", time.Since(began).Round(100*time.Millisecond))
	if k := c.keyStatus(); k.Last == nil || !strings.Contains(k.Last.Holder, "branch") {
		t.Errorf("the last release was by %+v", k.Last)
	}
}

// Shredding needs two others than whoever asks, can be called off, and leaves nothing that opens.
func TestShred(t *testing.T) {
	t.Parallel()
	c := devOn(t, stage.Options{People: 10, Messages: 1, Files: 1, KMS: true})
	tenant := c.kmsTenant()
	tenant.Administrators = append(tenant.Administrators, backup.Principal{Name: "carl@acme.example", Role: backup.CloudAdmin})
	tenant.Key.ShredWait = backup.Duration(2 * time.Second)
	c.applyTenant(tenant)
	c.onboarded(recovery)
	c.provenRun(1)
	run, err := c.orchestrator.ShredKey(t.Context(), stage.Tenant, anna, "the contract has ended")
	if err != nil {
		t.Fatal(err)
	}
	c.decide(backup.TaskShred, backup.Approve, bela)
	await(t, "the second task", recovery, func(ctx context.Context) (string, bool, error) {
		inbox, err := c.orchestrator.Inbox(ctx, stage.Tenant)
		return fmt.Sprint(inbox), slices.ContainsFunc(inbox, func(w orchestrator.Waiting) bool { return w.Task.Name == backup.TaskShredToo }), err
	})
	for _, by := range []string{anna, bela} {
		if _, err := c.orchestrator.Decide(t.Context(), stage.Tenant, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: by}); err == nil {
			t.Fatalf("%s may approve a second time", by)
		}
	}
	before, err := c.EKeys()
	if err != nil || len(before) != 1 {
		t.Fatal(before, err)
	}
	wrapped := c.wrapped()
	c.decide(backup.TaskShredToo, backup.Approve, "carl@acme.example")
	if f := c.keyChanged(run); f.Err != nil {
		t.Fatal(f.Err)
	}
	k := c.keyStatus()
	if k.Shred == nil || len(k.Shred.Signature) == 0 || len(k.Shred.ApprovedBy) != 2 || len(k.Shred.Proof) == 0 {
		t.Fatalf("the report: %+v", k.Shred)
	}
	for _, p := range append(k.Shred.Holders, k.Shred.Proof...) {
		if !p.OK {
			t.Errorf("%+v", p)
		}
	}
	if err := c.Vault.Put(t.Context(), "transit/decrypt/t-"+stage.Tenant, map[string]string{"ciphertext": wrapped, "context": "YQ=="}, nil); err == nil || !strings.Contains(err.Error(), "key not found") {
		t.Errorf("the Vault still has the key: %v", err)
	}
	if r, err := c.Holdfast(t.Context(), "backup", "run", stage.Tenant, "--wait"); err != nil || r.Code == 0 {
		t.Errorf("a backup ran without a key: %+v %v", r, err)
	}
}

func (c *company) repositoryFolder() string {
	return filepath.Join(c.Path("holdfast"), "repositories", stage.Tenant)
}
