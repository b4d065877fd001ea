package connector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Status is how an agent stands, for a person or as JSON.
type Status struct {
	Tenant    string `json:"tenant"`
	Connector string `json:"connector"`
	Identity  string `json:"identity"`
	Gateway   string `json:"gateway"`
	Connected bool   `json:"connected"`
	// Since is when it last connected or lost its connection; zero before the first.
	Since       time.Time `json:"since,omitzero"`
	Releases    int64     `json:"releases"`
	Refusals    int64     `json:"refusals"`
	LastRelease time.Time `json:"lastRelease,omitzero"`
	// Holds are the generations of the ekey that it holds; none: it waits to be given one, or gave all up.
	Holds  []backup.HeldKey `json:"holds"`
	Policy string           `json:"policy"` // in a few words
	// Memory tells whether the process's memory is kept from swap.
	Memory string `json:"memory,omitempty"`
	// Problem is why it is not connected.
	Problem string `json:"problem,omitempty"`
	// Written is when the status was written to its file; an old one is that of a connector which does not run.
	Written time.Time `json:"written,omitzero"`
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
	line := fmt.Sprintf("%s · %s · %d released · %d refused", state, s.held(), s.Releases, s.Refusals)
	if s.Problem != "" {
		line += " · " + s.Problem
	}
	return line
}

func (s Status) held() string {
	switch n := len(s.Holds); n {
	case 0:
		return "holds no ekey"
	case 1:
		return fmt.Sprintf("holds generation %d", s.Holds[0].Generation)
	default:
		return fmt.Sprintf("holds generations %d to %d (%d)", s.Holds[0].Generation, s.Holds[n-1].Generation, n)
	}
}

const (
	statusFile = "status.json"
	// statusEvery is how often a changed status is written; statusAtLeast how often one that did not change is.
	statusEvery   = 2 * time.Second
	statusAtLeast = 30 * time.Second
	// StatusStale is after how long a status file is that of a connector which does not run any more.
	StatusStale   = 2 * time.Minute
	maxStatusFile = 64 << 10
)

// ReadStatus reads what the connector that works in folder last wrote of itself. CodeNotFound: it never did.
func ReadStatus(folder string) (Status, error) {
	path := filepath.Join(folder, statusFile)
	content, err := readSecretFile(path, maxStatusFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "no connector ever ran with the folder " + folder,
			Hint: "start it, or name the folder that it was started with"}
	}
	if err != nil {
		return Status{}, err
	}
	var s Status
	if decode(content, maxStatusFile, &s) != nil {
		return Status{}, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: path + " is not a connector's status",
			Hint: "use the program of the connector's version"}
	}
	return s, nil
}

// Status may be called at any time.
func (a *Agent) Status() Status {
	a.status.mu.Lock()
	s := a.status.Status
	a.status.mu.Unlock()
	s.Tenant, s.Connector, s.Identity, s.Gateway, s.Holds = a.key.Tenant, a.key.Connector, a.key.Identity(), a.key.Gateway, a.keys.Holds()
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Policy, s.Memory = a.policy.String(), a.memory
	return s
}

// keepStatusFile writes the status file until stop is called, which writes it a last time.
func (a *Agent) keepStatusFile() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() {
		tick := time.NewTicker(statusEvery)
		defer tick.Stop()
		for {
			a.writeStatus(false)
			select {
			case <-tick.C:
			case <-ctx.Done():
				a.writeStatus(true)
				return
			}
		}
	})
	return func() { cancel(); writing.Wait() }
}

// writeStatus skips what was written a moment ago already. A status that cannot be written stops nothing.
func (a *Agent) writeStatus(anyway bool) {
	s := a.Status()
	now := a.now()
	content, err := json.Marshal(s)
	if err != nil || !anyway && string(content) == a.status.lastWritten && now.Sub(a.status.written) < statusAtLeast {
		return
	}
	a.status.lastWritten, a.status.written = string(content), now
	s.Written = now
	if content, err = json.MarshalIndent(s, "", "  "); err == nil {
		err = replaceSecretFile(a.status.path, append(content, '\n'))
	}
	if err != nil {
		a.log.Warn("the status file cannot be written", zap.Error(err))
	}
}

type statusBoard struct {
	mu sync.Mutex
	Status

	path        string
	lastWritten string // by the one goroutine that writes
	written     time.Time
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
