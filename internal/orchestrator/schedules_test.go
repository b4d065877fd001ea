package orchestrator_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/workflows"
)

// testSchedulesKept: a schedule is made once, changed in place, and keeps its pause through a change.
func testSchedulesKept(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	acme := tenant("kept")
	if !must(c.EnsureSchedules(ctx, acme, app))(t) {
		t.Error("the first call made nothing")
	}
	if must(c.EnsureSchedules(ctx, acme, app))(t) {
		t.Error("the second call made something")
	}
	h := c.Temporal().ScheduleClient().GetHandle(ctx, workflows.BackUpID("kept", app))
	first := must(h.Describe(ctx))(t)
	if first.Info.LastUpdateAt.Unix() > 0 {
		t.Errorf("a call without a change updated the schedule at %v", first.Info.LastUpdateAt)
	}
	p := first.Schedule.Policy
	if p.Overlap != enums.SCHEDULE_OVERLAP_POLICY_SKIP || p.CatchupWindow != 24*time.Hour || p.PauseOnFailure || first.Schedule.Spec.Jitter != 30*time.Minute {
		t.Errorf("policy %+v, jitter %v", p, first.Schedule.Spec.Jitter)
	}
	if err := c.PauseBackups(ctx, "kept", app, "anna: moving house"); err != nil {
		t.Fatal(err)
	}
	acme.Profile.Every = backup.Duration(4 * time.Hour)
	if must(c.EnsureSchedules(ctx, acme, app))(t) {
		t.Error("a change made a new schedule")
	}
	s := must(c.BackupSchedule(ctx, "kept", app))(t)
	if s.Every != backup.Duration(4*time.Hour) || s.Jitter != backup.Duration(24*time.Minute) || !s.Paused || s.Note != "anna: moving house" || !s.Next.IsZero() {
		t.Errorf("after the change: %+v", s)
	}
	second := must(h.Describe(ctx))(t)
	if !second.Info.CreatedAt.Equal(first.Info.CreatedAt) || second.Schedule.Policy.CatchupWindow != 4*time.Hour {
		t.Errorf("made again, or the window stayed: %+v", second.Schedule.Policy)
	}
	if err := c.ResumeBackups(ctx, "kept", app, "anna: done"); err != nil {
		t.Fatal(err)
	}
	if s = must(c.BackupSchedule(ctx, "kept", app))(t); s.Paused || s.Next.IsZero() || time.Until(s.Next) > 4*time.Hour+24*time.Minute {
		t.Errorf("after resuming: %+v", s)
	}
	people := must(c.Temporal().ScheduleClient().GetHandle(ctx, workflows.ImportID("kept", "ldap")).Describe(ctx))(t)
	if i := people.Schedule.Spec.Intervals; len(i) != 1 || i[0].Every != 24*time.Hour || i[0].Offset != 22*time.Hour {
		t.Errorf("import: %+v", i)
	}
	_, err := c.BackupSchedule(ctx, "none", app)
	if !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("no schedule: %v", err)
	}
}

// testRunsDoNotOverlap: a second trigger finds the run that goes on; after its end the next one starts, paused or not.
func testRunsDoNotOverlap(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	must(c.EnsureSchedules(ctx, tenant("overlap"), app))(t)
	first, started, err := c.TriggerBackup(ctx, "overlap", app)
	if err != nil || !started || !strings.HasPrefix(first, workflows.BackUpID("overlap", app)) {
		t.Fatalf("%q %v %v", first, started, err)
	}
	again, started, err := c.TriggerBackup(ctx, "overlap", app)
	if err != nil || started || again != first {
		t.Errorf("while it runs: %q %v %v", again, started, err)
	}
	if err := c.Temporal().SignalWorkflow(ctx, first, "", "finish", false); err != nil {
		t.Fatal(err)
	}
	if r := must(c.WaitBackup(ctx, first))(t); r.Number != 7 || r.Outcome != backup.RunComplete {
		t.Errorf("result: %+v", r)
	}
	if err := c.PauseBackups(ctx, "overlap", app, "quiet"); err != nil {
		t.Fatal(err)
	}
	// At once: the schedule may not have heard of the end yet. It names runs by the second, so this one may have the first one's name.
	asked := time.Now()
	second, started, err := c.TriggerBackupOnce(ctx, "overlap", app, asked)
	if err != nil || !started {
		t.Errorf("after the end: %q %v %v", second, started, err)
	}
	if err := c.Temporal().SignalWorkflow(ctx, second, "", "finish", true); err != nil {
		t.Fatal(err)
	}
	r, err := c.WaitBackup(ctx, second)
	if !backup.HasCode(err, backup.CodeDiskFull) || r.Number != 8 || r.Outcome != backup.RunFailed {
		t.Errorf("a failed run: %+v, %v", r, err)
	}
	// Asked again as after a crash, the run that has begun meanwhile is the answer, although it has ended; asked later, it is a new one.
	if id, started, err := c.TriggerBackupOnce(ctx, "overlap", app, asked); err != nil || !started || id != second {
		t.Errorf("asked again: %q %v %v", id, started, err)
	}
	third, started, err := c.TriggerBackupOnce(ctx, "overlap", app, time.Now())
	if err != nil || !started {
		t.Errorf("asked later: %q %v %v", third, started, err)
	}
	must(0, c.Temporal().SignalWorkflow(ctx, third, "", "finish", false))(t)
	if _, _, err := c.TriggerBackup(ctx, "none", app); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("without a schedule: %v", err)
	}
}
