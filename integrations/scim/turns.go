package scim

import (
	"context"
	"sync"
	"time"
)

// turns bounds how many requests are carried out at once, and how many wait.
type turns struct {
	all       chan struct{}
	waiting   chan struct{}
	perTenant int
	wait      time.Duration

	mu      sync.Mutex
	tenants map[string]*tenantTurns
}

// tenantTurns lives while a request of the tenant does.
type tenantTurns struct {
	slots chan struct{}
	users int
}

func newTurns(all, perTenant int, wait time.Duration) *turns {
	return &turns{all: make(chan struct{}, all), waiting: make(chan struct{}, 10*all), perTenant: perTenant, wait: wait, tenants: map[string]*tenantTurns{}}
}

// take waits for a turn among all; the caller gives it back.
func (t *turns) take(ctx context.Context) (func(), error) { return t.takeFrom(ctx, t.all) }

// takeOf waits for a turn of the tenant.
func (t *turns) takeOf(ctx context.Context, tenant string) (func(), error) {
	t.mu.Lock()
	of := t.tenants[tenant]
	if of == nil {
		of = &tenantTurns{slots: make(chan struct{}, t.perTenant)}
		t.tenants[tenant] = of
	}
	of.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if of.users--; of.users == 0 {
			delete(t.tenants, tenant)
		}
	}
	done, err := t.takeFrom(ctx, of.slots)
	if err != nil {
		leave()
		return nil, err
	}
	return func() { done(); leave() }, nil
}

func (t *turns) takeFrom(ctx context.Context, slots chan struct{}) (func(), error) {
	give := func() { <-slots }
	select {
	case slots <- struct{}{}:
		return give, nil
	default:
	}
	select {
	case t.waiting <- struct{}{}:
		defer func() { <-t.waiting }()
	default:
		return nil, busy(t.wait)
	}
	timer := time.NewTimer(t.wait)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
		return give, nil
	case <-timer.C:
		return nil, busy(t.wait)
	case <-ctx.Done():
		return nil, busy(t.wait)
	}
}
