package test

import (
	"context"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

// protected is a company of which the first backup is complete.
func protected(t *testing.T, o stage.Options) *company {
	t.Helper()
	c := open(t, o)
	dev, err := c.StartDev(t.Context())
	started(t, dev, err)
	c.connectDev()
	c.apply()
	p, err := c.StartConnector()
	started(t, p, err)
	c.onboarded(patience)
	if r := c.runEnded(1, patience); r.Run.Outcome != backup.RunComplete {
		t.Fatalf("the first run ended %s: %s %s", r.Run.Outcome, r.Run.Code, r.Run.Detail)
	}
	return c
}

// calls are requests to the sandbox by kind.
type calls map[graph.Call]int64

// contents are the requests for the content of messages and files.
func (c calls) contents() int64 {
	return c[graph.CallMessageValue] + c[graph.CallAttachmentValue] + c[graph.CallDownload]
}

// night makes one run that must end complete, with its counts proved, part by part. It returns the run and what it asked Microsoft 365 for.
func (c *company) night() (backup.Run, calls) {
	c.t.Helper()
	c.Graph.ResetCalls()
	// The report of the run before is there a moment before its workflow has ended; until then a trigger joins that one.
	id := await(c.t, "a run of its own", patience, func(ctx context.Context) (string, bool, error) {
		return c.orchestrator.TriggerBackup(ctx, stage.Tenant, backup.Microsoft365)
	})
	result, err := c.orchestrator.WaitBackup(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	byCall, total := c.Graph.Calls()
	report, err := c.read.Run(c.t.Context(), stage.Tenant, result.Number)
	if err != nil {
		c.t.Fatal(err)
	}
	c.proven(report)
	if told := total - byCall[graph.CallToken]; report.Run.Counts.APICalls != told {
		c.t.Errorf("run %d counts %d API calls, Microsoft 365 saw %d", result.Number, report.Run.Counts.APICalls, told)
	}
	c.t.Logf("run %d: %+v, calls: %v", result.Number, report.Run.Counts, byCall)
	return report.Run, byCall
}

// proven looks whether a run is complete and its counts add up.
func (c *company) proven(r readapi.RunReport) {
	c.t.Helper()
	if r.Run.Outcome != backup.RunComplete {
		c.t.Fatalf("run %d ended %s: %s %s", r.Run.Number, r.Run.Outcome, r.Run.Code, r.Run.Detail)
	}
	var sum backup.Counts
	for _, p := range r.Parts {
		if err := p.Counts.Prove(); err != nil {
			c.t.Errorf("%s of %s: %v", p.Service, p.Account.Mail, err)
		}
		sum.Add(p.Counts)
	}
	if err := r.Run.Counts.Prove(); err != nil || sum != r.Run.Counts {
		c.t.Errorf("run %d: %+v, its parts: %+v, %v", r.Run.Number, r.Run.Counts, sum, err)
	}
}

// changed makes a day's changes and tells how many they are.
func (c *company) changed(seed uint64) int64 {
	c.t.Helper()
	done, err := c.Graph.Mutate(seed, graph.SomeOfEverything())
	if err != nil {
		c.t.Fatal(err)
	}
	return int64(len(done))
}

func (c *company) inject(faults ...graph.Fault) {
	c.t.Helper()
	for _, f := range faults {
		if err := c.Graph.Inject(f); err != nil {
			c.t.Fatal(err)
		}
	}
}

// everythingEqual restores some accounts and compares them byte for byte with the company's.
func (c *company) everythingEqual() {
	c.t.Helper()
	for _, a := range []string{"anna@acme.example", "dara@acme.example", "goran@acme.example"} {
		c.restoredEqual(a)
	}
}

// A company's nights, one after the other on one stage: what a run costs follows what changed, and whatever the service does on the way,
// the run proves its counts and what is restored is what the service has.
func TestNights(t *testing.T) {
	t.Parallel()
	c := protected(t, stage.Options{People: 10, Messages: 8, Files: 5})
	const parts = 20

	t.Run("nothing changed", func(t *testing.T) {
		run, asked := c.night()
		if n := run.Counts; n.Stored != 0 || n.Gone != 0 || n.Dropped != 0 || n.Bytes != 0 || asked.contents() != 0 {
			t.Errorf("%+v, %d contents were fetched", n, asked.contents())
		}
	})
	t.Run("some of everything changed", func(t *testing.T) {
		changes := c.changed(1)
		run, asked := c.night()
		if n := asked.contents(); n == 0 || n > changes {
			t.Errorf("%d contents were fetched for %d changes", n, changes)
		}
		// A change of an item may touch the folders that it left and entered, too.
		if n := run.Counts.Stored + run.Counts.Gone; n == 0 || n > 3*changes {
			t.Errorf("%d items were stored or removed for %d changes", n, changes)
		}
		c.everythingEqual()
	})
	t.Run("delta tokens expired", func(t *testing.T) {
		for _, s := range []graph.Service{graph.Mail, graph.Drive} {
			if err := c.Graph.ExpireDeltas(s); err != nil {
				t.Fatal(err)
			}
		}
		run, asked := c.night()
		if n := run.Counts; n.Resyncs != parts || n.Stored != 0 || n.Dropped != 0 || n.Unchanged == 0 || n.Unchanged+n.Skipped != n.Listed || asked.contents() != 0 {
			t.Errorf("%+v, %d contents were fetched", n, asked.contents())
		}
		c.everythingEqual()
	})
	t.Run("expired, and changed meanwhile", func(t *testing.T) {
		changes := c.changed(2)
		if err := c.Graph.ExpireDeltas(graph.Mail); err != nil {
			t.Fatal(err)
		}
		run, asked := c.night()
		if n := asked.contents(); run.Counts.Resyncs != parts/2 || n == 0 || n > changes {
			t.Errorf("%d resyncs, %d contents were fetched for %d changes", run.Counts.Resyncs, n, changes)
		}
		c.everythingEqual()
	})
	t.Run("throttled, unavailable, cut", func(t *testing.T) {
		changes := c.changed(3)
		c.inject(graph.Fault{Kind: graph.FaultThrottle, Every: 5, Next: 8, RetryAfter: 1}, graph.Fault{Kind: graph.FaultUnavailable, Every: 7, Next: 4, RetryAfter: 1},
			graph.Fault{Kind: graph.FaultUnauthorized, Every: 9, Next: 2}, graph.Fault{Kind: graph.FaultCut, Next: 2})
		defer c.Graph.ClearFaults()
		_, asked := c.night()
		if n := asked.contents(); n == 0 || n > 2*changes+4 {
			t.Errorf("%d contents were fetched for %d changes", n, changes)
		}
		c.Graph.ClearFaults()
		c.everythingEqual()
	})
	t.Run("pages out of order and repeated", func(t *testing.T) {
		changes := c.changed(4)
		c.inject(graph.Fault{Kind: graph.FaultShuffle})
		_, asked := c.night()
		if n := asked.contents(); n == 0 || n > changes {
			t.Errorf("%d contents were fetched for %d changes", n, changes)
		}
		// All of it again in a full listing.
		if err := c.Graph.ExpireDeltas(graph.Mail); err != nil {
			t.Fatal(err)
		}
		if run, asked := c.night(); run.Counts.Stored != 0 || run.Counts.Resyncs != parts/2 || asked.contents() != 0 {
			t.Errorf("%+v, %d contents were fetched", run.Counts, asked.contents())
		}
		c.Graph.ClearFaults()
		c.everythingEqual()
	})
	t.Run("told to come back in over a minute", func(t *testing.T) { c.throttledForLong() })
}

// throttledForLong has one mailbox asked to be left alone for longer than a slot is held for it: the others are done meanwhile, the
// activity waits at Temporal and not in a worker, and the run ends complete.
func (c *company) throttledForLong() {
	const distance = 65 * time.Second
	c.changed(5)
	c.inject(graph.Fault{Kind: graph.FaultThrottle, On: graph.CallMessageDelta, User: "anna@acme.example", Next: 1, RetryAfter: int(distance / time.Second)})
	began := time.Now()
	id, _, err := c.orchestrator.TriggerBackup(c.t.Context(), stage.Tenant, backup.Microsoft365)
	if err != nil {
		c.t.Fatal(err)
	}
	await(c.t, "the end of all parts but one, and of the attempt", distance, func(ctx context.Context) (int, bool, error) {
		runs, err := c.read.Runs(ctx, stage.Tenant, 1)
		if err != nil || runs.Runs[0].WorkflowID != id {
			return 0, false, err
		}
		d, err := c.orchestrator.Temporal().DescribeWorkflowExecution(ctx, id, "")
		if err != nil {
			return 0, false, err
		}
		done, pending := runs.Runs[0].Done, d.GetPendingActivities()
		return done, done == runs.Runs[0].Parts-1 && len(pending) == 1 && pending[0].GetState() == enums.PENDING_ACTIVITY_STATE_SCHEDULED, nil
	})
	result, err := c.orchestrator.WaitBackup(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	if took := time.Since(began); took < distance {
		c.t.Errorf("it came back after %v and was told %v", took, distance)
	}
	report, err := c.read.Run(c.t.Context(), stage.Tenant, result.Number)
	if err != nil {
		c.t.Fatal(err)
	}
	c.proven(report)
	c.everythingEqual()
}
