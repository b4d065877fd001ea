package ldap

import (
	"bytes"
	"iter"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// maxAttributes is how many attributes of one entry are read; nobody asks for that many.
const maxAttributes = 4096

// record is an entry as the wire has it, or as go-ldap has it: either way its bytes are somebody else's, and good for as long as those are.
// It is used again for the next entry.
type record struct {
	dn         []byte
	attributes []attribute
	chosen     []int // by the reader's slots: the attribute's place and 1, 0 for none
}

// attribute has its values in one of two forms.
type attribute struct {
	name   []byte   // an attribute description, options included
	set    []byte   // elements, looked over by fill
	values [][]byte // from go-ldap
}

// all gives the values in the directory's order.
func (a *attribute) all() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, v := range a.values {
			if !yield(v) {
				return
			}
		}
		for rest := a.set; len(rest) > 0; {
			var v []byte
			if _, v, rest, _ = cut(rest); !yield(v) {
				return
			}
		}
	}
}

func (a *attribute) empty() bool { return len(a.set) == 0 && len(a.values) == 0 }

// fill takes the body of a SearchResultEntry (RFC 4511, section 4.5.2).
func (r *record) fill(body []byte) (err error) {
	r.attributes = r.attributes[:0]
	var list []byte
	if r.dn, list, err = cutTag(body, tagOctetString); err != nil {
		return err
	}
	if list, _, err = cutTag(list, tagSequence); err != nil {
		return err
	}
	for len(list) > 0 {
		var one []byte
		if one, list, err = cutTag(list, tagSequence); err != nil {
			return err
		}
		a, err := parseAttribute(one)
		if err != nil {
			return err
		}
		if len(r.attributes) == maxAttributes {
			return errMalformed
		}
		r.attributes = append(r.attributes, a)
	}
	return nil
}

func parseAttribute(b []byte) (a attribute, err error) {
	if a.name, b, err = cutTag(b, tagOctetString); err != nil {
		return a, err
	}
	if a.set, _, err = cutTag(b, tagSet); err != nil {
		return a, err
	}
	for rest := a.set; len(rest) > 0; {
		if _, rest, err = cutTag(rest, tagOctetString); err != nil {
			return a, err
		}
	}
	return a, nil
}

// take is fill for an entry of go-ldap's.
func (r *record) take(e *ldap.Entry) {
	r.dn, r.attributes = []byte(e.DN), r.attributes[:0]
	for _, a := range e.Attributes {
		r.attributes = append(r.attributes, attribute{name: []byte(a.Name), values: a.ByteValues})
	}
}

// entry makes go-ldap's form of a record; it shares nothing with it.
func (r *record) entry() *ldap.Entry {
	e := &ldap.Entry{DN: string(r.dn)}
	for i := range r.attributes {
		a := &ldap.EntryAttribute{Name: string(r.attributes[i].name)}
		for v := range r.attributes[i].all() {
			a.Values = append(a.Values, string(v))
			a.ByteValues = append(a.ByteValues, bytes.Clone(v))
		}
		e.Attributes = append(e.Attributes, a)
	}
	return e
}

// choose finds for each slot the attribute that counts: of "cn", "cn;lang-de" and "cn;range=0-1499" the bare one if it has a value, then a
// part of one that is too long for one answer, then the first with other options (RFC 3866, [MS-ADTS] 3.1.1.3.1.3.3).
func (r *record) choose(slots map[string]int, count int) {
	r.chosen = append(r.chosen[:0], make([]int, count)...)
	for i := range r.attributes {
		a := &r.attributes[i]
		base, options, _ := bytes.Cut(a.name, []byte(";"))
		slot, wanted := slots[string(base)]
		if !wanted {
			if slot, wanted = slots[strings.ToLower(string(base))]; !wanted {
				continue
			}
		}
		if a.empty() {
			continue
		}
		if before := r.chosen[slot]; before == 0 || rank(options) < r.attributes[before-1].rank() {
			r.chosen[slot] = i + 1
		}
	}
}

func (a *attribute) rank() int {
	_, options, _ := bytes.Cut(a.name, []byte(";"))
	return rank(options)
}

func rank(options []byte) int {
	switch {
	case len(options) == 0:
		return 0
	case len(options) >= len(rangeOption) && strings.EqualFold(string(options[:len(rangeOption)]), rangeOption):
		return 1
	}
	return 2
}

const rangeOption = "range="

// nextRange tells where the values go on that did not fit into this answer: of "range=0-1499" that is 1500; 0 when these are all.
func (a *attribute) nextRange() int {
	_, options, _ := bytes.Cut(a.name, []byte(";"))
	if rank(options) != 1 {
		return 0
	}
	_, last, _ := strings.Cut(string(options), "-")
	n, err := strconv.ParseUint(last, 10, 31)
	if err != nil { // "*"
		return 0
	}
	return int(n) + 1
}
