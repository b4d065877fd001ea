package content

import (
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
)

// blockSize is how much of a file is made at once, in bytes. An edit changes one block and may add some.
const blockSize = 16 << 10

// File is a file's content, made while it is read.
type File struct {
	Key      Key
	Name     string
	MIMEType string
	size     int64
}

// NewFile decides a file's name, type and size. index steers the mix: of every twenty files one is empty and of every fifty one has
// several megabytes; the rest has 1 to 400 KB.
func NewFile(k Key, index int) File {
	r := k.stream("file", 0)
	kind := fileKinds[r.IntN(len(fileKinds))]
	f := File{Key: k, Name: fileName(r, index) + kind.ext, MIMEType: kind.mime}
	switch {
	case index%20 == 3:
		f.size = 0
	case index%50 == 7:
		f.size = int64(3<<20 + r.IntN(3<<20))
	default:
		f.size = int64(between(r, 1_000, 400_000))
	}
	return f
}

var fileKinds = []struct{ ext, mime string }{
	{".txt", "text/plain"}, {".csv", "text/csv"}, {".pdf", "application/pdf"}, {".png", "image/png"},
	{".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
}

// fileName gives a name that is unique in its folder; some are of the kind that breaks programs.
func fileName(r *rand.Rand, index int) string {
	name := fmt.Sprintf("%s %d", phrase(r, 1+r.IntN(3)), index)
	switch r.IntN(12) {
	case 0:
		return "Übersicht " + name
	case 1:
		return "📎 " + name
	case 2:
		return "عقد " + name
	case 3:
		return ".hidden " + name
	case 4:
		return name + strings.Repeat(" long", 25)
	case 5:
		return "100% 'quoted' & #1 " + name
	}
	return name
}

// Size is the length in bytes. Every fourth edit makes a file longer.
func (f File) Size() int64 {
	size := f.size
	for v := 4; v <= f.Key.Version; v += 4 {
		size += 700
	}
	if size == 0 && f.Key.Version > 0 {
		return 512 // somebody wrote the first lines
	}
	return size
}

// Open reads the content from the start; Seek is cheap.
func (f File) Open() *io.SectionReader {
	return io.NewSectionReader(&blockReader{file: f, number: -1}, 0, f.Size())
}

// blockReader keeps the block that was read last, because readers ask for less than a block at a time.
type blockReader struct {
	file   File
	number int64
	block  []byte
}

// ReadAt makes the bytes at an offset. It may not be called concurrently.
func (r *blockReader) ReadAt(p []byte, off int64) (int, error) {
	size := r.file.Size()
	n := 0
	for n < len(p) && off < size {
		if at := off / blockSize; at != r.number {
			r.number, r.block = at, r.file.block(at)
			r.block = r.block[:min(blockSize, size-at*blockSize)]
		}
		c := copy(p[n:], r.block[off%blockSize:])
		n, off = n+c, off+int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// block makes a whole block, as the last edit that touched it left it.
func (f File) block(i int64) []byte {
	b := make([]byte, 0, blockSize+128)
	if i == 0 {
		b = append(b, magic[f.MIMEType]...)
	}
	r := f.Key.stream(fmt.Sprint("block", i), f.edited(i))
	switch path.Ext(f.Name) {
	case ".txt":
		b = appendProse(b, r, blockSize, "\n")
	case ".csv":
		b = appendRows(b, r, blockSize)
	default:
		// Documents are part text, part media: two thirds of a block have a pattern.
		b = appendProse(b, r, blockSize*2/3, "\n")
		b = appendNoise(b, r, blockSize)
	}
	return b[:blockSize]
}

// edited is the last version up to this one that touched the block: version v touches one block of the file.
func (f File) edited(i int64) int {
	blocks := (f.size + blockSize - 1) / blockSize
	for v := f.Key.Version; v > 0; v-- {
		if blocks <= 1 || f.Key.stream("edit", v).Int64N(blocks) == i {
			return v
		}
	}
	return 0
}

// appendRows appends n bytes or slightly more of a table.
func appendRows(b []byte, r *rand.Rand, n int) []byte {
	states := [3]string{"open", "closed", "pending"}
	table := draw()
	for end := len(b) + n; len(b) < end; {
		b = fmt.Appendf(b, "2026-%02d-%02d,%s,%s,%d.%02d,%s\n", 1+r.IntN(12), 1+r.IntN(28), table[r.IntN(drawTable)],
			table[r.IntN(drawTable)], r.IntN(100_000), r.IntN(100), states[r.IntN(3)])
	}
	return b
}
