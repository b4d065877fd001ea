package orchestrator

import (
	"context"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/workflows"
)

// EnrolmentRequest asks for the admission of one connector.
type EnrolmentRequest struct {
	Tenant, Connector string
	// SecretHash is the SHA-256 of the token's secret; the token itself stays with whoever made it.
	SecretHash  []byte
	Expires     time.Time
	RequestedBy string
	// Replace gives up an enrolment of the same connector that is under way; otherwise that is a refusal.
	Replace bool
}

// refusalPatience is how long an enrolment's start listens whether the workflow refuses it; measured: a tenth of a second where a worker
// is idle. A later refusal is found by whoever waits, and the token is then good for nothing.
const refusalPatience = 1500 * time.Millisecond

// EnrollConnector opens the enrolment. It does not wait for the connector, which presents the token when somebody has carried it there.
// ErrRefused: one of the same connector is under way, or the workflow did not accept who asked.
func (c *Client) EnrollConnector(ctx context.Context, r EnrolmentRequest) error {
	policy := enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL
	if r.Replace {
		policy = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
	}
	what := "the enrolment of " + r.Connector
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.EnrollConnectorID(r.Tenant, r.Connector), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy:                 policy,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            summary("Enroll the connector %s of %s", r.Connector, r.Tenant),
		TypedSearchAttributes:                    attributes(r.Tenant, backup.Microsoft365),
	}, workflows.EnrollConnectorName, workflows.EnrollConnectorInput{Tenant: r.Tenant, App: backup.Microsoft365, Connector: r.Connector,
		SecretHash: r.SecretHash, Expires: r.Expires, RequestedBy: r.RequestedBy})
	if alreadyRuns(err) {
		return &failure{ErrRefused, &backup.Error{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer, Retryable: true,
			Message: what + " of " + r.Tenant + " is under way",
			Hint:    "use the token that was printed for it, look at holdfast inbox " + r.Tenant + ", or give it up for a new one: --replace"}}
	}
	if err != nil {
		return c.classify(ctx, err, what, "")
	}
	listening, cancel := context.WithTimeout(ctx, refusalPatience)
	defer cancel()
	if err := run.Get(listening, nil); ended(err) {
		return refused(c.classify(ctx, err, what, ""))
	}
	return ctx.Err()
}

// WaitEnrolment waits until the newest enrolment of the connector has ended, and tells which generation of the key the connector holds
// then; 0 when there was none to bring to it.
func (c *Client) WaitEnrolment(ctx context.Context, tenant, connector string) (holds int, err error) {
	var result workflows.EnrollConnectorResult
	err = c.result(ctx, workflows.EnrollConnectorID(tenant, connector), "", "the enrolment of "+connector, &result)
	return result.Holds, err
}

// EnrolmentPresented tells an enrolment that a gateway has seen its token used. ErrNotFound: it has ended meanwhile.
func (c *Client) EnrolmentPresented(ctx context.Context, e backup.Enrolment) error {
	ctx, cancel := answerBy(ctx)
	defer cancel()
	report := workflows.EnrolmentReport{Connector: e.Connector, Identity: e.Identity, At: e.Presented}
	err := c.temporal.SignalWorkflow(ctx, workflows.EnrollConnectorID(e.Tenant, e.Connector), "", workflows.PresentedSignal, report)
	return c.classify(ctx, err, "the enrolment of "+e.Connector, "holdfast connector enroll "+e.Tenant+" --name "+e.Connector)
}

// RemoveConnector takes back the admission of a connector, waits for the end, and returns the connector's public identity. ErrRefused: who
// asked may not, the tenant's file pins the connector, or nobody else is known to hold the key.
func (c *Client) RemoveConnector(ctx context.Context, tenant, connector, by string) (identity string, err error) {
	what := "the removal of " + connector
	run, err := c.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: workflows.RemoveConnectorID(tenant, connector), TaskQueue: workflows.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING, // it does the same
		StaticSummary:            summary("Remove the connector %s of %s", connector, tenant),
		TypedSearchAttributes:    attributes(tenant, backup.Microsoft365),
	}, workflows.RemoveConnectorName, workflows.RemoveConnectorInput{Tenant: tenant, Connector: connector, RequestedBy: by})
	var result workflows.RemoveConnectorResult
	if err == nil {
		err = c.result(ctx, run.GetID(), run.GetRunID(), what, &result)
	}
	err = c.classify(ctx, err, what, "holdfast connector list "+tenant)
	if backup.HasCode(err, backup.CodeNotAllowed) || backup.HasCode(err, backup.CodeUnknownPrincipal) {
		err = refused(err)
	}
	return result.Identity, err
}
