// Package judge puts a judge of Microsoft Graph traffic between a client and the sandbox. The judge is a program outside of this repository, named
// by HOLDFAST_ODATA_LINT, that is started as "python3 PROGRAM proxy --upstream URL --listen HOST:PORT" and exits with 1 when it found an ERROR. It
// speaks plain HTTP and our clients TLS only, so a small TLS server stands before it. scripts/lint-graph.sh runs the tests that use it.
package judge

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Start starts the judge before upstream. verdict ends it and fails the test when it found an ERROR.
func Start(t testing.TB, upstream string) (address string, verdict func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := l.Addr().String()
	l.Close()
	var said bytes.Buffer
	cmd := exec.Command("python3", os.Getenv("HOLDFAST_ODATA_LINT"), "proxy", "--upstream", upstream, "--listen", listen)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { cmd.Process.Kill() })
	for range 300 {
		if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", listen); err == nil {
			conn.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "http://" + listen, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		err := <-ended
		t.Log(said.String())
		if err != nil || !strings.Contains(said.String(), " 0 errors") {
			t.Errorf("the judge found errors (%v)", err)
		}
	}
}

// Front serves upstream over TLS, and writes other names into what passes.
func Front(t testing.TB, upstream string, names map[string]string) *httptest.Server {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: transport,
		ModifyResponse: func(resp *http.Response) error {
			if l := resp.Header.Get("Location"); l != "" {
				resp.Header.Set("Location", rename(l, names))
			}
			if !strings.Contains(resp.Header.Get("Content-Type"), "json") {
				return nil
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			renamed := rename(string(body), names)
			resp.Header.Set("Content-Length", strconv.Itoa(len(renamed)))
			resp.Body = io.NopCloser(strings.NewReader(renamed))
			return nil
		},
	}
	s := httptest.NewTLSServer(proxy)
	t.Cleanup(s.Close)
	return s
}

func rename(text string, names map[string]string) string {
	for from, to := range names {
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}
