// Package ledger keeps a tenant's receipts as a log that cannot be changed unnoticed, and finds what was changed.
//
// The receipts of a tenant, in order of their numbers, are the leaves of a Merkle tree as in Certificate Transparency (RFC 6962,
// section 2.1; golang.org/x/mod/sumdb/tlog). With every receipt the worker that appends it signs a new head: how long the log is, the
// hash of this receipt, and the root over all of them. Whoever has seen a head can tell later whether the log still continues it,
// which is how a log that lost its end is found; the signature in every row tells which row was changed.
//
// # What is hashed and signed
//
// Both are rows of fields, each preceded by its length as 4 bytes, most significant first; numbers are 8 bytes, most significant
// first; points in time are numbers of microseconds since 1970 UTC, 0 for none; text is UTF-8.
//
//	leaf    "holdfast/key-receipt/v1", tenant, number, generation, method, purpose, workflow id, run id, attempt,
//	        holder, requester, nonce, at, until
//	head    "holdfast/receipt-head/v1", message
//	message (a row of fields of its own) tenant, size, leaf hash, root hash, time
//
// The leaf hash is SHA-256 over a zero byte and the leaf; size is the receipt's number. The signature is Ed25519 (RFC 8032) by the
// worker's identity, over the head. The text form of heads in golang.org/x/mod/sumdb/note was not taken: it has no place for the leaf.
package ledger
