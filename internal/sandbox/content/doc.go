// Package content makes mail and files out of a seed, so that a sandbox company of any size needs no disk and hardly any memory.
//
// A Key names a piece of content: the same Key gives the same bytes in every process and every release of this
// package's version. Mail is made whole when it is asked for (2 to 200 KB); files are made block by block and may be read from
// any offset. Nothing is kept. Words follow a Zipf-like distribution and edits leave most of a file as it was, because a
// backup's compression and de-duplication live off both.
package content

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// Key names a piece of content.
type Key struct {
	Seed uint64
	// ID tells pieces of one company apart, for example "anna@acme.example/mail/17".
	ID string
	// Version counts edits from 0.
	Version int
}

// stream gives the random numbers of one aspect of a piece. Aspects are independent: drawing more for one never changes another.
func (k Key) stream(aspect string, version int) *rand.Rand {
	h := sha256.New()
	var n [16]byte
	binary.LittleEndian.PutUint64(n[:8], k.Seed)
	binary.LittleEndian.PutUint64(n[8:], uint64(version))
	h.Write(n[:])
	h.Write([]byte(aspect + "\x00" + k.ID))
	sum := h.Sum(nil)
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])))
}
