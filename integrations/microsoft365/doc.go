// Package microsoft365 reads mailboxes and OneDrives through Microsoft Graph v1.0, as an app that was registered and consented
// once (client credentials, no user present).
//
// An Adapter connects tenants. An App is one connected tenant: it shares one token, probes permissions feature by feature, and
// opens a Source per account and service. A Source gives the changes since a cursor and the content of one item at a time; it
// never holds more than a page of metadata and a small window of content in memory.
//
// Three things are decided in one place each: how a request is repeated (policy.go), what an answer of 400 and above means
// (refusal.go, and mail.go and drive.go for what only they can know), and which hosts may be spoken to (endpoints.go). Links and
// download addresses come from outside and from old snapshots, so none is followed before it was checked there.
package microsoft365
