package test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/workflow/v1"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

// Two workers share one Temporal server. The one that works on the run is asked to stop in the middle of it: it ends in order and soon,
// and the other one goes on where it was, without anything done twice or left out.
func TestWorkerStopsInMidRun(t *testing.T) {
	t.Parallel()
	c := outside(t, stage.Options{People: 25, Messages: 3, Files: 2})
	c.inject(graph.Fault{Kind: graph.FaultSlow, DelayMillis: 400})
	workers := map[string]*stage.Process{}
	for _, name := range []string{"one", "other"} {
		p, err := c.StartWorker(name)
		workers[fmt.Sprintf("%d@", started(t, p, err).PID())] = p
	}
	c.apply()
	run := await(t, "the middle of the first run", patience, func(ctx context.Context) (backup.Run, bool, error) {
		p, err := c.read.Runs(ctx, stage.Tenant, 1)
		if err != nil || len(p.Runs) == 0 {
			return backup.Run{}, false, err
		}
		return p.Runs[0], p.Runs[0].Done >= 4, nil
	})
	if run.Outcome != backup.RunRunning || run.Done > run.Parts-4 {
		t.Fatalf("this is not the middle of the run: %+v", run)
	}
	busy := c.workerOf(run, workers)
	began := time.Now()
	if err := busy.Stop(); err != nil {
		t.Errorf("the worker did not end in order: %v", err)
	}
	t.Logf("stopped in %v with %d of %d parts done", time.Since(began), run.Done, run.Parts)
	for _, a := range c.pending(run) {
		if f := a.GetLastFailure(); f.GetTimeoutFailureInfo() != nil {
			t.Errorf("its end was noticed by silence only: %s", f.GetMessage())
		}
	}
	c.Graph.ClearFaults()
	c.provenRun(1)
	if page, err := c.read.Alerts(t.Context(), stage.Tenant, false); err != nil || len(backups(page)) > 0 {
		t.Errorf("%v, %+v", err, page)
	}
}

func (c *company) pending(run backup.Run) []*workflow.PendingActivityInfo {
	c.t.Helper()
	d, err := c.orchestrator.Temporal().DescribeWorkflowExecution(c.t.Context(), run.WorkflowID, run.RunID)
	if err != nil {
		c.t.Fatal(err)
	}
	return d.GetPendingActivities()
}

// workerOf finds the worker that works on a run, by the identity process@host that the SDK gives it.
func (c *company) workerOf(run backup.Run, workers map[string]*stage.Process) *stage.Process {
	c.t.Helper()
	for _, a := range c.pending(run) {
		for identity, p := range workers {
			if strings.HasPrefix(a.GetLastWorkerIdentity(), identity) {
				return p
			}
		}
	}
	c.t.Fatal("nobody works on the run")
	return nil
}

// backups are the alerts about runs.
func backups(page readapi.AlertPage) (about []backup.Alert) {
	for _, a := range page.Alerts {
		if a.Kind == backup.AlertRunFailed || a.Kind == backup.AlertRunPartial {
			about = append(about, a)
		}
	}
	return about
}
