package msgraph

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
)

const (
	publicLogin = "https://login.microsoftonline.com"
	publicGraph = "https://graph.microsoft.com"
	// graphVersion is the path below which everything used here lives.
	graphVersion = "/v1.0"
)

// Endpoints are the places of one cloud. Both are https.
type Endpoints struct {
	Login *url.URL
	Graph *url.URL // with the version path, without a slash at the end
}

// NewEndpoints reads two base addresses; an empty one is that of the public cloud. CodeBadConfig when one cannot be used.
func NewEndpoints(loginURL, graphURL string) (Endpoints, error) {
	login, err := baseURL("loginURL", loginURL, publicLogin)
	if err != nil {
		return Endpoints{}, err
	}
	graph, err := baseURL("graphURL", graphURL, publicGraph)
	if err != nil {
		return Endpoints{}, err
	}
	if graph.Path == "" {
		graph.Path = graphVersion
	}
	return Endpoints{Login: login, Graph: graph}, nil
}

func baseURL(setting, value, def string) (*url.URL, error) {
	if value == "" {
		value = def
	}
	u, err := url.Parse(strings.TrimRight(value, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, BadConfig(setting+" is not an https address", "write it as https://host[:port]")
	}
	return u, nil
}

// At is the address of a resource: each segment is escaped, the query is taken as it is.
func (e Endpoints) At(query string, segments ...string) string {
	u := e.Graph.String()
	for _, s := range segments {
		u += "/" + url.PathEscape(s)
	}
	if query != "" {
		u += "?" + query
	}
	return u
}

// CheckGraph admits a nextLink or deltaLink: only the configured Graph host and version, only https. The link is otherwise opaque.
func (e Endpoints) CheckGraph(link string) error {
	u, err := url.Parse(link)
	switch {
	case err != nil || u.Scheme != "https" || u.User != nil || HostPort(u) != HostPort(e.Graph):
		return fmt.Errorf("a link leads to %s, not to Microsoft Graph at %s", PlaceOf(link), e.Graph.Host)
	case path.Clean(u.Path) != u.Path || !strings.HasPrefix(u.Path, e.Graph.Path+"/"):
		return fmt.Errorf("a link leads out of %s", e.Graph.Path)
	}
	return nil
}

// Shorten turns a checked link into what a cursor keeps: everything behind the version path. A cursor thereby cannot name a host at
// all, and stays good when the same tenant is reached by another address.
func (e Endpoints) Shorten(link string) (string, error) {
	if err := e.CheckGraph(link); err != nil {
		return "", err
	}
	u, err := url.Parse(link)
	if err != nil {
		return "", err
	}
	full := u.EscapedPath()
	if u.RawQuery != "" {
		full += "?" + u.RawQuery
	}
	return strings.TrimPrefix(full, e.Graph.EscapedPath()), nil
}

// Restore is the inverse of Shorten, for a cursor that may have been tampered with.
func (e Endpoints) Restore(short string) (string, error) {
	if !strings.HasPrefix(short, "/") || strings.HasPrefix(short, "//") {
		return "", fmt.Errorf("a stored link is not a path")
	}
	link := e.Graph.String() + short
	return link, e.CheckGraph(link)
}

// HostPort is the host in lower case with its port, the standard one included, so that two spellings compare equal.
func HostPort(u *url.URL) string {
	return net.JoinHostPort(strings.ToLower(u.Hostname()), PortOf(u))
}

// PortOf is the port, the standard one when none is named.
func PortOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// PlaceOf names an address in an error text. Paths and queries of download addresses and links are credentials, so only the host is named.
func PlaceOf(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" {
		return "an unreadable address"
	}
	return Plain(u.Host, 100)
}
