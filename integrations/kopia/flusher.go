package kopia

import (
	"context"
	"sync/atomic"
	"time"
)

// flusher calls a function at a steady distance while there is something to flush. What kopia has not flushed, kill -9 takes away;
// what it has flushed is found again by its hash and not stored twice.
type flusher struct {
	cancel context.CancelFunc
	ended  chan struct{}
	dirty  atomic.Bool
}

func startFlusher(ctx context.Context, every time.Duration, flush func(context.Context)) *flusher {
	ctx, cancel := context.WithCancel(ctx)
	f := &flusher{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if f.dirty.Swap(false) {
					flush(ctx)
				}
			}
		}
	}()
	return f
}

// wrote tells that there is something to flush.
func (f *flusher) wrote() { f.dirty.Store(true) }

// stop ends the flusher and waits until it has. It may be called more than once.
func (f *flusher) stop() {
	f.cancel()
	<-f.ended
}
