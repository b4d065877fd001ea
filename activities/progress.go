package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// heartbeatEvery keeps the server informed while one large item goes on for long.
const heartbeatEvery = 5 * time.Second

// beat heartbeats what state returns until stop is called. It is also the only way by which a cancellation arrives.
func beat(ctx context.Context, state func() any) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for {
			activity.RecordHeartbeat(ctx, state())
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); running.Wait() }
}

// Progress is what a shard's heartbeat shows.
type Progress struct {
	Open, Done, Failed int
}

// progress counts a shard's parts for its heartbeat and its result.
type progress struct {
	mu     sync.Mutex
	open   int
	counts ShardResult
}

func newProgress(parts int) *progress { return &progress{open: parts} }

func (p *progress) finished(s backup.PartState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	switch s {
	case backup.PartDone:
		p.counts.Done++
	case backup.PartNoService:
		p.counts.NoService++
	default:
		p.counts.Failed++
	}
}

func (p *progress) result() ShardResult {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

func (p *progress) state() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Progress{Open: p.open, Done: p.counts.Done, Failed: p.counts.Failed}
}
