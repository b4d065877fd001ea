package ledger

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	leafDomain = "holdfast/key-receipt/v1"
	headDomain = "holdfast/receipt-head/v1"
)

// statement is a row of fields, each preceded by its length, so that no two rows of fields have the same bytes.
type statement []byte

func (s statement) bytes(b []byte) statement {
	s = binary.BigEndian.AppendUint32(s, uint32(len(b)))
	return append(s, b...)
}

func (s statement) text(t string) statement { return s.bytes([]byte(t)) }

func (s statement) number(n int64) statement {
	return s.bytes(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func (s statement) time(t time.Time) statement {
	if t.IsZero() {
		return s.number(0)
	}
	return s.number(t.UnixMicro())
}

// leafHash is the hash of the receipt as a leaf; the package comment gives its bytes.
func leafHash(r backup.Receipt) tlog.Hash {
	return tlog.RecordHash(statement{}.text(leafDomain).
		text(r.Tenant).
		number(r.Number).
		number(int64(r.Generation)).
		text(string(r.Method)).
		text(string(r.Purpose)).
		text(r.WorkflowID).
		text(r.RunID).
		number(int64(r.Attempt)).
		text(r.Holder).
		text(r.Requester).
		text(r.Nonce).
		time(r.At).
		time(r.Until))
}

// Verifies tells whether signature is that of the identity ("ed25519:" and unpadded base64url) over the message, made for the domain.
func Verifies(identity, domain string, message, signature []byte) bool {
	key, ok := publicKey(identity)
	return ok && ed25519.Verify(key, statement{}.text(domain).bytes(message), signature)
}

// IsIdentity tells whether the text is a public identity.
func IsIdentity(text string) bool {
	_, ok := publicKey(text)
	return ok
}

func publicKey(identity string) (ed25519.PublicKey, bool) {
	text, ok := strings.CutPrefix(identity, "ed25519:")
	if !ok {
		return nil, false
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return key, err == nil && len(key) == ed25519.PublicKeySize
}
