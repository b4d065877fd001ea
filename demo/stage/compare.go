package stage

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// CompareMail compares a restored mailbox with the one in the sandbox, byte for byte: the same messages in the same folders, none more
// and none less. It returns how many messages and bytes agree.
func (s *Stage) CompareMail(user, folder string) (n int, size int64, err error) {
	live, err := s.Graph.Messages(user)
	if err != nil {
		return 0, 0, err
	}
	want := map[string]int{}
	for _, m := range live {
		want[keyOf(m.Folder, m.SHA256)]++
		size += m.Size
	}
	// A message's file name is made of its date and subject; what must agree is where it is and what it holds.
	return s.compare(want, size, folder, func(path []string, sum string) string { return keyOf(path[:len(path)-1], sum) })
}

// CompareDrive compares a restored drive with the one in the sandbox, byte for byte and name for name.
func (s *Stage) CompareDrive(user, folder string) (n int, size int64, err error) {
	live, err := s.Graph.Files(user)
	if err != nil {
		return 0, 0, err
	}
	want := map[string]int{}
	for _, f := range live {
		if f.Kind == "file" {
			want[keyOf(f.Path, f.SHA256)]++
			size += f.Size
		}
	}
	return s.compare(want, size, folder, keyOf)
}

// compare takes the files below folder off the expected ones.
func (s *Stage) compare(want map[string]int, size int64, folder string, key func(path []string, sum string) string) (int, int64, error) {
	n := 0
	var wrong []string
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		sum, err := sumFile(path)
		if err != nil {
			return err
		}
		k := key(strings.Split(relative, string(filepath.Separator)), sum)
		if want[k]--; want[k] < 0 {
			wrong = append(wrong, "not at the source: "+relative)
			return nil
		}
		n++
		return nil
	})
	for k, missing := range want {
		if missing > 0 {
			wrong = append(wrong, fmt.Sprintf("not restored: %s (%d times)", k, missing))
		}
	}
	if err == nil && len(wrong) > 0 {
		slices.Sort(wrong)
		err = fmt.Errorf("%d differences in %s: %s", len(wrong), folder, strings.Join(wrong[:min(5, len(wrong))], "; "))
	}
	return n, size, err
}

// keyOf is where a file is and what it holds. Names are made safe as a restore does.
func keyOf(path []string, sum string) string {
	safe := make([]string, len(path))
	for i, p := range path {
		safe[i] = backup.SafeName(p)
	}
	return strings.Join(safe, "/") + " " + sum
}

func sumFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
