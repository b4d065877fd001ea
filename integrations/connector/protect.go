package connector

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// What is protected here is an armored age file (https://age-encryption.org/v1), so that `age -d FILE`, too, opens it: the key file itself in its
// plain form. Nobody needs this program to get his own key back.

const (
	// workFactor is the binary logarithm of scrypt's N (RFC 7914) for what we write: 128 MiB and about half a second for each guess. OWASP's
	// password storage sheet names the same.
	workFactor = 17
	// maxWorkFactor is the most that we compute for a file that we are given: 256 MiB, which is what `age -p` writes. More would let a
	// stranger's file eat this machine's memory.
	maxWorkFactor = 18

	minPassphrase  = 12             // bytes
	maxPassphrase  = 1 << 10        // bytes
	maxProtected   = 2 * maxKeyFile // bytes; armor adds a third
	maxRecipients  = 32
	maxIdentityKey = 64 << 10 // bytes of a file of private keys
)

// Passphrase protects a key file. Its text is never printed.
type Passphrase struct{ text string }

// NewPassphrase takes the passphrase as it stands in a file or was typed, without the line's end. CodeBadConfig when it is short.
func NewPassphrase(typed []byte) (*Passphrase, error) {
	text := strings.TrimRight(string(typed), "\r\n")
	if len(text) < minPassphrase || len(text) > maxPassphrase || strings.ContainsAny(text, "\r\n\x00") {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer,
			Message: fmt.Sprintf("a passphrase is one line of %d to %d characters", minPassphrase, maxPassphrase), Hint: "five or six random words are good and can be remembered"}
	}
	return &Passphrase{text}, nil
}

func (*Passphrase) String() string   { return "passphrase" }
func (*Passphrase) GoString() string { return "passphrase" }

// Seal encrypts content under the passphrase, with a salt of its own each time.
func (p *Passphrase) Seal(content []byte) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(p.text)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	return sealTo(content, recipient)
}

// Open decrypts what Seal made: CodeBadCredential when the passphrase is another one. The caller wipes the content.
func (p *Passphrase) Open(sealed []byte) ([]byte, error) {
	identity, err := age.NewScryptIdentity(p.text)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	return openWith(sealed, identity)
}

// Recipients seal a recovery copy to public keys, so that no passphrase is needed to write one.
type Recipients struct{ to []age.Recipient }

// ParseRecipients reads public keys: age's (age1…, age1pq1…) or of SSH (ssh-ed25519, ssh-rsa).
func ParseRecipients(texts []string) (*Recipients, error) {
	if len(texts) == 0 || len(texts) > maxRecipients {
		return nil, badSetup(fmt.Sprintf("between 1 and %d recipients can be given", maxRecipients))
	}
	var r Recipients
	for i, text := range texts {
		to, err := parseRecipient(strings.TrimSpace(text))
		if err != nil {
			return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: fmt.Sprintf("recipient %d is not a public key of age or SSH", i+1),
				Hint: "give the text that begins with age1, ssh-ed25519 or ssh-rsa"} // its cause would quote what may be a private key
		}
		r.to = append(r.to, to)
	}
	return &r, nil
}

func parseRecipient(text string) (age.Recipient, error) {
	if strings.HasPrefix(text, "ssh-") {
		return agessh.ParseRecipient(text)
	}
	to, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(to) != 1 {
		return nil, errMalformed
	}
	return to[0], nil
}

// Seal encrypts content to every recipient.
func (r *Recipients) Seal(content []byte) ([]byte, error) { return sealTo(content, r.to...) }

// Identities are the private keys that open what Recipients sealed.
type Identities struct{ with []age.Identity }

// LoadIdentities reads a file of age private keys, or an SSH private key without a passphrase. A file that others may read is refused.
func LoadIdentities(path string) (*Identities, error) {
	content, err := readSecretFile(path, maxIdentityKey)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fileError("there is no such private key", path, err)
	}
	if err != nil {
		return nil, err
	}
	defer clear(content)
	if bytes.HasPrefix(content, []byte("-----BEGIN")) {
		if key, err := agessh.ParseIdentity(content); err == nil {
			return &Identities{[]age.Identity{key}}, nil
		}
	} else if keys, err := age.ParseIdentities(bytes.NewReader(content)); err == nil {
		return &Identities{keys}, nil
	}
	return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " holds no private key that can be used",
		Hint: "give a file made by age-keygen, or an SSH key without a passphrase; otherwise open the copy by `age -d` and import what it gives"}
}

// Open decrypts what was sealed to one of the keys: CodeBadCredential when it was to others. The caller wipes the content.
func (i *Identities) Open(sealed []byte) ([]byte, error) { return openWith(sealed, i.with...) }

func sealTo(content []byte, to ...age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	armored := armor.NewWriter(&sealed)
	w, err := age.Encrypt(armored, to...)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "nothing can be encrypted to these recipients together",
			Hint: "give post-quantum recipients (age1pq1…) by themselves", Cause: err}
	}
	_, err = w.Write(content)
	err = errors.Join(err, w.Close(), armored.Close())
	return sealed.Bytes(), err
}

func openWith(sealed []byte, with ...age.Identity) ([]byte, error) {
	if len(sealed) > maxProtected {
		return nil, errNoAgeFile(nil)
	}
	var in io.Reader = bytes.NewReader(sealed)
	if bytes.HasPrefix(bytes.TrimSpace(sealed), []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, with...)
	if err != nil {
		return nil, openError(err)
	}
	content := make([]byte, 0, maxKeyFile+1) // grown never, so that no copy stays behind
	for len(content) < cap(content) {
		n, err := out.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			clear(content)
			return nil, errNoAgeFile(err)
		}
	}
	clear(content)
	return nil, errNoAgeFile(errors.New("it is larger than a key file can be"))
}

func openError(err error) error {
	var other *age.NoIdentityMatchError
	if errors.As(err, &other) {
		return &backup.Error{Code: backup.CodeBadCredential, Fault: backup.FaultCustomer, Message: "it does not open with this passphrase or private key",
			Hint: "give the one it was protected with"}
	}
	return errNoAgeFile(err)
}

// errNoAgeFile may tell its cause: age's errors speak of the header, which is no secret.
func errNoAgeFile(cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "it is not a good age file",
		Hint: fmt.Sprintf("put it back from its copy; a work factor above %d is refused", maxWorkFactor), Cause: cause}
}

// IsProtected tells a protected file from a plain one, by what it begins with.
func IsProtected(content []byte) bool {
	content = bytes.TrimLeft(content, " \t\r\n")
	return bytes.HasPrefix(content, []byte(armor.Header)) || bytes.HasPrefix(content, []byte("age-encryption.org/"))
}

// unprotect gives the plain content of a key file or a copy of one. It tells by the content whether there is anything to open.
func unprotect(path string, content []byte, p Opener) ([]byte, error) {
	switch protected := IsProtected(content); {
	case protected && p == nil:
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is protected, and nothing was given that opens it",
			Hint: "give the passphrase with --passphrase-file"}
	case !protected && p != nil:
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is not protected, although a passphrase was given",
			Hint: "leave the passphrase out; or protect it: connector import --from " + path + " --key-file NEW --passphrase-file FILE"}
	case protected:
		opened, err := p.Open(content)
		if e := (*backup.Error)(nil); errors.As(err, &e) {
			e.Message = path + ": " + e.Message
		}
		return opened, err
	}
	return content, nil
}
