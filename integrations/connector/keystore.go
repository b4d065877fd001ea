package connector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Protector closes a key file's content before it is written, and opens it again; by a passphrase, for example.
type Protector interface {
	Seal(plain []byte) ([]byte, error)
	// Open returns bytes that the caller wipes. Its error shows nothing of either.
	Open(sealed []byte) ([]byte, error)
}

// EKeySource keeps the ekeys outside of the key file, for example in the customer's own Vault. The key file then has everything but the
// ekeys, their check keys included, and what the source gives is compared with those.
type EKeySource interface {
	// EKey returns bytes that the caller wipes. CodeNotFound: the source does not have it; CodeSealed: it does not answer or is sealed.
	EKey(ctx context.Context, generation int) ([]byte, error)
	// Keep stores an ekey; again is the same as once, and another ekey of the same generation is never replaced.
	Keep(ctx context.Context, generation int, ekey []byte) error
	// Forget destroys an ekey and every old version of it; none there is no error.
	Forget(ctx context.Context, generation int) error
}

// KeyStoreOptions may be left zero: a plain key file that holds the ekeys.
type KeyStoreOptions struct {
	Protector Protector
	Source    EKeySource
	Clock     func() time.Time
}

// KeyStore is a key file and what is in it, open for one process. It may be used concurrently.
type KeyStore struct {
	path string
	o    KeyStoreOptions
	lock *flock.Flock // nil for a store in memory

	changing sync.Mutex // one change at a time, its source's calls included
	mu       sync.RWMutex
	k        *KeyFile
}

// CreateKeyFile makes a connector's identity and recipient key, writes them to path (mode 0600) and returns the public identity, which
// goes into the tenant's file. A file that is there already is never replaced: it may hold the only ekey.
func CreateKeyFile(path string, s Setup) (publicIdentity string, err error) {
	k, err := NewKeyFile(s)
	if err != nil {
		return "", err
	}
	defer k.Wipe()
	return k.Identity(), k.Create(path, nil)
}

// Create writes a new key file, closed by p when that is not nil. A file that is there already is never replaced.
func (k *KeyFile) Create(path string, p Protector) error {
	content, err := k.seal(p)
	if err != nil {
		return err
	}
	defer clear(content)
	err = createSecretFile(path, content)
	if errors.Is(err, fs.ErrExist) {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " exists and is not replaced",
			Hint: "it may hold the only copy of an ekey: use it, or name another file"}
	}
	if err != nil {
		return fileError("the key file could not be written", path, err)
	}
	return nil
}

// seal is the file's bytes, as they lie on the disk.
func (k *KeyFile) seal(p Protector) ([]byte, error) {
	content, err := k.encode()
	if err != nil || p == nil {
		return content, err
	}
	defer clear(content)
	return p.Seal(content)
}

// LoadKeyFile reads a plain key file. It refuses one that others may read, and its errors never show what is in it.
func LoadKeyFile(path string) (*KeyFile, error) { return ReadKeyFile(path, nil) }

// ReadKeyFile reads a key file that p closed, or a plain one when p is nil. It does not lock: a running connector may go on.
func ReadKeyFile(path string, p Protector) (*KeyFile, error) {
	content, err := readSecretFile(path, maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "there is no key file " + path,
			Hint: "make one, or name the one that was made"}
	}
	if err != nil {
		return nil, err
	}
	defer clear(content)
	opened, err := unprotect(path, content, p)
	if err != nil {
		return nil, err
	}
	defer clear(opened)
	content = opened
	k, err := parseKeyFile(content)
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is not a good key file",
			Hint: "put it back from its copy", Cause: err}
	}
	return k, nil
}

// OpenKeyStore reads a key file and locks it against other processes until Close.
func OpenKeyStore(path string, o KeyStoreOptions) (*KeyStore, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	lock, err := lockKeyFile(path)
	if err != nil {
		return nil, err
	}
	k, err := ReadKeyFile(path, o.Protector)
	if err == nil {
		err = k.keptWhere(o.Source, path)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &KeyStore{path: path, o: o, lock: lock, k: k}, nil
}

// lockKeyFile locks a file beside the key file, because the key file itself is replaced by every change.
func lockKeyFile(path string) (*flock.Flock, error) {
	lock := flock.New(path+".lock", flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fileError("the key file could not be locked", path+".lock", err)
	}
	if !locked {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " is in use by another process",
			Hint: "run one connector with a key file, and stop it before its key file is changed by hand"}
	}
	return lock, nil
}

// keptWhere refuses a key file whose ekeys are elsewhere when nobody said where.
func (k *KeyFile) keptWhere(source EKeySource, path string) error {
	if source == nil && slices.ContainsFunc(k.Generations, func(g Generation) bool { return g.ekey == nil }) {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: path + " does not hold the ekey itself",
			Hint: "say where the ekey is kept, as when the key file was made"}
	}
	return nil
}

// Close wipes what is in memory and lets other processes use the file.
func (s *KeyStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.k.Wipe()
	return s.lock.Close()
}

// Setup is what the connector was told.
func (s *KeyStore) Setup() Setup {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.k.Setup
}

// Identity is the connector's public identity.
func (s *KeyStore) Identity() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.k.Identity()
}

// Holds are the generations that the connector holds, by number.
func (s *KeyStore) Holds() []backup.HeldKey {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.k.Holds()
}

// self is the key file without its generations: who the connector is, which never changes.
func (s *KeyStore) self() *KeyFile {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return &KeyFile{Setup: s.k.Setup, identity: s.k.identity, sealed: s.k.sealed}
}

// view runs read on the key file; read keeps nothing of it.
func (s *KeyStore) view(read func(k *KeyFile)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	read(s.k)
}

// ekey returns a copy of a generation's ekey (0: the current one), from the file or from the source. The caller wipes it.
func (s *KeyStore) ekey(ctx context.Context, number int) (Generation, error) {
	var g Generation
	var tenant string
	s.view(func(k *KeyFile) {
		tenant = k.Tenant
		if held := k.find(number); held != nil {
			g = *held
			g.ekey = slices.Clone(held.ekey)
		}
	})
	if g.Number == 0 {
		return g, errNotHeld
	}
	if g.ekey != nil {
		return g, nil
	}
	ekey, err := s.o.Source.EKey(ctx, g.Number)
	if err != nil {
		return g, err
	}
	if g.ekey = ekey; !g.good(tenant) {
		clear(ekey)
		return g, &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer, Message: "the source of the ekey gave another one", Hint: "put the right one back"}
	}
	return g, nil
}

var errNotHeld = &backup.Error{Code: backup.CodeNotFound, Fault: backup.FaultCustomer, Message: "the connector does not hold this generation of the ekey"}

// put adds a generation that was made or handed over. It takes ownership of the ekey.
func (s *KeyStore) put(ctx context.Context, g Generation) error {
	if s.o.Source != nil {
		err := s.o.Source.Keep(ctx, g.Number, g.ekey)
		clear(g.ekey)
		g.ekey = nil
		if err != nil {
			return err
		}
	}
	return s.save(func(k *KeyFile) { k.add(g) })
}

// drop gives generations up, at the source and in the file, and overwrites what they were kept in.
func (s *KeyStore) drop(ctx context.Context, destroyed bool, numbers ...int) error {
	for _, n := range numbers {
		if s.o.Source == nil {
			break
		}
		if err := s.o.Source.Forget(ctx, n); err != nil {
			return fmt.Errorf("forgetting generation %d: %w", n, err)
		}
	}
	var gone []Generation
	err := s.save(func(k *KeyFile) {
		for _, n := range numbers {
			if g := k.find(n); g != nil {
				gone = append(gone, *g)
			}
			k.end(Ended{Number: n, At: s.o.Clock().UTC().Truncate(time.Second), Destroyed: destroyed})
		}
	})
	if err != nil {
		return err
	}
	for _, g := range gone {
		clear(g.ekey)
	}
	return nil
}

// save changes a copy of the key file, writes it, and only then lets anybody see it. The old file's bytes are overwritten.
func (s *KeyStore) save(change func(k *KeyFile)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.k
	change(&next)
	content, err := next.seal(s.o.Protector)
	if err != nil {
		return err
	}
	defer clear(content)
	if err := overwriteSecretFile(s.path, content); err != nil {
		return fileError("the key file could not be written", s.path, err)
	}
	s.k = &next
	return nil
}
