package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/orchestrator"
)

// corpora are Go modules with mail that nobody here wrote: what real programs sent, and what made other parsers stumble. They are
// fetched by the ordinary go command when the test runs, and are no dependency.
var corpora = []struct {
	module string
	// mailbox takes the messages; suffixes tell which files are messages, and mbox which hold many.
	mailbox  string
	suffixes []string
	mbox     string
}{
	{"github.com/jhillyerd/enmime/v2@v2.3.0", "anna@acme.example", []string{".raw"}, ""},
	{"github.com/ProtonMail/gluon@v0.17.1-0.20230724134000-308be39be96e", "bela@acme.example", []string{".eml"}, "dovecot-crlf"},
	{"github.com/wneessen/go-mail@v0.8.1", "chen@acme.example", []string{".eml"}, ""},
}

// Mail that nobody here wrote comes back byte for byte, whatever is wrong with it.
func TestForeignMail(t *testing.T) {
	t.Parallel()
	c := protected(t, stage.Options{People: 3, Messages: 1, Files: 1})
	filled := map[string]int{}
	for _, corpus := range corpora {
		messages, err := fetchMail(t, corpus.module, corpus.suffixes, corpus.mbox)
		if err != nil {
			t.Logf("%s is not to be had: %v", corpus.module, err)
			continue
		}
		for i, m := range messages {
			if _, err := c.Graph.AddMessage(corpus.mailbox, "inbox", m); err != nil {
				t.Fatalf("message %d of %s: %v", i+1, corpus.module, err)
			}
		}
		filled[corpus.mailbox] = len(messages)
		t.Logf("%s: %d messages", corpus.module, len(messages))
	}
	if len(filled) < 2 {
		t.Fatalf("only %d of %d collections of mail are to be had", len(filled), len(corpora))
	}
	run, asked := c.night()
	total := 0
	for mailbox, n := range filled {
		total += n
		to := filepath.Join(t.TempDir(), mailbox)
		if _, err := c.orchestrator.Restore(t.Context(), orchestrator.RestoreRequest{Tenant: stage.Tenant, Account: mailbox, App: backup.Microsoft365,
			Service: backup.Mail, To: to, RequestedBy: "anna@acme.example"}); err != nil {
			t.Fatal(err)
		}
		if equal, size, err := c.CompareMail(mailbox, to); err != nil || equal <= n {
			t.Errorf("%s: %d messages of %d bytes are equal, %d were put in: %v", mailbox, equal, size, n, err)
		}
	}
	if asked.contents() != int64(total) || run.Counts.Skipped != 0 {
		t.Errorf("%d messages were fetched and %d skipped, %d were put in", asked.contents(), run.Counts.Skipped, total)
	}
}

// fetchMail downloads a module and reads the messages in it.
func fetchMail(t *testing.T, module string, suffixes []string, mbox string) (messages [][]byte, err error) {
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", module)
	cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if decoded := json.Unmarshal(out, &got); decoded != nil || got.Dir == "" {
		return nil, fmt.Errorf("%w %v %s", err, decoded, got.Error)
	}
	err = filepath.WalkDir(got.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, s := range suffixes {
			if strings.HasSuffix(path, s) {
				m, err := os.ReadFile(path)
				messages = append(messages, m)
				return err
			}
		}
		if mbox != "" && strings.HasSuffix(path, mbox) {
			many, err := os.ReadFile(path)
			messages = append(messages, splitMbox(many)...)
			return err
		}
		return nil
	})
	if err == nil && len(messages) == 0 {
		err = errors.New("there is no mail in it")
	}
	return messages, err
}

// splitMbox cuts a mailbox file (RFC 4155) at its separator lines and the empty lines before them.
func splitMbox(all []byte) (messages [][]byte) {
	for _, m := range bytes.Split(append([]byte("\n"), all...), []byte("\nFrom ")) {
		if _, m, ok := bytes.Cut(m, []byte("\n")); ok && len(bytes.TrimSpace(m)) > 0 {
			messages = append(messages, bytes.TrimSuffix(m, []byte("\r")))
		}
	}
	return messages
}
