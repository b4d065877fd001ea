package tenantfile

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxIdentityFile bounds a connector's public key file in bytes; a real one has 52.
const maxIdentityFile = 1 << 10

// applyDefaults fills in what the schema calls defaults, so that everybody after this sees the same tenant.
func applyDefaults(t *backup.Tenant) {
	if t.Name == "" {
		t.Name = t.ID
	}
	keyDefaults(&t.Key, t.ID)
	for i := range t.Directories {
		directoryDefaults(&t.Directories[i])
	}
	p := &t.Profile
	if len(p.Services) == 0 {
		p.Services = []backup.Service{backup.Mail, backup.Drive}
	}
	p.Every = backup.Duration(p.Every.Or(24 * time.Hour))
	p.Jitter = backup.Duration(p.Jitter.Or(min(time.Duration(p.Every)/10, 30*time.Minute)))
	if p.PreserveDays == 0 {
		p.PreserveDays = 365
	}
	if t.Repository.ID == "" {
		t.Repository.ID = t.ID
	}
}

func directoryDefaults(d *backup.DirectoryConfig) {
	if d.Name == "" {
		d.Name = backup.DirectoryName(d.Kind)
	}
	if d.Removals.Percent == 0 {
		d.Removals.Percent = 10
	}
	if d.Removals.Count == 0 {
		d.Removals.Count = 5
	}
	d.Every = backup.Duration(d.Every.Or(24 * time.Hour))
	if d.Kind == backup.Entra && d.Entra == nil {
		d.Entra = &backup.EntraConfig{}
	}
	if d.Kind == backup.SCIM && d.SCIM == nil {
		d.SCIM = &backup.SCIMConfig{}
	}
	if l := d.LDAP; l != nil && l.PageSize == 0 {
		l.PageSize = 1000
	}
}

func keyDefaults(k *backup.KeyConfig, tenant string) {
	if k.Method == "" {
		k.Method = backup.KeyByConnector
	}
	if k.ConnectorAbsent == "" {
		k.ConnectorAbsent = backup.FailWhenAbsent
	}
	k.WaitAtMost = backup.Duration(k.WaitAtMost.Or(backup.DefaultWaitAtMost))
	k.Grace = backup.Duration(k.Grace.Or(backup.DefaultGrace))
	k.DrillEvery = backup.Duration(k.DrillEvery.Or(backup.DefaultDrillEvery))
	k.ShredWait = backup.Duration(k.ShredWait.Or(backup.DefaultShredWait))
	if k.KMS == nil {
		return
	}
	k.KMS.Mount = firstOf(k.KMS.Mount, "transit")
	k.KMS.Key = firstOf(k.KMS.Key, "t-"+tenant)
	for _, l := range []*backup.VaultLogin{&k.KMS.Login, k.KMS.Provisioning} {
		if l != nil {
			l.Mount = firstOf(l.Mount, string(l.Method))
		}
	}
}

// resolve makes paths absolute and reads the connectors' public keys.
func resolve(tree *tree, t *backup.Tenant, folder string) []Problem {
	for _, d := range t.Directories {
		if l := d.LDAP; l != nil {
			l.CAFile = absolute(l.CAFile, folder)
			l.BindPassword = reference(l.BindPassword, folder)
			l.ClientCertificate = reference(l.ClientCertificate, folder)
		}
		if e := d.Entra; e != nil {
			e.CAFile = absolute(e.CAFile, folder)
			e.ClientSecret = reference(e.ClientSecret, folder)
			e.ClientCertificate = reference(e.ClientCertificate, folder)
		}
	}
	if m := t.Microsoft365; m != nil {
		m.CAFile = absolute(m.CAFile, folder)
		m.ClientSecret = reference(m.ClientSecret, folder)
		m.ClientCertificate = reference(m.ClientCertificate, folder)
	}
	if v := t.Key.KMS; v != nil {
		v.CAFile = absolute(v.CAFile, folder)
		resolveLogin(&v.Login, folder)
		resolveLogin(v.Provisioning, folder)
	}
	t.Repository.Folder = absolute(t.Repository.Folder, folder)
	var problems []Problem
	for i := range t.Key.Connectors {
		c := &t.Key.Connectors[i]
		path, ok := strings.CutPrefix(c.Identity, "file:")
		if !ok {
			continue
		}
		identity, problem := readIdentity(absolute(path, folder))
		if problem != "" {
			at := []string{"key", "connectors", strconv.Itoa(i), "identity"}
			problems = append(problems, tree.problem(at, problem, "holdfastd connector writes its identity into a file; name that file here"))
		}
		c.Identity = identity
	}
	return problems
}

func resolveLogin(l *backup.VaultLogin, folder string) {
	if l == nil {
		return
	}
	l.SecretID, l.Token = reference(l.SecretID, folder), reference(l.Token, folder)
	l.TokenFile = absolute(l.TokenFile, folder)
}

func absolute(path, folder string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(folder, path)
}

func reference(s backup.SecretRef, folder string) backup.SecretRef {
	if path, ok := strings.CutPrefix(string(s), "file:"); ok {
		return backup.SecretRef("file:" + absolute(path, folder))
	}
	return s
}

// readIdentity reads a public key. A file with anything else in it is not repeated, because it may be the private one.
func readIdentity(path string) (identity, problem string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return "", "the file that holds the identity is not there"
	}
	f, err := os.Open(path)
	if err != nil {
		return "", "the file that holds the identity cannot be read"
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIdentityFile+1))
	identity = strings.TrimSpace(string(b))
	if err != nil || len(b) > maxIdentityFile || !validIdentity(identity) {
		return "", "the file does not hold a public identity"
	}
	return identity, ""
}
