package connector

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func goodPassphrase(t testing.TB, text string) *Passphrase {
	t.Helper()
	p, err := NewPassphrase([]byte(text))
	must(t, err)
	return p
}

// goodKeyFile holds two generations.
func goodKeyFile(t testing.TB) *KeyFile {
	t.Helper()
	k, err := NewKeyFile(goodSetup(t))
	must(t, err)
	must(t, k.Generate(1, time.Now()))
	must(t, k.Generate(3, time.Now()))
	return k
}

// sameKeys tells whether two key files hold the same identity, recipient key and ekeys.
func sameKeys(a, b *KeyFile) bool {
	if a.Identity() != b.Identity() || !bytes.Equal(a.sealed.public(), b.sealed.public()) || len(a.Generations) != len(b.Generations) {
		return false
	}
	for i := range a.Generations {
		if a.Generations[i].Number != b.Generations[i].Number || !bytes.Equal(a.Generations[i].ekey, b.Generations[i].ekey) {
			return false
		}
	}
	return true
}

func TestAProtectedKeyFileOpensWithItsPassphraseOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "connector.key")
	k := goodKeyFile(t)
	right, wrong := goodPassphrase(t, "correct horse battery staple\n"), goodPassphrase(t, "correct horse battery staplf")
	must(t, k.Create(path, right))
	content := readFile(t, path)
	if bytes.Contains(content, []byte("acme")) || !IsProtected(content) {
		t.Fatalf("not protected: %.60s", content)
	}
	read, err := ReadKeyFile(path, right)
	if must(t, err); !sameKeys(k, read) {
		t.Fatal("read another one")
	}
	_, err = ReadKeyFile(path, wrong)
	wantCode(t, err, backup.CodeBadCredential)
	_, err = LoadKeyFile(path)
	if e := wantCode(t, err, backup.CodeBadConfig); !strings.Contains(e.Hint, "--passphrase-file") {
		t.Fatalf("%+v", e)
	}

	// The age format's own reading gives the plain key file: nobody needs us.
	id, err := age.NewScryptIdentity("correct horse battery staple")
	must(t, err)
	out, err := age.Decrypt(armor.NewReader(bytes.NewReader(content)), id)
	must(t, err)
	var plain bytes.Buffer
	_, err = plain.ReadFrom(out)
	must(t, err)
	if direct, err := parseKeyFile(plain.Bytes()); err != nil || !sameKeys(k, direct) {
		t.Fatal(err)
	}

	// It stays protected when it changes.
	keys, err := OpenKeyStore(path, KeyStoreOptions{Protector: right})
	must(t, err)
	must(t, keys.Pin(func(s *Setup) { s.Gateway = "https://other.example" }))
	must(t, keys.Close())
	changed, err := ReadKeyFile(path, right)
	if must(t, err); changed.Gateway != "https://other.example" || !IsProtected(readFile(t, path)) {
		t.Fatal("not changed, or not protected any more")
	}
	plainPath := filepath.Join(t.TempDir(), "plain.key")
	must(t, k.Create(plainPath, nil))
	_, err = ReadKeyFile(plainPath, right)
	wantCode(t, err, backup.CodeBadConfig)
}

// A file that would cost this machine its memory to open is refused before any of it is computed.
func TestAHostileWorkFactorIsRefused(t *testing.T) {
	p := goodPassphrase(t, "correct horse battery staple")
	sealed, err := p.Seal([]byte("x"))
	must(t, err)
	binary, err := readArmor(sealed)
	must(t, err)
	for _, factor := range []string{"19", "30", "999999999999999999999"} {
		hostile := bytes.Replace(binary, []byte(" 17\n"), []byte(" "+factor+"\n"), 1)
		if bytes.Equal(hostile, binary) {
			t.Fatal("nothing was changed")
		}
		begun := time.Now()
		_, err := p.Open(hostile)
		if wantCode(t, err, backup.CodeBadConfig); time.Since(begun) > 100*time.Millisecond {
			t.Fatalf("work factor %s took %v", factor, time.Since(begun))
		}
	}
	_, err = p.Open(make([]byte, maxProtected+1))
	wantCode(t, err, backup.CodeBadConfig)
	large, err := p.Seal(make([]byte, maxKeyFile+1))
	must(t, err)
	_, err = p.Open(large)
	wantCode(t, err, backup.CodeBadConfig)
}

func readArmor(sealed []byte) ([]byte, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(armor.NewReader(bytes.NewReader(sealed)))
	return b.Bytes(), err
}

func TestAPassphraseIsChecked(t *testing.T) {
	for what, typed := range map[string]string{"empty": "", "short": "hunter2hunt", "two lines": "correct horse\nbattery staple", "endless": strings.Repeat("x", maxPassphrase+1), "a zero": "correct horse\x00battery"} {
		if _, err := NewPassphrase([]byte(typed)); !backup.HasCode(err, backup.CodeBadConfig) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := goodPassphrase(t, "correct horse battery staple")
	if said := fmt.Sprintf("%v %+v %#v %s", p, p, p, p); strings.Contains(said, "horse") {
		t.Fatal(said)
	}
}

func TestARecoveryCopyGoesToPublicKeys(t *testing.T) {
	k := goodKeyFile(t)
	folder := t.TempDir()
	native, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(filepath.Join(folder, "age.key"), []byte("# mine\n"+native.String()+"\n"), 0o600))
	sshPublic, sshKey := newSSHKey(t)
	must(t, os.WriteFile(filepath.Join(folder, "id_ed25519"), sshKey, 0o600))
	_, otherKey := newSSHKey(t)
	must(t, os.WriteFile(filepath.Join(folder, "other"), otherKey, 0o600))

	to, err := ParseRecipients([]string{native.Recipient().String(), sshPublic})
	must(t, err)
	sealed, err := k.Export(to)
	must(t, err)
	path := filepath.Join(folder, "copy.age")
	must(t, WriteCopy(path, sealed))
	wantCode(t, WriteCopy(path, sealed), backup.CodeBadConfig)
	for _, name := range []string{"age.key", "id_ed25519"} {
		with, err := LoadIdentities(filepath.Join(folder, name))
		must(t, err)
		read, err := ReadCopy(path, with)
		if must(t, err); !sameKeys(k, read) {
			t.Fatalf("%s gave another key file", name)
		}
	}
	with, err := LoadIdentities(filepath.Join(folder, "other"))
	must(t, err)
	_, err = ReadCopy(path, with)
	wantCode(t, err, backup.CodeBadCredential)
	_, err = ReadCopy(path, goodPassphrase(t, "correct horse battery staple"))
	wantCode(t, err, backup.CodeBadCredential)

	must(t, os.Chmod(filepath.Join(folder, "age.key"), 0o644))
	_, err = LoadIdentities(filepath.Join(folder, "age.key"))
	wantCode(t, err, backup.CodeBadConfig)
	_, err = LoadIdentities(path)
	wantCode(t, err, backup.CodeBadConfig)
	for _, bad := range []string{"", "age1xyz", native.String(), "ssh-ed25519 AAAA", string(sshKey)} {
		if _, err := ParseRecipients([]string{bad}); !backup.HasCode(err, backup.CodeBadConfig) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%.30q: %v", bad, err)
		}
	}
}

func newSSHKey(t testing.TB) (public string, private []byte) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	must(t, err)
	pub, err := ssh.NewPublicKey(key.Public())
	must(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))), pem.EncodeToMemory(block)
}

// FuzzOpenProtected feeds what is no good age file; the passphrase is of no matter, and no work factor is computed beyond the bound.
func FuzzOpenProtected(f *testing.F) {
	to, err := age.GenerateX25519Identity()
	must(f, err)
	sealed, err := sealTo([]byte("content"), to.Recipient())
	must(f, err)
	f.Add(sealed)
	binary, err := readArmor(sealed)
	must(f, err)
	f.Add(binary)
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := openWith(b, to)
		if err == nil && string(content) != "content" {
			t.Fatalf("%q came out", content)
		}
		if err != nil && !backup.HasCode(err, backup.CodeBadConfig) && !backup.HasCode(err, backup.CodeBadCredential) {
			t.Fatal(err)
		}
	})
}
