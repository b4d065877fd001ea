package connector

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// AgentOptions sets up an agent. Keys and Folder are needed.
type AgentOptions struct {
	// Keys is the open key file; the caller closes it after the agent.
	Keys *KeyStore
	// Folder (mode 0700, made when absent) keeps releases.jsonl, the connector's own receipts; events.jsonl, what else became of the
	// ekey; nonces, what it must not answer twice; and status.json, see ReadStatus.
	Folder string
	// Policy is the customer's; nil: every purpose but destroy, at any time. SetPolicy exchanges it.
	Policy *Policy
	// Memory is shown in the status: whether the process's memory is kept from swap.
	Memory string
	Clock  func() time.Time
	Log    *zap.Logger
}

const (
	releasesFile = "releases.jsonl"
	eventsFile   = "events.jsonl"
	noncesFile   = "nonces"

	// clockSkew is how far a worker's clock may be ahead of or behind the connector's.
	clockSkew = 10 * time.Second
	// maxServing bounds the requests that are served at once; more wait at the gateway.
	maxServing = 8
	// stopTime is what answers under way and the farewell may take after Run's context ended.
	stopTime = 5 * time.Second

	// retellTime is what telling the gateway of a change may hold up the answer.
	retellTime = 3 * time.Second

	retryLeast = 200 * time.Millisecond
	retryMost  = 15 * time.Second
)

// Agent holds a tenant's ekey on the customer's ground and releases it, request by request. It listens on nothing.
type Agent struct {
	keys     *KeyStore
	key      *KeyFile // who the connector is
	now      func() time.Time
	log      *zap.Logger
	client   *client
	nonces   *replayGuard
	releases *lineLog
	events   *lineLog
	status   statusBoard
	memory   string

	mu     sync.Mutex
	policy *Policy
	left   hourly // when the ekey left
}

// NewAgent opens the agent's files. Close closes them.
func NewAgent(o AgentOptions) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	self := o.Keys.self()
	a := &Agent{keys: o.Keys, key: self, now: o.Clock, memory: o.Memory, client: newClient(self, o.Clock),
		log: o.Log.With(zap.String("connector", self.Connector), zap.String("tenant", self.Tenant))}
	a.status.path = filepath.Join(o.Folder, statusFile)
	if err := a.SetPolicy(o.Policy); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fileError("the connector's folder could not be made", o.Folder, err)
	}
	if err := a.open(o.Folder); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) open(folder string) (err error) {
	if a.nonces, err = openReplayGuard(filepath.Join(folder, noncesFile), a.now()); err != nil {
		return fileError("the record of seen requests could not be opened", folder, err)
	}
	if a.releases, err = openLineLog(filepath.Join(folder, releasesFile)); err != nil {
		return fileError("the release log could not be opened", folder, err)
	}
	if a.events, err = openLineLog(filepath.Join(folder, eventsFile)); err != nil {
		return fileError("the log of events could not be opened", folder, err)
	}
	return nil
}

// SetPolicy exchanges the customer's policy; nil is the default. It may be called at any time.
func (a *Agent) SetPolicy(p *Policy) error {
	if p == nil {
		p = &Policy{}
	}
	if err := p.prepare(); err != nil {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the policy is not good", Hint: "docs/connector-protocol.md shows one", Cause: err}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.policy = p
	return nil
}

// Close releases the agent's files and connections, after Run. The key store is the caller's.
func (a *Agent) Close() error {
	a.client.close()
	return errors.Join(a.nonces.close(), a.releases.close(), a.events.close())
}

// Run serves requests until ctx ends; then it finishes the answers under way and says farewell. A gateway that cannot be
// reached is tried again, with growing distance, for ever.
func (a *Agent) Run(ctx context.Context) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTime, stop) })()
	var work sync.WaitGroup
	defer a.keepStatusFile()()
	retry := a.newRetry()
	for ctx.Err() == nil {
		if a.session(ctx, serving, &work) {
			retry = a.newRetry()
		}
		_ = retry.wait(ctx) // the loop's condition sees why it ended
	}
	work.Wait()
	a.farewell(context.WithoutCancel(ctx))
}

func (a *Agent) newRetry() *pause {
	p := newPause(retryLeast, retryMost)
	p.jitter = true
	return p
}

// session says hello and polls until a call fails. It tells whether a poll came back, so that only a gateway that serves
// resets the distance of the tries.
func (a *Agent) session(ctx, serving context.Context, work *sync.WaitGroup) (polled bool) {
	err := a.hello(ctx)
	if err == nil {
		a.connected()
		polled, err = a.polls(ctx, serving, work)
	}
	if ctx.Err() == nil {
		a.disconnected(err)
	}
	return polled
}

func (a *Agent) polls(ctx, serving context.Context, work *sync.WaitGroup) (polled bool, err error) {
	slots := make(chan struct{}, maxServing)
	for {
		requests, err := a.client.poll(ctx)
		if err != nil {
			return polled, err
		}
		polled = true
		for _, wire := range requests[:min(len(requests), maxHandOut)] {
			slots <- struct{}{}
			work.Go(func() {
				defer func() { <-slots }()
				a.serve(serving, wire)
			})
		}
	}
}

// hello tells the gateway where this connector can be sealed to and what it holds.
func (a *Agent) hello(ctx context.Context) error {
	return a.client.hello(ctx, hello{Address: a.key.Address(), Holds: a.keys.Holds()})
}

// serve judges one request and answers it. What is no request at all cannot be answered; it is logged.
func (a *Agent) serve(ctx context.Context, wire json.RawMessage) {
	r, err := ParseRequest(wire)
	if err != nil {
		a.log.Warn("the gateway sent something that is no key request", zap.Int("bytes", len(wire)))
		return
	}
	word := a.decide(ctx, r)
	a.note(r, word)
	if changesKeys(r.Purpose) && word.Refusal == nil {
		a.retell(ctx)
	}
	a.deliver(ctx, r, answerTo(r, a.key, word))
}

func (a *Agent) note(r Request, word Answer) {
	about := []zap.Field{zap.String("nonce", r.Nonce), zap.String("purpose", string(r.Purpose)), zap.String("workflowID", r.WorkflowID),
		zap.String("runID", r.RunID), zap.Int("attempt", r.Attempt), zap.String("requester", shortIdentity(r.Requester))}
	switch {
	case word.Refusal != nil:
		a.status.refused()
		a.log.Warn("key request refused", append(about, zap.String("code", string(word.Refusal.Code)), zap.String("reason", word.Refusal.Reason))...)
	case word.Release != nil && r.To != nil:
		a.log.Info("ekey shared with another connector", append(about, zap.Int("generation", word.Release.Generation), zap.String("to", r.To.Connector), zap.String("identity", r.To.Identity))...)
	case word.Release != nil:
		a.status.released(a.now())
		a.log.Info("ekey released", append(about, zap.Int("generation", word.Release.Generation))...)
	default:
		a.log.Info("key request served", append(about, zap.Int("generation", r.Generation))...)
	}
}

// retell lets the gateway know what is held now, before the worker asks who holds it. Another hello comes with every session.
func (a *Agent) retell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, retellTime)
	defer cancel()
	if err := a.hello(ctx); err != nil {
		a.log.Warn("the gateway was not told yet what this connector holds", zap.Error(err))
	}
}

// deliver sends the answer until the gateway has it, refuses it, or the request has expired.
func (a *Agent) deliver(ctx context.Context, r Request, answer Answer) {
	left := max(r.expires().Sub(a.now()), time.Second)
	ctx, cancel := context.WithTimeout(ctx, min(left, MaxLifetime))
	defer cancel()
	for retry := a.newRetry(); ; {
		err := a.client.answer(ctx, answer)
		if err == nil {
			return
		}
		if final(err) || retry.wait(ctx) != nil {
			a.log.Warn("an answer could not be delivered", zap.String("nonce", r.Nonce), zap.Error(err))
			return
		}
	}
}

// final tells whether the gateway's refusal of a call stands however often it is made.
func final(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Code != FailStore && f.Code != FailGoingAway && f.Code != FailReplayed && f.Code != FailTooFast
}

func (a *Agent) connected() {
	a.status.connected(a.now())
	a.log.Info("connected to the gateway", zap.String("gateway", a.key.Gateway))
}

func (a *Agent) disconnected(err error) {
	err = a.explain(err)
	if !a.status.disconnected(a.now(), err) {
		return // said already
	}
	fields := []zap.Field{zap.String("gateway", a.key.Gateway), zap.Error(err)}
	var f *Failure
	if errors.As(err, &f) && f.Hint != "" {
		fields = append(fields, zap.String("hint", f.Hint))
	}
	a.log.Warn("not connected to the gateway", fields...)
}

// farewell tells the gateway, once, that the connector is going; when it does not hear, it finds out by itself.
func (a *Agent) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	if err := a.client.bye(ctx); err != nil {
		a.log.Info("the gateway was not told that the connector stops", zap.Error(err))
	}
	a.status.disconnected(a.now(), nil)
}
