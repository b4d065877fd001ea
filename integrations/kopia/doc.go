// Package kopia keeps a tenant's snapshots in a kopia repository on a folder: encrypted, compressed, de-duplicated, and readable by
// kopia's own program with the password that derives from the tenant's ekey.
//
// Mailboxes are not folders of files: they are listed by change feeds, item by item, in no order. So the snapshot's tree is built
// here instead of by kopia's uploader. Items are spread over small directories by the hash of their id, and a snapshot that is based
// on another one rewrites the directories that a change touches and points at the others as they are. docs/snapshot-layout.md
// describes the tree; layout.go, records.go and tree.go write and read it; writer.go and reader.go are what activities use.
//
// kopia itself is spoken to in repositories.go, repository.go and objects.go, and its errors are told apart in errors.go.
package kopia
