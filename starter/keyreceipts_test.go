package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
	"github.com/holdfast-backup/holdfast/internal/readapi"
)

// workerKey signs as a worker's identity does.
type workerKey struct{ private ed25519.PrivateKey }

// newWorkerKey makes the same key again for the same seed.
func newWorkerKey(seed byte) workerKey {
	return workerKey{ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))}
}

func (k workerKey) Public() string {
	return "ed25519:" + base64.RawURLEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
}

func (k workerKey) Sign(domain string, message []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(domain))), domain...)
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(message))), message...)
	return ed25519.Sign(k.private, b)
}

// logRows keeps a log in memory, where a fake gateway serves it from.
type logRows struct {
	reader *fakeReader
	tree   []byte
}

func (l *logRows) SealReceipt(_ context.Context, r backup.Receipt, seal func(backup.Receipt, []byte) ([]byte, []byte, error)) (int64, error) {
	r.Number = int64(len(l.reader.receipts) + 1)
	head, tree, err := seal(r, l.tree)
	l.reader.receipts = append(l.reader.receipts, readapi.ReceiptEntry{Receipt: r, Run: int64(1 + len(l.reader.receipts)/3), Head: head})
	l.tree, l.reader.head = tree, head
	return r.Number, err
}

// withLog gives a reader that serves n receipts.
func withLog(t *testing.T, key workerKey, n int) (*fakeReader, *ledger.Log) {
	t.Helper()
	r := &fakeReader{}
	log := ledger.New(&logRows{reader: r}, key)
	release(t, log, 0, n)
	return r, log
}

func release(t *testing.T, log *ledger.Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		_, err := log.AppendReceipt(t.Context(), backup.Receipt{Tenant: "acme", Generation: 1, Method: backup.KeyByConnector, Purpose: backup.PurposeBackup,
			WorkflowID: "backup/acme", RunID: fmt.Sprint("r", i/3), Attempt: 1, Holder: "connector hq", Requester: "ed25519:AAAA", Nonce: fmt.Sprint("nonce", i),
			At: morning.Add(time.Duration(i) * time.Minute), Until: morning.Add(time.Duration(i+1) * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// receiptsCommand runs `key receipts acme` with a state folder that lasts, and gives what it prints.
func receiptsCommand(t *testing.T, state string, r *fakeReader, args string, want int) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := newFake(&stdout, &stderr, &fakeFlows{}, r, map[string]string{"HOLDFAST_STATE": state})
	if code := run(t.Context(), p, strings.Fields("key receipts acme "+args)); code != want {
		t.Errorf("%q ends with %d, want %d: %s%s", args, code, want, &stdout, &stderr)
	}
	return stdout.String() + stderr.String()
}

func says(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("it does not say %q:\n%s", w, out)
		}
	}
}

func TestReceiptsAreShown(t *testing.T) {
	r, _ := withLog(t, newWorkerKey(1), 7)
	r.key = backup.KeyStatus{Tenant: "acme", Receipts: 7}
	out := receiptsCommand(t, t.TempDir(), r, "--limit 3", exitOK)
	says(t, out, "NUMBER", "run 2", "run 3", "connector hq", "2026-03-02 08:34")
	if strings.Count(out, "\n") != 4 {
		t.Errorf("it is not three receipts:\n%s", out)
	}
	var report receiptsReport
	if err := json.Unmarshal([]byte(receiptsCommand(t, t.TempDir(), r, "--run 2 --json", exitOK)), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Receipts) != 3 || report.Receipts[0].Number != 4 || report.Verification != nil {
		t.Errorf("run 2 has %+v", report)
	}
	receiptsCommand(t, t.TempDir(), r, "--limit 0", exitUsage)
	receiptsCommand(t, t.TempDir(), r, "--verify --identity ed25519:short", exitUsage)
}

// A log that is verified is remembered, so that one which is shorter the next time is found although it is whole in itself.
func TestVerifiedLogIsRemembered(t *testing.T) {
	key, state := newWorkerKey(1), t.TempDir()
	r, log := withLog(t, key, 7)
	says(t, receiptsCommand(t, state, r, "--verify --identity "+key.Public(), exitOK), "Verified: 7 receipts", "head 7", key.Public())
	info, err := os.Stat(filepath.Join(state, "receipts", "acme.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("what is remembered: %v %v", info, err)
	}
	release(t, log, 7, 9)
	says(t, receiptsCommand(t, state, r, "--verify", exitOK), "Verified: 9 receipts", "continues the 7 receipts")

	whole := *r
	r.receipts, r.head = slices.Clone(r.receipts[:6]), r.receipts[5].Head
	says(t, receiptsCommand(t, state, r, "--verify", exitFailed), "Broken", "receipts 7 to 9 are missing: the log is shorter")
	says(t, receiptsCommand(t, t.TempDir(), r, "--verify --identity "+key.Public(), exitOK), "Verified: 6 receipts") // to one who never saw more
	// A failed verification forgets nothing.
	says(t, receiptsCommand(t, state, r, "--verify", exitFailed), "shorter")

	r.receipts, r.head = slices.Clone(whole.receipts), whole.head
	r.receipts[3].Purpose = backup.PurposeRestore
	out := receiptsCommand(t, state, r, "--verify --json", exitFailed)
	var report receiptsReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if v := report.Verification; v.OK || len(v.Breaks) != 1 || v.Breaks[0] != (ledger.Break{Kind: ledger.Altered, From: 4, To: 4}) {
		t.Errorf("it says %s", out)
	}
}

// The first time the gateway is asked who signs; from then on it is not asked again.
func TestWorkersIdentityIsPinned(t *testing.T) {
	state, first := t.TempDir(), newWorkerKey(1)
	r, _ := withLog(t, first, 4)
	r.identity = first.Public()
	says(t, receiptsCommand(t, state, r, "--verify", exitOK), "Trusted from now on", first.Public())

	second := newWorkerKey(2)
	other, _ := withLog(t, second, 5)
	other.identity = second.Public()
	out := receiptsCommand(t, state, other, "--verify", exitFailed)
	says(t, out, "receipts 1 to 5 are signed by "+second.Public(), "--identity "+second.Public())
	if strings.Contains(out, "Trusted from now on") {
		t.Error("another identity was pinned")
	}
}

func TestConnectorsOwnLogIsCompared(t *testing.T) {
	r, _ := withLog(t, newWorkerKey(1), 6)
	r.identity = newWorkerKey(1).Public()
	file := filepath.Join(t.TempDir(), "releases.jsonl")
	write := func(tail string, change func(i int, line map[string]any) bool) {
		var b bytes.Buffer
		for i, e := range r.receipts {
			line := map[string]any{"connector": "hq", "tenant": "acme", "generation": e.Generation, "purpose": e.Purpose, "workflowID": e.WorkflowID, "runID": e.RunID,
				"attempt": e.Attempt, "requester": "ed25519:AAAABBBB", "nonce": e.Nonce, "at": e.At.Add(time.Second), "until": e.Until}
			if change == nil || change(i, line) {
				text, _ := json.Marshal(line)
				b.Write(append(text, '\n'))
			}
		}
		if err := os.WriteFile(file, []byte(b.String()+tail), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	against := func(code int, words ...string) {
		t.Helper()
		says(t, receiptsCommand(t, t.TempDir(), r, "--against "+file, code), words...)
	}
	write("", nil)
	against(exitOK, "6 releases", "6 are the same", "Both logs say the same.")
	write(`{"connector":"hq","ten`, nil)
	against(exitOK, "last line breaks off", "Both logs say the same.")
	write("", func(i int, _ map[string]any) bool { return i != 2 })
	against(exitFailed, "receipt 3 is not in the connector's log")
	write("", func(i int, line map[string]any) bool {
		if i == 4 {
			line["purpose"] = "restore"
		}
		return true
	})
	against(exitFailed, `receipt 5 and line 5 differ: purpose is "backup" here and "restore" there`)
	write(`{"connector":"hq","tenant":"acme","purpose":"backup","nonce":"more"}`+"\n", nil)
	against(exitFailed, "line 7 of the connector's log has no receipt here")
	says(t, receiptsCommand(t, t.TempDir(), r, "--against "+file+" --verify", exitFailed), "Verified: 6 receipts", "line 7")
	receiptsCommand(t, t.TempDir(), r, "--against "+file+".none", exitBadFile)
}
