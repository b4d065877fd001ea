package scim

import (
	"slices"

	filter "github.com/scim2/filter-parser/v2"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxMemberID is the length of a member's id in bytes. Ids that are not known are kept, because a group may come before its members.
const maxMemberID = 256

// memberChanges is what the operations of one request do to a group's members, in order. The members themselves are never read.
type memberChanges struct {
	clear bool
	// last is what happened to a member last: nil when it was removed.
	last map[string]*backup.SCIMMember
}

func (c *memberChanges) change(to target, o operation) error {
	ids, err := selectedIDs(to)
	switch {
	case err != nil:
		return err
	case to.where != nil && o.op == "remove" && to.sub == nil:
		c.remove(ids)
		return nil
	case to.where != nil || to.sub != nil:
		return badPath("members are added and removed as a whole: use path members, or members[value eq \"…\"] to remove one.")
	case o.op == "remove" && o.value == nil, o.op == "replace" && o.value == nil:
		c.set(nil)
		return nil
	}
	members, err := parseMembers(o.value)
	if err != nil {
		return err
	}
	switch o.op {
	case "remove":
		c.removeMembers(members)
	case "replace":
		c.set(members)
	default:
		c.add(members)
	}
	return nil
}

// parseMembers reads members: objects with a value, or bare ids.
func parseMembers(value any) ([]backup.SCIMMember, error) {
	a, _ := groupType.find("", "members", "")
	v, err := plainAttribute(a.CoreAttribute, value)
	if err != nil {
		return nil, err
	}
	list, _ := v.([]any)
	members := make([]backup.SCIMMember, 0, len(list))
	for _, element := range list {
		object, _ := element.(map[string]any)
		id, _ := object["value"].(string)
		if id == "" || len(id) > maxMemberID {
			return nil, badValue("Every member needs a value: the id of a user or a group, of at most %d bytes.", maxMemberID)
		}
		m := backup.SCIMMember{Value: id}
		m.Type, _ = object["type"].(string)
		if m.Display, _ = object["display"].(string); len(m.Display) > maxIndexed {
			return nil, badValue("The display of a member is longer than %d bytes.", maxIndexed)
		}
		members = append(members, m)
	}
	return members, nil
}

// selectedIDs are the ids that a filter of a path names.
func selectedIDs(to target) ([]string, error) {
	var ids []string
	var collect func(filter.Expression) bool
	collect = func(e filter.Expression) bool {
		switch e := e.(type) {
		case *filter.LogicalExpression:
			return e.Operator == filter.OR && collect(e.Left) && collect(e.Right)
		case *filter.AttributeExpression:
			p, err := part(to.attribute, e)
			if err != nil || p.sub.Name() != "value" || e.Operator != filter.EQ {
				return false
			}
			id, err := valueText(e)
			ids = append(ids, id)
			return err == nil
		}
		return false
	}
	if to.where != nil && !collect(to.where) {
		return nil, badPath("members are selected by value only: members[value eq \"…\"].")
	}
	return ids, nil
}

func (c *memberChanges) note(id string, m *backup.SCIMMember) {
	if c.last == nil {
		c.last = map[string]*backup.SCIMMember{}
	}
	c.last[id] = m
}

func (c *memberChanges) add(members []backup.SCIMMember) {
	for _, m := range members {
		c.note(m.Value, &m)
	}
}

func (c *memberChanges) remove(ids []string) {
	for _, id := range ids {
		c.note(id, nil)
	}
}

func (c *memberChanges) removeMembers(members []backup.SCIMMember) {
	for _, m := range members {
		c.note(m.Value, nil)
	}
}

// set makes these the only members.
func (c *memberChanges) set(members []backup.SCIMMember) {
	c.clear, c.last = true, nil
	c.add(members)
}

// changes is the sum of it, in a stable order.
func (c *memberChanges) changes() backup.SCIMMembers {
	out := backup.SCIMMembers{Clear: c.clear}
	for id, m := range c.last {
		switch {
		case m != nil:
			out.Add = append(out.Add, *m)
		case !c.clear:
			out.Remove = append(out.Remove, id)
		}
	}
	slices.Sort(out.Remove)
	slices.SortFunc(out.Add, func(a, b backup.SCIMMember) int {
		if a.Value < b.Value {
			return -1
		}
		return 1
	})
	return out
}
