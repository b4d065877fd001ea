package orchestrator_test

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	pushes  = 10_000
	pushers = 16 // at a time
)

// importPushed counts what is pushed until all of it came: it is what ImportPeople does with signals, and nothing else.
func importPushed(ctx workflow.Context) (workflows.ImportPeopleResult, error) {
	channel := workflow.GetSignalChannel(ctx, workflows.PushedSignal)
	n := 0
	for ; n < pushes; n++ {
		channel.Receive(ctx, nil)
	}
	return workflows.ImportPeopleResult{Counts: backup.ImportCounts{Listed: n}}, nil
}

// settle waits until nobody has anything to decide any more: a decision of Anna's is taken, and others' are refused.
func settle(ctx workflow.Context, in workflows.SettleConflictsInput) error {
	looks := 0
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			workflow.GetSignalChannel(ctx, workflows.RecheckSignal).Receive(ctx, nil)
			looks++
		}
	})
	var decided []backup.MergeDecision
	decide := func(_ workflow.Context, d backup.MergeDecision) error {
		decided = append(decided, d)
		return nil
	}
	validate := func(d backup.MergeDecision) error {
		if d.By != "anna" {
			return refuse(backup.CodeUnknownPrincipal, d.By+" is not known", "add the person")
		}
		return nil
	}
	err := errors.Join(workflow.SetQueryHandler(ctx, "looks", func() (int, error) { return looks, nil }),
		workflow.SetUpdateHandlerWithOptions(ctx, workflows.SettleUpdate, decide, workflow.UpdateHandlerOptions{Validator: validate}))
	if err != nil {
		return err
	}
	return workflow.Await(ctx, func() bool { return len(decided) == 2 && workflow.AllHandlersFinished(ctx) })
}

// testPushedPeople: every push of a burst arrives, and in one workflow.
func testPushedPeople(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	scope := backup.SCIMScope{Tenant: "pushed", Directory: "okta"}
	var pending sync.WaitGroup
	for range pushers {
		pending.Go(func() {
			for range pushes / pushers {
				if err := c.PushedPeople(ctx, scope); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	pending.Wait()
	if t.Failed() {
		return
	}
	id := workflows.ImportID("pushed", "okta")
	var result workflows.ImportPeopleResult
	if err := c.Temporal().GetWorkflow(ctx, id, "").Get(ctx, &result); err != nil || result.Counts.Listed != pushes {
		t.Errorf("heard %d of %d: %v", result.Counts.Listed, pushes, err)
	}
	eventually(t, "there was one workflow", func() bool {
		runs := must(c.Temporal().ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Query: "WorkflowId = '" + id + "'"}))(t)
		return len(runs.GetExecutions()) == 1
	})
}

// testWakeConflicts: nobody is woken where nobody waits, and a flow is begun once.
func testWakeConflicts(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	id := workflows.SettleConflictsID("woken")
	must(0, c.WakeConflicts(ctx, "woken", false))(t)
	if _, err := c.Temporal().DescribeWorkflowExecution(ctx, id, ""); err == nil {
		t.Error("a flow was begun for nobody")
	}
	must(0, c.WakeConflicts(ctx, "woken", true))(t)
	run := c.Temporal().GetWorkflow(ctx, id, "").GetRunID()
	must(0, c.WakeConflicts(ctx, "woken", true))(t)
	must(0, c.WakeConflicts(ctx, "woken", false))(t)
	eventually(t, "all three arrive in the same flow", func() bool {
		v, err := c.Temporal().QueryWorkflow(ctx, id, run, "looks")
		var looks int
		return err == nil && v.Get(&looks) == nil && looks == 3
	})
}

// testSettle: a decision is taken whether or not a flow runs, and a refusal keeps its words.
func testSettle(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	d := backup.MergeDecision{Directory: "ldap", EntryID: "e1", Verdict: backup.MergeSeparate, By: "anna"}
	must(0, c.Settle(ctx, "settled", d))(t)
	stranger := d
	stranger.By = "mallory"
	err := c.Settle(ctx, "settled", stranger)
	if !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeUnknownPrincipal) || backup.AsError(err).Hint != "add the person" {
		t.Errorf("a stranger's: %v", err)
	}
	nonsense := d
	nonsense.Verdict = "perhaps"
	if err := c.Settle(ctx, "settled", nonsense); !errors.Is(err, orchestrator.ErrRefused) {
		t.Errorf("nonsense: %v", err)
	}
	d.EntryID = "e2"
	must(0, c.Settle(ctx, "settled", d))(t)
	if err := c.Temporal().GetWorkflow(ctx, workflows.SettleConflictsID("settled"), "").Get(ctx, nil); err != nil {
		t.Error(err)
	}
}

// testDirectoriesThatGo: leavers are reviewed and every directory is imported by the clock; the clock of a directory that is gone stops, and
// no other tenant's.
func testDirectoriesThatGo(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	leaving := tenant("going")
	leaving.Directories = append(leaving.Directories, backup.DirectoryConfig{Name: "okta", Kind: backup.SCIM})
	must(c.EnsureSchedules(ctx, leaving, app))(t)
	neighbour := tenant("going-too")
	neighbour.Directories[0].Name = "okta"
	must(c.EnsureSchedules(ctx, neighbour, app))(t)

	review := must(c.Temporal().ScheduleClient().GetHandle(ctx, workflows.ReviewLeaversID("going")).Describe(ctx))(t)
	if i := review.Schedule.Spec.Intervals; len(i) != 1 || review.Schedule.Policy.Overlap.String() != "Skip" {
		t.Errorf("the review: %+v, %+v", i, review.Schedule.Policy)
	}
	leaving.Directories = leaving.Directories[:1]
	// The list of schedules is behind what was just made, so this asks until it is not.
	eventually(t, "the clock of the directory stops", func() bool {
		must(c.EnsureSchedules(ctx, leaving, app))(t)
		_, err := c.Temporal().ScheduleClient().GetHandle(ctx, workflows.ImportID("going", "okta")).Describe(ctx)
		return err != nil
	})
	left := []string{workflows.ImportID("going", "ldap"), workflows.ImportID("going-too", "okta"), workflows.ReviewLeaversID("going"), workflows.BackUpID("going", app)}
	gone := slices.DeleteFunc(left, func(id string) bool {
		_, err := c.Temporal().ScheduleClient().GetHandle(ctx, id).Describe(ctx)
		return err == nil
	})
	if len(gone) != 0 {
		t.Errorf("these stopped, too: %v", gone)
	}
}
