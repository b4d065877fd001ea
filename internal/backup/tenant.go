package backup

import (
	"encoding/json"
	"time"
)

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
	Administrators []Principal `json:"administrators"`
	Key            KeyConfig   `json:"key"`
	// Directories are the sources of people, in order of precedence: where two say different things of one person, the first wins.
	Directories []DirectoryConfig `json:"directories"`
	// People says how the entries of the directories become accounts.
	People       PeopleConfig        `json:"people,omitzero"`
	Microsoft365 *Microsoft365Config `json:"microsoft365,omitempty"`
	// Profile is for everybody whom no rule of Profiles gives another one.
	Profile    Profile          `json:"profile"`
	Profiles   []ProfileRule    `json:"profiles,omitempty"`
	Repository RepositoryConfig `json:"repository"`
}

// UnmarshalJSON also reads descriptions from before a tenant could have several directories, which stand in old histories and stores.
func (t *Tenant) UnmarshalJSON(b []byte) error {
	type plain Tenant
	old := struct {
		*plain
		Directory *DirectoryConfig `json:"directory"`
	}{plain: (*plain)(t)}
	if err := json.Unmarshal(b, &old); err != nil {
		return err
	}
	if d := old.Directory; d != nil && len(t.Directories) == 0 {
		d.Name = DirectoryName(d.Kind)
		t.Directories = []DirectoryConfig{*d}
	}
	return nil
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
