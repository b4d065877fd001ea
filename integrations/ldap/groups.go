package ldap

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	maxMembers = 2_000_000 // of all groups together
	maxGroups  = 500_000   // in the directory
	// groupFilter finds what may be nested; "group" is Active Directory's.
	groupFilter = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=group))"
)

// membership is the set of those who belong to the configured groups, directly or through groups inside of groups.
// Active Directory's primary group is not part of it: no group lists those who have it as their primary one.
type membership struct{ keys map[dnKey]struct{} }

// has tells whether somebody belongs; a nil membership is everybody.
func (m *membership) has(dn string) bool {
	if m == nil {
		return true
	}
	_, ok := m.keys[keyOf(dn)]
	return ok
}

// membership reads the configured groups and those inside them, each once: groups may contain each other in a circle.
// nil means that no groups are configured.
func (d *Directory) membership(ctx context.Context) (*membership, error) {
	if len(d.settings.Groups) == 0 {
		return nil, nil
	}
	groups, err := d.allGroups(ctx)
	if err != nil {
		return nil, err
	}
	m := &membership{keys: map[dnKey]struct{}{}}
	queue := slices.Clone(d.settings.Groups)
	for _, dn := range queue {
		delete(groups, keyOf(dn))
	}
	for len(queue) > 0 {
		dn := queue[0]
		queue = queue[1:]
		err := d.eachMember(ctx, dn, func(member string) error {
			key := keyOf(member)
			if _, nested := groups[key]; nested {
				delete(groups, key) // from now on it is read or waits to be
				queue = append(queue, member)
			}
			if m.keys[key] = struct{}{}; len(m.keys) > maxMembers {
				return badConfig(fmt.Sprintf("the groups have more than %d members", maxMembers), "use directory.ldap.filter instead of groups")
			}
			return nil
		})
		if err != nil {
			return nil, d.settings.groupError(dn, err)
		}
	}
	return m, nil
}

// allGroups collects every group of the naming contexts in which the configured ones are, so that a member that is a group can
// be told from a person without asking for each.
func (d *Directory) allGroups(ctx context.Context) (map[dnKey]struct{}, error) {
	groups := map[dnKey]struct{}{}
	for _, base := range d.groupBases() {
		request := ldap.NewSearchRequest(base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, groupFilter, []string{noAttributes}, nil)
		err := d.eachPage(ctx, request, func(e *ldap.Entry) { groups[keyOf(e.DN)] = struct{}{} }, func() error {
			if len(groups) > maxGroups {
				return badConfig(fmt.Sprintf("the directory has more than %d groups", maxGroups), "use directory.ldap.filter instead of groups")
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// groupBases are the naming contexts of the configured groups; a group outside of all that are known is looked for under baseDN.
func (d *Directory) groupBases() []string {
	var bases []string
	for _, group := range d.settings.Groups {
		base := d.settings.BaseDN
		for _, c := range d.namingContexts {
			if c != "" && strings.HasSuffix(canonicalDN(group), ","+canonicalDN(c)) {
				base = c
			}
		}
		if !slices.Contains(bases, base) {
			bases = append(bases, base)
		}
	}
	return bases
}

// eachMember reads one group. Active Directory gives many members in ranges, each of which must be asked for
// ([MS-ADTS] 3.1.1.3.1.3.3).
func (d *Directory) eachMember(ctx context.Context, group string, visit func(string) error) error {
	want, from := "member", 0
	for {
		e, err := d.readEntry(ctx, group, want, "uniqueMember", "objectClass")
		if err != nil {
			return err
		}
		members, next := membersOf(e)
		if len(members) == 0 && mustHaveMembers(e) {
			return customer(backup.CodeMissingRole, "the members of "+excerpt(group)+" are not visible to "+d.settings.BindDN, "let the account read member")
		}
		for _, m := range members {
			if err := visit(m); err != nil {
				return err
			}
		}
		if next == 0 {
			return nil
		}
		if next <= from {
			return d.settings.classify(errEndless)
		}
		want, from = fmt.Sprintf("member;range=%d-*", next), next
	}
}

// mustHaveMembers tells whether the group's class requires a member (RFC 4519, sections 3.5 and 3.6): one without any hides them.
func mustHaveMembers(e *ldap.Entry) bool {
	return slices.ContainsFunc(e.GetEqualFoldAttributeValues("objectClass"), func(c string) bool {
		return strings.EqualFold(c, "groupOfNames") || strings.EqualFold(c, "groupOfUniqueNames")
	})
}

// membersOf returns the member DNs of a group's entry and where the next range begins, 0 when there is none.
func membersOf(e *ldap.Entry) (members []string, next int) {
	for _, a := range e.Attributes {
		switch last, ranged := parseRange(a.Name); {
		case strings.EqualFold(a.Name, "member"):
			members = append(members, a.Values...)
		case ranged:
			members, next = append(members, a.Values...), last+1
		case strings.EqualFold(a.Name, "uniqueMember"):
			for _, v := range a.Values {
				members = append(members, withoutUID(v))
			}
		}
	}
	return members, next
}

// parseRange reads "member;range=0-1499". last is the number of the last value it holds, -1 for "*": there are no more.
func parseRange(name string) (last int, ok bool) {
	const prefix = "member;range="
	if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return 0, false
	}
	low, high, found := strings.Cut(name[len(prefix):], "-")
	first, err := strconv.ParseUint(low, 10, 31)
	if !found || err != nil {
		return 0, false
	}
	if high == "*" {
		return -1, true
	}
	end, err := strconv.ParseUint(high, 10, 31)
	if err != nil || end < first {
		return 0, false
	}
	return int(end), true
}

// withoutUID drops the bit string that may follow a uniqueMember's DN: "cn=a,dc=b#'0101'B" (RFC 4517, section 3.3.21).
func withoutUID(name string) string {
	if dn, bits, found := strings.Cut(name, "#'"); found && strings.HasSuffix(bits, "'B") {
		return dn
	}
	return name
}
