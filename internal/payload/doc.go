// Package payload encrypts what Holdfast hands to Temporal, so that whoever reads Temporal's database, its backups or an exported
// history reads names, addresses and error texts of no tenant: arguments and results of workflows and activities, signals, updates,
// queries, memos, summaries, current details, heartbeats, and messages and stack traces of failures.
//
// Every payload is sealed alone, with AES-256-GCM under a key of its own. A sealed payload has the metadata
//
//	encoding           binary/encrypted
//	encryption-key-id  the id of a key in the ring
//
// and the data
//
//	1 byte    version, 1
//	16 bytes  salt, random
//	12 bytes  nonce, random
//	n bytes   ciphertext of the original payload (temporal.api.common.v1.Payload, serialised, with its metadata)
//	16 bytes  tag
//
// The key is HKDF-Expand with SHA-256 (RFC 5869 section 2.3) of the ring's key, with info = "holdfast payload v1", a zero byte and the
// salt. Nobody has to count messages that way: AES-GCM with random nonces allows 2^32 under one key, which a busy deployment reaches
// within a year. The associated data is "holdfast payload v1", a zero byte and the key's id. It binds neither namespace nor workflow:
// a payload travels, unopened, from a signal's sender to its receiver, from one run to the next and from a schedule into what it
// starts. So somebody who can write to Temporal's database can put one sealed payload in another one's place; what protects a
// decision against that is checked where it is used, not here.
//
// A payload that is not sealed is read as it is, so histories from before stay readable. What is written is always sealed.
//
// Not payloads, and so in clear for whoever runs Temporal: workflow, schedule, activity and update ids; names of types, signals and
// task queues; search attributes; the type of a failure (a code of ours) and messages of failures that the server made itself; the
// identity of who called; reasons of cancellation and termination; the note at a schedule's pause; all times and sizes.
package payload
