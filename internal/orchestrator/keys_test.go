package orchestrator_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

// testOneKeyFlow: whatever changes a key waits its turn, and who comes second is told who was first.
func testOneKeyFlow(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	if _, err := c.KeyFlow(ctx, "keys", ""); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("before any flow: %v", err)
	}
	run := must(c.SwitchKey(ctx, "keys", backup.KeyByKMS, "anna"))(t)
	f := must(c.KeyFlow(ctx, "keys", run))(t)
	if f.RunID != run || f.Kind != workflows.ChangeKeyName || !f.Running || len(f.Tasks) != 1 || f.Tasks[0].Name != backup.TaskKeyChange {
		t.Errorf("%+v", f)
	}
	for name, again := range map[string]func() (string, error){
		"rotate": func() (string, error) { return c.RotateKey(ctx, "keys", "anna") },
		"rewrap": func() (string, error) { return c.RewrapKey(ctx, "keys", "anna") },
		"switch": func() (string, error) { return c.SwitchKey(ctx, "keys", backup.KeyByConnector, "anna") },
		"shred":  func() (string, error) { return c.ShredKey(ctx, "keys", "anna", "the contract ends") },
	} {
		if _, err := again(); !errors.Is(err, orchestrator.ErrRefused) || err.Error() != "a change of the key of keys is under way" {
			t.Errorf("%s beside a switch: %v", name, err)
		}
	}
	must(c.Decide(ctx, "keys", backup.Decision{Task: backup.TaskKeyChange, Action: backup.Retry, By: "anna"}))(t)
	eventually(t, "the switch ends", func() bool { return !must(c.KeyFlow(ctx, "keys", run))(t).Running })
	must(c.ShredKey(ctx, "keys", "anna", "the contract ends"))(t)
	if _, err := c.RotateKey(ctx, "keys", "anna"); !errors.Is(err, orchestrator.ErrRefused) || !strings.HasPrefix(err.Error(), "the shredding of the key") {
		t.Errorf("beside a shredding: %v", err)
	}
	inbox := must(c.Inbox(ctx, "keys"))(t)
	eventually(t, "the shredding waits in the inbox", func() bool {
		inbox = must(c.Inbox(ctx, "keys"))(t)
		return len(inbox) == 1 && inbox[0].Task.Name == backup.TaskShred && inbox[0].Tenant == "keys"
	})
}

func testKeyFlowFails(t *testing.T, c *orchestrator.Client) {
	run := must(c.RotateKey(t.Context(), "keyfails", "eve"))(t)
	eventually(t, "the rotation fails with its reason", func() bool {
		f := must(c.KeyFlow(t.Context(), "keyfails", run))(t)
		return !f.Running && backup.HasCode(f.Err, backup.CodeUnknownPrincipal) && f.Outcome == "Failed"
	})
}

func testDrill(t *testing.T, c *orchestrator.Client) {
	d := must(c.DrillKey(t.Context(), "drill"))(t)
	if d.Tenant != "drill" || d.OK || len(d.Proofs) != 1 || d.Proofs[0].Code != backup.CodeSealed {
		t.Errorf("%+v", d)
	}
}

// testEnrolment: one at a time for a connector, unless the first is given up; what a gateway saw reaches it.
func testEnrolment(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	r := orchestrator.EnrolmentRequest{Tenant: "enrolls", Connector: "hq", SecretHash: bytes.Repeat([]byte{1}, 32), Expires: time.Now().Add(time.Hour), RequestedBy: "anna"}
	must(0, c.EnrollConnector(ctx, r))(t)
	if err := c.EnrollConnector(ctx, r); !errors.Is(err, orchestrator.ErrRefused) {
		t.Errorf("a second enrolment: %v", err)
	}
	r.Replace = true
	must(0, c.EnrollConnector(ctx, r))(t)
	if err := c.EnrollConnector(ctx, orchestrator.EnrolmentRequest{Tenant: "enrolls", Connector: "b2", RequestedBy: "eve"}); !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeUnknownPrincipal) {
		t.Errorf("by a stranger: %v", err)
	}
	seen := backup.Enrolment{Tenant: "enrolls", Connector: "hq", Identity: "ed25519:new", Presented: time.Now()}
	must(0, c.EnrolmentPresented(ctx, seen))(t)
	var result workflows.EnrollConnectorResult
	if err := c.Temporal().GetWorkflow(ctx, workflows.EnrollConnectorID("enrolls", "hq"), "").Get(ctx, &result); err != nil || result.Holds != 1 {
		t.Errorf("%+v %v", result, err)
	}
	if holds := must(c.WaitEnrolment(ctx, "enrolls", "hq"))(t); holds != 1 {
		t.Errorf("it holds generation %d", holds)
	}
	if identity := must(c.RemoveConnector(ctx, "enrolls", "hq", "anna"))(t); identity != "ed25519:hq" {
		t.Errorf("removed was %q", identity)
	}
	if _, err := c.RemoveConnector(ctx, "enrolls", "last", "anna"); !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeNotAllowed) {
		t.Errorf("the last holder: %v", err)
	}
	if _, err := c.RemoveConnector(ctx, "enrolls", "nobody", "anna"); errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if err := c.EnrolmentPresented(ctx, seen); !errors.Is(err, orchestrator.ErrNotFound) || !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("presented after the end: %v", err)
	}
}

// testKeySchedules: drills always, rotations where wanted; both are gone when the key is.
func testKeySchedules(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	acme := tenant("keysched")
	acme.Key.RotateEvery = backup.Duration(90 * 24 * time.Hour)
	must(c.EnsureSchedules(ctx, acme, app))(t)
	describe := func(id string) *client.ScheduleDescription {
		d, err := c.Temporal().ScheduleClient().GetHandle(ctx, id).Describe(ctx)
		if err != nil {
			return nil
		}
		return d
	}
	for id, every := range map[string]time.Duration{workflows.DrillKeyID("keysched"): 7 * 24 * time.Hour, workflows.RotateKeyID("keysched"): 90 * 24 * time.Hour} {
		d := describe(id)
		if d == nil {
			t.Fatalf("there is no schedule %s", id)
		}
		s, p := d.Schedule.Spec, d.Schedule.Policy
		if len(s.Intervals) != 1 || s.Intervals[0].Every != every || s.Jitter != 30*time.Minute || p.Overlap != enums.SCHEDULE_OVERLAP_POLICY_SKIP || p.CatchupWindow != every {
			t.Errorf("%s: %+v %+v", id, s, p)
		}
	}
	if must(c.EnsureSchedules(ctx, acme, app))(t); describe(workflows.RotateKeyID("keysched")).Info.LastUpdateAt.Unix() > 0 {
		t.Error("a call without a change updated the rotations")
	}
	acme.Key.RotateEvery = 0
	if must(c.EnsureSchedules(ctx, acme, app))(t); describe(workflows.RotateKeyID("keysched")) != nil {
		t.Error("the rotations go on although nobody wants them any more")
	}
	for range 2 {
		must(0, c.EndSchedules(ctx, "keysched", app, "the key was shredded"))(t)
	}
	if s := must(c.BackupSchedule(ctx, "keysched", app))(t); !s.Paused || s.Note != "the key was shredded" || describe(workflows.DrillKeyID("keysched")) != nil {
		t.Errorf("after the end of the key: %+v", s)
	}
}

// testSameTaskTwice: two workflows of a tenant wait with tasks of one name. No guess is made about which one is meant.
func testSameTaskTwice(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	for _, name := range []string{"one", "two"} {
		_, err := c.Temporal().ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: workflows.EnrollConnectorID("twice", name), TaskQueue: workflows.TaskQueue,
			TypedSearchAttributes: orchestrator.TenantAttributes("twice")}, workflows.ProvisionKeyName, workflows.ProvisionKeyInput{Tenant: "twice"})
		must(0, err)(t)
	}
	eventually(t, "both wait", func() bool { return len(must(c.Inbox(ctx, "twice"))(t)) == 2 })
	d := backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "anna"}
	if _, err := c.Decide(ctx, "twice", d); !errors.Is(err, orchestrator.ErrRefused) || !strings.Contains(err.Error(), "enroll/twice/one") || !strings.Contains(err.Error(), "enroll/twice/two") {
		t.Errorf("without saying which: %v", err)
	}
	must(c.DecideIn(ctx, "twice", "enroll/twice/two", d))(t)
	must(0, c.Temporal().GetWorkflow(ctx, "enroll/twice/two", "").Get(ctx, nil))(t)
	eventually(t, "the other one still waits", func() bool {
		inbox := must(c.Inbox(ctx, "twice"))(t)
		return len(inbox) == 1 && inbox[0].WorkflowID == "enroll/twice/one"
	})
}
