package kopia

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// FuzzRecords reads hostile records; what it accepts must come out again the same.
func FuzzRecords(f *testing.F) {
	good, err := encodeJSON((&record{item: backup.Item{ID: "a", Kind: backup.Message, Name: "<b>", Meta: json.RawMessage(`{"x":[1,2.0]}`)},
		body: &body{size: 3}}).line(keyOf("a")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"item":{"id":"a"},"file":"../../x","size":-1}` + "\n"))
	f.Add([]byte(`{"item":{"id":"a"}}`))
	f.Add([]byte("\n\n{\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		read := int64(0)
		err := scanLines(bytes.NewReader(b), func(at int64, raw []byte) error {
			if at != read {
				t.Fatalf("a line begins at %d instead of %d", at, read)
			}
			read += int64(len(raw))
			l, key, err := decodeLine(raw)
			if err != nil {
				return err
			}
			again, err := encodeJSON(l)
			if err != nil {
				t.Fatal(err)
			}
			l2, key2, err := decodeLine(again)
			if err != nil || key2 != key || l2.Item.ID != l.Item.ID || l2.File != l.File || l2.Size != l.Size || l2.Item.Name != l.Item.Name {
				t.Fatalf("%s came back as %s: %v", raw, again, err)
			}
			return nil
		})
		if err == nil && read != int64(len(b)) {
			t.Fatalf("%d of %d bytes were read without an error", read, len(b))
		}
		if err != nil && !backup.HasCode(err, backup.CodeRepository) {
			t.Fatalf("not classified: %v", err)
		}
	})
}

// FuzzState reads hostile states and layouts.
func FuzzState(f *testing.F) {
	good, err := json.Marshal(backup.SnapshotState{Layout: 1, Tenant: "t", Account: "a", App: "x", Service: "mail", Cursor: json.RawMessage(`{"a":1}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"layout":1,"level":3,"items":9}`))
	f.Add([]byte(`{"layout":2}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b)
		if err == nil && (s.Layout != 1 || s.Tenant == "" || s.Account == "" || s.Counts.Items < 0) {
			t.Fatalf("accepted %+v", s)
		}
		if err != nil && !backup.HasCode(err, backup.CodeRepository) {
			t.Fatalf("not classified: %v", err)
		}
		l, err := decodeLayout(b)
		if err == nil && (l.Layout != 1 || l.Level < 0 || l.Level > maxLevel || l.Items < 0) {
			t.Fatalf("accepted %+v", l)
		}
	})
}

func TestLevelFor(t *testing.T) {
	for _, c := range []struct {
		items   int64
		current int
		want    int
	}{
		{0, 0, 0}, {512, 0, 0}, {513, 0, 1}, {8192, 0, 1}, {8193, 0, 2}, {131072, 1, 2}, {131073, 2, 3}, {1 << 40, 0, 3}, {1 << 40, 3, 3}, {1, 2, 2},
	} {
		if got := levelFor(c.items, c.current, bucketItems); got != c.want {
			t.Errorf("%d items at level %d: level %d, want %d", c.items, c.current, got, c.want)
		}
	}
}

// TestScanLinesRefuses what is cut off or endless.
func TestScanLinesRefuses(t *testing.T) {
	for name, text := range map[string]string{"cut off": "{}\n{", "endless": strings.Repeat("x", maxLineBytes+2)} {
		err := scanLines(strings.NewReader(text), func(int64, []byte) error { return nil })
		if !backup.HasCode(err, backup.CodeRepository) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMetaKeepsItsText: numbers and characters of the vendor's JSON come back as they were.
func TestMetaKeepsItsText(t *testing.T) {
	meta := json.RawMessage(`{"n":1.0,"big":12345678901234567890,"html":"<a href=\"x\">&\u00e9é</a>"}`)
	b, err := encodeJSON(line{Item: backup.Item{ID: "x", Meta: meta}})
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := decodeLine(b)
	if err != nil || !reflect.DeepEqual(l.Item.Meta, meta) {
		t.Errorf("got %s, %v", l.Item.Meta, err)
	}
}
