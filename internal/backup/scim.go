package backup

import (
	"encoding/json"
	"time"
)

// SCIMScope is whose resources a call is about: one directory of one tenant.
type SCIMScope struct {
	Tenant    string
	Directory DirectoryName
}

// SCIMToken is a bearer token of an identity provider. Only its hash is kept.
type SCIMToken struct {
	SCIMScope
	// Label tells the tokens of a directory apart: ^[a-z0-9][a-z0-9-]{0,40}$.
	Label string
	// Hash is the SHA-256 of the token.
	Hash     []byte
	Created  time.Time
	Expires  time.Time // zero: never
	LastUsed time.Time
	By       string
}

// MaxSCIMTokens is how many tokens a directory may have at a time: the one in use, and the one that replaces it.
const MaxSCIMTokens = 2

// SCIMUser is a user resource (RFC 7643 section 4.1).
type SCIMUser struct {
	// ID is ours, a UUID in lower case.
	ID         string
	ExternalID string
	UserName   string
	Active     bool
	// Doc is a JSON object of the attributes as they were sent, extensions below their URNs, without schemas, id, meta, groups and password.
	Doc json.RawMessage
	// Index is what filters may ask for.
	Index []SCIMValue
	// Version counts the changes, from 1: also those of the groups that list the user, which are part of it (RFC 7643 section 4.1.2).
	Version int64
	// Created is when the user was pushed first, Modified when the version became what it is.
	Created, Modified time.Time
}

// SCIMValue is one value of an attribute, for filters.
type SCIMValue struct {
	// Path is in lower case, without the core schema's URN: "username", "emails.value", "urn:…:user:department".
	Path string
	// Type is the type of the element of a multi-valued attribute, in lower case; empty when it has none.
	Type string
	// Text is the value as filters compare it: in lower case unless the attribute is case-exact, "true" or "false", RFC 3339 in UTC.
	Text string
}

// SCIMGroup is a group resource (RFC 7643 section 4.2), without its members.
type SCIMGroup struct {
	ID                string
	ExternalID        string
	DisplayName       string
	Doc               json.RawMessage // without members
	Index             []SCIMValue
	Version           int64
	Created, Modified time.Time
}

// SCIMMember is a member of a group: a user or a group. It may be one that is not known yet.
type SCIMMember struct {
	Value   string `json:"value"`
	Type    string `json:"type,omitempty"` // User or Group, where it is known
	Display string `json:"display,omitempty"`
}

// SCIMMembers is a change of a group's members: Clear first, then Remove, then Add. Who is a member already or none is no error.
type SCIMMembers struct {
	Clear  bool
	Remove []string
	Add    []SCIMMember
}

// SCIMFilter is a filter (RFC 7644 section 3.4.2.2) whose attributes have been resolved. Exactly one of And, Or, Not and Path is set; the zero
// filter fits everything.
type SCIMFilter struct {
	And, Or []SCIMFilter
	Not     *SCIMFilter

	Path string // as in SCIMValue
	Type string // only values of elements of this type; empty: of any
	Op   SCIMOperator
	Text string // as in SCIMValue
}

// SCIMOperator compares.
type SCIMOperator string

const (
	SCIMEqual          SCIMOperator = "eq"
	SCIMNotEqual       SCIMOperator = "ne"
	SCIMContains       SCIMOperator = "co"
	SCIMStartsWith     SCIMOperator = "sw"
	SCIMEndsWith       SCIMOperator = "ew"
	SCIMGreater        SCIMOperator = "gt"
	SCIMGreaterOrEqual SCIMOperator = "ge"
	SCIMLess           SCIMOperator = "lt"
	SCIMLessOrEqual    SCIMOperator = "le"
	SCIMPresent        SCIMOperator = "pr"
)

// SCIMPage asks for a part of a list, in order of creation, then id.
type SCIMPage struct {
	// StartIndex is from 1; Count may be 0, which asks for the total only.
	StartIndex, Count int
}

// SCIMChange is a user that changed, or one of whose groups did.
type SCIMChange struct {
	// Sequence grows with every change of the directory, in the order of their commits. A user stands at the newest only.
	Sequence int64
	User     SCIMUser
	// Gone: the user was deleted. Only the id of User is set then.
	Gone bool
	// Groups are those of the groups asked for that the user is in, directly or nested, as they were written by the asker, sorted.
	Groups []string
}
