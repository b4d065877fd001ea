package activities

import (
	"context"
	"time"
)

// Leaving ends what is kept of people who left long ago.
type Leaving struct {
	Tenants Tenants
	Leavers Leavers
}

// MarkDue makes those due whose time is over, and counts all who are.
func (a *Leaving) MarkDue(ctx context.Context, in TenantInput) (DueResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return DueResult{}, fail(err)
	}
	n, digest, err := a.Leavers.MarkDue(ctx, t, time.Now())
	return DueResult{Due: n, Digest: digest}, fail(err)
}

// ReleaseDue lets the data of exactly the approved people be deleted.
func (a *Leaving) ReleaseDue(ctx context.Context, in ReleaseInput) (ReleaseResult, error) {
	n, err := a.Leavers.ReleaseDue(ctx, in.Tenant, in.Digest, in.ApprovedBy, time.Now())
	return ReleaseResult{Released: n}, fail(err)
}
