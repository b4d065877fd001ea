package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	// minCatchup is the least the server accepts (server 1.32).
	minCatchup = 10 * time.Second
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

// EnsureSchedules makes the tenant's backup and import schedules, or changes them in place where the description differs, so that
// a pause, its note and the history of runs outlive every change. created tells whether one of them was made by this call.
func (c *Client) EnsureSchedules(ctx context.Context, t backup.Tenant, app backup.App) (created bool, err error) {
	for _, p := range plans(t, app) {
		made, err := c.ensureSchedule(ctx, p)
		if err != nil {
			return created, c.classify(ctx, err, "the schedule "+p.id, "")
		}
		created = created || made
	}
	return created, nil
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
	if t.Directory.Kind == backup.SCIM {
		return []plan{backups} // an identity provider pushes; there is nothing to list
	}
	people := plan{
		id: workflows.ImportID(t.ID, t.Directory.Kind), every: importEvery, offset: importOffset, jitter: maxJitter, tenant: t.ID,
		action: &client.ScheduleWorkflowAction{
			Workflow: workflows.ImportPeopleName, Args: []any{workflows.ImportPeopleInput{Tenant: t.ID, Directory: t.Directory.Kind}},
			StaticSummary:         summary("Import people of %s", named(t)),
			TypedSearchAttributes: temporal.NewSearchAttributes(workflows.TenantAttribute.ValueSet(t.ID)),
		},
		memo: map[string]any{"about": fmt.Sprintf("Imports the people of %s every day. Changed by holdfast apply.", named(t))},
	}
	return []plan{backups, people}
}

func (c *Client) ensureSchedule(ctx context.Context, p plan) (created bool, err error) {
	p.action.ID, p.action.TaskQueue = p.id, workflows.TaskQueue
	_, err = c.temporal.ScheduleClient().Create(ctx, client.ScheduleOptions{
		ID: p.id, Spec: p.spec(), Action: p.action, Memo: p.memo,
		Overlap: p.policy().Overlap, CatchupWindow: p.policy().CatchupWindow,
		TypedSearchAttributes: temporal.NewSearchAttributes(workflows.TenantAttribute.ValueSet(p.tenant)),
	})
	if !errors.Is(err, temporal.ErrScheduleAlreadyRunning) {
		return err == nil, err
	}
	return false, c.temporal.ScheduleClient().GetHandle(ctx, p.id).Update(ctx, client.ScheduleUpdateOptions{DoUpdate: p.update})
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
func (p plan) update(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
	now := in.Description.Schedule
	if p.holds(now) {
		return nil, temporal.ErrSkipScheduleUpdate
	}
	spec, policy := p.spec(), p.policy()
	return &client.ScheduleUpdate{Schedule: &client.Schedule{Action: p.action, Spec: &spec, Policy: &policy, State: now.State}}, nil
}

// holds tells whether a schedule is as planned already.
func (p plan) holds(s client.Schedule) bool {
	action, ok := s.Action.(*client.ScheduleWorkflowAction)
	if !ok || s.Spec == nil || s.Policy == nil {
		return false
	}
	return slices.Equal(s.Spec.Intervals, p.spec().Intervals) && s.Spec.Jitter == p.jitter && *s.Policy == p.policy() &&
		action.Workflow == p.action.Workflow && action.TaskQueue == p.action.TaskQueue &&
		action.StaticSummary == p.action.StaticSummary && sameArguments(action.Args, p.action.Args)
}

// sameArguments compares the server's encoded arguments with ours.
func sameArguments(encoded, ours []any) bool {
	want, err := converter.GetDefaultDataConverter().ToPayloads(ours...)
	if err != nil {
		return false
	}
	return slices.EqualFunc(encoded, want.GetPayloads(), func(have any, want *commonpb.Payload) bool {
		p, ok := have.(*commonpb.Payload)
		return ok && proto.Equal(p, want)
	})
}
