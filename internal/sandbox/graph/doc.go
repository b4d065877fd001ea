// Package graph is a Microsoft 365 tenant in a process: the token endpoint, the parts of Microsoft Graph v1.0 that a backup
// reads, and the host that hands out file contents. It speaks over TLS like the real one, enforces permissions, pages,
// issues delta tokens, and misbehaves on demand.
//
// A company is made from a seed and a list of people; nobody's mailbox or drive exists before it is first asked for, and no
// content is kept. What changes afterwards is a list of Changes, written to Options.StateFile when there is one, so that a
// restarted sandbox is the same company and goes on to honour the delta tokens that it issued before.
//
// Change feeds are logs: every change of a mailbox or drive takes the next number of its sequence and appends one entry to
// the feeds concerned. A delta token is nothing but the number up to which its holder has seen a feed, signed. An item that
// changes between two pages of a round therefore turns up again behind, which is what the real service may do, too.
//
// The protocol facts are those of Microsoft's published documentation (learn.microsoft.com/graph); shapes of answers
// follow the published v1.0 metadata. Three listeners are opened: Graph with the token endpoint, file contents, and an
// administration endpoint on loopback (see admin.go) for demo and scripts.
package graph
