package microsoft365

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// publicDownloads are the hosts that the public cloud serves file contents from.
var publicDownloads = []string{".sharepoint.com", ".svc.ms", ".1drv.com"}

// endpoints are the only places this package speaks to.
type endpoints struct {
	msgraph.Endpoints
	downloads []string // "host", "host:port" or ".suffix"
}

// newEndpoints adds the hosts of file contents, those of the public cloud where the description says nothing.
func newEndpoints(e msgraph.Endpoints, c backup.Microsoft365Config) endpoints {
	if len(c.DownloadHosts) == 0 {
		return endpoints{e, publicDownloads}
	}
	return endpoints{e, c.DownloadHosts}
}

// checkDownload admits an address that file content is fetched from. It carries its own authorization, so the host must be known.
func (e endpoints) checkDownload(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Host == "" {
		return fmt.Errorf("a download address is not https")
	}
	if msgraph.HostPort(u) == msgraph.HostPort(e.Graph) || slices.ContainsFunc(e.downloads, func(d string) bool { return admits(d, u) }) {
		return nil
	}
	return fmt.Errorf("file contents would come from %s, which is not among downloadHosts", msgraph.PlaceOf(link))
}

// admits compares a download host of the description with an address. A suffix admits the standard port only.
func admits(entry string, u *url.URL) bool {
	entry = strings.ToLower(entry)
	host := strings.ToLower(u.Hostname())
	switch {
	case strings.HasPrefix(entry, "."):
		return msgraph.PortOf(u) == "443" && strings.HasSuffix(host, entry) && len(host) > len(entry)
	case strings.Contains(strings.Trim(entry, "[]"), ":") || strings.HasPrefix(entry, "["):
		return entry == msgraph.HostPort(u) || strings.Trim(entry, "[]") == host && msgraph.PortOf(u) == "443"
	}
	return msgraph.PortOf(u) == "443" && host == entry
}
