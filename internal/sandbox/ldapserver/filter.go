package ldapserver

import (
	"errors"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
)

// Tags of a filter (RFC 4511, section 4.5.1.7).
const (
	filterAnd      = 0
	filterOr       = 1
	filterNot      = 2
	filterEquality = 3
	filterPresent  = 7
)

var errFilter = errors.New("the sandbox directory does not understand this filter")

// matches evaluates a filter. Values are compared without regard to case; that is right for all of the sandbox's attributes.
func matches(e Entry, f *ber.Packet) (bool, error) {
	switch f.Tag {
	case filterAnd, filterOr:
		for _, part := range f.Children {
			ok, err := matches(e, part)
			if err != nil || ok == (f.Tag == filterOr) {
				return ok, err
			}
		}
		return f.Tag == filterAnd, nil
	case filterNot:
		if len(f.Children) != 1 {
			return false, errFilter
		}
		ok, err := matches(e, f.Children[0])
		return !ok && err == nil, err
	case filterEquality:
		if len(f.Children) != 2 {
			return false, errFilter
		}
		return hasValue(e, octets(f.Children[0]), octets(f.Children[1])), nil
	case filterPresent:
		return has(e, octets(f)), nil
	}
	return false, errFilter
}

func has(e Entry, name string) bool {
	for _, a := range e.Attributes {
		if strings.EqualFold(a.Name, name) {
			return true
		}
	}
	return false
}

func hasValue(e Entry, name, value string) bool {
	for _, a := range e.Attributes {
		if !strings.EqualFold(a.Name, name) {
			continue
		}
		for _, v := range a.Values {
			if strings.EqualFold(v, value) || a.Name == "member" && sameDN(v, value) {
				return true
			}
		}
	}
	return false
}

// normalDN makes DNs of the sandbox comparable: none of them holds an escaped comma.
func normalDN(dn string) string {
	parts := strings.Split(strings.ToLower(dn), ",")
	for i, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		parts[i] = strings.TrimSpace(name) + "=" + strings.TrimSpace(value)
	}
	return strings.Join(parts, ",")
}

func sameDN(a, b string) bool { return normalDN(a) == normalDN(b) }

// depthBelow tells whether dn is base or below it, and how many steps. base is normal already.
func depthBelow(dn, base string) (int, bool) {
	dn = normalDN(dn)
	if dn == base {
		return 0, true
	}
	above, ok := strings.CutSuffix(dn, ","+base)
	return strings.Count(above, ",") + 1, ok
}
