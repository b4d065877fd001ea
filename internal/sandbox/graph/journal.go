package graph

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// journal makes changes one after the other and writes each down, so that a restarted sandbox is the same company.
// Without a path it writes nothing.
type journal struct {
	mu      sync.Mutex
	company *company
	path    string
	file    *os.File
}

// journalHead is the file's first line. Another company's file is refused, because its changes would mean other things.
type journalHead struct {
	Sandbox  int    `json:"sandbox"` // format: 1
	Seed     uint64 `json:"seed"`
	People   int    `json:"people"`
	Messages int    `json:"messages"`
	Files    int    `json:"files"`
	Crowd    int    `json:"crowd,omitempty"`
	First    string `json:"first"` // the first person's id
}

func (c *company) head() journalHead {
	h := journalHead{Sandbox: 1, Seed: c.seed, People: len(c.users), Messages: c.messages, Files: c.files, Crowd: c.directory.crowd}
	if len(c.users) > 0 {
		h.First = c.users[0].GraphID
	}
	return h
}

// maxLine bounds a line of the state file, in bytes.
const maxLine = 1 << 20

// openJournal replays the file, if there is one, and opens it for appending. A last line that was cut off by a crash never
// took effect for anybody and is dropped.
func openJournal(path string, c *company) (*journal, error) {
	j := &journal{company: c, path: path}
	if path == "" {
		return j, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sandbox state: %w", err)
	}
	good, err := j.replay(f)
	if err == nil {
		err = f.Truncate(good)
	}
	if err == nil {
		_, err = f.Seek(good, io.SeekStart)
	}
	if err == nil && good == 0 {
		err = writeLine(f, c.head())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sandbox state %s: %w", path, err), f.Close())
	}
	j.file = f
	return j, nil
}

// replay applies every whole line and gives the length of those in bytes.
func (j *journal) replay(f io.Reader) (good int64, err error) {
	r := bufio.NewReaderSize(f, 64<<10)
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return good, nil // what follows the last line end, if anything, was cut off
		}
		if err != nil || len(line) > maxLine {
			return 0, fmt.Errorf("line %d cannot be read: %w", number, err)
		}
		if err := j.replayLine(number, line); err != nil {
			return 0, fmt.Errorf("line %d: %w", number, err)
		}
		good += int64(len(line))
	}
}

func (j *journal) replayLine(number int, line []byte) error {
	if number == 1 {
		var h journalHead
		if err := json.Unmarshal(line, &h); err != nil {
			return err
		}
		if h != j.company.head() {
			return fmt.Errorf("the file belongs to another company: %+v", h)
		}
		return nil
	}
	var c Change
	if err := json.Unmarshal(line, &c); err != nil {
		return err
	}
	if c.RawSHA256 != "" {
		var err error
		if c.raw, err = openBlob(c.RawSHA256, j.rawDir()); err != nil {
			return err
		}
	}
	_, err := j.company.apply(c)
	return err
}

// apply makes a change and writes it down. Changes get times to the second, as Graph shows no finer ones.
func (j *journal) apply(c Change) (string, error) {
	if c.At.IsZero() {
		c.At = time.Now()
	}
	c.At = c.At.UTC().Truncate(time.Second)
	if c.RawSHA256 != "" && c.raw == nil {
		return "", errors.New("content is put in with AddMessage or AddFile")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	id, err := j.company.apply(c)
	if err != nil || j.file == nil {
		return id, err
	}
	if err := writeLine(j.file, c); err != nil {
		return "", fmt.Errorf("sandbox state %s: %w", j.path, err)
	}
	return id, nil
}

// writeLine appends one JSON line in a single write.
func writeLine(f *os.File, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := f.Write(b.Bytes())
	return err
}

func (j *journal) rawDir() string {
	if j.path == "" {
		return ""
	}
	return j.path + ".raw"
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	return err
}
