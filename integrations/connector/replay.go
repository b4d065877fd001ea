package connector

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	maxNonces    = 10_000                        // live at once: the requests that one connector accepts within a request's lifetime
	maxLines     = 2 * maxNonces                 // in the file, expired ones included, before it is written anew
	maxNonceFile = maxLines * (nonceSize*2 + 22) // bytes: a line is a nonce, a space, at most 20 digits and a line feed
)

var errTooManyNonces = errors.New("too many requests within a minute")

// replayGuard remembers which requests were seen, until they have expired, in memory and in a file, so that a restart forgets
// none. The file has a line for each: the nonce, a space, and until when in Unix milliseconds.
type replayGuard struct {
	path string

	mu    sync.Mutex
	seen  map[string]int64
	file  *os.File
	lines int
}

func openReplayGuard(path string, now time.Time) (*replayGuard, error) {
	content, err := readSecretFile(path, maxNonceFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	g := &replayGuard{path: path, seen: parseNonces(content)}
	return g, g.rewrite(now)
}

// parseNonces skips what is no line of ours: the last line of a crashed connector may be torn.
func parseNonces(content []byte) map[string]int64 {
	seen := map[string]int64{}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		nonce, until, _ := bytes.Cut(lines.Bytes(), []byte(" "))
		if at, err := strconv.ParseInt(string(until), 10, 64); err == nil && nonceText.Match(nonce) {
			seen[string(nonce)] = at
		}
	}
	return seen
}

// use tells whether the nonce is seen for the first time, and has it on disk when it is.
func (g *replayGuard) use(nonce string, until, now time.Time) (fresh bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.seen[nonce]; known {
		return false, nil
	}
	if len(g.seen) >= maxNonces {
		g.forgetExpired(now)
	}
	if len(g.seen) >= maxNonces {
		return false, errTooManyNonces
	}
	if g.lines >= maxLines {
		if err := g.rewrite(now); err != nil {
			return false, err
		}
	}
	if err := g.append(nonce, until); err != nil {
		g.lines = maxLines // the file may end in half a line: write it anew before the next
		return false, err
	}
	g.seen[nonce] = until.UnixMilli()
	return true, nil
}

func (g *replayGuard) append(nonce string, until time.Time) error {
	g.lines++
	_, err := fmt.Fprintf(g.file, "%s %d\n", nonce, until.UnixMilli())
	return errors.Join(err, g.file.Sync())
}

func (g *replayGuard) forgetExpired(now time.Time) {
	maps.DeleteFunc(g.seen, func(_ string, until int64) bool { return until < now.UnixMilli() })
}

// rewrite drops what has expired, from memory and from the file.
func (g *replayGuard) rewrite(now time.Time) error {
	g.forgetExpired(now)
	var live bytes.Buffer
	for nonce, until := range g.seen {
		fmt.Fprintf(&live, "%s %d\n", nonce, until)
	}
	if err := replaceSecretFile(g.path, live.Bytes()); err != nil {
		return err
	}
	file, err := os.OpenFile(g.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if g.file != nil {
		err = g.file.Close()
	}
	g.file, g.lines = file, len(g.seen)
	return err
}

func (g *replayGuard) close() error {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.file.Close()
}
