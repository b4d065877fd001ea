package ledger

import (
	"cmp"
	"slices"
)

// maxSpans bounds what is remembered of which receipts are there; a log in more pieces than this is beyond naming each.
const maxSpans = 4 * MaxBreaks

// span is the numbers from..to.
type span struct{ from, to int64 }

// spans are numbers, in the order in which they were met.
type spans []span

// add takes a number and tells whether there was room.
func (s *spans) add(n int64) bool {
	if i := len(*s) - 1; i >= 0 && (*s)[i].to == n-1 {
		(*s)[i].to = n
		return true
	}
	if len(*s) == maxSpans {
		return false
	}
	*s = append(*s, span{n, n})
	return true
}

func (s spans) has(n int64) bool {
	return slices.ContainsFunc(s, func(p span) bool { return p.from <= n && n <= p.to })
}

// gaps calls yield for the numbers from 1 that are missing before the last one, and returns the last one.
func (s spans) gaps(yield func(span)) (last int64) {
	sorted := slices.Clone(s)
	slices.SortFunc(sorted, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for _, p := range sorted {
		if p.from > last+1 {
			yield(span{last + 1, p.from - 1})
		}
		last = max(last, p.to)
	}
	return last
}
