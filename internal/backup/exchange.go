package backup

import "time"

// KeyRequest is a signed request for an ekey on its way from a worker to a connector, as the store keeps it. The body is the
// wire form of integrations/connector; nothing in it is secret.
type KeyRequest struct {
	ID     string // the request's nonce
	Tenant string
	// Holder is the one connector that the request is for; empty: any of the tenant.
	Holder  string
	Body    []byte
	Created time.Time
	Expires time.Time
}

// KeyAnswer is a connector's answer: an ekey sealed to the asking process, or a refusal.
type KeyAnswer struct {
	RequestID string
	Connector string
	Body      []byte
	At        time.Time
}

// ConnectorPresence is a change of one connector's presence.
type ConnectorPresence struct {
	Tenant    string
	Connector string
	Connected bool
	Session   int64
	At        time.Time
}
