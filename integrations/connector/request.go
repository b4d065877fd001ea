package connector

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Version is the version of requests, answers and calls that this package speaks.
const Version = 1

// MaxLifetime is the longest time from a request's issue to its expiry.
const MaxLifetime = 60 * time.Second

// Request asks a tenant's connectors for the ekey. Nothing in it is secret. Byte fields are base64 in JSON, times Unix milliseconds.
type Request struct {
	Version    int               `json:"version"`
	Tenant     string            `json:"tenant"`
	Generation int               `json:"generation"` // 0: the current one
	Purpose    backup.KeyPurpose `json:"purpose"`
	WorkflowID string            `json:"workflowID"`
	RunID      string            `json:"runID"`
	Attempt    int               `json:"attempt"`
	Issued     int64             `json:"issued"`
	Expires    int64             `json:"expires"`
	Nonce      string            `json:"nonce"` // 32 lower-case hex digits
	KEM        uint16            `json:"kem"`
	Recipient  []byte            `json:"recipient"` // public key, good for this request only
	Requester  string            `json:"requester"` // the worker's public identity
	Signature  []byte            `json:"signature"`
}

// newRequest makes a signed request for one use.
func newRequest(use backup.KeyUse, to *recipient, id Identity, now time.Time, lifetime time.Duration) (Request, error) {
	r := Request{
		Version: Version, Tenant: use.Tenant, Generation: use.Generation, Purpose: use.Purpose,
		WorkflowID: use.WorkflowID, RunID: use.RunID, Attempt: use.Attempt,
		Issued: now.UnixMilli(), Expires: now.Add(lifetime).UnixMilli(), Nonce: newNonce(),
		KEM: kem.ID(), Recipient: to.public(), Requester: id.Public(),
	}
	r.Signature = id.sign(r.statement())
	return r, r.check()
}

// newNonce draws 128 bits; crypto/rand.Read cannot fail.
func newNonce() string {
	b := make([]byte, nonceSize)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// ParseRequest reads a request's wire form and checks its shape, not its signature.
func ParseRequest(b []byte) (Request, error) {
	var r Request
	if err := decode(b, maxMessage, &r); err != nil {
		return Request{}, err
	}
	return r, r.check()
}

// statement covers every field but the signature. It is what the worker signs, what the connector's answer signs again, and the
// context that the ekey is sealed with.
func (r Request) statement() statement {
	return newStatement(requestDomain).
		number(int64(r.Version)).
		text(r.Tenant).
		number(int64(r.Generation)).
		text(string(r.Purpose)).
		text(r.WorkflowID).
		text(r.RunID).
		number(int64(r.Attempt)).
		number(r.Issued).
		number(r.Expires).
		text(r.Nonce).
		number(int64(r.KEM)).
		bytes(r.Recipient).
		text(r.Requester)
}

func (r Request) check() error {
	ok := r.Version == Version && tenantName.MatchString(r.Tenant) && isCounter(r.Generation) &&
		purposeName.MatchString(string(r.Purpose)) && plainText(r.WorkflowID, maxWorkflow) && plainText(r.RunID, maxRun) &&
		isCounter(r.Attempt) && r.Issued > 0 && r.Expires > r.Issued && r.Expires-r.Issued <= MaxLifetime.Milliseconds() &&
		nonceText.MatchString(r.Nonce) && r.KEM == kem.ID() && len(r.Recipient) == recipientSize && len(r.Signature) == signatureSize
	if _, err := ParseIdentity(r.Requester); !ok || err != nil {
		return errMalformed
	}
	return nil
}

// signed tells whether the requester that it names did sign it.
func (r Request) signed() bool { return verifies(r.Requester, r.statement(), r.Signature) }

func (r Request) expires() time.Time { return time.UnixMilli(r.Expires) }

func (r Request) wire() ([]byte, error) { return json.Marshal(r) }
