package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// DestroyKey destroys the key at every holder. The verdict passes when every one of them said that it did.
func (a *KeyKeeping) DestroyKey(ctx context.Context, in TenantInput) (DestroyResult, error) {
	t, err := a.Tenants.Tenant(ctx, in.Tenant)
	if err != nil {
		return DestroyResult{}, fail(err)
	}
	defer beat(ctx, nothing)()
	said, err := a.Keys.Destroy(ctx, t, keyUse(ctx, t, backup.PurposeDestroy))
	if err != nil {
		v, err := holderVerdict("", err)
		return DestroyResult{Verdict: v, Holders: said}, err
	}
	return DestroyResult{Verdict: verdictOfProofs(said, "every holder destroyed the key"), Holders: said}, nil
}

// verdictOfProofs passes when all of them are OK and there is one, and otherwise says what the first says that is not.
func verdictOfProofs(proofs []backup.KeyProof, detail string) backup.Verdict {
	i := slices.IndexFunc(proofs, func(p backup.KeyProof) bool { return !p.OK })
	switch {
	case len(proofs) == 0:
		return backup.Verdict{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Detail: "nobody is known who holds the key"}
	case i < 0:
		return backup.Verdict{Passing: true, Detail: detail}
	}
	p := proofs[i]
	return backup.Verdict{Code: p.Code, Fault: backup.FaultCustomer, Detail: p.Holder + ": " + p.Detail, Hint: p.Hint}
}

// ProveShred proves that the key is gone and stores the signed report: no holder releases any generation, and the repository, where
// it still is, does not open.
func (a *KeyKeeping) ProveShred(ctx context.Context, in ShredProofInput) (ShredProofResult, error) {
	r := in.Report
	t, err := a.Tenants.Tenant(ctx, r.Tenant)
	if err != nil {
		return ShredProofResult{}, fail(err)
	}
	defer beat(ctx, nothing)()
	if r.Proof, err = a.proofsOfShred(ctx, t, r); err != nil {
		return ShredProofResult{}, fail(err)
	}
	v := verdictOfProofs(proofsNeeded(r), "no holder releases the key, and the repository does not open")
	if v.Passing {
		r, err = a.Keys.RecordShred(ctx, r)
	}
	return ShredProofResult{Verdict: v, Report: r}, fail(err)
}

// proofsNeeded leaves out, when a person waived a holder that is gone for ever, what only that holder could answer. The report keeps it,
// and that it could not be proved.
func proofsNeeded(r backup.ShredReport) []backup.KeyProof {
	if !slices.ContainsFunc(r.Holders, func(p backup.KeyProof) bool { return !p.OK }) {
		return r.Proof
	}
	return slices.DeleteFunc(slices.Clone(r.Proof), func(p backup.KeyProof) bool {
		return !p.OK && (p.Code == backup.CodeNotConnected || p.Code == backup.CodeUnreachable)
	})
}

func (a *KeyKeeping) proofsOfShred(ctx context.Context, t backup.Tenant, r backup.ShredReport) ([]backup.KeyProof, error) {
	numbers, err := a.generationsOf(ctx, t, r)
	if err != nil {
		return nil, err
	}
	var proofs []backup.KeyProof
	for _, n := range numbers {
		p, err := a.proveGone(ctx, t, n)
		if err != nil {
			return nil, err
		}
		proofs = append(proofs, p)
	}
	p, err := a.proveClosed(ctx, t)
	return append(proofs, p), err
}

// generationsOf are the numbers of all generations. After the report was stored the records refuse, and the report tells.
func (a *KeyKeeping) generationsOf(ctx context.Context, t backup.Tenant, r backup.ShredReport) ([]int, error) {
	all, err := a.Keys.Generations(ctx, t)
	if err != nil && !backup.HasCode(err, backup.CodeDestroyed) {
		return nil, err
	}
	numbers := slices.Clone(r.Generations)
	for _, k := range all {
		numbers = append(numbers, k.Generation)
	}
	for _, p := range r.Holders {
		if p.Generation > 0 {
			numbers = append(numbers, p.Generation)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers), nil
}

// proveGone asks for a generation, which must not be released. That nobody could be asked proves nothing.
func (a *KeyKeeping) proveGone(ctx context.Context, t backup.Tenant, generation int) (backup.KeyProof, error) {
	use := keyUse(ctx, t, backup.PurposeVerify)
	use.Generation = generation
	lease, err := a.Keys.Obtain(ctx, t, use)
	proof := backup.KeyProof{Holder: fmt.Sprintf("generation %d", generation), Generation: generation}
	if err == nil {
		lease.Close()
		proof.Code, proof.Detail, proof.Hint = backup.CodeNotAllowed, "it was asked for and is still released", "destroy it at its holder by hand, then go on"
		return proof, nil
	}
	e := backup.AsError(err)
	switch e.Code {
	case backup.CodeDestroyed, backup.CodeRevoked, backup.CodeNotFound:
		proof.OK = true
	default:
		if !stateOfHolder(err) {
			return proof, err
		}
	}
	proof.Code, proof.Detail, proof.Hint = e.Code, e.Error(), e.Hint
	return proof, nil
}

// proveClosed tries to open the repository with all that is left, which is no key.
func (a *KeyKeeping) proveClosed(ctx context.Context, t backup.Tenant) (backup.KeyProof, error) {
	proof := backup.KeyProof{Holder: "repository"}
	lease, err := backup.NewLease(make([]byte, backup.EKeySize), 0, 0)
	if err != nil {
		return proof, err
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(t.ID, t.Repository.ID)
	if err != nil {
		return proof, err
	}
	r, err := a.Repositories.OpenRepository(ctx, t, password)
	switch {
	case err == nil:
		proof.Code, proof.Detail, proof.Hint = backup.CodeNotAllowed, "it opens with a key of zeroes", "please report this"
		return proof, r.Close(ctx)
	case backup.HasCode(err, backup.CodeWrongKey):
		proof.OK, proof.Code, proof.Detail = true, backup.CodeWrongKey, "it is there and does not open without the key"
	case backup.HasCode(err, backup.CodeNotFound):
		proof.OK, proof.Code, proof.Detail = true, backup.CodeNotFound, "there is none in the tenant's folder"
	default:
		var classified *backup.Error
		if !errors.As(err, &classified) || classified.Retryable {
			return proof, err
		}
		proof.Code, proof.Detail, proof.Hint = classified.Code, classified.Error(), classified.Hint
	}
	return proof, nil
}
