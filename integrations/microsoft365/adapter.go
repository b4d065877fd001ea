package microsoft365

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"os"
	"sync"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// defaultAgent is the User-Agent in the form by which SharePoint tells well-behaved programs from others: ISV|Company|App/Version.
const defaultAgent = "ISV|Holdfast|Holdfast/0.1"

// Options are what an Adapter needs from the program.
type Options struct {
	// Secrets resolves a reference to a secret. Its errors must not hold the secret.
	Secrets func(context.Context, backup.SecretRef) ([]byte, error)
	// UserAgent replaces "ISV|Holdfast|Holdfast/0.1" when not empty.
	UserAgent string
}

// Adapter connects tenants to their Microsoft 365. It may be used concurrently.
type Adapter struct {
	options Options
	policy  policy

	mu   sync.Mutex
	apps map[string]*App // by tenant
}

// New makes an adapter that has connected to nothing yet.
func New(o Options) *Adapter {
	o.UserAgent = cmp.Or(o.UserAgent, defaultAgent)
	return &Adapter{options: o, policy: policy{wait: sleep}, apps: map[string]*App{}}
}

// ConnectApp returns the tenant's app. It reads the secret and the CA file, and makes no request. The same description, secret and CA
// give the same App, and with it the same token and connections; when one of them has changed, a new one takes its place.
// Errors: CodeBadConfig, and those of Options.Secrets.
func (a *Adapter) ConnectApp(ctx context.Context, t backup.Tenant, app backup.App) (*App, error) {
	if app != backup.Microsoft365 || t.Microsoft365 == nil {
		return nil, badConfig("tenant "+t.ID+" has no Microsoft 365", "describe it under microsoft365 in the tenant's file")
	}
	c := *t.Microsoft365
	if (c.ClientSecret == "") == (c.ClientCertificate == "") {
		return nil, badConfig("exactly one of clientSecret and clientCertificate must be set", "remove one of them")
	}
	secret, err := a.options.Secrets(ctx, cmp.Or(c.ClientSecret, c.ClientCertificate))
	if err != nil {
		return nil, err
	}
	ca, err := readCA(c.CAFile)
	if err != nil {
		return nil, err
	}
	mark, err := fingerprint(c, secret, ca)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.apps[t.ID]
	if known != nil && known.mark == mark {
		return known, nil
	}
	made, err := a.connect(c, secret, ca)
	if err != nil {
		return nil, err
	}
	made.mark = mark
	a.apps[t.ID] = made
	if known != nil {
		known.client.http.CloseIdleConnections()
	}
	return made, nil
}

// Close closes idle connections. Work under way goes on.
func (a *Adapter) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, app := range a.apps {
		app.client.http.CloseIdleConnections()
	}
	return nil
}

func (a *Adapter) connect(c backup.Microsoft365Config, secret, ca []byte) (*App, error) {
	e, err := newEndpoints(c)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if ca != nil {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, badConfig("caFile holds no certificate", "it must be PEM")
		}
	}
	h := newHTTPClient(roots)
	s, err := newSignIn(c, e.login.String(), h, secret)
	if err != nil {
		return nil, err
	}
	scope := e.graph.Scheme + "://" + e.graph.Host + "/.default"
	return &App{
		config: c,
		client: &client{http: h, endpoints: e, tokens: newTokens(s, scope), policy: a.policy, agent: a.options.UserAgent, idle: idleLimit, calls: new(atomic.Int64)},
	}, nil
}

// readCA reads the file of a private CA; nil means the system's roots.
func readCA(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		e := badConfig("caFile cannot be read", "give the absolute path of a PEM file that the worker may read")
		e.Cause = err
		return nil, e
	}
	return pem, nil
}

// fingerprint tells one description with its secrets from another. It stays in memory.
func fingerprint(c backup.Microsoft365Config, secret, ca []byte) ([sha256.Size]byte, error) {
	description, err := json.Marshal(struct {
		Config     backup.Microsoft365Config
		Secret, CA [sha256.Size]byte
	}{c, sha256.Sum256(secret), sha256.Sum256(ca)})
	return sha256.Sum256(description), err
}

// App is one connected tenant. It may be used concurrently.
type App struct {
	config backup.Microsoft365Config
	client *client
	mark   [sha256.Size]byte
}
