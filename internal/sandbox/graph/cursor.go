package graph

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// cursor is what a nextLink or deltaLink holds: a position in a feed and the options of the first request, which hold for
// the whole chain. It needs no memory in the server, so it outlives a restart.
type cursor struct {
	// Feed is what it is for: "messages/<owner>/<folder>", "folders/<owner>", "drive/<owner>", "users/delta", "groups/delta", or a plain list.
	Feed string `json:"f"`
	// Since is the sequence number up to which the holder has seen the feed; in a plain list an offset.
	Since uint64 `json:"s"`
	// Floor hides removals up to it: whoever lists from the start need not hear what left before.
	Floor  uint64   `json:"r,omitempty"`
	Select []string `json:"p,omitempty"`
	Size   int      `json:"n,omitempty"` // page size when the request names none
	After  string   `json:"a,omitempty"` // receivedDateTime filter
	Hidden bool     `json:"h,omitempty"`
	Lean   bool     `json:"l,omitempty"` // drive: no unchanged parents
	// Epoch is the generation of delta tokens; an older one has expired.
	Epoch int `json:"e,omitempty"`
	Page  int `json:"g,omitempty"` // within the round
	// Groups are those that groups/delta is filtered to.
	Groups []string `json:"i,omitempty"`
	// Made is when a round of the directory began, in seconds since 1970.
	Made int64 `json:"t,omitempty"`
}

// maxCursor bounds a token in bytes, before it is looked at.
const maxCursor = 4096

// sign makes the token's text.
func (c cursor) sign(key []byte) string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(fmt.Sprintf("a cursor is plain data: %v", err))
	}
	return base64.RawURLEncoding.EncodeToString(append(checkOf(key, b), b...))
}

func checkOf(key, b []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return mac.Sum(nil)[:checkLen]
}

// parseCursor reads a token back; ok is false for anything that sign did not make with this key for this feed.
func parseCursor(key []byte, feed, text string) (c cursor, ok bool) {
	if len(text) > maxCursor {
		return cursor{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < checkLen || !hmac.Equal(b[:checkLen], checkOf(key, b[checkLen:])) {
		return cursor{}, false
	}
	if json.Unmarshal(b[checkLen:], &c) != nil || c.Feed != feed {
		return cursor{}, false
	}
	return c, true
}

// feed is the log of a mailbox's folder, a mailbox's folder tree or a drive, in order of sequence numbers. An entry is
// stale when its item has a newer one; stale entries are skipped by the reader.
type feed []feedEntry

type feedEntry struct {
	seq uint64
	n   int // the item's number
}

func (f *feed) note(seq uint64, n int) { *f = append(*f, feedEntry{seq, n}) }

// after gives the entries behind a sequence number.
func (f feed) after(seq uint64) []feedEntry {
	i, _ := slices.BinarySearchFunc(f, seq+1, func(e feedEntry, s uint64) int {
		switch {
		case e.seq < s:
			return -1
		case e.seq > s:
			return 1
		}
		return 0
	})
	return f[i:]
}

// page reads up to size live entries behind c.Since. more tells whether live entries remain; next is where to go on.
func (f feed) page(c cursor, size int, live func(feedEntry) bool) (list []feedEntry, next uint64, more bool) {
	next = c.Since
	for _, e := range f.after(c.Since) {
		if !live(e) {
			continue
		}
		if len(list) == size {
			return list, next, true
		}
		list, next = append(list, e), e.seq
	}
	return list, next, false
}

// feedName joins a feed's parts; none of them holds a slash.
func feedName(parts ...string) string { return strings.Join(parts, "/") }
