package connector

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

func openStore(t *testing.T, path string, o KeyStoreOptions) *KeyStore {
	t.Helper()
	s, err := OpenKeyStore(path, o)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestAKeyFileIsOpenInOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "connector.json")
	storeKeyFile(t, path)
	s, err := OpenKeyStore(path, KeyStoreOptions{})
	must(t, err)
	_, err = OpenKeyStore(path, KeyStoreOptions{})
	wantCode(t, err, backup.CodeBadConfig)
	must(t, s.create(t.Context(), 2))
	_, err = OpenKeyStore(path, KeyStoreOptions{}) // the file is another one now, the lock is not
	wantCode(t, err, backup.CodeBadConfig)
	must(t, s.Close())
	again := openStore(t, path, KeyStoreOptions{})
	if len(again.Holds()) != 2 {
		t.Fatalf("holds %+v", again.Holds())
	}
}

// TestWhatIsGivenUpIsOverwritten looks at the old file's bytes through a second name of it.
func TestWhatIsGivenUpIsOverwritten(t *testing.T) {
	folder := t.TempDir()
	path, second := filepath.Join(folder, "connector.json"), filepath.Join(folder, "second")
	k := storeKeyFile(t, path)
	s := openStore(t, path, KeyStoreOptions{})
	must(t, s.create(t.Context(), 2))
	must(t, os.Link(path, second))
	ekey := bytes.Clone(k.Generations[0].ekey)
	if !holds(readFile(t, second), ekey) {
		t.Fatal("the search does not find the ekey")
	}
	must(t, s.retire(t.Context(), 1))
	if holds(readFile(t, second), ekey) || holds(readFile(t, path), ekey) {
		t.Fatal("a retired ekey still lies there")
	}
	must(t, os.Remove(second))
	if entries, _ := os.ReadDir(folder); len(entries) != 2 { // the key file and its lock
		t.Fatalf("something stayed behind: %v", entries)
	}
}

// A process that is killed before it gives a new key file its name leaves one that nobody would ever look for: every ekey is in it.
func TestWhatAKilledProcessLeftIsOverwrittenAndRemoved(t *testing.T) {
	folder := t.TempDir()
	path, second := filepath.Join(folder, "connector.json"), filepath.Join(folder, "second")
	k := storeKeyFile(t, path)
	before := readFile(t, path)
	left, named := temporaryOf(path, rand.Text()), temporaryOf(path, rand.Text())
	must(t, writeSynced(left, before))
	must(t, os.Link(left, second))
	must(t, os.Link(path, named)) // killed right after the name was given
	must(t, os.WriteFile(filepath.Join(folder, ".connector.json.of-somebody"), nil, 0o600))
	s := openStore(t, path, KeyStoreOptions{})
	if holds(readFile(t, second), k.Generations[0].ekey) {
		t.Error("the ekey still lies there")
	}
	must(t, os.Remove(second))
	if entries, _ := os.ReadDir(folder); len(entries) != 3 || !bytes.Equal(readFile(t, path), before) {
		t.Errorf("there are %v", entries)
	}
	g, err := s.ekey(t.Context(), 1)
	if must(t, err); !g.good("acme") {
		t.Error("the key file was harmed")
	}
}

func TestAChangeThatCannotBeWrittenIsNotMade(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "connector.json")
	storeKeyFile(t, path)
	s := openStore(t, path, KeyStoreOptions{Protector: nil})
	before := readFile(t, path)
	s.o.Protector = brokenProtector{}
	if err := s.create(t.Context(), 2); err == nil {
		t.Fatal("created without being written")
	}
	if _, err := s.destroy(t.Context()); err == nil {
		t.Fatal("destroyed without being written")
	}
	if len(s.Holds()) != 1 || !bytes.Equal(readFile(t, path), before) {
		t.Fatal("half a change")
	}
	g, err := s.ekey(t.Context(), 1)
	if must(t, err); !g.good("acme") {
		t.Fatal("the ekey was wiped although it is still held")
	}
}

type brokenProtector struct{}

func (brokenProtector) Seal([]byte) ([]byte, error) { return nil, errors.New("cannot") }
func (brokenProtector) Open([]byte) ([]byte, error) { return nil, errors.New("cannot") }

// vaultLike is a source in memory that can be away.
type vaultLike struct {
	keys map[int][]byte
	away bool
}

func (v *vaultLike) err() error {
	if v.away {
		return &backup.Error{Code: backup.CodeSealed, Message: "Vault is sealed", Retryable: true}
	}
	return nil
}

func (v *vaultLike) EKey(_ context.Context, n int) ([]byte, error) {
	if v.err() != nil {
		return nil, v.err()
	}
	if v.keys[n] == nil {
		return nil, &backup.Error{Code: backup.CodeNotFound, Message: "not there"}
	}
	return bytes.Clone(v.keys[n]), nil
}

func (v *vaultLike) Keep(_ context.Context, n int, ekey []byte) error {
	if v.err() == nil {
		v.keys[n] = bytes.Clone(ekey)
	}
	return v.err()
}

func (v *vaultLike) Forget(_ context.Context, n int) error {
	if v.err() == nil {
		delete(v.keys, n)
	}
	return v.err()
}

func TestAnEKeyThatIsKeptElsewhereIsNotInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "connector.json")
	_, err := CreateKeyFile(path, goodSetup(t))
	must(t, err)
	source := &vaultLike{keys: map[int][]byte{}}
	s, err := OpenKeyStore(path, KeyStoreOptions{Source: source})
	must(t, err)
	must(t, s.create(t.Context(), 1))
	if len(source.keys[1]) != backup.EKeySize || holds(readFile(t, path), source.keys[1]) {
		t.Fatal("not kept where it should be")
	}
	got, err := s.ekey(t.Context(), 0)
	if must(t, err); !bytes.Equal(got.ekey, source.keys[1]) {
		t.Fatal("another ekey")
	}
	source.away = true
	_, err = s.ekey(t.Context(), 1)
	wantCode(t, err, backup.CodeSealed)
	if s.create(t.Context(), 2) == nil || len(s.Holds()) != 1 {
		t.Fatal("made without being kept")
	}
	source.away = false
	right := source.keys[1]
	source.keys[1] = bytes.Repeat([]byte{1}, backup.EKeySize)
	_, err = s.ekey(t.Context(), 1)
	wantCode(t, err, backup.CodeWrongKey)
	source.keys[1] = right
	source.keys[2] = bytes.Repeat([]byte{2}, backup.EKeySize) // left by a creation that was interrupted
	must(t, s.create(t.Context(), 2))
	if got, err = s.ekey(t.Context(), 2); err != nil || got.ekey[0] != 2 {
		t.Fatal("what was there was replaced")
	}
	destroyed, err := s.destroy(t.Context())
	if must(t, err); len(destroyed) != 2 || len(source.keys) != 0 {
		t.Fatalf("destroyed %v, left %d", destroyed, len(source.keys))
	}
	must(t, s.Close())
}

func TestTheStatusFileSaysHowTheConnectorStands(t *testing.T) {
	r := newRig(t, newMemory())
	folder := t.TempDir()
	_, err := ReadStatus(folder)
	wantCode(t, err, backup.CodeNotFound)
	a := r.agent(r.key("hq"), folder)
	stop := r.run(a)
	r.eventually("the file says connected", func() bool {
		s, err := ReadStatus(folder)
		return err == nil && s.Connected && s.Connector == "hq" && len(s.Holds) == 1 && s.Policy != "" && time.Since(s.Written) < StatusStale
	})
	stop()
	s, err := ReadStatus(folder)
	if must(t, err); s.Connected {
		t.Fatal("a connector that stopped is said to be connected")
	}
	must(t, os.WriteFile(filepath.Join(folder, statusFile), []byte(`{"a":1}`), 0o600))
	_, err = ReadStatus(folder)
	wantCode(t, err, backup.CodeBadConfig)
}

// TestALossThatNobodyReportedIsReportedLater: the gateway that found it died before it could say so.
func TestALossThatNobodyReportedIsReportedLater(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, box testBox) {
		r := newRig(t, box, func(o *GatewayOptions) { o.LostAfter = 400 * time.Millisecond })
		k := r.key("hq")
		must(t, greet(t.Context(), r.caller(k)))
		r.eventually("connected", func() bool { return r.presence.last().Connected })
		r.stop()
		lost, err := box.MarkConnectorsLost(t.Context(), time.Now().Add(time.Second), time.Now())
		if must(t, err); len(lost) != 1 {
			t.Fatalf("%d lost", len(lost))
		}
		r.startGateway()
		r.eventually("the next gateway reports it", func() bool { p := r.presence.last(); return !p.Connected && p.Connector == "hq" && p.Session == 1 })
	})
}

func TestAConnectorThatWentWildIsSlowedDown(t *testing.T) {
	g := NewGateway(newMemory(), &presenceLog{}, GatewayOptions{})
	wild, calm, allowed := party{"acme", "wild"}, party{"acme", "calm"}, 0
	for range 10 * callsPer {
		if g.maySpeak(wild) {
			allowed++
		}
	}
	if allowed > 3*callsPer || !g.maySpeak(calm) {
		t.Fatalf("%d calls at once", allowed)
	}
}
