package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
)

// As many at once as Holdfast takes: account services, and requests within one mailbox and one drive. More would be refused, as by
// the real service.
const (
	partsAtOnce = 8
	mailAtOnce  = 3
	driveAtOnce = 4
)

// downloader fetches contents and throws them away.
type downloader struct {
	http  *http.Client
	base  string
	token string
	bytes atomic.Int64
}

// measureDownload fetches every content that a first run fetches, over the same TLS with the same number of requests at once, and does
// nothing else: no listing, no metadata, no verification, no storing. Faster than that no backup can be here. The ids are known beforehand.
// Sandbox and downloader are one process, so its CPU time is both's.
func measureDownload(ctx context.Context, company *stage.Stage, p plan, data dataset) (f Figures, err error) {
	parts, err := listContents(company, p)
	if err != nil {
		return f, err
	}
	d, err := newDownloader(ctx, company)
	if err != nil {
		return f, err
	}
	defer d.http.CloseIdleConnections()
	before, err := ownCPU()
	if err != nil {
		return f, err
	}
	_, calls := company.Graph.Calls()
	began := time.Now()
	if err := d.fetchAll(ctx, parts); err != nil {
		return f, err
	}
	f.Seconds = time.Since(began).Seconds()
	after, err := ownCPU()
	f.SandboxCPUSeconds = (after - before).Seconds()
	_, sum := company.Graph.Calls()
	f.APICalls = sum - calls
	if got := d.bytes.Load(); got != data.Bytes {
		err = errors.Join(err, fmt.Errorf("the download brought %d bytes, want %d", got, data.Bytes))
	}
	return f, err
}

// contents are the addresses of one mailbox's or drive's contents, below the Graph's.
type contents struct {
	atOnce int
	paths  []string
}

func listContents(company *stage.Stage, p plan) ([]contents, error) {
	var parts []contents
	for _, person := range p.protected(company.People()) {
		messages, err := company.Graph.Messages(person.UPN)
		if err != nil {
			return nil, err
		}
		mail := contents{atOnce: mailAtOnce}
		for _, m := range messages {
			mail.paths = append(mail.paths, "/users/"+person.GraphID+"/messages/"+url.PathEscape(m.ID)+"/$value")
		}
		files, err := company.Graph.Files(person.UPN)
		if err != nil {
			return nil, err
		}
		drive := contents{atOnce: driveAtOnce}
		for _, f := range files {
			if f.Kind == "file" {
				drive.paths = append(drive.paths, "/users/"+person.GraphID+"/drive/items/"+url.PathEscape(f.ID)+"/content")
			}
		}
		parts = append(parts, mail, drive)
	}
	return parts, nil
}

func newDownloader(ctx context.Context, company *stage.Stage) (*downloader, error) {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: company.Graph.CA().Pool(), MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: partsAtOnce * driveAtOnce}
	d := &downloader{base: company.Graph.GraphURL(), http: &http.Client{Timeout: patience, Transport: transport, CheckRedirect: withoutToken}}
	return d, d.signIn(ctx, company.Graph, company.Path("sandbox", "client-secret"))
}

// withoutToken follows a redirect to a content, whose address carries an authorization of its own.
func withoutToken(next *http.Request, _ []*http.Request) error {
	next.Header.Del("Authorization")
	return nil
}

// signIn gets a token by the client credentials grant (RFC 6749, section 4.4).
func (d *downloader) signIn(ctx context.Context, company *graph.Server, secretFile string) error {
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {stage.ClientID}, "client_secret": {string(secret)},
		"scope": {strings.TrimSuffix(company.GraphURL(), "/v1.0") + "/.default"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, company.LoginURL()+"/"+company.TenantID()+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		return errors.Join(err, fmt.Errorf("the sandbox gave no token: %s", resp.Status))
	}
	d.token = answer.Token
	return nil
}

func (d *downloader) fetchAll(ctx context.Context, parts []contents) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(partsAtOnce)
	for _, part := range parts {
		group.Go(func() error {
			within, ctx := errgroup.WithContext(ctx)
			within.SetLimit(part.atOnce)
			for _, path := range part.paths {
				within.Go(func() error { return d.fetch(ctx, path) })
			}
			return within.Wait()
		})
	}
	return group.Wait()
}

// fetch reads one content to its end. A file's is behind a redirect to another host.
func (d *downloader) fetch(ctx context.Context, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.base+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Prefer", `IdType="ImmutableId"`)
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	d.bytes.Add(n)
	return err
}
