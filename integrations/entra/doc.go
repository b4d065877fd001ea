// Package entra reads the people of Microsoft Entra ID (Azure AD) through Microsoft Graph v1.0, as an app (client credentials).
//
// A read follows users/delta: from its start, which lists everybody, or from the deltaLink of the import before, which tells what changed.
// A page that was kept is where the next attempt goes on. What the directory does not track there, who is in which group and which
// mailbox is a shared one, is read beside it: groups before the first page, mailboxes page by page.
//
// Whoever is not among the selected (a guest, a person without licence, no member) is as good as not there: a full read leaves them out, and a
// read of changes says that they are gone. Nothing else is: an error, a page that breaks off and a group that is not found end the read.
package entra
