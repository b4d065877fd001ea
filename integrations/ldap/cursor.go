package ldap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	cursorVersion = 1
	maxCursor     = 1 << 20 // bytes; a DirSync cookie grows with the number of controllers, by 24 bytes each
	maxServerText = 4 << 10 // bytes
)

// cursor is where changes were read up to, and everything that must still be so for them to be the whole difference.
type cursor struct {
	Version int               `json:"v"`
	Feed    backup.ChangeFeed `json:"feed"`
	// Server is who made the cookie: another one's word for "since then" may mean another moment.
	Server string `json:"server"`
	// Config is a digest of what was asked for.
	Config string `json:"config"`
	// Groups are digests of who is in each group that matters. They stand here because it does not show on a person who joins or leaves.
	Groups []groupDigest `json:"groups,omitempty"`
	// Full is when everybody was last listed.
	Full time.Time `json:"full"`
	// Read is when the last read began.
	Read time.Time `json:"read"`
	// Cookie is DirSync's or syncrepl's; Containers is syncrepl's for what has people below it.
	Cookie     []byte `json:"cookie,omitempty"`
	Containers []byte `json:"containers,omitempty"`
	USN        int64  `json:"usn,omitempty"`
}

type groupDigest struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

var errNoCursor = errors.New("it is not a cursor of this adapter")

// parseCursor reads a cursor that came back from the store.
func parseCursor(raw []byte) (c cursor, err error) {
	if len(raw) > maxCursor {
		return c, errNoCursor
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	in.DisallowUnknownFields()
	if err := in.Decode(&c); err != nil || in.More() {
		return c, errNoCursor
	}
	known := slices.Contains([]backup.ChangeFeed{backup.FeedDirSync, backup.FeedUSN, backup.FeedSyncrepl}, c.Feed)
	if c.Version != cursorVersion || !known || len(c.Server) > maxServerText || c.USN < 0 {
		return c, errNoCursor
	}
	if (c.Feed == backup.FeedUSN) != (len(c.Cookie) == 0) {
		return c, errNoCursor
	}
	return c, nil
}

// encode cannot fail: a cursor is numbers, texts and a time of this century.
func (c cursor) encode() backup.DirectoryCursor {
	raw, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return raw
}

// configDigest is over all that decides who is listed and what is said of them. Of the server only the account that reads is part of
// it: which people it sees depends on it.
func (d *Directory) configDigest() string {
	raw, err := json.Marshal(struct {
		BindDN, Base, Filter string
		Groups, Rule, Names  []string
		Attributes           backup.LDAPAttributes
	}{d.settings.BindDN, canonicalDN(d.settings.BaseDN), d.settings.Filter, d.settings.Groups, d.settings.ruleGroups, d.reader.attributes(), d.settings.Attributes})
	if err != nil {
		panic(err) // texts only
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// stale says why the changes since a cursor would not be the whole difference to now; empty when they are.
func (c cursor) stale(now cursor, at time.Time) string {
	switch {
	case c.Feed != now.Feed:
		return "changes are followed another way now"
	case c.Config != now.Config:
		return "the configuration changed"
	case c.Server != now.Server:
		return "the cursor came from another server"
	case at.Sub(c.Full) > fullEvery || c.Full.After(at.Add(clockSkew)):
		return "the last full listing is too long ago"
	}
	return c.changedGroup(now)
}

func (c cursor) changedGroup(now cursor) string {
	for _, g := range now.Groups {
		if !slices.Contains(c.Groups, g) {
			return "the members of " + excerpt(g.Name) + " changed"
		}
	}
	if len(c.Groups) != len(now.Groups) {
		return "the groups changed"
	}
	return ""
}
