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

// Request asks a tenant's connectors to release an ekey, or to do something with one that reveals nothing. Nothing in it is secret.
// Byte fields are base64 in JSON, times Unix milliseconds. What a purpose does not need is empty or zero.
type Request struct {
	Version    int               `json:"version"`
	Tenant     string            `json:"tenant"`
	Holder     string            `json:"holder"`     // the one connector that may answer; empty: any
	Generation int               `json:"generation"` // 0: the current one
	Purpose    backup.KeyPurpose `json:"purpose"`
	WorkflowID string            `json:"workflowID"`
	RunID      string            `json:"runID"`
	Attempt    int               `json:"attempt"`
	Issued     int64             `json:"issued"`
	Expires    int64             `json:"expires"`
	Nonce      string            `json:"nonce"`               // 32 lower-case hex digits
	KEM        uint16            `json:"kem"`                 // of Recipient
	Recipient  []byte            `json:"recipient,omitempty"` // public key to seal to: the asking process's, or another connector's
	Check      string            `json:"check"`               // public check key of the generation, where it is known
	To         *Peer             `json:"to,omitempty"`        // whose Recipient is, in a share
	Deposit    *Deposit          `json:"deposit,omitempty"`
	Requester  string            `json:"requester"` // the worker's public identity
	Signature  []byte            `json:"signature"`
}

// Peer is the connector that an ekey is to be sealed to, with its own word that the recipient key is its.
type Peer struct {
	Connector string `json:"connector"`
	Identity  string `json:"identity"`
	Signature []byte `json:"signature"` // over its address statement
}

// Deposit carries an ekey that one connector sealed to another: the share, what was answered, and who answered.
type Deposit struct {
	Request Request `json:"request"`
	Answer  Answer  `json:"answer"`
	Sender  string  `json:"sender"` // public identity of the connector that sealed it
}

// wish is what a broker wants of connectors, before it becomes a request.
type wish struct {
	use     backup.KeyUse
	holder  string
	check   string
	to      *Peer
	address []byte // of to
	deposit *Deposit
}

// newRequest makes a signed request. In a release, to is the key made for it; otherwise it is nil.
func newRequest(w wish, to *recipient, id Identity, now time.Time, lifetime time.Duration) (Request, error) {
	r := Request{
		Version: Version, Tenant: w.use.Tenant, Holder: w.holder, Generation: w.use.Generation, Purpose: w.use.Purpose,
		WorkflowID: w.use.WorkflowID, RunID: w.use.RunID, Attempt: w.use.Attempt,
		Issued: now.UnixMilli(), Expires: now.Add(lifetime).UnixMilli(), Nonce: newNonce(),
		Check: w.check, To: w.to, Deposit: w.deposit, Requester: id.Public(),
	}
	switch {
	case to != nil:
		r.KEM, r.Recipient = kem.ID(), to.public()
	case w.to != nil:
		r.KEM, r.Recipient = kem.ID(), w.address[:recipientSize]
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
	var to Peer
	if r.To != nil {
		to = *r.To
	}
	return newStatement(requestDomain).
		number(int64(r.Version)).
		text(r.Tenant).
		text(r.Holder).
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
		text(r.Check).
		text(to.Connector).
		text(to.Identity).
		bytes(to.Signature).
		bytes(r.Deposit.statement()).
		text(r.Requester)
}

// statement is empty where there is no deposit.
func (d *Deposit) statement() statement {
	if d == nil {
		return nil
	}
	return newStatement(depositDomain).
		bytes(d.Request.statement()).
		bytes(d.Request.Signature).
		bytes(d.Answer.statement(d.Request)).
		bytes(d.Answer.Signature).
		text(d.Sender)
}

func (r Request) check() error {
	ok := r.Version == Version && tenantName.MatchString(r.Tenant) && (r.Holder == "" || connectorName.MatchString(r.Holder)) && isCounter(r.Generation) &&
		purposeName.MatchString(string(r.Purpose)) && plainText(r.WorkflowID, maxWorkflow) && plainText(r.RunID, maxRun) &&
		isCounter(r.Attempt) && r.Issued > 0 && r.Expires > r.Issued && r.Expires-r.Issued <= MaxLifetime.Milliseconds() &&
		nonceText.MatchString(r.Nonce) && (r.Check == "" || isIdentity(r.Check)) && isIdentity(r.Requester) && len(r.Signature) == signatureSize
	if !ok || !r.suitsPurpose() {
		return errMalformed
	}
	return nil
}

// suitsPurpose tells whether the request has what its purpose needs, and nothing else. One with a purpose that is not known is taken for
// a release, so that it is refused with a reason.
func (r Request) suitsPurpose() bool {
	switch r.Purpose {
	case backup.PurposeCreate, backup.PurposeDrill:
		return r.sealsNothing() && r.Deposit == nil && r.Generation > 0
	case backup.PurposeRetire:
		return r.sealsNothing() && r.Deposit == nil && r.Generation > 0 && r.Holder != ""
	case backup.PurposeDestroy:
		return r.sealsNothing() && r.Deposit == nil && r.Generation == 0 && r.Holder != ""
	case backup.PurposeDeposit:
		return r.sealsNothing() && r.Deposit != nil && r.Generation > 0 && r.Holder != "" && r.Check != "" && r.Deposit.check() == nil
	case backup.PurposeShare:
		return r.seals() && r.Deposit == nil && r.Generation > 0 && r.Check != "" && r.To != nil && r.To.check() == nil
	}
	return r.seals() && r.Deposit == nil && r.To == nil
}

func (r Request) seals() bool { return r.KEM == kem.ID() && len(r.Recipient) == recipientSize }

func (r Request) sealsNothing() bool { return r.KEM == 0 && len(r.Recipient) == 0 && r.To == nil }

func (p *Peer) check() error {
	if !connectorName.MatchString(p.Connector) || !isIdentity(p.Identity) || len(p.Signature) != signatureSize {
		return errMalformed
	}
	return nil
}

// check goes no deeper than one request, because a share has no deposit.
func (d *Deposit) check() error {
	if d.Request.Purpose != backup.PurposeShare || d.Request.check() != nil || d.Answer.check() != nil || d.Answer.Release == nil || !isIdentity(d.Sender) {
		return errMalformed
	}
	return nil
}

// signed tells whether the requester that it names did sign it.
func (r Request) signed() bool { return verifies(r.Requester, r.statement(), r.Signature) }

func (r Request) expires() time.Time { return time.UnixMilli(r.Expires) }

func (r Request) wire() ([]byte, error) { return json.Marshal(r) }

// releases tells whether a purpose gives the plain ekey to the process that asks.
func releases(p backup.KeyPurpose) bool {
	switch p {
	case backup.PurposeProvision, backup.PurposeBackup, backup.PurposeRestore, backup.PurposeVerify, backup.PurposeRotate:
		return true
	}
	return false
}

// purposes are all that this version knows.
var purposes = []backup.KeyPurpose{
	backup.PurposeProvision, backup.PurposeBackup, backup.PurposeRestore, backup.PurposeVerify, backup.PurposeRotate,
	backup.PurposeCreate, backup.PurposeDrill, backup.PurposeShare, backup.PurposeDeposit, backup.PurposeRetire, backup.PurposeDestroy,
}
