package workflows

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// damping is how long a tenant may be without a connector before anybody is told: a restart or a new connection takes
	// a few seconds and is no news.
	damping = 10 * time.Second
	// maxConnectors bounds what is kept. A tenant's file pins its connectors, and few have more than three.
	maxConnectors = 100
	// maxParked bounds who may ask to be told of a connector; a tenant has a few runs and enrolments at a time.
	maxParked = 100
	// A connector that connects more than flapLimit times within flapWindow is unsteady. It is alerted once, until it was steady for as
	// long; being away for less than that is no news of its own then, and who waits for it is told every wakeDistance at most.
	flapLimit    = 5
	flapWindow   = 10 * time.Minute
	wakeDistance = time.Minute
)

// watch is the entity of a tenant's connectors.
type watch struct {
	in WatchConnectorsInput
	speaker
	reports workflow.ReceiveChannel
	alarms  workflow.ReceiveChannel
	parked  workflow.ReceiveChannel
	// arrived: a connector connected, so what waits for one should look again.
	arrived bool
	// stranger: the connector that arrived was not known before, so an alert may be open that was not raised here.
	stranger bool
	// back: a connector spoke again after a run had raised the alert.
	back bool
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
	w.alarms = workflow.GetSignalChannelWithOptions(ctx, AlarmedSignal, workflow.SignalChannelOptions{
		Description: "Sent by runs: they raised Not Connected because no connector answered."})
	w.parked = workflow.GetSignalChannelWithOptions(ctx, ParkedSignal, workflow.SignalChannelOptions{
		Description: "Sent by workflows that wait for a connector: the id to send a recheck to when one connects."})
	for ctx.Err() == nil {
		w.listen()
		w.act(ctx)
		if w.heard() {
			continue // they arrived while an alert was being raised
		}
		if ctx.Err() == nil && !w.arrived && workflow.GetInfo(ctx).GetContinueAsNewSuggested() { // a cancellation does not carry over
			return workflow.NewContinueAsNewError(ctx, WatchConnectorsName, w.in)
		}
		w.sleep(ctx)
	}
	return ctx.Err()
}

func (w *watch) heard() bool { return w.reports.Len() > 0 || w.parked.Len() > 0 || w.alarms.Len() > 0 }

// listen takes everything that was sent.
func (w *watch) listen() {
	for {
		var id string
		if !w.parked.ReceiveAsync(&id) {
			break
		}
		if id != "" && !slices.Contains(w.in.Parked, id) && len(w.in.Parked) < maxParked {
			w.in.Parked = append(w.in.Parked, id)
		}
	}
	for {
		var at time.Time
		if !w.alarms.ReceiveAsync(&at) {
			break
		}
		w.in.Alarmed = at
	}
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
	case w.answers(r, w.in.Reports[i]):
		w.in.Alarmed, w.back = time.Time{}, true
		if r.Session == w.in.Reports[i].Session {
			w.arrived = true
			return
		}
		w.in.Reports[i] = r
	case r.Session > w.in.Reports[i].Session, r.Session == w.in.Reports[i].Session && w.in.Reports[i].Connected && !r.Connected:
		w.in.Reports[i] = r
	default:
		return
	}
	if r.Connected {
		w.came(r)
		w.arrived, w.stranger = true, w.stranger || !known
	}
}

// answers tells whether a report is the word of a connector that a run missed, although nobody had noticed that it was gone.
func (w *watch) answers(r, known ConnectorReport) bool {
	return !w.in.Alarmed.IsZero() && r.Connected && r.Session >= known.Session && r.At.After(w.in.Alarmed)
}

// came notes when a connector connected.
func (w *watch) came(r ConnectorReport) {
	i, known := slices.BinarySearchFunc(w.in.Comings, r.Connector, func(c Coming, name string) int { return cmp.Compare(c.Connector, name) })
	if !known {
		w.in.Comings = slices.Insert(w.in.Comings, i, Coming{Connector: r.Connector})
	}
	c := &w.in.Comings[i]
	c.Times = append(c.Times, r.At)
	c.Times = c.Times[max(0, len(c.Times)-flapLimit-1):]
}

// steadyAt is when a connector that comes and goes will have been steady for long enough.
func (c Coming) steadyAt() time.Time { return c.Times[len(c.Times)-1].Add(flapWindow) }

// flaps tells whether a connector has lately come too often.
func (c Coming) flaps(now time.Time) bool {
	return len(c.Times) > flapLimit && c.Times[len(c.Times)-1].Sub(c.Times[0]) <= flapWindow && now.Before(c.steadyAt())
}

// steady alerts once of each connector that comes and goes, and resolves that when it has stayed as it is for a while.
func (w *watch) steady(ctx workflow.Context) {
	now := workflow.Now(ctx)
	for i := range w.in.Comings {
		c := &w.in.Comings[i]
		switch {
		case !c.Unsteady && c.flaps(now):
			c.Unsteady = true
			w.raise(ctx, backup.Alert{Kind: backup.AlertFlapping, Subject: c.Connector,
				Message: fmt.Sprintf("the connector %s of %s connected %d times within %s", c.Connector, w.in.Tenant, len(c.Times), c.Times[len(c.Times)-1].Sub(c.Times[0]).Round(time.Second)),
				Hint:    "see the connector's log: it is restarted again and again, its network breaks, or two machines run under one identity"})
		case c.Unsteady && !now.Before(c.steadyAt()):
			c.Unsteady = false
			w.resolve(ctx, backup.AlertFlapping, c.Connector)
		}
	}
}

// unsteady tells whether any connector comes and goes.
func (w *watch) unsteady() bool {
	return slices.ContainsFunc(w.in.Comings, func(c Coming) bool { return c.Unsteady })
}

// act does what the present state asks for. It looks at the state and not at single reports, so a burst of them costs no more than one.
func (w *watch) act(ctx workflow.Context) {
	w.steady(ctx)
	now := workflow.Now(ctx)
	switch connected := slices.ContainsFunc(w.in.Reports, func(r ConnectorReport) bool { return r.Connected }); {
	case len(w.in.Reports) == 0:
	case connected:
		w.in.Lost = time.Time{}
		if !w.in.Raised.IsZero() || w.stranger || w.back {
			w.resolve(ctx, backup.AlertNotConnected, backup.TaskKey)
			w.in.Raised, w.stranger, w.back = time.Time{}, false, false
		}
	case w.in.Lost.IsZero():
		w.in.Lost = now
	case !now.Before(w.due()):
		w.in.Raised = now // or looked at: the next look is a day later
		if !w.needed(ctx) {
			break
		}
		w.raise(ctx, backup.Alert{Kind: backup.AlertNotConnected, Subject: backup.TaskKey,
			Message: fmt.Sprintf("no connector of %s is connected since %s", w.in.Tenant, day(w.in.Lost)),
			Hint:    "start holdfastd connector in the customer's network, or see its log; backups wait or fail until then, as the tenant's file says"})
	}
	if w.arrived && !now.Before(w.wakeAt()) {
		w.arrived, w.in.Woken = false, now
		w.wake(ctx)
	}
	workflow.SetCurrentDetails(ctx, w.markdown())
}

// needed tells whether anybody needs a connector: a key that a KMS wraps, or that was shredded, is not asked of one. When that cannot be
// found out, it is taken for needed.
func (w *watch) needed(ctx workflow.Context) bool {
	if workflow.GetVersion(ctx, "needed", workflow.DefaultVersion, 1) == workflow.DefaultVersion {
		return true
	}
	var plan activities.KeyPlanResult
	calls := calling(ctx, observing, w.in.Tenant, "Does the key need a connector?")
	err := workflow.ExecuteActivity(calls, (*activities.KeyKeeping)(nil).PlanKey, describe(w.in.Tenant, "")).Get(calls, &plan)
	switch {
	case err != nil:
		return VerdictOf(err).Code != backup.CodeDestroyed
	case plan.Active.Generation == 0:
		return plan.Method == backup.KeyByConnector
	}
	return plan.Active.Method == backup.KeyByConnector
}

// wake tells what may be waiting for a connector to look again. Most of the time nothing is, and the signals reach nobody. Who asked to
// be told is told once.
func (w *watch) wake(ctx workflow.Context) {
	for _, id := range slices.Concat([]string{ProvisionKeyID(w.in.Tenant), OnboardID(w.in.Tenant, w.in.App)}, w.in.Parked) {
		workflow.SignalExternalWorkflow(ctx, id, "", RecheckSignal, "a connector of "+w.in.Tenant+" connected")
	}
	w.in.Parked = nil
}

// wakeAt is when those who wait may be told again.
func (w *watch) wakeAt() time.Time {
	if !w.unsteady() {
		return time.Time{}
	}
	return w.in.Woken.Add(wakeDistance)
}

// due is when the alert is to be raised next, while no connector is connected.
func (w *watch) due() time.Time {
	switch {
	case !w.in.Raised.IsZero():
		return w.in.Raised.Add(pace.Reminder)
	case w.unsteady():
		return w.in.Lost.Add(flapWindow)
	}
	return w.in.Lost.Add(damping)
}

// sleep waits for the next report, or until something is due.
func (w *watch) sleep(ctx workflow.Context) {
	var next time.Time
	summary := ""
	sooner := func(at time.Time, why string) {
		if next.IsZero() || at.Before(next) {
			next, summary = at, why
		}
	}
	if !w.in.Lost.IsZero() {
		sooner(w.due(), "Alert: Not Connected")
	}
	for _, c := range w.in.Comings {
		if c.Unsteady {
			sooner(c.steadyAt(), "Is "+c.Connector+" steady?")
		}
	}
	if w.arrived {
		sooner(w.wakeAt(), "Tell who waits for a connector")
	}
	if next.IsZero() {
		_ = workflow.Await(ctx, w.heard)
		return
	}
	options := workflow.AwaitOptions{Timeout: next.Sub(workflow.Now(ctx)), TimerOptions: workflow.TimerOptions{Summary: summary}}
	_, _ = workflow.AwaitWithOptions(ctx, options, w.heard)
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
