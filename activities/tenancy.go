package activities

import (
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Tenancy keeps tenants' descriptions and knows who may decide for them.
type Tenancy struct {
	Tenants Tenants
	// Local are principals that every tenant knows: the user of a machine that runs everything, otherwise nobody.
	Local []backup.Principal
}

// known is the tenant with the local principals among its administrators: as it is stored or, before it ever was, as proposed.
func (a *Tenancy) known(ctx context.Context, id string, proposed *backup.Tenant) (backup.Tenant, error) {
	t, err := a.Tenants.Tenant(ctx, id)
	if proposed != nil && backup.HasCode(err, backup.CodeNotFound) {
		t, err = *proposed, nil
	}
	t.Administrators = append(slices.Clip(t.Administrators), a.Local...)
	return t, err
}

// SaveTenant makes the description the truth for everything that is not under way.
func (a *Tenancy) SaveTenant(ctx context.Context, t backup.Tenant) error {
	return fail(a.Tenants.SaveTenant(ctx, t))
}

// AuthorizeDecision refuses a decision of somebody unknown, or whose role does not allow it.
func (a *Tenancy) AuthorizeDecision(ctx context.Context, in AuthorizeInput) error {
	t, err := a.known(ctx, in.Tenant, in.Proposed)
	if err != nil {
		return fail(err)
	}
	return fail(backup.Authorize(t, in.Task, in.Decision))
}

// CheckAdministrator verifies that the person who asked may administer the tenant.
func (a *Tenancy) CheckAdministrator(ctx context.Context, in AdministratorInput) (backup.Verdict, error) {
	t, err := a.known(ctx, in.Tenant, in.Proposed)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	return backup.CheckAdministrator(t, in.RequestedBy), nil
}
