package scim

import (
	"context"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Store keeps what identity providers push. Every method sees one scope only: an id of another tenant or directory is CodeNotFound. Every
// change is one transaction, durable when the method returns. Errors that are not named here become 503 when they are Retryable, else 500.
//
// Case is folded with strings.ToLower. Times are UTC; the JSON that is answered shows milliseconds.
type Store interface {
	// TokenScope finds the token with this SHA-256; CodeNotFound when there is none. An expired one is returned as it is. It may remember
	// the use, at most now and then (LastUsed need not be exact to the minute).
	TokenScope(ctx context.Context, hash []byte) (backup.SCIMToken, error)

	// CreateUser keeps a new user. The caller gives ID, UserName, ExternalID, Active, Doc and Index; the store gives Version 1, Created and
	// Modified, and returns the whole. CodeConflict: a user that is not deleted has the userName, letters' case aside.
	CreateUser(ctx context.Context, scope backup.SCIMScope, u backup.SCIMUser) (backup.SCIMUser, error)
	// User returns a user, active or not; CodeNotFound when there is none, or when it was deleted. Index may be left empty.
	User(ctx context.Context, scope backup.SCIMScope, id string) (backup.SCIMUser, error)
	// ListUsers returns a page of those who fit, and how many fit in all. Index may be left empty. See Filters below.
	ListUsers(ctx context.Context, scope backup.SCIMScope, f backup.SCIMFilter, p backup.SCIMPage) (users []backup.SCIMUser, total int, err error)
	// ChangeUser locks the user, calls change with what is there, and keeps what it returns, all in one transaction; change may be called again
	// when the transaction is. ID, Created, Version and Modified of what change returns mean nothing. When ExternalID, UserName, Active and Doc
	// stay as they were nothing is written, and the version stays. An error of change is returned as it is and nothing is changed.
	// CodeNotFound: as with User. CodeDifferenceChanged: ifVersion is not 0 and not the version that is there. CodeConflict: as with CreateUser.
	ChangeUser(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64, change func(backup.SCIMUser) (backup.SCIMUser, error)) (backup.SCIMUser, error)
	// DeleteUser buries the user: reads do not find it any more, its id is never used again, its userName is free, its memberships end, and
	// the change feed tells that it is gone. ifVersion as with ChangeUser.
	DeleteUser(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64) error

	// CreateGroup keeps a new group with its members, as CreateUser does. Names of groups need not be unique. Members that nobody knows (yet)
	// are kept all the same; they are in the group as soon as they are there.
	CreateGroup(ctx context.Context, scope backup.SCIMScope, g backup.SCIMGroup, members []backup.SCIMMember) (backup.SCIMGroup, error)
	Group(ctx context.Context, scope backup.SCIMScope, id string) (backup.SCIMGroup, error)
	// GroupMembers returns up to limit members whose Value is greater than after (empty: from the first), in order of Value as bytes. Type is
	// that of the resource where there is one of the id; Display is what was sent.
	GroupMembers(ctx context.Context, scope backup.SCIMScope, id, after string, limit int) ([]backup.SCIMMember, error)
	ListGroups(ctx context.Context, scope backup.SCIMScope, f backup.SCIMFilter, p backup.SCIMPage) (groups []backup.SCIMGroup, total int, err error)
	// ChangeGroup is to groups what ChangeUser is to users. The members are changed by set operations and never read as a whole; Clear
	// together with Add sets the members to exactly Add (those who stay need not be written). When nothing at all changes, the version stays.
	// Users whose GroupsOfUsers change with it, here or by DeleteGroup, get a new version each.
	ChangeGroup(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64, change func(backup.SCIMGroup) (backup.SCIMGroup, backup.SCIMMembers, error)) (backup.SCIMGroup, error)
	DeleteGroup(ctx context.Context, scope backup.SCIMScope, id string, ifVersion int64) error

	// GroupsOfUsers returns, by user id, the groups that list the user as a member themselves: Value is the group's id, Display its name,
	// ordered by Value. At most MaxPage ids are asked for at once.
	GroupsOfUsers(ctx context.Context, scope backup.SCIMScope, users []string) (map[string][]backup.SCIMMember, error)
}

// Filters. A comparison fits when the resource has a value at Path, of Type when that is set, for which it holds; pr: when it has one at all.
// ne means a value that is there and differs. The order of gt, ge, lt and le, and of everything else, is that of the bytes of Text.
// These paths are not in Index; the store looks for them itself:
//
//	id, externalid              as they are, case-exact
//	username, active            users: folded; "true" or "false"
//	displayname                 groups: folded
//	meta.created                RFC 3339 in UTC with nine digits of fraction (TimeText)
//	meta.lastmodified           likewise
//	members.value               groups: of their members, case-exact
//	groups.value                users: ids of their groups (those of GroupsOfUsers), case-exact
//
// All others, the displayName of users among them, stand in Index.

// ImportStore tells what changed.
type ImportStore interface {
	// ChangedUsers returns up to limit users whose newest change is after the sequence, oldest change first. A user also changes when it becomes
	// or stops being a member of a group, directly or nested, and when such a group is renamed or deleted. groups are the display names (letters'
	// case means nothing) that SCIMChange.Groups is about. From 0 on, deleted users may be left out.
	ChangedUsers(ctx context.Context, scope backup.SCIMScope, groups []string, after int64, limit int) ([]backup.SCIMChange, error)
	// LastChange is the newest sequence; 0 when nothing was ever pushed. UsersStored counts the users that are not deleted.
	LastChange(ctx context.Context, scope backup.SCIMScope) (sequence int64, usersStored int, err error)
}

// MaxPage is how many resources one page holds at most.
const MaxPage = 200

// TimeText is how a filter compares times.
const TimeText = "2006-01-02T15:04:05.000000000Z"
