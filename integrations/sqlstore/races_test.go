package sqlstore

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// race calls fn once for each of n workers at once, half of them on each store.
func race(t *testing.T, n int, fn func(ctx context.Context, s *Store, worker int) error) {
	t.Helper()
	a, b := twoStores(t)
	saveTenant(t, a, acmeWith(backup.ConnectorConfig{Name: "berlin", Identity: "ed25519:B"}, backup.ConnectorConfig{Name: "paris", Identity: "ed25519:P"}))
	raceOn(t, a, b, n, fn)
}

func raceOn(t *testing.T, a, b *Store, n int, fn func(ctx context.Context, s *Store, worker int) error) {
	t.Helper()
	stores := []*Store{a, b}
	start := make(chan struct{})
	var workers sync.WaitGroup
	for w := range n {
		workers.Go(func() {
			<-start
			if err := fn(t.Context(), stores[w%2], w); err != nil {
				t.Errorf("worker %d: %v", w, err)
			}
		})
	}
	close(start)
	workers.Wait()
}

// collected gathers what racing workers were told.
type collected[T any] struct {
	mu  sync.Mutex
	all []T
}

func (c *collected[T]) add(v ...T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, v...)
}

// numbersWithoutGaps fails unless the numbers are 1 to n, each once.
func numbersWithoutGaps(t *testing.T, numbers []int64, n int) {
	t.Helper()
	slices.Sort(numbers)
	for i, have := range numbers {
		if have != int64(i+1) {
			t.Fatalf("the numbers are %v", numbers)
		}
	}
	if len(numbers) != n {
		t.Fatalf("there are %d numbers, want %d", len(numbers), n)
	}
}

// appendUnsigned appends a receipt whose head is its number.
func appendUnsigned(ctx context.Context, s *Store, r backup.Receipt) (int64, error) {
	return s.SealReceipt(ctx, r, func(numbered backup.Receipt, _ []byte) (head, tree []byte, err error) {
		head = []byte(fmt.Sprint(numbered.Number))
		return head, head, nil
	})
}

func TestReceiptsOfRacingProcessesCountWithoutGaps(t *testing.T) {
	var numbers collected[int64]
	race(t, 40, func(ctx context.Context, s *Store, w int) error {
		// Every receipt is appended twice, by different processes.
		n, err := appendUnsigned(ctx, s, backup.Receipt{Tenant: acme, Nonce: fmt.Sprint("nonce-", w/2)})
		numbers.add(n)
		return err
	})
	slices.Sort(numbers.all)
	numbersWithoutGaps(t, slices.Compact(numbers.all), 20)
}

func TestRunsOfRacingProcessesCountWithoutGaps(t *testing.T) {
	var numbers collected[int64]
	race(t, 20, func(ctx context.Context, s *Store, w int) error {
		r, _, err := s.StartRun(ctx, backup.Run{Tenant: acme, RunID: fmt.Sprint("run-", w/2), Started: noon}, backup.ServicePlan{Default: []backup.Service{backup.Mail}}, 10)
		numbers.add(r.Number)
		return err
	})
	slices.Sort(numbers.all)
	numbersWithoutGaps(t, slices.Compact(numbers.all), 10)
}

func TestAlertsOfRacingProcessesOpenOne(t *testing.T) {
	var firsts, times collected[int64]
	race(t, 20, func(ctx context.Context, s *Store, w int) error {
		a, first, err := s.RaiseAlert(ctx, backup.Alert{Tenant: acme, Kind: backup.AlertNotConnected, Subject: "key"}, noon)
		if first {
			firsts.add(a.ID)
		}
		times.add(int64(a.Times))
		return err
	})
	if len(firsts.all) != 1 {
		t.Errorf("%d processes opened the alert", len(firsts.all))
	}
	numbersWithoutGaps(t, times.all, 20)
}

func TestKeyRequestIsHandedToOneOfRacingConnectors(t *testing.T) {
	a, b := twoStores(t)
	var pinned []backup.ConnectorConfig
	for w := range 10 {
		pinned = append(pinned, backup.ConnectorConfig{Name: fmt.Sprint("connector-", w), Identity: fmt.Sprint("ed25519:", w)})
	}
	saveTenant(t, a, acmeWith(pinned...))
	var want []string
	for i := range 30 {
		id := fmt.Sprintf("request-%02d", i)
		want = append(want, id)
		must(t, a.PutKeyRequest(t.Context(), backup.KeyRequest{ID: id, Tenant: acme, Body: []byte("{}"), Created: noon, Expires: noon.Add(time.Minute)}))
	}
	var handed collected[string]
	raceOn(t, a, b, 10, func(ctx context.Context, s *Store, w int) error {
		for range 4 {
			taken, err := s.TakeKeyRequests(ctx, acme, fmt.Sprint("connector-", w), noon, 2)
			if err != nil {
				return err
			}
			for _, r := range taken {
				handed.add(r.ID)
			}
		}
		return nil
	})
	// On PostgreSQL one who waited for another taker's lock finds those requests taken, and comes away with less than there are.
	for taken := got[[]backup.KeyRequest](t)(a.TakeKeyRequests(t.Context(), acme, "connector-0", noon, 30)); len(taken) > 0; taken = taken[1:] {
		handed.add(taken[0].ID)
	}
	slices.Sort(handed.all)
	if !slices.Equal(handed.all, want) {
		t.Errorf("handed out were %q", handed.all)
	}
}

func TestLostConnectorIsReportedByOneOfRacingGateways(t *testing.T) {
	a, b := twoStores(t)
	var want []string
	for i := range 20 {
		tenant := acmeWith(backup.ConnectorConfig{Name: "berlin", Identity: "ed25519:B"})
		tenant.ID = fmt.Sprintf("tenant-%02d", i)
		want = append(want, tenant.ID)
		saveTenant(t, a, tenant)
		if _, changed, err := a.MarkConnectorSeen(t.Context(), tenant.ID, "berlin", noon); err != nil || !changed {
			t.Fatalf("changed %t, %v", changed, err)
		}
	}
	var lost collected[string]
	raceOn(t, a, b, 10, func(ctx context.Context, s *Store, _ int) error {
		gone, err := s.MarkConnectorsLost(ctx, noon.Add(time.Minute), noon.Add(time.Minute))
		for _, p := range gone {
			lost.add(p.Tenant)
			if p.Connected || p.Session != 1 || p.Connector != "berlin" {
				t.Errorf("reported is %+v", p)
			}
		}
		return err
	})
	slices.Sort(lost.all)
	if !slices.Equal(lost.all, want) {
		t.Errorf("reported were %q", lost.all)
	}
}

func TestNonceIsFreshForOneOfRacingGateways(t *testing.T) {
	var fresh collected[int]
	race(t, 20, func(ctx context.Context, s *Store, w int) error {
		ok, err := s.UseNonce(ctx, "call", "n", time.Now().Add(time.Minute))
		if ok {
			fresh.add(w)
		}
		return err
	})
	if len(fresh.all) != 1 {
		t.Errorf("the nonce was fresh for %d", len(fresh.all))
	}
}

// openingEnv tells the test binary to be a process that opens the store.
const openingEnv = "HOLDFAST_TEST_OPEN_STORE"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(openingEnv); dsn != "" {
		os.Exit(openAndWrite(dsn))
	}
	os.Exit(onEveryDatabase(m))
}

func openAndWrite(dsn string) int {
	ctx := context.Background()
	s, err := Open(ctx, dsn)
	if err == nil {
		_, err = appendUnsigned(ctx, s, backup.Receipt{Tenant: acme, Nonce: fmt.Sprint(os.Getpid())})
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestProcessesThatStartAtOnceMakeOneStore(t *testing.T) {
	dsn := newDSN(t)
	var processes sync.WaitGroup
	for range 5 {
		processes.Go(func() {
			c := exec.CommandContext(t.Context(), os.Args[0])
			c.Env = append(os.Environ(), openingEnv+"="+dsn)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("a process failed: %v: %s", err, out)
			}
		})
	}
	processes.Wait()
	s := openDSN(t, dsn)
	var n int
	must(t, s.read.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM receipt`).Scan(&n))
	if n != 5 {
		t.Errorf("%d receipts were written, want 5", n)
	}
	must(t, s.read.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM goose_db_version WHERE version_id = 1`).Scan(&n))
	if n != 1 {
		t.Errorf("the first migration was made %d times", n)
	}
}
