// Package msgraph is the ground that every adapter of Microsoft Graph v1.0 stands on: the sign-in of an app (client credentials, no user
// present), its one token, and a client that authorizes, names, counts, repeats and classifies requests. It knows nothing of mail, files
// and people; those are the adapters'.
//
// Four things are decided in one place each: how a request is repeated (policy.go), how fast requests follow each other when the service
// says that it is near a limit (ease.go), what an answer of 400 and above means (refusal.go), and which hosts may be spoken to
// (endpoints.go). Links come from outside and from old cursors, so none is followed before it was checked there.
//
// It is a room of its own, and not part of internal/backup, because it needs the vendor's sign-in library, which the vocabulary must not.
package msgraph
