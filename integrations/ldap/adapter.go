package ldap

import (
	"context"
	"fmt"
	"net"
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
	secrets  func(context.Context, backup.SecretRef) ([]byte, error)
	resolver *net.Resolver
}

// New makes an adapter that looks passwords up with secrets. The adapter overwrites the bytes it was given after use.
func New(secrets func(context.Context, backup.SecretRef) ([]byte, error)) *Adapter {
	return &Adapter{secrets, net.DefaultResolver}
}

// Resolve makes the adapter ask r for the directory's servers and their addresses, in place of the machine's own resolver.
func (a *Adapter) Resolve(r *net.Resolver) { a.resolver = r }

// OpenDirectory connects to the first of the directory's servers that can be reached, and binds. The caller closes the Directory. Errors:
// CodeBadConfig, CodeUnreachable (name, network, TLS), CodeBadCredential.
func (a *Adapter) OpenDirectory(ctx context.Context, t backup.Tenant, dir backup.DirectoryConfig) (*Directory, error) {
	s, err := settingsOf(t, dir)
	if err != nil {
		return nil, err
	}
	d := &dialer{settings: s, secrets: a.secrets, resolver: a.resolver}
	return d.openFirst(ctx)
}

// settings are an LDAPConfig that was looked over, with its defaults filled in as far as they do not depend on the directory.
type settings struct {
	backup.LDAPConfig
	ruleGroups, ruleAttributes []string // of the tenant's profile rules

	servers []server // in order; none with a domain
	domain  string   // to look servers up in (RFC 2782)
	server           // the one that we are connected to
}

func settingsOf(t backup.Tenant, dir backup.DirectoryConfig) (settings, error) {
	if dir.LDAP == nil {
		return settings{}, badConfig("the tenant has no directory.ldap section", "describe the directory under directory.ldap")
	}
	s := settings{LDAPConfig: *dir.LDAP, ruleGroups: t.RuleGroups(dir.Name), ruleAttributes: t.RuleAttributes(dir.Name)}
	if s.Filter == "" {
		s.Filter = defaultFilter
	}
	if s.PageSize == 0 {
		s.PageSize = defaultPageSize
	}
	if err := s.parseServers(); err != nil {
		return s, err
	}
	if err := s.checkLogin(); err != nil {
		return s, err
	}
	if err := s.checkReferrals(); err != nil {
		return s, err
	}
	return s, s.check()
}

// attributeName is an attribute description (RFC 4512, section 2.5): a name or an OID, perhaps with options.
var attributeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,127}(;[A-Za-z0-9-]{1,64}){0,4}$`)

func (s *settings) check() error {
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
	return s.checkAttributes()
}

// maxRuleAttributes is how many attributes the rules may name for one directory.
const maxRuleAttributes = 64

func (s *settings) checkAttributes() error {
	a := s.Attributes
	for _, name := range []string{a.ID, a.Mail, a.UPN, a.DisplayName, a.EmployeeID, a.Department, a.Disabled} {
		if name != "" && !attributeName.MatchString(name) {
			return badConfig(fmt.Sprintf("directory.ldap.attributes: %q is not an attribute's name", excerpt(name)), "for example mail")
		}
	}
	if (a.Disabled == "") != (a.DisabledValue == "") {
		return badConfig("directory.ldap.attributes: disabled and disabledValue belong together", "for example disabled: employeeType, disabledValue: disabled")
	}
	for _, name := range s.ruleAttributes {
		if !attributeName.MatchString(name) {
			return badConfig(fmt.Sprintf("profiles: %q is not the name of an LDAP attribute", excerpt(name)),
				"for example employeeType; a rule for other directories names them under when.directories")
		}
	}
	if len(s.ruleAttributes) > maxRuleAttributes {
		return badConfig(fmt.Sprintf("profiles: the rules name more than %d attributes of the directory", maxRuleAttributes), "rules by group need none")
	}
	return nil
}
