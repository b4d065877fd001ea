package backup

import "time"

// App is a SaaS app connected to a tenant.
type App string

const (
	Microsoft365    App = "microsoft365"
	GoogleWorkspace App = "googleworkspace"
)

// Service is what is backed up within an app.
type Service string

const (
	Mail  Service = "mail"
	Drive Service = "drive"
)

// KeyMethod is how a tenant's ekey is had.
type KeyMethod string

const (
	// KeyByConnector: an agent in the customer's network holds the ekey. The default.
	KeyByConnector KeyMethod = "connector"
	// KeyByKMS: a cloud KMS (HashiCorp Vault transit) wraps the ekey.
	KeyByKMS KeyMethod = "kms"
)

// DirectoryKind is where people come from.
type DirectoryKind string

const (
	LDAP  DirectoryKind = "ldap"
	SCIM  DirectoryKind = "scim"
	Entra DirectoryKind = "entra"
)

// SecretRef points at a secret: "env:NAME", "file:/absolute/path", or "vault:path#field" of the worker's own Vault. It is never the secret itself,
// so it may stand in workflow histories, the store and logs.
type SecretRef string

// Tenant is one customer organisation as its YAML file describes it. It travels through workflow
// history, so it holds references to secrets only. The published JSON Schema of the file is
// starter/tenantfile/tenant.schema.json; the two are kept equal by a test.
type Tenant struct {
	// ID is the short name in every command and workflow id: ^[a-z0-9][a-z0-9-]{0,40}$.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Administrators may decide on this tenant's tasks.
	Administrators []Principal         `json:"administrators"`
	Key            KeyConfig           `json:"key"`
	Directory      DirectoryConfig     `json:"directory"`
	Microsoft365   *Microsoft365Config `json:"microsoft365,omitempty"`
	Profile        Profile             `json:"profile"`
	Repository     RepositoryConfig    `json:"repository"`
}

// Role is what a principal may do for a tenant.
type Role string

const (
	CloudAdmin Role = "cloud-admin"
	SaaSAdmin  Role = "saas-admin"
	Approver   Role = "approver"
	Viewer     Role = "viewer"
)

// Principal is a person or program known by name.
type Principal struct {
	// Name is usually a mail address.
	Name string `json:"name"`
	Role Role   `json:"role"`
}

// KeyConfig says how the ekey is had.
type KeyConfig struct {
	Method KeyMethod `json:"method"`
	// Connectors pins agents that may hold the ekey by their public identity, beside those that were enrolled.
	Connectors []ConnectorConfig `json:"connectors,omitempty"`
	// KMS reaches the Vault that wraps the ekey, for the method kms.
	KMS *KMSConfig `json:"kms,omitempty"`
	// ConnectorAbsent says what a run does when no connector is connected: fail (the default), or wait for one.
	ConnectorAbsent AbsencePolicy `json:"connectorAbsent,omitempty"`
	// WaitAtMost bounds how long a run waits for the key's holder before it fails; default 12 h. A sealed or unreachable KMS is
	// always waited for.
	WaitAtMost Duration `json:"waitAtMost,omitzero"`
	// RotateEvery is the distance of scheduled rotations; zero: none.
	RotateEvery Duration `json:"rotateEvery,omitzero"`
	// Grace is how long a replaced generation is still to be had; default 7 days.
	Grace Duration `json:"grace,omitzero"`
	// DrillEvery is the distance of scheduled loss drills; default 7 days.
	DrillEvery Duration `json:"drillEvery,omitzero"`
	// ShredWait is how long a shredding can be called off after its second approval; default 72 h.
	ShredWait Duration `json:"shredWait,omitzero"`
}

// AbsencePolicy is what a run does when no connector is connected.
type AbsencePolicy string

const (
	FailWhenAbsent AbsencePolicy = "fail"
	WaitWhenAbsent AbsencePolicy = "wait"
)

// KMSConfig is a transit secrets engine of a HashiCorp Vault or OpenBao server.
type KMSConfig struct {
	// Address is https://host[:port].
	Address string `json:"address"`
	// Namespace is sent with every call; empty: the root namespace.
	Namespace string `json:"namespace,omitempty"`
	// CAFile is a PEM file of the private CA, absolute; empty means the system's roots.
	CAFile string `json:"caFile,omitempty"`
	// Mount is the transit engine's path; default "transit".
	Mount string `json:"mount,omitempty"`
	// Key is the transit key's name; default "t-" and the tenant's id.
	Key string `json:"key,omitempty"`
	// Login is what workers log in with: it may decrypt and re-wrap.
	Login VaultLogin `json:"login"`
	// Provisioning may make, rotate and destroy transit keys. Without it those are done by hand, and Holdfast says how.
	Provisioning *VaultLogin `json:"provisioning,omitempty"`
}

// VaultLogin is one way to log in to a Vault.
type VaultLogin struct {
	Method VaultLoginMethod `json:"method"`
	// Mount is the auth method's path; default the method's name.
	Mount string `json:"mount,omitempty"`
	// RoleID and SecretID are for approle.
	RoleID   string    `json:"roleID,omitempty"`
	SecretID SecretRef `json:"secretID,omitempty"`
	// Role is for kubernetes; TokenFile is the service account's token, default the usual place.
	Role      string `json:"role,omitempty"`
	TokenFile string `json:"tokenFile,omitempty"`
	// Token is for token.
	Token SecretRef `json:"token,omitempty"`
}

// VaultLoginMethod names an auth method of Vault.
type VaultLoginMethod string

const (
	LoginByAppRole    VaultLoginMethod = "approle"
	LoginByToken      VaultLoginMethod = "token"
	LoginByKubernetes VaultLoginMethod = "kubernetes"
)

// Defaults of a KeyConfig.
const (
	DefaultWaitAtMost = 12 * time.Hour
	DefaultGrace      = 7 * 24 * time.Hour
	DefaultDrillEvery = 7 * 24 * time.Hour
	DefaultShredWait  = 72 * time.Hour
)

// ConnectorConfig pins one connector.
type ConnectorConfig struct {
	Name string `json:"name"`
	// Identity is "ed25519:" and the unpadded base64url of the 32-byte public key.
	Identity string `json:"identity"`
}

// DirectoryConfig is the source of people.
type DirectoryConfig struct {
	Kind DirectoryKind `json:"kind"`
	LDAP *LDAPConfig   `json:"ldap,omitempty"`
	// Removals is the threshold over which a difference waits for an approval.
	Removals RemovalThreshold `json:"removals"`
}

// LDAPConfig reaches one LDAP directory (OpenLDAP or Active Directory).
type LDAPConfig struct {
	// URL is ldaps://host:port, or ldap://host:port with StartTLS set. Plain LDAP is refused.
	URL      string `json:"url"`
	StartTLS bool   `json:"startTLS,omitempty"`
	// CAFile is a PEM file of the private CA, absolute; empty means the system's roots.
	CAFile       string    `json:"caFile,omitempty"`
	BindDN       string    `json:"bindDN"`
	BindPassword SecretRef `json:"bindPassword"`
	BaseDN       string    `json:"baseDN"`
	// Filter selects people (RFC 4515). Default: (|(objectClass=inetOrgPerson)(&(objectClass=user)(objectCategory=person))).
	Filter string `json:"filter,omitempty"`
	// Groups limits people to members of these group DNs, when not empty.
	Groups []string `json:"groups,omitempty"`
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

// Microsoft365Config is an app registration (client credentials flow, app-only).
type Microsoft365Config struct {
	// DirectoryTenant is the Entra tenant: a GUID or a verified domain.
	DirectoryTenant string `json:"directoryTenant"`
	ClientID        string `json:"clientID"`
	// Exactly one of the two is set.
	ClientSecret      SecretRef `json:"clientSecret,omitempty"`
	ClientCertificate SecretRef `json:"clientCertificate,omitempty"` // PEM: certificate and private key
	// LoginURL and GraphURL default to the public cloud; other clouds and the sandbox set them.
	LoginURL string `json:"loginURL,omitempty"`
	GraphURL string `json:"graphURL,omitempty"`
	// DownloadHosts are further hosts that file contents may be fetched from, as host[:port] or
	// ".suffix"; default: .sharepoint.com, .svc.ms, .1drv.com and the Graph host.
	DownloadHosts []string `json:"downloadHosts,omitempty"`
	CAFile        string   `json:"caFile,omitempty"`
}

// Profile says which services are protected, how often, and how long kept.
type Profile struct {
	Services []Service `json:"services"`
	// Every is the distance of two runs; default 24 h, at least 5 min.
	Every Duration `json:"every"`
	// Jitter spreads the starts of many tenants; default a tenth of Every, at most 30 min.
	Jitter Duration `json:"jitter"`
	// PreserveDays is how long the data of a vanished person is kept; default 365.
	PreserveDays int `json:"preserveDays"`
}

// RepositoryConfig is where the tenant's encrypted repository lives.
type RepositoryConfig struct {
	// ID is bound into the repository's password; default: the tenant's id.
	ID string `json:"id"`
	// Folder is an absolute path; empty means a folder of the tenant's id below the worker's --repositories.
	Folder string `json:"folder,omitempty"`
}

// Duration is a time.Duration that reads and writes as "24h" in JSON.
type Duration time.Duration

func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Or gives d, or the default when d is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}
