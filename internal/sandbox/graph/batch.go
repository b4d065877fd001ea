package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Limits of a batch: requests, and bytes of its body. See https://learn.microsoft.com/graph/json-batching.
const (
	maxBatch     = 20
	maxBatchBody = 4 << 20
)

// batchRequest is one request of a batch: a GET without, or a POST with a body. Dependencies are refused.
type batchRequest struct {
	ID      string            `json:"id"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
}

// wellFormed tells whether the method is served, and a body comes where it should, with its type.
func (q batchRequest) wellFormed() bool {
	typed := false
	for name, value := range q.Headers {
		typed = typed || strings.EqualFold(name, "Content-Type") && strings.EqualFold(value, "application/json")
	}
	return q.Method == http.MethodGet && q.Body == nil || q.Method == http.MethodPost && q.Body != nil && typed
}

// batch answers each request as if it had come alone, with its own counting, faults and status, and in another order than they came in.
func (s *Server) batch(c *call) error {
	var ask struct {
		Requests []batchRequest `json:"requests"`
	}
	d := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBatchBody))
	d.DisallowUnknownFields()
	if d.Decode(&ask) != nil {
		return badRequest("BadRequest", "Invalid batch payload format.")
	}
	if e := checkBatch(ask.Requests); e != nil {
		return e
	}
	answers := make([]object, 0, len(ask.Requests))
	for _, q := range slices.Backward(ask.Requests) {
		answers = append(answers, s.answerInner(c, q))
	}
	writeJSON(c.w, http.StatusOK, object{"responses": answers})
	return nil
}

func checkBatch(requests []batchRequest) *apiError {
	if len(requests) == 0 || len(requests) > maxBatch {
		return badRequest("MaximumValueExceeded", fmt.Sprintf("Number of batch request steps must be between 1 and %d.", maxBatch))
	}
	seen := map[string]bool{}
	for _, q := range requests {
		id := strings.ToLower(q.ID)
		if _, err := url.Parse(q.URL); err != nil || !q.wellFormed() || id == "" || seen[id] || !strings.HasPrefix(q.URL, "/") || strings.HasPrefix(q.URL, "/$batch") {
			return badRequest("BadRequest", "Invalid batch payload format.")
		}
		seen[id] = true
	}
	return nil
}

// answerInner passes a request on to the route it names.
func (s *Server) answerInner(c *call, q batchRequest) object {
	r, err := http.NewRequestWithContext(c.r.Context(), q.Method, s.graphURL+"/v1.0"+q.URL, bytes.NewReader(q.Body))
	if err != nil {
		return object{"id": q.ID, "status": http.StatusBadRequest}
	}
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Authorization", c.r.Header.Get("Authorization"))
	for name, value := range q.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Del("Accept-Encoding")
	w := &innerWriter{header: http.Header{}, status: http.StatusOK}
	s.api.ServeHTTP(w, r)
	out := object{"id": q.ID, "status": w.status, "headers": w.headers()}
	if body := w.body.Bytes(); json.Valid(body) {
		out["body"] = json.RawMessage(body)
	} else if len(body) > 0 {
		out["body"] = body // in base64
	}
	return out
}

// innerWriter holds the answer to a request of a batch.
type innerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *innerWriter) Header() http.Header         { return w.header }
func (w *innerWriter) WriteHeader(status int)      { w.status = status }
func (w *innerWriter) Write(p []byte) (int, error) { return w.body.Write(p) }
func (w *innerWriter) Flush()                      {}

func (w *innerWriter) headers() map[string]string {
	flat := map[string]string{}
	for name := range maps.Keys(w.header) {
		flat[name] = w.header.Get(name)
	}
	return flat
}
