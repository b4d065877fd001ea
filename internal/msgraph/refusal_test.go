package msgraph

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// What every kind of answer means, and how often it is asked for.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name      string
		status    int
		body      string
		headers   []string
		code      backup.Code
		retryable bool
		after     time.Duration
		calls     int64
	}{
		{"bad request", 400, graphError("BadRequest", "no"), nil, backup.CodeBadResponse, false, 0, 1},
		{"metered", 402, graphError("PaymentRequired", ""), nil, backup.CodeBadConfig, false, 0, 1},
		{"forbidden", 403, graphError("Authorization_RequestDenied", "Insufficient privileges"), nil, backup.CodeMissingRole, false, 0, 1},
		{"not found", 404, graphError("itemNotFound", ""), nil, backup.CodeNotFound, false, 0, 1},
		{"gone", 410, graphError("resyncRequired", ""), nil, backup.CodeCursorExpired, false, 0, 1},
		{"gone without a body", 410, "", nil, backup.CodeCursorExpired, false, 0, 1},
		{"sync state, inner code, other case", 400, `{"error":{"code":"badRequest","innererror":{"code":"syncStateNotFound"}}}`, nil, backup.CodeCursorExpired, false, 0, 1},
		{"delta token not supported", 400, graphError("BadRequest", "Parameter 'DeltaToken' not supported"), nil, backup.CodeCursorExpired, false, 0, 1},
		{"throttled, no distance", 429, graphError("TooManyRequests", ""), nil, backup.CodeThrottled, true, 0, attempts},
		{"throttled, 10 s", 429, graphError("ApplicationThrottled", ""), []string{"Retry-After", "10"}, backup.CodeThrottled, true, 10 * time.Second, attempts},
		{"throttled, 60 s", 429, "", []string{"Retry-After", "60"}, backup.CodeThrottled, true, time.Minute, attempts},
		{"throttled, 61 s", 429, "", []string{"Retry-After", "61"}, backup.CodeThrottled, true, 61 * time.Second, 1},
		{"unavailable, 120 s", 503, graphError("serviceNotAvailable", ""), []string{"Retry-After", "120"}, backup.CodeThrottled, true, 2 * time.Minute, 1},
		{"gateway time-out, 90 s", 504, "", []string{"Retry-After", "90"}, backup.CodeThrottled, true, 90 * time.Second, 1},
		{"bandwidth", 509, "", []string{"Retry-After", "600"}, backup.CodeThrottled, true, 10 * time.Minute, 1},
		{"server error", 500, graphError("generalException", ""), nil, backup.CodeBadResponse, true, 0, attempts},
		{"bad gateway in HTML", 502, "<html>502</html>", nil, backup.CodeBadResponse, true, 0, attempts},
		{"unavailable, no distance", 503, "", nil, backup.CodeBadResponse, true, 0, attempts},
		{"not implemented", 501, graphError("NotImplemented", ""), nil, backup.CodeBadResponse, false, 0, 1},
		{"corrupt data is no outage", 500, graphError("ErrorCorruptData", ""), nil, backup.CodeBadResponse, false, 0, 1},
		{"token refused for good", 401, graphError("InvalidAuthenticationToken", ""), nil, backup.CodeBadCredential, false, 0, 2},
		{"endless body", 404, strings.Repeat("x", errorBodyLimit*4), nil, backup.CodeBadResponse, true, 0, 5},
		{"not there", 404, graphError("ErrorItemNotFound", ""), nil, backup.CodeNotFound, false, 0, 1},
		{"a proxy's page says nothing about an item", 404, "<html>Not Found</html>", nil, backup.CodeBadResponse, true, 0, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := newTenant(t)
			x.graph.HandleFunc("GET /probe", refuse(tt.status, tt.body, tt.headers...))
			c := x.client().Counting()
			err := c.ReadJSON(t.Context(), Call{URL: c.At("token=geheim", "probe")}, new(any))
			e := wantCode(t, err, tt.code)
			if e.Retryable != tt.retryable || e.RetryAfter != tt.after {
				t.Errorf("retryable %v after %v, want %v after %v", e.Retryable, e.RetryAfter, tt.retryable, tt.after)
			}
			if got := c.Calls(); got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}
			if !strings.Contains(e.Error(), "req-1") || strings.Contains(e.Error(), "geheim") {
				t.Errorf("the text must name the request and not its query: %s", e.Error())
			}
			for _, w := range x.waits {
				if tt.after > 0 && w != tt.after || w > longestPause && tt.after == 0 {
					t.Errorf("waited %v", x.waits)
				}
			}
		})
	}
}

// Backing off without a distance grows and is never the same for two workers.
func TestBackOffGrows(t *testing.T) {
	x := newTenant(t)
	x.graph.HandleFunc("GET /probe", refuse(500, ""))
	c := x.client()
	wantCode(t, c.ReadJSON(t.Context(), Call{URL: c.At("", "probe")}, new(any)), backup.CodeBadResponse)
	if len(x.waits) != attempts-1 {
		t.Fatalf("waited %d times", len(x.waits))
	}
	for i, w := range x.waits {
		if full := firstPause << i; w < full/2 || w >= full {
			t.Errorf("wait %d is %v, want between %v and %v", i+1, w, full/2, full)
		}
	}
}

// A wait for Retry-After ends with the caller's context, and at once.
func TestWaitIsCancelled(t *testing.T) {
	x := newTenant(t)
	x.graph.HandleFunc("GET /probe", refuse(429, "", "Retry-After", "50"))
	c := *x.client()
	c.policy.Wait = Sleep
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := c.ReadJSON(ctx, Call{URL: c.At("", "probe")}, new(any))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Fatalf("%v after %v", err, time.Since(began))
	}
}

// An answer that breaks off is asked for again; one that always does is an error.
func TestCutAnswers(t *testing.T) {
	x := newTenant(t)
	n := 0
	x.graph.HandleFunc("GET /once", func(w http.ResponseWriter, r *http.Request) {
		if n++; n == 1 {
			cut(w, `{"id":"whole"}`, 5)
			return
		}
		answer(`{"id":"whole"}`)(w, r)
	})
	x.graph.HandleFunc("GET /always", func(w http.ResponseWriter, _ *http.Request) { cut(w, `{"id":"whole"}`, 5) })
	c := x.client()
	var u struct{ ID string }
	if err := c.ReadJSON(t.Context(), Call{URL: c.At("", "once")}, &u); err != nil || u.ID != "whole" {
		t.Fatal(u, err)
	}
	e := wantCode(t, c.ReadJSON(t.Context(), Call{URL: c.At("", "always")}, &u), backup.CodeBadResponse)
	if !e.Retryable {
		t.Error("an answer that broke off may be whole another time")
	}
}

// cut announces a body and closes the connection in the middle of it.
func cut(w http.ResponseWriter, body string, at int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write([]byte(body[:at]))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestUnreachable(t *testing.T) {
	x := newTenant(t)
	c := x.client()
	if _, err := c.tokens.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.graphServer.Close()
	e := wantCode(t, c.ReadJSON(t.Context(), Call{URL: c.At("", "probe")}, new(any)), backup.CodeUnreachable)
	if !e.Retryable || len(x.waits) != attempts-1 {
		t.Errorf("retryable %v after %d waits", e.Retryable, len(x.waits))
	}
}

// A certificate of an unknown CA is no outage: waiting does not mend it.
func TestUntrustedCertificate(t *testing.T) {
	x := newTenant(t)
	x.login.CAFile = ""
	_, err := x.client().FreshRoles(t.Context())
	e := wantCode(t, err, backup.CodeUnreachable)
	if e.Retryable || e.Fault != backup.FaultCustomer || !strings.Contains(e.Hint, "caFile") {
		t.Errorf("%+v", e)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "7.5": 0, "soon": 0,
		"99999999999": longestRetryAfter, "-9223372036854775808": 0, "999999999999999999999": 0,
		"Sun, 01 Mar 2026 12:01:30 GMT": 90 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0, "Sun, 01 Mar 2099 11:00:00 GMT": longestRetryAfter,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-1", "Sun, 01 Mar 2026 12:01:30 GMT", "9223372036854775807"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		if d := retryAfter(header, now); d < 0 || d > longestRetryAfter {
			t.Fatalf("%q: %v", header, d)
		}
	})
}

func FuzzErrorBody(f *testing.F) {
	f.Add([]byte(graphError("itemNotFound", "gone")))
	f.Add([]byte(`{"error":{"code":"a","innerError":{"code":"b","innererror":{"code":"c","request-id":"r"}}}}`))
	f.Add([]byte(`{"error":"text"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := &Refusal{Status: 403}
		r.decode(body)
		if len(r.codes) > errorDepth || len([]rune(r.message)) > 301 {
			t.Fatalf("%d codes, message of %d", len(r.codes), len(r.message))
		}
		if e := r.Classify("GET /x"); e.Code == "" || strings.ContainsAny(e.Error(), "\n\r\x00\x1b") {
			t.Fatalf("%q", e.Error())
		}
	})
}
