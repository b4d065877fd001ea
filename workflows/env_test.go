package workflows

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// stage is a test environment with a world: time skips, so weeks of waiting take milliseconds.
type stage struct {
	*testsuite.TestWorkflowEnvironment
	*world
	t        *testing.T
	timers   int
	answered int
	updates  int
	parked   map[string]int // workflows that asked to be told of a connector
}

// updateID keeps the environment from taking two updates for one.
func (s *stage) updateID() string {
	s.updates++
	return fmt.Sprint("update-", s.updates)
}

func newStage(t *testing.T, id string) *stage {
	var suite testsuite.WorkflowTestSuite
	s := &stage{TestWorkflowEnvironment: suite.NewTestWorkflowEnvironment(), world: newWorld(), t: t, parked: map[string]int{}}
	s.SetStartWorkflowOptions(client.StartWorkflowOptions{ID: id, TaskQueue: TaskQueue})
	s.SetDetachedChildWait(false)     // the watch over connectors never ends
	s.SetTestTimeout(2 * time.Minute) // of real time, on a busy machine
	Register(s)
	s.world.register(s)
	s.SetOnTimerFiredListener(func(string) { s.timers++ })
	// Runs tell whoever watches the connectors that they raised Not Connected.
	s.OnSignalExternalWorkflow("default-test-namespace", watchAcme, "", AlarmedSignal, anything).Return(nil).Maybe()
	return s
}

// after does something at a distance from the workflow's start.
func (s *stage) after(d time.Duration, do func()) { s.RegisterDelayedCallback(do, d) }

// decide sends a decision as an update; check gets the answer.
func (s *stage) decide(workflowID string, d backup.Decision, check func(task backup.Task, err error)) {
	s.t.Helper()
	callbacks := &testsuite.TestUpdateCallback{
		OnAccept: func() {},
		OnReject: func(err error) { s.answered++; check(backup.Task{}, err) },
		OnComplete: func(result any, err error) {
			s.answered++
			task, _ := result.(backup.Task)
			check(task, err)
		},
	}
	if err := s.UpdateWorkflowByID(workflowID, DecideUpdate, s.updateID(), callbacks, d); err != nil {
		s.t.Errorf("the update did not reach %s: %v", workflowID, err)
	}
}

// apply sends a changed description to the onboarding.
func (s *stage) apply(by string, tenant backup.Tenant, check func(err error)) {
	s.t.Helper()
	s.UpdateWorkflow(ApplyUpdate, s.updateID(), &testsuite.TestUpdateCallback{
		OnAccept:   func() {},
		OnReject:   func(err error) { s.answered++; check(err) },
		OnComplete: func(_ any, err error) { s.answered++; check(err) },
	}, ApplyInput{Tenant: tenant, By: by})
}

// tasks asks a workflow for its checklist.
func (s *stage) tasks(workflowID string) map[string]backup.Task {
	s.t.Helper()
	value, err := s.QueryWorkflowByID(workflowID, TasksQuery)
	if err != nil {
		s.t.Fatal(err)
	}
	var list []backup.Task
	if err := value.Get(&list); err != nil {
		s.t.Fatal(err)
	}
	tasks := map[string]backup.Task{}
	for _, task := range list {
		tasks[task.Name] = task
	}
	return tasks
}

func (s *stage) mustComplete(result any) {
	s.t.Helper()
	if !s.IsWorkflowCompleted() {
		s.t.Fatal("the workflow did not end")
	}
	if err := s.GetWorkflowError(); err != nil {
		s.t.Fatal(err)
	}
	if result != nil {
		if err := s.GetWorkflowResult(result); err != nil {
			s.t.Fatal(err)
		}
	}
}

// mustFail returns the verdict that the workflow ended with.
func (s *stage) mustFail(code backup.Code) backup.Verdict {
	s.t.Helper()
	if !s.IsWorkflowCompleted() {
		s.t.Fatal("the workflow did not end")
	}
	err := s.GetWorkflowError()
	if err == nil {
		s.t.Fatal("the workflow did not fail")
	}
	v := VerdictOf(err)
	if v.Code != code {
		s.t.Fatalf("failed with %q (%v), want %q", v.Code, err, code)
	}
	return v
}

// mustContinue returns the input that the workflow continues as new with.
func (s *stage) mustContinue(in any) any {
	s.t.Helper()
	var next *workflow.ContinueAsNewError
	if err := s.GetWorkflowError(); !asContinue(err, &next) {
		s.t.Fatalf("ends with %v", err)
	}
	decodeInput(s.t, next, in)
	return in
}

func wantCode(t *testing.T, err error, code backup.Code) {
	t.Helper()
	if v := VerdictOf(err); err == nil || v.Code != code || v.Passing {
		t.Errorf("got %v (%+v), want %s", err, v, code)
	}
}

func asContinue(err error, next **workflow.ContinueAsNewError) bool { return errors.As(err, next) }

func decodeInput(t *testing.T, next *workflow.ContinueAsNewError, in any) {
	t.Helper()
	if err := converter.GetDefaultDataConverter().FromPayloads(next.Input, in); err != nil {
		t.Fatal(err)
	}
}
