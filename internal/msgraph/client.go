package msgraph

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	// answerLimit bounds a JSON answer, in bytes. Pages of the sizes asked for are a tenth of it.
	answerLimit = 32 << 20
	// answerTime bounds one attempt at a JSON answer, its body included.
	answerTime = 2 * time.Minute
)

// Client is a thin Graph client: it authorizes, names, counts, repeats and classifies requests. It may be used concurrently.
type Client struct {
	Endpoints
	http   *http.Client
	tokens *tokens
	policy Policy
	agent  string
	prefer []string // sent with every request
	ease   *ease
	calls  *atomic.Int64
}

// Counting is the same client with its own counter.
func (c *Client) Counting() *Client {
	own := *c
	own.calls = new(atomic.Int64)
	return &own
}

// Calls is how many requests were sent, repeated ones included, requests for tokens not.
func (c *Client) Calls() int64 { return c.calls.Load() }

// Repeat calls try by the client's policy: again as long as its error says that it may succeed later, and soon.
func (c *Client) Repeat(ctx context.Context, try func() error) error { return c.policy.Run(ctx, try) }

// FreshRoles fetches a new token, which shows what was consented to meanwhile, and gives what it states.
func (c *Client) FreshRoles(ctx context.Context) (r Roles, err error) {
	err = c.policy.Run(ctx, func() error {
		token, err := c.tokens.fresh(ctx)
		r = RolesOf(token)
		return err
	})
	return r, err
}

// Roles are the permissions of the token in use.
func (c *Client) Roles(ctx context.Context) (Roles, error) {
	token, err := c.tokens.get(ctx)
	return RolesOf(token), err
}

// Lacks says that the app lacks a permission. The token goes with it: it would be good for up to an hour more, and the first work
// after an administrator consented would fail for what is mended.
func (c *Client) Lacks(ctx context.Context, need Permission, err error) error {
	token, failed := c.tokens.get(ctx)
	if failed != nil {
		return failed
	}
	c.tokens.drop(token)
	return need.Missing(RolesOf(token), err)
}

// CloseIdle closes connections that nobody uses. Work under way goes on.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }

// Call is one request: a GET, or with a Body a POST.
type Call struct {
	URL    string
	Prefer []string
	// Body is JSON. Only what changes nothing may be posted, for it may be sent several times.
	Body   []byte
	accept string
	// Bare: the address carries its own authorization and must not get ours.
	Bare bool
	// Identity asks for uncompressed bytes.
	Identity bool
	// From asks for the bytes from this offset on, when not zero.
	From int64
}

// ReadJSON gets a JSON answer into v, which holds nothing useful after an error.
func (c *Client) ReadJSON(ctx context.Context, what Call, v any) error {
	return c.policy.Run(ctx, func() error { return c.ReadOnce(ctx, what, v) })
}

// ReadOnce is one attempt of ReadJSON, for callers that repeat more than this call.
func (c *Client) ReadOnce(ctx context.Context, what Call, v any) error {
	if err := c.ease.wait(ctx, c.policy); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	what.accept = "application/json"
	resp, err := c.Send(limited, what)
	if err != nil {
		return outlive(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return BadResponse("an answer of Microsoft Graph broke off ("+what.Name()+")", err)
	case len(body) > answerLimit:
		return BadResponse("an answer of Microsoft Graph is larger than any it should give ("+what.Name()+")", nil)
	case json.Unmarshal(body, v) != nil:
		return BadResponse("an answer of Microsoft Graph is not what it should be ("+what.Name()+")", nil)
	}
	return nil
}

// outlive tells the end of one attempt's time from the end of the caller's context.
func outlive(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return unreachable(ctx, "Microsoft Graph in time", context.DeadlineExceeded)
	}
	return err
}

// Send makes one attempt, or two when the token turns out to be no longer good, and classifies what went wrong.
func (c *Client) Send(ctx context.Context, what Call) (*http.Response, error) {
	token := ""
	if !what.Bare {
		var err error
		if token, err = c.tokens.get(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := c.do(ctx, what, token)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && !what.Bare {
		resp.Body.Close()
		if token, err = c.tokens.renew(ctx, token, claimsOf(resp.Header.Get("WWW-Authenticate"))); err != nil {
			return nil, err
		}
		resp, err = c.do(ctx, what, token)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return nil, readRefusal(resp).Classify(what.Name())
	}
	return resp, nil
}

// do puts one request on the wire and counts it.
func (c *Client) do(ctx context.Context, what Call, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, what.method(), what.URL, bytes.NewReader(what.Body))
	if err != nil {
		return nil, BadResponse("an address cannot be used", nil)
	}
	req.Header.Set("User-Agent", c.agent)
	if !what.Bare {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("client-request-id", uuid.NewString())
		if prefer := append(slices.Clone(c.prefer), what.Prefer...); len(prefer) > 0 {
			req.Header.Set("Prefer", strings.Join(prefer, ", "))
		}
	}
	if what.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if what.accept != "" {
		req.Header.Set("Accept", what.accept)
	}
	if what.Identity {
		// Lengths and ranges count the file's own bytes, which a compressed answer would hide.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if what.From > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", what.From))
	}
	c.calls.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, req.URL.Host, err)
	}
	c.ease.hear(resp.Header)
	return resp, nil
}

func (w Call) method() string {
	if w.Body != nil {
		return http.MethodPost
	}
	return http.MethodGet
}

// Name is the call in an error text: without the query, which holds tokens, and for download addresses the host alone.
func (w Call) Name() string {
	u, err := url.Parse(w.URL)
	if err != nil || w.Bare {
		return w.method() + " from " + PlaceOf(w.URL)
	}
	return w.method() + " " + Plain(u.Path, 200)
}

// newHTTPClient makes the transport of one app: bounded connections, bounded waits for everything but a body, verified TLS. It follows
// no redirect: where one leads is checked first.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  100 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
			MaxConnsPerHost:        64,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        90 * time.Second,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		},
	}
}
