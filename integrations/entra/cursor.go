package entra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

const (
	cursorVersion = 2
	// cursorLimit bounds a cursor, in bytes. A deltaLink is some hundred bytes, up to a few thousand, and a group that is followed some ninety.
	cursorLimit = 512 << 10
	// cursorLife is shorter than the seven days of a directory's delta token, so that an import that begins in time also ends in time. See
	// https://learn.microsoft.com/graph/delta-query-overview, token duration.
	cursorLife = 6*24*time.Hour + 12*time.Hour
)

// position is where a read stands: between two imports, behind the last round, or inside of one, behind a page.
type position struct {
	Version int `json:"v"`
	// Of is the digest of how it was read.
	Of string `json:"of"`
	// Groups is where the feeds of groups go on; inside of a round, where they went on when it began.
	Groups following `json:"groups"`
	// Made is when the round began that Link continues.
	Made time.Time `json:"made"`
	// Link leads on; it is kept without its host (msgraph.Endpoints.Shorten).
	Link string `json:"link"`
	// Changes tells, inside of a round, that it is one of changes. Note and the sums are carried to the round's end.
	Changes bool   `json:"changes,omitempty"`
	Note    string `json:"note,omitempty"`
	Sums    sums   `json:"sums,omitzero"`
	// Ended: the round is over, and only its end was not told.
	Ended bool `json:"ended,omitempty"`
}

// sums are what the note of a read tells.
type sums struct {
	Calls       int64 `json:"calls,omitempty"`
	SoftDeleted int   `json:"softDeleted,omitempty"`
	Deleted     int   `json:"deleted,omitempty"`
	Fetched     int   `json:"fetched,omitempty"`
	Closed      int   `json:"closed,omitempty"`
	Moved       int   `json:"moved,omitempty"`
}

// readPosition decodes a cursor. One that cannot be read is as good as an expired one.
func readPosition(raw json.RawMessage) (p position, err error) {
	if len(raw) > cursorLimit {
		return p, msgraph.CursorExpired("the last import's cursor is too large", nil)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil || p.Version != cursorVersion || p.Link == "" {
		return position{}, msgraph.CursorExpired("the last import's cursor cannot be read", nil)
	}
	return p, nil
}

func (p position) encode() json.RawMessage {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // plain data
	}
	return b
}

// note tells a person what is not in the counts.
func (p position) note() string {
	var parts []string
	say := func(n int, format string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, n))
		}
	}
	if p.Note != "" {
		parts = append(parts, p.Note)
	}
	say(p.Sums.SoftDeleted, "%d deleted, can be restored in Entra for 30 days")
	say(p.Sums.Deleted, "%d deleted for good")
	say(p.Sums.Fetched, "%d changes came without their properties and were fetched")
	say(p.Sums.Moved, "the groups of %d people were looked at, as members came or went")
	say(p.Sums.Closed, "%d mailboxes are closed to the app, so their kind is not known")
	return strings.Join(parts, "; ")
}
