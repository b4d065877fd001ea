package ledger_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/integrations/connector"
	"github.com/holdfast-backup/holdfast/integrations/sqlstore"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

// appendingEnv tells the test binary to be a worker that appends receipts to the store of this address.
const appendingEnv = "HOLDFAST_TEST_APPEND_RECEIPTS"

const (
	workers       = 4
	eachOfWorkers = 60
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(appendingEnv); dsn != "" {
		if err := appendAsWorker(dsn); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// appendAsWorker appends receipts of its own, and one that every worker appends.
func appendAsWorker(dsn string) error {
	ctx := context.Background()
	s, err := sqlstore.Open(ctx, dsn)
	if err != nil {
		return err
	}
	log := ledger.New(s, newSigner("worker"))
	for i := range eachOfWorkers {
		r := release(i)
		if i > 0 {
			r.Nonce = fmt.Sprintf("%d-%d", os.Getpid(), i)
		}
		if _, err := log.AppendReceipt(ctx, r); err != nil {
			return err
		}
	}
	return s.Close()
}

func TestLogOfManyProcessesIsWhole(t *testing.T) {
	r := newRig(t)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), appendingEnv+"=sqlite://"+r.path)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("a worker failed: %v: %s", err, out)
			}
		})
	}
	running.Wait()
	report := r.verify(nil)
	if want := int64(workers*(eachOfWorkers-1) + 1); !report.OK() || report.Receipts != want {
		t.Errorf("%d receipts, want %d: %q", report.Receipts, want, kinds(report))
	}
}

// A worker's real identity signs what Verifies takes, for this domain and message alone.
func TestWorkersIdentitySigns(t *testing.T) {
	id, err := connector.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	var _ ledger.Signer = id
	signature := id.Sign("domain", []byte("message"))
	for _, c := range []struct {
		identity, domain, message string
		want                      bool
	}{
		{id.Public(), "domain", "message", true},
		{id.Public(), "domai", "nmessage", false},
		{id.Public(), "domain", "messag", false},
		{newSigner("worker").Public(), "domain", "message", false},
		{"ed25519:", "domain", "message", false},
		{"", "domain", "message", false},
	} {
		if have := ledger.Verifies(c.identity, c.domain, []byte(c.message), signature); have != c.want {
			t.Errorf("%+v: %t", c, have)
		}
	}
	r := newRig(t)
	for i := range 3 {
		if _, err := ledger.New(r.store, id).AppendReceipt(t.Context(), release(i)); err != nil {
			t.Fatal(err)
		}
	}
	report, err := ledger.Verify(acme, r.rows(t.Context()), ledger.Expectation{Identities: []string{id.Public()}, Newest: newestHead(t, r)})
	if err != nil || !report.OK() || report.Head.Signer != id.Public() {
		t.Errorf("%+v %v", report, err)
	}
}

func newestHead(t *testing.T, r *rig) []byte {
	t.Helper()
	head, err := r.store.ReceiptHead(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	return head
}
