package activities

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Settling has people decide which of several persons an entry is.
type Settling struct {
	Conflicts Conflicts
	Scheduler Scheduler
}

// CountConflicts counts the entries that wait for a decision.
func (a *Settling) CountConflicts(ctx context.Context, in TenantInput) (ConflictsResult, error) {
	n, err := a.Conflicts.CountConflicts(ctx, in.Tenant)
	return ConflictsResult{Waiting: n}, fail(err)
}

// WakeConflicts tells the flow in which conflicts wait that an import may have changed how many there are, and begins it when there are some.
func (a *Settling) WakeConflicts(ctx context.Context, in TenantInput) error {
	n, err := a.Conflicts.CountConflicts(ctx, in.Tenant)
	if err != nil {
		return fail(err)
	}
	return fail(a.Scheduler.WakeConflicts(ctx, in.Tenant, n > 0))
}

// DecideConflict keeps a decision, and has the directory imported, which carries it out. Again is the same as once.
func (a *Settling) DecideConflict(ctx context.Context, in DecideConflictInput) error {
	if err := in.Decision.Check(); err != nil {
		return fail(err)
	}
	if err := a.Conflicts.DecideConflict(ctx, in.Tenant, in.Decision); err != nil {
		return fail(err)
	}
	return fail(a.Scheduler.PushedPeople(ctx, backup.SCIMScope{Tenant: in.Tenant, Directory: in.Decision.Directory}))
}
