package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/devserver"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
	"github.com/holdfast-backup/holdfast/internal/readapi"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/starter/tenantfile"
	"github.com/holdfast-backup/holdfast/workflows"
)

const (
	// by is the administrator who asks for everything.
	by = "anna@acme.example"
	// patience bounds every wait for one thing to happen.
	patience = 5 * time.Minute
	// countersLag is more than the second after which a Temporal server shows what it has counted.
	countersLag = 1500 * time.Millisecond
)

// measureHoldfast sets up a new installation, and measures a first run, one without changes, and how fast the same items can be
// downloaded from the same sandbox.
func measureHoldfast(ctx context.Context, p plan, data dataset, r *Repetition) error {
	h, err := install(ctx, p)
	if err != nil {
		return err
	}
	defer h.close()
	if r.HoldfastFirst, err = h.run(ctx, "first"); err != nil {
		return err
	}
	if stored := int64(r.HoldfastFirst.bytes); stored != data.Bytes {
		return fmt.Errorf("holdfast stored %d bytes and kopia is given %d: they are not compared on the same thing", stored, data.Bytes)
	}
	if r.HoldfastUnchanged, err = h.run(ctx, "unchanged"); err != nil {
		return err
	}
	if fetched := r.HoldfastUnchanged.bytes; fetched != 0 {
		return fmt.Errorf("the run without changes fetched %d bytes", fetched)
	}
	r.Download, err = measureDownload(ctx, h.Stage, p, data)
	return err
}

// installation is Holdfast's programs, a Temporal server and the sandbox company, with everybody imported and nobody backed up yet.
type installation struct {
	*stage.Stage
	orchestrator *orchestrator.Client
	read         *readapi.Client
	metrics      string // address of the Temporal server's counters
	// Closed in reverse order.
	closers []func()
}

func install(ctx context.Context, p plan) (h *installation, err error) {
	h = &installation{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	dir, err := os.MkdirTemp(p.Work, "holdfast-")
	if err != nil {
		return h, err
	}
	h.closers = append(h.closers, func() { os.RemoveAll(dir) })
	o := p.stageOptions(dir)
	server, err := h.startTemporal(ctx)
	if err != nil {
		return h, err
	}
	o.Temporal = server.Address
	if h.Stage, err = stage.Open(ctx, o); err != nil {
		return h, err
	}
	h.closers = append(h.closers, func() { h.Stage.Close() })
	if err := h.startPrograms(ctx, server); err != nil {
		return h, err
	}
	if err := h.onboard(ctx, p); err != nil || p.Latency == 0 {
		return h, err
	}
	return h, h.Graph.Inject(graph.Fault{Kind: graph.FaultSlow, DelayMillis: int(p.Latency.Milliseconds())})
}

func (h *installation) close() {
	for _, f := range slices.Backward(h.closers) {
		f()
	}
}

// startTemporal starts a server of its own, so that every repetition begins with an empty one.
func (h *installation) startTemporal(ctx context.Context) (*devserver.Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	server, err := devserver.Start(ctx, devserver.Options{UIPort: -1, MetricsPort: port})
	if err != nil {
		return nil, err
	}
	h.closers = append(h.closers, server.Stop)
	h.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", port)
	return server, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// startPrograms starts gateway and connector, and connects to gateway and Temporal.
func (h *installation) startPrograms(ctx context.Context, server *devserver.Server) error {
	gateway, err := h.StartGateway(ctx)
	if err != nil {
		return err
	}
	h.closers = append(h.closers, func() { _ = gateway.Stop() })
	profile, err := h.GatewayProfile()
	if err != nil {
		return err
	}
	profile.TemporalAddress, profile.TemporalNamespace = server.Address, server.Namespace
	if h.orchestrator, err = orchestrator.Dial(ctx, orchestrator.Options{Profile: profile, Env: noEnvironment{}}); err != nil {
		return err
	}
	h.closers = append(h.closers, h.orchestrator.Close)
	if h.read, err = readapi.NewClient(readapi.ClientOptions{Gateway: profile.Gateway, CAFile: profile.CAFile, TokenFile: profile.TokenFile}); err != nil {
		return err
	}
	h.closers = append(h.closers, h.read.Close)
	if err := errors.Join(h.orchestrator.CheckNamespace(ctx, true), h.EnsureConnectorKey(ctx)); err != nil {
		return err
	}
	connector, err := h.StartConnector()
	if err != nil {
		return err
	}
	h.closers = append(h.closers, func() { _ = connector.Stop() })
	return nil
}

// noEnvironment keeps the bench from using the Temporal server of whoever runs it.
type noEnvironment struct{}

func (noEnvironment) Environ() []string               { return nil }
func (noEnvironment) LookupEnv(string) (string, bool) { return "", false }

// onboard brings the tenant to the moment before its first backup. Onboarding itself makes a first run: it meets one person without a
// mailbox, who then leaves while the others come, so that the run that is measured begins with nothing and is asked for by us.
func (h *installation) onboard(ctx context.Context, p plan) error {
	worker, err := h.StartWorker("onboarding")
	if err != nil {
		return err
	}
	defer func() { _ = worker.Stop() }()
	nobody := h.People()[slices.IndexFunc(h.People(), func(p sandbox.Person) bool { return p.NoMailbox })]
	h.LDAP.SetPeople([]sandbox.Person{nobody})
	file, err := h.TenantFile(p.Tenant)
	if err != nil {
		return err
	}
	tenant, err := tenantfile.Read(file)
	if err != nil {
		return err
	}
	if _, err := h.orchestrator.ApplyTenant(ctx, tenant, backup.Microsoft365, by); err != nil {
		return err
	}
	if err := await(ctx, "the end of the onboarding", h.onboarded); err != nil {
		return err
	}
	nobody.Disabled = true
	h.LDAP.SetPeople(append(p.protected(h.People()), nobody))
	imported, err := h.orchestrator.ImportPeople(ctx, stage.Tenant, "ldap", false, by)
	if err == nil && imported.Accounts.Active != p.People {
		err = fmt.Errorf("%d people were imported, want %d", imported.Accounts.Active, p.People)
	}
	return err
}

func (h *installation) onboarded(ctx context.Context) (bool, error) {
	o, err := h.orchestrator.Onboarding(ctx, stage.Tenant, backup.Microsoft365)
	if err != nil || o.Running {
		return false, err
	}
	return true, o.Err
}

// run measures one run on a worker that was started for it, as kopia's process is.
func (h *installation) run(ctx context.Context, name string) (f Figures, err error) {
	worker, err := h.StartWorker(name)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, worker.Stop()) }()
	err = await(ctx, "a worker that polls", func(ctx context.Context) (bool, error) { return h.polls(ctx, worker.PID()) })
	if err != nil {
		return f, err
	}
	if err := h.settle(ctx); err != nil {
		return f, err
	}
	counted, err := readActions(ctx, h.metrics)
	if err != nil {
		return f, err
	}
	before, err := h.look(worker.PID())
	if err != nil {
		return f, err
	}
	id, result, err := h.backUp(ctx)
	if err != nil {
		return f, fmt.Errorf("the %s run: %w", name, err)
	}
	after, err := h.look(worker.PID())
	if err != nil {
		return f, err
	}
	f = after.since(before)
	f.Stored, f.Unchanged, f.Skipped, f.bytes = result.Counts.Stored, result.Counts.Unchanged, result.Counts.Skipped, result.Counts.Bytes
	return f, errors.Join(h.describe(ctx, id, &f), h.countActions(ctx, counted, &f))
}

// backUp makes a run and waits for its end, which must be a good one.
func (h *installation) backUp(ctx context.Context) (id string, result orchestrator.BackupResult, err error) {
	id, started, err := h.orchestrator.TriggerBackup(ctx, stage.Tenant, backup.Microsoft365)
	if err != nil {
		return id, result, err
	}
	if !started {
		return id, result, fmt.Errorf("another one was under way: %s", id)
	}
	if result, err = h.orchestrator.WaitBackup(ctx, id); err != nil {
		return id, result, err
	}
	if result.Outcome != backup.RunComplete {
		err = fmt.Errorf("it ended %s", result.Outcome)
	}
	return id, result, errors.Join(err, result.Counts.Prove())
}

// countActions adds what Temporal's server has counted since.
func (h *installation) countActions(ctx context.Context, before map[string]int64, f *Figures) error {
	if err := sleep(ctx, countersLag); err != nil {
		return err
	}
	now, err := readActions(ctx, h.metrics)
	f.Actions, f.ActionsByKind = since(before, now)
	return err
}

// settle waits until the schedule takes a new run: it learns of the end of the one before some moments later than those who wait for it,
// and names runs by the second in which they start, so that of two in one second Temporal refuses the other.
func (h *installation) settle(ctx context.Context) error {
	err := await(ctx, "a schedule without a run", func(ctx context.Context) (bool, error) {
		s, err := h.orchestrator.BackupSchedule(ctx, stage.Tenant, backup.Microsoft365)
		return err == nil && s.Running == "", err
	})
	return errors.Join(err, sleep(ctx, countersLag))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// polls tells whether a worker process asks for workflow tasks and activities: only then is its start no part of what is measured.
func (h *installation) polls(ctx context.Context, pid int) (bool, error) {
	for _, kind := range []enums.TaskQueueType{enums.TASK_QUEUE_TYPE_WORKFLOW, enums.TASK_QUEUE_TYPE_ACTIVITY} {
		d, err := h.orchestrator.Temporal().DescribeTaskQueue(ctx, workflows.TaskQueue, kind)
		if err != nil {
			return false, err
		}
		found := false
		for _, p := range d.GetPollers() {
			found = found || strings.HasPrefix(p.GetIdentity(), fmt.Sprintf("%d@", pid))
		}
		if !found {
			return false, nil
		}
	}
	return true, nil
}

// describe adds what Temporal and the disk know of a run.
func (h *installation) describe(ctx context.Context, workflowID string, f *Figures) error {
	d, err := h.orchestrator.Temporal().DescribeWorkflowExecution(ctx, workflowID, "")
	if err != nil {
		return err
	}
	info := d.GetWorkflowExecutionInfo()
	f.Seconds = info.GetCloseTime().AsTime().Sub(info.GetStartTime().AsTime()).Seconds()
	f.Events, f.HistoryBytes = info.GetHistoryLength(), info.GetHistorySizeBytes()
	size, err := sizeOf(filepath.Join(h.Path("holdfast"), "repositories", stage.Tenant))
	f.RepositoryMB = megabytes(size)
	return err
}

// reading is what has been used and counted up to a moment.
type reading struct {
	worker            usage
	company, programs time.Duration
	calls             int64
}

func (h *installation) look(worker int) (r reading, err error) {
	if r.worker, err = usageOf(worker); err != nil {
		return r, err
	}
	if r.programs, err = childrenCPU(); err != nil {
		return r, err
	}
	if r.company, err = ownCPU(); err != nil {
		return r, err
	}
	_, r.calls = h.Graph.Calls()
	return r, nil
}

// since is what happened between two readings.
func (r reading) since(before reading) Figures {
	worker := r.worker.cpu - before.worker.cpu
	return Figures{
		CPUSeconds: worker.Seconds(), SandboxCPUSeconds: (r.company - before.company).Seconds(),
		OtherCPUSeconds: (r.programs - before.programs - worker).Seconds(),
		PeakMB:          megabytes(r.worker.peak), APICalls: r.calls - before.calls,
	}
}

// await asks until it is so.
func await(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := ask(ctx)
		if done {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s did not come: %w", what, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
