// Package readapi is what a person may read of a tenant over HTTPS: the wire types of the gateway's read API, and its client.
//
// Lists of people, runs and alerts are business data: they stay out of workflow histories and come from the store,
// through the gateway. Everything is GET but the codec and the muting of alerts, JSON, and needs a bearer token.
package readapi

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Paths, below the gateway's base URL. {tenant} and {number} are filled in.
const (
	TenantPath     = "/v1/tenants/{tenant}"                          // TenantReport
	UsersPath      = "/v1/tenants/{tenant}/users"                    // UserPage; ?state=active|preserved|due|released &after= &limit=
	UserPath       = "/v1/tenants/{tenant}/users/{ref}"              // backup.AccountReport; ref is an account's id, mail or UPN
	EntriesPath    = "/v1/tenants/{tenant}/entries"                  // EntryPage; ?ref= (id, mail, UPN or DN), or ?directory= &after= &limit=
	ProblemsPath   = "/v1/tenants/{tenant}/problems"                 // ProblemPage; ?directory= &after= &limit=
	ConflictsPath  = "/v1/tenants/{tenant}/conflicts"                // ConflictPage; ?after= &limit=
	ImportsPath    = "/v1/tenants/{tenant}/imports"                  // ImportPage, newest first; ?directory= &limit=
	ImportPath     = "/v1/tenants/{tenant}/imports/{number}"         // backup.ImportReport
	ChangesPath    = "/v1/tenants/{tenant}/imports/{number}/changes" // ChangePage; ?after= &limit=
	RunsPath       = "/v1/tenants/{tenant}/runs"                     // RunPage; ?limit=
	RunPath        = "/v1/tenants/{tenant}/runs/{number}"            // RunReport
	AlertsPath     = "/v1/tenants/{tenant}/alerts"                   // AlertPage; ?all=true for resolved ones, too
	MutePath       = "/v1/tenants/{tenant}/alerts/mute"              // POST Mute
	KeyPath        = "/v1/tenants/{tenant}/key"                      // backup.KeyStatus
	ReceiptsPath   = "/v1/tenants/{tenant}/key/receipts"             // ReceiptPage; ?after= &limit= &run=
	SCIMTokensPath = "/v1/tenants/{tenant}/scim-tokens"              // SCIMTokenPage
	IdentityPath   = "/v1/worker-identity"                           // WorkerIdentity
	HealthPath     = "/healthz"                                      // 200 when the store answers; needs no token
	EncodePath     = "/codec/encode"                                 // POST; temporal.api.common.v1.Payloads as JSON, both ways
	DecodePath     = "/codec/decode"                                 // likewise
)

// SCIMPath is where identity providers push to, below the gateway's base URL: RFC 7644, with tokens of its own.
const SCIMPath = "/scim/v2"

// TenantReport is what `holdfast status` shows beside the checklist.
type TenantReport struct {
	Tenant   backup.Tenant    `json:"tenant"`
	Accounts backup.Accounts  `json:"accounts"`
	LastRun  *backup.Run      `json:"lastRun,omitempty"`
	Key      backup.KeyStatus `json:"key"`
	Alerts   int              `json:"alerts"` // open ones
}

// UserPage is a page of accounts in order of mail. Next is empty on the last page.
type UserPage struct {
	Accounts []backup.Account `json:"accounts"`
	Next     string           `json:"next,omitempty"`
}

// ProblemPage is a page of directory entries that did not become accounts.
type ProblemPage struct {
	Entries []backup.DirectoryEntry `json:"entries"`
	Next    string                  `json:"next,omitempty"`
}

// EntryPage is a page of what directories say.
type EntryPage struct {
	Entries []backup.KnownEntry `json:"entries"`
	Next    string              `json:"next,omitempty"`
}

// ConflictPage is a page of entries that wait for a person's word.
type ConflictPage struct {
	Conflicts []backup.MergeConflict `json:"conflicts"`
	Next      string                 `json:"next,omitempty"`
}

// ImportPage lists reports of imports, newest first.
type ImportPage struct {
	Imports []backup.ImportReport `json:"imports"`
}

// ChangePage is a page of what an import did, or would do. Unchanged entries are counted in the report, not listed.
type ChangePage struct {
	Changes []backup.ImportChange `json:"changes"`
	Next    string                `json:"next,omitempty"`
}

// SCIMTokenPage lists the tokens that are neither revoked nor expired, in order of directory and label.
type SCIMTokenPage struct {
	Tokens []SCIMToken `json:"tokens"`
}

// SCIMToken is what may be told of an identity provider's token.
type SCIMToken struct {
	Directory backup.DirectoryName `json:"directory"`
	Label     string               `json:"label"`
	By        string               `json:"by"`
	Created   time.Time            `json:"created"`
	Expires   time.Time            `json:"expires,omitzero"`  // never, when it is left out
	LastUsed  time.Time            `json:"lastUsed,omitzero"` // to the hour
}

// RunPage lists runs, newest first.
type RunPage struct {
	Runs []backup.Run `json:"runs"`
}

// RunReport is one run with its parts.
type RunReport struct {
	Run   backup.Run       `json:"run"`
	Parts []backup.RunPart `json:"parts"`
}

// AlertPage lists alerts, newest first.
type AlertPage struct {
	Alerts []backup.Alert `json:"alerts"`
}

// Mute keeps one open alert from being told again until then; zero: tell it again. It stays open and counted.
type Mute struct {
	Kind    backup.AlertKind `json:"kind"`
	Subject string           `json:"subject"`
	Until   time.Time        `json:"until,omitzero"`
}

// MaxMute is how long an alert may be muted at most: whoever forgets it hears of it again.
const MaxMute = 31 * 24 * time.Hour

// ReceiptPage is a page of the log of key receipts in order of their numbers. Next is empty on the last page.
type ReceiptPage struct {
	Receipts []ReceiptEntry `json:"receipts"`
	// Head is the newest signed head of the whole log, as internal/ledger writes it; whoever reads checks it himself.
	Head []byte `json:"head,omitempty"`
	Next string `json:"next,omitempty"`
}

// ReceiptEntry is a receipt with the signed head of the log that ended with it.
type ReceiptEntry struct {
	backup.Receipt
	// Run is the number of the backup run that it was released for; 0 when it was for something else.
	Run  int64  `json:"run,omitempty"`
	Head []byte `json:"head,omitempty"`
}

// WorkerIdentity is the public key that connectors pin, and that heads of receipts are signed by.
type WorkerIdentity struct {
	Identity string `json:"identity"` // "ed25519:" and unpadded base64url
}

// Failure is the body of every answer that is not 2xx.
type Failure struct {
	Code    backup.Code `json:"code"`
	Message string      `json:"message"`
	Hint    string      `json:"hint,omitempty"`
}

// Profile is how a command line on this machine finds its Holdfast: `holdfastd dev` writes it as client.json (0600)
// into its state folder.
type Profile struct {
	Gateway           string `json:"gateway"` // https://host:port
	CAFile            string `json:"caFile"`
	TokenFile         string `json:"tokenFile"`
	TemporalAddress   string `json:"temporalAddress"`
	TemporalNamespace string `json:"temporalNamespace"`
	WebUI             string `json:"webUI,omitempty"`
	User              string `json:"user"` // the principal that decisions are made by unless --by says otherwise
	// PayloadKeys points at the keys of what goes to Temporal (env: or file:); empty asks the gateway to encrypt and decrypt.
	PayloadKeys backup.SecretRef `json:"payloadKeys,omitempty"`
}
