package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// KeyKeeping changes, proves and destroys a tenant's ekey.
type KeyKeeping struct {
	Tenants      Tenants
	Keys         KeyKeeper
	Connectors   Connectors
	Repositories Repositories
}

// changeTime bounds one attempt at moving a repository, the waits for both keys included. An attempt that was given up for lost must
// not come back when its change was called off long ago.
const changeTime = 3 * time.Minute

// takeBackTime is what such an attempt may take to undo what it did all the same.
const takeBackTime = time.Minute

// PlanKey tells what the description says about the key, and which generation is active. CodeDestroyed when the key was shredded.
func (a *KeyKeeping) PlanKey(ctx context.Context, in TenantInput) (KeyPlanResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return KeyPlanResult{}, fail(err)
	}
	all, err := a.Keys.Generations(ctx, t)
	if err != nil {
		return KeyPlanResult{}, fail(err)
	}
	pinned, err := a.Connectors.PinnedConnectors(ctx, in.Tenant)
	if err != nil {
		return KeyPlanResult{}, fail(err)
	}
	plan := KeyPlanResult{
		Method: t.Key.Method, Grace: t.Key.Grace.Or(backup.DefaultGrace), ShredWait: t.Key.ShredWait.Or(backup.DefaultShredWait),
		WaitAtMost: t.Key.WaitAtMost.Or(backup.DefaultWaitAtMost), WaitsAbsent: t.Key.ConnectorAbsent == backup.WaitWhenAbsent,
		Connectors: len(pinned), KMS: t.Key.KMS != nil,
	}
	if i := slices.IndexFunc(all, func(k backup.EKey) bool { return k.State == backup.EKeyActive }); i >= 0 {
		plan.Active = all[i]
	}
	return plan, nil
}

// PrepareKey makes the next generation, or finds the pending one again. A pending one of another method was left by a change that was
// ended from outside; it is given up first.
func (a *KeyKeeping) PrepareKey(ctx context.Context, in KeyChangeInput) (KeyChangeResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return KeyChangeResult{}, fail(err)
	}
	defer beat(ctx, nothing)()
	from, to, err := a.prepare(ctx, t, in.Method)
	v, err := holderVerdict("the next generation of the key is made", err)
	if err != nil || !v.Passing {
		return KeyChangeResult{Verdict: v}, err
	}
	return KeyChangeResult{Verdict: v, From: from.Generation, To: to.Generation, Method: to.Method}, nil
}

func (a *KeyKeeping) prepare(ctx context.Context, t backup.Tenant, method backup.KeyMethod) (from, to backup.EKey, err error) {
	use := keyUse(ctx, t, backup.PurposeCreate)
	from, to, err = a.Keys.Prepare(ctx, t, method, use)
	if err != nil || to.Method == cmp.Or(method, from.Method) {
		return from, to, err
	}
	if err := a.drop(ctx, t, from.Generation, to.Generation); err != nil {
		return from, to, err
	}
	return a.Keys.Prepare(ctx, t, method, use)
}

// ShareKey brings a generation to connectors.
func (a *KeyKeeping) ShareKey(ctx context.Context, in ShareKeyInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	defer beat(ctx, nothing)()
	return holderVerdict("every connector that was to get the key holds it", a.Keys.Share(ctx, t, in.Generation, in.Connector, keyUse(ctx, t, backup.PurposeShare)))
}

// RewrapRepository re-wraps the repository, proves that it opens with the new generation and not with the old one, and makes the
// new generation the active one.
func (a *KeyKeeping) RewrapRepository(ctx context.Context, in RewrapInput) (RewrapResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return RewrapResult{}, fail(err)
	}
	defer beat(ctx, nothing)()
	bounded, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	until, err := a.move(bounded, t, in.From, in.To)
	v, err := holderVerdict(fmt.Sprintf("the repository opens with generation %d of the key, and with no other", in.To), err)
	return RewrapResult{Verdict: v, RetireAfter: until}, err
}

// move takes the repository from one generation to another and returns until when the old one is kept.
func (a *KeyKeeping) move(ctx context.Context, t backup.Tenant, from, to int) (retireAfter time.Time, err error) {
	if until, done, err := a.moved(ctx, t, from, to); err != nil || done {
		return until, err
	}
	old, err := a.password(ctx, t, from)
	if err != nil {
		return time.Time{}, err
	}
	new, err := a.password(ctx, t, to)
	if err != nil {
		return time.Time{}, err
	}
	now, grace := time.Now(), t.Key.Grace.Or(backup.DefaultGrace)
	err = a.Repositories.Rewrap(ctx, t, old, new)
	if err == nil {
		err = a.prove(ctx, t, old, new)
	}
	if err == nil {
		err = a.Keys.Activate(ctx, t, to, now, grace)
	}
	if err != nil {
		return time.Time{}, errors.Join(err, a.takeBack(ctx, t, to, old, new))
	}
	return now.Add(grace), nil
}

// takeBack is for an attempt that was given up for lost, and finds its change called off when it comes back: the new generation was
// given up, nobody can ever have it again, and the passwords at hand are the last that lead back to the old one.
func (a *KeyKeeping) takeBack(ctx context.Context, t backup.Tenant, to int, old, new string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	all, err := a.Keys.Generations(ctx, t)
	if err != nil || !slices.ContainsFunc(all, func(k backup.EKey) bool { return k.Generation == to && k.State == backup.EKeyRetired }) {
		return nil // what is only interrupted is settled by the next attempt, or by giving it up
	}
	return a.Repositories.Rewrap(ctx, t, new, old)
}

// moved tells whether an earlier attempt came to its end: the activation is its last step.
func (a *KeyKeeping) moved(ctx context.Context, t backup.Tenant, from, to int) (retireAfter time.Time, done bool, err error) {
	all, err := a.Keys.Generations(ctx, t)
	for _, k := range all {
		switch {
		case k.Generation == from:
			retireAfter = k.RetireAfter
		case k.Generation == to:
			done = k.State == backup.EKeyActive
		}
	}
	return retireAfter, done, err
}

// password derives the repository's password from a generation, which is given back at once.
func (a *KeyKeeping) password(ctx context.Context, t backup.Tenant, generation int) (string, error) {
	use := keyUse(ctx, t, backup.PurposeRotate)
	use.Generation = generation
	lease, err := a.Keys.Obtain(ctx, t, use)
	if err != nil {
		return "", err
	}
	defer lease.Close()
	return lease.RepositoryPassword(t.ID, t.Repository.ID)
}

// prove opens the repository with the new password and reads from it, and finds that the old one opens it no more.
func (a *KeyKeeping) prove(ctx context.Context, t backup.Tenant, old, new string) error {
	if err := a.opens(ctx, t, new); err != nil {
		return err
	}
	r, err := a.Repositories.OpenRepository(ctx, t, old)
	if backup.HasCode(err, backup.CodeWrongKey) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(r.Close(ctx), &backup.Error{Code: backup.CodeRepository, Fault: backup.FaultOurs, Message: "the re-wrapped repository of " + t.ID + " still opens with its old key",
		Hint: "the old generation stays the active one; please report this"})
}

// opens opens the repository and looks for a snapshot. Nobody has one of no account, but to say so, all that tells of snapshots is read and
// decrypted.
func (a *KeyKeeping) opens(ctx context.Context, t backup.Tenant, password string) error {
	r, err := a.Repositories.OpenRepository(ctx, t, password)
	if err != nil {
		return err
	}
	_, err = r.Latest(ctx, "", "", "")
	return errors.Join(err, r.Close(context.WithoutCancel(ctx)))
}

// RetireKey makes an old generation unobtainable.
func (a *KeyKeeping) RetireKey(ctx context.Context, in GenerationInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	defer beat(ctx, nothing)()
	return holderVerdict(fmt.Sprintf("generation %d of the key is no longer to be had", in.Generation), a.Keys.Retire(ctx, t, in.Generation, keyUse(ctx, t, backup.PurposeRetire)))
}

// DropKey gives up a pending generation and proves that the active one still opens the repository. To 0 is the pending one, if there is
// any.
func (a *KeyKeeping) DropKey(ctx context.Context, in RewrapInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	defer beat(ctx, nothing)()
	bounded, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	return holderVerdict("the repository opens with the active generation of the key, and the new one is given up", a.drop(bounded, t, in.From, in.To))
}

func (a *KeyKeeping) drop(ctx context.Context, t backup.Tenant, from, to int) error {
	all, err := a.Keys.Generations(ctx, t)
	if err != nil {
		return err
	}
	for _, k := range all {
		switch {
		case k.State == backup.EKeyActive && k.Generation == to:
			return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: fmt.Sprintf("generation %d of the key of %s is in use already", to, t.ID), Hint: "change the key once more: holdfast key rotate " + t.ID}
		case k.State == backup.EKeyActive:
			from = k.Generation
		case k.State == backup.EKeyPending && to == 0:
			to = k.Generation
		}
	}
	if to == 0 {
		return nil
	}
	if err := a.moveBack(ctx, t, from, to); err != nil {
		return err
	}
	return a.Keys.Retire(ctx, t, to, keyUse(ctx, t, backup.PurposeRetire))
}

// moveBack makes the repository open with the old generation, if it does not. Opening it takes back what was interrupted; only what was
// done to its end needs the new generation once more.
func (a *KeyKeeping) moveBack(ctx context.Context, t backup.Tenant, from, to int) error {
	old, err := a.password(ctx, t, from)
	if err != nil {
		return err
	}
	if err := a.opens(ctx, t, old); !backup.HasCode(err, backup.CodeWrongKey) {
		return err
	}
	new, err := a.password(ctx, t, to)
	if err != nil {
		return err
	}
	if err := a.Repositories.Rewrap(ctx, t, new, old); err != nil {
		return err
	}
	return a.prove(ctx, t, new, old)
}

// RewrapKey wraps the active generation with the KMS's newest key version.
func (a *KeyKeeping) RewrapKey(ctx context.Context, in TenantInput) (backup.Verdict, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.Verdict{}, fail(err)
	}
	k, err := a.Keys.Rewrap(ctx, t, keyUse(ctx, t, backup.PurposeRotate))
	return holderVerdict(fmt.Sprintf("generation %d of the key is wrapped by the newest version of the KMS's key", k.Generation), err)
}

// DrillKey asks every source of the key for proof.
func (a *KeyKeeping) DrillKey(ctx context.Context, in TenantInput) (backup.KeyDrill, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return backup.KeyDrill{}, fail(err)
	}
	defer beat(ctx, nothing)()
	d, err := a.Keys.Drill(ctx, t, keyUse(ctx, t, backup.PurposeDrill))
	return d, fail(err)
}

func nothing() any { return nil }
