// Package connector hands a tenant's ekey from an agent on the customer's ground to the one worker process that asked for it.
//
// Three parties take part. The Broker, in a worker, makes a recipient key for one use and posts a signed Request into the
// Mailbox. The Gateway, an HTTP handler, carries requests to connectors that poll it, and their answers back; it sees nothing
// that opens anything. The Agent, in the customer's network, makes outbound HTTPS calls only; it checks each request against
// what it has pinned, writes its own receipt, and seals the ekey to the recipient with the whole request as context, so that
// it opens in that process, for that request, and nowhere else.
//
// The protocol stands byte by byte in docs/connector-protocol.md, with a test vector that a test keeps true.
package connector
