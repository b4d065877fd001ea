package kopia

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// record is an item as a bucket knows it.
type record struct {
	// item lacks its Meta when stored is set.
	item backup.Item
	body *body
	// stored is where the record's line stands in the bucket's records as they were last read or written; nil when it has changed
	// since. Meta is most of a record, so it stays there.
	stored *span
}

type body struct {
	object object.ID
	size   int64
}

type span struct{ at, length int64 }

func (r *record) line(key itemKey) line {
	l := line{Item: r.item}
	if r.body != nil {
		l.File, l.Size = key.fileName(), r.body.size
	}
	return l
}

// bucket is the smallest directory of the tree. Its records are read when it is first touched.
type bucket struct {
	mu sync.Mutex
	// entry is the bucket as it is stored; nil for a new one.
	entry *snapshot.DirEntry
	// records is nil until the bucket is touched.
	records map[itemKey]*record
	// lines is the records' file as it is stored, and stored how many there are in it.
	lines  *snapshot.DirEntry
	stored int64
}

// load reads the records, once.
func (b *bucket) load(ctx context.Context, r repo.Repository) error {
	if b.records != nil {
		return nil
	}
	records := map[itemKey]*record{}
	if b.entry == nil {
		b.records = records
		return nil
	}
	files, err := loadDirectory(ctx, r, b.entry)
	if err != nil {
		return err
	}
	err = readLines(ctx, r, files, func(at int64, raw []byte, l line, key itemKey) error {
		l.Item.Meta = nil
		rec := &record{item: l.Item, stored: &span{at, int64(len(raw))}}
		if l.File != "" {
			rec.body = &body{files[l.File].ObjectID, l.Size}
		}
		records[key] = rec
		return nil
	})
	if err != nil {
		return err
	}
	b.records, b.lines, b.stored = records, files[recordsName], int64(len(records))
	return nil
}

// readLines reads the records of a bucket's directory one by one, each checked against the files beside it.
func readLines(ctx context.Context, r repo.Repository, files map[string]*snapshot.DirEntry, fn func(at int64, raw []byte, l line, key itemKey) error) error {
	lines := files[recordsName]
	if lines == nil {
		return damaged("a bucket has no %s", recordsName)
	}
	o, err := r.OpenObject(ctx, lines.ObjectID)
	if err != nil {
		return classify(err, "reading records")
	}
	defer o.Close()
	var last *itemKey
	err = scanLines(o, func(at int64, raw []byte) error {
		l, key, err := decodeLine(raw)
		if err != nil {
			return err
		}
		if last != nil && bytes.Compare(last[:], key[:]) >= 0 {
			return damaged("records are not in order")
		}
		last = &key
		if l.File != "" && (files[l.File] == nil || files[l.File].FileSize != l.Size) {
			return damaged("the content of an item is missing or has another size")
		}
		return fn(at, raw, l, key)
	})
	return classify(err, "reading records")
}

// items gives all items whole. What has not changed is read from the repository, and a bucket that was not touched is not kept.
func (b *bucket) items(ctx context.Context, r repo.Repository) ([]backup.Item, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	whole := b
	if b.records == nil {
		whole = &bucket{entry: b.entry}
		if err := whole.load(ctx, r); err != nil {
			return nil, err
		}
	}
	raw, err := whole.storedLines(ctx, r)
	if err != nil {
		return nil, err
	}
	items := make([]backup.Item, 0, len(whole.records))
	for _, key := range whole.order() {
		item, err := whole.records[key].whole(raw)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// whole is the record's item with its Meta.
func (r *record) whole(raw []byte) (backup.Item, error) {
	if r.stored == nil {
		return r.item, nil
	}
	l, _, err := decodeLine(raw[r.stored.at:][:r.stored.length])
	return l.Item, err
}

// storedLines reads the records' file as it is stored.
func (b *bucket) storedLines(ctx context.Context, r repo.Repository) ([]byte, error) {
	if b.lines == nil {
		return nil, nil
	}
	return loadObject(ctx, r, b.lines, maxRecordsBytes)
}

func (b *bucket) order() []itemKey {
	return slices.SortedFunc(maps.Keys(b.records), func(a, b itemKey) int { return bytes.Compare(a[:], b[:]) })
}

// write stores the bucket under a name and returns by how many the number of stored records grew. An empty bucket has no directory,
// unless it is the top. A failure leaves the bucket as it is.
func (b *bucket) write(ctx context.Context, w repo.RepositoryWriter, name string, top bool) (grown int64, err error) {
	keys := b.order()
	if len(keys) == 0 && !top {
		grown = -b.stored
		b.entry, b.lines, b.stored = nil, nil, 0
		return grown, nil
	}
	raw, err := b.storedLines(ctx, w)
	if err != nil {
		return 0, err
	}
	spans := make([]span, 0, len(keys))
	var lines *snapshot.DirEntry
	id, err := storeMetadata(ctx, w, recordsName, func(to io.Writer) error {
		at := int64(0)
		for _, key := range keys {
			encoded, err := b.records[key].encoded(raw, key)
			if err != nil {
				return err
			}
			if _, err := to.Write(encoded); err != nil {
				return err
			}
			spans = append(spans, span{at, int64(len(encoded))})
			at += int64(len(encoded))
		}
		lines = fileEntry(recordsName, object.EmptyID, at, b.newest())
		return nil
	})
	if err != nil {
		return 0, err
	}
	lines.ObjectID = id
	entry, err := storeDirectory(ctx, w, name, append(b.contents(keys), lines))
	if err != nil {
		return 0, err
	}
	grown = int64(len(spans)) - b.stored
	b.settle(keys, spans, lines, entry)
	return grown, nil
}

// contents are the directory entries of the items' contents.
func (b *bucket) contents(keys []itemKey) []*snapshot.DirEntry {
	entries := make([]*snapshot.DirEntry, 0, len(keys)+1)
	for _, key := range keys {
		if rec := b.records[key]; rec.body != nil {
			entries = append(entries, fileEntry(key.fileName(), rec.body.object, rec.body.size, timestamp(rec.item.Modified)))
		}
	}
	return entries
}

// newest is when the last of the items was modified: the same items give the same directory whenever it is written.
func (b *bucket) newest() (t fs.UTCTimestamp) {
	for _, rec := range b.records {
		t = max(t, timestamp(rec.item.Modified))
	}
	return t
}

// encoded is the record's line: as it is stored when it has not changed.
func (r *record) encoded(raw []byte, key itemKey) ([]byte, error) {
	if r.stored != nil {
		return raw[r.stored.at:][:r.stored.length], nil
	}
	b, err := encodeJSON(r.line(key))
	if err != nil {
		return nil, misused("a record cannot be written: %v", err)
	}
	return b, nil
}

// settle takes over what was written: the metadata of the items is in the repository now and leaves the memory.
func (b *bucket) settle(keys []itemKey, spans []span, lines, entry *snapshot.DirEntry) {
	for i, key := range keys {
		rec := b.records[key]
		rec.item.Meta, rec.stored = nil, &spans[i]
	}
	b.lines, b.entry, b.stored = lines, entry, int64(len(spans))
}

// split spreads the bucket's records over sixteen, by the digit at a depth. They are whole in memory until they are written.
func (b *bucket) split(ctx context.Context, r repo.Repository, depth int) ([fanOut]*bucket, error) {
	var parts [fanOut]*bucket
	if err := b.load(ctx, r); err != nil {
		return parts, err
	}
	raw, err := b.storedLines(ctx, r)
	if err != nil {
		return parts, err
	}
	for key, rec := range b.records {
		item, err := rec.whole(raw)
		if err != nil {
			return parts, err
		}
		d := key.digit(depth)
		if parts[d] == nil {
			parts[d] = &bucket{records: map[itemKey]*record{}}
		}
		parts[d].records[key] = &record{item: item, body: rec.body}
	}
	return parts, nil
}

// timestamp is t for kopia, which counts nanoseconds since 1970 in 64 bits: what lies outside of 1678 to 2262 becomes 0.
func timestamp(t time.Time) fs.UTCTimestamp {
	if y := t.Year(); y < 1678 || y > 2261 {
		return 0
	}
	return fs.UTCTimestamp(t.UnixNano())
}
