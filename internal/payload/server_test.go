package payload_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/payload"
)

const queue = "canaries"

// canaries are all places in which a secret can reach Temporal. Each carries a text of its own.
var canaries = []string{
	"start-argument", "memo", "static-summary", "static-details", "current-details", "workflow-result",
	"signal", "signal-with-start", "external-signal", "update-argument", "update-result", "update-refusal", "query-argument", "query-result",
	"activity-argument", "activity-result", "activity-summary", "heartbeat", "activity-failure", "activity-failure-details", "stack-of-canary-function",
	"local-activity-result", "side-effect", "upserted-memo", "timer-summary", "continued-argument",
	"child-argument", "child-summary", "child-memo", "child-result", "child-failure", "workflow-failure",
	"schedule-argument", "schedule-summary", "schedule-memo",
}

func canary(of string) string { return "CANARY-" + of + "-q7" }

// carrier is the workflow that carries them.
func carrier(ctx workflow.Context, in string) (string, error) {
	if in == canary("continued-argument") {
		return canary("workflow-result"), nil
	}
	err := errors.Join(
		workflow.SetQueryHandler(ctx, "query", func(string) (string, error) { return canary("query-result"), nil }),
		workflow.SetUpdateHandlerWithOptions(ctx, "update", func(workflow.Context, string) (string, error) { return canary("update-result"), nil },
			workflow.UpdateHandlerOptions{Validator: func(in string) error {
				if in == "refuse" {
					return errors.New(canary("update-refusal"))
				}
				return nil
			}}),
		workflow.UpsertMemo(ctx, map[string]any{"later": canary("upserted-memo")}))
	if err != nil {
		return "", err
	}
	workflow.SetCurrentDetails(ctx, canary("current-details"))
	var a *activitiesOfCarrier
	actx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, HeartbeatTimeout: 10 * time.Second, Summary: canary("activity-summary"),
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, MaximumAttempts: 3}})
	if err := workflow.ExecuteActivity(actx, a.Work, canary("activity-argument")).Get(ctx, nil); err != nil {
		return "", err
	}
	if err := workflow.ExecuteActivity(actx, a.StackOfCanaryFunction).Get(ctx, nil); err == nil {
		return "", errors.New("the failing activity did not fail")
	}
	lctx := workflow.WithLocalActivityOptions(ctx, workflow.LocalActivityOptions{StartToCloseTimeout: time.Minute})
	if err := workflow.ExecuteLocalActivity(lctx, func() (string, error) { return canary("local-activity-result"), nil }).Get(ctx, nil); err != nil {
		return "", err
	}
	workflow.SideEffect(ctx, func(workflow.Context) any { return canary("side-effect") })
	_ = workflow.GetVersion(ctx, "a-change", workflow.DefaultVersion, 1)
	if err := workflow.NewTimerWithOptions(ctx, time.Millisecond, workflow.TimerOptions{Summary: canary("timer-summary")}).Get(ctx, nil); err != nil {
		return "", err
	}
	cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{WorkflowID: workflow.GetInfo(ctx).WorkflowExecution.ID + "-child",
		StaticSummary: canary("child-summary"), Memo: map[string]any{"m": canary("child-memo")}})
	if err := workflow.ExecuteChildWorkflow(cctx, child, canary("child-argument")).Get(ctx, nil); err == nil {
		return "", errors.New("the failing child did not fail")
	}
	for range 2 { // one by the starter, one by the child
		workflow.GetSignalChannel(ctx, "signal").Receive(ctx, nil)
	}
	if err := workflow.Await(ctx, func() bool { return workflow.AllHandlersFinished(ctx) }); err != nil {
		return "", err
	}
	if in == "fail" {
		return "", temporal.NewApplicationError(canary("workflow-failure"), "some-type")
	}
	return "", workflow.NewContinueAsNewError(ctx, carrier, canary("continued-argument"))
}

func child(ctx workflow.Context, _ string) (string, error) {
	parent := workflow.GetInfo(ctx).ParentWorkflowExecution
	if err := workflow.SignalExternalWorkflow(ctx, parent.ID, "", "signal", canary("external-signal")).Get(ctx, nil); err != nil {
		return "", err
	}
	return canary("child-result"), errors.New(canary("child-failure"))
}

// quiet returns, so that a result of a child exists, too.
func quiet(_ workflow.Context, in string) (string, error) { return canary("child-result"), nil }

type activitiesOfCarrier struct{}

func (*activitiesOfCarrier) Work(ctx context.Context, _ string) (string, error) {
	activity.RecordHeartbeat(ctx, canary("heartbeat"))
	if activity.GetInfo(ctx).Attempt == 1 {
		return "", temporal.NewApplicationError(canary("activity-failure"), "some-type", canary("activity-failure-details"))
	}
	return canary("activity-result"), nil
}

// StackOfCanaryFunction panics, so that its name is in the failure's stack trace.
func (*activitiesOfCarrier) StackOfCanaryFunction(context.Context) error { panic("CANARY-panic") }

// tap records what leaves towards the server, as the last one in the chain.
type tap struct {
	mu   sync.Mutex
	said bytes.Buffer
}

func (t *tap) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if m, ok := req.(proto.Message); ok {
		b, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.said.Write(b)
		t.mu.Unlock()
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}

// dial connects, encrypted when there is a codec, with a tap at the end.
func dial(t testing.TB, address string, codec converter.PayloadCodec, tap *tap) client.Client {
	t.Helper()
	o := client.Options{HostPort: address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))}
	if codec != nil {
		if err := payload.Encrypt(&o, codec); err != nil {
			t.Fatal(err)
		}
	}
	if tap != nil {
		o.ConnectionOptions.DialOptions = append(o.ConnectionOptions.DialOptions, grpc.WithChainUnaryInterceptor(tap.intercept))
	}
	c, err := client.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func work(t testing.TB, c client.Client) worker.Worker {
	t.Helper()
	w := worker.New(c, queue, worker.Options{})
	w.RegisterWorkflow(carrier)
	w.RegisterWorkflow(child)
	w.RegisterWorkflow(quiet)
	w.RegisterWorkflow(patient)
	w.RegisterActivity(&activitiesOfCarrier{})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w
}

// server runs a real Temporal server on a database file. The second result stops it.
func server(t testing.TB, db string) (address string, stop func()) {
	t.Helper()
	var said bytes.Buffer
	s, err := devserver.Start(t.Context(), devserver.Options{Database: db, UIPort: -1, Log: &said})
	if err != nil {
		t.Fatalf("%v: %s", err, said.Bytes())
	}
	stop = sync.OnceFunc(s.Stop)
	t.Cleanup(stop)
	return s.Address, stop
}

// Nothing that Holdfast says is to be found in clear: not in what leaves for the server, not in exported histories, not in the server's
// database. The same without a codec finds every canary, so that this scan can fail.
func TestCanaries(t *testing.T) {
	for name, codec := range map[string]converter.PayloadCodec{"with the codec": payload.NewCodec(payload.NewKeyring(time.Now())), "without": nil} {
		t.Run(name, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "temporal.db")
			address, stop := server(t, db)
			tap := new(tap)
			c := dial(t, address, codec, tap)
			w := work(t, c)
			story(t, c)
			history := export(t, address)
			w.Stop()
			c.Close()
			stop()
			places := map[string][]byte{"the wire": tap.said.Bytes(), "the histories": history, "the database": database(t, db)}
			if codec == nil {
				all := slices.Concat(tap.said.Bytes(), history)
				for _, of := range canaries {
					if !bytes.Contains(all, []byte(mark(of))) {
						t.Errorf("the canary %s is not even sent without a codec, so nothing is known about it", of)
					}
				}
				for _, of := range []string{"start-argument", "memo", "signal", "activity-result", "workflow-failure", "stack-of-canary-function"} {
					if !bytes.Contains(places["the database"], []byte(mark(of))) {
						t.Errorf("the scan does not find %s in a database that holds it", of)
					}
				}
				return
			}
			for place, b := range places {
				if len(b) < 10_000 {
					t.Errorf("%s has only %d bytes", place, len(b))
				}
				for _, of := range append(slices.Clone(canaries), "panic") {
					if n := bytes.Count(b, []byte(mark(of))); n > 0 {
						t.Errorf("%s holds the canary %s %d times", place, of, n)
					}
				}
			}
		})
	}
}

// mark is what is searched for.
func mark(of string) string {
	switch of {
	case "stack-of-canary-function":
		return "activitiesOfCarrier).StackOfCanaryFunction" // as a stack trace has it; the activity's own name is no secret
	case "panic":
		return "CANARY-panic"
	}
	return canary(of)
}

// story sends every canary once.
func story(t *testing.T, c client.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "w", TaskQueue: queue, StaticSummary: canary("static-summary"),
		StaticDetails: canary("static-details"), Memo: map[string]any{"m": canary("memo")}}, carrier, canary("start-argument"))
	ok(err)
	update := func(arg string) (string, error) {
		h, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{WorkflowID: "w", UpdateName: "update", Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted})
		if err != nil {
			return "", err
		}
		var result string
		return result, h.Get(ctx, &result)
	}
	result, err := update(canary("update-argument"))
	ok(err)
	if result != canary("update-result") {
		t.Errorf("the update answers %q", result)
	}
	if _, err := update("refuse"); err == nil || !strings.Contains(err.Error(), canary("update-refusal")) {
		t.Errorf("a refused update: %v", err)
	}
	answer, err := c.QueryWorkflow(ctx, "w", "", "query", canary("query-argument"))
	ok(err)
	ok(answer.Get(&result))
	if result != canary("query-result") {
		t.Errorf("the query answers %q", result)
	}
	_, err = c.QueryWorkflow(ctx, "w", "", "__temporal_workflow_metadata") // what the Web UI asks for: the current details
	ok(err)
	ok(c.SignalWorkflow(ctx, "w", "", "signal", canary("signal")))
	ok(run.Get(ctx, &result))
	if result != canary("workflow-result") {
		t.Errorf("the workflow ends with %q", result)
	}

	failing, err := c.SignalWithStartWorkflow(ctx, "f", "signal", canary("signal-with-start"), client.StartWorkflowOptions{TaskQueue: queue}, carrier, "fail")
	ok(err)
	if err := failing.Get(ctx, nil); err == nil || !strings.Contains(err.Error(), canary("workflow-failure")) {
		t.Errorf("the failing workflow ends with %v", err)
	}
	done, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "q", TaskQueue: queue}, quiet, "x")
	ok(err)
	ok(done.Get(ctx, nil))

	schedule, err := c.ScheduleClient().Create(ctx, client.ScheduleOptions{ID: "s", Memo: map[string]any{"m": canary("schedule-memo")}, TriggerImmediately: true,
		Action: &client.ScheduleWorkflowAction{ID: "s", Workflow: quiet, TaskQueue: queue, Args: []any{canary("schedule-argument")}, StaticSummary: canary("schedule-summary")}})
	ok(err)
	for {
		d, err := schedule.Describe(ctx)
		ok(err)
		if len(d.Info.RecentActions) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	ok(schedule.Update(ctx, client.ScheduleUpdateOptions{DoUpdate: func(in client.ScheduleUpdateInput) (*client.ScheduleUpdate, error) {
		in.Description.Schedule.Spec.Jitter = time.Second // what was described is sent again
		return &client.ScheduleUpdate{Schedule: &in.Description.Schedule}, nil
	}}))
}

// export reads every history as anybody can who reaches the server: without a codec.
func export(t *testing.T, address string) []byte {
	t.Helper()
	c := dial(t, address, nil, nil)
	var all bytes.Buffer
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		list, err := c.ListWorkflow(t.Context(), &workflowservice.ListWorkflowExecutionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.GetExecutions()) < 7 && time.Now().Before(end) { // visibility is a moment late
			continue
		}
		b, err := proto.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
		for _, e := range list.GetExecutions() {
			b, err := proto.Marshal(historyOf(t, c, e.GetExecution().GetWorkflowId(), e.GetExecution().GetRunId()))
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
		return all.Bytes()
	}
}

func historyOf(t testing.TB, c client.Client, id, run string) *historypb.History {
	t.Helper()
	h := &historypb.History{}
	for events := c.GetWorkflowHistory(t.Context(), id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	return h
}

// database is the server's file with its journal.
func database(t *testing.T, db string) []byte {
	t.Helper()
	var all []byte
	files, err := filepath.Glob(db + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// patient waits for a signal, then runs an activity.
func patient(ctx workflow.Context, in string) (string, error) {
	var said string
	workflow.GetSignalChannel(ctx, "signal").Receive(ctx, &said)
	return in + "+" + said, nil
}

// A worker without the key stops a workflow and does not fail it; it goes on as soon as a worker has the key.
func TestMissingKeyBlocks(t *testing.T) {
	address, _ := server(t, "")
	old := payload.NewKeyring(time.Now().Add(-time.Hour))
	rotated, err := old.Rotate(time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	keep := func(r *payload.Keyring) {
		t.Helper()
		b, err := r.Marshal()
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	keep(old)
	behind, err := payload.Open(t.Context(), func(context.Context) ([]byte, error) { return os.ReadFile(file) })
	if err != nil {
		t.Fatal(err)
	}
	starter := dial(t, address, payload.NewCodec(rotated), nil)
	run, err := starter.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "p", TaskQueue: queue, WorkflowTaskTimeout: 2 * time.Second}, patient, "new")
	if err != nil {
		t.Fatal(err)
	}
	if err := starter.SignalWorkflow(t.Context(), "p", "", "signal", "key"); err != nil {
		t.Fatal(err)
	}
	work(t, dial(t, address, behind, nil))
	failedTasks := func() (n int) {
		for _, e := range historyOf(t, starter, "p", run.GetRunID()).GetEvents() {
			if e.GetEventType() == enums.EVENT_TYPE_WORKFLOW_TASK_FAILED {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); failedTasks() == 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the worker without the key did not try")
		}
	}
	if d, err := starter.DescribeWorkflowExecution(t.Context(), "p", ""); err != nil || d.GetWorkflowExecutionInfo().GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		t.Fatalf("%v, %v", d.GetWorkflowExecutionInfo().GetStatus(), err)
	}
	keep(rotated) // the file arrives; nobody restarts anything
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var result string
	if err := run.Get(ctx, &result); err != nil || result != "new+key" {
		t.Errorf("%q, %v", result, err)
	}
}

// What began in clear goes on, and what was encrypted with an older key is replayed with a newer ring.
func TestHistoriesOfBefore(t *testing.T) {
	address, _ := server(t, "")
	ring := payload.NewKeyring(time.Now().Add(-time.Hour))
	plain := dial(t, address, nil, nil)
	sealed := dial(t, address, payload.NewCodec(ring), nil)
	for id, c := range map[string]client.Client{"in-clear": plain, "sealed": sealed} {
		if _, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue}, patient, "begun "+id); err != nil {
			t.Fatal(err)
		}
	}
	newer, err := ring.Rotate(time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	codec := payload.NewCodec(newer)
	now := dial(t, address, codec, nil)
	work(t, now)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range []string{"in-clear", "sealed"} {
		if err := now.SignalWorkflow(ctx, id, "", "signal", "ended"); err != nil {
			t.Fatal(err)
		}
		var result string
		if err := now.GetWorkflow(ctx, id, "").Get(ctx, &result); err != nil || result != fmt.Sprintf("begun %s+ended", id) {
			t.Errorf("%q, %v", result, err)
		}
		// Replayed with the ring of today, from a history that holds payloads of three kinds.
		r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: payload.DataConverter(codec), FailureConverter: payload.FailureConverter(codec)})
		if err != nil {
			t.Fatal(err)
		}
		r.RegisterWorkflow(patient)
		if err := r.ReplayWorkflowHistory(nil, historyOf(t, now, id, "")); err != nil {
			t.Errorf("%s does not replay: %v", id, err)
		}
	}
}

// A codec that fails sends nothing: not even what the SDK would rather send in clear.
func TestFailingCodecSendsNothing(t *testing.T) {
	address, _ := server(t, "")
	tap := new(tap)
	c := dial(t, address, brokenCodec{}, tap)
	o := client.StartWorkflowOptions{ID: "x", TaskQueue: queue, Memo: map[string]any{"m": canary("memo")}}
	if _, err := c.ExecuteWorkflow(t.Context(), o, "without arguments"); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("started, %v", err)
	}
	if bytes.Contains(tap.said.Bytes(), []byte("CANARY")) {
		t.Error("the memo was sent in clear")
	}
}

type brokenCodec struct{ converter.PayloadCodec }

func (brokenCodec) Encode([]*commonpb.Payload) ([]*commonpb.Payload, error) {
	return nil, errors.New("out of order")
}
func (brokenCodec) Decode(p []*commonpb.Payload) ([]*commonpb.Payload, error) { return p, nil }
