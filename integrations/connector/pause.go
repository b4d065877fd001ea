package connector

import (
	"context"
	"math/rand/v2"
	"time"
)

// pause is a wait that grows by half each time, from least to most.
type pause struct {
	next, most time.Duration
	// jitter spreads the waits of many: each is drawn between half and all of what it would be.
	jitter bool
}

func newPause(least, most time.Duration) *pause { return &pause{next: least, most: most} }

// step is how long to wait this time.
func (p *pause) step() time.Duration {
	d := p.next
	p.next = min(p.next*3/2, p.most)
	if p.jitter {
		d = d/2 + rand.N(d/2+1)
	}
	return d
}

// wait returns early, with the context's error, when the context ends.
func (p *pause) wait(ctx context.Context) error {
	timer := time.NewTimer(p.step())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
