package custody

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Ensure returns the active generation, by whichever method it is had, or the pending first one, made at the holders of the tenant's
// method.
func (c *Custodian) Ensure(ctx context.Context, t backup.Tenant, use backup.KeyUse) (backup.EKey, error) {
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return backup.EKey{}, err
	}
	if k, ok := all.inState(backup.EKeyActive); ok {
		return k, nil
	}
	k, ok := all.inState(backup.EKeyPending)
	if ok && k.Method != t.Key.Method && k.Check == "" {
		// Nobody ever had this one, so nothing was made with it, and the description has changed since.
		if err := c.o.Records.EndEKey(ctx, t.ID, k.Generation, backup.EKeyRetired, c.o.Clock()); err != nil {
			return backup.EKey{}, err
		}
		ok = false
	}
	if !ok {
		if k, err = c.o.Records.AddEKey(ctx, t.ID, t.Key.Method, c.o.Clock()); err != nil {
			return backup.EKey{}, err
		}
	}
	return c.create(ctx, t, k, use)
}

// Prepare returns the active generation and the pending one that shall replace it, made at the holders of method (empty: that of the
// active one). A pending generation of another method is returned as it is: a change that was left unfinished, which has to be given
// up first.
func (c *Custodian) Prepare(ctx context.Context, t backup.Tenant, method backup.KeyMethod, use backup.KeyUse) (from, to backup.EKey, err error) {
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return from, to, err
	}
	from, ok := all.inState(backup.EKeyActive)
	if !ok {
		return from, to, errNoKeyYet(t.ID)
	}
	method = cmp.Or(method, from.Method)
	if _, err := c.holder(method); err != nil {
		return from, to, err
	}
	if to, err = c.o.Records.AddEKey(ctx, t.ID, method, c.o.Clock()); err != nil || to.Method != method {
		return from, to, err
	}
	to, err = c.create(ctx, t, to, use)
	return from, to, err
}

// create makes a pending generation at one of its holders, unless that was done, and records what is to be kept of it.
func (c *Custodian) create(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.EKey, error) {
	if made(k) {
		return k, nil
	}
	h, err := c.holder(k.Method)
	if err != nil {
		return k, err
	}
	use.Tenant, use.Generation, use.Purpose = t.ID, k.Generation, backup.PurposeCreate
	created, err := h.Create(ctx, t, k, use)
	if err != nil {
		return k, err
	}
	// An attempt that was given up for lost may have been overtaken: what was recorded meanwhile may be in use.
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return k, err
	}
	if now, ok := all.numbered(k.Generation); !ok || made(now) {
		return now, nil
	}
	k.Check, k.Wrapped = cmp.Or(k.Check, created.Check), cmp.Or(created.Wrapped, k.Wrapped)
	return k, c.o.Records.UpdateEKey(ctx, k)
}

// made tells whether a generation exists at a holder, as far as is recorded.
func made(k backup.EKey) bool { return k.Check != "" || k.Wrapped != "" }

// Activate makes a pending generation the active one. The one before retires after grace.
func (c *Custodian) Activate(ctx context.Context, t backup.Tenant, generation int, at time.Time, grace time.Duration) error {
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return err
	}
	k, ok := all.numbered(generation)
	switch {
	case !ok:
		return errNoGeneration(t.ID, generation)
	case k.State == backup.EKeyActive:
		return nil
	case k.State != backup.EKeyPending:
		return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultOurs, Message: fmt.Sprintf("generation %d of the key of %s is %s and cannot become active", generation, t.ID, k.State)}
	case k.Check == "":
		return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultOurs, Message: fmt.Sprintf("generation %d of the key of %s was never had and cannot become active", generation, t.ID)}
	}
	return c.o.Records.ActivateEKey(ctx, t.ID, generation, at, at.Add(grace))
}

// Retire makes a retiring or pending generation unobtainable at every holder of it.
func (c *Custodian) Retire(ctx context.Context, t backup.Tenant, generation int, use backup.KeyUse) error {
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return err
	}
	k, ok := all.numbered(generation)
	switch {
	case !ok:
		return errNoGeneration(t.ID, generation)
	case k.State == backup.EKeyRetired:
		return nil
	case k.State == backup.EKeyActive:
		return &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultOurs, Message: fmt.Sprintf("generation %d of the key of %s is the active one and stays", generation, t.ID)}
	}
	h, err := c.holder(k.Method)
	if err != nil {
		return err
	}
	if err := all.spared(h, k); err != nil {
		return err
	}
	use.Tenant, use.Generation, use.Purpose = t.ID, generation, backup.PurposeRetire
	if err := h.Retire(ctx, t, k, use); err != nil && !all.leftBehind(k, err) {
		return err
	}
	return c.o.Records.EndEKey(ctx, t.ID, generation, backup.EKeyRetired, c.o.Clock())
}

// spared refuses to retire what would take the key in use, or the one that is to follow it, along: nothing brings them back.
func (g generations) spared(h Holder, old backup.EKey) error {
	s, ok := h.(Sparing)
	if !ok {
		return nil
	}
	for _, k := range g {
		if k.Generation == old.Generation || k.Method != old.Method || k.State != backup.EKeyActive && k.State != backup.EKeyPending {
			continue
		}
		if err := s.Spares(old, k); err != nil {
			return err
		}
	}
	return nil
}

// leftBehind tells a generation that its holders keep because it is the newest they have, while the key in use is had by another method
// since: it opens nothing any more, no newer one will ever let them drop it, and nobody is given it once it is retired here.
func (g generations) leftBehind(k backup.EKey, err error) bool {
	active, ok := g.inState(backup.EKeyActive)
	return ok && active.Method != k.Method && k.State == backup.EKeyRetiring && backup.HasCode(err, backup.CodeNotAllowed)
}
