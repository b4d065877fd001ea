package ledger

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is as much of a Merkle tree as it takes to append to it: its size, and the roots of the complete subtrees that its leaves fall
// into, largest first: one for each bit that is set in size, so 14 for 10,000 receipts.
type tree struct {
	size  int64
	edges []tlog.Hash
}

var errNoTree = errors.New("the end of the log of receipts is damaged")

// add appends a leaf.
func (t *tree) add(leaf tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(t.size, leaf, t)
	if err != nil {
		return err
	}
	// The leaf completes as many subtrees as size has trailing ones; the last hash is the root of the largest.
	completed := len(hashes) - 1
	t.edges = append(t.edges[:len(t.edges)-completed], hashes[completed])
	t.size++
	return nil
}

func (t *tree) root() (tlog.Hash, error) { return tlog.TreeHash(t.size, t) }

// ReadHashes satisfies tlog.HashReader for those hashes that appending and the root take.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		// The edge of this level stands behind those of the higher bits of size.
		at := bits.OnesCount64(uint64(t.size) >> (level + 1))
		if t.size>>level&1 == 0 || n != t.size>>level-1 || at >= len(t.edges) {
			return nil, errNoTree
		}
		hashes[i] = t.edges[at]
	}
	return hashes, nil
}

// bytes is the tree as the store keeps it: the size as 8 bytes, most significant first, and the edges.
func (t *tree) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(t.edges)*tlog.HashSize), uint64(t.size))
	for _, edge := range t.edges {
		b = append(b, edge[:]...)
	}
	return b
}

// parseTree reads what bytes wrote; nothing is the empty tree.
func parseTree(b []byte) (*tree, error) {
	if len(b) == 0 {
		return &tree{}, nil
	}
	if len(b) < 8 {
		return nil, errNoTree
	}
	t := &tree{size: int64(binary.BigEndian.Uint64(b))}
	b = b[8:]
	if t.size < 0 || len(b) != bits.OnesCount64(uint64(t.size))*tlog.HashSize {
		return nil, errNoTree
	}
	for ; len(b) > 0; b = b[tlog.HashSize:] {
		t.edges = append(t.edges, tlog.Hash(b[:tlog.HashSize]))
	}
	return t, nil
}
