package main

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

// receiptMemory is what this machine remembers of a tenant's log of receipts: whom it trusts to sign, and the last head that it
// verified. A log that lost its end is found by nobody but who remembers the end.
type receiptMemory struct {
	Identities []string     `json:"identities"`
	Head       *ledger.Head `json:"head,omitempty"`
}

// maxReceiptMemory bounds the file in bytes.
const maxReceiptMemory = 64 << 10

func (p *program) receiptMemoryFile(tenant string) string {
	return filepath.Join(p.stateFolder(), "receipts", url.PathEscape(tenant)+".json")
}

// rememberedReceipts is empty when nothing was verified before.
func (p *program) rememberedReceipts(tenant string) (m receiptMemory, err error) {
	file := p.receiptMemoryFile(tenant)
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, badMemory(file, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxReceiptMemory))
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		return m, badMemory(file, err)
	}
	return m, nil
}

// rememberReceipts replaces the file (0600) at once or not at all.
func (p *program) rememberReceipts(tenant string, m receiptMemory) error {
	file := p.receiptMemoryFile(tenant)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return badMemory(file, err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".receipts-*") // mode 0600
	if err != nil {
		return badMemory(file, err)
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return badMemory(file, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

func badMemory(file string, err error) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: file + " cannot be used, in which is kept what was verified before",
		Hint: "put it back from a copy, or take it away and verify anew with --identity", Cause: err}
}
