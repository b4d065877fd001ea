package graph

import (
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
)

// slowQuickXor follows the published description bit by bit.
func slowQuickXor(p []byte) string {
	var ring [160]byte // one bit each
	for i, b := range p {
		for bit := range 8 {
			ring[(11*i+bit)%160] ^= b >> bit & 1
		}
	}
	var sum [20]byte
	for i, bit := range ring {
		sum[i/8] |= bit << (i % 8)
	}
	length := binary.LittleEndian.AppendUint64(nil, uint64(len(p)))
	for i, b := range length {
		sum[12+i] ^= b
	}
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestQuickXor(t *testing.T) {
	known := map[string]string{ // worked out by hand: 0x4A at bit 0; 0xB5 at bit 0 and 0xB4 at bit 11; each with its length
		"":         "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"\x4a":     "SgAAAAAAAAAAAAAAAQAAAAAAAAA=",
		"\xb5\xb4": "taAFAAAAAAAAAAAAAgAAAAAAAAA=",
	}
	for in, want := range known {
		if got, err := quickXorOf(strings.NewReader(in)); err != nil || got != want {
			t.Errorf("%x: %s, %v; want %s", in, got, err, want)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{1, 7, 19, 20, 21, 159, 160, 161, 1000, 5000} {
		p := make([]byte, size)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		var q quickXor
		for rest := p; len(rest) > 0; { // in uneven pieces
			n := min(len(rest), 1+r.IntN(200))
			q.Write(rest[:n])
			rest = rest[n:]
		}
		if q.Sum() != slowQuickXor(p) {
			t.Errorf("%d bytes: %s, want %s", size, q.Sum(), slowQuickXor(p))
		}
	}
}
