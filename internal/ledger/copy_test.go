package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/ledger"
)

// line is the line that the connector hq writes of the receipt.
func line(r backup.Receipt, change map[string]any) string {
	l := map[string]any{"connector": "hq", "tenant": r.Tenant, "generation": r.Generation, "purpose": r.Purpose, "workflowID": r.WorkflowID, "runID": r.RunID,
		"attempt": r.Attempt, "requester": r.Requester + "BBBB", "nonce": r.Nonce, "at": r.At.Add(-3 * time.Second), "until": r.Until}
	for k, v := range change {
		l[k] = v
	}
	b, err := json.Marshal(l)
	if err != nil {
		panic(err)
	}
	return string(b) + "\n"
}

// compared compares ten receipts of ours with the file.
func compared(t testing.TB, file string, ours ...backup.Receipt) ledger.Comparison {
	t.Helper()
	c, err := ledger.OpenCopy(acme, strings.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ours {
		if err := c.Receipt(r); err != nil {
			t.Fatal(err)
		}
	}
	found, err := c.Conclude()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestCopyIsCompared(t *testing.T) {
	var ours []backup.Receipt
	var lines []string
	for i := range 10 {
		r := release(i)
		r.Number = int64(i + 1)
		ours, lines = append(ours, r), append(lines, line(r, nil))
	}
	vault, paris := release(10), release(11)
	vault.Method, vault.Holder, paris.Holder = backup.KeyByKMS, "vault", "connector paris"
	all := slices.Concat(ours, []backup.Receipt{vault, paris}) // in which those of others do not count
	whole := strings.Join(lines, "")
	change := func(i int, by map[string]any) string {
		return strings.Join(slices.Concat(lines[:i], []string{line(ours[i], by)}, lines[i+1:]), "")
	}
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"the same":             {whole, nil},
		"another order":        {lines[9] + strings.Join(lines[:9], ""), nil},
		"a line of ours gone":  {strings.Join(slices.Delete(slices.Clone(lines), 3, 4), ""), []string{"receipt 4 is not in the connector's log"}},
		"a line more":          {whole + line(release(20), nil), []string{"line 11 of the connector's log has no receipt here"}},
		"used twice":           {whole + lines[2], []string{"line 11 of the connector's log is a second release for one request"}},
		"another purpose":      {change(6, map[string]any{"purpose": "restore"}), []string{`receipt 7 and line 7 differ: purpose is "backup" here and "restore" there`}},
		"another requester":    {change(6, map[string]any{"requester": "ed25519:ZZ"}), []string{`receipt 7 and line 7 differ: requester is "ed25519:AAAAAAAAAAAA" here and "ed25519:ZZ" there`}},
		"another generation":   {change(0, map[string]any{"generation": 2, "attempt": 9}), []string{`receipt 1 and line 1 differ: generation is "1" here and "2" there, attempt is "1" here and "9" there`}},
		"another run":          {change(9, map[string]any{"runID": "x"}), []string{`receipt 10 and line 10 differ: run is "0199c0de-0003" here and "x" there`}},
		"another tenant's":     {whole + line(release(20), map[string]any{"tenant": "globex"}), nil},
		"nothing was released": {whole + line(release(20), map[string]any{"purpose": "drill"}), nil},
		"torn":                 {whole + lines[0][:40], nil},
		"torn and gone on":     {lines[0] + lines[1][:40] + "\n" + strings.Join(lines[1:], ""), nil},
		"empty":                {"", []string{"receipt 1 is not in the connector's log", "receipt 2 is not in the connector's log"}},
	} {
		t.Run(name, func(t *testing.T) {
			found := compared(t, c.file, all...)
			if name == "empty" {
				found.Differences = found.Differences[:2] // there are eleven: whose log it is cannot be told
			}
			var said []string
			for _, d := range found.Differences {
				said = append(said, d.String())
			}
			if !slices.Equal(said, c.want) || found.OK() != (c.want == nil) {
				t.Errorf("it says %q, want %q", said, c.want)
			}
			if found.Torn != (name == "torn") || (found.Unreadable > 0) != (name == "torn and gone on") {
				t.Errorf("torn %t, unreadable %d", found.Torn, found.Unreadable)
			}
		})
	}
}

// A connector that was too slow releases for a request that another answered first.
func TestLateReleaseIsNoDifference(t *testing.T) {
	r := release(1)
	r.Holder = "connector paris"
	if found := compared(t, line(release(0), nil)+line(r, nil), release(0), r); !found.OK() || found.Late != 1 || found.Matching != 1 {
		t.Errorf("it is %+v", found)
	}
}

func TestHostileCopyIsBounded(t *testing.T) {
	long := `{"nonce":"` + strings.Repeat("x", 1<<20) + `"}` + "\n"
	found := compared(t, long+line(release(0), nil)+"\n\n"+long[:1<<19], release(0))
	if found.Unreadable != 1 || !found.Torn || found.Matching != 1 {
		t.Errorf("it is %+v", found)
	}
	var b strings.Builder
	for i := range 3000 {
		b.WriteString(line(release(i), nil))
	}
	if found := compared(t, b.String()); found.Different != 3000 || len(found.Differences) != ledger.MaxDifferences {
		t.Errorf("%d differences, %d of them listed", found.Different, len(found.Differences))
	}
}

func TestAnotherFileIsNoCopy(t *testing.T) {
	letter := "Dear Anna,\nthis is a letter.\n"
	if _, err := ledger.OpenCopy(acme, strings.NewReader(letter), int64(len(letter))); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("the error is %v", err)
	}
}

func FuzzOpenCopy(f *testing.F) {
	f.Add([]byte(line(release(0), nil)))
	f.Add([]byte("{}\n\n{\"nonce\":\"a\",\"connector\":\"b\",\"tenant\":\"acme\",\"purpose\":\"backup\",\"until\":\"x\"}\n{"))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := ledger.OpenCopy(acme, bytes.NewReader(file), int64(len(file)))
		if backup.HasCode(err, backup.CodeBadConfig) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Receipt(release(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Conclude(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParseHead(f *testing.F) {
	h := ledger.Head{Size: 1, Time: noon, Signer: newSigner("worker").Public(), Signature: make([]byte, 64)}
	b, _ := json.Marshal(h)
	f.Add(b)
	f.Add([]byte(`{"size":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ledger.ParseHead(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(h)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%q is read as %q", b, again)
		}
	})
}

func TestParsedHeadIsTheOneWritten(t *testing.T) {
	r := newRig(t)
	r.fill(3)
	for row, err := range r.rows(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		h, err := ledger.ParseHead(row.Head)
		if err != nil || h.Size != row.Receipt.Number {
			t.Fatalf("%s: %v", row.Head, err)
		}
		for _, other := range []string{" " + string(row.Head), string(row.Head) + "\n", strings.Replace(string(row.Head), `"size"`, `"Size"`, 1), fmt.Sprintf(`{"x":1,%s`, row.Head[1:])} {
			if _, err := ledger.ParseHead([]byte(other)); err == nil {
				t.Errorf("%s is taken", other)
			}
		}
	}
}
