package workflows

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	enrollLab = "enroll/acme/lab"
	labKey    = "ed25519:AAAA"
)

func enrollInput(s *stage) EnrollConnectorInput {
	return EnrollConnectorInput{Tenant: "acme", App: backup.Microsoft365, Connector: "lab", SecretHash: make([]byte, 32), Expires: s.Now().Add(time.Hour), RequestedBy: anna}
}

// use presents the token at a time; told says whether the gateway's word of it arrives.
func (s *stage) use(at time.Duration, told bool) {
	s.after(at, func() {
		s.present(labKey)
		if told {
			s.SignalWorkflow(PresentedSignal, EnrolmentReport{Connector: "lab", Identity: "ed25519:FORGED"})
		}
	})
}

func TestTheFirstConnectorIsPinnedAtOnce(t *testing.T) {
	for _, told := range []bool{true, false} {
		s := newKeyStage(t, enrollLab)
		s.keys.plan.Active, s.keys.plan.Connectors = backup.EKey{}, 0
		s.use(10*time.Minute, told)
		s.after(12*time.Minute, func() {
			if !s.keys.pinned || s.keys.open {
				t.Error("not pinned at once, or the token is still good")
			}
		})
		s.ExecuteWorkflow(EnrollConnector, enrollInput(s))
		var result EnrollConnectorResult
		s.mustComplete(&result)
		if result.Holds != 0 || s.times("ShareKey") != 0 || !s.keys.pinned || len(s.told()) != 0 {
			t.Errorf("%+v, told %v", result, s.told())
		}
	}
}

// Another connector waits for a second person, and then for a connector that has the key.
func TestAnotherConnectorIsCompared(t *testing.T) {
	s := newKeyStage(t, enrollLab)
	back := s.away("ShareKey", notConnected)
	s.use(10*time.Minute, true)
	s.after(20*time.Minute, func() {
		task := s.tasks(enrollLab)[backup.TaskConnector]
		if task.State != backup.Waiting || !strings.Contains(task.Detail, labKey) || strings.Contains(task.Detail, "FORGED") || s.keys.pinned {
			t.Errorf("%+v", task)
		}
		s.decide(enrollLab, backup.Decision{Task: backup.TaskConnector, Action: backup.Approve, By: anna}, func(_ backup.Task, err error) {
			wantCode(t, err, backup.CodeNotAllowed)
		})
	})
	s.say(day1, enrollLab, backup.TaskConnector, backup.Approve, bert, "")
	s.after(2*day1, func() {
		if s.keys.open || !s.keys.pinned || s.tasks(enrollLab)[backup.TaskHolders].State != backup.Waiting || s.parked[enrollLab] == 0 {
			t.Errorf("open %v, pinned %v, parked %v", s.keys.open, s.keys.pinned, s.parked)
		}
		back()
		s.SignalWorkflow(RecheckSignal, "a connector came")
	})
	s.ExecuteWorkflow(EnrollConnector, enrollInput(s))
	var result EnrollConnectorResult
	s.mustComplete(&result)
	if result.Holds != 1 || !slices.Equal(s.keys.shared, []activities.ShareKeyInput{{Tenant: "acme", Connector: "lab"}}) || len(s.alerts()) != 0 {
		t.Errorf("%+v, shared %+v, alerts %v", result, s.keys.shared, s.alerts())
	}
}

// However an enrolment fails, nothing is pinned and the token is good for nothing.
func TestEnrolmentsThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*stage, *EnrollConnectorInput)
		want backup.Code
	}{
		"expired": {func(*stage, *EnrollConnectorInput) {}, backup.CodeNotConnected},
		"rejected": {func(s *stage, _ *EnrollConnectorInput) {
			s.use(time.Minute, true)
			s.say(10*time.Minute, enrollLab, backup.TaskConnector, backup.Reject, bert, "another identity")
		}, backup.CodeNotAllowed},
		"cancelled": {func(s *stage, _ *EnrollConnectorInput) { s.after(time.Minute, s.CancelWorkflow) }, backup.CodeCancelled},
		"cancelled later": {func(s *stage, _ *EnrollConnectorInput) {
			s.use(time.Minute, true)
			s.after(2*time.Minute, s.CancelWorkflow)
		}, backup.CodeCancelled},
		"a viewer": {func(_ *stage, in *EnrollConnectorInput) { in.RequestedBy = "cleo@acme.example" }, backup.CodeNotAllowed},
		"a lie": {func(s *stage, _ *EnrollConnectorInput) { // a signal without a token
			s.after(time.Minute, func() { s.SignalWorkflow(PresentedSignal, EnrolmentReport{Connector: "lab", Identity: labKey}) })
		}, backup.CodeNotConnected},
	} {
		t.Run(name, func(t *testing.T) {
			s := newKeyStage(t, enrollLab)
			in := enrollInput(s)
			c.set(s, &in)
			s.ExecuteWorkflow(EnrollConnector, in)
			s.mustFail(c.want)
			if s.keys.pinned || s.keys.open || s.times("ShareKey") != 0 {
				t.Errorf("pinned %v, open %v", s.keys.pinned, s.keys.open)
			}
			if got := s.alerts(); len(got) != 0 {
				t.Errorf("alerts %v", got)
			}
		})
	}
}

func TestAnEnrolmentContinuesAsNew(t *testing.T) {
	for _, task := range []string{backup.TaskConnector, backup.TaskHolders} {
		s := newKeyStage(t, enrollLab)
		s.away("ShareKey", notConnected)
		s.use(time.Minute, true)
		if task == backup.TaskHolders {
			s.say(time.Hour, enrollLab, backup.TaskConnector, backup.Approve, bert, "")
		}
		s.after(day1, func() {
			s.SetContinueAsNewSuggested(true)
			s.SignalWorkflow(RecheckSignal, "")
		})
		s.ExecuteWorkflow(EnrollConnector, enrollInput(s))
		in := s.mustContinue(new(EnrollConnectorInput)).(*EnrollConnectorInput)

		again := newKeyStage(t, enrollLab)
		again.keys = s.keys
		again.keys.meddle = map[string]func() (backup.Verdict, error){}
		if task == backup.TaskConnector {
			again.say(time.Hour, enrollLab, backup.TaskConnector, backup.Approve, bert, "")
		}
		again.ExecuteWorkflow(EnrollConnector, *in)
		again.mustComplete(nil)
		if again.times("OpenEnrolment") != 0 || !again.keys.pinned || again.keys.open || len(again.keys.shared) != 1 {
			t.Errorf("at %s: opened %d times, %+v", task, again.times("OpenEnrolment"), again.keys)
		}
	}
}
