package workflows

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const histories = "testdata/histories"

var record = flag.Bool("record", false, "write the histories of the recorded walks into "+histories)

// Workflows of released code are under way when new code starts: it must go on exactly where they stand. The histories come from a
// real server; a change that breaks one of them needs workflow.GetVersion, not a new recording.
func TestRecordedHistoriesReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(histories, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no histories (%v): record them with go test ./workflows -run TestWalks -record", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if err := replay(read(t, file)); err != nil {
				t.Error(err)
			}
		})
	}
}

func read(t *testing.T, file string) *historypb.History {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// replay runs the workflows over a history under the id it was recorded with: a board tells its own tasks by it.
func replay(h *historypb.History) error {
	replayer := worker.NewWorkflowReplayer()
	Register(replayer)
	started := h.Events[0].GetWorkflowExecutionStartedEventAttributes()
	return replayer.ReplayWorkflowHistoryWithOptions(nil, h, worker.ReplayWorkflowHistoryOptions{
		OriginalExecution: workflow.Execution{ID: started.GetWorkflowId(), RunID: started.GetOriginalExecutionRunId()}})
}

// Every workflow has a recorded history.
func TestEveryWorkflowIsRecorded(t *testing.T) {
	recorded := map[string]bool{}
	files, _ := filepath.Glob(filepath.Join(histories, "*.json"))
	for _, file := range files {
		recorded[read(t, file).Events[0].GetWorkflowExecutionStartedEventAttributes().GetWorkflowType().GetName()] = true
	}
	for _, name := range []string{OnboardTenantName, ProvisionKeyName, WatchConnectorsName, ImportPeopleName, BackUpAppName, RestoreName, CheckSystemName,
		ChangeKeyName, RetireKeyLaterName, ShredKeyName, DrillKeyName, EnrollConnectorName, RemoveConnectorName, ChangeSCIMTokenName, SettleConflictsName, ReviewLeaversName} {
		if !recorded[name] {
			t.Errorf("no history of %s", name)
		}
	}
}

// TestWalks walks through the product's stories on a real server; with -record it keeps their histories.
func TestWalks(t *testing.T) {
	address := startServer(t)
	for name, walk := range map[string]func(*testing.T, *rig){
		"onboard": walkOnboard, "import": walkImport, "backup": walkBackup, "restore": walkRestore, "waive": walkWaive,
		"rotate": walkRotate, "shred": walkShred, "enroll": walkEnroll, "remove": walkRemove, "park": walkPark, "token": walkToken,
		"people": walkPeople, "conflicts": walkConflicts, "leavers": walkLeavers,
	} {
		t.Run(name, func(t *testing.T) { walk(t, newRig(t, address)) })
	}
}

// keep writes a history. It must be of a workflow that is closed or has nothing to do.
func keep(t *testing.T, r *rig, file, id, runID string) {
	t.Helper()
	h := r.history(id, runID)
	if err := replay(proto.Clone(h).(*historypb.History)); err != nil { // the workflow writes its search attributes into what it replays
		t.Errorf("%s does not replay: %v", file, err)
	}
	if !*record {
		return
	}
	text, err := protojson.MarshalOptions{Indent: " "}.Marshal(h)
	if err == nil {
		err = os.MkdirAll(histories, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(histories, file+".json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The demo's story: no connector, wrong and right decisions, a connector comes, and all goes on by itself.
func walkOnboard(t *testing.T, r *rig) {
	r.set(&r.holder, notConnected)
	r.set(&r.app, missingRole)
	run := r.start(onboardAcme, OnboardTenantName, onboardInput())
	r.task(keyAcme, backup.TaskKey, backup.Waiting)
	r.task(onboardAcme, backup.TaskKey, backup.Waiting)

	_, err := r.decide(keyAcme, backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "eve@elsewhere.example"})
	wantCode(t, err, backup.CodeUnknownPrincipal)
	_, err = r.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: anna})
	wantCode(t, err, backup.CodeNotWaiting)
	task, err := r.decide(onboardAcme, backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: anna})
	if err != nil || task.DecidedBy != anna {
		t.Errorf("a decision forwarded to the child: %+v, %v", task, err)
	}
	r.signal(keyAcme, RecheckSignal, nil) // as the Web UI sends it, without a payload
	r.signal(keyAcme, DecideSignal, backup.Decision{Task: "lunch", Action: backup.Retry, By: anna})
	r.task(onboardAcme, backup.TaskKey, backup.Waiting)

	r.set(&r.holder, passing)
	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 1, At: time.Now()})
	before := r.task(onboardAcme, backup.TaskApp, backup.Waiting)
	changed := acme()
	changed.Name = "Acme Ltd"
	r.applyTo(onboardAcme, changed)
	r.until("apply looks again", func() bool {
		return r.task(onboardAcme, backup.TaskApp, backup.Waiting).NextCheck.After(before.NextCheck)
	})
	r.set(&r.app, passing)
	if _, err := r.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Retry, By: anna}); err != nil {
		t.Error(err)
	}
	var result OnboardTenantResult
	r.await(run, &result)
	if result.Accounts.Active != 23 || result.FirstRun == "" {
		t.Errorf("result %+v", result)
	}
	if got := strings.Join(r.alerts(), ", "); got != "decision_refused lunch" {
		t.Errorf("open alerts %s", got)
	}

	// The connector is lost and comes back.
	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Session: 1, At: time.Now()})
	r.until("Not Connected is raised", func() bool { return r.raised("not_connected key") == 1 })
	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 2, At: time.Now()})
	r.until("Not Connected is resolved", func() bool { return r.raised("not_connected key") == 0 })
	if err := r.CancelWorkflow(t.Context(), watchAcme, ""); err != nil {
		t.Fatal(err)
	}
	_ = r.outcome(r.GetWorkflow(t.Context(), watchAcme, ""))
	for file, id := range map[string]string{"onboard": onboardAcme, "onboard-key": keyAcme, "onboard-import": importAcme, "watch": watchAcme} {
		keep(t, r, file, id, "")
	}
}

// A second onboarding finds the key's workflow under way; a look by the gate's own timer; a waived prerequisite; a cancellation.
func walkWaive(t *testing.T, r *rig) {
	r.set(&r.holder, notConnected)
	r.set(&r.app, missingRole)
	key := r.start(keyAcme, ProvisionKeyName, ProvisionKeyInput{Tenant: "acme"})
	r.task(keyAcme, backup.TaskKey, backup.Waiting)
	run := r.start(onboardAcme, OnboardTenantName, onboardInput())
	r.task(onboardAcme, backup.TaskKey, backup.Waiting)
	r.set(&r.holder, passing)
	r.signal(keyAcme, RecheckSignal, "a test")
	r.await(key, nil)
	r.task(onboardAcme, backup.TaskApp, backup.Waiting)
	if *record {
		time.Sleep(pace.FirstLook + 5*time.Second) // a recording has a look of the gate's own
	}
	task, err := r.decide(onboardAcme, backup.Decision{Task: backup.TaskApp, Action: backup.Waive, By: anna, Reason: "drives follow later"})
	if err != nil || task.State != backup.Waived {
		t.Errorf("%+v, %v", task, err)
	}
	r.await(run, nil)
	keep(t, r, "waive", onboardAcme, run.GetRunID())
	keep(t, r, "key-alone", keyAcme, key.GetRunID())

	r.set(&r.directory, missingRole)
	again := r.start(onboardAcme, OnboardTenantName, onboardInput())
	r.task(onboardAcme, backup.TaskApp, backup.Waiting)
	if err := r.CancelWorkflow(t.Context(), onboardAcme, ""); err != nil {
		t.Fatal(err)
	}
	if v := VerdictOf(r.outcome(again)); v.Code != backup.CodeCancelled {
		t.Errorf("ends with %+v", v)
	}
	if got := r.alerts(); len(got) != 0 {
		t.Errorf("open alerts %v", got)
	}
	keep(t, r, "onboard-cancelled", onboardAcme, again.GetRunID())
}

func walkImport(t *testing.T, r *rig) {
	r.compare = manyRemovals
	run := r.start(importAcme, ImportPeopleName, importInput())
	r.task(importAcme, backup.TaskRemovals, backup.Waiting)
	approve := backup.Decision{Task: backup.TaskRemovals, Action: backup.Approve, By: anna}
	_, err := r.decide(importAcme, approve)
	wantCode(t, err, backup.CodeNotAllowed)
	approve.By = "bert@acme.example"
	if _, err := r.decide(importAcme, approve); err != nil {
		t.Error(err)
	}
	r.await(run, nil)
	keep(t, r, "import-approved", importAcme, run.GetRunID())

	refused := r.start(importAcme, ImportPeopleName, importInput())
	r.task(importAcme, backup.TaskRemovals, backup.Waiting)
	approve.Action, approve.Reason = backup.Reject, "wrong filter"
	if _, err := r.decide(importAcme, approve); err != nil {
		t.Error(err)
	}
	wantCode(t, r.outcome(refused), backup.CodeNotAllowed)
	keep(t, r, "import-rejected", importAcme, refused.GetRunID())
}

func walkBackup(t *testing.T, r *rig) {
	r.shards = 6
	run := r.start(backupAcme, BackUpAppName, backupInput)
	var result BackUpAppResult
	r.await(run, &result)
	if result.Outcome != backup.RunComplete {
		t.Errorf("result %+v", result)
	}
	keep(t, r, "backup", backupAcme, run.GetRunID())

	r.set(&r.holder, notConnected)
	failed := r.start(backupAcme, BackUpAppName, backupInput)
	wantCode(t, r.outcome(failed), backup.CodeNotConnected)
	// backup-not-connected.json is of the build that did not know how to wait; it is replayed as it is.
	keep(t, r, "backup-absent", backupAcme, failed.GetRunID())

	r.set(&r.holder, passing)
	r.mu.Lock()
	r.finish = func(in activities.FinishRunInput) backup.Run {
		return backup.Run{Tenant: in.Tenant, Number: in.Number, Outcome: backup.RunPartial, Parts: 12, Done: 11, Failed: 1}
	}
	r.mu.Unlock()
	partial := r.start(backupAcme, BackUpAppName, backupInput)
	r.await(partial, nil)
	keep(t, r, "backup-partial", backupAcme, partial.GetRunID())
}

func walkRestore(t *testing.T, r *rig) {
	run := r.start("restore/acme/r1", RestoreName, RestoreInput{Tenant: "acme", Request: "r1", Account: "ben@acme.example", App: backup.Microsoft365, Service: backup.Mail, To: "/restore", RequestedBy: anna})
	r.await(run, nil)
	keep(t, r, "restore", run.GetID(), run.GetRunID())
	check := r.start("check/acme/app", CheckSystemName, CheckSystemInput{Tenant: acme(), App: backup.Microsoft365, System: CheckAppSystem})
	r.await(check, nil)
	keep(t, r, "check", check.GetID(), check.GetRunID())
}
