package graph

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// blob is content that was put in as it is: in memory, or in a file named by its hash when there is a state file.
type blob struct {
	size   int64
	sha256 string
	bytes  []byte
	path   string
}

// maxRaw bounds what may be put in as it is, in bytes.
const maxRaw = 256 << 20

// newBlob keeps b; dir is where, or empty for memory.
func newBlob(b []byte, dir string) (*blob, error) {
	if len(b) > maxRaw {
		return nil, fmt.Errorf("%d bytes are more than the %d that may be put in", len(b), maxRaw)
	}
	sum := sha256.Sum256(b)
	out := &blob{size: int64(len(b)), sha256: hex.EncodeToString(sum[:])}
	if dir == "" {
		out.bytes = bytes.Clone(b)
		return out, nil
	}
	out.path = filepath.Join(dir, out.sha256)
	if _, err := os.Stat(out.path); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return out, writeWhole(out.path, b)
}

// writeWhole writes through a temporary name, so that a file is whole or absent.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// openBlob finds a blob that an earlier process kept.
func openBlob(sum string, dir string) (*blob, error) {
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) != sha256.Size {
		return nil, fmt.Errorf("%q is no SHA-256 in hex", sum)
	}
	path := filepath.Join(dir, sum)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &blob{size: info.Size(), sha256: sum, path: path}, nil
}

func (b *blob) read() ([]byte, error) {
	if b.path == "" {
		return b.bytes, nil
	}
	return os.ReadFile(b.path)
}

func (b *blob) open() (io.ReadSeekCloser, error) {
	if b.path == "" {
		return nopCloser{bytes.NewReader(b.bytes)}, nil
	}
	return os.Open(b.path)
}
