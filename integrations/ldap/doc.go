// Package ldap reads people from an LDAP directory: OpenLDAP, Active Directory, and others that know paged results.
//
// A listing must never be shorter than the directory without an error, because whoever is missing from it counts as gone. So a
// listing is complete only when the directory itself says so: the paged results control of the last page came, and its cookie was
// empty (RFC 2696, section 3). A connection that is cut, a page that is abandoned, a limit that strikes and a referral in place
// of an answer are errors, whatever was read before. Continuation references, which lead to other servers, are passed over and
// never followed: a password is not carried to a host that nobody configured.
//
// The password travels over verified TLS only, by LDAPS or StartTLS, and an empty one is refused before it is sent: a server
// takes a DN with an empty password for an anonymous client and answers "success" (RFC 4513, section 5.1.2).
package ldap
