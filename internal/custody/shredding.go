package custody

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Destroy destroys every generation at every holder, retired ones too, and tells what each said. The records stay until RecordShred,
// so that the proof still asks the holders and not our own books.
func (c *Custodian) Destroy(ctx context.Context, t backup.Tenant, use backup.KeyUse) ([]backup.KeyProof, error) {
	all, err := c.o.Records.EKeys(ctx, t.ID)
	if err != nil {
		return nil, fmt.Errorf("looking for the generations of an ekey: %w", err)
	}
	if len(all) == 0 {
		return nil, errNoKeyYet(t.ID)
	}
	use.Tenant, use.Generation, use.Purpose = t.ID, 0, backup.PurposeDestroy
	var said []backup.KeyProof
	for _, method := range methodsOf(all) {
		proofs, err := c.destroyBy(ctx, t, method, of(all, method), use)
		if err != nil {
			return said, err
		}
		said = append(said, proofs...)
	}
	return said, nil
}

func methodsOf(all []backup.EKey) []backup.KeyMethod {
	var methods []backup.KeyMethod
	for _, k := range all {
		if !slices.Contains(methods, k.Method) {
			methods = append(methods, k.Method)
		}
	}
	return methods
}

func of(all []backup.EKey, m backup.KeyMethod) []backup.EKey {
	return slices.DeleteFunc(slices.Clone(all), func(k backup.EKey) bool { return k.Method != m })
}

// destroyBy destroys the generations of one method. A method whose generations all ended before may be configured no longer, and
// holds nothing then.
func (c *Custodian) destroyBy(ctx context.Context, t backup.Tenant, m backup.KeyMethod, ks []backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error) {
	if !slices.ContainsFunc(ks, func(k backup.EKey) bool { return k.State != backup.EKeyDestroyed }) {
		return ended(ks, "was destroyed on"), nil
	}
	h, err := c.holder(m)
	if err != nil {
		return nil, err
	}
	said, err := h.Destroy(ctx, t, ks, use)
	if err == nil {
		return said, nil
	}
	if backup.HasCode(err, backup.CodeBadConfig) && !slices.ContainsFunc(ks, func(k backup.EKey) bool { return k.State != backup.EKeyRetired }) {
		return ended(ks, "its holder is configured no longer; it was retired on"), nil
	}
	failed, told := refusal(ks[len(ks)-1], err)
	if !told {
		return said, err
	}
	return append(said, failed), nil
}

// ended are the proofs that our own records give.
func ended(ks []backup.EKey, how string) []backup.KeyProof {
	said := make([]backup.KeyProof, 0, len(ks))
	for _, k := range ks {
		said = append(said, backup.KeyProof{Holder: holderName(k.Method), Generation: k.Generation, OK: true, Detail: how + " " + day(k.Ended)})
	}
	return said
}

// RecordShred signs and stores the report, and ends every generation for good. From then on nothing of the tenant's key is asked for
// any more.
func (c *Custodian) RecordShred(ctx context.Context, r backup.ShredReport) (backup.ShredReport, error) {
	all, err := c.o.Records.EKeys(ctx, r.Tenant)
	if err != nil {
		return r, fmt.Errorf("looking for the generations of an ekey: %w", err)
	}
	r.Generations = nil
	for _, k := range all {
		r.Generations = append(r.Generations, k.Generation)
	}
	if r.Destroyed.IsZero() {
		r.Destroyed = c.o.Clock()
	}
	r.Signer = c.o.Signer.Public()
	statement, err := r.Statement()
	if err != nil {
		return r, err
	}
	r.Signature = c.o.Signer.Sign(backup.ShredDomain, statement)
	// The report first: a key that ended without one could not be told from one that was lost.
	if err := c.o.Records.SaveShred(ctx, r); err != nil {
		return r, err
	}
	for _, k := range all {
		if err := c.o.Records.EndEKey(ctx, r.Tenant, k.Generation, backup.EKeyDestroyed, r.Destroyed); err != nil {
			return r, err
		}
	}
	return r, nil
}
