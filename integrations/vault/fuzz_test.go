package vault

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// FuzzAnswer hands arbitrary answers of a server to the decoder that plain keys come through.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{`{"data":{"plaintext":"` + strings.Repeat("A", 43) + `="}}`, `{"data":null}`, `[]`, ``, `{"data":{"plaintext":{}}}`} {
		f.Add([]byte(seed), int64(len(seed)))
	}
	f.Fuzz(func(t *testing.T, answer []byte, length int64) {
		body, err := readAnswer(&http.Response{Body: io.NopCloser(bytes.NewReader(answer)), ContentLength: max(length, -1)})
		if err != nil {
			return
		}
		var out struct{ Plaintext []byte }
		if decodeData(body, &out) && len(out.Plaintext) > len(answer) {
			t.Errorf("an answer of %d bytes gives a key of %d", len(answer), len(out.Plaintext))
		}
	})
}

// FuzzWrapped: what passes for a wrapped ekey has a version, and holds nothing that a path or a shell would take apart.
func FuzzWrapped(f *testing.F) {
	for _, seed := range []string{"vault:v1:" + strings.Repeat("A", 80), "vault:v0:AAAA", "vault:v99999999999:A", "", "vault:v1:\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wrapped string) {
		version, err := versionOf(wrapped)
		switch {
		case err != nil && !backup.HasCode(err, backup.CodeBadResponse):
			t.Errorf("not classified: %v", err)
		case err == nil && (version < 1 || len(wrapped) > 600 || strings.ContainsAny(wrapped, " \n\x00'\"")):
			t.Errorf("%q passes for a wrapped ekey", wrapped)
		}
	})
}
