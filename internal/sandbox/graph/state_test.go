package graph

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// freePort finds a loopback port, so that a restarted server has the addresses of the one before.
func freePort(t *testing.T) string {
	t.Helper()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

func TestRestartIsTheSameCompany(t *testing.T) {
	file, listen := filepath.Join(t.TempDir(), "state.json"), freePort(t)
	same := func(o *Options) { o.StateFile, o.Listen = file, listen }
	raw := []byte("Subject: kept\r\n\r\nas it is\r\n")

	first := start(t, 3, same)
	upn := first.opt.People[0].UPN
	m := first.mailboxClient(upn)
	m.sync()
	_, driveLink, _ := first.round("/users/" + upn + "/drive/root/delta")
	must(first.Mutate(1, SomeOfEverything()))
	rawID := must(first.AddMessage(upn, "inbox", raw))
	must(first.AddFile(upn, "root", "kept.bin", raw))
	m.sync()
	must(first.Mutate(2, SomeOfEverything())) // not yet seen by the client
	messages, files := must(first.Messages(upn)), must(first.Files(upn))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := start(t, 3, same)
	if got := must(second.Messages(upn)); fmt.Sprint(got) != fmt.Sprint(messages) {
		t.Error("the messages are not the same")
	}
	if got := must(second.Files(upn)); fmt.Sprint(got) != fmt.Sprint(files) {
		t.Error("the files are not the same")
	}
	if a := second.want("/users/" + upn + "/messages/" + rawID + "/$value"); !bytes.Equal(a.body, raw) {
		t.Errorf("raw mail came back as %q", a.body)
	}
	m.tester = second // the client goes on with its links
	m.sync()
	m.check("after the restart")
	items, _, _ := second.round(driveLink)
	if len(items) == 0 {
		t.Error("the drive's link shows no changes")
	}
	must(second.Mutate(3, SomeOfEverything()))
	m.sync()
	m.check("after changes behind the restart")
}

// An expired delta stays expired, or a restart would make a client miss what a resync must bring.
func TestExpiryOutlivesRestart(t *testing.T) {
	file, listen := filepath.Join(t.TempDir(), "state.json"), freePort(t)
	same := func(o *Options) { o.StateFile, o.Listen = file, listen }
	first := start(t, 1, same)
	_, link, _ := first.round("/users/" + first.opt.People[0].UPN + "/drive/root/delta")
	if err := first.ExpireDeltas(Drive); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if a := start(t, 1, same).get(link); a.status != 410 {
		t.Errorf("after the restart: %d", a.status)
	}
}

func TestStateFileProblems(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.json")
	first := start(t, 2, func(o *Options) { o.StateFile = whole })
	must(first.Mutate(1, SomeOfEverything()))
	count := len(must(first.Messages(first.opt.People[0].UPN)))
	first.Close()
	good := must(os.ReadFile(whole))
	lines := bytes.SplitAfter(good, []byte("\n"))

	try := func(name string, content []byte, edit func(*Options)) error {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		o := first.opt
		o.StateFile, o.Listen, o.ContentListen, o.AdminListen = path, "", "", ""
		if edit != nil {
			edit(&o)
		}
		s, err := Start(t.Context(), o)
		if err != nil {
			return err
		}
		defer s.Close()
		if n := len(must(s.Messages(o.People[0].UPN))); name == "torn" && n != count {
			return fmt.Errorf("%d messages, want %d", n, count)
		}
		return nil
	}
	if err := try("torn", append(bytes.Clone(good), `{"op":"message.add","us`...), nil); err != nil {
		t.Errorf("a last line cut off by a crash: %v", err)
	}
	if after := must(os.ReadFile(filepath.Join(dir, "torn"))); !bytes.Equal(after, good) {
		t.Error("the torn line was not taken off")
	}
	if err := try("empty", nil, nil); err != nil {
		t.Errorf("an empty file: %v", err)
	}
	bad := map[string][]byte{
		"garbage in the middle": bytes.Join([][]byte{lines[0], []byte("garbage\n"), lines[1]}, nil),
		"unknown operation":     append(bytes.Clone(lines[0]), "{\"op\":\"explode\",\"user\":\"anna@acme.example\"}\n"...),
		"missing raw mail":      append(bytes.Clone(lines[0]), fmt.Sprintf("{\"op\":\"message.add\",\"user\":%q,\"into\":\"inbox\",\"rawSHA256\":%q}\n", first.opt.People[0].UPN, strings.Repeat("ab", 32))...),
		"raw mail elsewhere":    append(bytes.Clone(lines[0]), fmt.Sprintf("{\"op\":\"message.add\",\"user\":%q,\"into\":\"inbox\",\"rawSHA256\":\"../../etc/passwd\"}\n", first.opt.People[0].UPN)...),
	}
	for name, content := range bad {
		if err := try("bad", content, nil); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v; want an error that names line 2", name, err)
		}
	}
	if err := try("other", good, func(o *Options) { o.Seed++ }); err == nil || !strings.Contains(err.Error(), "another company") {
		t.Errorf("another company's file: %v", err)
	}
}

// The same seed must make the same company and the same changes in every process; only then do two runs of a demo agree.
func TestSameSeedSameCompany(t *testing.T) {
	var seen []string
	for range 2 {
		c := start(t, 2)
		var did []string
		for _, d := range must(c.Mutate(42, SomeOfEverything())) {
			did = append(did, fmt.Sprint(d.Op, d.User, d.Item, d.Into, d.Name, d.ID))
		}
		files := must(c.Files(c.opt.People[0].UPN))
		seen = append(seen, fmt.Sprint(did, files[len(files)-1], must(c.Messages(c.opt.People[1].UPN))[0]))
	}
	if seen[0] != seen[1] {
		t.Errorf("%s\n\n%s", seen[0], seen[1])
	}
	other := start(t, 2, func(o *Options) { o.Seed = 8 })
	if strings.Contains(seen[0], must(other.Messages(other.opt.People[1].UPN))[0].SHA256) {
		t.Error("another seed makes the same mail")
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	c := start(t, 25)
	upn := c.opt.People[0].UPN
	before := fmt.Sprint(must(c.Messages(upn)), must(c.Files(upn)))
	for name, ch := range map[string]Change{
		"unknown operation":              {Op: "x", User: upn},
		"nobody":                         {Op: OpAddMessage, User: "nobody", Into: "inbox"},
		"no mailbox":                     {Op: OpAddMessage, User: c.opt.People[noMailbox].UPN, Into: "inbox"},
		"unknown folder":                 {Op: OpAddMessage, User: upn, Into: "Nowhere"},
		"search folder":                  {Op: OpAddMessage, User: upn, Into: "Unread Mail"},
		"folder without name":            {Op: OpAddMailFolder, User: upn, Into: "inbox"},
		"well-known folder":              {Op: OpDeleteMailFolder, User: upn, Item: "inbox"},
		"mail folder into itself":        {Op: OpMoveMailFolder, User: upn, Item: "Inbox/Projects", Into: "Inbox/Projects/Überblick 📬"},
		"unknown message":                {Op: OpDeleteMessage, User: upn, Item: "AAMk"},
		"root":                           {Op: OpDeleteItem, User: upn, Item: "root"},
		"folder into itself":             {Op: OpMoveItem, User: upn, Item: "Documents", Into: "Documents/Contracts 2026"},
		"taken name":                     {Op: OpAddFolder, User: upn, Into: "root", Name: "DOCUMENTS"},
		"name with a slash":              {Op: OpRenameItem, User: upn, Item: "Documents", Name: "a/b"},
		"editing a folder":               {Op: OpEditFile, User: upn, Item: "Documents"},
		"content without its bytes":      {Op: OpAddMessage, User: upn, Into: "inbox", RawSHA256: strings.Repeat("ab", 32)},
		"file into a file of that drive": {Op: OpAddFile, User: upn, Into: "Documents/invoice.exe.pdf", Name: "x"},
	} {
		if _, err := c.Apply(ch); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if after := fmt.Sprint(must(c.Messages(upn)), must(c.Files(upn))); after != before {
		t.Error("a refused change changed something")
	}
	if _, err := c.Mutate(1, Counts{FilesAdded: maxMutations + 1}); err == nil {
		t.Error("too many changes were taken")
	}
}
