package ldap

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"

	"github.com/go-ldap/ldap/v3"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

const (
	defaultPageSize = 500
	maxPageSize     = 5000
	// defaultFilter finds people in OpenLDAP and in Active Directory; there, objectCategory keeps computers and contacts out.
	defaultFilter = "(|(objectClass=inetOrgPerson)(&(objectClass=user)(objectCategory=person)))"
)

// Adapter opens the LDAP directories of tenants.
type Adapter struct {
	secrets func(context.Context, backup.SecretRef) ([]byte, error)
}

// New makes an adapter that looks passwords up with secrets. The adapter overwrites the bytes it was given after use.
func New(secrets func(context.Context, backup.SecretRef) ([]byte, error)) *Adapter {
	return &Adapter{secrets}
}

// OpenDirectory connects to the tenant's directory and binds. The caller closes the Directory. Errors: CodeBadConfig,
// CodeUnreachable (name, network, TLS), CodeBadCredential.
func (a *Adapter) OpenDirectory(ctx context.Context, _ backup.Tenant, dir backup.DirectoryConfig) (*Directory, error) {
	s, err := settingsOf(dir.LDAP)
	if err != nil {
		return nil, err
	}
	password, err := a.secrets(ctx, s.BindPassword)
	if err != nil {
		return nil, fmt.Errorf("the directory's bindPassword: %w", err)
	}
	defer clear(password)
	if len(password) == 0 {
		return nil, badConfig("the directory's password is empty", "put the password of "+s.BindDN+" where bindPassword points to")
	}
	return open(ctx, s, string(password))
}

// settings are an LDAPConfig that was looked over, with its defaults filled in as far as they do not depend on the directory.
type settings struct {
	backup.LDAPConfig
	host    string // without port: the name in the server's certificate
	address string // host:port
	secure  bool   // LDAPS; otherwise StartTLS
}

func settingsOf(c *backup.LDAPConfig) (settings, error) {
	if c == nil {
		return settings{}, badConfig("the tenant has no directory.ldap section", "describe the directory under directory.ldap")
	}
	s := settings{LDAPConfig: *c}
	if s.Filter == "" {
		s.Filter = defaultFilter
	}
	if s.PageSize == 0 {
		s.PageSize = defaultPageSize
	}
	if err := s.parseURL(); err != nil {
		return s, err
	}
	return s, s.check()
}

// parseURL reads where the directory is. What would send a password in the clear is refused here.
func (s *settings) parseURL() error {
	u, err := url.Parse(s.URL)
	if err != nil || u.Hostname() == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" {
		return badConfig("directory.ldap.url is not an address of a directory", "ldaps://ldap.acme.example:636")
	}
	port := map[string]string{"ldaps": "636", "ldap": "389"}[u.Scheme]
	switch {
	case port == "":
		return badConfig("directory.ldap.url is neither ldaps:// nor ldap://", "ldaps://ldap.acme.example:636")
	case u.Scheme == "ldap" && !s.StartTLS:
		return badConfig("plain LDAP would send the password in the clear", "use ldaps://, or set startTLS: true")
	case u.Scheme == "ldaps" && s.StartTLS:
		return badConfig("ldaps:// and startTLS exclude each other", "use ldap:// with startTLS, or ldaps:// without")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	s.host, s.address, s.secure = u.Hostname(), net.JoinHostPort(u.Hostname(), port), u.Scheme == "ldaps"
	return nil
}

// attributeName is an attribute description (RFC 4512, section 2.5): a name or an OID, perhaps with options.
var attributeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,127}(;[A-Za-z0-9-]{1,64}){0,4}$`)

func (s *settings) check() error {
	if s.BindDN == "" {
		return badConfig("directory.ldap.bindDN is empty", "name the account that may read people; an anonymous reader is refused")
	}
	if dn, err := ldap.ParseDN(s.BaseDN); err != nil || len(dn.RDNs) == 0 {
		return badConfig("directory.ldap.baseDN is not a DN", "for example ou=people,dc=acme,dc=example")
	}
	if _, err := ldap.CompileFilter(s.Filter); err != nil {
		return badConfig("directory.ldap.filter is not an LDAP filter", "for example "+defaultFilter)
	}
	if s.PageSize < 1 || s.PageSize > maxPageSize {
		return badConfig(fmt.Sprintf("directory.ldap.pageSize %d is not between 1 and %d", s.PageSize, maxPageSize), "leave it out for 500")
	}
	for _, g := range s.Groups {
		if dn, err := ldap.ParseDN(g); err != nil || len(dn.RDNs) == 0 {
			return badConfig(fmt.Sprintf("directory.ldap.groups: %q is not a DN", excerpt(g)), "for example cn=staff,ou=groups,dc=acme,dc=example")
		}
	}
	a := s.Attributes
	for _, name := range []string{a.ID, a.Mail, a.UPN, a.DisplayName, a.EmployeeID, a.Department, a.Disabled} {
		if name != "" && !attributeName.MatchString(name) {
			return badConfig(fmt.Sprintf("directory.ldap.attributes: %q is not an attribute's name", excerpt(name)), "for example mail")
		}
	}
	if (a.Disabled == "") != (a.DisabledValue == "") {
		return badConfig("directory.ldap.attributes: disabled and disabledValue belong together", "for example disabled: employeeType, disabledValue: disabled")
	}
	return nil
}
