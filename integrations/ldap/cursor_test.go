package ldap

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func aCursor() cursor {
	return cursor{Version: cursorVersion, Feed: backup.FeedSyncrepl, Server: "one", Config: "c", Full: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Groups: []groupDigest{{"cn=a", "1"}}, Cookie: []byte("cookie"), Containers: []byte("before")}
}

// FuzzParseCursor: whatever comes back from the store is refused, or is what it says when it is written again.
func FuzzParseCursor(f *testing.F) {
	f.Add([]byte(aCursor().encode()))
	f.Add([]byte(`{"v":1,"feed":"usn","server":"s","usn":7,"full":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"v":1,"feed":"dirsync","cookie":"AAAA"} {}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseCursor(raw)
		if err != nil {
			return
		}
		again, err := parseCursor(c.encode())
		if err != nil && len(c.encode()) <= maxCursor {
			t.Fatalf("%s is read and %s is not: %v", raw, c.encode(), err)
		}
		if err == nil && !bytes.Equal(again.encode(), c.encode()) {
			t.Fatalf("%s became %s", c.encode(), again.encode())
		}
	})
}

// TestStaleCursors names for each difference why changes since then would not be the whole difference.
func TestStaleCursors(t *testing.T) {
	at := aCursor().Full.Add(time.Hour)
	if why := aCursor().stale(aCursor(), at); why != "" {
		t.Errorf("an equal cursor is stale: %s", why)
	}
	for word, change := range map[string]func(*cursor){
		"another way":    func(c *cursor) { c.Feed = backup.FeedUSN },
		"configuration":  func(c *cursor) { c.Config = "d" },
		"another server": func(c *cursor) { c.Server = "two" },
		"too long ago":   func(c *cursor) { c.Full = at.Add(-fullEvery - time.Second) },
		"members of":     func(c *cursor) { c.Groups = []groupDigest{{"cn=a", "2"}} },
		"groups changed": func(c *cursor) { c.Groups = append(c.Groups, groupDigest{"cn=b", "1"}) },
	} {
		old := aCursor()
		change(&old)
		if why := old.stale(aCursor(), at); !strings.Contains(why, word) {
			t.Errorf("%s: %q", word, why)
		}
	}
	future := aCursor()
	future.Full = at.Add(2 * clockSkew)
	if why := future.stale(aCursor(), at); why == "" {
		t.Error("a cursor of the future is good")
	}
}

// TestFeedErrorsSayWhatToDo looks at what only feeds can meet.
func TestFeedErrorsSayWhatToDo(t *testing.T) {
	for err, want := range map[error]backup.Code{
		errNoSyncrepl: backup.CodeBadConfig, errNoGUID: backup.CodeMissingRole, errNoSyncDone: backup.CodeBadResponse, errNoDirSync: backup.CodeBadResponse,
	} {
		e := backup.AsError(settings{}.classify(fmt.Errorf("reading: %w", err)))
		if e.Code != want || e.Fault != backup.FaultCustomer || e.Hint == "" || e.Retryable != (want == backup.CodeBadResponse) {
			t.Errorf("%v became %+v", err, e)
		}
	}
}
