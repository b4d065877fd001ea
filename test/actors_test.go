package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/holdfast-backup/holdfast/demo/stage"
	"github.com/holdfast-backup/holdfast/internal/backup"
	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/graph"
	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// companyActs are what happens in the company.
var companyActs = map[string]act{
	"opens": opens,
	// The directory.
	"ldap-password-wrong": func(w *world, _ []string) error { return w.setPassword("not the password of the directory") },
	"ldap-password-right": func(w *world, _ []string) error { return w.setPassword(w.password) },
	"ldap-down":           func(w *world, _ []string) error { return w.CloseDirectory() },
	"ldap-up":             func(w *world, _ []string) error { return w.OpenDirectory(context.Background()) },
	"ldap-cut": func(w *world, args []string) error {
		page, err := strconv.Atoi(args[0])
		w.LDAP.SetFaults(ldapserver.Faults{CutPage: page})
		return err
	},
	"ldap-empty": func(w *world, _ []string) error { w.LDAP.SetFaults(ldapserver.Faults{Empty: true}); return nil },
	"ldap-well":  func(w *world, _ []string) error { w.LDAP.SetFaults(ldapserver.Faults{}); return nil },
	"loses":      loses,
	"same-mail":  sameMail,
	"everybody":  func(w *world, _ []string) error { w.LDAP.SetPeople(w.People()); return nil },
	// Microsoft 365.
	"fence": func(w *world, args []string) error {
		return w.Graph.Inject(graph.Fault{Kind: graph.FaultFence, User: args[0]})
	},
	"unfence": func(w *world, _ []string) error { w.Graph.ClearFaults(graph.FaultFence); return nil },
	"revoke-role": func(w *world, args []string) error {
		w.Graph.SetRoles(slices.DeleteFunc(graph.DefaultRoles(), func(r string) bool { return slices.Contains(args, r) })...)
		w.Graph.ExpireTokens()
		return nil
	},
	"grant-roles": func(w *world, _ []string) error { w.Graph.SetRoles(graph.DefaultRoles()...); return nil },
	"mutate": func(w *world, _ []string) error {
		_, err := w.Graph.Mutate(7, graph.SomeOfEverything())
		return err
	},
	// The Vault.
	"vault-sealed":   func(w *world, _ []string) error { return w.Vault.Seal(context.Background()) },
	"vault-unsealed": func(w *world, _ []string) error { return w.Vault.Unseal(context.Background()) },
	// The disk of the tenant's repository.
	"disk":      mountDisk,
	"disk-full": func(w *world, _ []string) error { return fillDisk(w.repository("balloon")) },
	"disk-free": func(w *world, _ []string) error { return os.Remove(w.repository("balloon")) },
}

// opens sets up the company: PEOPLE, how many MESSAGES and FILES each has, and with "vault" a Vault.
func opens(w *world, args []string) error {
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	w.company = open(w.t, stage.Options{People: n[0], Messages: n[1], Files: n[2], KMS: slices.Contains(args, "vault")})
	password, err := os.ReadFile(w.Path("sandbox", "ldap-password"))
	w.password = string(password)
	w.ts.Setenv("HOLDFAST_STATE", w.Path("holdfast"))
	w.ts.Setenv("CUSTOMER", w.Path("customer"))
	w.ts.Setenv("LOGS", w.Path("logs"))
	return err
}

func (w *world) setPassword(p string) error {
	return os.WriteFile(w.Path("sandbox", "ldap-password"), []byte(p), 0o600)
}

// loses takes the people with these login names, or the first so many of them, out of the directory.
func loses(w *world, args []string) error {
	people := slices.Clone(w.People())
	if n, err := strconv.Atoi(args[0]); err == nil {
		w.LDAP.SetPeople(people[n:])
		return nil
	}
	w.LDAP.SetPeople(slices.DeleteFunc(people, func(p sandbox.Person) bool { return slices.Contains(args, p.UID) }))
	return nil
}

// sameMail gives the second person the first one's mail address in the directory.
func sameMail(w *world, args []string) error {
	people := slices.Clone(w.People())
	i := slices.IndexFunc(people, func(p sandbox.Person) bool { return p.UID == args[1] })
	people[i].Mail = args[0] + "@" + stage.Domain
	w.LDAP.SetPeople(people)
	return nil
}

func (w *world) repository(elem ...string) string {
	return w.Path(append([]string{"holdfast", "repositories", stage.Tenant}, elem...)...)
}

// mountDisk gives the tenant's repository a disk of its own, of a size as tmpfs takes it.
func mountDisk(w *world, args []string) error {
	folder := w.repository()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=0700,size="+args[0]); err != nil {
		return fmt.Errorf("a disk for the repository (this needs root): %w", err)
	}
	w.t.Cleanup(func() {
		if err := syscall.Unmount(folder, 0); err != nil {
			w.t.Errorf("unmount %s: %v", folder, err)
		}
	})
	return nil
}

// fillDisk leaves no byte free.
func fillDisk(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err = f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	return nil
}

// auditorActs look at what the programs left behind.
var auditorActs = map[string]act{
	"scan":     scan,
	"plant":    plant,
	"compare":  compare,
	"receipts": receipts,
}

// scan looks for every secret of the stage wherever Holdfast keeps something.
func scan(w *world, _ []string) error {
	secrets, err := w.Secrets()
	if err != nil {
		return err
	}
	found, files, size, err := w.Scan(secrets)
	w.say("%d files, %d bytes", files, size)
	for _, f := range found {
		w.say("%s (%s) in %s", f.Secret, f.Form, f.Place)
	}
	if err == nil && (len(found) > 0 || files < 10 || size < 1<<20) {
		err = fmt.Errorf("%d secrets found in %d files of %d bytes", len(found), files, size)
	}
	return err
}

// plant puts a secret where none must be, so that the scan can be seen to find it: in the middle of a file, as base64url.
func plant(w *world, _ []string) error {
	lease, err := w.EKey()
	if err != nil {
		return err
	}
	defer lease.Close()
	password, err := lease.RepositoryPassword(stage.Tenant, stage.Tenant)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s password=%s and more", bytes.Repeat([]byte("x"), 3<<20), password)
	return os.WriteFile(w.Path("logs", "canary.log"), b.Bytes(), 0o600)
}

// compare compares a restored folder with the company's: compare mail|drive USER FOLDER.
func compare(w *world, args []string) error {
	equal := w.CompareMail
	if args[0] == "drive" {
		equal = w.CompareDrive
	}
	n, size, err := equal(args[1], filepath.Clean(w.ts.MkAbs(args[2])))
	w.say("%d files, %d bytes are equal", n, size)
	if err == nil && n == 0 {
		err = errors.New("there is nothing to compare")
	}
	return err
}

// receipts compares the releases that the connector noted with the receipts that the workers wrote: as many, the last one the same.
func receipts(w *world, _ []string) error {
	var key backup.KeyStatus
	if err := w.Query(w.t.Context(), &key, "key", "status", stage.Tenant); err != nil {
		return err
	}
	noted, err := os.ReadFile(w.Path("customer", "connector.d", "releases.jsonl"))
	if err != nil {
		return err
	}
	lines := bytes.Split(bytes.TrimSpace(noted), []byte("\n"))
	if int64(len(lines)) != key.Receipts || key.Last == nil || !bytes.Contains(lines[len(lines)-1], []byte(key.Last.Nonce)) {
		return fmt.Errorf("%d releases and %d receipts; the last are %s and %+v", len(lines), key.Receipts, lines[len(lines)-1], key.Last)
	}
	w.say("%d releases, %d receipts", len(lines), key.Receipts)
	return nil
}
