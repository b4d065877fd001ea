package activities

import (
	"context"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Provisioning proves that a tenant's ekey can be had and that its repository opens with it.
type Provisioning struct {
	Tenants      Tenants
	Keys         Keys
	Repositories Repositories
}

// ObserveKeyHolder tells whether the ekey's holder could be asked now, without asking it.
func (a *Provisioning) ObserveKeyHolder(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	err = a.Keys.Reachable(ctx, t)
	if backup.HasCode(err, backup.CodeNotConnected) { // a state of the world, not a failure to observe it
		return backup.VerdictOf(err, ""), nil
	}
	return verdict("the key's holder is connected", err)
}

// EnsureRepository obtains the ekey and makes the repository, or opens it to prove the key.
func (a *Provisioning) EnsureRepository(ctx context.Context, in TenantInput) (ProvisionResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return ProvisionResult{}, fail(err)
	}
	lease, err := a.Keys.Obtain(ctx, t, keyUse(ctx, t, backup.PurposeProvision))
	if backup.HasCode(err, backup.CodeNotConnected) {
		return ProvisionResult{Verdict: backup.VerdictOf(err, "")}, nil
	}
	if err != nil {
		v, err := verdict("", err)
		return ProvisionResult{Verdict: v}, err
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(t.ID, t.Repository.ID)
	if err != nil {
		return ProvisionResult{}, fail(err)
	}
	created, err := a.Repositories.EnsureRepository(ctx, t, password)
	v, err := verdict("the repository opens with the tenant's key", err)
	return ProvisionResult{Verdict: v, Generation: lease.Generation, Receipt: lease.Receipt, RepositoryCreated: created}, err
}

// keyUse says on whose behalf a key is asked for: the workflow run that this activity belongs to.
func keyUse(ctx context.Context, t backup.Tenant, p backup.KeyPurpose) backup.KeyUse {
	info := activity.GetInfo(ctx)
	return backup.KeyUse{Tenant: t.ID, Purpose: p, WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID, Attempt: int(info.Attempt)}
}
