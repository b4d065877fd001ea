package backup

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestSafeName(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"report.pdf", "report.pdf"},
		{"", "unnamed"},
		{".", "unnamed"},
		{"..", "unnamed"},
		{"...", "unnamed"},
		{" . ", "unnamed"},
		{"../../etc/passwd", "_._.._etc_passwd"},
		{`a/b\c:d*e?f"g<h>i|j`, "a_b_c_d_e_f_g_h_i_j"},
		{"tab\tnew\nline\x00\x7f\u0085", "tab_new_line___"},
		{".profile", "_profile"},
		{"trailing. . ", "trailing"},
		{"  leading", "leading"},
		{"CON", "_CON"},
		{"con.txt", "_con.txt"},
		{"nul .tar.gz", "_nul .tar.gz"},
		{"COM1", "_COM1"},
		{"lpt¹.log", "_lpt¹.log"},
		{"COM10", "COM10"},
		{"console", "console"},
		{"invoice\u202etxt.exe", "invoice_txt.exe"},
		{"bad\xff\xfeutf8", "bad_utf8"},
		{"Žluťoučký 🐎.docx", "Žluťoučký 🐎.docx"},
		{strings.Repeat("a", 300) + ".docx", strings.Repeat("a", 145) + ".docx"},
		{strings.Repeat("🐎", 60), strings.Repeat("🐎", 37)},
		{"x." + strings.Repeat("y", 300), "x." + strings.Repeat("y", 148)},
	} {
		if got := SafeName(c.in); got != c.want {
			t.Errorf("SafeName(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestMessageFileName(t *testing.T) {
	at := time.Date(2026, 3, 1, 10, 15, 0, 0, time.FixedZone("CET", 3600))
	for _, c := range []struct {
		item Item
		want string
	}{
		{Item{Name: "Minutes", Modified: at}, "2026-03-01 0915 Minutes.eml"},
		{Item{Name: "RE: a/b", Modified: at}, "2026-03-01 0915 RE_ a_b.eml"},
		{Item{Name: " \t", Modified: at}, "2026-03-01 0915 no subject.eml"},
		{Item{Name: "Old"}, "undated Old.eml"},
		{Item{Name: "v1.2", Modified: at}, "2026-03-01 0915 v1.2.eml"},
	} {
		if got := MessageFileName(c.item); got != c.want {
			t.Errorf("MessageFileName(%q) = %q, want %q", c.item.Name, got, c.want)
		}
	}
	if n := len(MessageFileName(Item{Name: strings.Repeat("ž", 500), Modified: at})); n > maxNameBytes || n < maxNameBytes-2 {
		t.Errorf("a long subject gives %d bytes", n)
	}
}

func TestRestorePathKeepsFoldersAndTellsNamesApart(t *testing.T) {
	p := NewRestorePath()
	p.AddFolder(Item{ID: "f1", Kind: Folder, Name: "Projects"})
	p.AddFolder(Item{ID: "f2", Kind: Folder, Name: "A/B", Parent: "f1"})
	p.AddFolder(Item{ID: "f3", Kind: Folder, Name: "projects"})
	for _, c := range []struct {
		item Item
		want []string
	}{
		{Item{ID: "f1", Kind: Folder}, []string{"Projects"}},
		{Item{ID: "f3", Kind: Folder}, []string{"projects (625e0f64)"}},
		{Item{ID: "1", Kind: File, Parent: "f2", Name: "x.txt"}, []string{"Projects", "A_B", "x.txt"}},
		{Item{ID: "2", Kind: File, Parent: "f2", Name: "X.TXT"}, []string{"Projects", "A_B", "X (d4735e3a).TXT"}},
		{Item{ID: "1", Kind: File, Parent: "f2", Name: "x.txt"}, []string{"Projects", "A_B", "x.txt"}},
		{Item{ID: "3", Kind: File, Parent: "nowhere", Name: "x.txt"}, []string{"x.txt"}},
		{Item{ID: "4", Kind: File, Name: "Projects"}, []string{"Projects (4b227777)"}},
		{Item{ID: "5", Kind: Message, Parent: "f1", Name: "Hi"}, []string{"Projects", "undated Hi.eml"}},
	} {
		if got := p.Path(c.item); !reflect.DeepEqual(got, c.want) {
			t.Errorf("item %s: %q, want %q", c.item.ID, got, c.want)
		}
	}
}

func TestRestorePathEndsForFoldersThatContainThemselves(t *testing.T) {
	p := NewRestorePath()
	p.AddFolder(Item{ID: "a", Parent: "b", Name: "A"})
	p.AddFolder(Item{ID: "b", Parent: "a", Name: "B"})
	p.AddFolder(Item{ID: "c", Parent: "c", Name: "C"})
	for _, id := range []string{"a", "b", "c"} {
		if got := p.Path(Item{ID: "x" + id, Kind: File, Parent: id, Name: "x"}); len(got) == 0 || len(got) > 3 {
			t.Errorf("below %s: %q", id, got)
		}
	}
}

func TestRestorePathLimitsDepthAndLength(t *testing.T) {
	p := NewRestorePath()
	long := strings.Repeat("d", 120)
	for i := range 5000 {
		p.AddFolder(Item{ID: fmt.Sprint(i), Parent: fmt.Sprint(i - 1), Name: long})
	}
	got := p.Path(Item{ID: "x", Kind: File, Parent: "4999", Name: "x"})
	if n := len(strings.Join(got, "/")); len(got) > maxFolderLevels+2 || n > maxFolderBytes+2*maxNameBytes+2 {
		t.Errorf("%d components, %d bytes", len(got), n)
	}
}

// FuzzRestorePath gives paths for hostile names and checks what the destination relies on.
func FuzzRestorePath(f *testing.F) {
	f.Add("../x", "COM1", "a\x00b", "id1", "id2")
	f.Add("..", ".", " ", "", "same")
	f.Add(strings.Repeat("ž", 200), "con.", "a.b.c", "same", "same")
	f.Fuzz(func(t *testing.T, folder, one, two, id1, id2 string) {
		p := NewRestorePath()
		p.AddFolder(Item{ID: "f", Kind: Folder, Name: folder, Parent: id1})
		p.AddFolder(Item{ID: id1, Kind: Folder, Name: two, Parent: "f"})
		a := p.Path(Item{ID: id1 + "/1", Kind: File, Name: one, Parent: "f"})
		b := p.Path(Item{ID: id2 + "/2", Kind: File, Name: two, Parent: "f"})
		c := p.Path(Item{ID: id2 + "/3", Kind: Message, Name: two, Parent: "f"})
		for _, components := range [][]string{a, b, c} {
			for _, name := range components {
				checkName(t, name)
			}
		}
		if id1+"/1" != id2+"/2" && strings.EqualFold(strings.Join(a, "/"), strings.Join(b, "/")) {
			t.Fatalf("two items share %q", a)
		}
	})
}

func checkName(t *testing.T, name string) {
	t.Helper()
	stem, _, _ := strings.Cut(name, ".")
	switch {
	case name == "", len(name) > maxNameBytes, !utf8.ValidString(name):
		t.Fatalf("%q: %d bytes", name, len(name))
	case strings.ContainsAny(name, `/\:*?"<>|`), strings.IndexFunc(name, unicode.IsControl) >= 0:
		t.Fatalf("%q holds a character it may not", name)
	case strings.Trim(name, " .") != name:
		t.Fatalf("%q has a dot or space at an end", name)
	case reservedName(strings.TrimRight(stem, " ")):
		t.Fatalf("%q is reserved", name)
	}
}
