package kopia

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/blob"
	"github.com/kopia/kopia/repo/blob/sharded"
	"github.com/kopia/kopia/repo/format"
)

// formatBlobs are the two blobs of a repository that its password encrypts. The first holds the keys of everything else, which a new
// password leaves as they are. Both are a kilobyte at most.
type formatBlobs struct {
	Repository []byte `json:"repository"`
	BlobConfig []byte `json:"blobConfig"`
}

// maxFormatBlob bounds what is read of each.
const maxFormatBlob = 1 << 20

func readFormatBlobs(folder string) (f formatBlobs, err error) {
	if f.Repository, err = readBounded(blobFile(folder, format.KopiaRepositoryBlobID)); err != nil {
		return f, err
	}
	f.BlobConfig, err = readBounded(blobFile(folder, format.KopiaBlobCfgBlobID))
	return f, err
}

// blobFile is where kopia's storage of files keeps a blob whose name is too short to be spread over folders.
func blobFile(folder string, id blob.ID) string {
	return filepath.Join(folder, string(id)+sharded.CompleteBlobSuffix)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return limited(f, maxFormatBlob, filepath.Base(path))
}

// manager has kopia decrypt the blobs; repo.ErrInvalidPassword when the password does not.
func (f formatBlobs) manager(ctx context.Context, password string) (*format.Manager, blobsInMemory, error) {
	held := blobsInMemory{blobs: map[blob.ID][]byte{format.KopiaRepositoryBlobID: f.Repository, format.KopiaBlobCfgBlobID: f.BlobConfig}}
	m, err := format.NewManager(ctx, held, "", format.DefaultRepositoryBlobCacheDuration, password, time.Now)
	return m, held, err
}

func (f formatBlobs) opensWith(ctx context.Context, password string) (bool, error) {
	_, _, err := f.manager(ctx, password)
	if errors.Is(err, repo.ErrInvalidPassword) {
		return false, nil
	}
	return err == nil, err
}

// changed are the blobs as kopia writes them for another password.
func (f formatBlobs) changed(ctx context.Context, old, new string) (formatBlobs, error) {
	m, held, err := f.manager(ctx, old)
	if err != nil {
		return formatBlobs{}, err
	}
	if err := m.ChangePassword(ctx, new); err != nil {
		return formatBlobs{}, err
	}
	return formatBlobs{held.blobs[format.KopiaRepositoryBlobID], held.blobs[format.KopiaBlobCfgBlobID]}, nil
}

// install puts the blobs into their places, one after the other; the journal covers the time between.
func (f formatBlobs) install(folder string) error {
	err := writeDurably(blobFile(folder, format.KopiaRepositoryBlobID), f.Repository)
	if err == nil {
		err = writeDurably(blobFile(folder, format.KopiaBlobCfgBlobID), f.BlobConfig)
	}
	if err != nil {
		return err
	}
	stand, err := readFormatBlobs(folder)
	if err == nil && (!bytes.Equal(stand.Repository, f.Repository) || !bytes.Equal(stand.BlobConfig, f.BlobConfig)) {
		err = errors.New("the disk does not hold what was written to it")
	}
	return err
}

// journal is on the disk while the two blobs are being replaced: kopia itself replaces one after the other, and a process that is killed
// between them leaves a repository that opens with no password at all. Both pairs in it are encrypted as they are in their places.
type journal struct {
	Old formatBlobs `json:"old"`
	New formatBlobs `json:"new"`
}

// journalName does not end like a blob's file, so kopia never lists it.
const journalName = "holdfast-rewrap.json"

func journalFile(folder string) string { return filepath.Join(folder, journalName) }

// readJournal returns fs.ErrNotExist when nothing was interrupted.
func readJournal(folder string) (journal, error) {
	var j journal
	b, err := readBounded(journalFile(folder))
	if err != nil {
		return j, err
	}
	if err := json.Unmarshal(b, &j); err != nil || len(j.Old.Repository) == 0 || len(j.New.Repository) == 0 {
		return j, damaged("%s is not readable", journalName)
	}
	return j, nil
}

func (j journal) write(folder string) error {
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	return writeDurably(journalFile(folder), b)
}

func removeJournal(folder string) error {
	if err := os.Remove(journalFile(folder)); err != nil {
		return err
	}
	afterStep("journal removed")
	return syncFolder(folder)
}

// interrupted tells whether a re-wrapping is under way, or was ended in its middle.
func interrupted(folder string) (bool, error) {
	_, err := os.Lstat(journalFile(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// settle ends a re-wrapping that was interrupted: the passwords are tried in their order, and the pair that the first one opens is put
// in its place. The caller holds the folder's lock. repo.ErrInvalidPassword: none opens either, and everything stays as it is.
func settle(ctx context.Context, folder string, passwords ...string) error {
	j, err := readJournal(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, password := range passwords {
		for _, pair := range []formatBlobs{j.New, j.Old} {
			opens, err := pair.opensWith(ctx, password)
			if err != nil {
				return err
			}
			if !opens {
				continue
			}
			if err := pair.install(folder); err != nil {
				return err
			}
			return removeJournal(folder)
		}
	}
	return repo.ErrInvalidPassword
}

// writeDurably replaces a file as a whole and returns when the disk has it.
func writeDurably(path string, content []byte) error {
	temporary := path + ".holdfast-tmp" // one name a file: what a killed process left is overwritten
	if err := writeSynced(temporary, content); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	afterStep("written " + filepath.Base(path))
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	afterStep("renamed " + filepath.Base(path))
	return syncFolder(filepath.Dir(path))
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	afterStep("made " + filepath.Base(path))
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncFolder(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// afterStep is called after every step that changes the disk; a test ends the process there.
var afterStep = func(step string) {}

// blobsInMemory is a storage of a few blobs.
type blobsInMemory struct {
	blob.DefaultProviderImplementation
	blobs map[blob.ID][]byte
}

func (s blobsInMemory) GetBlob(_ context.Context, id blob.ID, _, _ int64, output blob.OutputBuffer) error {
	b, ok := s.blobs[id]
	if !ok {
		return blob.ErrBlobNotFound
	}
	output.Reset()
	_, err := output.Write(b)
	return err
}

func (s blobsInMemory) PutBlob(_ context.Context, id blob.ID, data blob.Bytes, _ blob.PutOptions) error {
	r := data.Reader()
	b, err := io.ReadAll(r)
	s.blobs[id] = b
	return errors.Join(err, r.Close())
}

func (s blobsInMemory) GetMetadata(_ context.Context, id blob.ID) (blob.Metadata, error) {
	b, ok := s.blobs[id]
	if !ok {
		return blob.Metadata{}, blob.ErrBlobNotFound
	}
	return blob.Metadata{BlobID: id, Length: int64(len(b))}, nil
}

func (s blobsInMemory) ListBlobs(context.Context, blob.ID, func(blob.Metadata) error) error {
	return misused("blobs in memory are not listed")
}

func (s blobsInMemory) DeleteBlob(_ context.Context, id blob.ID) error {
	delete(s.blobs, id)
	return nil
}

func (s blobsInMemory) ConnectionInfo() blob.ConnectionInfo { return blob.ConnectionInfo{} }
func (s blobsInMemory) DisplayName() string                 { return "memory" }
