package workflows

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

var (
	errNotConnected = asActivity(&backup.Error{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer, Message: "no connector of acme is connected", Hint: "start holdfastd connector"})
	errSealed       = asActivity(&backup.Error{Code: backup.CodeSealed, Fault: backup.FaultCustomer, Message: "Vault is sealed", Hint: "vault operator unseal"})
)

// keyHolder is a holder that a test takes away and brings back: looks and shards meet it.
type keyHolder struct {
	*stage
	mu       sync.Mutex
	state    backup.Verdict
	err      error
	attempts map[int]int
}

func newKeyHolder(t *testing.T, shards int) *keyHolder {
	h := &keyHolder{stage: newKeyStage(t, backupAcme), state: passing, attempts: map[int]int{}}
	h.shards = shards
	h.holder = func() (backup.Verdict, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.state, nil
	}
	h.shard = func(_ context.Context, in activities.ShardInput) (activities.ShardResult, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.attempts[in.Shard]++
		return activities.ShardResult{Done: 2}, h.err
	}
	return h
}

func (h *keyHolder) tried(shard int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attempts[shard]
}

func (h *keyHolder) is(state backup.Verdict, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state, h.err = state, err
}

// A sealed KMS is waited for under any policy; the run goes on by itself soon after, and the alert says what to do.
func TestARunWaitsForASealedKMS(t *testing.T) {
	for _, v := range []backup.Verdict{sealed, {Code: backup.CodeUnreachable, Fault: backup.FaultCustomer, Detail: "Vault does not answer", Hint: "is it running?"}} {
		h := newKeyHolder(t, 6)
		h.is(v, nil)
		h.after(30*time.Second, func() {
			if got := h.alerts(); !slices.Equal(got, []string{"key_unavailable key"}) {
				t.Errorf("open alerts %v", got)
			}
		})
		h.after(time.Minute, func() { h.is(passing, nil) })
		begun := h.Now()
		h.ExecuteWorkflow(BackUpApp, backupInput)
		h.mustComplete(nil)
		if took := h.Now().Sub(begun); took > 3*time.Minute || len(h.attempts) != 6 {
			t.Errorf("took %s, attempts %v", took, h.attempts)
		}
		if want := []string{"raised key_unavailable key", "resolved key_unavailable key"}; !slices.Equal(h.told(), want) {
			t.Errorf("told %v", h.told())
		}
		if len(h.parked) != 0 {
			t.Errorf("asked for connectors: %v", h.parked)
		}
	}
}

// Under wait, a run without a connector parks, asks to be told, and goes on when one comes.
func TestARunWaitsForAConnector(t *testing.T) {
	h := newKeyHolder(t, 3)
	h.keys.plan.WaitsAbsent = true
	h.is(notConnected, nil)
	h.after(3*time.Hour+time.Second, func() {
		if got := h.alerts(); !slices.Equal(got, []string{"not_connected key"}) || h.parked[backupAcme] != 1 {
			t.Errorf("open alerts %v, parked %v", got, h.parked)
		}
		h.is(passing, nil)
		h.SignalWorkflow(RecheckSignal, "a connector came")
	})
	begun := h.Now()
	h.ExecuteWorkflow(BackUpApp, backupInput)
	h.mustComplete(nil)
	if took := h.Now().Sub(begun); took > 3*time.Hour+time.Minute || len(h.alerts()) != 0 {
		t.Errorf("took %s, alerts %v", took, h.alerts())
	}
}

func TestARunDoesNotWaitForEver(t *testing.T) {
	h := newKeyHolder(t, 3)
	h.keys.plan.WaitsAbsent = true
	h.is(notConnected, nil)
	begun := h.Now()
	h.ExecuteWorkflow(BackUpApp, backupInput)
	if v := h.mustFail(backup.CodeNotConnected); !strings.Contains(v.Detail, "waited for 12h") {
		t.Errorf("ends with %+v", v)
	}
	if took := h.Now().Sub(begun); took != 12*time.Hour {
		t.Errorf("waited %s", took)
	}
	if got := h.alerts(); !slices.Equal(got, []string{"not_connected key"}) || len(h.finished) != 1 || h.finished[0].Cause.Code != backup.CodeNotConnected {
		t.Errorf("open alerts %v, finished %+v", got, h.finished)
	}
	if n := h.times("ObserveKeyHolder"); n > 160 {
		t.Errorf("looked %d times", n)
	}
}

// The holder is lost in the middle of a run. What has its key goes on; what lacks it is done when the holder is back, or, under fail,
// ends the run with the clear error. Nothing is tried in vain for hours.
func TestTheHolderIsLostInTheMiddleOfARun(t *testing.T) {
	for name, c := range map[string]struct {
		waits bool
		v     backup.Verdict
		err   error
		ends  backup.Code
	}{
		"connector, wait": {true, notConnected, errNotConnected, ""},
		"connector, fail": {false, notConnected, errNotConnected, backup.CodeNotConnected},
		"sealed":          {false, sealed, errSealed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newKeyHolder(t, 20)
			h.keys.plan.WaitsAbsent = c.waits
			begun := h.Now()
			work := h.shard
			// The environment runs activities side by side, in whatever order the machine takes them up: those behind shard 7 wait until it
			// has lost the holder, or on a busy machine they might all be done before.
			lost := make(chan struct{})
			h.shard = func(ctx context.Context, in activities.ShardInput) (activities.ShardResult, error) {
				switch {
				case in.Shard == 7 && h.tried(7) == 0:
					h.is(c.v, c.err)
					close(lost)
				case in.Shard > 7:
					<-lost
				}
				return work(ctx, in)
			}
			h.after(10*time.Minute, func() { h.is(passing, nil) })
			h.ExecuteWorkflow(BackUpApp, backupInput)
			if c.ends != "" {
				h.mustFail(c.ends)
				if took := h.Now().Sub(begun); took > time.Minute || len(h.attempts) == 20 {
					t.Errorf("took %s, attempts %v", took, h.attempts)
				}
				return
			}
			h.mustComplete(nil)
			for n := range 20 {
				if h.attempts[n] == 0 || h.attempts[n] > 2 {
					t.Errorf("shard %d was tried %d times", n, h.attempts[n])
				}
			}
			if len(h.alerts()) != 0 || h.raised("run_failed microsoft365") != 0 {
				t.Errorf("alerts %v", h.told())
			}
		})
	}
}

// A shard that failed for a reason of its own before does not end a run whose holder is back; the others are still protected.
func TestAnEarlierFailureDoesNotEndAParkedRun(t *testing.T) {
	h := newKeyHolder(t, 20)
	work := h.shard
	h.shard = func(ctx context.Context, in activities.ShardInput) (activities.ShardResult, error) {
		if in.Shard == 0 {
			return activities.ShardResult{}, asActivity(&backup.Error{Code: backup.CodeThrottled, Fault: backup.FaultVendor, Message: "come back later", Retryable: true})
		}
		if in.Shard == 10 && h.tried(10) == 0 {
			h.is(sealed, errSealed)
		}
		return work(ctx, in)
	}
	h.after(24*time.Hour, func() { h.is(passing, nil) })
	h.keys.plan.WaitAtMost = 3 * day1
	h.ExecuteWorkflow(BackUpApp, backupInput)
	h.mustFail(backup.CodeThrottled)
	for n := 1; n < 20; n++ {
		if h.attempts[n] == 0 {
			t.Errorf("shard %d was not tried", n)
		}
	}
}

// A holder that says it is there and never gives the key does not keep a run busy for ever.
func TestAHolderThatIsThereAndOfNoUse(t *testing.T) {
	h := newKeyHolder(t, 4)
	h.is(passing, errSealed)
	h.ExecuteWorkflow(BackUpApp, backupInput)
	h.mustFail(backup.CodeSealed)
	if h.attempts[0] > parkings+1 {
		t.Errorf("attempts %v", h.attempts)
	}
}

// What no waiting mends ends a parked run.
func TestAParkedRunEnds(t *testing.T) {
	h := newKeyHolder(t, 4)
	h.is(sealed, nil)
	h.after(time.Hour, func() {
		h.is(backup.Verdict{Code: backup.CodeDestroyed, Fault: backup.FaultCustomer, Detail: "the key was shredded"}, nil)
	})
	h.ExecuteWorkflow(BackUpApp, backupInput)
	h.mustFail(backup.CodeDestroyed)

	c := newKeyHolder(t, 4)
	c.is(sealed, nil)
	c.after(time.Hour, c.CancelWorkflow)
	c.ExecuteWorkflow(BackUpApp, backupInput)
	c.mustFail(backup.CodeCancelled)
	if len(c.finished) != 1 || c.finished[0].Cause.Code != backup.CodeCancelled {
		t.Errorf("finished with %+v", c.finished)
	}
}

// A KMS that is sealed when a tenant is onboarded is a prerequisite like an absent connector: it is told, and goes on by itself.
func TestTheKeyOfAKMSIsProvisioned(t *testing.T) {
	s := newKeyStage(t, keyAcme)
	s.tenant.Key.Method = backup.KeyByKMS
	open := s.Now().Add(3 * time.Hour)
	s.holder = func() (backup.Verdict, error) {
		if s.Now().Before(open) {
			return sealed, nil
		}
		return passing, nil
	}
	s.after(time.Hour, func() {
		if got := s.alerts(); !slices.Equal(got, []string{"key_unavailable key"}) {
			t.Errorf("open alerts %v", got)
		}
	})
	begun := s.Now()
	s.ExecuteWorkflow(ProvisionKey, ProvisionKeyInput{Tenant: "acme", RequestedBy: anna})
	s.mustComplete(nil)
	if took := s.Now().Sub(begun); took > 3*time.Hour+pace.Outage+time.Minute || len(s.alerts()) != 0 {
		t.Errorf("took %s, alerts %v", took, s.alerts())
	}
}
