package connector

import (
	"fmt"
	"sync"
	"time"
)

// Status is how an agent stands, for a person or as JSON.
type Status struct {
	Connected bool `json:"connected"`
	// Since is when it last connected or lost its connection; zero before the first.
	Since       time.Time `json:"since,omitzero"`
	Releases    int64     `json:"releases"`
	Refusals    int64     `json:"refusals"`
	LastRelease time.Time `json:"lastRelease,omitzero"`
	// Problem is why it is not connected.
	Problem string `json:"problem,omitempty"`
}

// String is one line for a person.
func (s Status) String() string {
	state := "connecting"
	switch {
	case s.Connected:
		state = "connected since " + s.Since.Format(time.DateTime)
	case !s.Since.IsZero():
		state = "not connected since " + s.Since.Format(time.DateTime)
	}
	line := fmt.Sprintf("%s · %d released · %d refused", state, s.Releases, s.Refusals)
	if s.Problem != "" {
		line += " · " + s.Problem
	}
	return line
}

// Status may be called at any time.
func (a *Agent) Status() Status {
	a.status.mu.Lock()
	defer a.status.mu.Unlock()
	return a.status.Status
}

type statusBoard struct {
	mu sync.Mutex
	Status
}

func (b *statusBoard) connected(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Connected, b.Since, b.Problem = true, now, ""
}

// disconnected tells whether this is news: the connection was there before, or the problem is another one.
func (b *statusBoard) disconnected(now time.Time, err error) (news bool) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	news = b.Connected || b.Problem != problem
	if b.Connected || b.Since.IsZero() {
		b.Since = now
	}
	b.Connected, b.Problem = false, problem
	return news
}

func (b *statusBoard) released(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Releases++
	b.LastRelease = now
}

func (b *statusBoard) refused() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Refusals++
}
