package activities

import (
	"context"

	"go.temporal.io/sdk/activity"
)

// Scheduling makes runs happen.
type Scheduling struct {
	Tenants   Tenants
	Scheduler Scheduler
}

// EnsureSchedules creates the tenant's schedules, or brings them to the profile.
func (a *Scheduling) EnsureSchedules(ctx context.Context, in TenantInput) (ScheduleResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return ScheduleResult{}, fail(err)
	}
	created, err := a.Scheduler.EnsureSchedules(ctx, t, in.App)
	return ScheduleResult{Created: created}, fail(err)
}

// EndSchedules stops the clocks of a tenant whose key was shredded.
func (a *Scheduling) EndSchedules(ctx context.Context, in TenantInput) error {
	return fail(a.Scheduler.EndSchedules(ctx, in.Tenant, in.App, "the key was shredded"))
}

// TriggerBackup starts a run now, unless one is under way.
func (a *Scheduling) TriggerBackup(ctx context.Context, in TenantInput) (TriggerResult, error) {
	// The time at which the workflow asked is the same in every attempt.
	asked := activity.GetInfo(ctx).ScheduledTime
	id, started, err := a.Scheduler.TriggerBackupOnce(ctx, in.Tenant, in.App, asked)
	return TriggerResult{WorkflowID: id, Started: started}, fail(err)
}
