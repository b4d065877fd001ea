package connector

// Sign signs a message of another package in the name of this identity: Ed25519 (RFC 8032) over two fields, domain and message, each
// preceded by its length as 4 bytes, most significant first. A domain is the signer's own, so that a signature made for one
// purpose is good for no other; requests, answers and calls have more fields and can never be taken for such a message.
func (id Identity) Sign(domain string, message []byte) []byte {
	return id.sign(newStatement(domain).bytes(message))
}
