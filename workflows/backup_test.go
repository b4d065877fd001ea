package workflows

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const backupAcme = "backup/acme/microsoft365"

var backupInput = BackUpAppInput{Tenant: "acme", App: backup.Microsoft365}

func TestARunThatCompletes(t *testing.T) {
	s := newStage(t, backupAcme)
	s.shards = 11
	for _, alert := range []string{"run_failed microsoft365", "run_partial microsoft365", "not_connected key", "key_unavailable key"} {
		s.open[alert] = 1
	}
	var mu sync.Mutex
	seen, running, most := map[int]int{}, 0, 0
	s.shard = func(_ context.Context, in activities.ShardInput) (activities.ShardResult, error) {
		mu.Lock()
		seen[in.Shard]++
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		return activities.ShardResult{Done: 2}, nil
	}
	s.ExecuteWorkflow(BackUpApp, backupInput)
	var result BackUpAppResult
	s.mustComplete(&result)
	if result.Outcome != backup.RunComplete || result.Number != 12 || result.Counts.Listed != 9 {
		t.Errorf("result %+v", result)
	}
	if len(seen) != 11 || s.times("BackUpShard") != 11 || most > shardsAtOnce || most < 2 {
		t.Errorf("%d shards seen, %d calls, %d at once", len(seen), s.times("BackUpShard"), most)
	}
	if got := s.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
	if len(s.finished) != 1 || s.finished[0].Cause != nil {
		t.Errorf("finished with %+v", s.finished)
	}
}

func TestARunWithoutKeyFailsAtOnce(t *testing.T) {
	for want, v := range map[string]backup.Verdict{
		"not_connected key":       notConnected,
		"key_unavailable key":     {Code: backup.CodeRevoked, Fault: backup.FaultCustomer, Detail: "the token was revoked", Hint: "make another"},
		"run_failed microsoft365": {Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Detail: "there is no key method"},
	} {
		s := newStage(t, backupAcme)
		s.holder = func() (backup.Verdict, error) { return v, nil }
		s.ExecuteWorkflow(BackUpApp, backupInput)
		if got := s.mustFail(v.Code); got.Detail != v.Detail || got.Hint != v.Hint {
			t.Errorf("ends with %+v", got)
		}
		if got := s.alerts(); !slices.Equal(got, []string{want}) {
			t.Errorf("open alerts %v, want %s", got, want)
		}
		if len(s.finished) != 1 || s.finished[0].Cause == nil || s.finished[0].Cause.Code != v.Code || s.times("BackUpShard") != 0 {
			t.Errorf("finished with %+v after %d shards", s.finished, s.times("BackUpShard"))
		}
	}
}

func TestAPartialRunIsAResult(t *testing.T) {
	s := newStage(t, backupAcme)
	s.open["run_failed microsoft365"] = 1
	s.finish = func(in activities.FinishRunInput) backup.Run {
		return backup.Run{Tenant: in.Tenant, Number: in.Number, Outcome: backup.RunPartial, Parts: 6, Done: 4, Failed: 2}
	}
	s.ExecuteWorkflow(BackUpApp, backupInput)
	var result BackUpAppResult
	s.mustComplete(&result)
	if result.Outcome != backup.RunPartial || result.Failed != 2 {
		t.Errorf("result %+v", result)
	}
	// Only a complete run says that the trouble is over.
	if got := s.alerts(); !slices.Equal(got, []string{"run_failed microsoft365", "run_partial microsoft365"}) {
		t.Errorf("open alerts %v", got)
	}
}

// A worker that dies in the middle of a shard is a heartbeat that does not come: the shard is tried again, and goes on.
func TestAShardOutlivesItsWorker(t *testing.T) {
	s := newStage(t, backupAcme)
	var mu sync.Mutex
	attempts := map[int]int{}
	s.shard = func(_ context.Context, in activities.ShardInput) (activities.ShardResult, error) {
		mu.Lock()
		defer mu.Unlock()
		attempts[in.Shard]++
		if in.Shard == 1 && attempts[1] < 4 {
			return activities.ShardResult{}, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_HEARTBEAT, errors.New("killed"))
		}
		return activities.ShardResult{Done: 2}, nil
	}
	s.ExecuteWorkflow(BackUpApp, backupInput)
	s.mustComplete(nil)
	if attempts[0] != 1 || attempts[1] != 4 || attempts[2] != 1 {
		t.Errorf("attempts %v", attempts)
	}
}

// What stands in the way of one shard for good stands in the way of all; what does not, does not.
func TestAShardThatFails(t *testing.T) {
	full := &backup.Error{Code: backup.CodeDiskFull, Fault: backup.FaultOurs, Message: "the repository's disk is full", Hint: "make room"}
	away := &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultVendor, Message: "graph.microsoft.com does not answer", Retryable: true}
	for _, c := range []struct {
		met     *backup.Error
		started int
	}{{full, shardsAtOnce}, {away, 9}} {
		s := newStage(t, backupAcme)
		s.shards = 9
		var mu sync.Mutex
		seen := map[int]int{}
		s.shard = func(_ context.Context, in activities.ShardInput) (activities.ShardResult, error) {
			mu.Lock()
			defer mu.Unlock()
			seen[in.Shard]++
			if in.Shard == 0 || c.met == full {
				return activities.ShardResult{}, asActivity(c.met)
			}
			return activities.ShardResult{Done: 2}, nil
		}
		s.ExecuteWorkflow(BackUpApp, backupInput)
		if v := s.mustFail(c.met.Code); v.Detail != c.met.Message {
			t.Errorf("ends with %+v", v)
		}
		if len(seen) != c.started {
			t.Errorf("%s: %d shards were tried, want %d", c.met.Code, len(seen), c.started)
		}
		if len(s.finished) != 1 || s.finished[0].Cause == nil || s.finished[0].Cause.Code != c.met.Code {
			t.Errorf("finished with %+v", s.finished)
		}
		if got := s.alerts(); !slices.Equal(got, []string{"run_failed microsoft365"}) {
			t.Errorf("open alerts %v", got)
		}
		if c.met == away && seen[0] != 40 {
			t.Errorf("tried %d times", seen[0])
		}
	}
}

func TestACancelledRunIsReported(t *testing.T) {
	s := newStage(t, backupAcme)
	s.shards = 9
	s.shard = func(ctx context.Context, in activities.ShardInput) (activities.ShardResult, error) {
		return activities.ShardResult{}, asActivity(&backup.Error{Code: backup.CodeThrottled, Fault: backup.FaultVendor, Message: "come back later", Retryable: true, RetryAfter: time.Hour})
	}
	s.after(90*time.Minute, s.CancelWorkflow)
	s.ExecuteWorkflow(BackUpApp, backupInput)
	s.mustFail(backup.CodeCancelled)
	if !temporal.IsCanceledError(s.GetWorkflowError()) {
		t.Errorf("ends with %v", s.GetWorkflowError())
	}
	if len(s.finished) != 1 || s.finished[0].Cause == nil || s.finished[0].Cause.Code != backup.CodeCancelled {
		t.Errorf("finished with %+v", s.finished)
	}
	if got := s.told(); len(got) != 0 {
		t.Errorf("told %v of what a person did", got)
	}
}

func TestARunThatCannotStart(t *testing.T) {
	s := newStage(t, backupAcme)
	s.OnActivity("StartRun", anything, anything).Return(activities.StartRunResult{}, asActivity(&backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "acme is not known"}))
	s.ExecuteWorkflow(BackUpApp, backupInput)
	s.mustFail(backup.CodeNotFound)
	if got := s.alerts(); !slices.Equal(got, []string{"run_failed microsoft365"}) {
		t.Errorf("open alerts %v", got)
	}
}

// Every part failed for a reason of its own: nothing stood in the way of the run, and still it failed.
func TestARunInWhichAllFailed(t *testing.T) {
	s := newStage(t, backupAcme)
	s.finish = func(in activities.FinishRunInput) backup.Run {
		return backup.Run{Tenant: in.Tenant, Number: in.Number, Outcome: backup.RunFailed, Parts: 6, Failed: 6}
	}
	s.ExecuteWorkflow(BackUpApp, backupInput)
	if v := s.mustFail(backup.CodeInternal); !strings.Contains(v.Detail, "all 6") {
		t.Errorf("ends with %+v", v)
	}
	var result BackUpAppResult
	var v backup.Verdict
	var failed *temporal.ApplicationError
	if !errors.As(s.GetWorkflowError(), &failed) || failed.Details(&v, &result) != nil || result.Number != 12 {
		t.Errorf("the failure does not carry the run: %+v", result)
	}
}

func TestRestore(t *testing.T) {
	in := RestoreInput{Tenant: "acme", Request: "r1", Account: "ben@acme.example", App: backup.Microsoft365, Service: backup.Mail, To: "/restore", RequestedBy: anna}
	s := newStage(t, "restore/acme/r1")
	s.ExecuteWorkflow(Restore, in)
	var result RestoreResult
	s.mustComplete(&result)
	if result.Snapshot != "s1" || result.Counts.Files != 3 {
		t.Errorf("result %+v", result)
	}

	refused := newStage(t, "restore/acme/r2")
	in.RequestedBy = "cleo@acme.example"
	refused.ExecuteWorkflow(Restore, in)
	refused.mustFail(backup.CodeNotAllowed)
	if refused.times("RestoreSnapshot") != 0 {
		t.Error("a viewer restored somebody's mail")
	}

	missing := newStage(t, "restore/acme/r3")
	missing.restore = func() (activities.RestoreResult, error) {
		return activities.RestoreResult{}, asActivity(&backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "there is no snapshot", Hint: "holdfast backup list"})
	}
	in.RequestedBy = anna
	missing.ExecuteWorkflow(Restore, in)
	if v := missing.mustFail(backup.CodeNotFound); v.Hint != "holdfast backup list" || missing.times("RestoreSnapshot") != 1 {
		t.Errorf("ends with %+v after %d attempts", v, missing.times("RestoreSnapshot"))
	}
}

func TestCheckAlwaysAnswers(t *testing.T) {
	for _, c := range []struct {
		answer func() (backup.Verdict, error)
		want   backup.Code
	}{
		{func() (backup.Verdict, error) { return passing, nil }, ""},
		{func() (backup.Verdict, error) { return missingRole, nil }, backup.CodeMissingRole},
		{func() (backup.Verdict, error) { return backup.Verdict{}, errors.New("boom") }, backup.CodeInternal},
	} {
		s := newStage(t, "check/acme/app")
		s.app = c.answer
		s.ExecuteWorkflow(CheckSystem, CheckSystemInput{Tenant: acme(), App: backup.Microsoft365, System: CheckAppSystem})
		var result CheckSystemResult
		s.mustComplete(&result)
		if result.Verdict.Code != c.want || result.Verdict.Passing != (c.want == "") {
			t.Errorf("answers %+v, want %q", result.Verdict, c.want)
		}
	}
}

// The store being away for a while says nothing about the key's holder.
func TestARunOutlastsAStoreThatIsAway(t *testing.T) {
	for want, holder := range map[backup.Code]backup.Verdict{"": passing, backup.CodeNotConnected: notConnected} {
		s := newStage(t, backupAcme)
		s.holder = func() (backup.Verdict, error) {
			if s.times("ObserveKeyHolder") < 8 { // the test environment gives up after ten
				return backup.Verdict{}, asActivity(&backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "the store does not answer", Retryable: true})
			}
			return holder, nil
		}
		s.ExecuteWorkflow(BackUpApp, backupInput)
		if want == "" {
			s.mustComplete(nil)
		} else {
			s.mustFail(want)
		}
	}
}
