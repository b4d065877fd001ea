package activities

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// heartbeatEvery keeps the server informed while one large item goes on for long.
const heartbeatEvery = 5 * time.Second

// beat heartbeats what state returns until stop is called, and once more then. It is also the only way by which a cancellation arrives.
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
	return func() {
		close(done)
		running.Wait()
		activity.RecordHeartbeat(ctx, state())
	}
}

// Progress is what a shard's heartbeat shows, and what the next attempt knows of the one before.
type Progress struct {
	Open, Done, Failed int
	// Tries is how often each part failed for a passing reason, by account and service. An attempt that ended before it came to the part,
	// because its worker was killed or the key could not be had, is none of the part's.
	Tries map[string]int
}

// progress counts a shard's parts for its heartbeat and its result.
type progress struct {
	mu     sync.Mutex
	open   int
	counts ShardResult
	tries  map[string]int
}

// resumeProgress goes on with the tries of earlier attempts. Heartbeats that were lost only mean some tries more.
func resumeProgress(ctx context.Context, parts int) *progress {
	var before Progress
	if activity.HasHeartbeatDetails(ctx) && activity.GetHeartbeatDetails(ctx, &before) != nil {
		before = Progress{} // of a release that said something else
	}
	if before.Tries == nil {
		before.Tries = map[string]int{}
	}
	return &progress{open: parts, tries: before.Tries}
}

// tried counts another try of a part that failed, and returns how many there were.
func (p *progress) tried(part backup.RunPart) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries[keyOfPart(part)]++
	return p.tries[keyOfPart(part)]
}

// isLast tells whether a failure now is the part's last.
func (p *progress) isLast(part backup.RunPart) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries[keyOfPart(part)] == partAttempts-1
}

func keyOfPart(p backup.RunPart) string { return p.Account.ID + "/" + string(p.Service) }

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
	return Progress{Open: p.open, Done: p.counts.Done, Failed: p.counts.Failed, Tries: maps.Clone(p.tries)}
}
