package kopia

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/filesystem"
	"github.com/kopia/kopia/repo/content"
	"github.com/kopia/kopia/repo/format"
	"github.com/kopia/kopia/repo/maintenance"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Options say where repositories are.
type Options struct {
	// Root is the absolute folder of the repositories of tenants that name no folder of their own.
	Root string
	// CacheDir is an absolute folder for kopia's caches, one folder a tenant below it. Empty, the default, means none: a repository
	// on a local disk needs none, and then nothing of it is on any other disk. A cache holds encrypted metadata, and kopia's indexes,
	// which are not encrypted: they hold keyed hashes, lengths and times of contents, never contents or names.
	CacheDir string
	// CacheBytes bounds one tenant's cache; default 256 MiB. kopia sweeps it every few minutes.
	CacheBytes int64
	// FlushEvery is how often a writer flushes what it holds, so that a killed process uploads little twice; default 5 s.
	FlushEvery time.Duration
	// ReadOnly opens repositories so that nothing in them can change: not even kopia's own tidying, which would keep what stands on a
	// full disk from being restored. Whatever writes fails.
	ReadOnly bool
	// formatAge is how old kopia may let its copy of the repository's format become. Less than zero, which is always so but in tests,
	// is a quarter of an hour, and never one from a cache on a disk: that would open with a password that was replaced.
	formatAge time.Duration
}

const (
	defaultCacheBytes = 256 << 20
	defaultFlushEvery = 5 * time.Second
)

// The repository's format. BLAKE3 is the fastest of kopia's hashes by far on processors without SHA instructions and no slower on
// others; the splitter cuts files at 4 MiB on average, where their bytes say so.
const (
	hashAlgorithm       = "BLAKE3-256-128"
	encryptionAlgorithm = "AES256-GCM-HMAC-SHA256"
	splitterAlgorithm   = "DYNAMIC-4M-BUZHASH"
)

// tenantID is what may become a folder's name; it is the rule for tenants' ids.
var tenantID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,40}$`)

// Repositories opens tenants' repositories. It is safe for concurrent use.
type Repositories struct{ options Options }

// New takes the options; nothing is opened yet.
func New(o Options) *Repositories {
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = defaultFlushEvery
	}
	if o.formatAge == 0 {
		o.formatAge = -1
	}
	return &Repositories{o}
}

// EnsureRepository makes the tenant's repository when there is none, and opens it to prove the password otherwise. created tells
// whether this call made it. Several processes may call it at once; one of them makes it.
func (r *Repositories) EnsureRepository(ctx context.Context, t backup.Tenant, password string) (created bool, err error) {
	folder, err := r.folder(t)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, classify(err, "making its folder")
	}
	created, err = initialize(ctx, folder, password)
	if err != nil {
		return false, classify(err, "making it")
	}
	repository, err := r.OpenRepository(ctx, t, password)
	if err != nil {
		return created, err
	}
	err = repository.ownMaintenance(ctx)
	return created, errors.Join(err, repository.Close(ctx))
}

// initialize writes the repository's format, under a lock: of two that start at once, the later would overwrite the first one's keys.
func initialize(ctx context.Context, folder, password string) (bool, error) {
	unlock, err := lockFolder(ctx, folder)
	if err != nil {
		return false, err
	}
	defer unlock()
	storage, err := filesystem.New(ctx, &filesystem.Options{Path: folder}, true)
	if err != nil {
		return false, err
	}
	defer storage.Close(ctx)
	err = repo.Initialize(ctx, storage, &repo.NewRepositoryOptions{
		BlockFormat:  format.ContentFormat{Hash: hashAlgorithm, Encryption: encryptionAlgorithm},
		ObjectFormat: format.ObjectFormat{Splitter: splitterAlgorithm},
	}, password)
	if errors.Is(err, repo.ErrAlreadyInitialized) {
		return false, nil
	}
	return err == nil, err
}

// OpenRepository opens the tenant's repository, which must exist. The password is used here and kept by kopia in memory until Close.
// A re-wrapping that is under way is waited for; one that was interrupted is settled in favour of this password, which writes even where
// the repository is only read.
func (r *Repositories) OpenRepository(ctx context.Context, t backup.Tenant, password string) (*Repository, error) {
	folder, err := r.folder(t)
	if err != nil {
		return nil, err
	}
	if err := mustHoldRepository(folder); err != nil {
		return nil, classify(err, "opening it")
	}
	unlock, err := settled(ctx, folder, password)
	if err != nil {
		return nil, classifyOpening(err, "opening it")
	}
	defer unlock()
	config, err := r.writeConfig(folder, t.ID)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(config))
	opened := &Repository{tenant: t.ID, folder: folder, readOnly: r.options.ReadOnly, flushEvery: r.options.FlushEvery, bucketItems: bucketItems, pendingBytes: maxPendingMeta, headsAge: headsAge}
	opened.kopia, err = repo.Open(ctx, config, password, &repo.Options{
		// kopia would end the process otherwise.
		OnFatalError: opened.fail,
		// The repository's own log would grow by a blob with every session.
		DisableRepositoryLog: true,
		DoNotWaitForUpgrade:  true,
	})
	if err != nil {
		return nil, classifyOpening(err, "opening it")
	}
	return opened, nil
}

// mustHoldRepository tells a missing or never initialized folder from a damaged one, before kopia mistakes one for the other.
func mustHoldRepository(folder string) error {
	_, err := os.Stat(filepath.Join(folder, format.KopiaRepositoryBlobID+".f"))
	if errors.Is(err, os.ErrNotExist) {
		return repo.ErrRepositoryNotInitialized
	}
	return err
}

func (r *Repositories) folder(t backup.Tenant) (string, error) {
	folder := t.Repository.Folder
	if folder == "" && r.options.Root != "" && tenantID.MatchString(t.ID) {
		folder = filepath.Join(r.options.Root, t.ID)
	}
	if !filepath.IsAbs(folder) || !tenantID.MatchString(t.ID) {
		return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs,
			Message: fmt.Sprintf("tenant %q has no absolute repository folder", t.ID), Hint: "set repository.folder in the tenant's file, or start the worker with --repositories"}
	}
	return filepath.Clean(folder), nil
}

// writeConfig writes the configuration file that kopia insists on: storage and client, no password. It lives in a private folder, in
// memory where the machine offers that, until the repository is open.
func (r *Repositories) writeConfig(folder, tenant string) (string, error) {
	config := repo.LocalConfig{
		Storage: &blob.ConnectionInfo{Type: "filesystem", Config: &filesystem.Options{Path: folder}},
		Caching: &content.CachingOptions{},
		ClientOptions: repo.ClientOptions{Hostname: tenant, Username: sourceUser, Description: "Holdfast repository of " + tenant, ReadOnly: r.options.ReadOnly,
			FormatBlobCacheDuration: r.options.formatAge},
	}
	if r.options.CacheDir != "" {
		config.Caching.CacheDirectory = filepath.Join(r.options.CacheDir, tenant)
		// Contents are read once, by a restore, so most is for metadata. Neither may be zero: kopia fails then.
		contents, metadata := r.options.CacheBytes/4, r.options.CacheBytes-r.options.CacheBytes/4
		config.Caching.ContentCacheSizeBytes, config.Caching.ContentCacheSizeLimitBytes = contents, contents
		config.Caching.MetadataCacheSizeBytes, config.Caching.MetadataCacheSizeLimitBytes = metadata, metadata
	}
	b, err := json.Marshal(config)
	if err != nil {
		return "", misused("kopia's configuration: %v", err)
	}
	private, err := os.MkdirTemp(memoryFolder(), fmt.Sprintf("holdfast-%d-", os.Getpid()))
	if err != nil {
		return "", classify(err, "preparing to open it")
	}
	name := filepath.Join(private, "repository.config")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		return "", errors.Join(classify(err, "preparing to open it"), os.RemoveAll(private))
	}
	return name, nil
}

// Repository is an open repository of one tenant. It is safe for concurrent use.
type Repository struct {
	kopia      repo.Repository
	tenant     string
	folder     string
	readOnly   bool
	flushEvery time.Duration
	// bucketItems, pendingBytes and headsAge are constants, but for tests.
	bucketItems  int
	pendingBytes int64
	headsAge     time.Duration
	heads        heads
	fatal        atomic.Pointer[error]
}

// fail is told by kopia when the repository was taken away from it, by an upgrade of its format for one.
func (r *Repository) fail(err error) { r.fatal.CompareAndSwap(nil, &err) }

func (r *Repository) usable() error {
	if err := r.fatal.Load(); err != nil {
		return classify(*err, "using it")
	}
	return nil
}

// Close closes the repository. Writers and readers on it are closed before.
func (r *Repository) Close(ctx context.Context) error {
	return classify(r.kopia.Close(ctx), "closing it")
}

// ownMaintenance makes the fixed client the owner of kopia's maintenance, unless somebody is.
func (r *Repository) ownMaintenance(ctx context.Context) error {
	has, err := maintenance.HasParams(ctx, r.kopia)
	if err != nil || has {
		return classify(err, "looking at its maintenance")
	}
	err = repo.WriteSession(ctx, r.kopia, repo.WriteSessionOptions{Purpose: "own maintenance"}, func(ctx context.Context, w repo.RepositoryWriter) error {
		params := maintenance.DefaultParams()
		params.Owner = r.kopia.ClientOptions().UsernameAtHost()
		return maintenance.SetParams(ctx, w, &params)
	})
	return classify(err, "setting up its maintenance")
}
