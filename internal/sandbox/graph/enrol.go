package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Operations on the directory. User names a user by id or UPN.
const (
	OpAddUser  Operation = "user.add"  // Account
	OpEditUser Operation = "user.edit" // to Account, as a whole: names, addresses, licence, whether it is disabled
	// OpDeleteUser puts a user among the deleted, from where OpRestoreUser brings it back and OpPurgeUser takes it for good.
	OpDeleteUser  Operation = "user.delete"
	OpRestoreUser Operation = "user.restore"
	OpPurgeUser   Operation = "user.purge"

	OpAddGroup    Operation = "group.add" // Name
	OpDeleteGroup Operation = "group.delete"
	// OpJoinGroup makes User, or the group Item, a member of the group Into; OpLeaveGroup ends that.
	OpJoinGroup  Operation = "group.join"
	OpLeaveGroup Operation = "group.leave"
)

// group is a group of the directory.
type group struct {
	id, name string
	users    map[int]bool
	groups   map[string]bool
}

// apply makes a change and gives the id of what was changed; known is false for operations that are not the directory's. It changes
// nothing when it fails.
func (d *directory) apply(ch Change) (id string, known bool, err error) {
	change, known := map[Operation]func(Change) (string, error){
		OpAddUser: d.addUser, OpEditUser: d.editUser, OpDeleteUser: d.deleteUser, OpRestoreUser: d.restoreUser, OpPurgeUser: d.purgeUser,
		OpAddGroup: d.addGroup, OpDeleteGroup: d.deleteGroup, OpJoinGroup: d.changeMembers, OpLeaveGroup: d.changeMembers,
	}[ch.Op]
	if !known {
		return "", false, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, err = change(ch); err != nil {
		err = fmt.Errorf("%s: %w", ch.Op, err)
	}
	return id, true, err
}

// put makes a state of a user its newest.
func (d *directory) put(e entry) {
	e.seq = d.now() + 1
	d.log.note(e.seq, e.n)
	d.byName[e.id], d.byName[strings.ToLower(e.UPN)] = e.n, e.n
	d.changed[e.n] = &e
}

// check refuses an account that the directory could not hold.
func (d *directory) check(a *Account, of int) error {
	if a == nil || a.UPN == "" || a.DisplayName == "" {
		return errors.New("an account needs a UPN and a display name")
	}
	if other, taken := d.find(a.UPN, true); taken && other.n != of {
		return fmt.Errorf("%q is somebody's UPN already", a.UPN)
	}
	return nil
}

func (d *directory) addUser(ch Change) (string, error) {
	if err := d.check(ch.Account, 0); err != nil {
		return "", err
	}
	d.added++
	n := d.first() + d.added
	e := entry{Account: ch.Account.clone(), n: n, id: d.crowdID(n)}
	d.put(e)
	return e.id, nil
}

func (a Account) clone() Account {
	a.Aliases, a.ExtensionAttributes = slices.Clone(a.Aliases), maps.Clone(a.ExtensionAttributes)
	return a
}

// named finds a user that is where the operation wants it.
func (d *directory) named(name string, where whereabouts) (entry, error) {
	e, ok := d.find(name, true)
	if !ok || e.where != where {
		return entry{}, fmt.Errorf("there is no such user %q", name)
	}
	return *e, nil
}

func (d *directory) editUser(ch Change) (string, error) {
	e, err := d.named(ch.User, present)
	if err == nil {
		err = d.check(ch.Account, e.n)
	}
	if err != nil {
		return "", err
	}
	delete(d.byName, strings.ToLower(e.UPN))
	e.Account = ch.Account.clone()
	d.put(e)
	return e.id, nil
}

func (d *directory) deleteUser(ch Change) (string, error) {
	e, err := d.named(ch.User, present)
	if err != nil {
		return "", err
	}
	e.where, e.deleted = softDeleted, ch.At
	d.put(e)
	return e.id, nil
}

func (d *directory) restoreUser(ch Change) (string, error) {
	e, err := d.named(ch.User, softDeleted)
	if err != nil {
		return "", err
	}
	e.where = present
	d.put(e)
	return e.id, nil
}

func (d *directory) purgeUser(ch Change) (string, error) {
	e, err := d.named(ch.User, softDeleted)
	if err != nil {
		return "", err
	}
	e.where = purged
	d.put(e)
	delete(d.byName, strings.ToLower(e.UPN))
	return e.id, nil
}

func (d *directory) addGroup(ch Change) (string, error) {
	id := guid(d.seed, "group "+ch.Name)
	if ch.Name == "" || d.groups[id] != nil {
		return "", fmt.Errorf("there is a group %q already, or it is no name", ch.Name)
	}
	d.groups[id] = &group{id: id, name: ch.Name, users: map[int]bool{}, groups: map[string]bool{}}
	d.tell(belonging{group: id})
	return id, nil
}

func (d *directory) deleteGroup(ch Change) (string, error) {
	g := d.groups[strings.ToLower(ch.Item)]
	if g == nil {
		return "", fmt.Errorf("there is no group %q", ch.Item)
	}
	delete(d.groups, g.id)
	d.tell(belonging{group: g.id})
	for _, outer := range slices.Sorted(maps.Keys(d.groups)) {
		if d.groups[outer].groups[g.id] {
			delete(d.groups[outer].groups, g.id)
			d.tell(belonging{group: outer, inner: g.id})
		}
	}
	return g.id, nil
}

func (d *directory) changeMembers(ch Change) (string, error) {
	g := d.groups[strings.ToLower(ch.Into)]
	if g == nil {
		return "", fmt.Errorf("there is no group %q", ch.Into)
	}
	if inner := strings.ToLower(ch.Item); inner != "" {
		if d.groups[inner] == nil {
			return "", fmt.Errorf("there is no group %q", ch.Item)
		}
		if setMember(g.groups, inner, ch.Op == OpJoinGroup) {
			d.tell(belonging{group: g.id, inner: inner})
		}
		return g.id, nil
	}
	e, err := d.named(ch.User, present)
	if err != nil {
		return "", err
	}
	if setMember(g.users, e.n, ch.Op == OpJoinGroup) {
		d.tell(belonging{group: g.id, user: e.n})
	}
	return g.id, nil
}

// setMember tells whether anything changed by it.
func setMember[K comparable](m map[K]bool, member K, in bool) bool {
	was := m[member]
	if delete(m, member); in {
		m[member] = true
	}
	return was != in
}

// members gives everybody in a group, directly or nested, and the groups in it: users by their numbers first. Groups may hold each other.
func (d *directory) members(g *group) (users []int, groups []*group) {
	in, seen := map[int]bool{}, map[string]bool{g.id: true}
	for open := []*group{g}; len(open) > 0; open = open[1:] {
		maps.Copy(in, open[0].users)
		for id := range open[0].groups {
			if inner := d.groups[id]; inner != nil && !seen[id] {
				seen[id] = true
				open, groups = append(open, inner), append(groups, inner)
			}
		}
	}
	for n := range in {
		if d.entry(n).where == present {
			users = append(users, n)
		}
	}
	slices.Sort(users)
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.id, b.id) })
	return users, groups
}
