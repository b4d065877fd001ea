package workflows

import (
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

// The distances at which an enrolment looks by itself whether its token was used, in case a gateway's word of it was lost.
const (
	firstPresentedLook = 5 * time.Second
	lastPresentedLook  = time.Minute
)

// enrolling admits one connector.
type enrolling struct {
	in    EnrollConnectorInput
	board *board
	plan  activities.KeyPlanResult
	// heard: a gateway said that the token was used.
	heard bool
}

// EnrollConnector admits one connector: it waits until the token is used, lets an administrator compare the identity unless the
// connector is the tenant's first, pins it, and has another connector bring it the key, if there is one.
func EnrollConnector(ctx workflow.Context, in EnrollConnectorInput) (*EnrollConnectorResult, error) {
	e := &enrolling{in: in}
	if err := e.setUp(ctx); err != nil {
		return nil, err
	}
	result, err := e.run(ctx)
	if errors.Is(err, errContinue) {
		err = e.continueAsNew(ctx)
	}
	if workflow.IsContinueAsNewError(err) {
		return nil, err
	}
	e.board.close(ctx, err)
	return result, err
}

func (e *enrolling) setUp(ctx workflow.Context) (err error) {
	e.board, err = openBoard(ctx, &board{
		speaker: speaker{e.in.Tenant},
		scope:   e.in.Connector,
		parks:   true,
		heading: fmt.Sprintf("Admitting the connector %s of %s", e.in.Connector, e.in.Tenant),
		again:   fmt.Sprintf("holdfast connector enroll %s --name %s makes another token", e.in.Tenant, e.in.Connector),
	}, nil, e.in.Resume)
	if err != nil {
		return err
	}
	presented := workflow.GetSignalChannelWithOptions(ctx, PresentedSignal, workflow.SignalChannelOptions{
		Description: "Sent by gateways: the token was used. What was shown with it is read from the store."})
	receive(ctx, "presented", presented, func(workflow.Context, EnrolmentReport) { e.heard = true })
	return nil
}

func (e *enrolling) run(ctx workflow.Context) (*EnrollConnectorResult, error) {
	if e.board.task(backup.TaskHolders) == nil { // otherwise an earlier run of this workflow has pinned it
		if err := e.admit(ctx); err != nil {
			return nil, err
		}
	}
	return e.share(ctx)
}

// admit pins the connector. However it ends, the token is good for nothing afterwards.
func (e *enrolling) admit(ctx workflow.Context) error {
	if e.in.Resume == nil {
		asker := activities.AdministratorInput{Tenant: e.in.Tenant, RequestedBy: e.in.RequestedBy}
		if err := e.board.mayAdminister(ctx, bookkeeping, "May "+e.in.RequestedBy+" enroll a connector?", asker); err != nil {
			return err
		}
	}
	err := e.useToken(ctx)
	if !errors.Is(err, errContinue) {
		e.closeToken(ctx)
	}
	return err
}

// useToken makes the token good, and pins the connector that uses it. An earlier run of this workflow has made it good already.
func (e *enrolling) useToken(ctx workflow.Context) error {
	if e.in.Resume == nil {
		in := activities.EnrolInput{Tenant: e.in.Tenant, Connector: e.in.Connector, SecretHash: e.in.SecretHash, Expires: e.in.Expires}
		calls := calling(ctx, bookkeeping, e.in.Tenant, "Make the token good")
		if err := workflow.ExecuteActivity(calls, (*activities.Enrolling)(nil).OpenEnrolment, in).Get(calls, nil); err != nil {
			return failed(ctx, err)
		}
	}
	shown, err := e.presented(ctx)
	if err != nil {
		return err
	}
	if err := e.compare(ctx, shown); err != nil {
		return err
	}
	calls := calling(ctx, bookkeeping, e.in.Tenant, "Pin the connector "+e.in.Connector)
	return failed(ctx, workflow.ExecuteActivity(calls, (*activities.Enrolling)(nil).PinConnector, e.name()).Get(calls, nil))
}

func (e *enrolling) name() activities.EnrolmentInput {
	return activities.EnrolmentInput{Tenant: e.in.Tenant, Connector: e.in.Connector}
}

// presented waits until the token was used, or is too old. The store is believed, and not the signal, which anybody who reaches the
// orchestrator could send.
func (e *enrolling) presented(ctx workflow.Context) (backup.Enrolment, error) {
	workflow.SetCurrentDetails(ctx, fmt.Sprintf("### Admitting the connector %s of %s\n\nWaiting until the token is used: `holdfastd connector --enroll TOKEN`, before %s.\n",
		plain(e.in.Connector), plain(e.in.Tenant), day(e.in.Expires)))
	for begun := workflow.Now(ctx); ; {
		e.heard = false
		var shown backup.Enrolment
		calls := calling(ctx, bookkeeping, e.in.Tenant, "Was the token used?")
		if err := workflow.ExecuteActivity(calls, (*activities.Enrolling)(nil).ReadEnrolment, e.name()).Get(calls, &shown); err != nil {
			return shown, failed(ctx, err)
		}
		now := workflow.Now(ctx)
		switch {
		case !shown.Presented.IsZero():
			return shown, nil
		case !now.Before(e.in.Expires):
			return shown, failure(backup.Verdict{Code: backup.CodeNotConnected, Fault: backup.FaultCustomer,
				Detail: fmt.Sprintf("no connector used the token before %s", day(e.in.Expires)), Hint: e.board.again})
		}
		patience := min(max(now.Sub(begun), firstPresentedLook), lastPresentedLook, e.in.Expires.Sub(now))
		options := workflow.AwaitOptions{Timeout: patience, TimerOptions: workflow.TimerOptions{Summary: "Look whether the token was used"}}
		if _, err := workflow.AwaitWithOptions(ctx, options, func() bool { return e.heard }); err != nil {
			return shown, err
		}
	}
}

// compare lets a second person look at who used the token, when there is something to lose: a key that the connector would get, or
// connectors beside which it would be asked. The first one is pinned at once.
func (e *enrolling) compare(ctx workflow.Context, shown backup.Enrolment) (err error) {
	if e.plan, err = e.board.plan(ctx); err != nil {
		return err
	}
	if e.plan.Active.Generation == 0 && e.plan.Connectors == 0 {
		return nil
	}
	return e.board.pass(ctx, gate{name: backup.TaskConnector, actions: judge, requestedBy: e.in.RequestedBy,
		asks: backup.Verdict{Code: backup.CodeNotAllowed, Fault: backup.FaultCustomer,
			Detail: fmt.Sprintf("the token of %s for the connector %s was used at %s by %s; it will hold the key of %s", e.in.RequestedBy, e.in.Connector, day(shown.Presented), shown.Identity, e.in.Tenant),
			Hint:   "compare the identity with what holdfastd connector shows on its machine; reject if it differs in one letter"}})
}

// closeToken makes the token useless, also when the workflow was cancelled.
func (e *enrolling) closeToken(ctx workflow.Context) {
	ctx, _ = workflow.NewDisconnectedContext(ctx)
	calls := calling(ctx, bookkeeping, e.in.Tenant, "Make the token useless")
	if err := workflow.ExecuteActivity(calls, (*activities.Enrolling)(nil).CloseEnrolment, e.name()).Get(calls, nil); err != nil {
		workflow.GetLogger(ctx).Error("cannot close the enrolment", "error", err) // it was used or is about to expire
	}
}

// share has a connector that holds the key seal it to the new one. Both must be connected at the same time, so it may have to wait.
func (e *enrolling) share(ctx workflow.Context) (*EnrollConnectorResult, error) {
	plan, err := e.board.plan(ctx)
	if err != nil {
		return nil, err
	}
	if plan.Active.Generation == 0 || plan.Active.Method != backup.KeyByConnector {
		return &EnrollConnectorResult{}, nil
	}
	// The generation in use is meant, whichever that is by then.
	in := activities.ShareKeyInput{Tenant: e.in.Tenant, Connector: e.in.Connector}
	err = e.board.pass(ctx, gate{name: backup.TaskHolders, actions: mendOrWaive,
		look: e.board.probe(keeping, "Bring the key to "+e.in.Connector, (*activities.KeyKeeping)(nil).ShareKey, in)})
	if err != nil || e.board.task(backup.TaskHolders).State == backup.Waived {
		return &EnrollConnectorResult{}, err
	}
	if plan, err = e.board.plan(ctx); err != nil {
		return nil, err
	}
	return &EnrollConnectorResult{Holds: plan.Active.Generation}, nil
}

func (e *enrolling) continueAsNew(ctx workflow.Context) error {
	resume, err := e.board.carry(ctx)
	if err != nil {
		return err
	}
	e.in.Resume = resume
	return workflow.NewContinueAsNewError(ctx, EnrollConnectorName, e.in)
}
