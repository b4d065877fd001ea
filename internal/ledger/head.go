package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Head is what a worker signs when it appends a receipt: the log as it was then.
type Head struct {
	// Size is how many receipts the log has, and the number of the last one.
	Size int64 `json:"size"`
	// Leaf is the hash of the last receipt, Root that of the tree over all of them.
	Leaf tlog.Hash `json:"leaf"`
	Root tlog.Hash `json:"root"`
	Time time.Time `json:"time"`
	// Signer is the public identity of the worker that signed it.
	Signer    string `json:"signer"`
	Signature []byte `json:"signature"`
}

// maxHead bounds the wire form of a head in bytes; a right one has about 400.
const maxHead = 1 << 10

var errNoHead = errors.New("not the head of a log of receipts")

// ParseHead reads a head's wire form: JSON in exactly the bytes that a Head is written in. It does not check the signature.
func ParseHead(b []byte) (Head, error) {
	var h Head
	if len(b) > maxHead || json.Unmarshal(b, &h) != nil || h.Size < 1 || !IsIdentity(h.Signer) {
		return Head{}, errNoHead
	}
	again, err := json.Marshal(h)
	if err != nil || !bytes.Equal(again, b) {
		return Head{}, errNoHead
	}
	return h, nil
}

// message is what is signed of the head of a tenant's log.
func (h Head) message(tenant string) []byte {
	return statement{}.text(tenant).number(h.Size).bytes(h.Leaf[:]).bytes(h.Root[:]).time(h.Time)
}

// signed tells whether the head is what its signer said of the tenant's log.
func (h Head) signed(tenant string) bool {
	return Verifies(h.Signer, headDomain, h.message(tenant), h.Signature)
}
