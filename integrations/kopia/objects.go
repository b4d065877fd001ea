package kopia

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"
	"github.com/kopia/kopia/snapshot/snapshotfs"
)

const bufferSize = 256 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// storeContent streams r into an object and gives its id and length. A reader's own error comes back as it is.
func storeContent(ctx context.Context, w repo.RepositoryWriter, r io.Reader) (object.ID, int64, error) {
	o := w.NewObjectWriter(ctx, object.WriterOptions{Description: "item", Compressor: zstdFastest, MetadataCompressor: zstdFastest})
	defer o.Close()
	n, err := copyAll(ctx, o, r)
	if err != nil {
		return object.EmptyID, n, err
	}
	id, err := o.Result()
	return id, n, classify(err, "storing an item")
}

// copyAll copies through a pooled buffer and looks at the context before each part. An error of to is classified.
func copyAll(ctx context.Context, to io.Writer, from io.Reader) (n int64, err error) {
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		read, err := from.Read(buffer[:])
		if _, failed := to.Write(buffer[:read]); failed != nil {
			return n, classify(failed, "storing an item")
		}
		n += int64(read)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// storeMetadata writes an object of ours that is not content.
func storeMetadata(ctx context.Context, w repo.RepositoryWriter, name string, write func(io.Writer) error) (object.ID, error) {
	o := w.NewObjectWriter(ctx, object.WriterOptions{Description: name, Prefix: metadataPrefix, Compressor: zstdFastest, MetadataCompressor: zstdFastest})
	defer o.Close()
	b := bufio.NewWriterSize(o, 64<<10)
	if err := errors.Join(write(b), b.Flush()); err != nil {
		return object.EmptyID, classify(err, "writing "+name)
	}
	id, err := o.Result()
	return id, classify(err, "writing "+name)
}

// storeJSON writes v as one small file and gives its directory entry.
func storeJSON(ctx context.Context, w repo.RepositoryWriter, name string, v any) (*snapshot.DirEntry, error) {
	b, err := encodeJSON(v)
	if err != nil {
		return nil, misused("%s cannot be written: %v", name, err)
	}
	id, err := storeMetadata(ctx, w, name, func(to io.Writer) error {
		_, err := to.Write(b)
		return err
	})
	return fileEntry(name, id, int64(len(b)), 0), err
}

// storeDirectory writes a directory of entries and gives its own entry.
func storeDirectory(ctx context.Context, w repo.RepositoryWriter, name string, entries []*snapshot.DirEntry) (*snapshot.DirEntry, error) {
	var b snapshotfs.DirManifestBuilder
	for _, e := range entries {
		b.AddEntry(e)
	}
	m := b.Build(0, "")
	id, err := snapshotfs.WriteDirManifest(ctx, w, name, m, zstdFastest)
	if err != nil {
		return nil, classify(err, "writing the directory "+name)
	}
	return &snapshot.DirEntry{Name: name, Type: snapshot.EntryTypeDirectory, Permissions: 0o700, ObjectID: id,
		ModTime: m.Summary.MaxModTime, DirSummary: m.Summary}, nil
}

// loadDirectory reads the entries of a directory, by name.
func loadDirectory(ctx context.Context, r repo.Repository, e *snapshot.DirEntry) (map[string]*snapshot.DirEntry, error) {
	b, err := loadObject(ctx, r, e, maxManifestBytes)
	if err != nil {
		return nil, err
	}
	var m snapshot.DirManifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, damaged("the directory %s is not readable: %v", e.Name, err)
	}
	entries := make(map[string]*snapshot.DirEntry, len(m.Entries))
	for _, e := range m.Entries {
		if e == nil || entries[e.Name] != nil {
			return nil, damaged("a directory has an entry twice or an empty one")
		}
		entries[e.Name] = e
	}
	return entries, nil
}

func loadObject(ctx context.Context, r repo.Repository, e *snapshot.DirEntry, limit int64) ([]byte, error) {
	o, err := r.OpenObject(ctx, e.ObjectID)
	if err != nil {
		return nil, classify(err, "reading "+e.Name)
	}
	defer o.Close()
	b, err := limited(o, limit, e.Name)
	return b, classify(err, "reading "+e.Name)
}
