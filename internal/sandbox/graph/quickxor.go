package graph

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"io"
)

// quickXor computes OneDrive's quickXorHash (learn.microsoft.com/onedrive/developer/code-snippets/quickxorhash): byte i of the
// content is XORed into a 160-bit ring at bit 11·i, and the length into the last 64 bits.
//
// 11·i mod 160 repeats every 160 bytes, so whole stretches of 160 bytes are XORed onto each other first and
// turned into the ring only once, at the end.
type quickXor struct {
	lanes  [160]byte
	length uint64
}

func (q *quickXor) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		at := int(q.length % 160)
		n := min(len(p), 160-at)
		subtle.XORBytes(q.lanes[at:at+n], q.lanes[at:at+n], p[:n])
		q.length += uint64(n)
		p = p[n:]
	}
	return total, nil
}

// Sum is the hash of what was written, in base64.
func (q *quickXor) Sum() string {
	var ring [20]byte
	for i, b := range q.lanes {
		bit := 11 * i % 160
		wide := uint16(b) << (bit % 8)
		ring[bit/8] ^= byte(wide)
		ring[(bit/8+1)%20] ^= byte(wide >> 8)
	}
	var length [8]byte
	binary.LittleEndian.PutUint64(length[:], q.length)
	subtle.XORBytes(ring[12:], ring[12:], length[:])
	return base64.StdEncoding.EncodeToString(ring[:])
}

func quickXorOf(r io.Reader) (string, error) {
	var q quickXor
	_, err := io.Copy(&q, r)
	return q.Sum(), err
}
