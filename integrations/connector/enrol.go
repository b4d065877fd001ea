package connector

import (
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const enrolDomain = "holdfast/connector-enroll/v1"

// enrolCall is the body by which a connector introduces itself to the gateway. The secret travels inside TLS to a gateway whose
// certificate the token pins; it is used up by the call.
type enrolCall struct {
	Version   int    `json:"version"`
	Tenant    string `json:"tenant"`
	Connector string `json:"connector"`
	Secret    []byte `json:"secret"`
	Identity  string `json:"identity"`
	Address   []byte `json:"address"`   // where another connector seals the ekey to, see KeyFile.Address
	At        int64  `json:"at"`        // Unix milliseconds
	Signature []byte `json:"signature"` // by identity
}

// newEnrolCall signs the introduction.
func newEnrolCall(token backup.EnrolmentToken, k *KeyFile, now time.Time) enrolCall {
	c := enrolCall{Version: Version, Tenant: token.Tenant, Connector: token.Connector, Secret: token.Secret(),
		Identity: k.Identity(), Address: k.Address(), At: now.UnixMilli()}
	c.Signature = k.identity.sign(c.statement())
	return c
}

func parseEnrolCall(b []byte) (enrolCall, error) {
	var c enrolCall
	if err := decode(b, maxMessage, &c); err != nil {
		return enrolCall{}, err
	}
	_, err := ParseIdentity(c.Identity)
	if err != nil || c.Version != Version || !tenantName.MatchString(c.Tenant) || !connectorName.MatchString(c.Connector) || len(c.Secret) != backup.EnrolmentSecretSize ||
		len(c.Address) != addressSize || len(c.Signature) != signatureSize {
		return enrolCall{}, errMalformed
	}
	return c, nil
}

// statement covers every field but the signature, so that whoever takes a secret from here cannot put another identity or address to it
// in this call.
func (c enrolCall) statement() statement {
	return newStatement(enrolDomain).
		number(int64(c.Version)).
		text(c.Tenant).
		text(c.Connector).
		bytes(c.Secret).
		text(c.Identity).
		bytes(c.Address).
		number(c.At)
}

// signed tells whether both the call and the address are the shown identity's.
func (c enrolCall) signed() bool {
	return verifies(c.Identity, c.statement(), c.Signature) && CheckAddress(c.Tenant, c.Connector, c.Identity, c.Address)
}

func (c enrolCall) inWindow(now time.Time) bool {
	return time.UnixMilli(c.At).Sub(now).Abs() <= callWindow
}

// wire is the body; the caller wipes it.
func (c enrolCall) wire() ([]byte, error) { return json.Marshal(c) }
