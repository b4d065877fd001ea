package connector

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var update = flag.Bool("update", false, "write a new test vector into docs/connector-protocol.md")

const (
	vectorPage  = "../../docs/connector-protocol.md"
	vectorBegin = "-update` -->\n```json\n"
	vectorEnd   = "\n```\n<!-- end of vector -->"
)

// vector is everything of one release and one call. Strings are hex unless said otherwise.
type vector struct {
	WorkerSeed       string            `json:"workerSeed"`
	ConnectorSeed    string            `json:"connectorSeed"`
	RecipientPrivate string            `json:"recipientPrivate"`
	EKey             string            `json:"ekey"`
	Request          Request           `json:"request"`
	RequestStatement string            `json:"requestStatement"`
	Answer           Answer            `json:"answer"`
	AnswerSHA256     string            `json:"answerStatementSHA256"`
	Refusal          Answer            `json:"refusal"`
	RefusalSHA256    string            `json:"refusalStatementSHA256"`
	CallBody         string            `json:"callBody"` // text
	CallHeaders      map[string]string `json:"callHeaders"`
	CallStatement    string            `json:"callStatement"`
}

func newVector(t *testing.T) vector {
	t.Helper()
	worker, connector := seeded('w'), seeded('c')
	ekey := bytes.Repeat([]byte{0x5a}, backup.EKeySize)
	to, err := newRecipient()
	must(t, err)
	private, err := to.private.Bytes()
	must(t, err)
	use := backup.KeyUse{Tenant: "acme", Purpose: backup.PurposeBackup, WorkflowID: "backup/acme/microsoft365", RunID: "0199c0de-7e57-7000-8000-000000000001", Attempt: 1}
	q, err := newRequest(use, to, worker, time.UnixMilli(1764000000000), 45*time.Second)
	must(t, err)
	release, err := sealFor(q, ekey, 1)
	must(t, err)
	k := &KeyFile{Setup: Setup{Connector: "hq", Tenant: "acme"}, identity: connector}
	v := vector{
		WorkerSeed: hex.EncodeToString(worker.private.Seed()), ConnectorSeed: hex.EncodeToString(connector.private.Seed()),
		RecipientPrivate: hex.EncodeToString(private), EKey: hex.EncodeToString(ekey),
		Request: q, RequestStatement: hex.EncodeToString(q.statement()),
		Answer: answerTo(q, k, release, nil), Refusal: answerTo(q, k, nil, denied("the purpose is not known")),
		CallBody: "{}", CallHeaders: map[string]string{},
	}
	v.AnswerSHA256, v.RefusalSHA256 = hashOf(v.Answer.statement(q)), hashOf(v.Refusal.statement(q))
	call, c := vectorCall(t, k, v.CallBody)
	for _, name := range []string{headerTenant, headerConnector, headerTime, headerNonce, headerSignature} {
		v.CallHeaders[name] = call.Header.Get(name)
	}
	v.CallStatement = hex.EncodeToString(c.statement())
	return v
}

func vectorCall(t *testing.T, k *KeyFile, body string) (*http.Request, call) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://gateway.example"+pollPath, nil)
	must(t, err)
	signCall(r, []byte(body), k, time.UnixMilli(1764000000000))
	c, err := parseCall(r, []byte(body))
	must(t, err)
	return r, c
}

func seeded(b byte) Identity {
	return Identity{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))}
}

func hashOf(s statement) string {
	sum := sha256.Sum256(s)
	return hex.EncodeToString(sum[:])
}

// TestVector holds the page to the code: every byte that the page shows is what the code makes, verifies and opens.
func TestVector(t *testing.T) {
	page := string(readFile(t, vectorPage))
	before, rest, found := strings.Cut(page, vectorBegin)
	text, after, ended := strings.Cut(rest, vectorEnd)
	if !found || !ended {
		t.Fatal("the page has no vector")
	}
	if *update {
		b, err := json.MarshalIndent(newVector(t), "", "  ")
		must(t, err)
		text = string(b)
		must(t, os.WriteFile(vectorPage, []byte(before+vectorBegin+text+vectorEnd+after), 0o644))
	}
	var v vector
	must(t, decode([]byte(text), 64<<10, &v))
	checkRequestVector(t, v)
	checkAnswerVector(t, v)
	checkCallVector(t, v)
}

func checkRequestVector(t *testing.T, v vector) {
	t.Helper()
	worker := identityOf(t, v.WorkerSeed)
	must(t, v.Request.check())
	if hex.EncodeToString(v.Request.statement()) != v.RequestStatement {
		t.Error("the request statement is another one")
	}
	if v.Request.Requester != worker.Public() || !v.Request.signed() || !bytes.Equal(v.Request.Signature, worker.sign(v.Request.statement())) {
		t.Error("the request's signature is another one")
	}
}

func checkAnswerVector(t *testing.T, v vector) {
	t.Helper()
	connector := identityOf(t, v.ConnectorSeed)
	private, err := kem.NewPrivateKey(unhex(t, v.RecipientPrivate))
	must(t, err)
	to := &recipient{private}
	if !bytes.Equal(to.public(), v.Request.Recipient) {
		t.Error("the private key is not the recipient's")
	}
	for sum, a := range map[string]Answer{v.AnswerSHA256: v.Answer, v.RefusalSHA256: v.Refusal} {
		must(t, a.check())
		if s := a.statement(v.Request); hashOf(s) != sum || !bytes.Equal(a.Signature, connector.sign(s)) || !a.answers(v.Request, connector.Public()) {
			t.Error("an answer's statement or signature is another one")
		}
	}
	ekey, err := to.open(v.Request, *v.Answer.Release)
	if must(t, err); hex.EncodeToString(ekey) != v.EKey {
		t.Error("another ekey comes out")
	}
}

func checkCallVector(t *testing.T, v vector) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, "https://gateway.example"+pollPath, nil)
	must(t, err)
	for name, value := range v.CallHeaders {
		r.Header.Set(name, value)
	}
	c, err := parseCall(r, []byte(v.CallBody))
	must(t, err)
	connector := identityOf(t, v.ConnectorSeed)
	if hex.EncodeToString(c.statement()) != v.CallStatement || !verifies(connector.Public(), c.statement(), c.Signature) {
		t.Error("the call's statement or signature is another one")
	}
}

func identityOf(t *testing.T, seed string) Identity {
	t.Helper()
	return Identity{ed25519.NewKeyFromSeed(unhex(t, seed))}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must(t, err)
	return b
}

// TestPageLimits: the numbers in the page's prose are the code's.
func TestPageLimits(t *testing.T) {
	page := string(readFile(t, vectorPage))
	for _, fact := range []struct {
		text string
		true bool
	}{
		{"at most 16,384 bytes", maxMessage == 16384},
		{"1,216 bytes", recipientSize == 1216},
		{"1,120 bytes", encSize == 1120},
		{"48 bytes", ciphertextSize == 48},
		{"25722 (0x647a)", kem.ID() == 25722 && kem.ID() == 0x647a},
		{"KDF | 0x0001", kdf.ID() == 1},
		{"AEAD | 0x0002", aead.ID() == 2},
		{"at most 60,000 later", MaxLifetime.Milliseconds() == 60000},
		{"at most 10 s in the future", clockSkew == 10*time.Second},
		{"at most 10,000 live at once", maxNonces == 10000},
		{"at most 8 requests", maxHandOut == 8},
		{"At most 4 polls", maxPolls == 4},
		{"more than 60 s from the gateway's", callWindow == 60*time.Second},
		{"not seen for 40 s", DefaultLostAfter == 40*time.Second},
		{"no answer for 10 s", NewBroker(nil, Identity{}, BrokerOptions{}).o.Patience == 10*time.Second},
		{"three at most", maxAsks == 3},
		{`"poll":25000`, NewGateway(nil, nil, GatewayOptions{}).o.PollFor == 25*time.Second},
	} {
		if !strings.Contains(page, fact.text) || !fact.true {
			t.Errorf("%q: in the page %t, true %t", fact.text, strings.Contains(page, fact.text), fact.true)
		}
	}
}

// TestStatementFields counts the fields as the page does.
func TestStatementFields(t *testing.T) {
	v := newVector(t)
	_, c := vectorCall(t, &KeyFile{Setup: Setup{Connector: "hq", Tenant: "acme"}, identity: seeded('c')}, "{}")
	for want, s := range map[int]statement{14: v.Request.statement(), 11: v.Answer.statement(v.Request), 8: c.statement()} {
		n := 0
		for rest := []byte(s); len(rest) > 0; n++ {
			rest = rest[4+int(uint32(rest[0])<<24|uint32(rest[1])<<16|uint32(rest[2])<<8|uint32(rest[3])):]
		}
		if n != want {
			t.Errorf("%d fields, want %d", n, want)
		}
	}
}
