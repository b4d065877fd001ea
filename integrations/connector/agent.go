package connector

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// AgentOptions sets up an agent. Keys and Folder are needed.
type AgentOptions struct {
	// Keys is the open key file; the caller closes it after the agent.
	Keys *KeyStore
	// Folder (mode 0700, made when absent) keeps releases.jsonl, the connector's own receipts, and nonces, what it must not answer twice.
	Folder string
	Clock  func() time.Time
	Log    *zap.Logger
}

const (
	releasesFile = "releases.jsonl"
	noncesFile   = "nonces"

	// clockSkew is how far a worker's clock may be ahead of or behind the connector's.
	clockSkew = 10 * time.Second
	// maxServing bounds the requests that are served at once; more wait at the gateway.
	maxServing = 8
	// stopTime is what answers under way and the farewell may take after Run's context ended.
	stopTime = 5 * time.Second

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
	releases *releaseLog
	status   statusBoard
}

// NewAgent opens the agent's files. Close closes them.
func NewAgent(o AgentOptions) (*Agent, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, fileError("the connector's folder could not be made", o.Folder, err)
	}
	nonces, err := openReplayGuard(filepath.Join(o.Folder, noncesFile), o.Clock())
	if err != nil {
		return nil, fileError("the record of seen requests could not be opened", o.Folder, err)
	}
	releases, err := openReleaseLog(filepath.Join(o.Folder, releasesFile))
	if err != nil {
		return nil, errors.Join(fileError("the release log could not be opened", o.Folder, err), nonces.close())
	}
	self := o.Keys.self()
	return &Agent{keys: o.Keys, key: self, now: o.Clock, log: o.Log.With(zap.String("connector", self.Connector), zap.String("tenant", self.Tenant)),
		client: newClient(self, o.Clock), nonces: nonces, releases: releases}, nil
}

// Close releases the agent's files and connections, after Run.
func (a *Agent) Close() error {
	a.client.close()
	return errors.Join(a.nonces.close(), a.releases.close())
}

// Run serves requests until ctx ends; then it finishes the answers under way and says farewell. A gateway that cannot be
// reached is tried again, with growing distance, for ever.
func (a *Agent) Run(ctx context.Context) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopTime, stop) })()
	var work sync.WaitGroup
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
	err := a.client.hello(ctx)
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

// serve judges one request and answers it. What is no request at all cannot be answered; it is logged.
func (a *Agent) serve(ctx context.Context, wire json.RawMessage) {
	r, err := ParseRequest(wire)
	if err != nil {
		a.log.Warn("the gateway sent something that is no key request", zap.Int("bytes", len(wire)))
		return
	}
	release, refusal := a.decide(r)
	if refusal != nil {
		a.status.refused()
		a.log.Warn("key request refused", append(about(r), zap.String("code", string(refusal.Code)), zap.String("reason", refusal.Reason))...)
	} else {
		a.status.released(a.now())
		a.log.Info("ekey released", append(about(r), zap.Int("generation", release.Generation))...)
	}
	a.deliver(ctx, r, answerTo(r, a.key, release, refusal))
}

func about(r Request) []zap.Field {
	return []zap.Field{zap.String("nonce", r.Nonce), zap.String("purpose", string(r.Purpose)), zap.String("workflowID", r.WorkflowID),
		zap.String("runID", r.RunID), zap.Int("attempt", r.Attempt), zap.String("requester", shortIdentity(r.Requester))}
}

// decide releases or refuses. The receipt is on disk before anything is sealed for anybody else to see.
func (a *Agent) decide(r Request) (*Release, *Refusal) {
	if refusal := a.judge(r); refusal != nil {
		return nil, refusal
	}
	fresh, err := a.nonces.use(r.Nonce, r.expires().Add(clockSkew), a.now())
	switch {
	case errors.Is(err, errTooManyNonces):
		return nil, denied(err.Error())
	case err != nil:
		a.log.Error("the record of seen requests cannot be written", zap.Error(err))
		return nil, denied("the connector cannot write its record of seen requests")
	case !fresh:
		return nil, denied("this request was seen before")
	}
	held, err := a.keys.ekey(context.Background(), r.Generation)
	if err != nil {
		return nil, denied("the connector does not hold this generation of the ekey")
	}
	defer clear(held.ekey)
	release, err := sealFor(r, held.ekey, held.Number)
	if err != nil {
		return nil, denied("the recipient key is not good")
	}
	if err := a.releases.append(a.lineOf(r, held.Number)); err != nil {
		a.log.Error("the release log cannot be written", zap.Error(err))
		return nil, denied("the connector cannot write its release log")
	}
	return release, nil
}

// judge checks a well-formed request against what is pinned. Who asks is proved first; the rest is then that worker's word.
func (a *Agent) judge(r Request) *Refusal {
	now := a.now()
	switch {
	case !slices.Contains(a.key.Workers, r.Requester):
		return denied("the worker's identity is not pinned")
	case !r.signed():
		return denied("the signature is not the worker's")
	case r.Tenant != a.key.Tenant:
		return denied("the request is for another tenant")
	case time.UnixMilli(r.Issued).After(now.Add(clockSkew)):
		return denied("the request was issued in the future; compare the clocks")
	case !r.expires().Add(clockSkew).After(now):
		return denied("the request has expired; compare the clocks")
	case !knownPurpose(r.Purpose):
		return denied("the purpose is not known")
	}
	return nil
}

func denied(reason string) *Refusal { return &Refusal{Code: backup.CodeDenied, Reason: reason} }

func (a *Agent) lineOf(r Request, generation int) ReleaseLine {
	return ReleaseLine{
		Connector: a.key.Connector, Tenant: r.Tenant, Generation: generation, Purpose: r.Purpose,
		WorkflowID: r.WorkflowID, RunID: r.RunID, Attempt: r.Attempt, Requester: r.Requester, Nonce: r.Nonce,
		At: a.now(), Until: r.expires(),
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
	return errors.As(err, &f) && f.Code != FailStore && f.Code != FailGoingAway && f.Code != FailReplayed
}

func (a *Agent) connected() {
	a.status.connected(a.now())
	a.log.Info("connected to the gateway", zap.String("gateway", a.key.Gateway))
}

func (a *Agent) disconnected(err error) {
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
