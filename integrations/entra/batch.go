package entra

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// batchSize is how many requests Graph takes in one. See https://learn.microsoft.com/graph/json-batching.
const batchSize = 20

// inner is the answer to one request of a batch: a body or a refusal.
type inner struct {
	body    json.RawMessage
	refusal *msgraph.Refusal
}

// innerCall is one request of a batch: a GET of a path below the version, or with a body a POST that changes nothing.
type innerCall struct {
	path string
	body json.RawMessage
}

// batch makes many requests, twenty at a time. Each is judged alone by Graph: what may succeed later is asked for again, and only that. The
// answers stand in the order of the requests; refusals in them are final.
func batch(ctx context.Context, c *msgraph.Client, requests []innerCall) ([]inner, error) {
	answers := make([]inner, 0, len(requests))
	for chunk := range slices.Chunk(requests, batchSize) {
		open := &openBatch{requests: chunk, answers: make([]inner, len(chunk)), done: make([]bool, len(chunk))}
		if err := c.Repeat(ctx, func() error { return open.try(ctx, c) }); err != nil {
			return nil, err
		}
		answers = append(answers, open.answers...)
	}
	return answers, nil
}

// openBatch is one batch, some of whose requests may have been answered.
type openBatch struct {
	requests []innerCall
	answers  []inner
	done     []bool
	// refused: a request was, because of the token; renewed: there is another since.
	refused, renewed bool
}

type innerRequest struct {
	ID     string `json:"id"`
	Method string `json:"method"`
	URL    string `json:"url"`

	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"`
}

func (c innerCall) request(id string) innerRequest {
	if c.body == nil {
		return innerRequest{ID: id, Method: http.MethodGet, URL: c.path}
	}
	return innerRequest{ID: id, Method: http.MethodPost, URL: c.path, Headers: map[string]string{"Content-Type": "application/json"}, Body: c.body}
}

type innerAnswer struct {
	ID      string            `json:"id"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
}

// try sends what is not answered yet, once. The error is that of the request to be waited for longest.
func (b *openBatch) try(ctx context.Context, c *msgraph.Client) error {
	var ask struct {
		Requests []innerRequest `json:"requests"`
	}
	for i, r := range b.requests {
		if !b.done[i] {
			ask.Requests = append(ask.Requests, r.request(strconv.Itoa(i)))
		}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return err
	}
	var said struct {
		Responses []innerAnswer `json:"responses"`
	}
	if err := c.ReadOnce(ctx, msgraph.Call{URL: c.At("", "$batch"), Body: body}, &said); err != nil {
		return err
	}
	var later *backup.Error
	for _, a := range said.Responses {
		if e := b.take(a); e != nil && (later == nil || e.RetryAfter > later.RetryAfter) {
			later = e
		}
	}
	switch {
	case b.refused && !b.renewed:
		return b.renew(ctx, c, later)
	case later != nil:
		return later
	case slices.Contains(b.done, false):
		return msgraph.BadResponse("Microsoft Graph left requests of a batch unanswered", nil)
	}
	return nil
}

// renew gets another token after a request was refused although the batch was not: the token ended in between. Once, as for any other call.
func (b *openBatch) renew(ctx context.Context, c *msgraph.Client, later *backup.Error) error {
	if _, err := c.FreshRoles(ctx); err != nil {
		return err
	}
	b.renewed = true
	return later
}

// take keeps one answer, unless it only says to come back.
func (b *openBatch) take(a innerAnswer) *backup.Error {
	i, err := strconv.Atoi(a.ID)
	if err != nil || i < 0 || i >= len(b.requests) || b.done[i] {
		return msgraph.BadResponse(fmt.Sprintf("Microsoft Graph answered a request %q of a batch that was not made", msgraph.Plain(a.ID, 40)), nil)
	}
	if a.Status < http.StatusBadRequest {
		b.answers[i], b.done[i] = inner{body: a.Body}, true
		return nil
	}
	header := http.Header{}
	for name, value := range a.Headers {
		header.Set(name, value)
	}
	r := msgraph.ReadInner(a.Status, header, a.Body)
	e := r.Classify("a request of a batch")
	if a.Status == http.StatusUnauthorized && !b.renewed {
		b.refused, e.Retryable = true, true
	}
	if e.Retryable {
		return e
	}
	b.answers[i], b.done[i] = inner{refusal: r}, true
	return nil
}
