package connector

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ReleaseLine is the connector's own receipt of one release: a line of JSON in its release log. The nonce joins it to the
// receipt that the worker wrote.
type ReleaseLine struct {
	Connector  string            `json:"connector"`
	Tenant     string            `json:"tenant"`
	Generation int               `json:"generation"`
	Purpose    backup.KeyPurpose `json:"purpose"`
	WorkflowID string            `json:"workflowID"`
	RunID      string            `json:"runID"`
	Attempt    int               `json:"attempt"`
	Requester  string            `json:"requester"` // the worker's public identity
	Nonce      string            `json:"nonce"`
	At         time.Time         `json:"at"`
	Until      time.Time         `json:"until"`
}

// EventLine is what else became of the ekey: a line of JSON in the log of events. Shared is written before the ekey is sealed to the
// other connector, destroy before anything is destroyed, and the others once they are done.
type EventLine struct {
	ReleaseLine
	To         string `json:"to,omitempty"` // the connector it was sealed to
	ToIdentity string `json:"toIdentity,omitempty"`
}

// lineLog is a file of JSON lines that is appended to and never rewritten (mode 0600).
type lineLog struct {
	mu   sync.Mutex
	file *os.File
	torn bool
}

func openLineLog(path string) (*lineLog, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	torn, err := endsTorn(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &lineLog{file: file, torn: torn}, nil
}

// endsTorn tells whether a crash left half a line at the end.
func endsTorn(file *os.File) (bool, error) {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	last := make([]byte, 1)
	_, err = file.ReadAt(last, info.Size()-1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return last[0] != '\n', err
}

// append returns once the line is on disk. Half a line stays where it is and the next begins on its own.
func (l *lineLog) append(line any) error {
	b, err := json.Marshal(line)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		b = append([]byte{'\n'}, b...)
	}
	l.torn = true
	if _, err := l.file.Write(b); err != nil {
		return err
	}
	l.torn = false
	return l.file.Sync()
}

func (l *lineLog) close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}
