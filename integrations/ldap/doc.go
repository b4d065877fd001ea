// Package ldap reads people from an LDAP directory: OpenLDAP, Active Directory, and others that know paged results.
//
// A listing must never be shorter than the directory without an error, because whoever is missing from it counts as gone. So a
// listing is complete only when the directory itself says so: the paged results control of the last page came, and its cookie was
// empty (RFC 2696, section 3). A connection that is cut, a page that is abandoned and a limit that strikes are errors, whatever was
// read before. So is a reference to another server, unless its host is on the tenant's list: then it is read there, with verified TLS
// and the same login, and each place once. Active Directory's references to its own configuration and DNS, where nobody lives, mean
// nothing.
//
// Connections are go-ldap's, and so is everything rare: binds, single entries, controls. Listings are read from the same connection by
// code of our own, where the answers lie and page by page, because a tree of objects for every entry takes most of an import's time. One
// goroutine reads the connection and parts the two by their message ids. What it reads is bounded and fuzzed.
//
// Between full listings changes are followed by DirSync or uSNChanged in Active Directory and by content synchronization (RFC 4533) in
// OpenLDAP. Whatever makes it uncertain that the changes are all leads to a full listing, and the note of the read says why.
//
// Of several servers the first that can be reached is taken. One that refuses the login ends it, because each further try counts against
// the account. Servers found in DNS must lie inside of the domain that was asked for (RFC 4513, section 3.1.3).
//
// The password travels over verified TLS only, by LDAPS or StartTLS, and an empty one is refused before it is sent: a server
// takes a DN with an empty password for an anonymous client and answers "success" (RFC 4513, section 5.1.2). In its place, a client
// certificate (SASL EXTERNAL) or a key table (GSSAPI) may be used.
//
// A value that cannot be read is left out, and the person is kept; only somebody whose id, DN, mail or UPN cannot be read is reported as
// a bad entry, under an id that keeps the account behind it from counting as gone.
package ldap
