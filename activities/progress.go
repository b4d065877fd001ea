package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

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

// heartbeat tells the server that the shard is alive, until stop is called.
func (p *progress) heartbeat(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for {
			p.mu.Lock()
			now := Progress{Open: p.open, Done: p.counts.Done, Failed: p.counts.Failed}
			p.mu.Unlock()
			activity.RecordHeartbeat(ctx, now)
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(done); wg.Wait() }
}
