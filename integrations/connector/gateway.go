package connector

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// GatewayOptions may be left zero.
type GatewayOptions struct {
	// PollFor is how long a poll waits for a request; default 25 s, below the idle time-outs of usual proxies.
	PollFor time.Duration
	// LostAfter is after how long unseen a connector counts as lost; default DefaultLostAfter. More than PollFor.
	LostAfter time.Duration
	// ReportEvery is the distance at which the presence of a connector that stays is reported again; default 5 min.
	ReportEvery time.Duration
	Clock       func() time.Time
	Log         *zap.Logger
}

const (
	maxPolls    = 4                // waiting polls of one connector on one gateway
	maxHandOut  = 8                // requests in one poll's answer
	readTime    = 10 * time.Second // for a call's body
	writeTime   = 10 * time.Second // for an answer, after a poll's wait
	refusalsPer = 10               // refused calls logged a second, so that an enemy cannot fill the log's disk
	callsPer    = 1000             // calls of one connector a second on one gateway; at once twice as many
)

// Gateway carries key requests to connectors and their answers back. It is an http.Handler for PathPrefix, and Run must run
// beside it. It holds nothing that a restart or another gateway would miss: sessions, nonces and requests are in the mailbox.
type Gateway struct {
	box        Mailbox
	o          GatewayOptions
	refusals   *rate.Limiter
	reports    *outbox
	enrolments *enrolments

	mu       sync.Mutex
	polls    map[party]int
	calls    map[party]*rate.Limiter // of pinned connectors only
	drain    sync.Once
	draining chan struct{}
}

// party is one connector of one tenant.
type party struct{ tenant, connector string }

// caller is a party that proved its identity.
type caller struct {
	party
	identity string
}

// NewGateway makes a gateway that reports changes of presence to p.
func NewGateway(box Mailbox, p Presence, o GatewayOptions) *Gateway {
	if o.PollFor <= 0 {
		o.PollFor = 25 * time.Second
	}
	if o.LostAfter <= 0 {
		o.LostAfter = DefaultLostAfter
	}
	if o.ReportEvery <= 0 {
		o.ReportEvery = 5 * time.Minute
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Gateway{
		box: box, o: o, refusals: rate.NewLimiter(refusalsPer, 5*refusalsPer), reports: newOutbox(p, o.ReportEvery, o.Log),
		enrolments: newEnrolments(box, p, o.Clock, o.Log),
		polls:      map[party]int{}, calls: map[party]*rate.Limiter{}, draining: make(chan struct{}),
	}
}

// Drain ends the polls that wait, so that the HTTP server can stop at once; give it to http.Server.RegisterOnShutdown.
func (g *Gateway) Drain() { g.drain.Do(func() { close(g.draining) }) }

// ServeHTTP refuses, or does, one call. A refusal is logged here and nowhere else.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reply, err := g.serve(w, r)
	if err == nil {
		writeJSON(w, http.StatusOK, reply)
		return
	}
	if r.Context().Err() != nil {
		return // nobody is there any more
	}
	if backup.HasCode(err, backup.CodeNotFound) {
		err = failNotPinned // taken out of the tenant's description a moment ago
	}
	var f *Failure
	if !errors.As(err, &f) {
		g.o.Log.Error("a connector could not be served", zap.String("path", r.URL.Path), zap.Error(err))
		f = failStore
	} else if g.refusals.Allow() {
		g.o.Log.Warn("a connector's call was refused", zap.String("code", string(f.Code)), zap.String("remote", r.RemoteAddr),
			zap.String("path", cut(r.URL.Path)), zap.String("tenant", cut(r.Header.Get(headerTenant))), zap.String("connector", cut(r.Header.Get(headerConnector))))
	}
	f.write(w)
}

// cut keeps what a stranger sent from filling the log.
func cut(s string) string { return s[:min(len(s), 64)] }

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) (any, error) {
	do := g.endpoint(r.URL.Path)
	enrolling := r.URL.Path == enrolPath
	if do == nil && !enrolling || r.Method != http.MethodPost {
		return nil, failNoPath
	}
	body, err := g.readBody(w, r)
	if err != nil {
		return nil, err
	}
	if enrolling {
		return g.enrolments.serve(r, body) // whoever enrols is not pinned yet
	}
	who, err := g.authenticate(r, body)
	if err != nil {
		return nil, err
	}
	return do(r.Context(), who, body)
}

func (g *Gateway) endpoint(path string) func(context.Context, caller, []byte) (any, error) {
	switch path {
	case helloPath:
		return g.hello
	case pollPath:
		return g.poll
	case answerPath:
		return g.answer
	case byePath:
		return g.bye
	}
	return nil
}

// readBody bounds size and time of the body, and lifts the read deadline again: while it stands, its passing would look like
// the client going away in the middle of a long poll.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(readTime)) // a writer that cannot is bounded by its server
	_ = conn.SetWriteDeadline(time.Now().Add(readTime + g.o.PollFor + writeTime))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
	_ = conn.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, failTooLarge
	}
	if err != nil {
		return nil, failMalformed
	}
	return body, nil
}

// authenticate proves that the call comes from a pinned connector, now, and for the first time. The nonce is used only after
// the signature held, so that strangers cannot write into the store.
func (g *Gateway) authenticate(r *http.Request, body []byte) (caller, error) {
	c, err := parseCall(r, body)
	if err != nil {
		return caller{}, failMalformed
	}
	pinned, err := g.box.PinnedConnector(r.Context(), c.Tenant, c.Connector)
	if backup.HasCode(err, backup.CodeNotFound) {
		return caller{}, failNotPinned
	}
	if err != nil {
		return caller{}, err
	}
	if !verifies(pinned.Identity, c.statement(), c.Signature) {
		return caller{}, failNotPinned
	}
	if !c.inWindow(g.o.Clock()) {
		return caller{}, failStale
	}
	who := party{c.Tenant, c.Connector}
	if !g.maySpeak(who) {
		return caller{}, failTooFast
	}
	fresh, err := g.box.UseNonce(r.Context(), "call/"+c.Tenant+"/"+c.Connector, c.Nonce, c.remembered())
	if err != nil {
		return caller{}, err
	}
	if !fresh {
		return caller{}, failReplayed
	}
	return caller{who, pinned.Identity}, nil
}

// maySpeak bounds the calls of each pinned connector, so that one that went wild does not keep the others from the store.
func (g *Gateway) maySpeak(who party) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls[who] == nil {
		g.calls[who] = rate.NewLimiter(callsPer, 2*callsPer)
	}
	return g.calls[who].Allow()
}

// hello is what a connector tells of itself.
type hello struct {
	Address []byte           `json:"address"` // see KeyFile.Address
	Holds   []backup.HeldKey `json:"holds"`
}

// parseHello checks that the address is really that of who calls.
func parseHello(body []byte, who caller) (hello, error) {
	var h hello
	if decode(body, maxMessage, &h) != nil || len(h.Holds) > maxHeld || !CheckAddress(who.tenant, who.connector, who.identity, h.Address) {
		return hello{}, errMalformed
	}
	for _, held := range h.Holds {
		if !isGeneration(held.Generation) || !isIdentity(held.Check) {
			return hello{}, errMalformed
		}
	}
	return h, nil
}

// helloReply tells a connector how the gateway wants to be polled.
type helloReply struct {
	Version int `json:"version"`
	// Poll is how long a poll waits, in milliseconds.
	Poll int64 `json:"poll"`
}

// hello keeps what the connector tells of itself and begins or resumes a session, which is reported even when nothing changed: the last
// report may have been lost.
func (g *Gateway) hello(ctx context.Context, who caller, body []byte) (any, error) {
	self, err := parseHello(body, who)
	if err != nil {
		return nil, failMalformed
	}
	if err := g.box.DescribeConnector(ctx, who.tenant, who.connector, backup.ConnectorSelf{Recipient: self.Address, Holds: self.Holds}); err != nil {
		return nil, err
	}
	p, _, err := g.box.MarkConnectorSeen(ctx, who.tenant, who.connector, g.o.Clock())
	if err != nil {
		return nil, err
	}
	g.reports.put(p)
	return helloReply{Version: Version, Poll: g.o.PollFor.Milliseconds()}, nil
}

// pollReply hands requests out, in their wire form.
type pollReply struct {
	Requests []json.RawMessage `json:"requests"`
}

func (g *Gateway) poll(ctx context.Context, who caller, _ []byte) (any, error) {
	if !g.enterPoll(who.party) {
		return nil, failTooMany
	}
	defer g.leavePoll(who.party)
	p, changed, err := g.box.MarkConnectorSeen(ctx, who.tenant, who.connector, g.o.Clock())
	if err != nil {
		return nil, err
	}
	if changed || g.reports.due(p) {
		g.reports.put(p)
	}
	rows, err := g.awaitRequests(ctx, who.party)
	if err != nil {
		return nil, err
	}
	reply := pollReply{Requests: make([]json.RawMessage, len(rows))}
	for i, row := range rows {
		reply.Requests[i] = row.Body
	}
	return reply, nil
}

// awaitRequests looks often at first, because requests come in bursts, and then less so: 25 ms growing to 250 ms.
func (g *Gateway) awaitRequests(ctx context.Context, who party) ([]backup.KeyRequest, error) {
	over := time.NewTimer(g.o.PollFor)
	defer over.Stop()
	for pause := newPause(25*time.Millisecond, 250*time.Millisecond); ; {
		rows, err := g.box.TakeKeyRequests(ctx, who.tenant, who.connector, g.o.Clock(), maxHandOut)
		if len(rows) > 0 || err != nil {
			return rows, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-over.C:
			return nil, nil
		case <-g.draining:
			return nil, failGoingAway
		case <-time.After(pause.step()):
		}
	}
}

func (g *Gateway) enterPoll(who party) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.polls[who] >= maxPolls {
		return false
	}
	g.polls[who]++
	return true
}

func (g *Gateway) leavePoll(who party) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.polls[who]--; g.polls[who] == 0 {
		delete(g.polls, who)
	}
}

// answer keeps a connector's answer for the worker that waits. Only the worker can judge it: the gateway does not hold the
// request that the answer's signature covers.
func (g *Gateway) answer(ctx context.Context, who caller, body []byte) (any, error) {
	a, err := ParseAnswer(body)
	if err != nil {
		return nil, failMalformed
	}
	if a.Tenant != who.tenant || a.Connector != who.connector {
		return nil, failOtherTenant
	}
	err = g.box.PutKeyAnswer(ctx, backup.KeyAnswer{RequestID: a.Nonce, Connector: who.connector, Body: body, At: g.o.Clock()})
	if backup.HasCode(err, backup.CodeNotFound) {
		return nil, failGone
	}
	return struct{}{}, err
}

// bye ends the session of a connector that stops.
func (g *Gateway) bye(ctx context.Context, who caller, _ []byte) (any, error) {
	p, changed, err := g.box.MarkConnectorGone(ctx, who.tenant, who.connector, g.o.Clock())
	if changed {
		g.reports.put(p)
	}
	return struct{}{}, err
}
