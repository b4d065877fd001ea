// Package entra reads the people of Microsoft Entra ID (Azure AD) through Microsoft Graph v1.0, as an app (client credentials).
//
// A read follows users/delta: from its start, which lists everybody, or from the deltaLink of the import before, which tells what changed.
// A page that was kept is where the next attempt goes on. What the directory does not track there, which mailbox is a shared one and who is in
// which group, is read beside it: mailboxes page by page, groups before the first page.
//
// Groups are followed by groups/delta, filtered to those that count and those found in them, wave by wave. A full read hears all of their
// members. A read of changes hears who came and went, also of groups inside of groups, and thereby whom it concerns; those alone are
// fetched, behind what users/delta tells. Who is in a group is not kept between imports: the cursor holds only where the feeds go on and how the
// groups lie in each other, and Graph is asked for the groups of the few whom a read is about (checkMemberGroups). Its answer may be older than
// the feed. Where they differ the feed counts for who came; who went is asked for once more at the next import.
//
// Whoever is not among the selected (a guest, a person without licence, no member) is as good as not there: a full read leaves them out, and a
// read of changes says that they are gone. Nothing else is: an error, a page that breaks off and a group that is not found end the read.
package entra
