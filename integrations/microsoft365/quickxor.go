package microsoft365

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
)

const (
	// quickXorBits is the width of the hash, quickXorShift by how many bits each byte of the content lies further left.
	quickXorBits  = 160
	quickXorShift = 11
)

// quickXor is the content hash of OneDrive for Business and SharePoint: every byte is XORed into a ring of 160 bits, each 11 bits
// further than the one before, and the length is XORed into the last eight bytes. It detects transmission faults and nothing
// more (https://learn.microsoft.com/onedrive/developer/code-snippets/quickxorhash). The zero value is ready.
//
// Bytes that are 160 apart fall on the same bits (11 and 160 have no common divisor), so they are XORed with each other first, and the ring is
// only turned once, at the end.
type quickXor struct {
	lanes  [quickXorBits]byte
	length uint64
}

// Write never fails.
func (h *quickXor) Write(p []byte) (int, error) {
	n := len(p)
	for at := int(h.length % quickXorBits); len(p) > 0; at = 0 {
		lane := h.lanes[at:]
		lane = lane[:subtle.XORBytes(lane, lane, p)]
		p = p[len(lane):]
	}
	h.length += uint64(n)
	return n, nil
}

// sum is the hash so far in the form of backup.Item: "quickxor:" and base64.
func (h *quickXor) sum() string {
	var ring [quickXorBits / 8]byte
	for i, b := range h.lanes {
		bit := i * quickXorShift % quickXorBits
		low := uint16(b) << (bit % 8)
		ring[bit/8] ^= byte(low)
		ring[(bit/8+1)%len(ring)] ^= byte(low >> 8)
	}
	tail := ring[len(ring)-8:]
	binary.LittleEndian.PutUint64(tail, binary.LittleEndian.Uint64(tail)^h.length)
	return quickXorPrefix + base64.StdEncoding.EncodeToString(ring[:])
}

const quickXorPrefix = "quickxor:"
