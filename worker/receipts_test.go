package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// Whoever reads receipts through the gateway can verify all of them with the worker's public identity, and sees the runs they were for.
func TestReceiptsAreServedAsTheyWereSigned(t *testing.T) {
	s := settings{State: t.TempDir()}
	if err := s.complete(); err != nil {
		t.Fatal(err)
	}
	p, err := s.open(t.Context(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if err := p.store.SaveTenant(t.Context(), backup.Tenant{ID: "acme"}); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		_, _, err := p.store.StartRun(t.Context(), backup.Run{Tenant: "acme", WorkflowID: "backup/acme", RunID: fmt.Sprint("run-", i), Started: time.Now()}, backup.ServicePlan{Default: []backup.Service{backup.Mail}}, 10)
		if err != nil {
			t.Fatal(err)
		}
	}
	const receipts = 450 // pages of 200
	log := ledger.New(p.store, p.identity)
	for i := range receipts {
		_, err := log.AppendReceipt(t.Context(), backup.Receipt{Tenant: "acme", Generation: 1, Method: backup.KeyByKMS, Purpose: backup.PurposeBackup, WorkflowID: "backup/acme",
			RunID: fmt.Sprint("run-", i%3), Attempt: 1, Holder: "vault", Requester: p.identity.Short(), Nonce: fmt.Sprint(i), At: time.Now(), Until: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
	}
	c := readingClient(t, p)
	id, err := c.WorkerIdentity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Receipts(t.Context(), "acme", "", "")
	if err != nil {
		t.Fatal(err)
	}
	report, err := ledger.Verify("acme", func(yield func(ledger.Row, error) bool) {
		for page := first; ; {
			for _, e := range page.Receipts {
				if want := map[string]int64{"run-0": 1, "run-1": 2}[e.RunID]; e.Run != want {
					t.Errorf("receipt %d of %s is for run %d, want %d", e.Number, e.RunID, e.Run, want)
				}
				if !yield(ledger.Row{Receipt: e.Receipt, Head: e.Head}, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			if page, err = c.Receipts(t.Context(), "acme", "", page.Next); err != nil {
				yield(ledger.Row{}, err)
				return
			}
		}
	}, ledger.Expectation{Identities: []string{id.Identity}, Newest: first.Head})
	if err != nil || !report.OK() || report.Receipts != receipts {
		t.Errorf("%+v %v", report, err)
	}
	for run, want := range map[string]int{"2": 150, "run-1": 150, "backup/acme": 200, "run-2": 150, "3": 0} {
		page, err := c.Receipts(t.Context(), "acme", run, "")
		if err != nil || len(page.Receipts) != want {
			t.Errorf("run %s has %d receipts on its first page, want %d: %v", run, len(page.Receipts), want, err)
		}
	}
	if _, err := c.Receipts(t.Context(), "globex", "", ""); !backup.HasCode(err, backup.CodeNotFound) {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := c.Receipts(t.Context(), "acme", "", "x"); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("a cursor that is none: %v", err)
	}
}

// readingClient reads from a gateway that serves the read API alone.
func readingClient(t *testing.T, p *parts) *readapi.Client {
	t.Helper()
	mux := http.NewServeMux()
	(&reader{store: p.store, identity: p.identity, token: "right"}).routes(mux)
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	folder := t.TempDir()
	files := map[string][]byte{"token": []byte("right"), "ca.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := readapi.NewClient(readapi.ClientOptions{Gateway: server.URL, CAFile: filepath.Join(folder, "ca.pem"), TokenFile: filepath.Join(folder, "token")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
