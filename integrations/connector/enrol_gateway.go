package connector

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	enrolPath = PathPrefix + "enroll"

	// A person enrols a connector now and then: what is more is a mistake or an enemy. The secret has 256 bits and is not to be guessed;
	// the limits keep strangers from making the store work.
	enrolPerRemote  = rate.Limit(0.5) // calls a second
	enrolBurst      = 10
	enrolPerGateway = rate.Limit(20)
	enrolGateway    = 40
	maxRemotes      = 4096
)

var (
	// failEnrolment is one answer for a secret that is unknown, expired or used, so that nothing is learned by trying. The connector that
	// holds the token knows when it expires.
	failEnrolment   = &Failure{FailEnrolment, "the enrolment token is not good: it is unknown, has expired, or was used before", "make a new one: holdfast connector enroll TENANT --name NAME"}
	failEnrolOften  = &Failure{FailEnrolOften, "too many enrolments are tried", "the connector tries again by itself"}
	failEnrolSigned = &Failure{FailMalformed, "the enrolment is not signed by the identity that it shows", "use a connector of this gateway's version"}
)

// enrolments admits new connectors: it lets each token be used once and tells the orchestrator who used it.
type enrolments struct {
	box Mailbox
	now func() time.Time
	log *zap.Logger
	to  Presence

	all     *rate.Limiter
	mu      sync.Mutex
	remotes map[netip.Prefix]*rate.Limiter
	pending map[party]backup.Enrolment // presented, and not reported yet
	wake    chan struct{}
}

func newEnrolments(box Mailbox, to Presence, now func() time.Time, log *zap.Logger) *enrolments {
	return &enrolments{box: box, now: now, log: log, to: to, all: rate.NewLimiter(enrolPerGateway, enrolGateway),
		remotes: map[netip.Prefix]*rate.Limiter{}, pending: map[party]backup.Enrolment{}, wake: make(chan struct{}, 1)}
}

// enrolReply says no more than that the token was used: whether the connector is pinned at once or waits for an administrator, its next
// hello tells it.
type enrolReply struct {
	Version int `json:"version"`
}

// serve uses a token. No connector is known yet by this call, so it is signed by the identity that it introduces, and the secret of the
// token stands for a name.
func (e *enrolments) serve(r *http.Request, body []byte) (any, error) {
	if !e.allow(r.RemoteAddr) {
		return nil, failEnrolOften
	}
	q, err := parseEnrolCall(body)
	if err != nil || r.URL.RawQuery != "" {
		return nil, failMalformed
	}
	defer clear(q.Secret)
	defer clear(body)
	if !q.signed() {
		return nil, failEnrolSigned
	}
	if !q.inWindow(e.now()) {
		return nil, failStale
	}
	used, err := e.box.UseEnrolment(r.Context(), backup.EnrolmentHash(q.Secret), q.Identity, q.Address, e.now())
	if backup.HasCode(err, backup.CodeDenied) || backup.HasCode(err, backup.CodeNotFound) {
		return nil, failEnrolment
	}
	if err != nil {
		return nil, err
	}
	e.log.Info("an enrolment token was used", zap.String("tenant", used.Tenant), zap.String("connector", used.Connector), zap.String("identity", q.Identity))
	e.put(used)
	if used.Tenant != q.Tenant || used.Connector != q.Connector {
		return nil, failEnrolment // a token that somebody put together anew; whoever waits for it hears that it was used
	}
	return enrolReply{Version: Version}, nil
}

// allow bounds the calls of one address (of one /64 in IPv6, which is one customer) and of all.
func (e *enrolments) allow(remote string) bool {
	at, _ := netip.ParseAddrPort(remote)
	bits := 32
	if at.Addr().Unmap().Is6() {
		bits = 64
	}
	from, _ := at.Addr().Unmap().Prefix(bits)
	return e.limiter(from).Allow() && e.all.Allow()
}

// limiter forgets who has been quiet when there are too many to remember; when all are busy, it forgets all, and the gateway's own limit
// holds.
func (e *enrolments) limiter(from netip.Prefix) *rate.Limiter {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.remotes[from]; l != nil {
		return l
	}
	if len(e.remotes) >= maxRemotes {
		maps.DeleteFunc(e.remotes, func(_ netip.Prefix, l *rate.Limiter) bool { return l.Tokens() >= enrolBurst })
	}
	if len(e.remotes) >= maxRemotes {
		clear(e.remotes)
	}
	l := rate.NewLimiter(enrolPerRemote, enrolBurst)
	e.remotes[from] = l
	return l
}

func (e *enrolments) put(used backup.Enrolment) {
	e.mu.Lock()
	e.pending[party{used.Tenant, used.Connector}] = used // an enrolment that was opened anew replaces the one before
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// run reports until ctx ends. What a killed gateway did not get to say, the enrolment's workflow finds in the store.
func (e *enrolments) run(ctx context.Context) { keepDelivering(ctx, e.wake, e.deliver) }

// deliver tries every pending report once and tells whether all were accepted. An orchestrator that knows of no such enrolment is not
// asked again.
func (e *enrolments) deliver(ctx context.Context) bool {
	e.mu.Lock()
	reports := slices.Collect(maps.Values(e.pending))
	e.mu.Unlock()
	all := true
	for _, used := range reports {
		err := e.report(ctx, used)
		fields := []zap.Field{zap.String("tenant", used.Tenant), zap.String("connector", used.Connector), zap.Error(err)}
		switch {
		case backup.HasCode(err, backup.CodeNotFound):
			e.log.Warn("nobody waits for an enrolment that was used", fields...)
		case err != nil:
			all = false
			e.log.Warn("an enrolment could not be reported yet", fields...)
			continue
		}
		e.done(used)
	}
	return all
}

func (e *enrolments) report(ctx context.Context, used backup.Enrolment) error {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	return e.to.EnrolmentPresented(ctx, used)
}

func (e *enrolments) done(used backup.Enrolment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if who := (party{used.Tenant, used.Connector}); e.pending[who].Identity == used.Identity {
		delete(e.pending, who)
	}
}
