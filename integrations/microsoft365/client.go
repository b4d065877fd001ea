package microsoft365

import (
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

// client is a thin Graph client: it authorizes, names, counts, repeats and classifies requests, and knows nothing of mail and files.
type client struct {
	http      *http.Client
	endpoints endpoints
	tokens    *tokens
	policy    policy
	agent     string
	idle      time.Duration // how long a content may be silent
	calls     *atomic.Int64
}

// counting is the same client with its own counter.
func (c *client) counting() *client {
	own := *c
	own.calls = new(atomic.Int64)
	return &own
}

// call is one GET.
type call struct {
	url    string
	prefer []string
	accept string
	// bare: the address carries its own authorization and must not get ours.
	bare bool
	// identity asks for uncompressed bytes.
	identity bool
	// from asks for the bytes from this offset on, when not zero.
	from int64
}

// readJSON gets a JSON answer into v, which holds nothing useful after an error.
func (c *client) readJSON(ctx context.Context, what call, v any) error {
	return c.policy.run(ctx, func() error { return c.readOnce(ctx, what, v) })
}

// readOnce is one attempt of readJSON, for callers that repeat more than this call.
func (c *client) readOnce(ctx context.Context, what call, v any) error {
	limited, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	what.accept = "application/json"
	resp, err := c.send(limited, what)
	if err != nil {
		return outlive(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return badResponse("an answer of Microsoft Graph broke off ("+what.name()+")", err)
	case len(body) > answerLimit:
		return badResponse("an answer of Microsoft Graph is larger than any it should give ("+what.name()+")", nil)
	case json.Unmarshal(body, v) != nil:
		return badResponse("an answer of Microsoft Graph is not what it should be ("+what.name()+")", nil)
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

// send makes one attempt, or two when the token turns out to be no longer good, and classifies what went wrong.
func (c *client) send(ctx context.Context, what call) (*http.Response, error) {
	token := ""
	if !what.bare {
		var err error
		if token, err = c.tokens.get(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := c.do(ctx, what, token)
	if err == nil && resp.StatusCode == http.StatusUnauthorized && !what.bare {
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
		return nil, readRefusal(resp).classify(what.name())
	}
	return resp, nil
}

// do puts one request on the wire and counts it.
func (c *client) do(ctx context.Context, what call, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, what.url, nil)
	if err != nil {
		return nil, badResponse("an address cannot be used", nil)
	}
	req.Header.Set("User-Agent", c.agent)
	if !what.bare {
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("client-request-id", uuid.NewString())
		// Immutable ids survive a move within the mailbox; without them every move would look like a new message.
		req.Header.Set("Prefer", strings.Join(append([]string{`IdType="ImmutableId"`}, what.prefer...), ", "))
	}
	if what.accept != "" {
		req.Header.Set("Accept", what.accept)
	}
	if what.identity {
		// Lengths and ranges count the file's own bytes, which a compressed answer would hide.
		req.Header.Set("Accept-Encoding", "identity")
	}
	if what.from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", what.from))
	}
	c.calls.Add(1)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, req.URL.Host, err)
	}
	return resp, nil
}

// name is the call in an error text: without the query, which holds tokens, and for download addresses the host alone.
func (w call) name() string {
	u, err := url.Parse(w.url)
	if err != nil || w.bare {
		return "GET from " + placeOf(w.url)
	}
	return "GET " + plain(u.Path, 200)
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
