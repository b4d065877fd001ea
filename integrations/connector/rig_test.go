package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ testBox = (*sqlstore.Store)(nil)

// onBoth runs a test against the mailbox in memory and against the real store.
func onBoth(t *testing.T, test func(t *testing.T, box testBox)) {
	t.Run("memory", func(t *testing.T) { test(t, newMemory()) })
	t.Run("sqlstore", func(t *testing.T) { test(t, newStore(t)) })
}

func newStore(t testing.TB) *sqlstore.Store {
	t.Helper()
	store, err := sqlstore.Open(context.Background(), "sqlite://"+filepath.Join(t.TempDir(), "holdfast.db"))
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return store
}

// rig is one tenant with a worker, a gateway over TLS and as many connectors as a test starts.
type rig struct {
	t        testing.TB
	box      testBox
	ca       *sandbox.CA
	worker   Identity
	tenant   backup.Tenant
	ekey     []byte // every connector's
	logs     *observer.ObservedLogs
	log      *zap.Logger
	presence *presenceLog
	options  GatewayOptions
	address  string // of the gateway, the same after a restart
	stop     func() // the gateway
	gateway  *Gateway
}

func newRig(t testing.TB, box testBox, change ...func(*GatewayOptions)) *rig {
	t.Helper()
	ca, err := sandbox.NewCA("gateway's CA")
	must(t, err)
	worker, err := NewIdentity()
	must(t, err)
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{t: t, box: box, ca: ca, worker: worker, logs: logs, log: zap.New(core), presence: &presenceLog{},
		tenant: backup.Tenant{ID: "acme", Key: backup.KeyConfig{Method: backup.KeyByConnector}}, ekey: []byte("canary-ekey-0123456789-abcdefghi")[:backup.EKeySize]}
	r.options = GatewayOptions{PollFor: time.Second, Log: r.log}
	for _, c := range change {
		c(&r.options)
	}
	must(t, box.SaveTenant(context.Background(), r.tenant))
	r.startGateway()
	t.Cleanup(func() { r.stop() })
	return r
}

// startGateway starts one on a random port, or on the port of the one before.
func (r *rig) startGateway() {
	r.t.Helper()
	if r.address == "" {
		r.address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", r.address)
	must(r.t, err)
	cert, err := r.ca.Issue("127.0.0.1")
	must(r.t, err)
	g := NewGateway(r.box, r.presence, r.options)
	server := httptest.NewUnstartedServer(g)
	must(r.t, server.Listener.Close())
	server.Listener = listener
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.EnableHTTP2 = true
	server.StartTLS()
	r.address = listener.Addr().String()
	r.gateway = g
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		server.CloseClientConnections()
		server.Close()
	})
}

func (r *rig) url() string { return "https://" + r.address }

func (r *rig) setup(name string) Setup {
	return Setup{Connector: name, Tenant: r.tenant.ID, Workers: []string{r.worker.Public()}, Gateway: r.url(), GatewayCA: r.ca.PEM()}
}

// key makes a connector's key with the tenant's ekey and pins its identity.
func (r *rig) key(name string) *KeyFile {
	r.t.Helper()
	k := r.emptyKey(name)
	g, err := newGeneration("acme", 1, bytes.Clone(r.ekey), time.Now())
	must(r.t, err)
	k.add(g)
	must(r.t, k.check())
	return k
}

// emptyKey makes a connector's key that holds no ekey, and pins its identity.
func (r *rig) emptyKey(name string) *KeyFile {
	r.t.Helper()
	k, err := NewKeyFile(r.setup(name))
	must(r.t, err)
	r.tenant.Key.Connectors = append(r.tenant.Key.Connectors, backup.ConnectorConfig{Name: name, Identity: k.Identity()})
	must(r.t, r.box.SaveTenant(context.Background(), r.tenant))
	return k
}

// one is the tenant's first generation, as custody knows it.
func (r *rig) one() backup.EKey {
	r.t.Helper()
	check, err := checkOf(r.ekey, "acme", 1)
	must(r.t, err)
	return backup.EKey{Tenant: "acme", Generation: 1, Method: backup.KeyByConnector, State: backup.EKeyActive, Check: check}
}

// agent makes an agent with the key in a folder, without running it. The key file is in the folder, and what is there already is used.
func (r *rig) agent(k *KeyFile, folder string, change ...func(*AgentOptions)) *Agent {
	r.t.Helper()
	path := filepath.Join(folder, keyFileName)
	if _, err := os.Stat(path); err != nil {
		must(r.t, k.Create(path, nil))
	}
	keys, err := OpenKeyStore(path, KeyStoreOptions{})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, keys.Close()) })
	o := AgentOptions{Keys: keys, Folder: folder, Log: r.log}
	for _, c := range change {
		c(&o)
	}
	a, err := NewAgent(o)
	must(r.t, err)
	return a
}

const keyFileName = "connector.json"

// run runs an agent until the test ends or stop is called.
func (r *rig) run(a *Agent) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		must(r.t, a.Close())
		must(r.t, a.keys.Close())
	})
	r.t.Cleanup(stop)
	return stop
}

// startWith runs an agent until the test ends, and waits until it is connected.
func (r *rig) startWith(k *KeyFile, change ...func(*AgentOptions)) *Agent {
	r.t.Helper()
	a := r.agent(k, r.t.TempDir(), change...)
	r.run(a)
	r.eventually("the connector connects", func() bool { return a.Status().Connected })
	return a
}

// start runs a new connector and waits until it is connected.
func (r *rig) start(name string) (a *Agent, stop func()) {
	r.t.Helper()
	a = r.agent(r.key(name), r.t.TempDir())
	stop = r.run(a)
	r.eventually("the connector connects", func() bool { return a.Status().Connected })
	return a, stop
}

// gone waits until the gateway counts a connector that was stopped as not connected. A poll that was under way may be handled after the goodbye,
// and makes the connector seen once more.
func (r *rig) gone(name string) {
	r.t.Helper()
	r.eventually(name+" is gone", func() bool {
		_, _, err := r.box.MarkConnectorGone(r.t.Context(), r.tenant.ID, name, time.Now())
		must(r.t, err)
		time.Sleep(100 * time.Millisecond)
		all, err := r.box.PinnedConnectors(r.t.Context(), r.tenant.ID)
		must(r.t, err)
		return !slices.ContainsFunc(all, func(c backup.ConnectorStatus) bool { return c.Name == name && c.Connected })
	})
}

// caller is a client in a connector's name, for tests that play a connector by hand.
func (r *rig) caller(k *KeyFile) *client {
	c := newClient(k, time.Now)
	r.t.Cleanup(c.close)
	return c
}

// greet says hello as the connector that the client calls for, which holds what its key file does.
func greet(ctx context.Context, c *client) error {
	return c.hello(ctx, hello{Address: c.key.Address(), Holds: c.key.Holds()})
}

// release asks for the tenant's first generation, and returns it when it is the right one.
func (r *rig) release(b *Broker) (backup.KeyRelease, error) {
	r.t.Helper()
	got, err := b.Release(context.Background(), r.tenant, r.one(), r.use())
	if err == nil && !bytes.Equal(got.EKey, r.ekey) {
		r.t.Error("the release holds another key")
	}
	return got, err
}

func (r *rig) broker(change ...func(*BrokerOptions)) *Broker {
	o := BrokerOptions{Log: r.log}
	for _, c := range change {
		c(&o)
	}
	return NewBroker(r.box, r.worker, o)
}

func (r *rig) use() backup.KeyUse {
	return backup.KeyUse{Tenant: r.tenant.ID, Purpose: backup.PurposeBackup, WorkflowID: "backup/acme/microsoft365", RunID: "0195-run", Attempt: 1}
}

// request makes a signed request and its recipient, as the broker does.
func (r *rig) request(change ...func(*Request)) (Request, *recipient) {
	r.t.Helper()
	to, err := newRecipient()
	must(r.t, err)
	q, err := newRequest(wish{use: r.use()}, to, r.worker, time.Now(), 30*time.Second)
	must(r.t, err)
	for _, c := range change {
		c(&q)
	}
	q.Signature = r.worker.sign(q.statement())
	return q, to
}

func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// presenceLog records reports, after refusing the first few if told so.
type presenceLog struct {
	mu      sync.Mutex
	refuse  int
	tries   int
	reports []backup.ConnectorPresence

	enrolments []backup.Enrolment
}

func (p *presenceLog) ConnectorChanged(_ context.Context, c backup.ConnectorPresence) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if p.refuse > 0 {
		p.refuse--
		return errors.New("the orchestrator does not answer")
	}
	p.reports = append(p.reports, c)
	return nil
}

func (p *presenceLog) last() (c backup.ConnectorPresence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.reports); n > 0 {
		c = p.reports[n-1]
	}
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code backup.Code) *backup.Error {
	t.Helper()
	var e *backup.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want a %s error", err, code)
	}
	return e
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

var _ http.Handler = (*Gateway)(nil)
