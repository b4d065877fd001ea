package readapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// requestTimeout bounds one request, body included: the gateway answers pages from its store.
	requestTimeout = 30 * time.Second
	// maxBody bounds an answer. The largest is a run's report: about 300 bytes for each account and service.
	maxBody = 64 << 20
	// maxTokenFile bounds the token file, so that a wrong path does not read a disk image.
	maxTokenFile = 4 << 10
	// MaxPage is the most that one page of people or problems holds.
	MaxPage = 500
)

// ClientOptions tell which gateway to ask.
type ClientOptions struct {
	// Gateway is the base URL, https://host:port.
	Gateway string
	// CAFile is a PEM file of the private CA; empty means the system's roots.
	CAFile string
	// TokenFile holds the bearer token.
	TokenFile string
}

// Client reads from a gateway. It may be used concurrently.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// NewClient reads the CA and the token. It does not connect.
func NewClient(o ClientOptions) (*Client, error) {
	base, err := url.Parse(strings.TrimSuffix(o.Gateway, "/") + "/")
	if err != nil || base.Host == "" || base.Scheme != "https" || base.User != nil || base.RawQuery != "" {
		return nil, badSetting("the gateway's address must look like https://host:port", "HOLDFAST_GATEWAY=https://...", nil)
	}
	roots, err := readRoots(o.CAFile)
	if err != nil {
		return nil, err
	}
	token, err := readToken(o.TokenFile)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &Client{base, token, &http.Client{Transport: transport, Timeout: requestTimeout, CheckRedirect: noRedirects}}, nil
}

// noRedirects keeps the token from travelling to an address that nobody configured.
func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, badSetting("the gateway's CA file cannot be read", "HOLDFAST_CA_FILE", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, badSetting("the gateway's CA file "+file+" holds no certificate in PEM", "HOLDFAST_CA_FILE", nil)
	}
	return pool, nil
}

func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", badSetting("the gateway's token file cannot be read", "HOLDFAST_TOKEN_FILE", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	token := strings.TrimSpace(string(b))
	if err != nil || len(b) > maxTokenFile || token == "" || strings.ContainsAny(token, " \r\n\t") {
		return "", badSetting("the gateway's token file "+file+" does not hold one token", "HOLDFAST_TOKEN_FILE", err)
	}
	return token, nil
}

func badSetting(message, hint string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: hint, Cause: cause}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Tenant reads what is known of a tenant; CodeNotFound when there is none.
func (c *Client) Tenant(ctx context.Context, tenant string) (TenantReport, error) {
	return get[TenantReport](ctx, c, fill(TenantPath, tenant), nil)
}

// Users reads one page of accounts after the cursor; state may be empty for all.
func (c *Client) Users(ctx context.Context, tenant string, state backup.AccountState, after string) (UserPage, error) {
	return get[UserPage](ctx, c, fill(UsersPath, tenant), page(after, "state", string(state)))
}

// User reads all that is known of one account; CodeNotFound when there is none of that id, mail or UPN.
func (c *Client) User(ctx context.Context, tenant, ref string) (backup.AccountReport, error) {
	return get[backup.AccountReport](ctx, c, strings.Replace(fill(UserPath, tenant), "{ref}", url.PathEscape(ref), 1), nil)
}

// FindEntries reads what directories say of whoever has the id, mail, UPN or DN.
func (c *Client) FindEntries(ctx context.Context, tenant, ref string) (EntryPage, error) {
	return get[EntryPage](ctx, c, fill(EntriesPath, tenant), query("ref", ref))
}

// Entries reads one page of what one directory says.
func (c *Client) Entries(ctx context.Context, tenant string, dir backup.DirectoryName, after string) (EntryPage, error) {
	return get[EntryPage](ctx, c, fill(EntriesPath, tenant), page(after, "directory", string(dir)))
}

// Problems reads one page of entries that did not become accounts, of all directories.
func (c *Client) Problems(ctx context.Context, tenant, after string) (ProblemPage, error) {
	return get[ProblemPage](ctx, c, fill(ProblemsPath, tenant), page(after))
}

// Conflicts reads one page of entries that wait for a person's word.
func (c *Client) Conflicts(ctx context.Context, tenant, after string) (ConflictPage, error) {
	return get[ConflictPage](ctx, c, fill(ConflictsPath, tenant), page(after))
}

// Imports reads the newest reports of imports, of one directory or of all.
func (c *Client) Imports(ctx context.Context, tenant string, dir backup.DirectoryName, limit int) (ImportPage, error) {
	return get[ImportPage](ctx, c, fill(ImportsPath, tenant), query("directory", string(dir), "limit", strconv.Itoa(limit)))
}

// Import reads one report; CodeNotFound when there is none of the number.
func (c *Client) Import(ctx context.Context, tenant string, number int64) (backup.ImportReport, error) {
	return get[backup.ImportReport](ctx, c, numbered(ImportPath, tenant, number), nil)
}

// Changes reads one page of what an import did, or would do.
func (c *Client) Changes(ctx context.Context, tenant string, number int64, after string) (ChangePage, error) {
	return get[ChangePage](ctx, c, numbered(ChangesPath, tenant, number), page(after))
}

// Runs reads the newest runs.
func (c *Client) Runs(ctx context.Context, tenant string, limit int) (RunPage, error) {
	return get[RunPage](ctx, c, fill(RunsPath, tenant), query("limit", strconv.Itoa(limit)))
}

// Run reads one run with its parts; CodeNotFound when there is none of the number.
func (c *Client) Run(ctx context.Context, tenant string, number int64) (RunReport, error) {
	return get[RunReport](ctx, c, numbered(RunPath, tenant, number), nil)
}

// Alerts reads the open alerts, or all of them.
func (c *Client) Alerts(ctx context.Context, tenant string, all bool) (AlertPage, error) {
	return get[AlertPage](ctx, c, fill(AlertsPath, tenant), query("all", strconv.FormatBool(all)))
}

// MuteAlert keeps one open alert from being told again for a while; CodeNotFound when it is not open.
func (c *Client) MuteAlert(ctx context.Context, tenant string, m Mute) error {
	body, err := json.Marshal(m)
	if err == nil {
		_, err = c.post(ctx, fill(MutePath, tenant), body)
	}
	return err
}

// Key reads where the tenant's key stands.
func (c *Client) Key(ctx context.Context, tenant string) (backup.KeyStatus, error) {
	return get[backup.KeyStatus](ctx, c, fill(KeyPath, tenant), nil)
}

// Receipts reads one page of the tenant's key receipts after the cursor; run may be empty for all, or name one run.
func (c *Client) Receipts(ctx context.Context, tenant, run, after string) (ReceiptPage, error) {
	return get[ReceiptPage](ctx, c, fill(ReceiptsPath, tenant), page(after, "run", run))
}

// SCIMTokens reads which tokens let identity providers in.
func (c *Client) SCIMTokens(ctx context.Context, tenant string) (SCIMTokenPage, error) {
	return get[SCIMTokenPage](ctx, c, fill(SCIMTokensPath, tenant), nil)
}

// WorkerIdentity reads the public key that connectors pin.
func (c *Client) WorkerIdentity(ctx context.Context) (WorkerIdentity, error) {
	return get[WorkerIdentity](ctx, c, IdentityPath, nil)
}

func numbered(path, tenant string, number int64) string {
	return strings.Replace(fill(path, tenant), "{number}", strconv.FormatInt(number, 10), 1)
}

func fill(path, tenant string) string {
	return strings.Replace(path, "{tenant}", url.PathEscape(tenant), 1)
}

func page(after string, pairs ...string) url.Values {
	q := query(append(pairs, "limit", strconv.Itoa(MaxPage))...)
	if after != "" {
		q.Set("after", after)
	}
	return q
}

func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	var answer T
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.String(), nil)
	if err != nil {
		return answer, badSetting("the gateway's address cannot be used", "HOLDFAST_GATEWAY", err)
	}
	req.URL = c.base.JoinPath(path)
	req.URL.RawQuery = q.Encode()
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return answer, c.unreachable(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return answer, c.unreachable(ctx, err)
	case len(body) > maxBody:
		return answer, c.badAnswer(fmt.Errorf("more than %d MiB", maxBody>>20))
	case res.StatusCode != http.StatusOK:
		return answer, c.failure(res, body)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, c.badAnswer(err)
	}
	return answer, nil
}

// ErrUnreachable is in the chain of an error when the gateway did not answer at all.
var ErrUnreachable = errors.New("readapi: gateway unreachable")

func (c *Client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL is in the message already
	}
	return &backup.Error{Code: backup.CodeUnreachable, Fault: backup.FaultOurs, Retryable: true,
		Message: "the gateway at " + c.base.Host + " does not answer", Hint: "holdfastd dev", Cause: noConnection{err}}
}

// noConnection marks a transport's error with ErrUnreachable and keeps its text.
type noConnection struct{ cause error }

func (e noConnection) Error() string        { return e.cause.Error() }
func (e noConnection) Unwrap() error        { return e.cause }
func (e noConnection) Is(target error) bool { return target == ErrUnreachable }

func (c *Client) badAnswer(err error) error {
	return &backup.Error{Code: backup.CodeBadResponse, Fault: backup.FaultOurs, Message: "the gateway at " + c.base.Host + " answered something that is not its own", Hint: "is HOLDFAST_GATEWAY right?", Cause: err}
}

// failure reads the classified error of an answer that is not 200.
func (c *Client) failure(res *http.Response, body []byte) error {
	var f Failure
	if json.Unmarshal(body, &f) == nil && f.Code != "" && f.Message != "" {
		return &backup.Error{Code: f.Code, Fault: faultOf(res.StatusCode), Message: f.Message, Hint: f.Hint, Retryable: res.StatusCode >= 500}
	}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &backup.Error{Code: backup.CodeBadCredential, Fault: backup.FaultCustomer, Message: "the gateway did not accept the token", Hint: "HOLDFAST_TOKEN_FILE"}
	}
	return c.badAnswer(errors.New(res.Status))
}

func faultOf(status int) backup.Fault {
	if status >= 500 {
		return backup.FaultOurs
	}
	return backup.FaultCustomer
}
