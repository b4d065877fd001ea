package kopia

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/kopia/kopia/repo/compression"
	"github.com/kopia/kopia/snapshot"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// layoutVersion is what is written, and the newest that is read.
const layoutVersion = 1

// Names in a snapshot's tree; docs/snapshot-layout.md describes it.
const (
	stateName   = "state.json"
	layoutName  = "layout.json"
	itemsName   = "items"
	recordsName = "records.jsonl"
)

// Tags on a snapshot's manifest, in the form that kopia's own program uses. They are looked at without reading the tree.
const (
	kindTag        = "tag:holdfast"
	kindComplete   = "complete"
	kindCheckpoint = "checkpoint"
	runTag         = "tag:run"
	rootTag        = "tag:root" // the root directory's object
)

// sourceUser is the user of every snapshot source and of every client; one fixed name, so that maintenance has one owner.
const sourceUser = "holdfast"

// zstdFastest compresses contents as well as metadata: a third of the bytes at half a processor's speed limit.
const zstdFastest compression.Name = "zstd-fastest"

// metadataPrefix makes kopia keep records and states in its metadata packs, away from contents.
const metadataPrefix = "r"

// Limits of what is read back. They are far above what is written, and keep a damaged repository from filling the memory.
const (
	maxStateBytes    = 64 << 20
	maxLineBytes     = 8 << 20
	maxMetaBytes     = 4 << 20
	maxIDBytes       = 4 << 10
	maxRecordsBytes  = 1 << 30
	maxManifestBytes = 256 << 20
)

const (
	// bucketItems is how many items a bucket may hold on average before all buckets are split in sixteen.
	bucketItems = 512
	maxLevel    = 3
	fanOut      = 16
)

// levelFor is how many hex digits of an item's hash name its bucket when there are so many items. Levels only grow.
func levelFor(items int64, current, perBucket int) int {
	level := current
	for limit := int64(perBucket) << (4 * level); level < maxLevel && items > limit; limit <<= 4 {
		level++
	}
	return level
}

// itemKey places an item in the tree: its first hex digits are the bucket, all of them the name of its content.
type itemKey [sha256.Size]byte

func keyOf(id string) itemKey { return sha256.Sum256([]byte(id)) }

func (k itemKey) fileName() string { return hex.EncodeToString(k[:]) }

// digit is the hex digit at a depth of the tree, from 0.
func (k itemKey) digit(depth int) int {
	if depth%2 == 0 {
		return int(k[depth/2] >> 4)
	}
	return int(k[depth/2] & 15)
}

func digitName(d int) string { return "0123456789abcdef"[d : d+1] }

// layout is layout.json: what one must know to find an item.
type layout struct {
	Layout int   `json:"layout"`
	Level  int   `json:"level"`
	Items  int64 `json:"items"`
}

func decodeLayout(b []byte) (layout, error) {
	var l layout
	if err := json.Unmarshal(b, &l); err != nil {
		return l, damaged("%s is not readable: %v", layoutName, err)
	}
	if l.Layout != layoutVersion {
		return l, unknownLayout(l.Layout)
	}
	if l.Level < 0 || l.Level > maxLevel || l.Items < 0 {
		return l, damaged("%s says level %d and %d items", layoutName, l.Level, l.Items)
	}
	return l, nil
}

func decodeState(b []byte) (backup.SnapshotState, error) {
	var s backup.SnapshotState
	if err := json.Unmarshal(b, &s); err != nil {
		return s, damaged("%s is not readable: %v", stateName, err)
	}
	switch {
	case s.Layout != layoutVersion:
		return s, unknownLayout(s.Layout)
	case s.Tenant == "" || s.Account == "" || s.App == "" || s.Service == "":
		return s, damaged("%s does not say whose it is", stateName)
	case s.Counts.Items < 0:
		return s, damaged("%s says %d items", stateName, s.Counts.Items)
	}
	return s, nil
}

func unknownLayout(version int) error {
	return &backup.Error{Code: backup.CodeRepository, Fault: backup.FaultOurs,
		Message: fmt.Sprintf("the snapshot has layout %d, and this program knows layout %d", version, layoutVersion),
		Hint:    "use the release of Holdfast that wrote it, or a newer one"}
}

// sourceOf is the kopia source of one service of one account.
func sourceOf(tenant, account string, app backup.App, service backup.Service) snapshot.SourceInfo {
	return snapshot.SourceInfo{UserName: sourceUser, Host: tenant, Path: fmt.Sprintf("/%s/%s/%s", app, account, service)}
}

// limited reads at most limit bytes and fails when there are more.
func limited(r io.Reader, limit int64, name string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, damaged("%s is longer than %d bytes", name, limit)
	}
	return b, err
}
