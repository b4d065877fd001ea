package ledger

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Rows is what the log needs of the store.
type Rows interface {
	// SealReceipt gives the receipt the tenant's next number and keeps it with the head that seal returns, in one transaction. tree
	// is the next of the seal before, nil for the first receipt. A receipt whose nonce is there keeps its number and is not sealed again.
	SealReceipt(ctx context.Context, r backup.Receipt, seal func(numbered backup.Receipt, tree []byte) (head, next []byte, err error)) (int64, error)
}

// Signer is a worker's identity.
type Signer interface {
	// Public is the identity's public half, "ed25519:" and unpadded base64url.
	Public() string
	// Sign signs the message for the domain; see Verifies.
	Sign(domain string, message []byte) []byte
}

// Log appends receipts to tenants' logs, in the name of one worker. It may be used concurrently, also by many processes on one store.
type Log struct {
	rows   Rows
	signer Signer
	now    func() time.Time
}

// New makes a log over the store's rows.
func New(rows Rows, signer Signer) *Log { return &Log{rows, signer, time.Now} }

// AppendReceipt appends the receipt to its tenant's log under a new signed head and returns its number. Appended again, by its nonce,
// it keeps its number.
func (l *Log) AppendReceipt(ctx context.Context, r backup.Receipt) (int64, error) {
	return l.rows.SealReceipt(ctx, r, l.seal)
}

func (l *Log) seal(r backup.Receipt, before []byte) (head, next []byte, err error) {
	t, err := parseTree(before)
	if err == nil && t.size != r.Number-1 {
		err = errNoTree
	}
	if err != nil {
		return nil, nil, damaged(r.Tenant, err)
	}
	h := Head{Size: r.Number, Leaf: leafHash(r), Time: l.now().UTC().Truncate(time.Microsecond), Signer: l.signer.Public()}
	if err := t.add(h.Leaf); err != nil {
		return nil, nil, damaged(r.Tenant, err)
	}
	if h.Root, err = t.root(); err != nil {
		return nil, nil, damaged(r.Tenant, err)
	}
	h.Signature = l.signer.Sign(headDomain, h.message(r.Tenant))
	head, err = json.Marshal(h)
	return head, t.bytes(), err
}

// damaged stops releases: a key that cannot be accounted for is not handed out.
func damaged(tenant string, cause error) error {
	return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "the receipts of " + tenant + " cannot be continued",
		Hint: "holdfast key receipts " + tenant + " --verify names the break; put the store back from its copy", Cause: cause}
}
