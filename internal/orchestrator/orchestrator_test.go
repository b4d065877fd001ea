package orchestrator_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/sdk/client"

	"github.com/holdfast-backup/holdfast/activities"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/workflows"
)

var _ activities.Scheduler = (*orchestrator.Client)(nil)

const app = backup.Microsoft365

// TestClient shares one server and one worker: each step has its own tenant.
func TestClient(t *testing.T) {
	address := startServer(t)
	c := dial(t, address, "default")
	if err := c.CheckNamespace(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	startWorker(t, c)
	t.Run("pushes", func(t *testing.T) { testPushedPeople(t, c) }) // alone: a burst keeps others from hearing of their tasks in time
	for name, f := range map[string]func(*testing.T, *orchestrator.Client){
		"apply":                   testApply,
		"apply while none polls":  testApplyWithoutWorker,
		"decide":                  testDecide,
		"decide by signal":        testDecideBySignal,
		"child before parent":     testChildBeforeParent,
		"inbox of many":           testInboxOfMany,
		"failed onboarding":       testFailedOnboarding,
		"requests":                testRequests,
		"import refusals":         testImportRefusals,
		"connector reports":       testConnectorReports,
		"one key flow at a time":  testOneKeyFlow,
		"key flow that failed":    testKeyFlowFails,
		"drill":                   testDrill,
		"enrolment":               testEnrolment,
		"same task twice":         testSameTaskTwice,
		"schedules of the key":    testKeySchedules,
		"schedules are kept":      testSchedulesKept,
		"conflicts are woken":     testWakeConflicts,
		"conflicts are settled":   testSettle,
		"directories that go":     testDirectoriesThatGo,
		"runs do not overlap":     testRunsDoNotOverlap,
		"waits end with context":  testWaitsEnd,
		"namespace is only told":  func(t *testing.T, _ *orchestrator.Client) { testNamespaceOnlyTold(t, address) },
		"namespace is made":       func(t *testing.T, _ *orchestrator.Client) { testNamespaceMade(t, address) },
		"attribute of wrong type": func(t *testing.T, _ *orchestrator.Client) { testWrongType(t, address) },
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); f(t, c) })
	}
}

func tenant(id string) backup.Tenant {
	return backup.Tenant{ID: id, Name: strings.ToUpper(id), Directories: []backup.DirectoryConfig{{Name: "ldap", Kind: backup.LDAP}}}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("never: " + what)
}

func testApply(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	if !must(c.ApplyTenant(ctx, tenant("apply"), app, "anna"))(t) {
		t.Error("the first apply did not start")
	}
	changed := tenant("apply")
	changed.Name = "Changed"
	if must(c.ApplyTenant(ctx, changed, app, "anna"))(t) {
		t.Error("the second apply started a second onboarding")
	}
	if _, err := c.ApplyTenant(ctx, tenant("apply"), app, "eve"); !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeUnknownPrincipal) {
		t.Errorf("a stranger's change: %v", err)
	}
	o := must(c.Onboarding(ctx, "apply", app))(t)
	if !o.Running || len(o.Tasks) != 1 || o.Tasks[0].State != backup.Waiting {
		t.Errorf("onboarding: %+v", o)
	}
	must(c.Decide(ctx, "apply", backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "anna"}))(t)
	var result workflows.OnboardTenantResult
	if err := c.Temporal().GetWorkflow(ctx, workflows.OnboardID("apply", app), "").Get(ctx, &result); err != nil || result.FirstRun != "Changed" {
		t.Errorf("the changed description did not arrive: %+v, %v", result, err)
	}
	if !must(c.ApplyTenant(ctx, changed, app, "anna"))(t) {
		t.Error("an apply after the end did not start again")
	}
}

func testApplyWithoutWorker(t *testing.T, c *orchestrator.Client) {
	// Another namespace has no worker; a start must be accepted nevertheless, and an update must say what is missing.
	other := dial(t, orchestrator.AddressOf(c), "unserved")
	if err := other.CheckNamespace(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if !must(other.ApplyTenant(t.Context(), tenant("acme"), app, "anna"))(t) {
		t.Error("not started")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := other.ApplyTenant(ctx, tenant("acme"), app, "anna"); !errors.Is(err, orchestrator.ErrNoAnswer) {
		t.Errorf("update without a worker: %v", err)
	}
}

func testDecide(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	must(c.ApplyTenant(ctx, tenant("decide"), app, "anna"))(t)
	retry := backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "mallory"}
	_, err := c.Decide(ctx, "decide", retry)
	if !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeUnknownPrincipal) || backup.AsError(err).Hint != "add the person" {
		t.Errorf("by a stranger: %v", err)
	}
	retry.By = "anna"
	if task := must(c.Decide(ctx, "decide", retry))(t); task.DecidedBy != "anna" {
		t.Errorf("task: %+v", task)
	}
	if _, err := c.Decide(ctx, "decide", retry); !errors.Is(err, orchestrator.ErrRefused) || !backup.HasCode(err, backup.CodeNotWaiting) {
		t.Errorf("a second time: %v", err)
	}
	if o := must(c.Onboarding(ctx, "decide", app))(t); o.Running || o.Outcome != "Completed" || len(o.Tasks) != 1 {
		t.Errorf("a closed onboarding: %+v", o)
	}
	if _, err := c.Onboarding(ctx, "nobody", app); !errors.Is(err, orchestrator.ErrNotFound) {
		t.Errorf("an unknown tenant: %v", err)
	}
}

func testDecideBySignal(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	must(c.ApplyTenant(ctx, tenant("signal"), app, "anna"))(t)
	if err := c.DecideBySignal(ctx, "signal", backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "bob"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the onboarding ends", func() bool { return !must(c.Onboarding(ctx, "signal", app))(t).Running })
}

func testChildBeforeParent(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	must(c.ApplyTenant(ctx, tenant("family"), app, "anna"))(t)
	child := workflows.ProvisionKeyID("family")
	must(c.Temporal().ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: child, TaskQueue: workflows.TaskQueue,
		TypedSearchAttributes: orchestrator.TenantAttributes("family")}, workflows.ProvisionKeyName, workflows.ProvisionKeyInput{Tenant: "family"}))(t)
	eventually(t, "only the child's task shows", func() bool {
		inbox := must(c.Inbox(ctx, "family"))(t)
		return len(inbox) == 1 && inbox[0].WorkflowID == child
	})
	must(c.Decide(ctx, "family", backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "anna"}))(t)
	if o := must(c.Onboarding(ctx, "family", app))(t); !o.Running {
		t.Error("the decision went to the parent")
	}
}

func testInboxOfMany(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	const n = 30
	for i := range n {
		must(c.ApplyTenant(ctx, tenant(fmt.Sprintf("many-%02d", i)), app, "anna"))(t)
	}
	eventually(t, "all are in the inbox", func() bool {
		found := map[string]bool{}
		for _, w := range must(c.Inbox(ctx, ""))(t) {
			found[w.Tenant] = strings.HasPrefix(w.Tenant, "many-")
		}
		count := 0
		for _, ours := range found {
			if ours {
				count++
			}
		}
		return count == n
	})
}

func testFailedOnboarding(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	must(c.ApplyTenant(ctx, tenant("failing"), app, "anna"))(t)
	must(c.Decide(ctx, "failing", backup.Decision{Task: backup.TaskKey, Action: backup.Retry, By: "anna", Reason: "fail"}))(t)
	eventually(t, "it fails with the code", func() bool {
		o := must(c.Onboarding(ctx, "failing", app))(t)
		return !o.Running && o.Outcome == "Failed" && backup.HasCode(o.Err, backup.CodeMissingRole) && backup.AsError(o.Err).Hint == "grant it"
	})
}

func testRequests(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	if r := must(c.ImportPeople(ctx, "requests", "ldap", true, "anna"))(t); r.Applied || r.Counts.Added != 3 {
		t.Errorf("preview: %+v", r)
	}
	if r := must(c.ImportPeople(ctx, "requests", "ldap", false, "anna"))(t); !r.Applied {
		t.Errorf("import: %+v", r)
	}
	r := must(c.Restore(ctx, orchestrator.RestoreRequest{Tenant: "requests", App: app, Service: backup.Mail, Account: "a@b", To: "/x"}))(t)
	if r.Snapshot == "" || r.Counts.Files != 2 {
		t.Errorf("restore: %+v", r)
	}
	for _, s := range orchestrator.Systems() {
		if v := must(c.CheckSystem(ctx, tenant("requests"), app, s))(t); v.Passing || v.Code != backup.CodeBadCredential || v.Detail != string(s) {
			t.Errorf("check %s: %+v", s, v)
		}
	}
}

func testImportRefusals(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	if _, err := c.ImportPeople(ctx, "empty", "ldap", false, "anna"); !backup.HasCode(err, backup.CodeEmptyListing) || errors.Is(err, orchestrator.ErrRefused) {
		t.Errorf("an empty directory: %v", err)
	}
	slow, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { _, err := c.ImportPeople(slow, "slow", "ldap", false, "slow"); done <- err }()
	eventually(t, "the slow import runs", func() bool {
		_, err := c.Temporal().DescribeWorkflowExecution(ctx, workflows.ImportID("slow", "ldap"), "")
		return err == nil
	})
	for _, preview := range []bool{true, false} {
		if _, err := c.ImportPeople(ctx, "slow", "ldap", preview, "anna"); !errors.Is(err, orchestrator.ErrRefused) {
			t.Errorf("while an import runs, preview %v: %v", preview, err)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled wait: %v", err)
	}
}

func testConnectorReports(t *testing.T, c *orchestrator.Client) {
	ctx := t.Context()
	for session := range int64(2) {
		err := c.ReportConnector(ctx, backup.ConnectorPresence{Tenant: "reports", Connector: "c1", Connected: true, Session: session + 1})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both reports arrive in one workflow", func() bool {
		v, err := c.Temporal().QueryWorkflow(ctx, workflows.WatchConnectorsID("reports"), "", workflows.ConnectorsQuery)
		var reports []workflows.ConnectorReport
		return err == nil && v.Get(&reports) == nil && len(reports) == 2 && reports[1].Session == 2
	})
}

func testWaitsEnd(t *testing.T, c *orchestrator.Client) {
	must(c.ApplyTenant(t.Context(), tenant("endless"), app, "anna"))(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := c.WaitBackup(ctx, workflows.OnboardID("endless", app))
	deadline, _ := ctx.Deadline()
	// The transport's clock may be a moment before the context's own.
	if left := time.Until(deadline); !errors.Is(err, orchestrator.ErrNoAnswer) || left > 100*time.Millisecond {
		t.Errorf("it ends %v before its time with %v", left, err)
	}
}

func testNamespaceOnlyTold(t *testing.T, address string) {
	err := dial(t, address, "nowhere").CheckNamespace(t.Context(), false)
	if !backup.HasCode(err, backup.CodeBadConfig) || backup.AsError(err).Hint != "temporal operator namespace create --namespace nowhere --retention 720h" {
		t.Errorf("a missing namespace: %v", err)
	}
	if _, err := dial(t, address, "nowhere").Inbox(t.Context(), ""); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("an inbox in a missing namespace: %v", err)
	}
}

func testNamespaceMade(t *testing.T, address string) {
	c := dial(t, address, "made")
	if err := c.CheckNamespace(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	_, err := c.Temporal().OperatorService().RemoveSearchAttributes(t.Context(), &operatorservice.RemoveSearchAttributesRequest{
		Namespace: "made", SearchAttributes: []string{"HoldfastStage"}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing attribute is told", func() bool {
		err := c.CheckNamespace(t.Context(), false)
		return err != nil && backup.AsError(err).Hint == "temporal operator search-attribute create --namespace made --name HoldfastStage --type Keyword"
	})
	if err := c.CheckNamespace(t.Context(), true); err != nil {
		t.Error(err)
	}
	if err := c.CheckNamespace(t.Context(), false); err != nil {
		t.Error(err)
	}
}

func testWrongType(t *testing.T, address string) {
	c := dial(t, address, "wrong")
	_ = c.CheckNamespace(t.Context(), true)
	ops := c.Temporal().OperatorService()
	_, err := ops.RemoveSearchAttributes(t.Context(), &operatorservice.RemoveSearchAttributesRequest{Namespace: "wrong", SearchAttributes: []string{"HoldfastOutcome"}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the attribute is an Int", func() bool {
		_, err := ops.AddSearchAttributes(t.Context(), &operatorservice.AddSearchAttributesRequest{Namespace: "wrong",
			SearchAttributes: map[string]enums.IndexedValueType{"HoldfastOutcome": enums.INDEXED_VALUE_TYPE_INT}})
		return err == nil
	})
	eventually(t, "the wrong type is told", func() bool {
		err := c.CheckNamespace(t.Context(), true)
		return err != nil && strings.Contains(err.Error(), "HoldfastOutcome of the namespace wrong is a Int and must be a Keyword")
	})
}

func TestDialSettings(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home) // where Temporal's own profile file is looked for
	file := filepath.Join(home, "temporalio", "temporal.toml")
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("[profile.default]\naddress = \"file:3\"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	profile := readapi.Profile{TemporalAddress: "profile:1", TemporalNamespace: "of-profile"}
	none := env{"TEMPORAL_CONFIG_FILE": os.DevNull}
	for name, c := range map[string]struct {
		env                env
		profile            readapi.Profile
		address, namespace string
		fails              bool
	}{
		"nothing set":            {none, readapi.Profile{}, "localhost:7233", "default", false},
		"only the profile file":  {env{}, readapi.Profile{}, "file:3", "default", false},
		"profile":                {env{}, profile, "profile:1", "of-profile", false},
		"environment is above":   {env{"TEMPORAL_ADDRESS": "env:2"}, profile, "env:2", "of-profile", false},
		"the file is asked for":  {env{"TEMPORAL_CONFIG_FILE": file}, profile, "file:3", "of-profile", false},
		"its profile, asked for": {env{"TEMPORAL_PROFILE": "default"}, profile, "file:3", "of-profile", false},
		"verification off":       {env{"TEMPORAL_TLS_DISABLE_HOST_VERIFICATION": "true"}, profile, "", "", true},
		"missing certificate":    {env{"TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/nowhere/ca.pem"}, profile, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			opts, err := orchestrator.Options{Profile: c.profile, Env: c.env}.ClientOptions()
			if (err != nil) != c.fails || opts.HostPort != c.address || opts.Namespace != c.namespace {
				t.Errorf("%s %s %v", opts.HostPort, opts.Namespace, err)
			}
			if c.fails && !backup.HasCode(err, backup.CodeBadConfig) {
				t.Errorf("not classified: %v", err)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	o := orchestrator.Options{Env: env{"TEMPORAL_CONFIG_FILE": os.DevNull, "TEMPORAL_ADDRESS": fmt.Sprintf("127.0.0.1:%d", freePort(t))}}
	began := time.Now()
	_, err := orchestrator.Dial(t.Context(), o)
	if took := time.Since(began); !errors.Is(err, orchestrator.ErrUnreachable) || took > 8*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if backup.AsError(err).Hint != "holdfastd dev" {
		t.Errorf("hint: %q", backup.AsError(err).Hint)
	}
}
