package payload

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	// MaxRing bounds a key ring's file in bytes; 256 keys take half of it.
	MaxRing = 64 << 10
	// maxKeys is a rotation a month for twenty years.
	maxKeys = 256
	version = 1
)

// Keyring holds the keys of one deployment: one that new payloads are sealed with, and older ones that still open what they sealed.
// It is never changed. Nothing prints its keys.
type Keyring struct{ keys []key }

// key is one key, and from when on it seals.
type key struct {
	ID   string    `json:"id"`
	Key  []byte    `json:"key"`
	From time.Time `json:"from"`
}

// file is the key ring as JSON.
type file struct {
	Version int   `json:"version"`
	Keys    []key `json:"keys"`
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{3,39}$`)

// NewKeyring makes a ring of one new key.
func NewKeyring(now time.Time) *Keyring { return &Keyring{[]key{newKey(now)}} }

func newKey(from time.Time) key {
	k := key{Key: make([]byte, KeySize), From: from.UTC().Truncate(time.Second)}
	id := make([]byte, 8)
	_, _ = rand.Read(k.Key) // never fails (crypto/rand since Go 1.24)
	_, _ = rand.Read(id)
	k.ID = hex.EncodeToString(id)
	return k
}

// ParseKeyring reads what Marshal wrote. The error, of CodeBadConfig, never holds a part of a key.
func ParseKeyring(b []byte) (*Keyring, error) {
	if len(b) > MaxRing {
		return nil, badRing("it is larger than 64 KiB")
	}
	var f file
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, badRing("it is not the JSON of a key ring") // the decoder's words may hold a part of a key
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, badRing("something stands behind the key ring")
	}
	r := &Keyring{f.Keys}
	if what := f.wrong(); what != "" {
		return nil, badRing(what)
	}
	return r, nil
}

// wrong says what is wrong with a ring, or nothing.
func (f file) wrong() string {
	switch {
	case f.Version != version:
		return fmt.Sprintf("it has the version %d, and this program knows %d", f.Version, version)
	case len(f.Keys) == 0:
		return "it holds no key"
	case len(f.Keys) > maxKeys:
		return fmt.Sprintf("it holds more than %d keys", maxKeys)
	}
	ids := map[string]bool{}
	for i, k := range f.Keys {
		switch {
		case !validID.MatchString(k.ID):
			return fmt.Sprintf("the id of key %d is not 4 to 40 small letters, digits and hyphens", i+1)
		case ids[k.ID]:
			return "two keys have the id " + k.ID
		case len(k.Key) != KeySize:
			return fmt.Sprintf("the key %s has %d bytes instead of %d", k.ID, len(k.Key), KeySize)
		case slices.Max(k.Key) == 0:
			return "the key " + k.ID + " is nothing but zeros"
		case k.From.IsZero():
			return "the key " + k.ID + " does not say from when on it is used"
		}
		ids[k.ID] = true
	}
	return ""
}

func badRing(what string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "the payload keys cannot be used: " + what,
		Hint: "holdfastd payload-key new --out FILE makes a key ring; an existing one comes from where it was made or from its copy"}
}

// Rotate returns a ring with one more key, which seals from the given time on. The old keys stay.
func (r *Keyring) Rotate(from time.Time) (*Keyring, error) {
	if len(r.keys) == maxKeys {
		return nil, badRing("it is full; keys that nothing was sealed with for longer than the retention may be taken out")
	}
	return &Keyring{append(slices.Clone(r.keys), newKey(from))}, nil
}

// Marshal writes the ring, keys and all, as JSON that a person can read and ParseKeyring takes.
func (r *Keyring) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(file{version, r.keys}, "", "  ")
	return append(b, '\n'), err
}

// IDs are the keys' ids in the order in which they were made.
func (r *Keyring) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.ID
	}
	return ids
}

// Current is the id of the key that seals at a time: the one that began last. Before all of them, by a clock that is wrong, it is the
// first one.
func (r *Keyring) Current(at time.Time) string { return r.current(at).ID }

func (r *Keyring) current(at time.Time) key {
	best := slices.MinFunc(r.keys, func(a, b key) int { return a.From.Compare(b.From) })
	for _, k := range r.keys {
		if !k.From.After(at) && !k.From.Before(best.From) {
			best = k
		}
	}
	return best
}

func (r *Keyring) find(id string) (key, bool) {
	i := slices.IndexFunc(r.keys, func(k key) bool { return k.ID == id })
	if i < 0 {
		return key{}, false
	}
	return r.keys[i], true
}

// Format keeps keys out of whatever is printed, with any verb.
func (r *Keyring) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key ring of %d", len(r.keys)) }

// MarshalJSON keeps keys out of structured logs; Marshal is for the file.
func (r *Keyring) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(r)) }
