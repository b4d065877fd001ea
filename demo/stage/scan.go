package stage

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Secret is something that must be nowhere but where it belongs.
type Secret struct {
	Name  string
	Bytes []byte
}

// Finding is a secret where it must not be.
type Finding struct{ Secret, Form, Place string }

// Scan looks for secrets in what Holdfast keeps on disk (Temporal's database, the store, the repositories, the caches), in all logs, and in
// the command lines of processes. It returns how many files and bytes it read, so that a scan of nothing is noticed.
func (s *Stage) Scan(secrets []Secret) (found []Finding, files int, size int64, err error) {
	needles := needlesOf(secrets)
	for _, folder := range []string{s.Path("holdfast"), s.Path("logs")} {
		err = errors.Join(err, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return gone(err)
			}
			f, n, err := scanFile(path, needles)
			found, files, size = append(found, f...), files+1, size+n
			return gone(err)
		}))
	}
	lines, listed := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		f, _, scanned := scanFile(path, needles)
		found, err = append(found, f...), errors.Join(err, gone(scanned))
	}
	return found, files, size, errors.Join(err, listed)
}

// gone forgives files that vanish while they are walked: databases and processes come and go.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || err != nil && strings.Contains(err.Error(), "no such process") {
		return nil
	}
	return err
}

// needle is one form that a secret may take in a file.
type needle struct {
	secret, form string
	bytes        []byte
}

// needlesOf gives each secret's forms: raw, hex, and base64 in both alphabets at each of the three alignments that it may have inside of
// something longer.
func needlesOf(secrets []Secret) []needle {
	var needles []needle
	for _, s := range secrets {
		add := func(form string, b []byte) { needles = append(needles, needle{s.Name, form, b}) }
		add("raw", s.Bytes)
		add("hex", []byte(hex.EncodeToString(s.Bytes)))
		add("HEX", []byte(strings.ToUpper(hex.EncodeToString(s.Bytes))))
		for shift := range 3 {
			shifted := append(make([]byte, shift), s.Bytes...)
			// Characters at either end also depend on the neighbours: leave them out.
			inner := func(e *base64.Encoding) []byte {
				text := e.EncodeToString(shifted)
				return []byte(text[(shift*8+5)/6 : len(shifted)*8/6])
			}
			add(fmt.Sprintf("base64 at %d", shift), inner(base64.RawStdEncoding))
			add(fmt.Sprintf("base64url at %d", shift), inner(base64.RawURLEncoding))
		}
	}
	return needles
}

// scanFile reads a file in chunks that overlap by the longest needle.
func scanFile(path string, needles []needle) (found []Finding, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	longest := 0
	for _, n := range needles {
		longest = max(longest, len(n.bytes))
	}
	buf, kept := make([]byte, 1<<20), 0
	for {
		n, err := io.ReadFull(f, buf[kept:])
		size += int64(n)
		chunk := buf[:kept+n]
		for _, needle := range needles {
			if bytes.Contains(chunk, needle.bytes) {
				found = append(found, Finding{needle.secret, needle.form, path})
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = nil
			}
			return found, size, err
		}
		kept = copy(buf, chunk[len(chunk)-longest:])
	}
}
