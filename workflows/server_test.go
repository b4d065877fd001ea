package workflows

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
)

// rig is a real Temporal server with a worker whose activities a world answers.
type rig struct {
	client.Client
	*world
	t *testing.T
}

// newRig connects to the server at address and ends what the test leaves running, so that the next one finds it empty.
func newRig(t *testing.T, address string) *rig {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: address, Identity: "holdfast-test", Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{Client: c, world: newWorld(), t: t}
	r.provision()
	w := worker.New(c, TaskQueue, worker.Options{})
	Register(w)
	r.world.register(w)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.Stop()
		for _, id := range []string{onboardAcme, keyAcme, watchAcme, importAcme, backupAcme, enrollLab, RetireKeyID("acme", 1), SettleConflictsID("acme"), ReviewLeaversID("acme")} {
			_ = c.TerminateWorkflow(context.Background(), id, "", "the test is over") // most are closed
		}
	})
	return r
}

// startServer runs the tree's own Temporal server, in memory, on a free port, unless TEMPORAL_ADDRESS names one that runs already.
func startServer(t *testing.T) string {
	t.Helper()
	if address := os.Getenv("TEMPORAL_ADDRESS"); address != "" {
		return address
	}
	var said bytes.Buffer // a server that is stopped says much; only one that does not start is worth reading
	s, err := devserver.Start(t.Context(), devserver.Options{UIPort: -1, Log: &said})
	if err != nil {
		t.Fatalf("%v: %s", err, said.Bytes())
	}
	t.Cleanup(s.Stop)
	return s.Address
}

// provision adds the search attributes that are missing, and waits until the server knows them.
func (r *rig) provision() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	want := map[string]enums.IndexedValueType{
		TenantAttribute.GetName(): enums.INDEXED_VALUE_TYPE_KEYWORD, AppAttribute.GetName(): enums.INDEXED_VALUE_TYPE_KEYWORD,
		StageAttribute.GetName(): enums.INDEXED_VALUE_TYPE_KEYWORD, AwaitingAttribute.GetName(): enums.INDEXED_VALUE_TYPE_KEYWORD_LIST,
		OutcomeAttribute.GetName(): enums.INDEXED_VALUE_TYPE_KEYWORD}
	for {
		have, err := r.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: "default"})
		if err == nil {
			for name := range have.GetCustomAttributes() {
				delete(want, name)
			}
			if len(want) == 0 {
				return
			}
			_, err = r.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{Namespace: "default", SearchAttributes: want})
		}
		if ctx.Err() != nil {
			r.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (r *rig) start(id, name string, in any) client.WorkflowRun {
	r.t.Helper()
	return r.startOn(TaskQueue, id, name, in)
}

func (r *rig) startOn(queue, id, name string, in any) client.WorkflowRun {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		run, err := r.ExecuteWorkflow(r.t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue, StaticSummary: name + " of acme",
			TypedSearchAttributes: ofApp("acme", backup.Microsoft365)}, name, in)
		var unknown *serviceerror.InvalidArgument // the server's caches learn of new search attributes a moment later
		if err == nil {
			return run
		}
		if !errors.As(err, &unknown) || time.Now().After(end) {
			r.t.Fatal(err)
		}
	}
}

// task waits until a workflow's task is in this state.
func (r *rig) task(id, name string, state backup.PrerequisiteState) backup.Task {
	r.t.Helper()
	var last any
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		value, err := r.QueryWorkflow(r.t.Context(), id, "", TasksQuery)
		if err != nil {
			last = err
			continue
		}
		var tasks []backup.Task
		if err := value.Get(&tasks); err != nil {
			r.t.Fatal(err)
		}
		for _, task := range tasks {
			if task.Name == name && task.State == state {
				return task
			}
		}
		last = tasks
	}
	r.t.Fatalf("%s of %s is not %s: %+v", name, id, state, last)
	return backup.Task{}
}

func (r *rig) decide(id string, d backup.Decision) (task backup.Task, err error) {
	r.t.Helper()
	handle, err := r.UpdateWorkflow(r.t.Context(), client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: DecideUpdate, Args: []any{d}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = handle.Get(r.t.Context(), &task)
	}
	return task, err
}

func (r *rig) signal(id, name string, arg any) {
	r.t.Helper()
	if err := r.SignalWorkflow(r.t.Context(), id, "", name, arg); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) await(run client.WorkflowRun, result any) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	if err := run.Get(ctx, result); err != nil {
		r.t.Fatalf("%s: %v", run.GetID(), err)
	}
}

// outcome waits for a workflow that is expected to fail.
func (r *rig) outcome(run client.WorkflowRun) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	defer cancel()
	err := run.Get(ctx, nil)
	if v := VerdictOf(err); strings.Contains(v.Detail, "deadline exceeded") {
		r.t.Fatalf("%s does not end", run.GetID())
	}
	return err
}

// history reads one run's history.
func (r *rig) history(id, runID string) *historypb.History {
	r.t.Helper()
	h := &historypb.History{}
	for events := r.GetWorkflowHistory(r.t.Context(), id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		e, err := events.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	return h
}

func (r *rig) set(f *func() (backup.Verdict, error), v backup.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*f = func() (backup.Verdict, error) { return v, nil }
}

func (r *rig) applyTo(id string, tenant backup.Tenant) {
	r.t.Helper()
	handle, err := r.UpdateWorkflow(r.t.Context(), client.UpdateWorkflowOptions{WorkflowID: id, UpdateName: ApplyUpdate, Args: []any{ApplyInput{Tenant: tenant, By: anna}}, WaitForStage: client.WorkflowUpdateStageCompleted})
	if err == nil {
		err = handle.Get(r.t.Context(), nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) until(what string, holds func() bool) {
	r.t.Helper()
	r.within(time.Minute, what, holds)
}

func (r *rig) within(limit time.Duration, what string, holds func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not so after %s: %s", limit, what)
		}
	}
}

// A server's timers are up to a second late, so short days have fewer looks than real ones; days of eight seconds have as many.
var dayLength = flag.Duration("day", 500*time.Millisecond, "the length of a day in TestAMonthOfWaitingOnAServer")

// Acceptance 4, with events counted by a server: thirty days of waiting for a connector.
func TestAMonthOfWaitingOnAServer(t *testing.T) {
	real := pace
	t.Cleanup(func() { pace = real })
	day := *dayLength
	pace = pacing{FirstLook: day / 1440, LastLook: day / 4, Outage: day / 96, Reminder: day, Deadline: 60 * day}

	r := newRig(t, startServer(t))
	r.set(&r.holder, notConnected)
	run := r.start(onboardAcme, OnboardTenantName, onboardInput())
	r.within(32*day+30*time.Second, "thirty reminders were sent", func() bool { return r.raised("not_connected key") >= 31 })
	r.set(&r.holder, passing)
	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 1, At: time.Now()})
	r.await(run, nil)
	for id, limit := range map[string]int64{keyAcme: 2000, onboardAcme: 400} {
		d, err := r.DescribeWorkflowExecution(t.Context(), id, "")
		if err != nil {
			t.Fatal(err)
		}
		info := d.GetWorkflowExecutionInfo()
		t.Logf("%s: %d events, %d bytes, %d looks", id, info.GetHistoryLength(), info.GetHistorySizeBytes(), r.times("ObserveKeyHolder"))
		if info.GetHistoryLength() > limit {
			t.Errorf("%s has %d events, want at most %d", id, info.GetHistoryLength(), limit)
		}
	}
}
