package microsoft365

import (
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	publicLogin = "https://login.microsoftonline.com"
	publicGraph = "https://graph.microsoft.com"
	// graphVersion is the path below which everything used here lives.
	graphVersion = "/v1.0"
)

// publicDownloads are the hosts that the public cloud serves file contents from.
var publicDownloads = []string{".sharepoint.com", ".svc.ms", ".1drv.com"}

// endpoints are the only places this package speaks to. All are https.
type endpoints struct {
	login     *url.URL
	graph     *url.URL // with the version path, without a slash at the end
	downloads []string // "host", "host:port" or ".suffix"
}

// newEndpoints fills in the public cloud where the description says nothing.
func newEndpoints(c backup.Microsoft365Config) (endpoints, error) {
	login, err := baseURL("loginURL", c.LoginURL, publicLogin)
	if err != nil {
		return endpoints{}, err
	}
	graph, err := baseURL("graphURL", c.GraphURL, publicGraph)
	if err != nil {
		return endpoints{}, err
	}
	if graph.Path == "" {
		graph.Path = graphVersion
	}
	downloads := c.DownloadHosts
	if len(downloads) == 0 {
		downloads = publicDownloads
	}
	return endpoints{login: login, graph: graph, downloads: downloads}, nil
}

func baseURL(setting, value, def string) (*url.URL, error) {
	if value == "" {
		value = def
	}
	u, err := url.Parse(strings.TrimRight(value, "/"))
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, badConfig(setting+" is not an https address", "write it as https://host[:port]")
	}
	return u, nil
}

// at is the address of a resource: each segment is escaped, the query is taken as it is.
func (e endpoints) at(query string, segments ...string) string {
	u := e.graph.String()
	for _, s := range segments {
		u += "/" + url.PathEscape(s)
	}
	if query != "" {
		u += "?" + query
	}
	return u
}

// checkGraph admits a nextLink or deltaLink: only the configured Graph host and version, only https. The link is otherwise opaque.
func (e endpoints) checkGraph(link string) error {
	u, err := url.Parse(link)
	switch {
	case err != nil || u.Scheme != "https" || u.User != nil || hostPort(u) != hostPort(e.graph):
		return fmt.Errorf("a link leads to %s, not to Microsoft Graph at %s", placeOf(link), e.graph.Host)
	case path.Clean(u.Path) != u.Path || !strings.HasPrefix(u.Path, e.graph.Path+"/"):
		return fmt.Errorf("a link leads out of %s", e.graph.Path)
	}
	return nil
}

// shorten turns a checked link into what a cursor keeps: everything behind the version path. A cursor thereby cannot name a host at
// all, and stays good when the same tenant is reached by another address.
func (e endpoints) shorten(link string) (string, error) {
	if err := e.checkGraph(link); err != nil {
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
	return strings.TrimPrefix(full, e.graph.EscapedPath()), nil
}

// restore is the inverse of shorten, for a cursor that may have been tampered with.
func (e endpoints) restore(short string) (string, error) {
	if !strings.HasPrefix(short, "/") || strings.HasPrefix(short, "//") {
		return "", fmt.Errorf("a stored link is not a path")
	}
	link := e.graph.String() + short
	return link, e.checkGraph(link)
}

// checkDownload admits an address that file content is fetched from. It carries its own authorization, so the host must be known.
func (e endpoints) checkDownload(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" {
		return fmt.Errorf("a download address is not https")
	}
	if hostPort(u) == hostPort(e.graph) || slices.ContainsFunc(e.downloads, func(d string) bool { return admits(d, u) }) {
		return nil
	}
	return fmt.Errorf("file contents would come from %s, which is not among downloadHosts", placeOf(link))
}

// admits compares a download host of the description with an address. A suffix admits the standard port only.
func admits(entry string, u *url.URL) bool {
	entry = strings.ToLower(entry)
	host := strings.ToLower(u.Hostname())
	switch {
	case strings.HasPrefix(entry, "."):
		return portOf(u) == "443" && strings.HasSuffix(host, entry) && len(host) > len(entry)
	case strings.Contains(strings.Trim(entry, "[]"), ":") || strings.HasPrefix(entry, "["):
		return entry == hostPort(u) || strings.Trim(entry, "[]") == host && portOf(u) == "443"
	}
	return portOf(u) == "443" && host == entry
}

// hostPort is the host in lower case with its port, the standard one included, so that two spellings compare equal.
func hostPort(u *url.URL) string {
	return net.JoinHostPort(strings.ToLower(u.Hostname()), portOf(u))
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// placeOf names an address in an error text. Paths and queries of download addresses and links are credentials, so only the host is named.
func placeOf(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" {
		return "an unreadable address"
	}
	return plain(u.Host, 100)
}
