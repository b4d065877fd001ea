package vault

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	dialTimeout = 5 * time.Second
	// callTimeout is for one call. A call is over in a millisecond; who has waited so long asks again later.
	callTimeout = 10 * time.Second
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = 90 * time.Second
	// maxAnswer bounds what is read of an answer; a server takes no secret that is larger.
	maxAnswer = 1 << 20
	// maxCAFile bounds a file of certificates.
	maxCAFile = 1 << 20
)

// Server says where a Vault is. The address is https://host[:port].
type Server struct {
	Address, Namespace, CAFile string
}

// pathElement is one element of the path of a mount, a namespace or a secret: nothing that a URL or a shell would take apart.
var pathElement = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+=-]{0,127}$`)

// goodPath tells whether a path is made of good elements only, so that it stays below the place it was meant for.
func goodPath(path string) bool {
	if len(path) > 512 {
		return false
	}
	for element := range strings.SplitSeq(path, "/") {
		if !pathElement.MatchString(element) {
			return false
		}
	}
	return true
}

func (s Server) check() error {
	u, err := url.Parse(s.Address)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return badConfig("the address of the KMS is not https://host[:port]", "for example https://vault.acme.example:8200; plain HTTP would show every key to the network")
	}
	if s.Namespace != "" && !goodPath(strings.Trim(s.Namespace, "/")) {
		return badConfig("the namespace of the KMS is not a path", "for example customers/acme")
	}
	return nil
}

// client makes the library's client. Nothing of the process's environment (VAULT_TOKEN, VAULT_NAMESPACE, …) reaches it: those are for the
// worker's own Vault, and this one may be a customer's.
func (s Server) client() (*api.Client, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.CAFile != "" {
		roots, err := readRoots(s.CAFile)
		if err != nil {
			return nil, err
		}
		trust.RootCAs = roots
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSClientConfig: trust,
		TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout, MaxIdleConnsPerHost: 16,
		// A server that was cut off in mid-air is noticed before the next call trips over it.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: dialTimeout},
	}
	c, err := api.NewClient(&api.Config{
		Address: s.Address, MaxRetries: 0, // whoever calls us knows how long to wait between two attempts
		// The time-out is the HTTP client's, because the library's own ends before the body of a raw answer was read.
		HttpClient: &http.Client{Transport: transport, Timeout: callTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	})
	if err != nil {
		return nil, badConfig("the client of the KMS does not take its settings: "+excerpt(err.Error()), "look at the VAULT_… variables in the worker's environment")
	}
	c.ClearToken()
	c.ClearNamespace()
	if s.Namespace != "" {
		c.SetNamespace(strings.Trim(s.Namespace, "/"))
	}
	return c, nil
}

func readRoots(path string) (*x509.CertPool, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxCAFile {
		err = fmt.Errorf("it has %d bytes", info.Size())
	}
	var pem []byte
	if err == nil {
		pem, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the CA file of the KMS cannot be read", Hint: "give a PEM file that the worker can read", Cause: err}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, badConfig("the CA file of the KMS holds no certificate: "+path, "give the PEM file of the CA that signed the server's certificate")
	}
	return roots, nil
}

// standing tells whether the server could serve now, without a login.
func (s *session) standing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Health and leader are asked of the server, and not of a namespace.
	root := s.client.WithNamespace("")
	health, err := root.Sys().HealthWithContext(ctx)
	switch {
	case err != nil:
		return s.classify(ctx, "asking for its health", nil, err)
	case !health.Initialized:
		return s.server.badConfig("the server was never initialised", "run `vault operator init` against "+s.server.Address)
	case health.Sealed:
		return s.server.sealed("the server is sealed")
	case !health.Standby:
		return nil
	}
	leader, err := root.Sys().LeaderWithContext(ctx)
	if err != nil {
		return s.classify(ctx, "asking for its leader", nil, err)
	}
	if leader.LeaderAddress == "" {
		return s.server.sealed("the server is a standby, and no node is active")
	}
	return nil
}
