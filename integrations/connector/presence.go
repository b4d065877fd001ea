package connector

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Presence is told when a connector came or went. A report may come more than once, and carries a session, so that a late one
// is recognised. An error means that it was not accepted; it is told again.
type Presence interface {
	ConnectorChanged(ctx context.Context, p backup.ConnectorPresence) error
	// EnrolmentPresented tells that a connector used its token. CodeNotFound: nobody waits for it, and it is not told again.
	EnrolmentPresented(ctx context.Context, e backup.Enrolment) error
}

const (
	sweepEvery  = 5 * time.Second
	reportTime  = 10 * time.Second // for one report
	reportLeast = 100 * time.Millisecond
	reportMost  = 10 * time.Second // between two tries

	// lostAtStart is how far back a gateway that starts reports again who is not connected.
	lostAtStart = 7 * 24 * time.Hour
)

// Run reports changes, finds connectors that were lost and removes requests that expired, until ctx ends. Then it drains.
func (g *Gateway) Run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { g.reports.run(ctx) })
	running.Go(func() { g.enrolments.run(ctx) })
	g.sweep(ctx)
	g.Drain()
	running.Wait()
}

// sweep gives connectors a full LostAfter to show themselves after its start and after every failure of the store: an hour
// without a gateway is no reason to report all of them lost, an instant before they come back.
func (g *Gateway) sweep(ctx context.Context) {
	tick := time.NewTicker(min(sweepEvery, g.o.LostAfter/4))
	defer tick.Stop()
	trusted := g.o.Clock().Add(g.o.LostAfter)
	var retold time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := g.o.Clock()
		if err := g.sweepOnce(ctx, now, !now.Before(trusted)); err != nil && ctx.Err() == nil {
			trusted = now.Add(g.o.LostAfter)
			g.o.Log.Warn("sweeping the mailbox failed", zap.Error(err))
			continue
		}
		if now.Sub(retold) >= g.o.ReportEvery && g.retell(ctx, now, retold) {
			retold = now
		}
	}
}

func (g *Gateway) sweepOnce(ctx context.Context, now time.Time, trusted bool) error {
	if _, err := g.box.SweepKeyRequests(ctx, now); err != nil || !trusted {
		return err
	}
	lost, err := g.box.MarkConnectorsLost(ctx, now.Add(-g.o.LostAfter), now)
	for _, p := range lost {
		g.o.Log.Info("connector lost", zap.String("tenant", p.Tenant), zap.String("connector", p.Connector), zap.Int64("session", p.Session))
		g.reports.put(p)
	}
	return err
}

// retell reports again who is not connected, at the start and whenever ReportEvery has passed, of those that were lost since the last time
// but one: whichever gateway marked them as lost may have died before it could say so. A report that came before is recognised by its session.
func (g *Gateway) retell(ctx context.Context, now, last time.Time) bool {
	since := now.Add(-2*g.o.ReportEvery - g.o.LostAfter)
	if last.IsZero() {
		since = now.Add(-lostAtStart)
	}
	absent, err := g.box.AbsentConnectors(ctx, since, now)
	if err != nil {
		g.o.Log.Warn("who is not connected could not be looked up", zap.Error(err))
		return false
	}
	for _, p := range absent {
		g.reports.put(p)
	}
	return true
}

// outbox holds, for each connector, the newest report that was not accepted yet. Only pinned connectors get into it.
type outbox struct {
	to    Presence
	every time.Duration
	log   *zap.Logger
	wake  chan struct{}

	mu       sync.Mutex
	pending  map[party]backup.ConnectorPresence
	reported map[party]time.Time // when a report was last put
}

func newOutbox(to Presence, every time.Duration, log *zap.Logger) *outbox {
	return &outbox{to: to, every: every, log: log, wake: make(chan struct{}, 1),
		pending: map[party]backup.ConnectorPresence{}, reported: map[party]time.Time{}}
}

func (o *outbox) put(p backup.ConnectorPresence) {
	who := party{p.Tenant, p.Connector}
	o.mu.Lock()
	if old, ok := o.pending[who]; !ok || !older(p, old) {
		o.pending[who] = p
	}
	o.reported[who] = p.At
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// older compares two reports of one connector: by session, and within a session connected comes before gone.
func older(a, b backup.ConnectorPresence) bool {
	if a.Session != b.Session {
		return a.Session < b.Session
	}
	return a.Connected && !b.Connected
}

// due tells whether the connector's presence was not reported for a while.
func (o *outbox) due(p backup.ConnectorPresence) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return p.At.Sub(o.reported[party{p.Tenant, p.Connector}]) >= o.every
}

func (o *outbox) run(ctx context.Context) { keepDelivering(ctx, o.wake, o.deliver) }

// keepDelivering delivers whenever it is woken, until ctx ends. What is not accepted stays, and is tried again with growing distance.
func keepDelivering(ctx context.Context, wake <-chan struct{}, deliver func(context.Context) (all bool)) {
	again := newPause(reportLeast, reportMost)
	for {
		var retry <-chan time.Time
		if deliver(ctx) {
			again = newPause(reportLeast, reportMost)
		} else {
			retry = time.After(again.step())
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-retry:
		}
	}
}

// deliver tries every pending report once and tells whether all were accepted.
func (o *outbox) deliver(ctx context.Context) bool {
	o.mu.Lock()
	reports := slices.Collect(maps.Values(o.pending))
	o.mu.Unlock()
	all := true
	for _, p := range reports {
		if err := o.report(ctx, p); err != nil {
			all = false
			o.log.Warn("a connector's presence could not be reported yet", zap.String("tenant", p.Tenant), zap.String("connector", p.Connector), zap.Error(err))
			continue
		}
		o.done(p)
	}
	return all
}

func (o *outbox) report(ctx context.Context, p backup.ConnectorPresence) error {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	return o.to.ConnectorChanged(ctx, p)
}

// done forgets the report, unless a newer one has come meanwhile.
func (o *outbox) done(p backup.ConnectorPresence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if who := (party{p.Tenant, p.Connector}); o.pending[who] == p {
		delete(o.pending, who)
	}
}
