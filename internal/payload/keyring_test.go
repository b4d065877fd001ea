package payload

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestRotation(t *testing.T) {
	first := NewKeyring(noon)
	second := must(first.Rotate(noon.Add(time.Hour)))(t)
	ids := second.IDs()
	if len(ids) != 2 || ids[0] == ids[1] || !slices.Equal(first.IDs(), ids[:1]) {
		t.Fatalf("%v, before %v", ids, first.IDs())
	}
	for at, want := range map[time.Time]string{
		noon.Add(-time.Hour): ids[0], noon: ids[0], noon.Add(time.Hour - time.Second): ids[0], noon.Add(time.Hour): ids[1], noon.Add(9999 * time.Hour): ids[1],
	} {
		if got := second.Current(at); got != want {
			t.Errorf("at %v the key %s seals, want %s", at, got, want)
		}
	}
	// Two of the same second: the later one in the file.
	third := must(second.Rotate(noon.Add(time.Hour)))(t)
	if got := third.Current(noon.Add(2 * time.Hour)); got != third.IDs()[2] {
		t.Errorf("%s seals, want the last of %v", got, third.IDs())
	}
	again := must(ParseKeyring(must(third.Marshal())(t)))(t)
	if fmt.Sprint(again.keys) != fmt.Sprint(third.keys) {
		t.Error("a ring is not the same after writing and reading")
	}
	full := third
	for len(full.IDs()) < maxKeys {
		full = must(full.Rotate(noon))(t)
	}
	if b := must(full.Marshal())(t); len(b) > MaxRing {
		t.Errorf("a full ring has %d bytes, more than may be read", len(b))
	}
	if _, err := full.Rotate(noon); !backup.HasCode(err, backup.CodeBadConfig) {
		t.Errorf("beyond the limit: %v", err)
	}
}

// No way of printing a ring, nor an error about one, shows a key.
func TestKeysAreNotPrinted(t *testing.T) {
	ring := NewKeyring(noon)
	var text bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb+"\n", ring)
		fmt.Fprintf(&text, verb+"\n", struct{ Ring *Keyring }{ring})
		fmt.Fprintf(&text, verb+"\n", NewCodec(ring))
	}
	slog.New(slog.NewJSONHandler(&text, nil)).Info("a ring", "ring", ring, "in", map[string]any{"ring": ring})
	text.Write(must(json.Marshal(ring))(t))
	raw := must(ring.Marshal())(t)
	for _, broken := range [][]byte{raw[:len(raw)-10], bytes.Replace(raw, []byte(`"key":`), []byte(`"kez":`), 1), bytes.Replace(raw, []byte(`"key": "`), []byte(`"key": "!`), 1)} {
		_, err := ParseKeyring(broken)
		if !backup.HasCode(err, backup.CodeBadConfig) {
			t.Errorf("a broken ring: %v", err)
		}
		fmt.Fprintln(&text, err, backup.AsError(err).Hint)
	}
	k := ring.keys[0].Key
	for _, form := range []string{string(k), hex.EncodeToString(k), base64.StdEncoding.EncodeToString(k)[:20], strings.Trim(fmt.Sprint(k[:6]), "[]")} {
		if strings.Contains(text.String(), form) {
			t.Errorf("a key is printed as %q", form)
		}
	}
}

func TestParseKeyringRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, KeySize))
	one := func(id, key, from string) string { return fmt.Sprintf(`{"id":%q,"key":%q,"from":%q}`, id, key, from) }
	const from = "2026-11-23T12:00:00Z"
	if _, err := ParseKeyring([]byte(`{"version":1,"keys":[` + one("aaaa", good, from) + `]}`)); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                        "JSON",
		"null":                    "version 0",
		`{"version":2,"keys":[]}`: "version 2",
		`{"version":1,"keys":[]}`: "no key",
		`{"version":1,"keyz":[]}`: "JSON",
		`{"version":1,"keys":[` + one("aaaa", good, from) + `]}{}`:                                 "behind",
		`{"version":1,"keys":[` + one("aaaa", good, from) + "," + one("aaaa", good, from) + `]}`:   "two keys",
		`{"version":1,"keys":[` + one("a", good, from) + `]}`:                                      "id of key 1",
		`{"version":1,"keys":[` + one("aa/../aa", good, from) + `]}`:                               "id of key 1",
		`{"version":1,"keys":[` + one("aaaa", good[:20], from) + `]}`:                              "bytes instead",
		`{"version":1,"keys":[` + one("aaaa", strings.Repeat("A", 43)+"=", from) + `]}`:            "zeros",
		`{"version":1,"keys":[{"id":"aaaa","key":"` + good + `"}]}`:                                "from when",
		strings.Repeat(" ", MaxRing+1):                                                             "larger",
		`{"version":1,"keys":[` + strings.TrimSuffix(strings.Repeat(`{},`, maxKeys+1), ",") + `]}`: "more than 256",
	} {
		if _, err := ParseKeyring([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseKeyring(f *testing.F) {
	b, err := NewKeyring(noon).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"keys":[{"id":"aaaa","key":"AA==","from":"2026-11-23T12:00:00Z"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ring, err := ParseKeyring(b)
		if err != nil {
			return
		}
		if k, known := ring.find(ring.Current(noon)); !known || len(k.Key) != KeySize {
			t.Error("a ring without a usable current key was read")
		}
		again, err := ring.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if len(again) <= MaxRing {
			if _, err := ParseKeyring(again); err != nil {
				t.Errorf("what was read cannot be read again: %v", err)
			}
		}
	})
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
