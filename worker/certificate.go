package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// ensureCertificate loads the gateway's certificate, or makes one when there is none: its own authority, which connectors and the
// command line pin. A provider gives one of his own.
func (s settings) ensureCertificate() (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(s.Certificate, s.CertKey)
	if err == nil {
		return cert, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "the gateway's certificate cannot be used", Hint: "look at " + s.Certificate + " and its key", Cause: err}
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return tls.Certificate{}, &usageError{err}
	}
	if err := makeCertificate(s.Certificate, s.CertKey, host); err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(s.Certificate, s.CertKey)
}

// makeCertificate makes a self-signed server certificate for loopback, this machine's name and host.
func makeCertificate(certFile, keyFile, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Holdfast gateway"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
	}
	if name, err := os.Hostname(); err == nil {
		tmpl.DNSNames = append(tmpl.DNSNames, name)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
	} else if ip == nil && host != "" {
		tmpl.DNSNames = append(tmpl.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	// The key first: a crash between the two leaves no certificate, and the next start makes both anew.
	return errors.Join(
		writeWhole(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
		writeWhole(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
}

// ensureToken reads the bearer token of the read API, or makes one.
func (s settings) ensureToken() (string, error) {
	b, err := os.ReadFile(s.Token)
	if err == nil {
		if t := strings.TrimSpace(string(b)); len(t) >= 32 {
			return t, nil
		}
		return "", &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultOurs, Message: "the read token is too short", Hint: "put at least 32 characters into " + s.Token + ", or remove the file to have one made"}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	raw := make([]byte, 32)
	if _, err := rand.Read(raw); err != nil {
		return "", err
	}
	token := hex.EncodeToString(raw)
	return token, writeWhole(s.Token, []byte(token+"\n"), 0o600)
}

// writeWhole writes a file that is whole or absent.
func writeWhole(path string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
