package microsoft365

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	// idleLimit is how long a body may be silent.
	idleLimit = time.Minute
	// window is how much of a content is read before it is handed out, in bytes. What fits is fetched again here when it breaks off,
	// which nobody notices; of what does not, only the window is in memory.
	window = 1 << 20
)

var errIdle = errors.New("nothing came for too long")

// stream is an open body. Its reads end with the context it was opened with, or when nothing comes for too long.
type stream struct {
	ctx    context.Context // the caller's
	answer *http.Response
	cancel context.CancelCauseFunc
	limit  time.Duration
	idle   *time.Timer
	name   string
}

// openStream makes one attempt at a call whose answer is read as a stream. The answer may be a redirect.
func (c *client) openStream(ctx context.Context, what msgraph.Call) (*stream, error) {
	own, cancel := context.WithCancelCause(ctx)
	resp, err := c.Send(own, what)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	idle := time.AfterFunc(c.idle, func() { cancel(errIdle) })
	idle.Stop()
	return &stream{ctx: ctx, answer: resp, cancel: cancel, limit: c.idle, idle: idle, name: what.Name()}, nil
}

// Read reads, and says of a body that breaks off that it did.
func (s *stream) Read(p []byte) (int, error) {
	s.idle.Reset(s.limit)
	n, err := s.answer.Body.Read(p)
	s.idle.Stop()
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case s.ctx.Err() != nil:
		return n, context.Cause(s.ctx)
	}
	return n, msgraph.BadResponse("a content broke off ("+s.name+")", err)
}

// Close ends the request, also in the middle of the body.
func (s *stream) Close() error {
	s.idle.Stop()
	s.cancel(nil)
	return s.answer.Body.Close()
}

// openWindow gets a content. What fits into the window has been read wholly when it returns.
func (c *client) openWindow(ctx context.Context, what msgraph.Call) (body io.ReadCloser, err error) {
	err = c.Repeat(ctx, func() error {
		s, err := c.openStream(ctx, what)
		if err != nil {
			return err
		}
		if s.answer.StatusCode != http.StatusOK {
			s.Close()
			return msgraph.BadResponse("Microsoft Graph gave no content ("+what.Name()+")", nil)
		}
		body, err = readWindow(s)
		return err
	})
	return body, err
}

// readWindow reads the first bytes of a content and gives it back whole, or closes it.
func readWindow(s io.ReadCloser) (io.ReadCloser, error) {
	head, err := io.ReadAll(io.LimitReader(s, window))
	if err != nil {
		s.Close()
		return nil, err
	}
	return &windowed{io.MultiReader(bytes.NewReader(head), s), s}, nil
}

type windowed struct {
	io.Reader
	io.Closer
}
