package connector

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// writeShares splits a key file and returns the files.
func writeShares(t testing.TB, k *KeyFile, needs, of int) (paths []string) {
	t.Helper()
	shares, err := k.Split(needs, of)
	must(t, err)
	folder := t.TempDir()
	for _, s := range shares {
		path := filepath.Join(folder, s.Name())
		must(t, WriteShare(path, s))
		paths = append(paths, path)
	}
	return paths
}

func TestAnyKSharesGiveTheKeyFileBackAndFewerDoNot(t *testing.T) {
	k := goodKeyFile(t)
	paths := writeShares(t, k, 3, 5)
	if len(paths) != 5 {
		t.Fatalf("%d shares", len(paths))
	}
	for chosen := range 1 << 5 {
		var some []string
		for i, path := range paths {
			if chosen&(1<<i) != 0 {
				some = append(some, path)
			}
		}
		read, err := ReadShares(some)
		switch {
		case len(some) < 3:
			wantCode(t, err, backup.CodeBadConfig)
		case err != nil || !sameKeys(k, read):
			t.Fatalf("%v: %v", some, err)
		}
	}
	slices.Reverse(paths)
	if read, err := ReadShares(paths); err != nil || !sameKeys(k, read) {
		t.Fatal(err)
	}
	for _, path := range paths {
		text := readFile(t, path)
		for _, g := range k.Generations {
			if holds(text, g.ekey) {
				t.Fatal("an ekey is in a share")
			}
		}
	}
}

// Whoever makes two shares out to be enough, where three are needed, gets nothing.
func TestFewerSharesDoNotGiveAnything(t *testing.T) {
	k := goodKeyFile(t)
	shares, err := k.Split(3, 3)
	must(t, err)
	for i := range shares {
		shares[i].Needs = 2 // somebody who tries with fewer
	}
	_, err = joinShares(shares[:2], []string{"a", "b"})
	wantCode(t, err, backup.CodeBadConfig)
}

func TestAWrongShareIsNamed(t *testing.T) {
	k := goodKeyFile(t)
	a, b := writeShares(t, k, 2, 3), writeShares(t, k, 2, 3)
	other, err := NewKeyFile(goodSetup(t))
	must(t, err)
	c := writeShares(t, other, 2, 3)

	damaged := filepath.Join(t.TempDir(), "damaged.txt")
	text := readFile(t, a[1])
	at := bytes.Index(text, []byte("\n\n")) + 40
	text[at] ^= 1
	must(t, os.WriteFile(damaged, text, 0o600))
	relabelled := filepath.Join(t.TempDir(), "relabelled.txt")
	must(t, os.WriteFile(relabelled, bytes.Replace(readFile(t, a[1]), []byte("Tenant: acme"), []byte("Tenant: evil"), 1), 0o600))
	torn := filepath.Join(t.TempDir(), "torn.txt")
	must(t, os.WriteFile(torn, readFile(t, a[1])[:300], 0o600))
	forged := filepath.Join(t.TempDir(), "forged.txt")
	s, err := ParseShare("a", readFile(t, a[1]))
	must(t, err)
	s.data[50] ^= 1 // and with a checksum that fits
	must(t, os.WriteFile(forged, s.Text(), 0o600))
	open := filepath.Join(t.TempDir(), "open.txt")
	must(t, os.WriteFile(open, readFile(t, a[1]), 0o644))

	for what, try := range map[string]struct {
		paths []string
		names string
		says  string
	}{
		"damaged":       {[]string{a[0], damaged}, damaged, "damaged"},
		"relabelled":    {[]string{a[0], relabelled}, relabelled, "damaged"},
		"torn":          {[]string{a[0], torn}, torn, "damaged"},
		"of two splits": {[]string{a[0], b[1]}, b[1], "different splits"},
		"of two keys":   {[]string{a[0], c[1]}, c[1], "different splits"},
		"twice":         {[]string{a[0], a[0]}, a[0], "once more"},
		"forged":        {[]string{a[0], forged}, "", "made to look right"},
		"no share":      {[]string{a[0], "shares_test.go"}, "shares_test.go", ""},
		"not there":     {[]string{a[0], "nothing.txt"}, "nothing.txt", ""},
		"open to all":   {[]string{a[0], open}, open, "read by others"},
		"one":           {[]string{a[0]}, "", "missing"},
		"none":          {nil, "", "missing"},
	} {
		_, err := ReadShares(try.paths)
		e := wantCode(t, err, backup.CodeBadConfig)
		if said := e.Error() + e.Hint; !strings.Contains(said, try.names) || !strings.Contains(said, try.says) {
			t.Errorf("%s: %s", what, said)
		}
	}
}

func TestASplitIsBounded(t *testing.T) {
	k := goodKeyFile(t)
	for _, n := range [][2]int{{1, 3}, {0, 0}, {4, 3}, {2, 65}, {-1, 5}} {
		_, err := k.Split(n[0], n[1])
		wantCode(t, err, backup.CodeBadConfig)
	}
	shares, err := k.Split(64, 64)
	must(t, err)
	s := shares[63]
	if said := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(said, fmt.Sprint(s.data[:8])) || !strings.Contains(said, "share 64 of 64") {
		t.Fatal(said)
	}
}

// FuzzParseShare: what is read is a share, and reads the same when it is written again.
func FuzzParseShare(f *testing.F) {
	shares, err := goodKeyFile(f).Split(2, 3)
	must(f, err)
	f.Add(shares[0].Text())
	f.Add([]byte("-----BEGIN HOLDFAST KEY SHARE-----\nShare: 1 of 2\n\nAAAA\n-----END HOLDFAST KEY SHARE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseShare("it", text)
		if err != nil {
			if !backup.HasCode(err, backup.CodeBadConfig) {
				t.Fatal(err)
			}
			return
		}
		again, err := ParseShare("it", s.Text())
		if err != nil || !bytes.Equal(again.data, s.data) || again.checksum() != s.checksum() {
			t.Fatal(err)
		}
	})
}

// FuzzJoinShares: whatever shares of one set say, joining them gives what was split or an error.
func FuzzJoinShares(f *testing.F) {
	content := []byte("what was split, of some length")
	shares, err := splitShares(content, Share{Tenant: "acme", Connector: "hq"}, 2, 3)
	must(f, err)
	f.Add(shares[0].data, shares[1].data, shares[0].index, shares[1].index)
	f.Fuzz(func(t *testing.T, a, b []byte, x, y byte) {
		one, two := shares[0], shares[1]
		one.data, one.index, two.data, two.index = a, x, b, y
		if !one.plausible() || !two.plausible() {
			return
		}
		got, err := joinShares([]Share{one, two}, []string{"a", "b"})
		if err == nil && !bytes.Equal(got, content) {
			t.Fatalf("%q", got)
		}
	})
}
