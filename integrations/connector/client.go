package connector

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	callTime = 15 * time.Second // a call; a poll may take what the gateway says it waits, and this
	maxPoll  = 2 * time.Minute  // what a gateway may say
	// maxReply bounds what a gateway may send: maxHandOut requests and some slack, in bytes.
	maxReply = (maxHandOut + 1) * maxMessage
)

// client calls one gateway in the name of one connector. It may be used concurrently.
type client struct {
	key  *KeyFile
	now  func() time.Time
	http *http.Client
	wait atomic.Int64 // how long the gateway holds a poll, by its hello, as a time.Duration
}

// newClient trusts the pinned CA alone, goes through the proxy of the environment (HTTPS_PROXY, NO_PROXY) and follows no redirects.
func newClient(k *KeyFile, now func() time.Time) *client {
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     &tls.Config{RootCAs: k.pool(), MinVersion: tls.VersionTLS13},
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}, // finds a dead connection
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxConnsPerHost:     2 * maxHandOut,
	}
	return &client{key: k, now: now, http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("the gateway redirects, which a gateway never does")
	}}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

func (c *client) hello(ctx context.Context, self hello) error {
	body, err := json.Marshal(self)
	if err != nil {
		return err
	}
	var reply helloReply
	if err := c.call(ctx, callTime, helloPath, body, &reply); err != nil {
		return err
	}
	if reply.Version != Version {
		return fmt.Errorf("the gateway speaks version %d, this connector %d", reply.Version, Version)
	}
	c.wait.Store(int64(time.Duration(min(max(reply.Poll, 0), maxPoll.Milliseconds())) * time.Millisecond))
	return nil
}

// poll returns the requests that wait, or none after the gateway's waiting time.
func (c *client) poll(ctx context.Context) ([]json.RawMessage, error) {
	var reply pollReply
	err := c.call(ctx, time.Duration(c.wait.Load())+callTime, pollPath, []byte("{}"), &reply)
	return reply.Requests, err
}

func (c *client) answer(ctx context.Context, a Answer) error {
	body, err := a.wire()
	if err != nil {
		return err
	}
	return c.call(ctx, callTime, answerPath, body, &struct{}{})
}

func (c *client) bye(ctx context.Context) error {
	return c.call(ctx, callTime, byePath, []byte("{}"), &struct{}{})
}

// call makes one signed call. A refusal comes back as *Failure.
func (c *client) call(ctx context.Context, limit time.Duration, path string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.key.Gateway, "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	signCall(r, body, c.key, c.now())
	reply, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	content, err := io.ReadAll(io.LimitReader(reply.Body, maxReply+1))
	if err != nil {
		return err
	}
	return readReply(reply.StatusCode, content, into)
}

// readReply treats the gateway's words as a stranger's: they are bounded and printable before they reach a log.
func readReply(status int, content []byte, into any) error {
	if status == http.StatusOK {
		return decode(content, maxReply, into)
	}
	var f Failure
	if decode(content, maxMessage, &f) != nil || !plainText(string(f.Code), 32) || !plainText(f.Message, maxReason) || !plainText(f.Hint, maxReason) {
		return fmt.Errorf("the gateway answered with status %d", status)
	}
	return &f
}
