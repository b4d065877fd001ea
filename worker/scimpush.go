package main

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The distances of the signals by which pushes start imports. An identity provider pushes people one by one, and in bursts of thousands.
const (
	pushQuiet    = 2 * time.Second  // this long nothing more must come
	pushLatest   = 30 * time.Second // after this it is signalled although more comes
	pushBackoff  = time.Second      // before the first repetition of a signal that failed
	pushSlowest  = time.Minute      // between two repetitions
	pushDrain    = 5 * time.Second  // for what is owed when the gateway stops
	pushDeadline = 15 * time.Second // for one signal
)

// pushSignals turns pushes into signals: of each directory at most one is under way, and one more is owed. What is lost with a gateway is
// made up for by the next scheduled import.
type pushSignals struct {
	signal        func(context.Context, backup.SCIMScope) error
	log           *zap.Logger
	quiet, latest time.Duration

	mu   sync.Mutex
	owed map[backup.SCIMScope]*owedSignal
	// work are the goroutines of directories with something owed; one each.
	work     sync.WaitGroup
	stopping chan struct{}
	stopped  bool
}

// owedSignal is what a directory is owed.
type owedSignal struct {
	first, last time.Time // of the pushes that no signal has told of
	pending     bool
}

func newPushSignals(signal func(context.Context, backup.SCIMScope) error, log *zap.Logger, quiet, latest time.Duration) *pushSignals {
	return &pushSignals{signal: signal, log: log, quiet: quiet, latest: latest, owed: map[backup.SCIMScope]*owedSignal{}, stopping: make(chan struct{})}
}

// pushed notes a push. It never waits.
func (p *pushSignals) pushed(scope backup.SCIMScope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	now := time.Now()
	o, known := p.owed[scope]
	if !known {
		o = &owedSignal{}
		p.owed[scope] = o
		p.work.Go(func() { p.deliver(scope, o) })
	}
	if !o.pending {
		o.first, o.pending = now, true
	}
	o.last = now
}

// deliver signals until nothing is owed any more.
func (p *pushSignals) deliver(scope backup.SCIMScope, o *owedSignal) {
	failures := 0
	for p.await(o, failures) {
		err := p.tell(scope)
		failures++
		if err == nil {
			failures = 0
			continue
		}
		p.log.Warn("a push cannot start its import yet", zap.String("tenant", scope.Tenant), zap.String("directory", string(scope.Directory)), zap.Error(err))
		p.mu.Lock()
		if p.stopped { // the drain's one try has failed
			delete(p.owed, scope)
			p.mu.Unlock()
			return
		}
		if !o.pending {
			o.first, o.last, o.pending = time.Now(), time.Now(), true
		}
		p.mu.Unlock()
	}
	// await has forgotten the directory.
}

// await waits until a signal is due, takes what it will tell of, and returns true; false when nothing is owed.
func (p *pushSignals) await(o *owedSignal, failures int) bool {
	for {
		p.mu.Lock()
		if !o.pending {
			p.forget(o)
			p.mu.Unlock()
			return false
		}
		due := min(time.Until(o.last.Add(p.quiet)), time.Until(o.first.Add(p.latest)))
		if failures > 0 {
			due = min(pushBackoff<<min(failures-1, 6), pushSlowest)
			failures = 0
		}
		if due <= 0 || p.stopped {
			o.pending = false
			p.mu.Unlock()
			return true
		}
		p.mu.Unlock()
		select {
		case <-time.After(due):
		case <-p.stopping:
		}
	}
}

// forget ends the bookkeeping of a directory; p.mu is held, so that no push comes between.
func (p *pushSignals) forget(o *owedSignal) {
	for scope, other := range p.owed {
		if other == o {
			delete(p.owed, scope)
		}
	}
}

func (p *pushSignals) tell(scope backup.SCIMScope) error {
	limit := pushDeadline
	select {
	case <-p.stopping:
		limit = pushDrain
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return p.signal(ctx, scope)
}

// drain signals at once what is owed, and returns when that is done.
func (p *pushSignals) drain() {
	p.mu.Lock()
	if !p.stopped {
		p.stopped = true
		close(p.stopping)
	}
	p.mu.Unlock()
	p.work.Wait()
}
