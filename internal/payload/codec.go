package payload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// refreshEvery is how long a process may go on sealing with a key after a rotation that it did not meet otherwise.
	refreshEvery = time.Minute
	// refreshGap keeps payloads that nobody can open from asking the source without end.
	refreshGap = 2 * time.Second
	// refreshWait is how long an unknown key id waits for the ring to be read again. Workflow code is stopped by the SDK after a
	// second without progress; whoever could not wait that long tries again.
	refreshWait = 700 * time.Millisecond
	// loadTimeout bounds one reading of the ring, from a file or from a Vault.
	loadTimeout = 10 * time.Second
)

// ErrNoKey is in the chain of the error when a payload was sealed with a key that the ring does not hold.
var ErrNoKey = errors.New("payload: the key is not in the ring")

// Source reads a key ring's bytes.
type Source func(ctx context.Context) ([]byte, error)

// Codec seals and opens payloads; it is a converter.PayloadCodec and may be used concurrently. It reads its ring again when it meets a
// key that it does not know, and every minute while it seals, so that a rotation needs no restart. A ring that cannot be read again
// stays as it is.
type Codec struct {
	load Source // nil: the ring never changes
	ring atomic.Pointer[Keyring]
	now  func() time.Time

	mu      sync.Mutex
	tried   time.Time     // when reading began last
	reading chan struct{} // closed at the end of the reading under way; nil when there is none
}

// Open reads the ring. The error is the source's, or of CodeBadConfig.
func Open(ctx context.Context, load Source) (*Codec, error) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	b, err := load(ctx)
	if err != nil {
		return nil, err
	}
	ring, err := ParseKeyring(b)
	if err != nil {
		return nil, err
	}
	c := NewCodec(ring)
	c.load = load
	return c, nil
}

// NewCodec makes a codec of a ring that never changes.
func NewCodec(ring *Keyring) *Codec {
	c := &Codec{now: time.Now, tried: time.Now()}
	c.ring.Store(ring)
	return c
}

// Encode seals payloads; those that are sealed already stay as they are.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	c.refresh(refreshEvery)
	k := c.ring.Load().current(c.now())
	sealed := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if sealed[i] = p; isSealed(p) {
			continue
		}
		var err error
		if sealed[i], err = k.seal(p); err != nil {
			return nil, fmt.Errorf("seal a payload: %w", err)
		}
	}
	return sealed, nil
}

// Decode opens sealed payloads; others stay as they are. The error is of CodeWrongKey, with ErrNoKey when the ring lacks the key.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	opened := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		var err error
		if opened[i], err = c.open(p); err != nil {
			return nil, err
		}
	}
	return opened, nil
}

func (c *Codec) open(p *commonpb.Payload) (*commonpb.Payload, error) {
	if !isSealed(p) {
		return p, nil
	}
	id := string(p.GetMetadata()[MetadataKeyID])
	if !validID.MatchString(id) {
		return nil, unreadable("a payload cannot be read", errForm)
	}
	k, known := c.ring.Load().find(id)
	if !known {
		c.await(c.refresh(refreshGap))
		if k, known = c.ring.Load().find(id); !known {
			return nil, unreadable("a payload was sealed with the key "+id+", which this process does not have", ErrNoKey)
		}
	}
	opened, err := k.open(p)
	if err != nil {
		return nil, unreadable("a payload sealed with the key "+id+" cannot be read", err)
	}
	return opened, nil
}

func unreadable(what string, cause error) error {
	e := &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultOurs, Message: what, Cause: cause}
	if errors.Is(cause, ErrNoKey) {
		e.Retryable, e.Hint = true, "give every holdfastd the same payload keys (--payload-keys); they are read again by themselves"
	}
	return e
}

// refresh starts to read the ring again unless that was tried within the given time. The channel closes at the end of the reading; it
// is nil when there is none.
func (c *Codec) refresh(after time.Duration) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.load != nil && c.reading == nil && c.now().Sub(c.tried) >= after {
		c.tried, c.reading = c.now(), make(chan struct{})
		go c.read(c.reading)
	}
	return c.reading
}

// read replaces the ring by what the source has now. It ends after loadTimeout.
func (c *Codec) read(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	if b, err := c.load(ctx); err == nil {
		if ring, err := ParseKeyring(b); err == nil {
			c.ring.Store(ring)
		}
	}
	c.mu.Lock()
	c.reading = nil
	c.mu.Unlock()
	close(done)
}

func (c *Codec) await(done <-chan struct{}) {
	if done == nil {
		return
	}
	t := time.NewTimer(refreshWait)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}
