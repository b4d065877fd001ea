package orchestrator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	// inboxPage is how many waiting workflows are listed per call, inboxLimit how many are asked at most: an inbox longer than
	// that is read tenant by tenant.
	inboxPage  = 200
	inboxLimit = 1000
	// inboxParallel bounds the queries under way; each costs a worker a workflow task.
	inboxParallel = 8
	// queryTimeout bounds one workflow's answer, so that one that is stuck does not hide the others.
	queryTimeout = 10 * time.Second
)

// Waiting is a task that waits for a person, and the workflow in which it does.
type Waiting struct {
	Tenant     string      `json:"tenant"`
	WorkflowID string      `json:"workflowID"`
	RunID      string      `json:"runID"`
	Task       backup.Task `json:"task"`
}

// Inbox lists what waits for a person, oldest first; tenant may be empty for all. A workflow that ended meanwhile is left
// out; of one whose worker does not answer the names are known and shown without details.
func (c *Client) Inbox(ctx context.Context, tenant string) ([]Waiting, error) {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	found, err := c.awaiting(ctx, tenant)
	if err != nil {
		return nil, err
	}
	tasks := make([][]Waiting, len(found))
	var g errgroup.Group
	g.SetLimit(inboxParallel)
	for i, w := range found {
		g.Go(func() (err error) {
			tasks[i], err = c.waitingIn(ctx, w)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return arrange(slices.Concat(tasks...)), nil
}

// awaiting lists the running workflows in which something waits.
func (c *Client) awaiting(ctx context.Context, tenant string) ([]*workflow.WorkflowExecutionInfo, error) {
	query := fmt.Sprintf("%s IS NOT NULL AND ExecutionStatus = 'Running'", workflows.AwaitingAttribute.GetName())
	if tenant != "" {
		query += fmt.Sprintf(" AND %s = '%s'", workflows.TenantAttribute.GetName(), strings.ReplaceAll(tenant, "'", "''"))
	}
	var found []*workflow.WorkflowExecutionInfo
	req := &workflowservice.ListWorkflowExecutionsRequest{Namespace: c.namespace, Query: query, PageSize: inboxPage}
	for len(found) < inboxLimit {
		page, err := c.temporal.ListWorkflow(ctx, req)
		if err != nil {
			return nil, c.classify(ctx, err, "the list of what waits", "")
		}
		found = append(found, page.GetExecutions()...)
		req.NextPageToken = page.GetNextPageToken()
		if len(req.NextPageToken) == 0 {
			break
		}
	}
	return found, nil
}

// waitingIn asks one workflow for its tasks and keeps those that wait.
func (c *Client) waitingIn(ctx context.Context, w *workflow.WorkflowExecutionInfo) ([]Waiting, error) {
	id := w.GetExecution()
	if _, err := workflows.ParseID(id.GetWorkflowId()); err != nil {
		return nil, nil // somebody else's workflow with our attribute
	}
	bounded, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tasks, err := c.queryTasks(bounded, id.GetWorkflowId(), id.GetRunId())
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case errors.Is(err, ErrNoAnswer) && ctx.Err() == nil:
		tasks = namesOnly(w)
	case err != nil:
		return nil, err
	}
	var waiting []Waiting
	for _, t := range tasks {
		if t.State == backup.Waiting {
			waiting = append(waiting, Waiting{tenantOf(w), id.GetWorkflowId(), id.GetRunId(), t})
		}
	}
	return waiting, nil
}

// namesOnly is what the visibility store knows of a workflow's waiting tasks.
func namesOnly(w *workflow.WorkflowExecutionInfo) []backup.Task {
	var names []string
	readAttribute(w, workflows.AwaitingAttribute.GetName(), &names)
	tasks := make([]backup.Task, len(names))
	for i, n := range names {
		tasks[i] = backup.Task{Name: n, Title: n, State: backup.Waiting, Detail: "the worker does not answer, so the details are not known", Hint: "look whether holdfastd is running"}
	}
	return tasks
}

// tenantOf asks the attribute and not the workflow's id, to which a schedule appends the time.
func tenantOf(w *workflow.WorkflowExecutionInfo) (tenant string) {
	readAttribute(w, workflows.TenantAttribute.GetName(), &tenant)
	return tenant
}

// readAttribute leaves into as it is when the value is missing or unreadable. Attributes are never encrypted: the server searches them.
func readAttribute(w *workflow.WorkflowExecutionInfo, name string, into any) {
	_ = converter.GetDefaultDataConverter().FromPayload(w.GetSearchAttributes().GetIndexedFields()[name], into)
}

// arrange drops a parent's copy of a child's task, because the child takes the decision, and sorts by age.
func arrange(all []Waiting) []Waiting {
	type key struct{ tenant, task string }
	inChild := map[key]bool{}
	for _, w := range all {
		if !isParent(w.WorkflowID) {
			inChild[key{w.Tenant, w.Task.Name}] = true
		}
	}
	all = slices.DeleteFunc(all, func(w Waiting) bool { return isParent(w.WorkflowID) && inChild[key{w.Tenant, w.Task.Name}] })
	slices.SortStableFunc(all, func(a, b Waiting) int {
		return cmp.Or(a.Task.Since.Compare(b.Task.Since), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.WorkflowID, b.WorkflowID))
	})
	return all
}

func isParent(workflowID string) bool {
	id, err := workflows.ParseID(workflowID)
	return err == nil && id.Kind == "onboard"
}

// queryTasks asks a workflow, running or closed, for its checklist.
func (c *Client) queryTasks(ctx context.Context, workflowID, runID string) ([]backup.Task, error) {
	v, err := c.temporal.QueryWorkflow(ctx, workflowID, runID, workflows.TasksQuery)
	if err != nil {
		return nil, c.classify(ctx, err, workflowID, "holdfast inbox")
	}
	var tasks []backup.Task
	if err := v.Get(&tasks); err != nil {
		return nil, &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: workflowID + " answers in a form this program does not know", Hint: "update holdfast", Cause: err}
	}
	return tasks, nil
}
