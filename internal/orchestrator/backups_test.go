package orchestrator

import (
	"testing"

	"go.temporal.io/sdk/client"
)

// The schedule names a run's workflow by the second, so two short runs may share a name.
func TestStartedSince(t *testing.T) {
	describe := func(runs ...string) *client.ScheduleDescription {
		d := &client.ScheduleDescription{}
		for _, r := range runs {
			d.Info.RecentActions = append(d.Info.RecentActions, client.ScheduleActionResult{
				StartWorkflowResult: &client.ScheduleWorkflowExecution{WorkflowID: "backup/acme/microsoft365-2026-01-01T00:00:00Z", FirstExecutionRunID: r}})
		}
		return d
	}
	if got := startedSince(describe("a"), describe("a")); got != "" {
		t.Errorf("nothing was started, but %q was found", got)
	}
	if got := startedSince(describe("a"), describe("a", "b")); got == "" {
		t.Error("the second run within a second was not found")
	}
}
