package entra

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/msgraph"
)

// mostMembers bounds the members of all groups together: 16 bytes of memory each.
const mostMembers = 2_000_000

// readGroups is what groups need.
var readGroups = msgraph.Permission{Name: "GroupMember.Read.All", Purpose: "see who is in a group",
	Includes: []string{"Group.Read.All", "Group.ReadWrite.All", "GroupMember.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}}

// userID is a user's id in the form that takes the least memory.
type userID [16]byte

func parseUserID(s string) (id userID, ok bool) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return userID(append(b, id[:]...)[:len(id)]), err == nil && len(b) == len(id)
}

// String writes the id as Graph does.
func (id userID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func compareIDs(a, b userID) int { return bytes.Compare(a[:], b[:]) }

// sorted sorts ids and leaves each once.
func sorted(ids []userID) []userID {
	slices.SortFunc(ids, compareIDs)
	return slices.Compact(ids)
}

// members tells who is in which of the groups, directly or nested.
type members struct {
	groups []string
	ids    [][]userID // per group, sorted
}

// readMembers lists the groups as they are now, beside their feeds: where those cannot be followed, or asking for people one by one costs more.
func (r *reading) readMembers(ctx context.Context, groups []string) (members, error) {
	m, total := members{groups: groups}, 0
	for _, g := range groups {
		ids, err := r.listMembers(ctx, g)
		if err != nil {
			return members{}, err
		}
		if total += len(ids); total > mostMembers {
			return members{}, tooManyMembers()
		}
		m.ids = append(m.ids, ids)
	}
	return m, nil
}

func tooManyMembers() error {
	return msgraph.BadConfig("the groups have more members than can be held", "name fewer or smaller groups, or none to take everybody")
}

// listMembers lists the users of one group. A group that is not there is an error: nobody is thought gone because of it.
func (r *reading) listMembers(ctx context.Context, group string) ([]userID, error) {
	var ids []userID
	err := r.client.List(ctx, r.client.At("$select=id&$top=999", "groups", group, "transitiveMembers"), func(raw json.RawMessage) error {
		var m struct {
			Type string `json:"@odata.type"`
			ID   string `json:"id"`
		}
		if json.Unmarshal(raw, &m) != nil {
			return msgraph.BadResponse("a member of a group is not what it should be", nil)
		}
		if m.Type != "" && m.Type != "#microsoft.graph.user" {
			return nil // a group, a device, an app: a nested group's members are listed themselves
		}
		id, ok := parseUserID(m.ID)
		if !ok {
			return msgraph.BadResponse("a member of a group has no id", nil)
		}
		if len(ids) >= mostMembers {
			return tooManyMembers()
		}
		ids = append(ids, id)
		return nil
	})
	if err != nil {
		return nil, judgeGroup(ctx, r.client, group, err)
	}
	return sorted(ids), nil
}

// judgeGroup says what a refusal means for a group; other errors pass.
func judgeGroup(ctx context.Context, c *msgraph.Client, group string, err error) error {
	switch {
	case notThere(err):
		return noGroup(group, err)
	case backup.HasCode(err, backup.CodeMissingRole):
		return c.Lacks(ctx, readGroups, err)
	}
	return err
}

func noGroup(group string, cause error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "Entra has no group " + group, Cause: cause,
		Hint: "check the group's object id in the tenant's file; as long as the group is not there, nobody is imported and nobody removed"}
}

// of are the groups that a user is in, as they are written in the tenant's file, sorted.
func (m members) of(user string) []string {
	id, ok := parseUserID(user)
	if !ok {
		return nil
	}
	var in []string
	for i, ids := range m.ids {
		if _, found := slices.BinarySearchFunc(ids, id, compareIDs); found {
			in = append(in, m.groups[i])
		}
	}
	return in
}
