package connector

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Limits of the wire. Sizes in bytes.
const (
	maxMessage  = 16 << 10 // a request or an answer as JSON; real ones are below 4 KiB
	maxWorkflow = 512      // a workflow id
	maxRun      = 128      // a run id
	maxReason   = 200      // a refusal's words
	maxCounter  = 1 << 31  // generations and attempts
	nonceSize   = 16       // 128 random bits
)

var (
	tenantName    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)
	connectorName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	purposeName   = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
	nonceText     = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

var errMalformed = errors.New("not a well-formed message")

// decode reads one JSON value of at most limit bytes that has no unknown fields and nothing after it. Its error never
// quotes the input, which may be a secret or written by an enemy.
func decode(b []byte, limit int, into any) error {
	if len(b) > limit {
		return errMalformed
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if d.Decode(into) != nil {
		return errMalformed
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMalformed
	}
	return nil
}

// plainText tells whether s is printable UTF-8 of at most limit bytes, so that it survives JSON unchanged and is safe in a log.
func plainText(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return false
		}
	}
	return true
}

func isCounter(n int) bool { return n >= 0 && n < maxCounter }

// isGeneration tells whether n can be the number of a generation.
func isGeneration(n int) bool { return n > 0 && isCounter(n) }

// isIdentity tells whether s has the form of a public identity, which a public check key has too.
func isIdentity(s string) bool {
	_, err := ParseIdentity(s)
	return err == nil
}

func knownPurpose(p backup.KeyPurpose) bool { return slices.Contains(purposes, p) }
