package connector

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxAsked bounds the connectors that are asked at the same time when each is asked for itself.
const maxAsked = 8

// holderName is a connector in receipts, proofs and reports.
func holderName(connector string) string { return "connector " + connector }

// Reachable returns nil when a connector that may have the generation is connected, and CodeNotConnected otherwise. It asks for nothing.
func (b *Broker) Reachable(ctx context.Context, t backup.Tenant, k backup.EKey) error {
	k.Tenant = t.ID
	all, err := b.circle(ctx, t.ID)
	if err != nil {
		return err
	}
	around := b.connected(all)
	switch holders := all.holding(k); {
	case len(around) == 0:
		return errNotConnected(t.ID)
	case len(holders) > 0 && len(around.holding(k)) == 0:
		return errNobodyHolds(k, all, around)
	}
	return nil
}

// Release asks the tenant's connectors for the plain ekey; the caller wipes it. It writes no receipt.
// CodeNotConnected: none that has it is connected, or none answered. CodeDenied, CodeSealed, CodeRevoked, CodeDestroyed: a connector's own
// word. CodeBadResponse: the answers were not those of a pinned connector.
func (b *Broker) Release(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.KeyRelease, error) {
	if use.Tenant != t.ID || !releases(use.Purpose) {
		return backup.KeyRelease{}, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a key use names another tenant, or a purpose that releases nothing"}
	}
	k.Tenant, use.Generation = t.ID, k.Generation
	got, err := b.askHolders(ctx, k, wish{use: use, check: k.Check}, map[string]bool{})
	if err != nil {
		return backup.KeyRelease{}, err
	}
	return backup.KeyRelease{EKey: got.ekey, Holder: holderName(got.answer.Connector), Requester: b.id.Short(), Nonce: got.request.Nonce,
		At: b.o.Clock(), Until: got.request.expires()}, nil
}

// Create has the generation made by one connector, or finds it there, and returns it with its Check. When a connector says that it holds the
// number already, no other is asked: two of them would make two different keys.
func (b *Broker) Create(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) (backup.EKey, error) {
	k.Tenant = t.ID
	maker, err := b.maker(ctx, k)
	if err != nil {
		return k, err
	}
	check, err := b.proof(ctx, k, use, backup.PurposeCreate, maker, nil)
	if err != nil {
		return k, err
	}
	k.Check = check
	return k, nil
}

// maker is who holds the generation or, when nobody does, the first connected one by name, so that asking again asks the same.
func (b *Broker) maker(ctx context.Context, k backup.EKey) (backup.ConnectorStatus, error) {
	all, err := b.circle(ctx, k.Tenant)
	if err != nil {
		return backup.ConnectorStatus{}, err
	}
	around := b.connected(all)
	switch holders := all.holding(k); {
	case len(holders) == 0 && len(around) == 0:
		return backup.ConnectorStatus{}, errNotConnected(k.Tenant)
	case len(holders) == 0:
		return around[0], nil
	case len(around.holding(k)) == 0:
		return backup.ConnectorStatus{}, errNobodyHolds(k, all, around)
	}
	return around.holding(k)[0], nil
}

// proof asks one connector for something that it answers with a proof, and returns the check key. CodeWrongKey: it holds another ekey.
func (b *Broker) proof(ctx context.Context, k backup.EKey, use backup.KeyUse, purpose backup.KeyPurpose, from backup.ConnectorStatus, deposit *Deposit) (check string, err error) {
	use.Tenant, use.Generation, use.Purpose = k.Tenant, k.Generation, purpose
	got, err := b.askNamed(ctx, from, wish{use: use, check: k.Check, deposit: deposit})
	if err != nil {
		return "", err
	}
	if k.Check != "" && got.answer.Proof.Check != k.Check {
		return "", errOtherKey(from.Name, k.Generation)
	}
	return got.answer.Proof.Check, nil
}

// Prove asks every pinned connector for itself. One that is not connected or refuses is a proof that is not OK.
func (b *Broker) Prove(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error) {
	k.Tenant = t.ID
	return b.each(ctx, t.ID, func(c backup.ConnectorStatus) backup.KeyProof {
		_, err := b.proof(ctx, k, use, backup.PurposeDrill, c, nil)
		return proofOf(c.Name, k.Generation, err, "signed the challenge with this generation's check key")
	})
}

// each runs ask for every pinned connector, a few at a time, and returns what came of it in their order.
func (b *Broker) each(ctx context.Context, tenant string, ask func(c backup.ConnectorStatus) backup.KeyProof) ([]backup.KeyProof, error) {
	all, err := b.circle(ctx, tenant)
	if err != nil {
		return nil, err
	}
	proofs := make([]backup.KeyProof, len(all))
	slots := make(chan struct{}, maxAsked)
	var asking sync.WaitGroup
	for i, c := range all {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			proofs[i] = ask(c)
		})
	}
	asking.Wait()
	return proofs, ctx.Err()
}

// proofOf is what one connector said; detail is for when it did what it was asked.
func proofOf(connector string, generation int, err error, detail string) backup.KeyProof {
	p := backup.KeyProof{Holder: holderName(connector), Generation: generation, OK: err == nil, Detail: detail}
	if err != nil {
		e := backup.AsError(err)
		p.Code, p.Detail, p.Hint = e.Code, e.Error(), e.Hint
	}
	return p
}

// Rewrap is not for connectors: they keep the ekey itself.
func (b *Broker) Rewrap(_ context.Context, _ backup.Tenant, k backup.EKey, _ backup.KeyUse) (backup.EKey, error) {
	return k, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Message: "connectors keep the ekey itself, so there is nothing to wrap anew",
		Hint: "make a new generation instead: holdfast key rotate"}
}

// Retire has every pinned connector give the generation up. A connector keeps the newest that it holds, whoever asks; a generation that was
// never activated may therefore stay there until there is a newer one, and opens nothing.
func (b *Broker) Retire(ctx context.Context, t backup.Tenant, k backup.EKey, use backup.KeyUse) error {
	use.Tenant, use.Generation, use.Purpose = t.ID, k.Generation, backup.PurposeRetire
	proofs, err := b.each(ctx, t.ID, func(c backup.ConnectorStatus) backup.KeyProof {
		_, err := b.askNamed(ctx, c, wish{use: use, check: k.Check})
		if k.State == backup.EKeyPending && backup.HasCode(err, backup.CodeNotAllowed) {
			err = nil
		}
		return proofOf(c.Name, k.Generation, err, "gave the generation up")
	})
	if err != nil {
		return err
	}
	return verdict(proofs, fmt.Sprintf("generation %d was not retired everywhere", k.Generation))
}

// Destroy has every pinned connector destroy every generation that it holds, the given ones among them.
func (b *Broker) Destroy(ctx context.Context, t backup.Tenant, ks []backup.EKey, use backup.KeyUse) ([]backup.KeyProof, error) {
	use.Tenant, use.Generation, use.Purpose = t.ID, 0, backup.PurposeDestroy
	newest := 0
	for _, k := range ks {
		newest = max(newest, k.Generation)
	}
	return b.each(ctx, t.ID, func(c backup.ConnectorStatus) backup.KeyProof {
		got, err := b.askNamed(ctx, c, wish{use: use})
		if err != nil {
			return proofOf(c.Name, newest, err, "")
		}
		return proofOf(c.Name, newest, nil, fmt.Sprintf("destroyed the generations %v; copies that were exported are not reached", got.answer.Done.Generations))
	})
}

// verdict is one error for all connectors that did not do what they were asked; nil when there is none. It counts as what may pass by
// itself only when nothing else is among it.
func verdict(proofs []backup.KeyProof, what string) error {
	failed := slices.DeleteFunc(slices.Clone(proofs), func(p backup.KeyProof) bool { return p.OK })
	if len(failed) == 0 {
		return nil
	}
	heaviest := failed[0]
	var said []string
	for _, p := range failed {
		said = append(said, p.Holder+": "+p.Detail)
		if heaviest.Code == backup.CodeNotConnected || heaviest.Code == backup.CodeSealed {
			heaviest = p
		}
	}
	return &backup.Error{Code: heaviest.Code, Fault: backup.FaultCustomer, Hint: heaviest.Hint, Message: what + " (" + strings.Join(said, "; ") + ")",
		Retryable: heaviest.Code == backup.CodeNotConnected || heaviest.Code == backup.CodeSealed || heaviest.Code == backup.CodeBadResponse || heaviest.Code == backup.CodeInternal}
}

func errOtherKey(connector string, generation int) error {
	return &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer,
		Message: fmt.Sprintf("the connector %s holds another ekey as generation %d", connector, generation),
		Hint:    "put its key file back from the right copy, or enrol it anew"}
}
