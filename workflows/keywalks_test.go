package workflows

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// say decides, and wants it taken.
func (r *rig) say(id, task string, action backup.Action, by, reason string) {
	r.t.Helper()
	r.task(id, task, backup.Waiting)
	if _, err := r.decide(id, backup.Decision{Task: task, Action: action, By: by, Reason: reason}); err != nil {
		r.t.Error(err)
	}
}

// A rotation whose new key is shared late and whose old one is retired early; one that is aborted; one that is cancelled; one by the
// clock, and a drill.
func walkRotate(t *testing.T, r *rig) {
	back := r.away("ShareKey", notConnected)
	run := r.start(keyAcme, ChangeKeyName, rotateInput)
	r.say(keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	r.task(keyAcme, backup.TaskHolders, backup.Waiting)
	back()
	r.signal(keyAcme, RecheckSignal, "a connector came")
	r.await(run, nil)
	keep(t, r, "rotate", keyAcme, run.GetRunID())

	retire := RetireKeyID("acme", 1)
	back = r.away("RetireKey", notConnected)
	r.say(retire, backup.TaskRetire, backup.Approve, anna, "")
	r.until("the holder was asked", func() bool { return r.raised("not_connected key") > 0 })
	back()
	r.say(retire, backup.TaskRetire, backup.Retry, anna, "")
	r.await(r.GetWorkflow(t.Context(), retire, ""), nil)
	keep(t, r, "retire", retire, "")

	r.away("RewrapRepository", sealed)
	aborted := r.start(keyAcme, ChangeKeyName, rotateInput)
	r.say(keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	r.say(keyAcme, backup.TaskRewrap, backup.Abort, anna, "later")
	wantCode(t, r.outcome(aborted), backup.CodeNotAllowed)
	keep(t, r, "rotate-aborted", keyAcme, aborted.GetRunID())

	cancelled := r.start(keyAcme, ChangeKeyName, rotateInput)
	r.say(keyAcme, backup.TaskKeyChange, backup.Approve, bert, "")
	r.task(keyAcme, backup.TaskRewrap, backup.Waiting)
	if err := r.CancelWorkflow(t.Context(), keyAcme, ""); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.outcome(cancelled), backup.CodeCancelled)
	keep(t, r, "rotate-cancelled", keyAcme, cancelled.GetRunID())
	if got := r.generations(); got != "1 retired, 2 active, 3 retired, 4 retired, opens with 2" {
		t.Error(got)
	}

	r.mu.Lock()
	delete(r.keys.meddle, "RewrapRepository")
	r.mu.Unlock()
	in := rotateInput
	in.RequestedBy = bySchedule
	clock := r.start("rotate/acme-2026-11-23T03:00:00Z", ChangeKeyName, in)
	r.await(clock, nil)
	keep(t, r, "rotate-scheduled", clock.GetID(), clock.GetRunID())
	keep(t, r, "rotate-scheduled-change", keyAcme, "")
	_ = r.TerminateWorkflow(t.Context(), RetireKeyID("acme", 2), "", "the test is over")

	drill := r.start("drill/acme", DrillKeyName, DrillKeyInput{Tenant: "acme"})
	r.await(drill, nil)
	keep(t, r, "drill", drill.GetID(), drill.GetRunID())
}

// One shredding is called off; the other one waits for a holder that does not come any more.
func walkShred(t *testing.T, r *rig) {
	off := r.start(keyAcme, ShredKeyName, shredInput)
	r.say(keyAcme, backup.TaskShred, backup.Approve, bert, "")
	r.task(keyAcme, backup.TaskShredToo, backup.Waiting)
	_, err := r.decide(keyAcme, backup.Decision{Task: backup.TaskShredToo, Action: backup.Approve, By: bert})
	wantCode(t, err, backup.CodeNotAllowed)
	r.say(keyAcme, backup.TaskShredToo, backup.Approve, dora, "")
	r.say(keyAcme, backup.TaskShredWait, backup.Abort, anna, "we stay")
	wantCode(t, r.outcome(off), backup.CodeNotAllowed)
	keep(t, r, "shred-called-off", keyAcme, off.GetRunID())

	r.mu.Lock()
	r.keys.plan.ShredWait = 2 * time.Second
	r.keys.holders[1] = backup.KeyProof{Holder: "connector lab", Generation: 1, Code: backup.CodeNotConnected, Detail: "it is not connected"}
	r.mu.Unlock()
	run := r.start(keyAcme, ShredKeyName, shredInput)
	r.say(keyAcme, backup.TaskShred, backup.Approve, bert, "")
	r.say(keyAcme, backup.TaskShredToo, backup.Approve, dora, "")
	r.say(keyAcme, backup.TaskDestroy, backup.Waive, anna, "its disk was burnt")
	var result ShredKeyResult
	r.await(run, &result)
	if len(result.Report.ApprovedBy) != 2 || len(result.Report.Signature) == 0 {
		t.Errorf("report %+v", result.Report)
	}
	keep(t, r, "shred", keyAcme, run.GetRunID())
}

// A second connector is compared, pinned and given the key; a token expires.
func walkEnroll(t *testing.T, r *rig) {
	in := EnrollConnectorInput{Tenant: "acme", App: backup.Microsoft365, Connector: "lab", SecretHash: make([]byte, 32), Expires: time.Now().Add(time.Hour), RequestedBy: anna}
	back := r.away("ShareKey", notConnected)
	run := r.start(enrollLab, EnrollConnectorName, in)
	r.until("the token is good", func() bool { return r.times("ReadEnrolment") > 0 })
	r.present(labKey)
	r.signal(enrollLab, PresentedSignal, EnrolmentReport{Connector: "lab", Identity: labKey})
	r.say(enrollLab, backup.TaskConnector, backup.Approve, bert, "")
	r.task(enrollLab, backup.TaskHolders, backup.Waiting)
	back()
	r.signal(enrollLab, RecheckSignal, "a connector came")
	var result EnrollConnectorResult
	r.await(run, &result)
	if result.Holds != 1 {
		t.Errorf("%+v", result)
	}
	keep(t, r, "enroll", enrollLab, run.GetRunID())

	in.Expires = time.Now().Add(3 * time.Second)
	late := r.start(enrollLab, EnrollConnectorName, in)
	wantCode(t, r.outcome(late), backup.CodeNotConnected)
	keep(t, r, "enroll-expired", enrollLab, late.GetRunID())
}

// A connector is removed; the last one is not.
func walkRemove(t *testing.T, r *rig) {
	r.mu.Lock()
	r.keys.pinned, r.keys.enrolment.Identity = true, labKey
	r.mu.Unlock()
	run := r.start(removeLab, RemoveConnectorName, removeInput)
	var result RemoveConnectorResult
	r.await(run, &result)
	if result.Identity != labKey {
		t.Errorf("%+v", result)
	}
	keep(t, r, "remove", removeLab, run.GetRunID())

	r.away("RemoveConnector", lastHolder)
	last := r.start(removeLab, RemoveConnectorName, removeInput)
	wantCode(t, r.outcome(last), backup.CodeNotAllowed)
	keep(t, r, "remove-last", removeLab, last.GetRunID())
}

// A run waits for a connector, and is told by the watch that one came; the connector comes and goes then.
func walkPark(t *testing.T, r *rig) {
	r.mu.Lock()
	r.keys.plan.WaitsAbsent = true
	r.mu.Unlock()
	watch := r.start(watchAcme, WatchConnectorsName, WatchConnectorsInput{Tenant: "acme", App: backup.Microsoft365})
	r.set(&r.holder, notConnected)
	run := r.start(backupAcme, BackUpAppName, backupInput)
	r.until("the run is parked", func() bool { return r.raised("not_connected key") > 0 })
	time.Sleep(firstHolderLook + 2*time.Second) // a look of its own
	r.set(&r.holder, passing)
	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 1, At: time.Now()})
	began := time.Now()
	var result BackUpAppResult
	r.await(run, &result)
	if took := time.Since(began); result.Outcome != backup.RunComplete || took > 5*time.Second {
		t.Errorf("%+v after %s", result, took)
	}
	keep(t, r, "backup-parked", backupAcme, run.GetRunID())

	r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Session: 1, At: time.Now()})
	r.until("Not Connected is raised", func() bool { return r.raised("not_connected key") == 1 })
	for n := range int64(flapLimit + 1) {
		r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: n + 2, At: time.Now()})
		r.signal(watchAcme, ConnectorSignal, ConnectorReport{Connector: "c1", Session: n + 2, At: time.Now()})
	}
	r.until("the unsteady connector is told", func() bool { return r.raised("flapping c1") == 1 })
	if err := r.CancelWorkflow(t.Context(), watchAcme, ""); err != nil {
		t.Fatal(err)
	}
	_ = r.outcome(watch)
	keep(t, r, "watch-parked", watchAcme, watch.GetRunID())
}
