package content

import (
	"math/rand/v2"
	"strings"
	"sync"
)

// frequent are the words that make up half of all text, as in real language.
var frequent = strings.Fields(`the of and to in a is that for it we you on with as this be will at are have from by not
please meeting report team project thanks update customer contract invoice week review budget plan today draft change
question attached office number order delivery version schedule people price date call next can our your all was has`)

var syllables = strings.Fields(`an ber chi der es fur ge hal in jo ka lo mi no or pre qua re sch te un ver wa xi yo zu ent ion ment ing tra vol`)

// vocabularySize is the number of different words; drawTable the number of equally likely entries a word is drawn from.
const (
	vocabularySize = 6000
	drawTable      = 1 << 14
)

// draw is the vocabulary laid out so that drawing an entry at random follows Zipf's law: drawing is one array access,
// which keeps making mail about as fast as hashing it.
var draw = sync.OnceValue(func() []string {
	r := rand.New(rand.NewPCG(0x776f7264, 0x73))
	vocabulary := append([]string(nil), frequent...)
	for len(vocabulary) < vocabularySize {
		var w strings.Builder
		for range 1 + r.IntN(4) {
			w.WriteString(syllables[r.IntN(len(syllables))])
		}
		vocabulary = append(vocabulary, w.String())
	}
	z := rand.NewZipf(r, 1.1, 3, vocabularySize-1)
	table := make([]string, drawTable)
	for i := range table {
		table[i] = vocabulary[z.Uint64()]
	}
	return table
})

// lineWidth is where prose wraps; RFC 5322 section 2.1.1 wants at most 78 characters.
const lineWidth = 66

// appendProse appends n bytes or slightly more of sentences, ending lines with eol.
func appendProse(b []byte, r *rand.Rand, n int, eol string) []byte {
	table := draw()
	column := 0
	for end := len(b) + n; len(b) < end; {
		x := r.Uint64()
		w := table[x%drawTable]
		b = append(b, w...)
		column += len(w) + 1
		switch {
		case x>>32%97 == 0:
			b = append(b, '.')
			b = append(b, eol...)
			b = append(b, eol...)
			column = 0
		case column > lineWidth:
			b = append(b, eol...)
			column = 0
		case x>>40%11 == 0:
			b = append(b, ". "...)
			column++
		default:
			b = append(b, ' ')
		}
	}
	return b
}

// phrase gives n words.
func phrase(r *rand.Rand, n int) string {
	table := draw()
	words := make([]string, n)
	for i := range words {
		words[i] = table[r.IntN(drawTable)]
	}
	return strings.Join(words, " ")
}

// appendNoise appends n bytes without any pattern, like compressed media.
func appendNoise(b []byte, r *rand.Rand, n int) []byte {
	for ; n >= 8; n -= 8 {
		x := r.Uint64()
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40), byte(x>>48), byte(x>>56))
	}
	for x := r.Uint64(); n > 0; n-- {
		b = append(b, byte(x))
		x >>= 8
	}
	return b
}
