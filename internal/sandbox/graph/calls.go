package graph

import (
	"maps"
	"sync"
)

// Call is a kind of request. Faults and counters go by it.
type Call string

const (
	CallToken           Call = "token"
	CallOrganization    Call = "organization"
	CallUsers           Call = "users"
	CallUser            Call = "user"
	CallUserDelta       Call = "users.delta"
	CallDeletedUsers    Call = "users.deleted"
	CallGroup           Call = "group"
	CallGroupDelta      Call = "groups.delta"
	CallCheckGroups     Call = "user.checkMemberGroups"
	CallMembers         Call = "group.members"
	CallBatch           Call = "batch" // each request in it counts besides
	CallMailboxSettings Call = "mailboxSettings"
	CallFolders         Call = "mailFolders"
	CallFolderDelta     Call = "mailFolders.delta"
	CallFolder          Call = "mailFolder"
	CallMessages        Call = "messages"
	CallMessageDelta    Call = "messages.delta"
	CallMessage         Call = "message"
	CallMessageValue    Call = "message.value"
	CallAttachments     Call = "attachments"
	CallAttachmentValue Call = "attachment.value"
	CallDrive           Call = "drive"
	CallDriveDelta      Call = "drive.delta"
	CallItem            Call = "item"
	CallChildren        Call = "children"
	CallContent         Call = "content"  // the redirect
	CallDownload        Call = "download" // the bytes
	CallUnknown         Call = "unknown"
)

var allCalls = []Call{CallToken, CallOrganization, CallUsers, CallUser, CallUserDelta, CallDeletedUsers, CallGroup, CallGroupDelta, CallCheckGroups, CallMembers, CallBatch, CallMailboxSettings, CallFolders, CallFolderDelta, CallFolder, CallMessages,
	CallMessageDelta, CallMessage, CallMessageValue, CallAttachments, CallAttachmentValue, CallDrive, CallDriveDelta, CallItem, CallChildren,
	CallContent, CallDownload, CallUnknown}

// counters count requests by kind, refused ones included.
type counters struct {
	mu     sync.Mutex
	byCall map[Call]int64
}

func (c *counters) add(k Call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCall == nil {
		c.byCall = map[Call]int64{}
	}
	c.byCall[k]++
}

// Calls is how many requests of each kind came since the start or the last ResetCalls, and the sum.
func (s *Server) Calls() (byCall map[Call]int64, total int64) {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	for _, n := range s.calls.byCall {
		total += n
	}
	if byCall = maps.Clone(s.calls.byCall); byCall == nil {
		byCall = map[Call]int64{}
	}
	return byCall, total
}

// ResetCalls counts from zero again.
func (s *Server) ResetCalls() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	s.calls.byCall = nil
}
