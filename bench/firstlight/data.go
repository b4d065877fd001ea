package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// dataset is the company's mail and files on disk, for kopia.
type dataset struct {
	folder string
	// Messages and Files are how many, Bytes their contents.
	Messages, Files int64
	Bytes           int64
}

// stageOptions sets up a company that has at least as many people with everything as are wanted, and one without a mailbox. A
// sandbox drive has one file more than it is told to make: a page of its notebook.
func (p plan) stageOptions(dir string) stage.Options {
	return stage.Options{Dir: dir, Bin: p.Bin, Seed: p.Seed, People: p.People*25/22 + 25, Messages: p.Messages, Files: p.Files - 1}
}

// protected are the people who are backed up.
func (p plan) protected(company []sandbox.Person) []sandbox.Person {
	var chosen []sandbox.Person
	for _, person := range company {
		if !person.Disabled && !person.NoMail && !person.NoMailbox && len(chosen) < p.People {
			chosen = append(chosen, person)
		}
	}
	return chosen
}

// writeData writes what the sandbox hands out: a file a message, a file a file. What it lists without handing it out (a shortcut, a
// file that is called malware) is left out, as a backup leaves it out.
func writeData(ctx context.Context, p plan) (d dataset, err error) {
	company, err := stage.Open(ctx, p.stageOptions(filepath.Join(p.Work, "source")))
	if err != nil {
		return d, err
	}
	defer company.Close()
	d.folder = filepath.Join(p.Work, "data")
	for _, person := range p.protected(company.People()) {
		if err := d.writeMail(company, person.UPN); err != nil {
			return d, err
		}
		if err := d.writeDrive(company, person.UPN); err != nil {
			return d, err
		}
	}
	if people := int64(p.People); d.Messages != people*int64(p.Messages) || d.Files != people*int64(p.Files) {
		return d, fmt.Errorf("the sandbox made %d messages and %d files", d.Messages, d.Files)
	}
	return d, nil
}

func (d *dataset) writeMail(company *stage.Stage, user string) error {
	messages, err := company.Graph.Messages(user)
	if err != nil {
		return err
	}
	for i, m := range messages {
		content, err := company.Graph.OpenMessage(user, m.ID)
		if err != nil {
			return err
		}
		if err := d.write(content, user, "mail", fmt.Sprintf("%06d.eml", i)); err != nil {
			return err
		}
		d.Messages++
	}
	return nil
}

func (d *dataset) writeDrive(company *stage.Stage, user string) error {
	files, err := company.Graph.Files(user)
	if err != nil {
		return err
	}
	for i, f := range files {
		if f.Kind != "file" {
			continue
		}
		content, err := company.Graph.OpenFile(user, f.ID)
		if err != nil {
			return err
		}
		err = d.write(content, user, "drive", fmt.Sprintf("%06d", i))
		content.Close()
		if err != nil {
			return err
		}
		d.Files++
	}
	return nil
}

func (d *dataset) write(content io.Reader, path ...string) error {
	name := filepath.Join(append([]string{d.folder}, path...)...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	d.Bytes += n
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

// sizeOf is how many bytes the files below a folder hold.
func sizeOf(folder string) (size int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}
