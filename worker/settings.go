package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// settings say where a process keeps and finds things. Everything defaults to a place below the state folder, so that on one machine
// nothing but the folder is ever named.
type settings struct {
	State        string
	Store        string // sqlite:///path or postgres://user@host/database
	Repositories string
	Identity     string // the worker's signing key, which connectors pin
	Listen       string // the gateway's host:port
	Certificate  string // PEM; the gateway's
	CertKey      string
	Token        string   // file with the read API's bearer token
	PayloadKeys  string   // reference to the keys of what goes to Temporal
	UIOrigins    []string // pages that may have payloads decoded
	LogFormat    string   // console or json
	LogLevel     string
}

// Names below the state folder.
const (
	storeFile        = "holdfast.db"
	repositoryFolder = "repositories"
	identityFile     = "worker-identity.json"
	certificateFile  = "gateway.pem"
	certKeyFile      = "gateway.key"
	tokenFile        = "read.token"
	payloadKeysFile  = "payload-keys.json"
	clientFile       = "client.json"
	temporalFile     = "temporal.db"
	temporalLogFile  = "temporal.log"
	cacheFolder      = "cache"
)

// defaultState is $HOLDFAST_STATE, else $XDG_DATA_HOME/holdfast, else ~/.local/share/holdfast: where the command line looks, too.
func defaultState() string {
	if s := os.Getenv("HOLDFAST_STATE"); s != "" {
		return s
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "holdfast")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "share", "holdfast")
}

func (s *settings) stateFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.State, "state", defaultState(), "folder of everything this process keeps (HOLDFAST_STATE)")
	f.StringVar(&s.LogFormat, "log-format", "", "console or json (default: console on a terminal)")
	f.StringVar(&s.LogLevel, "log-level", "info", "debug, info, warn or error")
}

// storeFlags are of whoever signs key requests, too.
func (s *settings) storeFlags(cmd *cobra.Command) {
	s.storeFlag(cmd)
	cmd.Flags().StringVar(&s.Identity, "identity", os.Getenv("HOLDFAST_IDENTITY"), "file of the workers' signing key (HOLDFAST_IDENTITY; default: below --state, made when absent)")
}

func (s *settings) storeFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.Store, "store", os.Getenv("HOLDFAST_STORE"), "the store as sqlite:///path or postgres://user@host/database?passwordFile=/path (HOLDFAST_STORE; default: a file below --state)")
}

// temporalFlags are of whoever talks to Temporal.
func (s *settings) temporalFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.PayloadKeys, "payload-keys", os.Getenv("HOLDFAST_PAYLOAD_KEYS"), "keys of what goes to Temporal: file:/path, env:NAME or vault:path#field (HOLDFAST_PAYLOAD_KEYS; default: payload-keys.json below --state)")
}

func (s *settings) workerFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.Repositories, "repositories", os.Getenv("HOLDFAST_REPOSITORIES"), "folder of the tenants' repositories (HOLDFAST_REPOSITORIES; default: below --state)")
}

func (s *settings) gatewayFlags(cmd *cobra.Command, listen string) {
	f := cmd.Flags()
	f.StringVar(&s.Listen, "listen", listen, "the gateway's host:port (port 0: any free one)")
	f.StringVar(&s.Certificate, "certificate", os.Getenv("HOLDFAST_CERTIFICATE"), "PEM file of the gateway's certificate (default: below --state, made when absent)")
	f.StringVar(&s.CertKey, "certificate-key", os.Getenv("HOLDFAST_CERTIFICATE_KEY"), "PEM file of its private key")
	f.StringSliceVar(&s.UIOrigins, "ui-origin", splitList(os.Getenv("HOLDFAST_UI_ORIGINS")), "page whose Web UI may show decoded values, as https://temporal.example:8080 (may be repeated; HOLDFAST_UI_ORIGINS, with commas)")
	f.StringVar(&s.Token, "read-token", os.Getenv("HOLDFAST_READ_TOKEN_FILE"), "file of the bearer token for reading (default: below --state, made when absent)")
}

// complete fills in what was not given and makes the state folder, readable by its owner alone.
func (s *settings) complete() error {
	if s.State == "" {
		return &usageError{&backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "there is no home folder to keep state in", Hint: "give one with --state"}}
	}
	abs, err := filepath.Abs(s.State)
	if err != nil {
		return err
	}
	s.State = abs
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "the state folder cannot be made", Hint: "give another one with --state", Cause: err}
	}
	for field, name := range map[*string]string{&s.Repositories: repositoryFolder, &s.Identity: identityFile,
		&s.Certificate: certificateFile, &s.CertKey: certKeyFile, &s.Token: tokenFile} {
		if *field == "" {
			*field = filepath.Join(s.State, name)
		}
	}
	if s.Store == "" {
		s.Store = "sqlite://" + filepath.Join(s.State, storeFile)
	}
	if s.PayloadKeys == "" {
		s.PayloadKeys = "file:" + filepath.Join(s.State, payloadKeysFile)
	}
	return checkOrigins(s.UIOrigins)
}

// splitList splits at commas; of nothing it makes nothing.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}
