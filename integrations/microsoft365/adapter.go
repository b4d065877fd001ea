package microsoft365

import (
	"context"
	"reflect"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// Options are what an Adapter needs from the program.
type Options struct {
	// Secrets resolves a reference to a secret. Its errors must not hold the secret.
	Secrets func(context.Context, backup.SecretRef) ([]byte, error)
	// UserAgent replaces "ISV|Holdfast|Holdfast/0.1" when not empty.
	UserAgent string

	policy msgraph.Policy
}

// Adapter connects tenants to their Microsoft 365. It may be used concurrently.
type Adapter struct {
	clients *msgraph.Clients

	mu   sync.Mutex
	apps map[string]*App // by tenant
}

// New makes an adapter that has connected to nothing yet.
func New(o Options) *Adapter {
	// Immutable ids survive a move within the mailbox; without them every move would look like a new message.
	clients := msgraph.NewClients(msgraph.Options{Secrets: o.Secrets, UserAgent: o.UserAgent, Prefer: []string{`IdType="ImmutableId"`}, Policy: o.policy})
	return &Adapter{clients: clients, apps: map[string]*App{}}
}

// ConnectApp returns the tenant's app. It reads the secret and the CA file, and makes no request. The same description, secret and CA
// give the same App, and with it the same token and connections; when one of them has changed, a new one takes its place.
// Errors: CodeBadConfig, and those of Options.Secrets.
func (a *Adapter) ConnectApp(ctx context.Context, t backup.Tenant, app backup.App) (*App, error) {
	if app != backup.Microsoft365 || t.Microsoft365 == nil {
		return nil, msgraph.BadConfig("tenant "+t.ID+" has no Microsoft 365", "describe it under microsoft365 in the tenant's file")
	}
	c := *t.Microsoft365
	connected, err := a.clients.Connect(ctx, t.ID, msgraph.Login{DirectoryTenant: c.DirectoryTenant, ClientID: c.ClientID, Secret: c.ClientSecret, Certificate: c.ClientCertificate,
		LoginURL: c.LoginURL, GraphURL: c.GraphURL, CAFile: c.CAFile})
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.apps[t.ID]; known != nil && known.client.Client == connected && reflect.DeepEqual(known.config, c) {
		return known, nil
	}
	made := &App{config: c, client: &client{Client: connected, endpoints: newEndpoints(connected.Endpoints, c), idle: idleLimit}}
	a.apps[t.ID] = made
	return made, nil
}

// Close closes idle connections. Work under way goes on.
func (a *Adapter) Close() error { return a.clients.Close() }

// App is one connected tenant. It may be used concurrently.
type App struct {
	config backup.Microsoft365Config
	client *client
}
