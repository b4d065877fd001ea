package connector

import (
	"context"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// changesKeys tells whether a purpose changes what the connector holds.
func changesKeys(p backup.KeyPurpose) bool {
	switch p {
	case backup.PurposeCreate, backup.PurposeDeposit, backup.PurposeRetire, backup.PurposeDestroy:
		return true
	}
	return false
}

// act does what a request that was judged asks for.
func (a *Agent) act(ctx context.Context, r Request) Answer {
	switch r.Purpose {
	case backup.PurposeCreate:
		return a.create(ctx, r)
	case backup.PurposeDrill:
		return a.prove(ctx, r)
	case backup.PurposeShare:
		return a.share(ctx, r)
	case backup.PurposeDeposit:
		return a.deposit(ctx, r)
	case backup.PurposeRetire:
		return a.retire(ctx, r)
	case backup.PurposeDestroy:
		return a.destroy(ctx, r)
	}
	return a.release(ctx, r)
}

// release seals the ekey to the asking process. The receipt is on disk before anything is sealed for anybody else to see.
func (a *Agent) release(ctx context.Context, r Request) Answer {
	return a.sealed(ctx, r, func(generation int) error { return a.releases.append(a.lineOf(r, generation)) })
}

// share seals the ekey to another connector of the tenant, whose own word it is that the recipient key is its.
func (a *Agent) share(ctx context.Context, r Request) Answer {
	if r.To.Identity == a.key.Identity() || !CheckAddress(r.Tenant, r.To.Connector, r.To.Identity, slices.Concat(r.Recipient, r.To.Signature)) {
		return Answer{Refusal: denied("the recipient key is not that of the connector which is named")}
	}
	return a.sealed(ctx, r, func(generation int) error {
		return a.events.append(EventLine{ReleaseLine: a.lineOf(r, generation), To: r.To.Connector, ToIdentity: r.To.Identity})
	})
}

func (a *Agent) sealed(ctx context.Context, r Request, record func(generation int) error) Answer {
	held, err := a.keys.ekey(ctx, r.Generation)
	if err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	defer clear(held.ekey)
	if r.Check != "" && r.Check != held.Check {
		return Answer{Refusal: &Refusal{Code: backup.CodeNotFound, Reason: "the connector holds another ekey under this number"}}
	}
	if err := record(held.Number); err != nil {
		a.log.Error("the log of releases cannot be written", zap.Error(err))
		return Answer{Refusal: denied("the connector cannot write its release log")}
	}
	release, err := sealFor(r, held.ekey, held.Number)
	if err != nil {
		return Answer{Refusal: denied("the recipient key is not good")}
	}
	return Answer{Release: release}
}

// create makes the generation unless it is held, and proves it.
func (a *Agent) create(ctx context.Context, r Request) Answer {
	if err := a.keys.create(ctx, r.Generation); err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	return a.changed(r, a.prove(ctx, r))
}

// prove signs with the check key of the generation.
func (a *Agent) prove(ctx context.Context, r Request) Answer {
	held, err := a.keys.ekey(ctx, r.Generation)
	if err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	defer clear(held.ekey)
	proof, err := proveTo(r, a.key, held)
	if err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	return Answer{Proof: proof}
}

// deposit keeps what another connector sealed to this one, once everything about it was checked, and proves it.
func (a *Agent) deposit(ctx context.Context, r Request) Answer {
	if refusal := a.judgeDeposit(r); refusal != nil {
		return Answer{Refusal: refusal}
	}
	ekey, err := a.key.sealed.open(r.Deposit.Request, *r.Deposit.Answer.Release)
	if err != nil {
		return Answer{Refusal: denied("what was handed over does not open")}
	}
	check, err := checkOf(ekey, r.Tenant, r.Generation)
	if err != nil || check != r.Check {
		clear(ekey)
		return Answer{Refusal: denied("what was handed over is another ekey than the one that was announced")}
	}
	if err := a.keys.take(ctx, r.Generation, ekey, check); err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	return a.changed(r, a.prove(ctx, r))
}

// judgeDeposit: the share was asked for by a pinned worker, for this connector and this very ekey, a moment ago; and it was answered by
// the connector that is named.
func (a *Agent) judgeDeposit(r Request) *Refusal {
	share := r.Deposit.Request
	switch {
	case !slices.Contains(a.key.Workers, share.Requester) || !share.signed():
		return denied("the share was not asked for by a pinned worker")
	case share.Tenant != r.Tenant || share.Generation != r.Generation || share.Check != r.Check:
		return denied("the share is of another ekey")
	case share.To.Connector != a.key.Connector || share.To.Identity != a.key.Identity() || !slices.Equal(share.Recipient, a.key.sealed.public()):
		return denied("the share is for another connector")
	case !share.expires().Add(clockSkew).After(a.now()):
		return denied("the share has expired")
	case !r.Deposit.Answer.answers(share, r.Deposit.Sender) || !r.Deposit.Answer.suits(share):
		return denied("the share was not answered by the connector that is named")
	}
	return nil
}

// retire gives an old generation up.
func (a *Agent) retire(ctx context.Context, r Request) Answer {
	if err := a.keys.retire(ctx, r.Generation); err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	return a.changed(r, Answer{Done: &Done{Generations: []int{r.Generation}}})
}

// destroy gives every generation up. It is on record before it begins.
func (a *Agent) destroy(ctx context.Context, r Request) Answer {
	if refusal := a.record(r); refusal != nil {
		return Answer{Refusal: refusal}
	}
	destroyed, err := a.keys.destroy(ctx)
	if err != nil {
		return Answer{Refusal: a.refusalOf(err)}
	}
	a.log.Warn("every generation of the ekey was destroyed", zap.String("generations", fmt.Sprint(destroyed)))
	return Answer{Done: &Done{Generations: destroyed}}
}

// changed records a change that was made; word stands unless it cannot be recorded, and then the worker asks again.
func (a *Agent) changed(r Request, word Answer) Answer {
	if refusal := a.record(r); refusal != nil {
		return Answer{Refusal: refusal}
	}
	return word
}

func (a *Agent) record(r Request) *Refusal {
	if err := a.events.append(EventLine{ReleaseLine: a.lineOf(r, r.Generation)}); err != nil {
		a.log.Error("the log of events cannot be written", zap.Error(err))
		return denied("the connector cannot write its log of events")
	}
	return nil
}

func (a *Agent) lineOf(r Request, generation int) ReleaseLine {
	return ReleaseLine{
		Connector: a.key.Connector, Tenant: r.Tenant, Generation: generation, Purpose: r.Purpose,
		WorkflowID: r.WorkflowID, RunID: r.RunID, Attempt: r.Attempt, Requester: r.Requester, Nonce: r.Nonce,
		At: a.now(), Until: r.expires(),
	}
}
