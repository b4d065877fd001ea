package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"

	"github.com/go-ldap/ldap/v3"
	"github.com/go-ldap/ldap/v3/gssapi"
	"github.com/jcmturner/gokrb5/v8/client"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// dialer opens connections to one directory, and to those that its referrals may lead to.
type dialer struct {
	settings settings
	secrets  func(context.Context, backup.SecretRef) ([]byte, error)
	resolver *net.Resolver
}

// certificate is the client's, for SASL EXTERNAL; nil when none is configured.
func (d *dialer) certificate(ctx context.Context) ([]tls.Certificate, error) {
	if d.settings.ClientCertificate == "" {
		return nil, nil
	}
	pem, err := d.secrets(ctx, d.settings.ClientCertificate)
	if err != nil {
		return nil, fmt.Errorf("the directory's clientCertificate: %w", err)
	}
	defer clear(pem)
	pair, err := tls.X509KeyPair(pem, pem)
	if err != nil { // its text may quote the file
		return nil, badConfig("the directory's client certificate cannot be used", "clientCertificate must point to PEM: the certificate and its private key")
	}
	return []tls.Certificate{pair}, nil
}

// login binds in the configured way.
func (d *dialer) login(ctx context.Context, dir *Directory) error {
	s := dir.settings
	way := func(*ldap.Conn) error { return nil }
	switch {
	case s.Kerberos != nil:
		c, err := kerberos(s.Kerberos)
		if err != nil {
			return err
		}
		defer c.Close() // it forgets its tickets
		way = func(conn *ldap.Conn) error { return conn.GSSAPIBind(c, "ldap/"+s.host, "") }
	case s.ClientCertificate != "":
		way = (*ldap.Conn).ExternalBind
	default:
		password, err := d.secrets(ctx, s.BindPassword)
		if err != nil {
			return fmt.Errorf("the directory's bindPassword: %w", err)
		}
		defer clear(password)
		if len(password) == 0 {
			return badConfig("the directory's password is empty", "put the password of "+s.BindDN+" where bindPassword points to")
		}
		way = func(conn *ldap.Conn) error { return conn.Bind(s.BindDN, string(password)) }
	}
	err := dir.within(ctx, func(context.Context) error { return way(dir.conn) })
	var refused *ldap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.ResultCode < ldap.ErrorNetwork:
		return s.bindError(refused)
	case s.Kerberos != nil && dir.alive():
		return customer(backup.CodeBadCredential, s.at("no Kerberos ticket for the directory")+": "+excerpt(err.Error()),
			"check principal, keytab and krb5.conf, and that the directory's host name in directory.ldap.url is the one of its service principal")
	}
	return s.classify(err)
}

// principalName is name@REALM.
var principalName = regexp.MustCompile(`^([^@\s]{1,256})@([^@\s]{1,256})$`)

const defaultKerberosConfig = "/etc/krb5.conf"

func kerberos(k *backup.KerberosLogin) (*gssapi.Client, error) {
	parts := principalName.FindStringSubmatch(k.Principal)
	config := k.Config
	if config == "" {
		config = defaultKerberosConfig
	}
	// Active Directory does not do FAST, which the client would otherwise try first.
	c, err := gssapi.NewClientWithKeytab(parts[1], parts[2], k.Keytab, config, client.DisablePAFXFAST(true))
	if err != nil {
		return nil, badConfig("the files of directory.ldap.kerberos cannot be used: "+excerpt(err.Error()), "keytab and config must be readable on the worker's machine")
	}
	return c, nil
}

// checkLogin wants exactly one way to bind.
func (s *settings) checkLogin() error {
	ways := 0
	for _, set := range []bool{s.BindPassword != "", s.ClientCertificate != "", s.Kerberos != nil} {
		if set {
			ways++
		}
	}
	switch {
	case ways != 1:
		return badConfig("directory.ldap must have exactly one of bindPassword, clientCertificate and kerberos", "an anonymous reader is refused")
	case s.BindPassword != "" && s.BindDN == "":
		return badConfig("directory.ldap.bindDN is empty", "name the account that may read people; an anonymous reader is refused")
	case s.Kerberos != nil && !principalName.MatchString(s.Kerberos.Principal):
		return badConfig("directory.ldap.kerberos.principal is not name@REALM", "for example holdfast@ACME.EXAMPLE")
	case s.Kerberos != nil && !filepath.IsAbs(s.Kerberos.Keytab):
		return badConfig("directory.ldap.kerberos.keytab is not an absolute path", "for example /etc/holdfast/acme.keytab, on the worker's machine")
	case s.Kerberos != nil && s.Kerberos.Config != "" && !filepath.IsAbs(s.Kerberos.Config):
		return badConfig("directory.ldap.kerberos.config is not an absolute path", "leave it out for "+defaultKerberosConfig)
	}
	return nil
}

// who is whom the directory knows us as, for messages.
func (s settings) who() string {
	switch {
	case s.BindDN != "":
		return s.BindDN
	case s.Kerberos != nil:
		return s.Kerberos.Principal
	}
	return "the client certificate's owner"
}
