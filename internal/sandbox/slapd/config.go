package slapd

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // {SSHA} is what a stock slapd understands; the directory lives for minutes on loopback
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"
	"text/template"

	"github.com/holdfast-backup/holdfast/internal/sandbox/ldapserver"
)

// configText is slapd.conf(5). The limits of the bind DN stand inside the database section: outside of it they are read and
// have no effect on the database.
var configText = template.Must(template.New("slapd.conf").Parse(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
{{if .Changes}}moduleload syncprov
{{end}}pidfile {{.Folder}}/slapd.pid
argsfile {{.Folder}}/slapd.args
TLSCACertificateFile {{.Folder}}/tls/ca.pem
TLSCertificateFile {{.Folder}}/tls/server.pem
TLSCertificateKeyFile {{.Folder}}/tls/server.key
security simple_bind=128
{{.Global}}
database mdb
maxsize 1073741824
suffix "{{.BaseDN}}"
directory {{.Folder}}/db
index objectClass,uid,mail,entryUUID{{if .Changes}},entryCSN{{end}} eq
{{.Database}}
sizelimit 500
{{if .SizeLimit}}limits dn.exact="{{.BindDN}}" size={{.SizeLimit}} size.prtotal={{.SizeLimit}}
{{else}}limits dn.exact="{{.BindDN}}" size=unlimited size.prtotal=unlimited time=unlimited
{{end}}access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{{.BindDN}}" {{if .Changes}}write{{else}}read{{end}} by * none
overlay ppolicy
{{if .Changes}}overlay syncprov
syncprov-sessionlog 1000
{{end}}`))

func (o Options) writeConfig(path, folder string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = configText.Execute(f, struct {
		Options
		Folder string
	}{o, folder})
	if err != nil {
		return err
	}
	return f.Close()
}

// writeLDIF writes the company as LDIF (RFC 2849), and the entry that Holdfast binds as.
func (o Options) writeLDIF(path string) error {
	hash, err := saltedHash(o.Password)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, e := range append(ldapserver.Tree(o.BaseDN, o.People), o.bindEntry(hash)) {
		writeRecord(w, e)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

func (o Options) bindEntry(hash string) ldapserver.Entry {
	first, _, _ := strings.Cut(o.BindDN, ",")
	_, name, _ := strings.Cut(first, "=")
	return ldapserver.Entry{DN: o.BindDN, Attributes: []ldapserver.Attribute{
		{Name: "objectClass", Values: []string{"organizationalRole", "simpleSecurityObject"}},
		{Name: "cn", Values: []string{name}},
		{Name: "userPassword", Values: []string{hash}},
	}}
}

// writeRecord writes one entry, every value in base64: no value then needs to be looked at for the characters that LDIF
// gives a meaning.
func writeRecord(w io.Writer, e ldapserver.Entry) {
	line := func(name, value string) {
		fmt.Fprintf(w, "%s:: %s\n", name, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	line("dn", e.DN)
	for _, a := range e.Attributes {
		for _, v := range a.Values {
			line(a.Name, v)
		}
	}
	fmt.Fprintln(w)
}

// saltedHash is userPassword in the {SSHA} scheme, so that the password stands in no file.
func saltedHash(password string) (string, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	sum := sha1.Sum(append([]byte(password), salt...)) //nolint:gosec // see the import
	return "{SSHA}" + base64.StdEncoding.EncodeToString(append(sum[:], salt...)), nil
}
