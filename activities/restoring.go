package activities

import (
	"context"
)

// Restoring brings snapshots back.
type Restoring struct {
	Tenants      Tenants
	People       People
	Keys         Keys
	Repositories Repositories
	Destinations Destinations
}

// RestoreSnapshot writes one snapshot into a folder.
func (a *Restoring) RestoreSnapshot(ctx context.Context, in RestoreInput) (RestoreResult, error) {
	return RestoreResult{}, nil
}
