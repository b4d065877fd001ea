package backup

import (
	"encoding/json"
	"time"
)

// ItemKind tells a container from content.
type ItemKind string

const (
	Folder  ItemKind = "folder"
	Message ItemKind = "message"
	File    ItemKind = "file"
)

// Item is one thing a service keeps: a mail folder, a message, a file. Its id is stable for the life of the account.
type Item struct {
	ID   string   `json:"id"`
	Kind ItemKind `json:"kind"`
	// Parent is the id of the containing folder; empty at the top.
	Parent string `json:"parent,omitempty"`
	// Name is the folder's or file's name, or the message's subject. Untrusted text.
	Name string `json:"name,omitempty"`
	// Version changes whenever the content does (mail: changeKey; drive: cTag).
	Version string `json:"version,omitempty"`
	// MetaVersion changes whenever anything does (eTag).
	MetaVersion string    `json:"metaVersion,omitempty"`
	Modified    time.Time `json:"modified,omitzero"`
	// Size is the content's length in bytes as the service states it, -1 when it does not.
	Size int64 `json:"size"`
	// Hash is the vendor's content hash as "quickxor:BASE64", empty when it gives none.
	Hash string `json:"hash,omitempty"`
	// Skip is set by the adapter when it is known beforehand that the content cannot be had.
	Skip SkipReason `json:"skip,omitempty"`
	// Meta is the vendor's JSON of the item, kept as it came.
	Meta json.RawMessage `json:"meta,omitempty"`
}

// HasContent tells whether there are bytes to fetch.
// A package (OneNote) is a Folder with SkipPackage: it has no content of its own, but items below it.
func (i Item) HasContent() bool { return i.Kind != Folder && i.Skip == "" }

// Change is one line of a service's change feed. Changes come in no order and may repeat: the last one of an id wins.
type Change struct {
	Item Item
	// Removed: the item left Item.Parent. Only ID and Parent are set. A removal from a folder that the item has
	// meanwhile left for another is not a removal of the item.
	Removed bool
}

// SnapshotState is committed inside every snapshot beside the data, so that the two cannot part.
type SnapshotState struct {
	Layout  int     `json:"layout"` // 1
	Tenant  string  `json:"tenant"`
	Account string  `json:"account"`
	App     App     `json:"app"`
	Service Service `json:"service"`
	// RunID is the workflow run that wrote it: a retried activity recognises its own commit.
	RunID string `json:"runID"`
	// Complete is false for a checkpoint, which resumes a first backup and is never restored unasked.
	Complete bool `json:"complete"`
	// Base is, in a checkpoint, the newest complete snapshot below it, which is restored as long as the checkpoint is the newest.
	Base string `json:"base,omitempty"`
	// Missing counts the items that are kept without the content that was asked for. The next run asks again: a change feed does not tell
	// of what did not change.
	Missing int64 `json:"missing,omitempty"`
	// Cursor is the service's delta token(s), opaque to everything but the adapter.
	Cursor json.RawMessage      `json:"cursor,omitempty"`
	Counts Counts               `json:"counts"`
	Skips  map[SkipReason]int64 `json:"skips,omitempty"`
	Taken  time.Time            `json:"taken"`
}

// SnapshotInfo is what is known of a committed snapshot without reading it.
type SnapshotInfo struct {
	ID      string        `json:"id"`
	Account string        `json:"account"`
	Service Service       `json:"service"`
	State   SnapshotState `json:"state"`
}

// RestoreCounts is what a restore wrote.
type RestoreCounts struct {
	Folders int64 `json:"folders"`
	Files   int64 `json:"files"`
	Bytes   int64 `json:"bytes"`
	// Kept counts files that stood there already with the same content.
	Kept int64 `json:"kept"`
	// Skipped counts items that are not restored, because their content could not be had when they were backed up.
	Skipped int64 `json:"skipped,omitempty"`
}

// SkipError says that an item's content cannot be had, for a reason of the closed set. It is an outcome, not a failure.
type SkipError struct {
	Reason SkipReason
	Detail string
}

func (e *SkipError) Error() string { return "skipped (" + string(e.Reason) + "): " + e.Detail }
