package connector

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io/fs"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const identityPrefix = "ed25519:"

// maxIdentityFile is larger than any Ed25519 key in PKCS #8 and PEM.
const maxIdentityFile = 4 << 10

// Identity is an Ed25519 key pair (RFC 8032) that a worker or a connector is known by. It prints as its public half.
type Identity struct{ private ed25519.PrivateKey }

// NewIdentity makes an identity that lives in memory only.
func NewIdentity() (Identity, error) {
	_, private, err := ed25519.GenerateKey(nil)
	return Identity{private}, err
}

// Public is "ed25519:" and the unpadded base64url of the 32-byte public key: what others pin.
func (id Identity) Public() string {
	return identityPrefix + base64.RawURLEncoding.EncodeToString(id.private.Public().(ed25519.PublicKey))
}

// Short is the beginning of Public, enough to recognise an identity in a receipt or a log.
func (id Identity) Short() string { return shortIdentity(id.Public()) }

func (id Identity) String() string   { return id.Public() }
func (id Identity) GoString() string { return id.Public() }

func (id Identity) sign(s statement) []byte { return ed25519.Sign(id.private, s) }

func shortIdentity(public string) string {
	return public[:min(len(public), len(identityPrefix)+12)]
}

// ParseIdentity reads the text form of a public identity.
func ParseIdentity(public string) (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(public, identityPrefix)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(ed25519.PublicKeySize) {
		return nil, errNoIdentity
	}
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errNoIdentity
	}
	return key, nil
}

var errNoIdentity = errors.New(`an identity is "ed25519:" and 43 characters of base64url`)

// verifies tells whether signature is public's over s.
func verifies(public string, s statement, signature []byte) bool {
	key, err := ParseIdentity(public)
	return err == nil && ed25519.Verify(key, s, signature)
}

// LoadOrCreateIdentity reads a worker's identity from a file (PKCS #8 in PEM, mode 0600), or makes the file. Of several
// processes that start at once, one makes it and the others read it. A file that others may read is refused.
func LoadOrCreateIdentity(path string) (Identity, error) {
	id, err := loadIdentity(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := createIdentity(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return Identity{}, fileError("the worker's identity could not be written", path, err)
	}
	return loadIdentity(path)
}

func createIdentity(path string) error {
	id, err := NewIdentity()
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(id.private)
	if err != nil {
		return err
	}
	defer clear(der)
	return createSecretFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func loadIdentity(path string) (Identity, error) {
	content, err := readSecretFile(path, maxIdentityFile)
	if err != nil {
		return Identity{}, err
	}
	defer clear(content)
	return parseIdentityFile(content, path)
}

// parseIdentityFile never lets a parser's error through, because it could quote the file.
func parseIdentityFile(content []byte, path string) (Identity, error) {
	bad := &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: path + " does not hold an Ed25519 private key",
		Hint: "put the file back from its copy; a new identity has to be pinned again by every connector"}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "PRIVATE KEY" || len(rest) > 0 {
		return Identity{}, bad
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return Identity{}, bad
	}
	return Identity{private}, nil
}
