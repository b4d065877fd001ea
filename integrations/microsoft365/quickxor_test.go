package microsoft365

import (
	"encoding/base64"
	"math/rand/v2"
	"testing"
)

// bitwise is the definition of the hash, read off Microsoft's description: one byte at a time onto a ring of 160 bits.
func bitwise(content []byte) string {
	var ring [20]byte
	for i, b := range content {
		for bit := range 8 {
			if b>>bit&1 == 1 {
				at := (i*11 + bit) % 160
				ring[at/8] ^= 1 << (at % 8)
			}
		}
	}
	length := uint64(len(content))
	for i := range 8 {
		ring[12+i] ^= byte(length >> (8 * i))
	}
	return "quickxor:" + base64.StdEncoding.EncodeToString(ring[:])
}

// Vectors that Microsoft's own implementation gives.
func TestQuickXorKnownContents(t *testing.T) {
	for content, want := range map[string]string{
		"":     "AAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"Sg==": "SgAAAAAAAAAAAAAAAQAAAAAAAAA=",
		"tbQ=": "taAFAAAAAAAAAAAAAgAAAAAAAAA=",
		"0pZP": "0rDEEwAAAAAAAAAAAwAAAAAAAAA=",
	} {
		raw, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			t.Fatal(err)
		}
		var h quickXor
		h.Write(raw)
		if got := h.sum(); got != "quickxor:"+want {
			t.Errorf("%q: %s, want %s", content, got, want)
		}
	}
}

func TestQuickXorInAnyPieces(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		content := make([]byte, r.IntN(2000))
		for i := range content {
			content[i] = byte(r.Uint32())
		}
		var h quickXor
		for rest := content; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			h.Write(rest[:n])
			rest = rest[n:]
		}
		if got, want := h.sum(), bitwise(content); got != want {
			t.Fatalf("%d bytes: %s, want %s", len(content), got, want)
		}
	}
}

func BenchmarkQuickXor(b *testing.B) {
	block := make([]byte, 64<<10)
	var h quickXor
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		h.Write(block)
	}
}
