package connector

import (
	"crypto/ed25519"
	"encoding/json"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Answer is a connector's word on one request: exactly one of a release, a proof, a deed and a refusal.
type Answer struct {
	Version   int      `json:"version"`
	Tenant    string   `json:"tenant"`
	Connector string   `json:"connector"`
	Nonce     string   `json:"nonce"` // the request's
	Release   *Release `json:"release,omitempty"`
	Proof     *Proof   `json:"proof,omitempty"`
	Done      *Done    `json:"done,omitempty"`
	Refusal   *Refusal `json:"refusal,omitempty"`
	Signature []byte   `json:"signature"`
}

// Release is the ekey, sealed for the one process, or the one connector, that the request names.
type Release struct {
	Generation int    `json:"generation"`
	Enc        []byte `json:"enc"`        // the encapsulated key (RFC 9180)
	Ciphertext []byte `json:"ciphertext"` // 32 bytes of ekey and 16 of tag
}

// Proof shows that the connector holds a generation, without revealing it.
type Proof struct {
	Generation int    `json:"generation"`
	Check      string `json:"check"`     // the generation's public check key
	Signature  []byte `json:"signature"` // by the check key, over the proof statement
}

// Done says that the connector gave generations up: the one that was to be retired, or all that were destroyed.
type Done struct {
	Generations []int `json:"generations"`
}

// Refusal says why not. Code is one of denied, not_allowed, not_found, sealed, revoked, destroyed.
type Refusal struct {
	Code   backup.Code `json:"code"`
	Reason string      `json:"reason"` // for a person; printable, at most 200 bytes
}

// answerTo signs word, in which one of the four is set, as k's answer to r, whatever tenant r is for.
func answerTo(r Request, k *KeyFile, word Answer) Answer {
	word.Version, word.Tenant, word.Connector, word.Nonce = Version, k.Tenant, k.Connector, r.Nonce
	word.Signature = k.identity.sign(word.statement(r))
	return word
}

// ParseAnswer reads an answer's wire form and checks its shape, not its signature.
func ParseAnswer(b []byte) (Answer, error) {
	var a Answer
	if err := decode(b, maxMessage, &a); err != nil {
		return Answer{}, err
	}
	return a, a.check()
}

// kind is which of the four an answer is; empty when it is not exactly one.
func (a Answer) kind() (kind string) {
	n := 0
	for name, there := range map[string]bool{"release": a.Release != nil, "proof": a.Proof != nil, "done": a.Done != nil, "refusal": a.Refusal != nil} {
		if there {
			kind = name
			n++
		}
	}
	if n != 1 {
		return ""
	}
	return kind
}

// statement covers the whole request, so that an answer means one request only, and every field of the answer. The fields of what
// the answer is not are empty or zero.
func (a Answer) statement(r Request) statement {
	var release Release
	var proof Proof
	var done Done
	var refusal Refusal
	if a.Release != nil {
		release = *a.Release
	}
	if a.Proof != nil {
		proof = *a.Proof
	}
	if a.Done != nil {
		done = *a.Done
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
		text(a.kind()).
		text(string(refusal.Code)).
		text(refusal.Reason).
		number(int64(release.Generation)).
		bytes(release.Enc).
		bytes(release.Ciphertext).
		number(int64(proof.Generation)).
		text(proof.Check).
		bytes(proof.Signature).
		bytes(done.statement())
}

// statement is a row of numbers.
func (d Done) statement() (s statement) {
	for _, n := range d.Generations {
		s = s.number(int64(n))
	}
	return s
}

// proofStatement is what the check key of a generation signs: it binds the proof to one request and one connector.
func proofStatement(r Request, connector string, generation int) statement {
	return newStatement(proofDomain).bytes(r.statement()).text(connector).number(int64(generation))
}

// proveTo signs with the check key of a held generation.
func proveTo(r Request, k *KeyFile, held Generation) (*Proof, error) {
	private, err := backup.CheckKey(held.ekey, k.Tenant, held.Number)
	if err != nil {
		return nil, err
	}
	defer clear(private)
	return &Proof{Generation: held.Number, Check: held.Check, Signature: ed25519.Sign(private, proofStatement(r, k.Connector, held.Number))}, nil
}

// proves tells whether an answer's proof is of the generation that r asks for, and signed by the check key that it names.
func (a Answer) proves(r Request) bool {
	return a.Proof != nil && a.Proof.Generation == r.Generation && verifies(a.Proof.Check, proofStatement(r, a.Connector, r.Generation), a.Proof.Signature)
}

func (a Answer) check() error {
	ok := a.Version == Version && tenantName.MatchString(a.Tenant) && connectorName.MatchString(a.Connector) &&
		nonceText.MatchString(a.Nonce) && len(a.Signature) == signatureSize
	switch a.kind() {
	case "release":
		ok = ok && isGeneration(a.Release.Generation) && len(a.Release.Enc) == encSize && len(a.Release.Ciphertext) == ciphertextSize
	case "proof":
		ok = ok && isGeneration(a.Proof.Generation) && isIdentity(a.Proof.Check) && len(a.Proof.Signature) == signatureSize
	case "done":
		ok = ok && a.Done.check()
	case "refusal":
		ok = ok && refusalCode(a.Refusal.Code) && plainText(a.Refusal.Reason, maxReason)
	default:
		ok = false
	}
	if !ok {
		return errMalformed
	}
	return nil
}

func (d Done) check() bool {
	for _, n := range d.Generations {
		if !isGeneration(n) {
			return false
		}
	}
	return len(d.Generations) <= maxEnded
}

// suits tells whether the answer is of the kind that the request asks for; a refusal always is.
func (a Answer) suits(r Request) bool {
	switch r.Purpose {
	case backup.PurposeCreate, backup.PurposeDrill, backup.PurposeDeposit:
		return a.Refusal != nil || a.proves(r)
	case backup.PurposeRetire, backup.PurposeDestroy:
		return a.Refusal != nil || a.Done != nil
	}
	return a.Refusal != nil || a.Release != nil && (r.Generation == 0 || a.Release.Generation == r.Generation)
}

// answers tells whether a is the word of the connector with this public identity on r.
func (a Answer) answers(r Request, public string) bool {
	return a.Nonce == r.Nonce && a.Tenant == r.Tenant && (r.Holder == "" || a.Connector == r.Holder) && verifies(public, a.statement(r), a.Signature)
}

func refusalCode(c backup.Code) bool {
	switch c {
	case backup.CodeDenied, backup.CodeNotAllowed, backup.CodeNotFound, backup.CodeSealed, backup.CodeRevoked, backup.CodeDestroyed:
		return true
	}
	return false
}

func (a Answer) wire() ([]byte, error) { return json.Marshal(a) }
