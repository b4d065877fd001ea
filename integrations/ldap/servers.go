package ldap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxServers is how many servers of one directory are tried.
const maxServers = 16

// server is one address of a directory.
type server struct {
	host    string // without port: the name in the server's certificate
	address string // host:port
	secure  bool   // LDAPS; otherwise StartTLS
}

var defaultPorts = map[string]string{"ldaps": "636", "ldap": "389"}

// parseServers reads where the directory is: a list of URLs, or a domain to look up. What would send a password in the clear is refused here.
func (s *settings) parseServers() error {
	if domain, found := strings.CutPrefix(s.URL, "srv://"); found {
		domain = strings.TrimSuffix(domain, "/")
		if domain == "" || strings.ContainsAny(domain, "/:@?#, ") {
			return badConfig("directory.ldap.url is not a domain to look up", "srv://acme.example")
		}
		s.domain = domain
		return nil
	}
	for _, text := range strings.Split(s.URL, ",") {
		one, err := parseServer(strings.TrimSpace(text), s.StartTLS)
		if err != nil {
			return err
		}
		if s.servers = append(s.servers, one); len(s.servers) > maxServers {
			return badConfig(fmt.Sprintf("directory.ldap.url names more than %d servers", maxServers), "name those that are near")
		}
	}
	return nil
}

func parseServer(text string, startTLS bool) (server, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return server{}, badConfig("directory.ldap.url is not an address of a directory", "ldaps://ldap.acme.example:636")
	}
	port := defaultPorts[u.Scheme]
	switch {
	case port == "":
		return server{}, badConfig("directory.ldap.url is neither ldaps:// nor ldap://", "ldaps://ldap.acme.example:636")
	case u.Scheme == "ldap" && !startTLS:
		return server{}, badConfig("plain LDAP would send the password in the clear", "use ldaps://, or set startTLS: true")
	case u.Scheme == "ldaps" && startTLS:
		return server{}, badConfig("ldaps:// and startTLS exclude each other", "use ldap:// with startTLS, or ldaps:// without")
	}
	return server{u.Hostname(), net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)), u.Scheme == "ldaps"}, nil
}

// find returns the servers to try, in order.
func (s settings) find(ctx context.Context, r *net.Resolver) ([]server, error) {
	if s.domain == "" {
		return s.servers, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, errNoAnswer)
	defer cancel()
	var failed error
	for _, service := range []string{"ldaps", "ldap"} { // those of ldap are asked for TLS by StartTLS: Active Directory names no others
		if service == "ldaps" && s.StartTLS {
			continue
		}
		_, found, err := r.LookupSRV(ctx, service, "tcp", s.domain) // in the order of RFC 2782: priority, then chance by weight
		if err != nil {
			failed = err
			continue
		}
		if servers := s.within(found, service == "ldaps"); len(servers) > 0 {
			return servers, nil
		}
		failed = fmt.Errorf("no server of _%s._tcp.%s is inside of that domain", service, s.domain)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("looking up the directory: %w", context.Cause(ctx))
	}
	return nil, retryable(customer(backup.CodeUnreachable, "the directory's servers are not found: "+excerpt(failed.Error()),
		"check directory.ldap.url and the worker's DNS for _ldaps._tcp and _ldap._tcp"))
}

// within keeps the servers whose names are inside of the domain. DNS can be forged, and a name elsewhere may well have a certificate that
// the system's roots vouch for: the password must not go there (RFC 4513, section 3.1.3).
func (s settings) within(found []*net.SRV, secure bool) (servers []server) {
	for _, f := range found {
		host := strings.ToLower(strings.TrimSuffix(f.Target, "."))
		if domain := strings.ToLower(strings.TrimSuffix(s.domain, ".")); host != domain && !strings.HasSuffix(host, "."+domain) {
			continue
		}
		if len(servers) < maxServers {
			servers = append(servers, server{host, net.JoinHostPort(host, fmt.Sprint(f.Port)), secure})
		}
	}
	return servers
}

// openFirst opens the first server that can be reached. One that refuses the login ends it: the others would refuse it too, and count it
// as further attempts on the account.
func (d *dialer) openFirst(ctx context.Context) (*Directory, error) {
	servers, err := d.settings.find(ctx, d.resolver)
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, s := range servers {
		dir, err := d.open(ctx, s)
		if err == nil {
			return dir, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil || !mayHelpElsewhere(err) {
			break
		}
	}
	return nil, summary(failed)
}

func mayHelpElsewhere(err error) bool {
	var known *backup.Error
	if !errors.As(err, &known) {
		return false
	}
	return known.Code == backup.CodeUnreachable || known.Code == backup.CodeThrottled || known.Code == backup.CodeBadResponse
}

// summary is the last error, and what was wrong with the servers before.
func summary(failed []error) error {
	last := failed[len(failed)-1]
	var known *backup.Error
	if len(failed) == 1 || !errors.As(last, &known) {
		return last
	}
	all := *known
	for _, f := range failed[:len(failed)-1] {
		before := backup.AsError(f)
		all.Message += "; before: " + before.Message
		all.Retryable = all.Retryable || before.Retryable && all.Code == backup.CodeUnreachable
	}
	return &all
}
