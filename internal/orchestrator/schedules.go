package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	defaultEvery = 24 * time.Hour
	maxJitter    = 30 * time.Minute
	// importEvery and importOffset list the directory once a day, two hours before midnight UTC, where daily backups stand:
	// whoever joined is known to the next backup.
	importEvery  = 24 * time.Hour
	importOffset = 22 * time.Hour
	// reviewEvery and reviewOffset look once a day whose data is due for deletion, in the middle of the working day of most.
	reviewEvery  = 24 * time.Hour
	reviewOffset = 10 * time.Hour
	// minCatchup is the least the server accepts (server 1.32).
	minCatchup = 10 * time.Second
	// schedulesPage is how many schedules are listed per call.
	schedulesPage = 200
)

// plan is a schedule as it should be.
type plan struct {
	id     string
	every  time.Duration
	offset time.Duration
	jitter time.Duration
	action *client.ScheduleWorkflowAction
	tenant string
	// memo cannot be changed later, so it says only what stays true.
	memo map[string]any
}

// EnsureSchedules makes the tenant's schedules (backups, imports, loss drills and, where wanted, rotations of the key), or changes them
// in place where the description differs, so that a pause, its note and the history of runs outlive every change. created tells
// whether one of them was made by this call.
func (c *Client) EnsureSchedules(ctx context.Context, t backup.Tenant, app backup.App) (created bool, err error) {
	for _, p := range plans(t, app) {
		made, err := c.ensureSchedule(ctx, p)
		if err != nil {
			return created, c.classify(ctx, err, "the schedule "+p.id, "")
		}
		created = created || made
	}
	if t.Key.RotateEvery == 0 {
		err = c.removeSchedule(ctx, workflows.RotateKeyID(t.ID))
	}
	return created, errors.Join(err, c.removeImports(ctx, t))
}

// removeImports stops the clocks of directories that the tenant does not have any more. Their people are not touched by it.
func (c *Client) removeImports(ctx context.Context, t backup.Tenant) error {
	mine := workflows.ImportID(t.ID, "")
	query := fmt.Sprintf("%s = '%s'", workflows.TenantAttribute.GetName(), strings.ReplaceAll(t.ID, "'", "''"))
	list, err := c.temporal.ScheduleClient().List(ctx, client.ScheduleListOptions{PageSize: schedulesPage, Query: query})
	if err != nil {
		return c.classify(ctx, err, "the list of schedules", "")
	}
	for list.HasNext() {
		s, err := list.Next()
		if err != nil {
			return c.classify(ctx, err, "the list of schedules", "")
		}
		name, ok := strings.CutPrefix(s.ID, mine)
		if _, unknown := t.Directory(backup.DirectoryName(name)); !ok || unknown == nil {
			continue
		}
		if err := c.removeSchedule(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}

// EndSchedules stops the clocks of a tenant whose key is gone: there is nothing left to back up into, to drill or to rotate. The backup
// schedule is paused and not removed, so that its history stays; people are still imported.
func (c *Client) EndSchedules(ctx context.Context, tenant string, app backup.App, note string) error {
	err := c.PauseBackups(ctx, tenant, app, note)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return errors.Join(err, c.removeSchedule(ctx, workflows.DrillKeyID(tenant)), c.removeSchedule(ctx, workflows.RotateKeyID(tenant)))
}

// removeSchedule is content when there is none.
func (c *Client) removeSchedule(ctx context.Context, id string) error {
	err := c.classify(ctx, c.temporal.ScheduleClient().GetHandle(ctx, id).Delete(ctx), "the schedule "+id, "")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func plans(t backup.Tenant, app backup.App) []plan {
	every := t.Profile.Every.Or(defaultEvery)
	backups := plan{
		id: workflows.BackUpID(t.ID, app), every: every, jitter: t.Profile.Jitter.Or(min(every/10, maxJitter)), tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow: workflows.BackUpAppName, Args: []any{workflows.BackUpAppInput{Tenant: t.ID, App: app}},
			StaticSummary:         summary("Back up %s: %s", named(t), AppTitle(app)),
			TypedSearchAttributes: attributes(t.ID, app),
		},
		memo: map[string]any{"about": fmt.Sprintf("Backs up %s of %s. Changed by holdfast apply.", AppTitle(app), named(t))},
	}
	all := append([]plan{backups, reviewPlan(t)}, keyPlans(t, app)...)
	for _, d := range t.Directories {
		all = append(all, importPlan(t, d))
	}
	return all
}

// reviewPlan asks for the deletion of what need not be kept any more.
func reviewPlan(t backup.Tenant) plan {
	return plan{
		id: workflows.ReviewLeaversID(t.ID), every: reviewEvery, offset: reviewOffset, jitter: maxJitter, tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow: workflows.ReviewLeaversName, Args: []any{workflows.ReviewLeaversInput{Tenant: t.ID}},
			StaticSummary:         summary("Review whose data of %s is due for deletion", named(t)),
			TypedSearchAttributes: ofTenant(t.ID),
		},
		memo: map[string]any{"about": fmt.Sprintf("Asks, for %s, whether the data of people who left long ago may be deleted. Changed by holdfast apply.", named(t))},
	}
}

// importPlan also imports what an identity provider pushed: a push starts an import by itself, and this one makes up for one that was lost.
func importPlan(t backup.Tenant, d backup.DirectoryConfig) plan {
	every := d.Every.Or(importEvery)
	return plan{
		id: workflows.ImportID(t.ID, d.Name), every: every, offset: importOffset % every, jitter: min(every/10, maxJitter), tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow: workflows.ImportPeopleName, Args: []any{workflows.ImportPeopleInput{Tenant: t.ID, Directory: d.Name}},
			StaticSummary:         summary("Import people of %s", named(t)),
			TypedSearchAttributes: ofTenant(t.ID),
		},
		memo: map[string]any{"about": fmt.Sprintf("Imports the people of %s from %s. Changed by holdfast apply.", named(t), d.Name)},
	}
}

// keyPlans are the drills and, where wanted, the rotations of the tenant's key.
func keyPlans(t backup.Tenant, app backup.App) []plan {
	every := t.Key.DrillEvery.Or(backup.DefaultDrillEvery)
	drills := plan{
		id: workflows.DrillKeyID(t.ID), every: every, jitter: min(every/10, maxJitter), tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow: workflows.DrillKeyName, Args: []any{workflows.DrillKeyInput{Tenant: t.ID}},
			StaticSummary:         summary("Drill the loss of the key of %s", named(t)),
			TypedSearchAttributes: attributes(t.ID, app),
		},
		memo: map[string]any{"about": fmt.Sprintf("Asks every holder of the key of %s for proof. Changed by holdfast apply.", named(t))},
	}
	if t.Key.RotateEvery == 0 {
		return []plan{drills}
	}
	every = time.Duration(t.Key.RotateEvery)
	rotations := plan{
		id: workflows.RotateKeyID(t.ID), every: every, jitter: min(every/10, maxJitter), tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow:              workflows.ChangeKeyName,
			Args:                  []any{workflows.ChangeKeyInput{Tenant: t.ID, Change: workflows.RotateKey, RequestedBy: BySchedule}},
			StaticSummary:         summary("Rotate the key of %s", named(t)),
			TypedSearchAttributes: attributes(t.ID, app),
		},
		memo: map[string]any{"about": fmt.Sprintf("Rotates the key of %s. Changed by holdfast apply.", named(t))},
	}
	return []plan{drills, rotations}
}

func (c *Client) ensureSchedule(ctx context.Context, p plan) (created bool, err error) {
	p.action.ID, p.action.TaskQueue = p.id, workflows.TaskQueue
	_, err = c.temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: p.id, Spec: p.spec(), Action: p.action, Memo: p.memo,
		Overlap: p.policy().Overlap, CatchupWindow: p.policy().CatchupWindow,
		TypedSearchAttributes: ofTenant(p.tenant),
	})
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err == nil, err
	}
	return false, c.temporal.ScheduleClient().GetHandle(ctx, p.id).Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) { return p.update(in, c.codec) }})
}

func (p plan) spec() client.ScheduleSpec {
	return client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: p.every, Offset: p.offset}}, Jitter: p.jitter}
}

// policy skips a run while the last one goes on. The catch-up window is one interval: after an outage of any length at most the
// latest missed slot is made up for, because one run brings everything up to date. A failed run does not pause the schedule: the
// next one may well succeed, and a person hears of the failure by its alert.
func (p plan) policy() client.SchedulePolicies {
	return client.SchedulePolicies{Overlap: enums.SCHEDULE_OVERLAP_POLICY_SKIP, CatchupWindow: max(p.every, minCatchup)}
}

// update replaces spec, policy and action, and keeps the state: whether it is paused, and the note.
func (p plan) update(in client.ScheduleUpdateInput, codec converter.PayloadCodec) (*client.ScheduleUpdate, error) {
	now := in.Description.Schedule
	if p.holds(now, codec) {
		return nil, temporal.ErrSkipScheduleUpdate
	}
	spec, policy := p.spec(), p.policy()
	return &client.ScheduleUpdate{Schedule: &client.Schedule{Action: p.action, Spec: &spec, Policy: &policy, State: now.State}}, nil
}

// holds tells whether a schedule is as planned already.
func (p plan) holds(s client.Schedule, codec converter.PayloadCodec) bool {
	action, ok := s.Action.(*client.ScheduleWorkflowAction)
	if !ok || s.Spec == nil || s.Policy == nil {
		return false
	}
	return slices.Equal(s.Spec.Intervals, p.spec().Intervals) && s.Spec.Jitter == p.jitter && *s.Policy == p.policy() &&
		action.Workflow == p.action.Workflow && action.TaskQueue == p.action.TaskQueue &&
		action.StaticSummary == p.action.StaticSummary && sameArguments(codec, action.Args, p.action.Args)
}

// sameArguments compares the server's encrypted arguments with ours.
func sameArguments(codec converter.PayloadCodec, encoded, ours []any) bool {
	want, err := converter.GetDefaultDataConverter().ToPayloads(ours...)
	if err != nil {
		return false
	}
	return slices.EqualFunc(encoded, want.GetPayloads(), func(have any, want *commonpb.Payload) bool {
		sealed, ok := have.(*commonpb.Payload)
		if !ok {
			return false
		}
		opened, err := codec.Decode([]*commonpb.Payload{sealed})
		return err == nil && proto.Equal(opened[0], want)
	})
}
