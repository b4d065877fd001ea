package connector

import (
	"encoding/json"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Answer is a connector's word on one request: a release or a refusal, never both.
type Answer struct {
	Version   int      `json:"version"`
	Tenant    string   `json:"tenant"`
	Connector string   `json:"connector"`
	Nonce     string   `json:"nonce"` // the request's
	Release   *Release `json:"release,omitempty"`
	Refusal   *Refusal `json:"refusal,omitempty"`
	Signature []byte   `json:"signature"`
}

// Release is the ekey, sealed for the one process that asked.
type Release struct {
	Generation int    `json:"generation"`
	Enc        []byte `json:"enc"`        // the encapsulated key (RFC 9180)
	Ciphertext []byte `json:"ciphertext"` // 32 bytes of ekey and 16 of tag
}

// Refusal says why there is no release. Code is one of denied, sealed, revoked, destroyed.
type Refusal struct {
	Code   backup.Code `json:"code"`
	Reason string      `json:"reason"` // for a person; printable, at most 200 bytes
}

// answerTo signs a release or refusal of r in the name of the key's holder, whatever tenant r is for.
func answerTo(r Request, k *KeyFile, release *Release, refusal *Refusal) Answer {
	a := Answer{Version: Version, Tenant: k.Tenant, Connector: k.Connector, Nonce: r.Nonce, Release: release, Refusal: refusal}
	a.Signature = k.identity.sign(a.statement(r))
	return a
}

// ParseAnswer reads an answer's wire form and checks its shape, not its signature.
func ParseAnswer(b []byte) (Answer, error) {
	var a Answer
	if err := decode(b, maxMessage, &a); err != nil {
		return Answer{}, err
	}
	return a, a.check()
}

// statement covers the whole request, so that an answer means one request only, and every field of the answer. The fields of a
// release are empty or zero in a refusal, and the other way round.
func (a Answer) statement(r Request) statement {
	var release Release
	var refusal Refusal
	if a.Release != nil {
		release = *a.Release
	}
	if a.Refusal != nil {
		refusal = *a.Refusal
	}
	return newStatement(answerDomain).
		number(int64(a.Version)).
		bytes(r.statement()).
		text(a.Tenant).
		text(a.Connector).
		text(a.Nonce).
		text(string(refusal.Code)).
		text(refusal.Reason).
		number(int64(release.Generation)).
		bytes(release.Enc).
		bytes(release.Ciphertext)
}

func (a Answer) check() error {
	ok := a.Version == Version && tenantName.MatchString(a.Tenant) && connectorName.MatchString(a.Connector) &&
		nonceText.MatchString(a.Nonce) && len(a.Signature) == signatureSize && (a.Release == nil) != (a.Refusal == nil)
	if ok && a.Release != nil {
		ok = a.Release.Generation > 0 && isCounter(a.Release.Generation) && len(a.Release.Enc) == encSize && len(a.Release.Ciphertext) == ciphertextSize
	}
	if ok && a.Refusal != nil {
		ok = refusalCode(a.Refusal.Code) && plainText(a.Refusal.Reason, maxReason)
	}
	if !ok {
		return errMalformed
	}
	return nil
}

// answers tells whether a is the word of the connector with this public identity on r.
func (a Answer) answers(r Request, public string) bool {
	return a.Nonce == r.Nonce && a.Tenant == r.Tenant && verifies(public, a.statement(r), a.Signature)
}

func refusalCode(c backup.Code) bool {
	switch c {
	case backup.CodeDenied, backup.CodeSealed, backup.CodeRevoked, backup.CodeDestroyed:
		return true
	}
	return false
}

func (a Answer) wire() ([]byte, error) { return json.Marshal(a) }
