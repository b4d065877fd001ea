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
	// SourceFor reaches the source that a key file names when Source is nil, see Setup.EKeySource.
	SourceFor func(pattern string) (EKeySource, error)
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
	if err == nil && o.Source == nil && o.SourceFor != nil && k.EKeySource != "" {
		o.Source, err = o.SourceFor(k.EKeySource)
	}
	if err == nil {
		err = k.keptWhere(o.Source, path)
	}
	if err == nil {
		err = sweepSecretFile(path)
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

// KeyFileInUse tells whether a process has the key file open.
func KeyFileInUse(path string) bool {
	lock, err := lockKeyFile(path)
	if err != nil {
		return true
	}
	return lock.Close() != nil
}

// keptWhere refuses a key file whose ekeys are elsewhere when nobody said where.
func (k *KeyFile) keptWhere(source EKeySource, path string) error {
	if source == nil && (k.EKeySource != "" || slices.ContainsFunc(k.Generations, func(g Generation) bool { return g.ekey == nil })) {
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
		return g, s.notHeld(number)
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

// notHeld says why a generation (0: the current one) cannot be had here.
func (s *KeyStore) notHeld(number int) (err error) {
	s.view(func(k *KeyFile) {
		if e, gone := k.ended(number); gone {
			err = e.err()
		} else if n := len(k.Ended); number == 0 && n > 0 {
			err = k.Ended[n-1].err()
		} else if len(k.Generations) == 0 {
			err = keyError(backup.CodeNotFound, "the connector holds no ekey yet; it waits to be given one")
		} else {
			err = keyError(backup.CodeNotFound, "the connector does not hold this generation of the ekey")
		}
	})
	return err
}

func (e Ended) err() error {
	if e.Destroyed {
		return keyError(backup.CodeDestroyed, "the ekey was destroyed")
	}
	return keyError(backup.CodeRevoked, "this generation of the ekey was retired")
}

func notAllowed(message string) error { return keyError(backup.CodeNotAllowed, message) }

func keyError(code backup.Code, message string) error {
	return &backup.Error{Code: code, Fault: backup.FaultCustomer, Message: message}
}

// create makes a generation, unless it is held. With a source, what that has under the number is taken: a creation that was interrupted
// may have left it there.
func (s *KeyStore) create(ctx context.Context, number int) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	held, err := s.free(number)
	if held != nil || err != nil {
		return err
	}
	if number < s.newest() {
		return notAllowed("a newer generation is held already")
	}
	ekey, err := s.fromSource(ctx, number)
	if err != nil {
		return err
	}
	if ekey == nil {
		ekey = newEKey()
	}
	return s.put(ctx, number, ekey)
}

// take keeps an ekey that another connector handed over. It takes ownership of it. One that is held is never replaced by another.
func (s *KeyStore) take(ctx context.Context, number int, ekey []byte, check string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	held, err := s.free(number)
	if held != nil && held.Check != check {
		err = notAllowed("another ekey is held under this number, and is not replaced")
	}
	if held != nil || err != nil {
		clear(ekey)
		return err
	}
	return s.put(ctx, number, ekey)
}

// free returns the generation if it is held, and an error if it cannot be held any more.
func (s *KeyStore) free(number int) (held *Generation, err error) {
	s.view(func(k *KeyFile) {
		if g := k.find(number); g != nil {
			held = &Generation{Number: g.Number, Made: g.Made, Check: g.Check}
			return
		}
		if e, gone := k.ended(number); gone {
			err = e.err()
		} else if len(k.Generations) >= maxHeld {
			err = notAllowed("too many generations are held; retire old ones")
		}
	})
	return held, err
}

func (s *KeyStore) newest() (number int) {
	s.view(func(k *KeyFile) { number = k.Newest() })
	return number
}

// fromSource returns what the source has under a number, or nil.
func (s *KeyStore) fromSource(ctx context.Context, number int) ([]byte, error) {
	if s.o.Source == nil {
		return nil, nil
	}
	ekey, err := s.o.Source.EKey(ctx, number)
	if backup.HasCode(err, backup.CodeNotFound) {
		return nil, nil
	}
	if err == nil && len(ekey) != backup.EKeySize {
		clear(ekey)
		err = &backup.Error{Code: backup.CodeWrongKey, Fault: backup.FaultCustomer, Message: "the source of the ekey gave something of a wrong length"}
	}
	return ekey, err
}

// put adds a generation, at the source first.
func (s *KeyStore) put(ctx context.Context, number int, ekey []byte) error {
	g, err := newGeneration(s.Setup().Tenant, number, ekey, s.o.Clock())
	if err != nil {
		return err
	}
	if s.o.Source != nil {
		err := s.o.Source.Keep(ctx, number, ekey)
		clear(ekey)
		g.ekey = nil
		if err != nil {
			return err
		}
	}
	return s.save(func(k *KeyFile) { k.add(g) })
}

// retire gives an old generation up. The newest one that is held stays, whoever asks: it is what the backups open with.
func (s *KeyStore) retire(ctx context.Context, number int) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	switch newest := s.newest(); {
	case number == newest:
		return notAllowed("this is the newest generation that is held, and it is kept until there is a newer one")
	case number > newest:
		return nil // never held, and nothing to remember
	}
	var gone bool
	s.view(func(k *KeyFile) { _, gone = k.ended(number) })
	if gone {
		return nil
	}
	return s.drop(ctx, false, number)
}

// destroy gives every generation up and returns the numbers of all that were ever destroyed here.
func (s *KeyStore) destroy(ctx context.Context) (destroyed []int, err error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	var held []int
	s.view(func(k *KeyFile) {
		for _, g := range k.Generations {
			held = append(held, g.Number)
		}
	})
	if len(held) > 0 {
		if err := s.drop(ctx, true, held...); err != nil {
			return nil, err
		}
	}
	s.view(func(k *KeyFile) {
		for _, e := range k.Ended {
			if e.Destroyed {
				destroyed = append(destroyed, e.Number)
			}
		}
	})
	return destroyed, nil
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
