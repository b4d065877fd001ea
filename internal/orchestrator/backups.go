package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	// triggerWait bounds how long a triggered schedule may take to show what it did; measured: under a second.
	triggerWait = 30 * time.Second
	// triggerLost is after how long without a sign a trigger is given again.
	triggerLost = 5 * time.Second
	// triggerPoll is the distance of two looks.
	triggerPoll = 150 * time.Millisecond
)

// BackupSchedule is when backups happen.
type BackupSchedule struct {
	Every  backup.Duration `json:"every"`
	Jitter backup.Duration `json:"jitter"`
	Paused bool            `json:"paused"`
	Note   string          `json:"note,omitempty"`
	// Next is the next planned start; zero while paused.
	Next time.Time `json:"next,omitzero"`
	// Running is the workflow id of the run under way, empty when there is none.
	Running string `json:"running,omitempty"`
	// Skipped counts starts that were left out because the run before went on; Missed those that came too late to be made up for.
	Skipped int `json:"skipped"`
	Missed  int `json:"missed"`
}

// BackupSchedule describes the tenant's backup schedule. ErrNotFound: there is none yet.
func (c *Client) BackupSchedule(ctx context.Context, tenant string, app backup.App) (BackupSchedule, error) {
	_, d, err := c.backupSchedule(ctx, tenant, app)
	if err != nil {
		return BackupSchedule{}, err
	}
	s := BackupSchedule{Jitter: backup.Duration(d.Schedule.Spec.Jitter), Paused: d.Schedule.State.Paused, Note: d.Schedule.State.Note,
		Running: running(d), Skipped: d.Info.NumActionsSkippedOverlap, Missed: d.Info.NumActionsMissedCatchupWindow}
	if i := d.Schedule.Spec.Intervals; len(i) > 0 {
		s.Every = backup.Duration(i[0].Every)
	}
	if next := d.Info.NextActionTimes; len(next) > 0 && !s.Paused {
		s.Next = next[0]
	}
	return s, nil
}

func (c *Client) backupSchedule(ctx context.Context, tenant string, app backup.App) (client.ScheduleHandle, *client.ScheduleDescription, error) {
	h := c.temporal.ScheduleClient().GetHandle(ctx, workflows.BackUpID(tenant, app))
	d, err := h.Describe(ctx)
	return h, d, c.classify(ctx, err, "the backup schedule of "+tenant, "holdfast status "+tenant)
}

// TriggerBackup starts a run now. While one is under way none is started, and workflowID is that one's. A paused schedule can be
// triggered: a pause is about the clock, not about people.
//
// The schedule hears of a run's end a moment late and skips a trigger until then, so what it takes for running is asked itself.
func (c *Client) TriggerBackup(ctx context.Context, tenant string, app backup.App) (workflowID string, started bool, err error) {
	return c.TriggerBackupOnce(ctx, tenant, app, time.Time{})
}

// TriggerBackupOnce is TriggerBackup for whoever may ask again after a crash: a run that has begun since is the answer, also when it has
// ended. Zero asks for a new run in any case.
func (c *Client) TriggerBackupOnce(ctx context.Context, tenant string, app backup.App, since time.Time) (workflowID string, started bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, triggerWait)
	defer cancel()
	var first *client.ScheduleDescription
	for {
		h, before, err := c.backupSchedule(ctx, tenant, app)
		if err != nil {
			return "", false, err
		}
		if first == nil {
			first = before
		}
		// Given again, a trigger may come after the run that the one before has begun late.
		if id := cmp.Or(begunSince(before, since), startedSince(first, before)); id != "" {
			return id, true, nil
		}
		id, err := c.underWay(ctx, before)
		if err != nil || id != "" {
			return id, false, err
		}
		if len(before.Info.RunningWorkflows) == 0 {
			if id, started, err = c.trigger(ctx, h, before, tenant, app); err != nil || id != "" {
				return id, started, err
			}
		}
		if err := sleep(ctx, triggerPoll); err != nil {
			return "", false, noAnswer()
		}
	}
}

// trigger asks the schedule for a run and waits until it has started one, or skipped it for one that is under way. An empty id means that
// it did neither: it skipped for a run that has ended, or lost the trigger, because it names runs by the second and one of this second was
// there already.
func (c *Client) trigger(ctx context.Context, h client.ScheduleHandle, before *client.ScheduleDescription, tenant string, app backup.App) (workflowID string, started bool, err error) {
	if err := h.Trigger(ctx, client.ScheduleTriggerOptions{Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP}); err != nil {
		return "", false, c.classify(ctx, err, "the backup schedule of "+tenant, "holdfast status "+tenant)
	}
	for lost := time.Now().Add(triggerLost); time.Now().Before(lost); {
		_, now, err := c.backupSchedule(ctx, tenant, app)
		if err != nil {
			return "", false, err
		}
		if id := startedSince(before, now); id != "" {
			return id, true, nil
		}
		if now.Info.NumActionsSkippedOverlap > before.Info.NumActionsSkippedOverlap {
			id, err := c.underWay(ctx, now)
			return id, false, err
		}
		if err := sleep(ctx, triggerPoll); err != nil {
			return "", false, noAnswer()
		}
	}
	return "", false, nil
}

// underWay is the run that the schedule takes for running, if it really does.
func (c *Client) underWay(ctx context.Context, d *client.ScheduleDescription) (workflowID string, err error) {
	for _, r := range d.Info.RunningWorkflows {
		e, err := c.temporal.DescribeWorkflowExecution(ctx, r.WorkflowID, r.FirstExecutionRunID)
		var gone *serviceerror.NotFound
		switch {
		case errors.As(err, &gone):
		case err != nil:
			return "", c.classify(ctx, err, "the run "+r.WorkflowID, "holdfast backup list")
		case e.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
			return r.WorkflowID, nil
		}
	}
	return "", nil
}

// begunSince finds a run by the time at which the schedule has started it; none when since is zero.
func begunSince(d *client.ScheduleDescription, since time.Time) string {
	for _, a := range slices.Backward(d.Info.RecentActions) {
		if r := a.StartWorkflowResult; r != nil && !since.IsZero() && !a.ActualTime.Before(since) {
			return r.WorkflowID
		}
	}
	return ""
}

// startedSince finds the workflow of an action that was not known before. The run's id tells it apart, because the schedule names
// workflows by the second: two short runs after one another may have the same workflow id.
func startedSince(before, now *client.ScheduleDescription) string {
	known := func(run string) bool {
		return slices.ContainsFunc(before.Info.RecentActions, func(a client.ScheduleActionResult) bool {
			return a.StartWorkflowResult != nil && a.StartWorkflowResult.FirstExecutionRunID == run
		})
	}
	for _, a := range slices.Backward(now.Info.RecentActions) {
		if r := a.StartWorkflowResult; r != nil && !known(r.FirstExecutionRunID) {
			return r.WorkflowID
		}
	}
	return ""
}

func running(d *client.ScheduleDescription) string {
	if r := d.Info.RunningWorkflows; len(r) > 0 {
		return r[0].WorkflowID
	}
	return ""
}

// PauseBackups keeps the clock from starting runs until ResumeBackups. note says who and why.
func (c *Client) PauseBackups(ctx context.Context, tenant string, app backup.App, note string) error {
	h := c.temporal.ScheduleClient().GetHandle(ctx, workflows.BackUpID(tenant, app))
	err := h.Pause(ctx, client.SchedulePauseOptions{Note: note})
	return c.classify(ctx, err, "the backup schedule of "+tenant, "holdfast status "+tenant)
}

// ResumeBackups lets the clock start runs again.
func (c *Client) ResumeBackups(ctx context.Context, tenant string, app backup.App, note string) error {
	h := c.temporal.ScheduleClient().GetHandle(ctx, workflows.BackUpID(tenant, app))
	err := h.Unpause(ctx, client.ScheduleUnpauseOptions{Note: note})
	return c.classify(ctx, err, "the backup schedule of "+tenant, "holdfast status "+tenant)
}

// WaitBackup waits for a run's end. It ends with the context, too; the run goes on then. A run that failed is an error, beside
// which the result says what was done nevertheless; its Number is 0 when the run could not even begin.
func (c *Client) WaitBackup(ctx context.Context, workflowID string) (BackupResult, error) {
	var result BackupResult
	err := c.temporal.GetWorkflow(ctx, workflowID, "").Get(ctx, &result)
	var applied *temporal.ApplicationError
	if errors.As(err, &applied) && applied.HasDetails() {
		_ = applied.Details(new(backup.Verdict), &result) // a failure without a result leaves it empty
	}
	return result, c.classify(ctx, err, "the run "+workflowID, "holdfast backup list")
}
