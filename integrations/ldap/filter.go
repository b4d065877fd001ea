package ldap

import (
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// filterAttributes are the attributes that a filter looks at.
func filterAttributes(filter string) []string {
	var names []string
	eachAssertion(filter, func(name, _ string) { names = append(names, name) })
	return names
}

// filterGroups are the groups that a filter asks membership of. Membership does not show as a change of the member.
func filterGroups(filter string) []string {
	var groups []string
	eachAssertion(filter, func(name, value string) {
		if _, err := ldap.ParseDN(value); err == nil && value != "" && (strings.EqualFold(name, "memberOf") || strings.EqualFold(name, "isMemberOf")) {
			groups = append(groups, value)
		}
	})
	return groups
}

func eachAssertion(filter string, visit func(name, value string)) {
	p, err := ldap.CompileFilter(filter)
	if err == nil {
		walkFilter(p, visit)
	}
}

func walkFilter(p *ber.Packet, visit func(name, value string)) {
	switch p.Tag {
	case ldap.FilterAnd, ldap.FilterOr, ldap.FilterNot:
		for _, c := range p.Children {
			walkFilter(c, visit)
		}
	case ldap.FilterPresent:
		visit(p.Data.String(), "")
	case ldap.FilterExtensibleMatch:
		var name, value string
		for _, c := range p.Children {
			switch c.Tag {
			case ldap.MatchingRuleAssertionType:
				name = c.Data.String()
			case ldap.MatchingRuleAssertionMatchValue:
				value = c.Data.String()
			}
		}
		visit(name, value)
	default:
		if len(p.Children) > 0 {
			value := ""
			if p.Tag == ldap.FilterEqualityMatch {
				value = p.Children[1].Data.String()
			}
			visit(p.Children[0].Data.String(), value)
		}
	}
}
