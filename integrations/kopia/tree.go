package kopia

import (
	"context"

	"github.com/kopia/kopia/fs"
	"github.com/kopia/kopia/repo"
	"github.com/kopia/kopia/repo/object"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// tree is a snapshot's root as it was read: everything but the items.
type tree struct {
	state  backup.SnapshotState
	layout layout
	items  *snapshot.DirEntry
}

// openTree reads a snapshot's root directory and its two small files.
func openTree(ctx context.Context, r repo.Repository, h head) (tree, error) {
	var t tree
	entries, err := loadDirectory(ctx, r, h.entry())
	if err != nil {
		return t, err
	}
	for _, name := range []string{stateName, layoutName, itemsName} {
		if entries[name] == nil {
			return t, damaged("it has no %s", name)
		}
	}
	b, err := loadObject(ctx, r, entries[stateName], maxStateBytes)
	if err != nil {
		return t, err
	}
	if t.state, err = decodeState(b); err != nil {
		return t, err
	}
	if b, err = loadObject(ctx, r, entries[layoutName], maxStateBytes); err != nil {
		return t, err
	}
	if t.layout, err = decodeLayout(b); err != nil {
		return t, err
	}
	if t.state.Counts.Items != t.layout.Items {
		return t, damaged("%s says %d items and %s %d", stateName, t.state.Counts.Items, layoutName, t.layout.Items)
	}
	t.items = entries[itemsName]
	return t, nil
}

func fileEntry(name string, id object.ID, size int64, modified fs.UTCTimestamp) *snapshot.DirEntry {
	return &snapshot.DirEntry{Name: name, Type: snapshot.EntryTypeFile, Permissions: 0o600, FileSize: size, ModTime: modified, ObjectID: id}
}
