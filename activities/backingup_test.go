package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// office is a tenant whose accounts are backed up by the activity as a whole, into a real repository.
type office struct {
	*bench
	sources map[string]func() (Source, error) // by account id; the others have one message each

	mu    sync.Mutex
	parts map[string]backup.RunPart
	asked []string // accounts that were asked for, in all attempts
}

func newOffice(t *testing.T, accounts int) *office {
	o := &office{bench: newBench(t), sources: map[string]func() (Source, error){}, parts: map[string]backup.RunPart{}}
	for i := range accounts {
		id := fmt.Sprintf("a%02d", i)
		o.parts[id] = backup.RunPart{Account: backup.Account{ID: id}, Service: backup.Mail, State: backup.PartOpen}
	}
	return o
}

func (o *office) Tenant(context.Context, string) (backup.Tenant, error) {
	return backup.Tenant{ID: "acme", Repository: backup.RepositoryConfig{ID: "acme"}}, nil
}
func (o *office) SaveTenant(context.Context, backup.Tenant) error { return nil }

func (o *office) StartRun(context.Context, backup.Run, backup.ServicePlan, int) (backup.Run, int, error) {
	return backup.Run{}, 0, nil
}
func (o *office) TotalRun(context.Context, string, int64) (backup.Run, error) {
	return backup.Run{}, nil
}
func (o *office) FinishRun(context.Context, backup.Run) error { return nil }

func (o *office) OpenParts(context.Context, string, int64, int) ([]backup.RunPart, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var open []backup.RunPart
	for i := range len(o.parts) {
		if p := o.parts[fmt.Sprintf("a%02d", i)]; p.State == backup.PartOpen {
			open = append(open, p)
		}
	}
	return open, nil
}

func (o *office) FinishPart(_ context.Context, _ string, _ int64, p backup.RunPart) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parts[p.Account.ID] = p
	return nil
}

func (o *office) ConnectApp(context.Context, backup.Tenant, backup.App) (App, error) { return o, nil }
func (o *office) Probe(context.Context, []backup.Service) (string, error)            { return "", nil }

func (o *office) Source(_ context.Context, a backup.Account, _ backup.Service) (Source, error) {
	o.mu.Lock()
	o.asked = append(o.asked, a.ID)
	open := o.sources[a.ID]
	o.mu.Unlock()
	if open != nil {
		return open()
	}
	return &script{rounds: map[string][]backup.Change{"": {message("m", "", "1")}}, next: `"one"`}, nil
}

func (o *office) Reachable(context.Context, backup.Tenant) error { return nil }
func (o *office) Obtain(context.Context, backup.Tenant, backup.KeyUse) (*backup.Lease, error) {
	return backup.NewLease(make([]byte, backup.EKeySize), 1, 1)
}
func (o *office) Generations(context.Context, backup.Tenant) ([]backup.EKey, error) { return nil, nil }
func (o *office) CountAccounts(context.Context, string) (backup.Accounts, error) {
	return backup.Accounts{Active: len(o.parts)}, nil
}
func (o *office) Rewrap(context.Context, backup.Tenant, string, string) error { return nil }

func (o *office) EnsureRepository(context.Context, backup.Tenant, string) (bool, error) {
	return false, nil
}
func (o *office) OpenRepository(context.Context, backup.Tenant, string) (Repository, error) {
	return unclosed{o.repository}, nil
}

// unclosed is a repository that several attempts use.
type unclosed struct{ Repository }

func (unclosed) Close(context.Context) error { return nil }

// attempt runs the shard once; details is what the attempt before left, and what this one leaves is returned.
func (o *office) attempt(t *testing.T, details *Progress, stopping <-chan struct{}) (left Progress, err error) {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivity(&BackingUp{Tenants: o, Runs: o, Apps: o, Keys: o, Repositories: o})
	if details != nil {
		env.SetHeartbeatDetails(*details)
	}
	if stopping != nil {
		c := make(chan struct{})
		env.SetWorkerStopChannel(c)
		go func() { <-stopping; close(c) }()
	}
	var mu sync.Mutex
	env.SetOnActivityHeartbeatListener(func(_ *activity.Info, d converter.EncodedValues) {
		mu.Lock()
		defer mu.Unlock()
		_ = d.Get(&left)
	})
	_, err = env.ExecuteActivity((*BackingUp)(nil).BackUpShard, ShardInput{Tenant: "acme", App: backup.Microsoft365, Number: 1})
	mu.Lock()
	defer mu.Unlock()
	return left, err
}

// states counts the parts by state.
func (o *office) states() map[backup.PartState]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := map[backup.PartState]int{}
	for _, p := range o.parts {
		n[p.State]++
	}
	return n
}

// timedOut is what an adapter makes of a server that does not answer: net and net/http let their time-outs read as the end of a context.
func timedOut() error {
	return &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultVendor, Message: "no answer from graph.example", Retryable: true, Cause: context.DeadlineExceeded}
}

// A mailbox whose server never answers keeps neither the other accounts nor the run's end waiting.
func TestOneSilentMailboxDoesNotStopTheShard(t *testing.T) {
	o := newOffice(t, 20)
	o.sources["a00"] = func() (Source, error) { return nil, timedOut() }
	var left *Progress
	for n := range partAttempts {
		now, err := o.attempt(t, left, nil)
		left = &now
		if done := o.states()[backup.PartDone]; done != 19 {
			t.Fatalf("after attempt %d, %d of the 19 others are done", n+1, done)
		}
		if n == partAttempts-1 {
			if err != nil {
				t.Fatalf("the last attempt returns %v", err)
			}
			break
		}
		var told *temporal.ApplicationError
		if !errors.As(err, &told) || told.Type() != string(backup.CodeUnreachable) || told.NonRetryable() {
			t.Fatalf("attempt %d returns %v", n+1, err)
		}
	}
	if p := o.parts["a00"]; p.State != backup.PartFailed || p.Code != backup.CodeUnreachable {
		t.Errorf("the silent mailbox is %s %s", p.State, p.Code)
	}
}

// The longest distance that was asked for is the one that is kept, and one that would hold up the whole run is not waited for.
func TestShardComesBackWhenAskedTo(t *testing.T) {
	o := newOffice(t, 4)
	throttled := func(d time.Duration) func() (Source, error) {
		return func() (Source, error) {
			return nil, &backup.Error{Code: backup.CodeThrottled, Message: "later", Retryable: true, RetryAfter: d}
		}
	}
	o.sources["a00"] = func() (Source, error) { return nil, timedOut() }
	o.sources["a01"] = throttled(10 * time.Minute)
	o.sources["a02"] = throttled(23 * time.Hour)
	_, err := o.attempt(t, nil, nil)
	var told *temporal.ApplicationError
	if !errors.As(err, &told) || told.NextRetryDelay() != 10*time.Minute {
		t.Errorf("got %v, want to come back in ten minutes", err)
	}
	if got := o.states(); got[backup.PartDone] != 1 || got[backup.PartFailed] != 1 || got[backup.PartOpen] != 2 {
		t.Errorf("parts are %v", got)
	}
}

// A worker that is told to stop keeps what it has fetched, begins nothing new, and leaves the rest to another at once.
func TestShardStopsInOrder(t *testing.T) {
	o := newOffice(t, 8)
	stop := make(chan struct{})
	var stuck sync.Once
	round := map[string][]backup.Change{"": {message("m1", "", "1"), message("m2", "", "1")}}
	o.sources["a00"] = func() (Source, error) {
		first := true
		stuck.Do(func() { first = false })
		if first {
			return &script{rounds: round, next: `"one"`}, nil
		}
		return &endless{script: script{rounds: round, next: `"one"`}, stop: stop}, nil
	}
	left, err := o.attempt(t, nil, stop)
	var told *temporal.ApplicationError
	if !errors.As(err, &told) || told.NonRetryable() || told.NextRetryDelay() != time.Second {
		t.Fatalf("got %v", err)
	}
	if len(left.Tries) > 0 {
		t.Errorf("stopping counts as a try: %v", left.Tries)
	}
	kept, err := o.repository.Latest(t.Context(), "a00", backup.Microsoft365, backup.Mail)
	if err != nil || kept == nil || kept.State.Complete || kept.State.Counts.Items != 2 {
		t.Fatalf("what was fetched is kept as %+v, %v", kept, err)
	}
	if _, err := o.attempt(t, &left, nil); err != nil {
		t.Fatal(err)
	}
	if done := o.states()[backup.PartDone]; done != 8 {
		t.Errorf("%d of 8 are done", done)
	}
}

// endless is a source whose feed goes on until its context ends. When everything that it told of is stored, it has the worker stop.
type endless struct {
	script
	stored sync.WaitGroup
	stop   chan struct{}
}

func (e *endless) Changes(ctx context.Context, cursor json.RawMessage, yield func(backup.Change) error) (json.RawMessage, error) {
	e.stored.Add(len(e.rounds[string(cursor)]))
	if _, err := e.script.Changes(ctx, cursor, yield); err != nil {
		return nil, err
	}
	e.stored.Wait()
	close(e.stop)
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func (e *endless) Open(ctx context.Context, i backup.Item) (backup.Item, io.ReadCloser, error) {
	i, body, err := e.script.Open(ctx, i)
	return i, closing{body, e.stored.Done}, err
}

// closing tells when a body is closed: the item is in the snapshot then.
type closing struct {
	io.ReadCloser
	closed func()
}

func (c closing) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// An account that never had a mailbox is complete without one; one that had is not.
func TestAMailboxThatIsNoLongerThereIsNoSuccess(t *testing.T) {
	o := newOffice(t, 2)
	none := func() (Source, error) {
		return nil, &backup.Error{Code: backup.CodeNoService, Fault: backup.FaultCustomer, Message: "a has no mailbox"}
	}
	o.sources["a01"] = none
	if _, err := o.attempt(t, nil, nil); err != nil {
		t.Fatal(err)
	}
	if o.parts["a00"].State != backup.PartDone || o.parts["a01"].State != backup.PartNoService {
		t.Fatalf("the first run: %+v", o.parts)
	}
	o.sources["a00"] = none
	for id, p := range o.parts {
		p.State = backup.PartOpen
		o.parts[id] = p
	}
	if _, err := o.attempt(t, nil, nil); err != nil {
		t.Fatal(err)
	}
	if p := o.parts["a00"]; p.State != backup.PartFailed || p.Code != backup.CodeNoService {
		t.Errorf("the mailbox that was there: %+v", p)
	}
	if p := o.parts["a01"]; p.State != backup.PartNoService {
		t.Errorf("the mailbox that never was: %+v", p)
	}
}
