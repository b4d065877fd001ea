package content

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
)

var people = []Address{{"Anna Vukić", "anna@acme.example"}, {"Søren O'Neill", "soren@acme.example"}, {"Chen 陳", "chen@acme.example"}}

func mailNumber(i int) Mail { return NewMail(Key{Seed: 3, ID: fmt.Sprint("mail/", i)}, people) }

func TestSameKeySameBytes(t *testing.T) {
	for i := range 60 {
		a, b := mailNumber(i).Bytes(), mailNumber(i).Bytes()
		if !bytes.Equal(a, b) {
			t.Fatalf("mail %d differs from itself", i)
		}
	}
	for name, other := range map[string]Key{"seed": {Seed: 4, ID: "mail/1"}, "id": {Seed: 3, ID: "mail/2"}, "version": {Seed: 3, ID: "mail/1", Version: 1}} {
		if bytes.Equal(mailNumber(1).Bytes(), NewMail(other, people).Bytes()) {
			t.Errorf("another %s gives the same mail", name)
		}
	}
}

// An edit changes the text; who wrote it when stays.
func TestEditedMail(t *testing.T) {
	for i := range 40 {
		old, edited := mailNumber(i), NewMail(Key{Seed: 3, ID: fmt.Sprint("mail/", i), Version: 1}, people)
		if old.MessageID != edited.MessageID || old.Subject != edited.Subject || !old.Sent.Equal(edited.Sent) || len(old.Parts) != len(edited.Parts) {
			t.Errorf("mail %d became another mail", i)
		}
		if bytes.Equal(old.Bytes(), edited.Bytes()) {
			t.Errorf("mail %d did not change", i)
		}
	}
}

// decode undoes a part's transfer encoding and charset.
func decode(t *testing.T, encoding, contentType string, body io.Reader) []byte {
	t.Helper()
	switch encoding {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatalf("%s: %v", contentType, err)
	}
	switch params["charset"] {
	case "iso-8859-1":
		b, err = charmap.ISO8859_1.NewDecoder().Bytes(b)
	case "koi8-r":
		b, err = charmap.KOI8R.NewDecoder().Bytes(b)
	case "iso-2022-jp":
		b, err = japanese.ISO2022JP.NewDecoder().Bytes(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryShapeCanBeReadBack(t *testing.T) {
	seen := map[Shape]int{}
	for i := range 400 {
		m := mailNumber(i)
		seen[m.Shape]++
		raw := m.Bytes()
		checkLines(t, i, raw)
		msg, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("mail %d (%s): %v", i, m.Shape, err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
		if err != nil || subject != m.Subject {
			t.Errorf("mail %d: subject %q, %v; want %q", i, subject, err, m.Subject)
		}
		if _, err := msg.Header.AddressList("To"); err != nil {
			t.Errorf("mail %d: To: %v", i, err)
		}
		kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
		if err != nil {
			t.Fatalf("mail %d: %v", i, err)
		}
		if !strings.HasPrefix(kind, "multipart/") {
			text := decode(t, msg.Header.Get("Content-Transfer-Encoding"), msg.Header.Get("Content-Type"), msg.Body)
			if strings.TrimRight(string(text), "\r\n") != strings.TrimRight(m.Text(), "\r\n") {
				t.Errorf("mail %d (%s): the text came back changed", i, m.Shape)
			}
			continue
		}
		checkParts(t, i, m, multipart.NewReader(msg.Body, params["boundary"]))
	}
	for _, s := range shapes {
		if seen[s] == 0 {
			t.Errorf("no mail of the shape %s", s)
		}
	}
}

// checkLines wants CRLF only, and lines within 998 bytes (RFC 5322, section 2.1.1).
func checkLines(t *testing.T, i int, raw []byte) {
	t.Helper()
	if bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) && !bytes.Contains(raw, []byte("Content-Transfer-Encoding: 8bit")) {
		t.Errorf("mail %d has bare line ends", i)
	}
	for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
		if len(line) > 998 {
			t.Errorf("mail %d has a line of %d bytes", i, len(line))
		}
	}
}

func checkParts(t *testing.T, i int, m Mail, parts *multipart.Reader) {
	t.Helper()
	found := 0
	for {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("mail %d: %v", i, err)
		}
		body := decode(t, p.Header.Get("Content-Transfer-Encoding"), p.Header.Get("Content-Type"), p)
		if p.Header.Get("Content-Disposition") == "" {
			continue
		}
		_, params, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
		if err != nil || params["filename"] != m.Parts[found].Name {
			t.Errorf("mail %d: attachment %q, %v; want %q", i, params["filename"], err, m.Parts[found].Name)
		}
		if !bytes.Equal(body, m.PartBytes(found)) {
			t.Errorf("mail %d: %s came back changed", i, m.Parts[found].Name)
		}
		found++
	}
	if found != len(m.Parts) {
		t.Errorf("mail %d: %d attachments, want %d", i, found, len(m.Parts))
	}
}

func TestMailSizesAndOddities(t *testing.T) {
	var sizes []int
	empty, rightToLeft, emoji, noSubject, inline := 0, 0, 0, 0, 0
	for i := range 1000 {
		m := mailNumber(i)
		sizes = append(sizes, len(m.Bytes()))
		for _, p := range m.Parts {
			if p.Size == 0 {
				empty++
			}
			if p.ContentID != "" {
				inline++
			}
		}
		switch {
		case m.Subject == "":
			noSubject++
		case strings.ContainsAny(m.Subject, "قפ"):
			rightToLeft++
		case strings.Contains(m.Subject, "🎉"):
			emoji++
		}
	}
	slices.Sort(sizes)
	if sizes[0] < 1_500 || sizes[999] < 100_000 || sizes[999] > 300_000 || sizes[500] < 5_000 || sizes[500] > 40_000 {
		t.Errorf("sizes from %d over %d to %d", sizes[0], sizes[500], sizes[999])
	}
	for name, n := range map[string]int{"empty attachments": empty, "right-to-left subjects": rightToLeft, "emoji": emoji, "no subject": noSubject, "inline images": inline} {
		if n < 10 {
			t.Errorf("%s: %d of 1000", name, n)
		}
	}
	t.Logf("mail: smallest %d, median %d, largest %d bytes", sizes[0], sizes[500], sizes[999])
}

func file(index, version int) File {
	return NewFile(Key{Seed: 3, ID: fmt.Sprint("file/", index), Version: version}, index)
}

func TestFilesReadTheSameFromAnywhere(t *testing.T) {
	for index := range 12 {
		for version := range 3 {
			f := file(index, version)
			whole, err := io.ReadAll(f.Open())
			if err != nil || int64(len(whole)) != f.Size() {
				t.Fatalf("file %d: %d bytes, %v; want %d", index, len(whole), err, f.Size())
			}
			if len(whole) > 600_000 {
				whole = whole[:600_000]
			}
			for _, at := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, len(whole) / 2, len(whole) - 1} {
				if at < 0 || at >= len(whole) {
					continue
				}
				p := make([]byte, min(3*blockSize/2, len(whole)-at))
				if _, err := f.Open().ReadAt(p, int64(at)); err != nil && err != io.EOF || !bytes.Equal(p, whole[at:at+len(p)]) {
					t.Fatalf("file %d from %d differs: %v", index, at, err)
				}
			}
		}
	}
	small := file(10, 0)
	want, _ := io.ReadAll(small.Open())
	if err := iotest.TestReader(small.Open(), want); err != nil {
		t.Error(err)
	}
}

// An edit leaves nearly all of a file as it was, or de-duplication would have nothing to find.
func TestEditIsLocal(t *testing.T) {
	f := file(7, 0)
	if f.Size() < 3<<20 {
		t.Fatalf("file 7 has %d bytes; it is to be large", f.Size())
	}
	for version := 1; version <= 5; version++ {
		old, edited := file(7, version-1), file(7, version)
		changed := 0
		for at := int64(0); at < old.Size(); at += blockSize {
			a, b := make([]byte, blockSize), make([]byte, blockSize)
			n, _ := old.Open().ReadAt(a, at)
			edited.Open().ReadAt(b[:n], at)
			if !bytes.Equal(a, b) {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("version %d changed %d blocks, want 1", version, changed)
		}
	}
	if file(7, 4).Size() <= file(7, 3).Size() {
		t.Error("the fourth edit does not make it longer")
	}
	if file(3, 0).Size() != 0 || file(3, 1).Size() == 0 {
		t.Error("file 3 is to be empty and then written")
	}
}

func TestFileNames(t *testing.T) {
	for index := range 300 {
		f := file(index, 0)
		if !utf8.ValidString(f.Name) || strings.ContainsAny(f.Name, "/\\:*?\"<>|") || len(f.Name) > 255 || path.Ext(f.Name) == "" {
			t.Errorf("a drive takes no file named %q", f.Name)
		}
	}
}

func BenchmarkMail(b *testing.B) {
	total := 0
	for i := range b.N {
		total += len(mailNumber(i % 500).Bytes())
	}
	b.SetBytes(int64(total / b.N))
}

func BenchmarkFile(b *testing.B) {
	f := file(7, 2)
	b.SetBytes(f.Size())
	for range b.N {
		io.Copy(io.Discard, f.Open())
	}
}
