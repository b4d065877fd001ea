package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// damping is how long a tenant may be without a connector before anybody is told: a restart or a new connection takes
	// a few seconds and is no news.
	damping = 10 * time.Second
	// maxConnectors bounds what is kept. A tenant's file pins its connectors, and few have more than three.
	maxConnectors = 100
)

// watch is the entity of a tenant's connectors.
type watch struct {
	in WatchConnectorsInput
	speaker
	reports workflow.ReceiveChannel
	// arrived: a connector connected, so what waits for one should look again.
	arrived bool
	// stranger: the connector that arrived was not known before, so an alert may be open that was not raised here.
	stranger bool
}

// WatchConnectors knows which connectors of a tenant are connected. It raises Not Connected when none is, reminds of it daily,
// resolves it, and tells what waits for a connector that one came. It never ends; it continues as new.
func WatchConnectors(ctx workflow.Context, in WatchConnectorsInput) error {
	w := &watch{in: in, speaker: speaker{in.Tenant}}
	err := workflow.SetQueryHandlerWithOptions(ctx, ConnectorsQuery, func() ([]ConnectorReport, error) { return w.in.Reports, nil },
		workflow.QueryHandlerOptions{Description: "The latest report of each connector."})
	if err != nil {
		return err
	}
	w.reports = workflow.GetSignalChannelWithOptions(ctx, ConnectorSignal, workflow.SignalChannelOptions{
		Description: "Sent by gateways: a connector connected or was lost."})
	for ctx.Err() == nil {
		w.listen()
		w.act(ctx)
		if w.reports.Len() > 0 {
			continue // they arrived while an alert was being raised
		}
		if ctx.Err() == nil && workflow.GetInfo(ctx).GetContinueAsNewSuggested() { // a cancellation does not carry over
			return workflow.NewContinueAsNewError(ctx, WatchConnectorsName, w.in)
		}
		w.sleep(ctx)
	}
	return ctx.Err()
}

// listen takes all reports that are there.
func (w *watch) listen() {
	for {
		var r ConnectorReport
		if !w.reports.ReceiveAsync(&r) {
			return
		}
		w.take(r)
	}
}

// take believes a report unless it is older than what is known. Within one session a connector connects and is then lost, so of two
// reports of a session the loss is the later one.
func (w *watch) take(r ConnectorReport) {
	i, known := slices.BinarySearchFunc(w.in.Reports, r.Connector, func(k ConnectorReport, name string) int { return cmp.Compare(k.Connector, name) })
	switch {
	case !known && len(w.in.Reports) >= maxConnectors:
		return
	case !known:
		w.in.Reports = slices.Insert(w.in.Reports, i, r)
	case r.Session > w.in.Reports[i].Session, r.Session == w.in.Reports[i].Session && w.in.Reports[i].Connected && !r.Connected:
		w.in.Reports[i] = r
	default:
		return
	}
	if r.Connected {
		w.arrived, w.stranger = true, w.stranger || !known
	}
}

// act does what the present state asks for. It looks at the state and not at single reports, so a burst of them costs no more than one.
func (w *watch) act(ctx workflow.Context) {
	now := workflow.Now(ctx)
	switch connected := slices.ContainsFunc(w.in.Reports, func(r ConnectorReport) bool { return r.Connected }); {
	case len(w.in.Reports) == 0:
	case connected:
		w.in.Lost = time.Time{}
		if !w.in.Raised.IsZero() || w.stranger {
			w.resolve(ctx, backup.AlertNotConnected, backup.TaskKey)
			w.in.Raised, w.stranger = time.Time{}, false
		}
	case w.in.Lost.IsZero():
		w.in.Lost = now
	case !now.Before(w.due()):
		w.in.Raised = now
		w.raise(ctx, backup.Alert{Kind: backup.AlertNotConnected, Subject: backup.TaskKey,
			Message: fmt.Sprintf("no connector of %s is connected since %s", w.in.Tenant, day(w.in.Lost)),
			Hint:    "start holdfastd connector in the customer's network, or see its log; backups fail until then"})
	}
	if w.arrived {
		w.arrived = false
		w.wake(ctx)
	}
	workflow.SetCurrentDetails(ctx, w.markdown())
}

// wake tells what may be waiting for a connector to look again. Most of the time nothing is, and the signals reach nobody.
func (w *watch) wake(ctx workflow.Context) {
	for _, id := range []string{ProvisionKeyID(w.in.Tenant), OnboardID(w.in.Tenant, w.in.App)} {
		workflow.SignalExternalWorkflow(ctx, id, "", RecheckSignal, "a connector of "+w.in.Tenant+" connected")
	}
}

// due is when the alert is to be raised next, while no connector is connected.
func (w *watch) due() time.Time {
	if w.in.Raised.IsZero() {
		return w.in.Lost.Add(damping)
	}
	return w.in.Raised.Add(pace.Reminder)
}

// sleep waits for the next report, or until the alert is due.
func (w *watch) sleep(ctx workflow.Context) {
	heard := func() bool { return w.reports.Len() > 0 }
	if w.in.Lost.IsZero() {
		_ = workflow.Await(ctx, heard)
		return
	}
	options := workflow.AwaitOptions{Timeout: w.due().Sub(workflow.Now(ctx)), TimerOptions: workflow.TimerOptions{Summary: "Alert: Not Connected"}}
	_, _ = workflow.AwaitWithOptions(ctx, options, heard)
}

func (w *watch) markdown() string {
	var page strings.Builder
	say(&page, "### Connectors of %s\n\n", plain(w.in.Tenant))
	if len(w.in.Reports) == 0 {
		page.WriteString("None has connected yet.\n")
	}
	for _, r := range w.in.Reports {
		mark, state := "x", "connected"
		if !r.Connected {
			mark, state = " ", "**lost**"
		}
		say(&page, "- [%s] %s — %s since %s\n", mark, plain(r.Connector), state, day(r.At))
	}
	return page.String()
}
