package workflows

import (
	"slices"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// connectors is a watch whose reports a test sends; rechecks are counted at the workflows that would wait.
type connectors struct {
	*stage
	rechecks []string
}

func newConnectors(t *testing.T) *connectors {
	c := &connectors{stage: newStage(t, watchAcme)}
	for _, id := range []string{keyAcme, onboardAcme} {
		c.OnSignalExternalWorkflow("default-test-namespace", id, "", RecheckSignal, "a connector of acme connected").Return(
			func(_, id, _, _ string, _ any) error { // on goroutines of their own
				c.mu.Lock()
				defer c.mu.Unlock()
				c.rechecks = append(c.rechecks, id)
				return nil
			}).Maybe()
	}
	return c
}

func (c *connectors) report(at time.Duration, name string, session int64, connected bool) {
	c.after(at, func() {
		c.SignalWorkflow(ConnectorSignal, ConnectorReport{Connector: name, Session: session, Connected: connected, At: c.Now()})
	})
}

func (c *connectors) run(until time.Duration, in WatchConnectorsInput) {
	c.after(until, c.CancelWorkflow)
	in.Tenant, in.App = "acme", backup.Microsoft365
	c.ExecuteWorkflow(WatchConnectors, in)
}

func TestALostConnectorIsAlertedRemindedAndResolved(t *testing.T) {
	c := newConnectors(t)
	c.report(0, "c1", 1, true)
	c.report(time.Hour, "c1", 1, false)
	c.after(time.Hour+5*time.Second, func() {
		if got := c.alerts(); len(got) != 0 {
			t.Errorf("alerted after five seconds: %v", got)
		}
	})
	c.after(time.Hour+11*time.Second, func() {
		if got := c.alerts(); !slices.Equal(got, []string{"not_connected key"}) {
			t.Errorf("open alerts %v", got)
		}
	})
	c.after(time.Hour+3*day1+time.Minute, func() {
		if n := c.raised("not_connected key"); n != 4 {
			t.Errorf("told %d times in three days", n)
		}
	})
	c.report(4*day1, "c1", 2, true)
	c.run(5*day1, WatchConnectorsInput{})
	if got := c.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
	slices.Sort(c.rechecks)
	if want := []string{keyAcme, keyAcme, onboardAcme, onboardAcme}; !slices.Equal(c.rechecks, want) {
		t.Errorf("rechecks %v", c.rechecks)
	}
}

// A connector that is lost twenty times in twenty minutes is told as what it is, once, however long each loss is; a longer loss than
// the damping is news of its own only before that.
func TestFlappingIsToldOnce(t *testing.T) {
	for lost, want := range map[time.Duration]int{damping - time.Second: 0, damping + time.Second: flapLimit} {
		c := newConnectors(t)
		for i := range 20 {
			at := time.Duration(i) * time.Minute
			c.report(at, "c1", int64(i+1), true)
			c.report(at+time.Minute-lost, "c1", int64(i+1), false)
		}
		c.report(20*time.Minute, "c1", 21, true)
		c.run(time.Hour, WatchConnectorsInput{})
		told := map[string]int{}
		for _, what := range c.told() {
			told[what]++
		}
		if told["raised flapping c1"] != 1 || told["resolved flapping c1"] != 1 || told["raised not_connected key"] != want || told["resolved not_connected key"] != want {
			t.Errorf("lost for %s twenty times told %v", lost, told)
		}
		if got := c.alerts(); len(got) != 0 {
			t.Errorf("alerts still open: %v", got)
		}
	}
}

// Who asked to be told is told once, and the next connector tells him nothing.
func TestAParkedWorkflowIsToldOnce(t *testing.T) {
	c := newConnectors(t)
	told := 0
	c.OnSignalExternalWorkflow("default-test-namespace", backupAcme, "", RecheckSignal, "a connector of acme connected").Return(
		func(_, _, _, _ string, _ any) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			told++
			return nil
		}).Maybe()
	c.report(0, "c1", 1, true)
	c.report(time.Hour, "c1", 1, false)
	c.after(2*time.Hour, func() {
		c.SignalWorkflow(ParkedSignal, backupAcme)
		c.SignalWorkflow(ParkedSignal, backupAcme)
	})
	c.report(3*time.Hour, "c1", 2, true)
	c.report(4*time.Hour, "c2", 1, true)
	c.run(5*time.Hour, WatchConnectorsInput{})
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

// While a connector comes and goes every five seconds, those who wait are told every minute, and nobody's history fills.
func TestFlappingWakesSeldom(t *testing.T) {
	c := newConnectors(t)
	for i := range 120 {
		at := time.Duration(i) * 5 * time.Second
		c.report(at, "c1", int64(i+1), true)
		c.report(at+2*time.Second, "c1", int64(i+1), false)
	}
	c.run(time.Hour, WatchConnectorsInput{})
	if n := len(c.rechecks); n > 2*(flapLimit+12) || n < 20 {
		t.Errorf("%d rechecks in ten minutes", n)
	}
	if got := c.alerts(); !slices.Equal(got, []string{"not_connected key"}) { // in the end it is away
		t.Errorf("open alerts %v", got)
	}
	if got := c.told(); len(got) != 3 {
		t.Errorf("told %v", got)
	}
}

// Nobody misses the connectors of a tenant whose key a KMS wraps by now, or whose key was shredded.
func TestConnectorsThatNobodyNeeds(t *testing.T) {
	for name, set := range map[string]func(*vault){
		"kms": func(v *vault) { v.plan.Active.Method = backup.KeyByKMS },
		"shredded": func(v *vault) {
			v.meddle["PlanKey"] = func() (backup.Verdict, error) {
				return backup.Verdict{}, asActivity(&backup.Error{Code: backup.CodeDestroyed, Fault: backup.FaultCustomer, Message: "shredded"})
			}
		},
	} {
		c := newConnectors(t)
		set(&c.keys)
		c.report(0, "c1", 1, true)
		c.report(time.Hour, "c1", 1, false)
		c.run(5*day1, WatchConnectorsInput{})
		if got := c.told(); len(got) != 0 || c.times("PlanKey") == 0 {
			t.Errorf("%s: told %v, asked %d times", name, got, c.times("PlanKey"))
		}
	}
}

func TestReportsOutOfOrder(t *testing.T) {
	for name, c := range map[string]struct {
		reports []ConnectorReport
		want    bool
	}{
		"loss of an older session":   {[]ConnectorReport{{Session: 2, Connected: true}, {Session: 1, Connected: false}}, true},
		"connect after its own loss": {[]ConnectorReport{{Session: 2, Connected: false}, {Session: 2, Connected: true}}, false},
		"repeated loss":              {[]ConnectorReport{{Session: 1, Connected: true}, {Session: 1}, {Session: 1}}, false},
		"newer session":              {[]ConnectorReport{{Session: 1, Connected: false}, {Session: 2, Connected: true}}, true},
		"older connect":              {[]ConnectorReport{{Session: 3, Connected: false}, {Session: 2, Connected: true}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watch{}
			for _, r := range c.reports {
				r.Connector = "c1"
				w.take(r)
			}
			if len(w.in.Reports) != 1 || w.in.Reports[0].Connected != c.want {
				t.Errorf("known is %+v", w.in.Reports)
			}
		})
	}
}

func TestOneOfTwoConnectorsIsEnough(t *testing.T) {
	c := newConnectors(t)
	c.report(0, "c2", 1, true)
	c.report(time.Second, "c1", 1, true)
	c.report(time.Hour, "c1", 1, false)
	c.after(2*time.Hour, func() {
		value, err := c.QueryWorkflow(ConnectorsQuery)
		if err != nil {
			t.Fatal(err)
		}
		var reports []ConnectorReport
		if err := value.Get(&reports); err != nil || len(reports) != 2 || reports[0].Connector != "c1" || reports[0].Connected || !reports[1].Connected {
			t.Errorf("the query answers %+v, %v", reports, err)
		}
	})
	c.run(2*day1, WatchConnectorsInput{})
	if got := c.told(); len(got) != 0 {
		t.Errorf("told %v", got)
	}
}

func TestTheWatchIsBounded(t *testing.T) {
	w := &watch{}
	for i := range 10 * maxConnectors {
		w.take(ConnectorReport{Connector: string(rune('a'+i%26)) + time.Duration(i).String(), Session: 1})
	}
	if len(w.in.Reports) != maxConnectors {
		t.Errorf("%d connectors are kept", len(w.in.Reports))
	}
}

func TestTheWatchContinuesAsNew(t *testing.T) {
	c := newConnectors(t)
	c.report(0, "c1", 1, true)
	c.report(time.Hour, "c1", 1, false)
	c.after(2*time.Hour, func() {
		// Three reports come with the event that makes it continue: none is lost.
		for i := range int64(3) {
			c.SignalWorkflowSkippingWorkflowTask(ConnectorSignal, ConnectorReport{Connector: "c2", Session: i + 1, Connected: true})
			c.SignalWorkflowSkippingWorkflowTask(ConnectorSignal, ConnectorReport{Connector: "c2", Session: i + 1, Connected: false})
		}
	})
	c.after(2*time.Hour+time.Second, func() {
		c.SetContinueAsNewSuggested(true)
		c.SignalWorkflow(ConnectorSignal, ConnectorReport{Connector: "c1"})
	})
	c.run(3*time.Hour, WatchConnectorsInput{})
	var next *workflow.ContinueAsNewError
	if err := c.GetWorkflowError(); !asContinue(err, &next) {
		t.Fatalf("ends with %v", err)
	}
	var in WatchConnectorsInput
	decodeInput(t, next, &in)
	if len(in.Reports) != 2 || in.Reports[1].Session != 3 || in.Reports[1].Connected || in.Lost.IsZero() || in.Raised.IsZero() {
		t.Errorf("carried %+v", in)
	}

	again := newConnectors(t)
	again.SetStartTime(in.Raised.Add(time.Hour))
	again.open["not_connected key"] = 1
	again.after(23*time.Hour+time.Minute, func() {
		if n := again.raised("not_connected key"); n != 2 {
			t.Errorf("told %d times a day after the first", n)
		}
	})
	again.report(day1, "c1", 2, true)
	again.run(2*day1, in)
	if got := again.alerts(); len(got) != 0 {
		t.Errorf("alerts still open: %v", got)
	}
}

// A run can notice that no connector answers before a gateway has missed one. The alert that it raises then is resolved by the next word of
// a connector, also when that belongs to the session that was never taken for lost, and not by a word from before.
func TestTheAlertOfARunIsResolvedByTheNextWord(t *testing.T) {
	for name, later := range map[string]time.Duration{"after": time.Hour + time.Minute, "before": time.Hour - time.Minute} {
		c := newConnectors(t)
		c.report(0, "c1", 1, true)
		began := c.Now()
		c.after(time.Hour, func() {
			c.mu.Lock()
			c.open["not_connected key"]++ // as a run raises it
			c.mu.Unlock()
			c.SignalWorkflow(AlarmedSignal, c.Now())
		})
		c.after(2*time.Hour, func() {
			c.SignalWorkflow(ConnectorSignal, ConnectorReport{Connector: "c1", Connected: true, Session: 1, At: began.Add(later)})
		})
		c.run(3*time.Hour, WatchConnectorsInput{})
		if open := len(c.alerts()) > 0; open != (name == "before") {
			t.Errorf("a word from %s the alert: still open %v", name, open)
		}
	}
}
