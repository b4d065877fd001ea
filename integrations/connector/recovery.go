package connector

import (
	"context"
	"errors"
	"io/fs"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// A recovery copy is the plain content of a key file, with every ekey in it wherever it is kept in daily life, encrypted as an age file or
// split into shares. It brings a connector back as it was: its identity, and so its place among the pinned ones, too.

// Sealer encrypts a recovery copy: a Passphrase or Recipients.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
}

// Opener decrypts one: a Passphrase or Identities.
type Opener interface {
	Open(sealed []byte) ([]byte, error)
}

// Export encrypts a recovery copy. CodeBadConfig when an ekey is kept elsewhere and FetchEKeys was not called.
func (k *KeyFile) Export(to Sealer) ([]byte, error) {
	content, err := k.whole()
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return to.Seal(content)
}

// Split makes a recovery copy of shares, of which any needs give it back.
func (k *KeyFile) Split(needs, of int) ([]Share, error) {
	content, err := k.whole()
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return splitShares(content, Share{Tenant: k.Tenant, Connector: k.Connector, Generation: k.Newest()}, needs, of)
}

// whole is the file's plain content; the caller wipes it.
func (k *KeyFile) whole() ([]byte, error) {
	for _, g := range k.Generations {
		if g.ekey == nil {
			return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the key file does not hold the ekey itself, so a copy of it would not either",
				Hint: "copy it where the ekey can be read: " + k.EKeySource}
		}
	}
	copied := *k
	copied.EKeySource = ""
	return copied.encode()
}

// FetchEKeys brings the ekeys that are kept elsewhere into the key file in memory, so that a copy holds them.
func (k *KeyFile) FetchEKeys(ctx context.Context, from EKeySource) error {
	for i, g := range k.Generations {
		if g.ekey != nil {
			continue
		}
		ekey, err := from.EKey(ctx, g.Number)
		if err != nil {
			return err
		}
		if g.ekey = ekey; !g.good(k.Tenant) {
			clear(ekey)
			return errWrongSource
		}
		k.Generations[i] = g
	}
	return nil
}

var errWrongSource = &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer, Message: "the source of the ekey gave another one", Hint: "put the right one back"}

// ReadCopy reads a recovery copy, or a plain or protected key file, from a file that only its owner may read. with may be nil for a plain one.
func ReadCopy(path string, with Opener) (*KeyFile, error) {
	content, err := readSecretFile(path, maxProtected)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fileError("there is no such copy", path, err)
	}
	if err != nil {
		return nil, err
	}
	defer clear(content)
	opened, err := unprotect(path, content, with)
	if err != nil {
		return nil, err
	}
	defer clear(opened)
	return restored(opened, path)
}

// ReadShares reads a recovery copy from the files of its shares. Its errors name the share that is wrong.
func ReadShares(paths []string) (*KeyFile, error) {
	if len(paths) > MaxShares {
		return nil, badShare("these are more shares than are ever made", "give each once")
	}
	var shares []Share
	defer func() {
		for _, s := range shares {
			s.Wipe()
		}
	}()
	for _, path := range paths {
		s, err := readShare(path)
		if err != nil {
			return nil, err
		}
		shares = append(shares, s)
	}
	content, err := joinShares(shares, paths)
	if err != nil {
		return nil, err
	}
	defer clear(content)
	return restored(content, "what the shares give")
}

func readShare(path string) (Share, error) {
	text, err := readSecretFile(path, maxShare)
	if errors.Is(err, fs.ErrNotExist) {
		return Share{}, fileError("there is no such share", path, err)
	}
	if err != nil {
		return Share{}, err
	}
	defer clear(text)
	return ParseShare(path, text)
}

func restored(content []byte, path string) (*KeyFile, error) {
	k, err := parseKeyFile(content)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is not a good copy of a key file", Hint: "take another copy", Cause: err}
	}
	return k, nil
}

// WriteShare writes a share into a file of mode 0600 that was not there before.
func WriteShare(path string, s Share) error {
	text := s.Text()
	defer clear(text)
	return writeNew(path, text)
}

// WriteCopy does the same for a recovery copy.
func WriteCopy(path string, sealed []byte) error { return writeNew(path, sealed) }

func writeNew(path string, content []byte) error {
	err := createSecretFile(path, content)
	if errors.Is(err, fs.ErrExist) {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " exists and is not replaced", Hint: "name another file"}
	}
	if err != nil {
		return fileError("the copy could not be written", path, err)
	}
	return nil
}
