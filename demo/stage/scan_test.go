package stage

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The scan finds a secret in every form and at every place of a file, across the borders of what it reads at once.
func TestScanFindsASecretInEveryForm(t *testing.T) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	forms := map[string][]byte{
		"raw": secret, "hex": []byte(hex.EncodeToString(secret)), "HEX": []byte(strings.ToUpper(hex.EncodeToString(secret))),
	}
	for _, before := range []string{"", "x", "xy", "xyz"} {
		forms["base64 after "+before] = []byte(base64.StdEncoding.EncodeToString([]byte(before + string(secret) + "tail")))
		forms["base64url after "+before] = []byte(base64.URLEncoding.EncodeToString([]byte(before + string(secret) + "tail")))
	}
	needles := needlesOf([]Secret{{"it", secret}})
	file := filepath.Join(t.TempDir(), "f")
	for name, form := range forms {
		for _, at := range []int{0, 1000, 1<<20 - 10, 1<<20 - len(form), 2<<20 + 5} {
			content := bytes.Repeat([]byte{'.'}, at)
			content = append(append(content, form...), "rest"...)
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
			found, size, err := scanFile(file, needles)
			if err != nil || size != int64(len(content)) || len(found) == 0 {
				t.Errorf("%s at %d: found %v in %d bytes, %v", name, at, found, size, err)
			}
		}
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("nothing "), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	if found, _, err := scanFile(file, needles); err != nil || len(found) != 0 {
		t.Errorf("found %v where there is nothing, %v", found, err)
	}
}
