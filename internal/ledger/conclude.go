package ledger

import (
	"cmp"
	"slices"
)

// conclude names what the rows show together.
func (v *verifier) conclude() Report {
	v.exchangedContents()
	v.exchangedRows()
	for _, d := range v.doubts {
		v.name(d)
	}
	v.gaps()
	v.movedRows()
	if len(v.report.Breaks) > 0 || v.report.More {
		v.report.Head = nil
	}
	v.report.Breaks = inOrder(v.report.Breaks)
	return v.report
}

// exchangedContents finds two receipts that bear each other's heads.
func (v *verifier) exchangedContents() {
	for i := range v.doubts {
		a := &v.doubts[i]
		for j := i + 1; a.head != nil && !a.paired && j < len(v.doubts); j++ {
			b := &v.doubts[j]
			if b.head != nil && !b.paired && a.head.belongsTo(b.receipt) && b.head.belongsTo(a.receipt) {
				a.paired, b.paired = true, true
				v.found(Break{Kind: Exchanged, From: a.from, To: a.from, Other: b.from})
			}
		}
	}
}

// exchangedRows finds shifted rows that have each other's places.
func (v *verifier) exchangedRows() {
	for i := 0; i < len(v.shifts); i++ {
		a := v.shifts[i]
		j := slices.IndexFunc(v.shifts, func(b shift) bool {
			return a.offset > 0 && b.offset == -a.offset && b.from == a.from+a.offset && b.to == a.to+a.offset
		})
		if j < 0 {
			continue
		}
		for n := a.from; n <= a.to; n++ {
			v.found(Break{Kind: Exchanged, From: n, To: n, Other: n + a.offset})
		}
		v.shifts = slices.Delete(slices.Delete(v.shifts, j, j+1), i, i+1)
		i--
	}
}

// name says what a doubt has come to.
func (v *verifier) name(d doubt) {
	b := Break{From: d.from, To: d.to}
	switch {
	case d.paired:
		return
	case v.there.has(d.from): // the receipt of that number is elsewhere
		b.Kind = Inserted
	case d.inPlace():
		b.Kind = Altered
	case d.identity != "":
		b.Kind, b.Identity = Stranger, d.identity
	case v.newest != nil && d.from > v.newest.Size: // there never was one
		b.Kind = Inserted
	case d.proof == confirmed:
		b.Kind = HeadAltered
	case d.proof == refuted:
		b.Kind = Altered
	default:
		b.Kind = Unsigned
	}
	v.found(b)
}

// gaps names the receipts that are nowhere.
func (v *verifier) gaps() {
	known := slices.Clone(v.there)
	for _, d := range v.doubts {
		known = append(known, span{d.from, d.to})
	}
	last := known.gaps(func(s span) { v.found(Break{Kind: Missing, From: s.from, To: s.to}) })
	longest := last
	for _, h := range []*Head{v.newest, v.seen} {
		if h != nil {
			longest = max(longest, h.Size)
		}
	}
	if longest > last {
		v.found(Break{Kind: Short, From: last + 1, To: longest})
	}
	if v.newest == nil && v.report.Receipts > 0 && !slices.ContainsFunc(v.report.Breaks, func(b Break) bool { return b.Kind == NewestHead }) {
		v.found(Break{Kind: NewestHead})
	}
}

// movedRows names rows that stand where they were not signed, unless others before them are missing or were put in, which moves all that
// follow.
func (v *verifier) movedRows() {
	for _, s := range v.shifts {
		var explained int64
		for _, b := range v.report.Breaks {
			switch {
			case b.Kind == Missing && b.To < s.from+s.offset:
				explained += b.To - b.From + 1
			case b.Kind == Inserted && b.To < s.from:
				explained -= b.To - b.From + 1
			}
		}
		if s.offset != explained {
			v.found(Break{Kind: Moved, From: s.from, To: s.to, Other: s.from + s.offset})
		}
	}
}

// inOrder sorts breaks by the receipts and joins what belongs together.
func inOrder(breaks []Break) []Break {
	slices.SortStableFunc(breaks, func(a, b Break) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	joined := breaks[:0]
	for _, b := range breaks {
		if i := len(joined) - 1; i >= 0 && joined[i].continuedBy(b) {
			joined[i].To = b.To
		} else {
			joined = append(joined, b)
		}
	}
	return joined
}
