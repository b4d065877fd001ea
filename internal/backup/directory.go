package backup

import "encoding/json"

// DirectoryKind is what people come from.
type DirectoryKind string

const (
	LDAP  DirectoryKind = "ldap"
	SCIM  DirectoryKind = "scim"
	Entra DirectoryKind = "entra"
)

// DirectoryName names one directory of a tenant: ^[a-z0-9][a-z0-9-]{0,40}$. It is part of what its entries are known by, so a directory
// that is renamed is another one.
type DirectoryName string

// DirectoryConfig is one source of people. Exactly the field of its kind is set.
type DirectoryConfig struct {
	// Name defaults to the kind.
	Name  DirectoryName `json:"name"`
	Kind  DirectoryKind `json:"kind"`
	LDAP  *LDAPConfig   `json:"ldap,omitempty"`
	Entra *EntraConfig  `json:"entra,omitempty"`
	SCIM  *SCIMConfig   `json:"scim,omitempty"`
	// Removals is the threshold over which a difference waits for an approval.
	Removals RemovalThreshold `json:"removals"`
	// Every is the distance of two scheduled imports; default 24 h, at least 5 min.
	Every Duration `json:"every,omitzero"`
	// Retired: it is not read any more, and counts as one in which there is nobody. A directory that is only taken out of the tenant's
	// description leaves its people as they are.
	Retired bool `json:"retired,omitempty"`
}

// Directory returns the configuration of one of the tenant's directories. CodeNotFound when it has none of the name.
func (t Tenant) Directory(name DirectoryName) (DirectoryConfig, error) {
	for _, d := range t.Directories {
		if d.Name == name {
			return d, nil
		}
	}
	return DirectoryConfig{}, &Error{Code: CodeNotFound, Fault: FaultCustomer, Message: "the tenant " + t.ID + " has no directory " + string(name),
		Hint: "its file names them under directories"}
}

// LDAPConfig reaches one LDAP directory (OpenLDAP or Active Directory).
type LDAPConfig struct {
	// URL is ldaps://host:port, or ldap://host:port with StartTLS set. Plain LDAP is refused.
	// Several servers of one directory are separated by commas and tried in order; srv://domain looks them up (RFC 2782, _ldaps._tcp and _ldap._tcp).
	URL      string `json:"url"`
	StartTLS bool   `json:"startTLS,omitempty"`
	// CAFile is a PEM file of the private CA, absolute; empty means the system's roots.
	CAFile       string    `json:"caFile,omitempty"`
	BindDN       string    `json:"bindDN,omitempty"`
	BindPassword SecretRef `json:"bindPassword,omitempty"`
	// ClientCertificate is PEM, certificate and private key, for SASL EXTERNAL (RFC 4422, appendix A) instead of a password.
	ClientCertificate SecretRef `json:"clientCertificate,omitempty"`
	// Kerberos binds by GSSAPI (RFC 4752) instead of a password.
	Kerberos *KerberosLogin `json:"kerberos,omitempty"`
	BaseDN   string         `json:"baseDN"`
	// Filter selects people (RFC 4515). Default: (|(objectClass=inetOrgPerson)(&(objectClass=user)(objectCategory=person))).
	Filter string `json:"filter,omitempty"`
	// Groups limits people to members, direct or nested, of these group DNs, when not empty.
	Groups []string `json:"groups,omitempty"`
	// Referrals lists the hosts (host[:port]) that referrals may be followed to; empty: none is followed, and one that stands for
	// part of the base is an error.
	Referrals []string `json:"referrals,omitempty"`
	// Changes says how changes are followed between full listings: auto (the default) takes what the directory offers.
	Changes ChangeFeed `json:"changes,omitempty"`
	// Attributes maps our words to the directory's attribute names; empty fields take the defaults
	// of the detected flavour (entryUUID/mail/… or objectGUID/mail/…).
	Attributes LDAPAttributes `json:"attributes"`
	// PageSize is entries per page; default 500.
	PageSize int `json:"pageSize,omitempty"`
}

// LDAPAttributes names the attributes read. Empty means the flavour's default.
type LDAPAttributes struct {
	ID          string `json:"id,omitempty"`          // entryUUID, objectGUID
	Mail        string `json:"mail,omitempty"`        // mail
	UPN         string `json:"upn,omitempty"`         // userPrincipalName; OpenLDAP: mail
	DisplayName string `json:"displayName,omitempty"` // displayName, else cn
	EmployeeID  string `json:"employeeID,omitempty"`  // employeeNumber, employeeID
	Department  string `json:"department,omitempty"`  // departmentNumber, department
	// Disabled and DisabledValue mark a disabled account on directories other than AD, for example
	// employeeType=disabled; AD's userAccountControl bit 2 and OpenLDAP's pwdAccountLockedTime are always understood.
	Disabled      string `json:"disabled,omitempty"`
	DisabledValue string `json:"disabledValue,omitempty"`
}

// KerberosLogin is a principal with its key table.
type KerberosLogin struct {
	// Principal is name@REALM.
	Principal string `json:"principal"`
	// Keytab and Config are absolute paths on the worker's machine; Config defaults to /etc/krb5.conf.
	Keytab string `json:"keytab"`
	Config string `json:"config,omitempty"`
}

// ChangeFeed is a way to follow the changes of an LDAP directory.
type ChangeFeed string

const (
	FeedAuto     ChangeFeed = "auto"
	FeedNone     ChangeFeed = "none"     // every import is a full listing
	FeedDirSync  ChangeFeed = "dirsync"  // Active Directory ([MS-ADTS] 3.1.1.3.4.1.3)
	FeedUSN      ChangeFeed = "usn"      // Active Directory without the right for DirSync: uSNChanged, and a full listing for what vanished
	FeedSyncrepl ChangeFeed = "syncrepl" // RFC 4533
)

// EntraConfig reaches Microsoft Entra ID (Azure AD) through Microsoft Graph, app-only, with the permissions User.Read.All and, for groups,
// GroupMember.Read.All. Empty fields of the login are those of the tenant's microsoft365.
type EntraConfig struct {
	DirectoryTenant   string    `json:"directoryTenant,omitempty"`
	ClientID          string    `json:"clientID,omitempty"`
	ClientSecret      SecretRef `json:"clientSecret,omitempty"`
	ClientCertificate SecretRef `json:"clientCertificate,omitempty"` // PEM: certificate and private key
	// Cloud is public (the default), usgov, usgov-dod or china; LoginURL and GraphURL override it.
	Cloud    string `json:"cloud,omitempty"`
	LoginURL string `json:"loginURL,omitempty"`
	GraphURL string `json:"graphURL,omitempty"`
	CAFile   string `json:"caFile,omitempty"`
	// Groups limits people to members, direct or nested, of these group ids, when not empty.
	Groups []string `json:"groups,omitempty"`
	// Attributes limits people to those of whom every named property has one of the values (letters' case means nothing), when not empty.
	Attributes map[string][]string `json:"attributes,omitempty"`
	// Licensed limits people to those with an assigned licence.
	Licensed bool `json:"licensed,omitempty"`
	// Guests takes guests in, too.
	Guests bool `json:"guests,omitempty"`
	// SharedMailboxes takes shared, room and equipment mailboxes in, too. Graph tells them by one call per user that is not signed in by
	// anybody (mailboxSettings, permission MailboxSettings.Read).
	SharedMailboxes bool `json:"sharedMailboxes,omitempty"`
}

// SCIMConfig takes what an identity provider pushes (RFC 7644). Bearer tokens are made by holdfast scim token add.
type SCIMConfig struct {
	// Groups limits people to members, direct or nested, of groups of these display names, when not empty.
	Groups []string `json:"groups,omitempty"`
}

// DirectoryCursor is where the changes of a directory were last read up to. It is opaque to all but the adapter that made it, which also
// finds out whether it fits the directory as it is configured now.
type DirectoryCursor = json.RawMessage

// ReadMode tells what a read of a directory was.
type ReadMode string

const (
	// FullRead: everybody was listed; whoever was not is gone.
	FullRead ReadMode = "full"
	// ChangesRead: what changed since a cursor; only who was named as gone is gone.
	ChangesRead ReadMode = "changes"
)

// ReadFrom is where a read begins.
type ReadFrom struct {
	// Since is the cursor of the import that was applied last; empty: list everybody.
	Since DirectoryCursor
	// Resume is the Resume of the last page that was kept of this same read, which broke off; empty: from its start.
	Resume json.RawMessage
}

// ReadEnd is what stands at the end of a complete read.
type ReadEnd struct {
	Mode ReadMode `json:"mode"`
	// Cursor is for the next import; empty when the directory has no change feed.
	Cursor DirectoryCursor `json:"cursor,omitempty"`
	// Calls is how many requests the directory answered.
	Calls int64 `json:"calls"`
	// Note says for a person how it was read and why, for example "full: the cursor came from another server".
	Note string `json:"note,omitempty"`
}

// EntryPage is a page of a read.
type EntryPage struct {
	// Entries are whole: new ones, changed ones and, in a full read, all others.
	Entries []DirectoryEntry
	// Present are the ids of entries that are there as they were (a full read that need not send them again).
	Present []string
	// Gone are the ids of entries that the directory says are gone, or are not among the selected any more (a read of changes). Ids that nobody
	// knows mean nothing.
	Gone []string
	// Resume is where a read may go on that breaks off after this page; empty: only from its start.
	Resume json.RawMessage
}
