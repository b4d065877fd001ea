package connector

// Pin changes what the key file pins, and writes it: CodeBadConfig, and nothing changed, when that would be of no use. A running agent does not
// hear of it. The connector's name, its tenant and where its ekeys are kept stay.
func (s *KeyStore) Pin(change func(*Setup)) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.save(func(k *KeyFile) {
		pinned := k.Setup
		change(&pinned)
		k.Gateway, k.GatewayCA, k.Workers = pinned.Gateway, pinned.GatewayCA, pinned.Workers
	})
}
