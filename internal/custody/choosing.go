package custody

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// generations are all generations of one tenant's ekey, oldest first.
type generations []backup.EKey

// generations reads them; CodeDestroyed when the key was shredded, also when that was not written down to its end.
func (c *Custodian) generations(ctx context.Context, tenant string) (generations, error) {
	all, err := c.o.Records.EKeys(ctx, tenant)
	if err != nil {
		return nil, fmt.Errorf("looking for the generations of an ekey: %w", err)
	}
	if k, ok := generations(all).inState(backup.EKeyDestroyed); ok {
		return nil, errShredded(k)
	}
	return all, nil
}

func (g generations) inState(s backup.EKeyState) (backup.EKey, bool) {
	i := slices.IndexFunc(g, func(k backup.EKey) bool { return k.State == s })
	if i < 0 {
		return backup.EKey{}, false
	}
	return g[i], true
}

func (g generations) numbered(n int) (backup.EKey, bool) {
	i := slices.IndexFunc(g, func(k backup.EKey) bool { return k.Generation == n })
	if i < 0 {
		return backup.EKey{}, false
	}
	return g[i], true
}

// first is the active generation or, before there ever was one, the pending one that will be it.
func (g generations) first() (backup.EKey, bool) {
	if k, ok := g.inState(backup.EKeyActive); ok {
		return k, true
	}
	return g.inState(backup.EKeyPending)
}

// choose finds the generation that is meant, writes its number into use, and finds its holder.
func (c *Custodian) choose(ctx context.Context, t backup.Tenant, use *backup.KeyUse) (backup.EKey, Holder, error) {
	if use.Tenant != t.ID {
		return backup.EKey{}, nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key use names another tenant than the one asked for"}
	}
	all, err := c.generations(ctx, t.ID)
	if err != nil {
		return backup.EKey{}, nil, err
	}
	k, err := all.meant(t.ID, *use)
	if err != nil {
		return backup.EKey{}, nil, err
	}
	use.Generation = k.Generation
	h, err := c.holder(k.Method)
	return k, h, err
}

// meant is the generation that a use asks for.
func (g generations) meant(tenant string, use backup.KeyUse) (backup.EKey, error) {
	if use.Generation != 0 {
		k, ok := g.numbered(use.Generation)
		switch {
		case !ok:
			return backup.EKey{}, errNoGeneration(tenant, use.Generation)
		case k.State == backup.EKeyRetired:
			return backup.EKey{}, errRetired(k)
		}
		return k, nil
	}
	if k, ok := g.inState(backup.EKeyActive); ok {
		return k, nil
	}
	if k, ok := g.inState(backup.EKeyPending); ok && (use.Purpose == backup.PurposeProvision || use.Purpose == backup.PurposeCreate) {
		return k, nil
	}
	return backup.EKey{}, errNoKeyYet(tenant)
}

func errNoKeyYet(tenant string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "the tenant " + tenant + " has no key yet",
		Hint: "the onboarding makes it: holdfast tenant show " + tenant}
}

func errNoGeneration(tenant string, n int) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the key of %s has no generation %d", tenant, n),
		Hint: "holdfast key status " + tenant}
}

func errRetired(k backup.EKey) error {
	return &backup.Error{Code: backup.CodeRevoked, Fault: backup.FaultCustomer, Message: fmt.Sprintf("generation %d of the key of %s was retired on %s", k.Generation, k.Tenant, day(k.Ended)),
		Hint: "a newer generation took its place: holdfast key status " + k.Tenant}
}

func errShredded(k backup.EKey) error {
	return &backup.Error{Code: backup.CodeDestroyed, Fault: backup.FaultCustomer, Message: fmt.Sprintf("the key of %s was shredded on %s", k.Tenant, day(k.Ended)),
		Hint: "its backups cannot be read any more, by anybody; holdfast key status " + k.Tenant + " shows the signed report"}
}

func errWrongKey(k backup.EKey, holder string) error {
	return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer, Message: fmt.Sprintf("%s released another key than generation %d of %s", holder, k.Generation, k.Tenant),
		Hint: "put the holder's key back from its copy; holdfast key drill " + k.Tenant + " tells who has the right one"}
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
