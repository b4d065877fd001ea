package connector

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

func goodSetup(t testing.TB) Setup {
	t.Helper()
	ca, err := sandbox.NewCA("gateway's CA")
	must(t, err)
	worker, err := NewIdentity()
	must(t, err)
	return Setup{Connector: "hq", Tenant: "acme", Workers: []string{worker.Public()}, Gateway: "https://gateway.example:8443", GatewayCA: ca.PEM()}
}

// storeKeyFile makes a key file that holds generation 1.
func storeKeyFile(t testing.TB, path string) *KeyFile {
	t.Helper()
	k, err := NewKeyFile(goodSetup(t))
	must(t, err)
	must(t, k.Generate(1, time.Now()))
	must(t, k.Create(path, nil))
	return k
}

func TestAKeyFileIsReadAsItWasWritten(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "connector.json")
	made := storeKeyFile(t, path)
	k, err := LoadKeyFile(path)
	must(t, err)
	if k.Identity() != made.Identity() || k.Newest() != 1 || !reflect.DeepEqual(k.Setup, made.Setup) || !reflect.DeepEqual(k.Generations, made.Generations) ||
		!bytes.Equal(k.Address(), made.Address()) || len(k.Generations[0].ekey) != backup.EKeySize {
		t.Fatalf("read %v", k)
	}
	info, err := os.Stat(path)
	if must(t, err); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	if entries, _ := os.ReadDir(folder); len(entries) != 1 {
		t.Fatalf("something else stayed behind: %v", entries)
	}
	k.Wipe()
	if slices.Max(k.Generations[0].ekey) != 0 || slices.Max(k.identity.private) != 0 {
		t.Fatal("Wipe left something")
	}
}

func TestAKeyFileIsNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "connector.json")
	_, err := CreateKeyFile(path, goodSetup(t))
	must(t, err)
	before := readFile(t, path)
	_, err = CreateKeyFile(path, goodSetup(t))
	wantCode(t, err, backup.CodeBadConfig)
	if string(readFile(t, path)) != string(before) {
		t.Fatal("the file was changed")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Fatalf("something else stayed behind: %v", entries)
	}
}

func TestAKeyFileThatOthersMayReadIsRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644, 0o601} {
		path := filepath.Join(t.TempDir(), "connector.json")
		_, err := CreateKeyFile(path, goodSetup(t))
		must(t, err)
		must(t, os.Chmod(path, mode))
		_, err = LoadKeyFile(path)
		if e := wantCode(t, err, backup.CodeBadConfig); !strings.Contains(e.Hint, "chmod 600") {
			t.Fatalf("mode %v: %+v", mode, e)
		}
	}
}

func TestABadKeyFileIsRefusedWithoutShowingIt(t *testing.T) {
	folder := t.TempDir()
	good := filepath.Join(folder, "good.json")
	k := storeKeyFile(t, good)
	whole := string(readFile(t, good))
	ekey := base64.StdEncoding.EncodeToString(k.Generations[0].ekey)
	for what, content := range map[string]string{
		"cut":             whole[:len(whole)/2],
		"empty":           "",
		"another version": strings.Replace(whole, `"version": 1`, `"version": 2`, 1),
		"unknown field":   strings.Replace(whole, `"tenant"`, `"x`+ekey+`": 1, "tenant"`, 1),
		"short ekey":      strings.Replace(whole, ekey, ekey[:20], 1),
		"ekey no base64":  strings.Replace(whole, ekey, "!"+ekey, 1),
		"ekey a number":   strings.Replace(whole, `"`+ekey+`"`, "8374837483748374", 1),
		"no generation":   strings.Replace(whole, `"number": 1`, `"number": 0`, 1),
		"another ekey":    strings.Replace(whole, ekey, "AAAA"+ekey[4:], 1),
		"another check":   strings.Replace(whole, k.Generations[0].Check, k.Identity(), 1),
		"ended and held":  strings.Replace(whole, `"workers"`, `"ended": [{"number": 1, "at": "2026-01-01T00:00:00Z"}], "workers"`, 1),
		"unsorted":        strings.Replace(whole, `"workers"`, `"ended": [{"number": 3, "at": "2026-01-01T00:00:00Z"}, {"number": 2, "at": "2026-01-01T00:00:00Z"}], "workers"`, 1),
		"no recipient":    strings.Replace(whole, `"recipient": "`, `"recipient": "AAAA`, 1),
		"plain http":      strings.Replace(whole, "https://", "http://", 1),
		"more behind":     whole + whole,
		"too large":       whole + strings.Repeat(" ", maxKeyFile),
		"no CA":           strings.Replace(whole, "BEGIN CERTIFICATE", "BEGIN NOTHING", 1),
		"bad worker":      strings.Replace(whole, k.Workers[0], "ed25519:"+ekey, 1),
	} {
		if content == whole {
			t.Fatalf("%s: nothing was changed", what)
		}
		path := filepath.Join(t.TempDir(), "connector.json")
		must(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := LoadKeyFile(path)
		e := wantCode(t, err, backup.CodeBadConfig)
		if said := fmt.Sprintf("%v %+v %s", err, e, e.Hint); holds([]byte(said), k.Generations[0].ekey) || strings.Contains(said, ekey[:12]) || strings.Contains(said, "8374") {
			t.Errorf("%s: the error shows what is in the file: %s", what, said)
		}
	}
	_, err := LoadKeyFile(filepath.Join(folder, "nothing.json"))
	wantCode(t, err, backup.CodeBadConfig)
	_, err = LoadKeyFile(folder)
	wantCode(t, err, backup.CodeBadConfig)
}

func TestABadSetupMakesNoKeyFile(t *testing.T) {
	for what, change := range map[string]func(*Setup){
		"name":      func(s *Setup) { s.Connector = "a b" },
		"tenant":    func(s *Setup) { s.Tenant = "ACME" },
		"no worker": func(s *Setup) { s.Workers = nil },
		"worker":    func(s *Setup) { s.Workers = []string{"ed25519:short"} },
		"http":      func(s *Setup) { s.Gateway = "http://gateway.example" },
		"path":      func(s *Setup) { s.Gateway = "https://gateway.example/path" },
		"user":      func(s *Setup) { s.Gateway = "https://a:b@gateway.example" },
		"no CA":     func(s *Setup) { s.GatewayCA = nil },
	} {
		path := filepath.Join(t.TempDir(), "connector.json")
		setup := goodSetup(t)
		change(&setup)
		_, err := CreateKeyFile(path, setup)
		wantCode(t, err, backup.CodeBadConfig)
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was made", what)
		}
	}
}

func TestAllProcessesOfAWorkerHaveOneIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.pem")
	var group sync.WaitGroup
	found := make(chan string, 8)
	for range 8 {
		group.Go(func() {
			id, err := LoadOrCreateIdentity(path)
			if err != nil {
				t.Error(err)
				return
			}
			found <- id.Public()
		})
	}
	group.Wait()
	close(found)
	first := <-found
	for other := range found {
		if other != first {
			t.Fatalf("%s and %s", first, other)
		}
	}
	info, err := os.Stat(path)
	if must(t, err); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	must(t, os.Chmod(path, 0o644))
	_, err = LoadOrCreateIdentity(path)
	wantCode(t, err, backup.CodeBadConfig)
	must(t, os.Chmod(path, 0o600))
	must(t, os.WriteFile(path, []byte("nonsense"), 0o600))
	_, err = LoadOrCreateIdentity(path)
	wantCode(t, err, backup.CodeBadConfig)
}

func TestAnIdentityPrintsAsItsPublicHalf(t *testing.T) {
	id, err := NewIdentity()
	must(t, err)
	said := fmt.Sprintf("%v %+v %#v %s %q %x", id, id, id, id, id, id)
	if holds([]byte(said), id.private.Seed()) || !strings.Contains(said, id.Public()) {
		t.Fatalf("printed %s", said)
	}
	if _, err := ParseIdentity(id.Public()); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "ed25519:", id.Public() + "=", strings.Replace(id.Public(), "ed25519", "rsa", 1), id.Public()[:len(id.Public())-1]} {
		if _, err := ParseIdentity(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// However often a key file is written, it is the same: what is wiped after writing is not the connector's own.
func TestWritingLeavesTheKeysAsTheyAre(t *testing.T) {
	k := storeKeyFile(t, filepath.Join(t.TempDir(), "connector.json"))
	first, err := k.encode()
	must(t, err)
	second, err := k.encode()
	must(t, err)
	if !bytes.Equal(first, second) {
		t.Error("the second writing differs from the first")
	}
	again, err := parseKeyFile(second)
	must(t, err)
	if !bytes.Equal(again.Address(), k.Address()) {
		t.Error("the recipient key is another one")
	}
}
