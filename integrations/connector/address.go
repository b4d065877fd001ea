package connector

// addressSize is the size of an address in bytes.
const addressSize = recipientSize + signatureSize

// An address is where another connector can seal an ekey to this one: its static HPKE public key and, behind it, the connector's
// signature over it. Whoever keeps it on the way can therefore not put his own key in its place, as long as the identity is right.

// Address is the connector's own.
func (k *KeyFile) Address() []byte {
	public := k.sealed.public()
	return append(public, k.identity.sign(addressStatement(k.Tenant, k.Connector, public))...)
}

// Address is the connector's, see KeyFile.Address.
func (s *KeyStore) Address() []byte { return s.self().Address() }

// addressStatement is what the connector signs of its recipient key.
func addressStatement(tenant, connector string, recipient []byte) statement {
	return newStatement(addressDomain).text(tenant).text(connector).bytes(recipient)
}

// CheckAddress tells whether an address is that of the tenant's connector with this name and public identity.
func CheckAddress(tenant, connector, identity string, address []byte) bool {
	if len(address) != addressSize {
		return false
	}
	if _, err := kem.NewPublicKey(address[:recipientSize]); err != nil {
		return false
	}
	return verifies(identity, addressStatement(tenant, connector, address[:recipientSize]), address[recipientSize:])
}
