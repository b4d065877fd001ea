package ldap

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
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

// membership says who belongs, directly or through groups inside of groups, to the groups that matter: those that limit the people, those
// that profile rules name, and those that the filter asks for. For a person it holds 16 bytes and a number, however many groups there are.
type membership struct {
	groups []relevantGroup
	limits bool // LDAPConfig.Groups is set: only their members are selected
	sets   map[dnKey]uint32
	nodes  []groupSet // nodes[0] is the empty set
	next   map[groupSet]uint32
}

// relevantGroup is a group as it is written in the tenant's file.
type relevantGroup struct {
	name   string
	limits bool
	named  bool // DirectoryEntry.Groups tells it
	digest string
}

// groupSet is a set of groups as a path: those of before, and one more.
type groupSet struct {
	before uint32
	group  int
}

func newMembership(groups []relevantGroup) *membership {
	m := &membership{groups: groups, sets: map[dnKey]uint32{}, nodes: []groupSet{{}}, next: map[groupSet]uint32{}}
	m.limits = slices.ContainsFunc(groups, func(g relevantGroup) bool { return g.limits })
	return m
}

// add puts an entry into a group; the groups are filled one after the other, each entry once for each.
func (m *membership) add(key dnKey, group int) {
	set := groupSet{m.sets[key], group}
	node, known := m.next[set]
	if !known {
		node = uint32(len(m.nodes)) // bounded by maxMembers
		m.nodes, m.next[set] = append(m.nodes, set), node
	}
	m.sets[key] = node
}

// each calls visit with the groups of an entry.
func (m *membership) each(dn string, visit func(relevantGroup)) {
	for node := m.sets[keyOf(dn)]; node != 0; node = m.nodes[node].before {
		visit(m.groups[m.nodes[node].group])
	}
}

// has tells whether somebody is selected; without a limit everybody is.
func (m *membership) has(dn string) bool {
	found := !m.limits
	if !found {
		m.each(dn, func(g relevantGroup) { found = found || g.limits })
	}
	return found
}

// named are the groups of the tenant's file that somebody is in, as they are written there, sorted.
func (m *membership) named(dn string) (names []string) {
	if len(m.sets) == 0 {
		return nil
	}
	m.each(dn, func(g relevantGroup) {
		if g.named {
			names = append(names, g.name)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

func (m *membership) digests() (digests []groupDigest) {
	for _, g := range m.groups {
		digests = append(digests, groupDigest{g.name, g.digest})
	}
	return digests
}

// relevantGroups are the groups that matter. Of those that the rules and the filter name, what cannot be in this directory is left out: a
// rule may be meant for another one.
func (d *Directory) relevantGroups() (groups []relevantGroup) {
	for _, g := range d.settings.Groups {
		groups = append(groups, relevantGroup{name: g, limits: true, named: true})
	}
	for _, g := range d.settings.ruleGroups {
		dn, err := ldap.ParseDN(g)
		if err == nil && len(dn.RDNs) > 0 && d.contextOf(g) != "" && !slices.Contains(d.settings.Groups, g) {
			groups = append(groups, relevantGroup{name: g, named: true})
		}
	}
	for _, g := range filterGroups(d.settings.Filter) {
		groups = append(groups, relevantGroup{name: g})
	}
	return groups
}

// membership reads the groups that matter and those inside them. In each walk a group is read once: groups may contain each other in a
// circle. Active Directory's matching rule in chain is not used: it walks over all people, and was slower than this walk.
func (d *Directory) membership(ctx context.Context) (*membership, error) {
	m := newMembership(d.relevantGroups())
	if len(m.groups) == 0 {
		return m, nil
	}
	nested, err := d.nesting(ctx, m.groups)
	if err != nil {
		return nil, err
	}
	for i := range m.groups {
		w := walk{d: d, nested: nested, members: map[dnKey]struct{}{}, visited: map[dnKey]bool{}}
		if err := w.run(ctx, m.groups[i].name); err != nil {
			return nil, err
		}
		for key := range w.members {
			if m.add(key, i); len(m.sets) > maxMembers {
				return nil, badConfig(fmt.Sprintf("the groups have more than %d members", maxMembers), "use directory.ldap.filter instead of groups")
			}
		}
		m.groups[i].digest = digestOf(w.members)
	}
	return m, nil
}

// walk goes through one group and those inside.
type walk struct {
	d       *Directory
	nested  map[dnKey]struct{}
	members map[dnKey]struct{}
	visited map[dnKey]bool
}

func (w *walk) run(ctx context.Context, top string) error {
	queue := []string{top}
	w.visited[keyOf(top)] = true
	take := func(member string) error {
		key := keyOf(member)
		if _, group := w.nested[key]; group && !w.visited[key] {
			w.visited[key] = true
			queue = append(queue, member)
		}
		if w.members[key] = struct{}{}; len(w.members) > maxMembers {
			return badConfig(fmt.Sprintf("the groups have more than %d members", maxMembers), "use directory.ldap.filter instead of groups")
		}
		return nil
	}
	for len(queue) > 0 {
		dn := queue[0]
		queue = queue[1:]
		if err := w.d.eachMember(ctx, dn, take); err != nil {
			return w.d.settings.groupError(dn, err)
		}
		if err := w.d.eachPrimary(ctx, dn, take); err != nil {
			return w.d.settings.groupError(dn, err)
		}
	}
	return nil
}

// eachPrimary finds those of whom the group is the primary one: Active Directory does not list them among its members.
func (d *Directory) eachPrimary(ctx context.Context, group string, visit func(string) error) error {
	if d.kind != kindAD {
		return nil
	}
	e, err := d.readEntry(ctx, group, "objectSid")
	if ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject) { // deleted since its members were read; a primary group of anybody cannot be
		return nil
	}
	if err != nil {
		return err
	}
	sid := e.GetEqualFoldRawAttributeValue("objectSid")
	if len(sid) < 12 || d.contextOf(group) == "" { // a group of a distribution list in another form has none
		return nil
	}
	filter := fmt.Sprintf("(primaryGroupID=%d)", binary.LittleEndian.Uint32(sid[len(sid)-4:])) // [MS-DTYP] 2.4.2.2: the RID is the last part
	return d.look(ctx, d.contextOf(group), filter, []string{noAttributes}, nil, func(e *ldap.Entry) error { return visit(e.DN) })
}

func digestOf(members map[dnKey]struct{}) string {
	keys := slices.SortedFunc(maps.Keys(members), func(a, b dnKey) int { return bytes.Compare(a[:], b[:]) })
	sum := sha256.New()
	for _, k := range keys {
		sum.Write(k[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// nesting collects every group of the naming contexts in which those that matter are, so that a member that is a group can be told from a
// person without asking for each.
func (d *Directory) nesting(ctx context.Context, relevant []relevantGroup) (map[dnKey]struct{}, error) {
	groups := map[dnKey]struct{}{}
	for _, base := range d.groupBases(relevant) {
		err := d.look(ctx, base, groupFilter, []string{noAttributes}, nil, func(e *ldap.Entry) error {
			if groups[keyOf(e.DN)] = struct{}{}; len(groups) > maxGroups {
				return badConfig(fmt.Sprintf("the directory has more than %d groups", maxGroups), "use directory.ldap.filter instead of groups")
			}
			return nil
		})
		if err != nil {
			return nil, d.settings.classify(err)
		}
	}
	return groups, nil
}

// groupBases are the naming contexts of the groups; a group outside of all that are known is looked for under baseDN.
func (d *Directory) groupBases(groups []relevantGroup) []string {
	var bases []string
	for _, g := range groups {
		if base := cmp.Or(d.contextOf(g.name), d.settings.BaseDN); !slices.Contains(bases, base) {
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
