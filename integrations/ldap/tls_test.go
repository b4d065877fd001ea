package ldap_test

import (
	"crypto/tls"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

func tlsOf(ca *sandbox.CA, host string) *tls.Config {
	return &tls.Config{RootCAs: ca.Pool(), ServerName: host}
}
