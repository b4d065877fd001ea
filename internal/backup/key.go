package backup

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
)

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
	// Holder is the connector that released it.
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
}

// ConnectorStatus is one pinned connector as the gateways last saw it.
type ConnectorStatus struct {
	Name      string    `json:"name"`
	Identity  string    `json:"identity"`
	Connected bool      `json:"connected"`
	LastSeen  time.Time `json:"lastSeen"`
	// Session counts the times it connected; reports carry it, so that a late one is recognised.
	Session int64 `json:"session"`
}
