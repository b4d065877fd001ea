package sqlstore

import (
	"bytes"
	"io"
	"io/fs"
	"regexp"
)

// byteOrdered are migrations for PostgreSQL. SQLite compares texts byte by byte; PostgreSQL by the language of the database, which
// changes with the machine's libraries, unless the column says otherwise. Pages of a list would end differently, and "a" and "A" be
// neighbours.
type byteOrdered struct{ fs.FS }

// textColumn is the beginning of a line that defines a column of texts.
var textColumn = regexp.MustCompile(`(?m)^(\s*\w+\s+TEXT)\b`)

func (f byteOrdered) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil || info.IsDir() {
		return file, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return migration{file, bytes.NewReader(textColumn.ReplaceAll(text, []byte(`$1 COLLATE "C"`)))}, nil
}

// migration is a file with another text.
type migration struct {
	fs.File
	text *bytes.Reader
}

func (m migration) Read(p []byte) (int, error) { return m.text.Read(p) }
