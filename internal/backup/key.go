package backup

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// EKeySize is the size of an ekey in bytes.
const EKeySize = 32

// KeyPurpose is why an ekey is asked for; a connector's policy may allow some and refuse others.
type KeyPurpose string

const (
	PurposeProvision KeyPurpose = "provision"
	PurposeBackup    KeyPurpose = "backup"
	PurposeRestore   KeyPurpose = "restore"
	PurposeVerify    KeyPurpose = "verify"
	PurposeRotate    KeyPurpose = "rotate" // to re-wrap the repository for another generation

	// The purposes below release nothing to whoever asks.
	PurposeCreate  KeyPurpose = "create"  // make a generation
	PurposeDrill   KeyPurpose = "drill"   // prove to hold the right one
	PurposeShare   KeyPurpose = "share"   // seal a generation to another connector
	PurposeDeposit KeyPurpose = "deposit" // take the generation that another connector sealed
	PurposeRetire  KeyPurpose = "retire"  // forget a generation that was replaced
	PurposeDestroy KeyPurpose = "destroy" // forget every generation
)

// EKeyState is where a generation of an ekey stands.
type EKeyState string

const (
	EKeyPending   EKeyState = "pending"   // being made or proved; the repository does not open with it yet
	EKeyActive    EKeyState = "active"    // opens the repository; one per tenant
	EKeyRetiring  EKeyState = "retiring"  // replaced, and still to be had until the grace period ends
	EKeyRetired   EKeyState = "retired"   // no longer to be had
	EKeyDestroyed EKeyState = "destroyed" // shredded
)

// EKey is what Holdfast itself knows of one generation of a tenant's ekey: everything but the key.
type EKey struct {
	Tenant     string    `json:"tenant"`
	Generation int       `json:"generation"` // from 1
	Method     KeyMethod `json:"method"`
	State      EKeyState `json:"state"`
	// Check is the public check key ("ed25519:…", see CheckKey) by which a holder proves to hold this generation; empty until it
	// was first had.
	Check string `json:"check,omitempty"`
	// Wrapped is the ekey as the KMS encrypted it; empty for connectors. It is safe to store, and of no use without the KMS.
	Wrapped string `json:"-"`

	Created     time.Time `json:"created"`
	Activated   time.Time `json:"activated,omitzero"`
	RetireAfter time.Time `json:"retireAfter,omitzero"` // end of the grace period of a retiring one
	Ended       time.Time `json:"ended,omitzero"`       // when it was retired or destroyed
}

// KeyRelease is a plain ekey on its way from a holder to the lease that will own it.
type KeyRelease struct {
	EKey   []byte `json:"-"` // EKeySize bytes; whoever has the release wipes them
	Holder string // "connector hq", "vault"
	// Requester is who asked (a worker identity's short form), Nonce what tells this release from every other.
	Requester, Nonce string
	At, Until        time.Time
}

// Format keeps the key out of whatever is printed, with any verb.
func (r KeyRelease) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "key released by %s", r.Holder) }

// KeyProof is what one holder of a generation said when it was asked to prove that it holds it, or to destroy it.
type KeyProof struct {
	Holder     string `json:"holder"`
	Generation int    `json:"generation"`
	OK         bool   `json:"ok"`
	Code       Code   `json:"code,omitempty"`
	Detail     string `json:"detail"`
	Hint       string `json:"hint,omitempty"`
}

// KeyDrill is the result of a loss drill: every configured source of the key was asked for proof.
type KeyDrill struct {
	Tenant     string     `json:"tenant"`
	Generation int        `json:"generation"`
	At         time.Time  `json:"at"`
	OK         bool       `json:"ok"`
	Proofs     []KeyProof `json:"proofs"`
}

// ShredReport is the record of a key's destruction, signed by the worker that wrote it.
type ShredReport struct {
	Tenant      string     `json:"tenant"`
	RequestedBy string     `json:"requestedBy"`
	ApprovedBy  []string   `json:"approvedBy"`
	Reason      string     `json:"reason,omitempty"`
	Requested   time.Time  `json:"requested"`
	Destroyed   time.Time  `json:"destroyed"`
	Generations []int      `json:"generations"`
	Holders     []KeyProof `json:"holders"` // what each holder said to its destruction
	// Proof says what came of the attempt to obtain each generation, and to open the repository, afterwards.
	Proof     []KeyProof `json:"proof"`
	Signer    string     `json:"signer"`    // public identity
	Signature []byte     `json:"signature"` // Ed25519 over Statement
}

// ShredDomain is the domain under which a ShredReport is signed.
const ShredDomain = "holdfast shred report v1"

// Statement is what a report's signature is over: the report as JSON, without the signature.
func (r ShredReport) Statement() ([]byte, error) {
	r.Signature = nil
	r.Requested, r.Destroyed = r.Requested.UTC(), r.Destroyed.UTC()
	return json.Marshal(r)
}

// KeyUse is one wish for an ekey: everything a receipt and the holder's policy need to know.
type KeyUse struct {
	Tenant     string     `json:"tenant"`
	Generation int        `json:"generation"` // 0: the current one
	Purpose    KeyPurpose `json:"purpose"`
	WorkflowID string     `json:"workflowID"`
	RunID      string     `json:"runID"`
	Attempt    int        `json:"attempt"`
}

// Receipt records one release of an ekey.
type Receipt struct {
	// Number counts the tenant's receipts from 1.
	Number     int64      `json:"number"`
	Tenant     string     `json:"tenant"`
	Generation int        `json:"generation"`
	Method     KeyMethod  `json:"method"`
	Purpose    KeyPurpose `json:"purpose"`
	WorkflowID string     `json:"workflowID"`
	RunID      string     `json:"runID"`
	Attempt    int        `json:"attempt"`
	// Holder is who released it: "connector hq", "vault".
	Holder string `json:"holder"`
	// Requester is the worker process that asked (its identity's short form).
	Requester string    `json:"requester"`
	Nonce     string    `json:"nonce"`
	At        time.Time `json:"at"`
	Until     time.Time `json:"until"`
}

// Lease is a plain ekey in memory for one piece of work. Close wipes it; a closed lease gives nothing.
type Lease struct {
	Generation int
	Receipt    int64
	mu         sync.Mutex
	key        []byte
}

// NewLease takes ownership of key, which must be EKeySize bytes.
func NewLease(key []byte, generation int, receipt int64) (*Lease, error) {
	if len(key) != EKeySize {
		return nil, errors.New("ekey has a wrong length")
	}
	return &Lease{key: key, Generation: generation, Receipt: receipt}, nil
}

// Format keeps the key out of whatever is printed, with any verb.
func (l *Lease) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "lease of generation %d", l.Generation) }

// RepositoryPassword derives the password of a tenant's repository: hex of HKDF-SHA256 (RFC 5869)
// over the ekey, bound to tenant and repository id. 64 characters.
func (l *Lease) RepositoryPassword(tenant, repositoryID string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.key == nil {
		return "", errors.New("the key lease is closed")
	}
	info := "holdfast repository password v1\x00" + tenant + "\x00" + repositoryID
	out, err := hkdf.Key(sha256.New, l.key, nil, info, 32)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(out), nil
}

// Check is the public check key of what is leased, for the tenant.
func (l *Lease) Check(tenant string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.key == nil {
		return "", errors.New("the key lease is closed")
	}
	private, err := CheckKey(l.key, tenant, l.Generation)
	if err != nil {
		return "", err
	}
	defer clear(private)
	return CheckText(private.Public().(ed25519.PublicKey)), nil
}

// CheckKey derives the Ed25519 key pair (RFC 8032) by which a holder of an ekey proves that it holds it, without revealing it: its seed
// is HKDF-SHA256 (RFC 5869) over the ekey with an empty salt and the info "holdfast ekey check v1", tenant and generation, joined
// by zero bytes. The caller wipes it.
func CheckKey(ekey []byte, tenant string, generation int) (ed25519.PrivateKey, error) {
	info := "holdfast ekey check v1\x00" + tenant + "\x00" + strconv.Itoa(generation)
	seed, err := hkdf.Key(sha256.New, ekey, nil, info, ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed), nil
}

// CheckText is a public check key as text: "ed25519:" and unpadded base64url.
func CheckText(public ed25519.PublicKey) string {
	return "ed25519:" + base64.RawURLEncoding.EncodeToString(public)
}

// Close wipes the key. It may be called more than once.
func (l *Lease) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.key)
	l.key = nil
}

// KeyStatus is what an administrator may know about a tenant's key.
type KeyStatus struct {
	Tenant     string            `json:"tenant"`
	Method     KeyMethod         `json:"method"`
	Generation int               `json:"generation"`
	Connectors []ConnectorStatus `json:"connectors,omitempty"`
	Receipts   int64             `json:"receipts"`
	Last       *Receipt          `json:"last,omitempty"`
	// Generations are all there ever were, oldest first.
	Generations []EKey       `json:"generations,omitempty"`
	Drill       *KeyDrill    `json:"drill,omitempty"` // the last one
	Shred       *ShredReport `json:"shred,omitempty"`
}

// ConnectorStatus is one pinned connector as the gateways last saw it.
type ConnectorStatus struct {
	Name      string    `json:"name"`
	Identity  string    `json:"identity"`
	Connected bool      `json:"connected"`
	LastSeen  time.Time `json:"lastSeen"`
	// Session counts the times it connected; reports carry it, so that a late one is recognised.
	Session int64 `json:"session"`
	// Enrolled tells that it was pinned by an enrolment and not by the tenant's file.
	Enrolled bool `json:"enrolled,omitempty"`
	// Recipient is the connector's public HPKE key, to which another connector can seal an ekey; it told us when it connected.
	Recipient []byte `json:"recipient,omitempty"`
	// Holds are the generations that it said it holds when it connected.
	Holds []HeldKey `json:"holds,omitempty"`
}

// HeldKey is a generation that a connector says it holds.
type HeldKey struct {
	Generation int    `json:"generation"`
	Check      string `json:"check"` // see CheckKey
}

// ConnectorSelf is what a connector tells of itself when it connects.
type ConnectorSelf struct {
	Recipient []byte
	Holds     []HeldKey
}

// Enrolment admits one connector, once, within a short time. The token's secret is known to whoever carries it to the connector; only
// its SHA-256 is kept.
type Enrolment struct {
	Tenant     string
	Connector  string
	SecretHash []byte
	Expires    time.Time
	// Presented is when a connector used the token; zero before. Identity and Recipient are what it showed.
	Presented time.Time
	Identity  string
	Recipient []byte
}
