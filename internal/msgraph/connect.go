package msgraph

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

// Options are what Clients need from the program.
type Options struct {
	// Secrets resolves a reference to a secret. Its errors must not hold the secret.
	Secrets func(context.Context, backup.SecretRef) ([]byte, error)
	// UserAgent replaces "ISV|Holdfast|Holdfast/0.1" when not empty.
	UserAgent string
	// Prefer is sent with every request, as values of the header Prefer.
	Prefer []string
	// Policy says how requests are repeated; its Wait defaults to Sleep.
	Policy Policy
}

// Login is an app registration, and where it signs in.
type Login struct {
	DirectoryTenant string
	ClientID        string
	// Exactly one of the two is set. A certificate is PEM with its private key.
	Secret, Certificate backup.SecretRef
	// LoginURL and GraphURL default to the public cloud.
	LoginURL, GraphURL string
	// CAFile is a PEM file; empty means the system's roots.
	CAFile string
}

// Clients keeps one Client per name, and with it one token and one set of connections. It may be used concurrently.
type Clients struct {
	options Options

	mu    sync.Mutex
	known map[string]marked
}

type marked struct {
	*Client
	mark [sha256.Size]byte
}

// NewClients makes Clients that have connected to nothing yet.
func NewClients(o Options) *Clients {
	o.UserAgent = cmp.Or(o.UserAgent, defaultAgent)
	if o.Policy.Wait == nil {
		o.Policy.Wait = Sleep
	}
	return &Clients{options: o, known: map[string]marked{}}
}

// Connect returns the client of a name. It reads the secret and the CA file, and makes no request. The same login, secret and CA
// give the same Client; when one of them has changed, a new one takes its place. Errors: CodeBadConfig, and those of Options.Secrets.
func (k *Clients) Connect(ctx context.Context, name string, l Login) (*Client, error) {
	if (l.Secret == "") == (l.Certificate == "") {
		return nil, BadConfig("exactly one of clientSecret and clientCertificate must be set", "remove one of them")
	}
	secret, err := k.options.Secrets(ctx, cmp.Or(l.Secret, l.Certificate))
	if err != nil {
		return nil, err
	}
	ca, err := readCA(l.CAFile)
	if err != nil {
		return nil, err
	}
	mark, err := fingerprint(l, secret, ca)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.known[name]
	if ok && known.mark == mark {
		return known.Client, nil
	}
	made, err := k.connect(l, secret, ca)
	if err != nil {
		return nil, err
	}
	k.known[name] = marked{made, mark}
	if ok {
		known.CloseIdle()
	}
	return made, nil
}

// Close closes idle connections. Work under way goes on.
func (k *Clients) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range k.known {
		c.CloseIdle()
	}
	return nil
}

func (k *Clients) connect(l Login, secret, ca []byte) (*Client, error) {
	e, err := NewEndpoints(l.LoginURL, l.GraphURL)
	if err != nil {
		return nil, err
	}
	var roots *x509.CertPool
	if ca != nil {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(ca) {
			return nil, BadConfig("caFile holds no certificate", "it must be PEM")
		}
	}
	h := newHTTPClient(roots)
	s, err := newSignIn(l, e.Login.String(), h, secret)
	if err != nil {
		return nil, err
	}
	scope := e.Graph.Scheme + "://" + e.Graph.Host + "/.default"
	return &Client{Endpoints: e, http: h, tokens: newTokens(s, scope), policy: k.options.Policy, agent: k.options.UserAgent, prefer: k.options.Prefer,
		ease: &ease{}, calls: new(atomic.Int64)}, nil
}

// readCA reads the file of a private CA; nil means the system's roots.
func readCA(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		e := BadConfig("caFile cannot be read", "give the absolute path of a PEM file that the worker may read")
		e.Cause = err
		return nil, e
	}
	return pem, nil
}

// fingerprint tells one login with its secrets from another. It stays in memory.
func fingerprint(l Login, secret, ca []byte) ([sha256.Size]byte, error) {
	description, err := json.Marshal(struct {
		Login      Login
		Secret, CA [sha256.Size]byte
	}{l, sha256.Sum256(secret), sha256.Sum256(ca)})
	return sha256.Sum256(description), err
}
