package entra

import (
	"cmp"
	"context"

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

// Adapter opens the Entra directories of tenants. It may be used concurrently.
type Adapter struct{ clients *msgraph.Clients }

// New makes an adapter that has connected to nothing yet.
func New(o Options) *Adapter {
	return &Adapter{msgraph.NewClients(msgraph.Options{Secrets: o.Secrets, UserAgent: o.UserAgent, Policy: o.policy})}
}

// Close closes idle connections. Work under way goes on.
func (a *Adapter) Close() error { return a.clients.Close() }

// OpenDirectory describes one directory of the tenant. It reads the secret and the CA file, and makes no request. Directories of one
// description share their token and connections. Errors: CodeBadConfig, and those of Options.Secrets.
func (a *Adapter) OpenDirectory(ctx context.Context, t backup.Tenant, dir backup.DirectoryConfig) (*Directory, error) {
	if dir.Entra == nil {
		return nil, msgraph.BadConfig("the directory "+string(dir.Name)+" has no entra section", "describe the directory under entra")
	}
	login, err := loginOf(t, *dir.Entra)
	if err != nil {
		return nil, err
	}
	wanted, err := wantedOf(t, dir)
	if err != nil {
		return nil, err
	}
	client, err := a.clients.Connect(ctx, t.ID+"/"+string(dir.Name), login)
	if err != nil {
		return nil, err
	}
	return &Directory{client: client.Counting(), wanted: wanted, of: digest(login.DirectoryTenant, client.Graph.Host, wanted)}, nil
}

// cloud is where one of Microsoft's clouds signs in and where its Graph is. See https://learn.microsoft.com/graph/deployments.
type cloud struct{ login, graph string }

var clouds = map[string]cloud{
	"public":    {"https://login.microsoftonline.com", "https://graph.microsoft.com"},
	"usgov":     {"https://login.microsoftonline.us", "https://graph.microsoft.us"},
	"usgov-dod": {"https://login.microsoftonline.us", "https://dod-graph.microsoft.us"},
	"china":     {"https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"},
}

// loginOf fills what the directory does not say in from the tenant's Microsoft 365. The two credentials count as one field, and so do the
// addresses: those of one cloud are of no use with the other half of another.
func loginOf(t backup.Tenant, c backup.EntraConfig) (msgraph.Login, error) {
	var app backup.Microsoft365Config
	if t.Microsoft365 != nil {
		app = *t.Microsoft365
	}
	l := msgraph.Login{DirectoryTenant: cmp.Or(c.DirectoryTenant, app.DirectoryTenant), ClientID: cmp.Or(c.ClientID, app.ClientID),
		Secret: c.ClientSecret, Certificate: c.ClientCertificate, LoginURL: c.LoginURL, GraphURL: c.GraphURL, CAFile: cmp.Or(c.CAFile, app.CAFile)}
	if l.Secret == "" && l.Certificate == "" {
		l.Secret, l.Certificate = app.ClientSecret, app.ClientCertificate
	}
	if c.Cloud == "" && c.LoginURL == "" && c.GraphURL == "" {
		l.LoginURL, l.GraphURL = app.LoginURL, app.GraphURL
	}
	named, ok := clouds[cmp.Or(c.Cloud, "public")]
	switch {
	case !ok:
		return l, msgraph.BadConfig("entra.cloud is none of Microsoft's clouds", "write public, usgov, usgov-dod or china, or loginURL and graphURL")
	case l.DirectoryTenant == "" || l.ClientID == "":
		return l, msgraph.BadConfig("the directory's directoryTenant or clientID is empty", "write them under entra, or describe the tenant's microsoft365")
	}
	l.LoginURL, l.GraphURL = cmp.Or(l.LoginURL, named.login), cmp.Or(l.GraphURL, named.graph)
	return l, nil
}
