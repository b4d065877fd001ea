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
	"reflect"
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

// vector is one message of every kind. Strings are hex unless said otherwise.
type vector struct {
	WorkerSeed       string `json:"workerSeed"`
	ConnectorSeed    string `json:"connectorSeed"` // of hq
	BranchSeed       string `json:"branchSeed"`    // of branch
	RecipientPrivate string `json:"recipientPrivate"`
	BranchPrivate    string `json:"branchPrivate"` // branch's static recipient key
	BranchAddress    []byte `json:"branchAddress"`
	EKey             string `json:"ekey"`
	CheckSeed        string `json:"checkSeed"` // of generation 1
	Check            string `json:"check"`     // text

	Release          Request `json:"request"`
	RequestStatement string  `json:"requestStatement"`
	Answer           Answer  `json:"answer"`
	AnswerStatement  string  `json:"answerStatement"`
	Refusal          Answer  `json:"refusal"`
	RefusalSHA256    string  `json:"refusalStatementSHA256"`

	Share             Request `json:"share"`
	ShareAnswer       Answer  `json:"shareAnswer"`
	ShareAnswerSHA256 string  `json:"shareAnswerStatementSHA256"`

	Deposit             Request `json:"deposit"`
	DepositSHA256       string  `json:"depositStatementSHA256"`
	DepositAnswer       Answer  `json:"depositAnswer"`
	ProofStatement      string  `json:"proofStatement"`
	DepositAnswerSHA256 string  `json:"depositAnswerStatementSHA256"`

	Retire          Request `json:"retire"`
	RetireStatement string  `json:"retireStatement"`
	Retired         Answer  `json:"retireAnswer"`
	RetiredSHA256   string  `json:"retireAnswerStatementSHA256"`

	CallBody      string            `json:"callBody"` // text
	CallHeaders   map[string]string `json:"callHeaders"`
	CallStatement string            `json:"callStatement"`
}

// vectorParty is a connector of the vector, without a file.
func vectorParty(t *testing.T, name string, seed byte) *KeyFile {
	t.Helper()
	sealed, err := newRecipient()
	must(t, err)
	return &KeyFile{Setup: Setup{Connector: name, Tenant: "acme"}, identity: seeded(seed), sealed: sealed}
}

func newVector(t *testing.T) vector {
	t.Helper()
	worker, hq, branch := seeded('w'), vectorParty(t, "hq", 'c'), vectorParty(t, "branch", 'b')
	held, err := newGeneration("acme", 1, bytes.Repeat([]byte{0x5a}, backup.EKeySize), time.UnixMilli(1764000000000))
	must(t, err)
	to, err := newRecipient()
	must(t, err)
	use := func(p backup.KeyPurpose, generation int) backup.KeyUse {
		return backup.KeyUse{Tenant: "acme", Generation: generation, Purpose: p, WorkflowID: "backup/acme/microsoft365", RunID: "0199c0de-7e57-7000-8000-000000000001", Attempt: 1}
	}
	ask := func(w wish, to *recipient) Request {
		q, err := newRequest(w, to, worker, time.UnixMilli(1764000000000), 45*time.Second)
		must(t, err)
		return q
	}
	seal := func(q Request) Answer {
		release, err := sealFor(q, held.ekey, 1)
		must(t, err)
		return answerTo(q, hq, Answer{Release: release})
	}
	check, err := backup.CheckKey(held.ekey, "acme", 1)
	must(t, err)
	v := vector{
		WorkerSeed: hex.EncodeToString(worker.private.Seed()), ConnectorSeed: hex.EncodeToString(hq.identity.private.Seed()), BranchSeed: hex.EncodeToString(branch.identity.private.Seed()),
		RecipientPrivate: privateHex(t, to), BranchPrivate: privateHex(t, branch.sealed), BranchAddress: branch.Address(),
		EKey: hex.EncodeToString(held.ekey), CheckSeed: hex.EncodeToString(check.Seed()), Check: held.Check,
		CallBody: "{}", CallHeaders: map[string]string{},
	}
	v.Release = ask(wish{use: use(backup.PurposeBackup, 0)}, to)
	v.Answer, v.Refusal = seal(v.Release), answerTo(v.Release, hq, Answer{Refusal: denied("the purpose is not known")})
	v.Share = ask(wish{use: use(backup.PurposeShare, 1), check: held.Check, address: v.BranchAddress,
		to: &Peer{Connector: "branch", Identity: branch.Identity(), Signature: v.BranchAddress[recipientSize:]}}, nil)
	v.ShareAnswer = seal(v.Share)
	v.Deposit = ask(wish{use: use(backup.PurposeDeposit, 1), holder: "branch", check: held.Check,
		deposit: &Deposit{Request: v.Share, Answer: v.ShareAnswer, Sender: hq.Identity()}}, nil)
	proof, err := proveTo(v.Deposit, branch, held)
	must(t, err)
	v.DepositAnswer = answerTo(v.Deposit, branch, Answer{Proof: proof})
	v.Retire = ask(wish{use: use(backup.PurposeRetire, 1), holder: "hq"}, nil)
	v.Retired = answerTo(v.Retire, hq, Answer{Done: &Done{Generations: []int{1}}})
	v.sums()

	call, c := vectorCall(t, hq, v.CallBody)
	for _, name := range []string{headerTenant, headerConnector, headerTime, headerNonce, headerSignature} {
		v.CallHeaders[name] = call.Header.Get(name)
	}
	v.CallStatement = hex.EncodeToString(c.statement())
	return v
}

// sums fills in what follows from the messages.
func (v *vector) sums() {
	v.RequestStatement, v.AnswerStatement = hex.EncodeToString(v.Release.statement()), hex.EncodeToString(v.Answer.statement(v.Release))
	v.RefusalSHA256 = hashOf(v.Refusal.statement(v.Release))
	v.ShareAnswerSHA256 = hashOf(v.ShareAnswer.statement(v.Share))
	v.DepositSHA256, v.ProofStatement = hashOf(v.Deposit.statement()), hex.EncodeToString(proofStatement(v.Deposit, "branch", 1))
	v.DepositAnswerSHA256 = hashOf(v.DepositAnswer.statement(v.Deposit))
	v.RetireStatement, v.RetiredSHA256 = hex.EncodeToString(v.Retire.statement()), hashOf(v.Retired.statement(v.Retire))
}

func privateHex(t *testing.T, r *recipient) string {
	t.Helper()
	b, err := r.private.Bytes()
	must(t, err)
	return hex.EncodeToString(b)
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
	must(t, decode([]byte(text), 128<<10, &v))
	again := v
	if again.sums(); !reflect.DeepEqual(v, again) {
		t.Error("a statement is another one")
	}
	checkMessages(t, v)
	checkKeys(t, v)
	checkCallVector(t, v)
}

func checkMessages(t *testing.T, v vector) {
	t.Helper()
	worker := identityOf(t, v.WorkerSeed)
	for what, m := range map[string]struct {
		request Request
		answer  Answer
		by      string
	}{
		"release": {v.Release, v.Answer, v.ConnectorSeed}, "refusal": {v.Release, v.Refusal, v.ConnectorSeed}, "share": {v.Share, v.ShareAnswer, v.ConnectorSeed},
		"deposit": {v.Deposit, v.DepositAnswer, v.BranchSeed}, "retire": {v.Retire, v.Retired, v.ConnectorSeed},
	} {
		must(t, m.request.check())
		must(t, m.answer.check())
		if !m.request.signed() || m.request.Requester != worker.Public() || !bytes.Equal(m.request.Signature, worker.sign(m.request.statement())) {
			t.Errorf("%s: the request's signature is another one", what)
		}
		connector := identityOf(t, m.by)
		if !bytes.Equal(m.answer.Signature, connector.sign(m.answer.statement(m.request))) || !m.answer.answers(m.request, connector.Public()) || !m.answer.suits(m.request) {
			t.Errorf("%s: the answer's signature is another one", what)
		}
	}
}

func checkKeys(t *testing.T, v vector) {
	t.Helper()
	for private, m := range map[string]struct {
		request Request
		release *Release
	}{v.RecipientPrivate: {v.Release, v.Answer.Release}, v.BranchPrivate: {v.Deposit.Deposit.Request, v.Deposit.Deposit.Answer.Release}} {
		key, err := kem.NewPrivateKey(unhex(t, private))
		must(t, err)
		to := &recipient{key}
		if !bytes.Equal(to.public(), m.request.Recipient) {
			t.Error("a private key is not the recipient's")
		}
		ekey, err := to.open(m.request, *m.release)
		if must(t, err); hex.EncodeToString(ekey) != v.EKey {
			t.Error("another ekey comes out")
		}
	}
	branch := identityOf(t, v.BranchSeed)
	if !CheckAddress("acme", "branch", branch.Public(), v.BranchAddress) || !bytes.Equal(v.BranchAddress[:recipientSize], v.Share.Recipient) {
		t.Error("the address is not branch's")
	}
	check, err := backup.CheckKey(unhex(t, v.EKey), "acme", 1)
	must(t, err)
	if hex.EncodeToString(check.Seed()) != v.CheckSeed || v.Check != v.DepositAnswer.Proof.Check || v.Check != identityOf(t, v.CheckSeed).Public() {
		t.Error("the check key is another one")
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
		{"at most 256", maxEnded == 256},
		{"at most 64 |", maxHeld == 64},
		{"more than 1,000 calls a second", callsPer == 1000},
		{"printable, at most 200 bytes", maxReason == 200},
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

// TestPagePolicy: the policy that the page shows is a good one.
func TestPagePolicy(t *testing.T) {
	_, rest, _ := strings.Cut(string(readFile(t, vectorPage)), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the page shows no policy")
	}
	p, err := ParsePolicy([]byte(text))
	if must(t, err); p.ReleasesPerHour != 500 || len(p.ShareWith) != 1 || p.allows(backup.PurposeDestroy) {
		t.Fatalf("read %+v", p)
	}
}

// TestStatementFields counts the fields as the page does.
func TestStatementFields(t *testing.T) {
	v := newVector(t)
	_, c := vectorCall(t, vectorParty(t, "hq", 'c'), "{}")
	for _, x := range []struct {
		what string
		want int
		s    statement
	}{
		{"request", 20, v.Release.statement()}, {"deposit request", 20, v.Deposit.statement()}, {"deposit", 6, v.Deposit.Deposit.statement()},
		{"answer", 16, v.Answer.statement(v.Release)}, {"proof", 4, proofStatement(v.Deposit, "branch", 1)}, {"done", 1, v.Retired.Done.statement()},
		{"address", 4, addressStatement("acme", "branch", v.Share.Recipient)}, {"call", 8, c.statement()},
	} {
		n := 0
		for rest := []byte(x.s); len(rest) > 0; n++ {
			rest = rest[4+int(uint32(rest[0])<<24|uint32(rest[1])<<16|uint32(rest[2])<<8|uint32(rest[3])):]
		}
		if n != x.want {
			t.Errorf("%s: %d fields, want %d", x.what, n, x.want)
		}
	}
}
