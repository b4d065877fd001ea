package test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// What docs/connector-protocol.md says of messages, in the intruder's own code.

// asked is a request.
type asked struct {
	Version    int64     `json:"version"`
	Tenant     string    `json:"tenant"`
	Holder     string    `json:"holder"`
	Generation int64     `json:"generation"`
	Purpose    string    `json:"purpose"`
	WorkflowID string    `json:"workflowID"`
	RunID      string    `json:"runID"`
	Attempt    int64     `json:"attempt"`
	Issued     int64     `json:"issued"`
	Expires    int64     `json:"expires"`
	Nonce      string    `json:"nonce"`
	KEM        int64     `json:"kem"`
	Recipient  []byte    `json:"recipient,omitempty"`
	Check      string    `json:"check"`
	To         *peer     `json:"to,omitempty"`
	Deposit    *handover `json:"deposit,omitempty"`
	Requester  string    `json:"requester"`
	Signature  []byte    `json:"signature"`
}

type peer struct {
	Connector string `json:"connector"`
	Identity  string `json:"identity"`
	Signature []byte `json:"signature"`
}

// handover is what a deposit carries.
type handover struct {
	Request asked    `json:"request"`
	Answer  answered `json:"answer"`
	Sender  string   `json:"sender"`
}

// answered is a connector's answer.
type answered struct {
	Version   int64    `json:"version"`
	Tenant    string   `json:"tenant"`
	Connector string   `json:"connector"`
	Nonce     string   `json:"nonce"`
	Release   *release `json:"release,omitempty"`
	Proof     *proof   `json:"proof,omitempty"`
	Done      *done    `json:"done,omitempty"`
	Refusal   *refusal `json:"refusal,omitempty"`
	Signature []byte   `json:"signature"`
}

type release struct {
	Generation int64  `json:"generation"`
	Enc        []byte `json:"enc"`
	Ciphertext []byte `json:"ciphertext"`
}

type proof struct {
	Generation int64  `json:"generation"`
	Check      string `json:"check"`
	Signature  []byte `json:"signature"`
}

type done struct {
	Generations []int64 `json:"generations"`
}

type refusal struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// fields is a statement: each field preceded by its length in four bytes.
func fields(all ...any) (statement []byte) {
	for _, f := range all {
		var b []byte
		switch f := f.(type) {
		case string:
			b = []byte(f)
		case []byte:
			b = f
		case int64:
			b = binary.BigEndian.AppendUint64(nil, uint64(f))
		}
		statement = append(binary.BigEndian.AppendUint32(statement, uint32(len(b))), b...)
	}
	return statement
}

func (a asked) statement() []byte {
	var to peer
	if a.To != nil {
		to = *a.To
	}
	return fields("holdfast/key-request/v1", a.Version, a.Tenant, a.Holder, a.Generation, a.Purpose, a.WorkflowID, a.RunID, a.Attempt, a.Issued, a.Expires,
		a.Nonce, a.KEM, a.Recipient, a.Check, to.Connector, to.Identity, to.Signature, a.Deposit.statement(), a.Requester)
}

func (h *handover) statement() []byte {
	if h == nil {
		return nil
	}
	return fields("holdfast/key-deposit/v1", h.Request.statement(), h.Request.Signature, h.Answer.statement(h.Request), h.Answer.Signature, h.Sender)
}

func (a answered) statement(to asked) []byte {
	var kind string
	var r release
	var p proof
	var d []byte
	var no refusal
	switch {
	case a.Release != nil:
		kind, r = "release", *a.Release
	case a.Proof != nil:
		kind, p = "proof", *a.Proof
	case a.Refusal != nil:
		kind, no = "refusal", *a.Refusal
	case a.Done != nil:
		kind = "done"
		for _, n := range a.Done.Generations {
			d = append(d, fields(n)...)
		}
	}
	return fields("holdfast/key-answer/v1", a.Version, to.statement(), a.Tenant, a.Connector, a.Nonce, kind, no.Code, no.Reason,
		r.Generation, r.Enc, r.Ciphertext, p.Generation, p.Check, p.Signature, d)
}

// identityOf writes the public half of a key as the page does; signedBy is the other way round.
func identityOf(key ed25519.PrivateKey) string {
	return "ed25519:" + base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}

func signedBy(identity string, statement, signature []byte) bool {
	text, _ := strings.CutPrefix(identity, "ed25519:")
	public, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(public) == ed25519.PublicKeySize && ed25519.Verify(public, statement, signature)
}

// understood reads an exchange and finds every signature in it right, so that a later refusal is not for a mistake of the reader's. connector
// is the public identity of who answered.
func understood(request, answer []byte, connector string) (q asked, a answered, err error) {
	if err = errors.Join(read(request, &q), read(answer, &a)); err != nil {
		return q, a, err
	}
	switch {
	case !signedBy(q.Requester, q.statement(), q.Signature):
		err = errors.New("the request is not signed as the page says")
	case !signedBy(connector, a.statement(q), a.Signature):
		err = errors.New("the answer is not signed as the page says")
	case a.Proof != nil && !signedBy(a.Proof.Check, fields("holdfast/key-proof/v1", q.statement(), a.Connector, a.Proof.Generation), a.Proof.Signature):
		err = errors.New("the proof is not signed as the page says")
	}
	return q, a, err
}

// read takes no field that the page does not name.
func read(message []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(message))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// keys are a connector's, or those that somebody made for himself.
type keys struct {
	identity  ed25519.PrivateKey
	recipient hpke.PrivateKey
	ekeys     map[int64][]byte
}

// address is the recipient key, signed.
func (k keys) address(tenant, connector string) []byte {
	public := k.recipient.PublicKey().Bytes()
	return append(public, ed25519.Sign(k.identity, fields("holdfast/connector-address/v1", tenant, connector, public))...)
}

// hello is the body of the call by which a connector says where it can be sealed to and what it holds.
func (k keys) hello(tenant, connector string) (string, error) {
	holds := []map[string]any{}
	for number, ekey := range k.ekeys {
		seed, err := hkdf.Key(sha256.New, ekey, nil, fmt.Sprintf("holdfast ekey check v1\x00%s\x00%d", tenant, number), ed25519.SeedSize)
		if err != nil {
			return "", err
		}
		holds = append(holds, map[string]any{"generation": number, "check": identityOf(ed25519.NewKeyFromSeed(seed))})
	}
	body, err := json.Marshal(map[string]any{"address": k.address(tenant, connector), "holds": holds})
	return string(body), err
}

// token is what the intruder needs of an enrolment token.
type token struct {
	secret            []byte
	tenant, connector string
}

func readToken(text string) (token, error) {
	body, ok := strings.CutPrefix(strings.Join(strings.Fields(text), ""), "hfenroll1.")
	b, err := base64.RawURLEncoding.DecodeString(body)
	if !ok || err != nil || len(b) < 8 {
		return token{}, fmt.Errorf("this is no token: %v", err)
	}
	sum := sha256.Sum256(b[:len(b)-8])
	if !bytes.Equal(sum[:8], b[len(b)-8:]) {
		return token{}, errors.New("the token's checksum is not as the page says")
	}
	var all [4][]byte // secret, expiry, tenant, connector
	for i := range all {
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return token{}, errors.New("the token breaks off")
		}
		end := 2 + int(binary.BigEndian.Uint16(b))
		all[i], b = b[2:end], b[end:]
	}
	return token{all[0], string(all[2]), string(all[3])}, nil
}

// enrolment is the call by which somebody shows a token.
func (t token) enrolment(k keys, at time.Time) ([]byte, error) {
	where, public, ms := k.address(t.tenant, t.connector), identityOf(k.identity), at.UnixMilli()
	statement := fields("holdfast/connector-enroll/v1", int64(1), t.tenant, t.connector, t.secret, public, where, ms)
	return json.Marshal(map[string]any{"version": 1, "tenant": t.tenant, "connector": t.connector, "secret": t.secret, "identity": public,
		"address": where, "at": ms, "signature": ed25519.Sign(k.identity, statement)})
}
