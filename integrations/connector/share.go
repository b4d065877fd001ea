package connector

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Share brings the generation to the named connector, or to every pinned one that does not say it holds it: a connector that holds it seals it to
// the other one, and what it sealed is carried there. Nobody on the way can open it. The error names every connector that is
// left without, and why.
func (b *Broker) Share(ctx context.Context, t backup.Tenant, k backup.EKey, connector string, use backup.KeyUse) error {
	if k.Check == "" {
		return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "a generation is shared only once it is known by its check key"}
	}
	k.Tenant, use.Tenant, use.Generation = t.ID, t.ID, k.Generation
	if connector != "" {
		all, err := b.circle(ctx, t.ID)
		if err != nil {
			return err
		}
		if _, pinned := all.named(connector); !pinned {
			return errNotPinned(t.ID, connector)
		}
	}
	proofs, err := b.each(ctx, t.ID, func(c backup.ConnectorStatus) backup.KeyProof {
		var err error
		if connector == "" || connector == c.Name {
			err = b.shareWith(ctx, c, k, use)
		}
		return proofOf(c.Name, k.Generation, err, "holds it")
	})
	if err != nil {
		return err
	}
	return verdict(proofs, fmt.Sprintf("generation %d of the ekey did not reach every connector", k.Generation))
}

func (b *Broker) shareWith(ctx context.Context, c backup.ConnectorStatus, k backup.EKey, use backup.KeyUse) error {
	switch held := heldBy(c, k.Generation); {
	case held == k.Check:
		return nil
	case held != "":
		return errOtherKey(c.Name, k.Generation)
	case len(b.connected(circle{c})) == 0:
		return errHolderNotConnected(k.Tenant, c.Name)
	case !CheckAddress(k.Tenant, c.Name, c.Identity, c.Recipient):
		return errNoAddress(k.Tenant, c.Name)
	}
	deposit, err := b.sealedTo(ctx, c, k, use)
	if err != nil {
		return err
	}
	_, err = b.proof(ctx, k, use, backup.PurposeDeposit, c, deposit)
	return err
}

// sealedTo has any connector that holds the generation seal it to c.
func (b *Broker) sealedTo(ctx context.Context, c backup.ConnectorStatus, k backup.EKey, use backup.KeyUse) (*Deposit, error) {
	use.Purpose = backup.PurposeShare
	to := &Peer{Connector: c.Name, Identity: c.Identity, Signature: c.Recipient[recipientSize:]}
	got, err := b.askHolders(ctx, k, wish{use: use, check: k.Check, to: to, address: c.Recipient}, map[string]bool{c.Name: true})
	if err != nil {
		return nil, err
	}
	return &Deposit{Request: got.request, Answer: got.answer, Sender: got.from}, nil
}

func errNotPinned(tenant, connector string) error {
	return &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "the tenant " + tenant + " has no connector " + connector,
		Hint: "holdfast key status " + tenant + " lists them"}
}

// errNoAddress: it has not connected since it was pinned, or what the store has is not its own word.
func errNoAddress(tenant, connector string) error {
	return &backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Retryable: true,
		Message: "the connector " + connector + " of the tenant " + tenant + " has not said yet where an ekey can be sealed to it", Hint: "start it, or restart it"}
}
