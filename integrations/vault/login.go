package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// Secrets gives what a reference points at. The bytes are overwritten after use.
type Secrets func(context.Context, backup.SecretRef) ([]byte, error)

// authenticate logs in by the configured method. The secret is read anew every time, so that one that was exchanged is found.
func (s *session) authenticate(ctx context.Context) (*api.Secret, error) {
	switch s.login.Method {
	case backup.LoginByToken:
		return s.byToken(ctx)
	case backup.LoginByAppRole:
		return s.byAppRole(ctx)
	case backup.LoginByKubernetes:
		return s.byKubernetes(ctx)
	}
	return nil, badConfig(fmt.Sprintf("the KMS's login method %q is not known", excerpt(string(s.login.Method))), "approle, token or kubernetes")
}

// secret reads a secret; what names the setting.
func (s *session) secret(ctx context.Context, what string, ref backup.SecretRef) (string, error) {
	if ref == "" {
		return "", badConfig("the KMS's login has no "+what, "set "+what+" to env:NAME or file:/path")
	}
	value, err := s.secrets(ctx, ref)
	if err != nil {
		return "", fmt.Errorf("the KMS login's %s: %w", what, err)
	}
	defer clear(value)
	text := string(bytes.TrimSpace(value))
	if text == "" {
		return "", badConfig("the KMS login's "+what+" is empty", "put it where "+string(ref)+" points to")
	}
	return text, nil
}

func (s *session) mount(byDefault string) (string, error) {
	if s.login.Mount == "" {
		return byDefault, nil
	}
	if !goodPath(s.login.Mount) {
		return "", badConfig("the mount of the KMS's login is not a path", "for example "+byDefault)
	}
	return s.login.Mount, nil
}

// byToken takes the token as it is and looks at what it can.
func (s *session) byToken(ctx context.Context) (*api.Secret, error) {
	token, err := s.secret(ctx, "token", s.login.Token)
	if err != nil {
		return nil, err
	}
	s.client.SetToken(token)
	self, err := s.lookUpSelf(ctx)
	if err != nil {
		return nil, s.loginError(ctx, "the token", err)
	}
	return &api.Secret{Auth: &api.SecretAuth{ClientToken: token, Renewable: self.Renewable, LeaseDuration: self.TTL}}, nil
}

func (s *session) byAppRole(ctx context.Context) (*api.Secret, error) {
	id, err := s.secret(ctx, "secretID", s.login.SecretID)
	if err != nil {
		return nil, err
	}
	mount, err := s.mount("approle")
	if err != nil {
		return nil, err
	}
	method, err := approle.NewAppRoleAuth(s.login.RoleID, &approle.SecretID{FromString: id}, approle.WithMountPath(mount))
	if err != nil {
		return nil, badConfig("the KMS's AppRole login lacks a setting: "+excerpt(err.Error()), "set roleID and secretID")
	}
	return s.by(ctx, "role id and secret id", method)
}

// defaultTokenFile is where Kubernetes puts the token of a pod's service account.
const defaultTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

func (s *session) byKubernetes(ctx context.Context) (*api.Secret, error) {
	file := s.login.TokenFile
	if file == "" {
		file = defaultTokenFile
	}
	token, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: "the service account's token cannot be read", Hint: "the login kubernetes is for workers in a pod; set tokenFile if it is kept elsewhere", Cause: err}
	}
	defer clear(token)
	mount, err := s.mount("kubernetes")
	if err != nil {
		return nil, err
	}
	method, err := kubernetes.NewKubernetesAuth(s.login.Role, kubernetes.WithServiceAccountToken(string(bytes.TrimSpace(token))), kubernetes.WithMountPath(mount))
	if err != nil {
		return nil, badConfig("the KMS's Kubernetes login lacks a setting: "+excerpt(err.Error()), "set role")
	}
	return s.by(ctx, "the service account of role "+s.login.Role, method)
}

// by logs in with a method of the library. The token of an earlier login is not shown.
func (s *session) by(ctx context.Context, what string, method api.AuthMethod) (*api.Secret, error) {
	s.client.ClearToken()
	secret, err := s.client.Auth().Login(ctx, method)
	if err != nil {
		return nil, s.loginError(ctx, what, err)
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, later(customer(backup.CodeBadResponse, s.server.says("the login was answered without a token"), "is the login's mount what the method says?"))
	}
	return secret, nil
}

// loginError is classify for a login: who is refused there has a wrong credential.
func (s *session) loginError(ctx context.Context, what string, err error) error {
	var refused *api.ResponseError
	if errors.As(err, &refused) && (refused.StatusCode == http.StatusBadRequest || refused.StatusCode == http.StatusUnauthorized || refused.StatusCode == http.StatusForbidden) {
		return s.badCredential(what, refused)
	}
	var denied *backup.Error
	if errors.As(err, &denied) && denied.Code == backup.CodeDenied {
		return s.badCredential(what, nil)
	}
	return s.classify(ctx, "the login", nil, err)
}

func (s *session) badCredential(what string, refused *api.ResponseError) error {
	message := "the login is refused: " + what
	if refused != nil {
		message += ": " + excerpt(fmt.Sprint(refused.StatusCode, refused.Errors))
	}
	return customer(backup.CodeBadCredential, s.server.says(message), "it may be wrong, expired, used up or revoked: make a new one (deploy/vault/README.md) and put it in place; it is read anew at the next attempt")
}

// self is what a token knows of itself.
type self struct {
	Renewable     bool   `json:"renewable"`
	TTL           int    `json:"ttl"` // seconds; 0: it does not expire
	NamespacePath string `json:"namespace_path"`
}

func (s *session) lookUpSelf(ctx context.Context) (self, error) {
	var out self
	err := s.send(ctx, http.MethodGet, "auth/token/lookup-self", nil, &out)
	return out, err
}
