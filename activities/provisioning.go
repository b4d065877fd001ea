package activities

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Provisioning proves that a tenant's ekey can be had and that its repository opens with it.
type Provisioning struct {
	Tenants      Tenants
	History      History
	Keys         KeyKeeper
	Repositories Repositories
}

// ObserveKeyHolder tells whether the ekey's holder could be asked now, without asking it.
func (a *Provisioning) ObserveKeyHolder(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	return holderVerdict("the key's holder is connected", a.Keys.Reachable(ctx, t))
}

// EnsureRepository makes sure that there is an ekey, obtains it and makes the repository, or opens it to prove the key. The first
// generation becomes the active one when the repository opens with it.
func (a *Provisioning) EnsureRepository(ctx context.Context, in TenantInput) (ProvisionResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return ProvisionResult{}, fail(err)
	}
	lease, err := a.obtain(ctx, t)
	if err != nil {
		v, err := holderVerdict("", err)
		return ProvisionResult{Verdict: v}, err
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(t.ID, t.Repository.ID)
	if err != nil {
		return ProvisionResult{}, fail(err)
	}
	created, err := a.ensure(ctx, t, password)
	if err = movingOr(ctx, a.Keys, t, lease.Generation, err); err == nil {
		err = a.Keys.Activate(ctx, t, lease.Generation, time.Now(), t.Key.Grace.Or(backup.DefaultGrace))
	}
	v, err := verdict("the repository opens with the tenant's key", err)
	return ProvisionResult{Verdict: v, Generation: lease.Generation, Receipt: lease.Receipt, RepositoryCreated: created}, err
}

// obtain gets the active generation or, of a tenant that has none, the first.
func (a *Provisioning) obtain(ctx context.Context, t backup.Tenant) (*backup.Lease, error) {
	use := keyUse(ctx, t, backup.PurposeProvision)
	k, err := a.Keys.Ensure(ctx, t, use)
	if err != nil {
		return nil, err
	}
	use.Generation = k.Generation
	return a.Keys.Obtain(ctx, t, use)
}

// ensure makes the repository of a tenant that was never backed up. One that was backed up has a repository; when it is not where it
// was, its disk is not mounted, and a new and empty one in its place would hide that.
func (a *Provisioning) ensure(ctx context.Context, t backup.Tenant, password string) (created bool, err error) {
	last, err := a.History.LastRun(ctx, t.ID)
	if err != nil {
		return false, err
	}
	if last == nil {
		return a.Repositories.EnsureRepository(ctx, t, password)
	}
	r, err := a.Repositories.OpenRepository(ctx, t, password)
	if backup.HasCode(err, backup.CodeNotFound) {
		return false, &backup.Error{Code: backup.CodeRepository, Fault: backup.FaultOurs, Cause: err,
			Message: fmt.Sprintf("the repository of %s is not where it was, and %d runs went into it", t.ID, last.Number),
			Hint:    "mount the disk that it is on; a new one is made only for a tenant that was never backed up"}
	}
	if err != nil {
		return false, err
	}
	return false, r.Close(ctx)
}

// keyUse says on whose behalf a key is asked for: the workflow run that this activity belongs to.
func keyUse(ctx context.Context, t backup.Tenant, p backup.KeyPurpose) backup.KeyUse {
	info := activity.GetInfo(ctx)
	return backup.KeyUse{Tenant: t.ID, Purpose: p, WorkflowID: info.WorkflowExecution.ID, RunID: info.WorkflowExecution.RunID, Attempt: int(info.Attempt)}
}
