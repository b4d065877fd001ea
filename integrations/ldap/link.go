package ldap

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// firstOwnID is the first message id of our own requests; go-ldap counts up from 1 and never gets there.
const firstOwnID = 1 << 30

// link is a connection that two share: go-ldap, which makes all that is rare, and our own searches, whose answers are read where they lie.
// Only the link reads from the connection. It gives each answer to the one who asked, by its message id; to go-ldap it is a net.Conn.
type link struct {
	net.Conn
	rareIn *io.PipeReader // what go-ldap reads
	rare   *io.PipeWriter

	mu     sync.Mutex
	asked  *exchange
	lastID int32

	done chan struct{} // closed when nothing is read any more
	err  error         // why; good after done
}

// exchange is a search of ours under way. Its functions run on the goroutine that reads, and must not wait for anything.
type exchange struct {
	id        int32
	entry     func(body []byte) error
	reference func(addresses []string) error
	ended     chan searchEnd // takes one
}

func newLink(c net.Conn) *link {
	l := &link{Conn: c, lastID: firstOwnID - 1, done: make(chan struct{})}
	l.rareIn, l.rare = io.Pipe()
	go l.read()
	return l
}

// Read is for go-ldap.
func (l *link) Read(b []byte) (int, error) { return l.rareIn.Read(b) }

// Close ends the connection and with it all that waits for an answer.
func (l *link) Close() error {
	l.rareIn.CloseWithError(net.ErrClosed)
	return l.Conn.Close()
}

// read gives out answers until the connection ends, or until one comes that cannot be understood: after that nothing is.
func (l *link) read() {
	defer close(l.done)
	in := newFrames(l.Conn)
	for {
		frame, err := in.next()
		if err == nil {
			err = l.deliver(frame)
		}
		if err != nil {
			l.err = err
			l.rare.CloseWithError(err)
			l.Conn.Close()
			return
		}
	}
}

func (l *link) deliver(frame []byte) error {
	m, err := parseMessage(frame)
	if err != nil {
		return err
	}
	if m.id < firstOwnID {
		_, err := l.rare.Write(frame)
		return err
	}
	l.mu.Lock()
	x := l.asked
	l.mu.Unlock()
	if x == nil || x.id != m.id {
		return errMalformed // nobody asked
	}
	return x.take(m)
}

func (x *exchange) take(m message) error {
	switch m.op {
	case opSearchEntry:
		return x.entry(m.body)
	case opSearchReference:
		addresses, err := parseAddresses(m.body)
		if err != nil {
			return err
		}
		return x.reference(addresses)
	case opSearchDone:
		end, err := parseEnd(m)
		if err != nil {
			return err
		}
		select {
		case x.ended <- end:
			return nil
		default: // it ended before
		}
	}
	return errMalformed
}

// ask sends a request. There is one at a time: x takes the place of the one before, which must have ended.
func (l *link) ask(x *exchange, op, controls []byte) error {
	l.mu.Lock()
	l.lastID++
	x.id = l.lastID
	l.asked = x
	l.mu.Unlock()
	_, err := l.Conn.Write(element(tagSequence, intElement(tagInteger, x.id), op, element(tagControls, controls)))
	return err
}

// await waits for the end of a search. Without it, the connection is closed: nobody knows what would still come.
func (l *link) await(ctx context.Context, x *exchange) (searchEnd, error) {
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	select {
	case end := <-x.ended:
		return end, nil
	case <-l.done:
	case <-ctx.Done():
		l.Close()
		return searchEnd{}, context.Cause(ctx)
	case <-timer.C:
		l.Close()
		return searchEnd{}, errNoAnswer
	}
	select { // the last answer and the end of the connection may have come together
	case end := <-x.ended:
		return end, nil
	default:
		return searchEnd{}, &brokenOff{l.err}
	}
}

// brokenOff tells why an answer did not come to its end.
type brokenOff struct{ cause error }

func (e *brokenOff) Error() string { return errBrokenOff.Error() + ": " + e.cause.Error() }

func (e *brokenOff) Unwrap() []error { return []error{errBrokenOff, e.cause} }
