package orchestrator

import (
	"regexp"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// scheduled is what a schedule appends to the id of what it starts.
var scheduled = regexp.MustCompile(`^-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)

// WaitsIn tells whether a task waits in an import of one directory: one that was asked for, or one that the schedule started, whose id has a
// time at its end. An onboarding's checklist mirrors the tasks of its import.
func (w Waiting) WaitsIn(tenant string, dir backup.DirectoryName) bool {
	id := w.Task.Workflow
	if id == "" {
		id = w.WorkflowID
	}
	stem := workflows.ImportID(tenant, dir)
	time, ok := strings.CutPrefix(id, stem)
	return ok && (time == "" || scheduled.MatchString(time))
}
