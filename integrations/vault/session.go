package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// session is one login to one server, shared by whoever has the same. It logs in when it is first used, is renewed by the library's
// LifetimeWatcher, and logs in again when renewal has ended or the server no longer knows its token.
type session struct {
	server  Server
	login   backup.VaultLogin
	secrets Secrets
	client  *api.Client

	turn chan struct{} // holds one element while somebody looks at or changes the login
	in   bool
	// epoch counts the logins, so that the end of an old one is not taken for the end of the new.
	epoch   int
	watcher *api.LifetimeWatcher
	// failure is how the last login failed, for all who waited for it meanwhile: they do not each wait for a hanging server in turn.
	failure  error
	failedAt time.Time

	closing sync.Once
	closed  chan struct{}
	watch   sync.WaitGroup
}

func newSession(server Server, login backup.VaultLogin, secrets Secrets) (*session, error) {
	client, err := server.client()
	if err != nil {
		return nil, err
	}
	return &session{server: server, login: login, secrets: secrets, client: client, turn: make(chan struct{}, 1), closed: make(chan struct{})}, nil
}

// take waits for the session's turn.
func (s *session) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) give() { <-s.turn }

// ensure logs in unless that has been done, and returns the login's epoch.
func (s *session) ensure(ctx context.Context) (int, error) {
	began := time.Now()
	if err := s.take(ctx); err != nil {
		return 0, err
	}
	defer s.give()
	select {
	case <-s.closed:
		return 0, &backup.Error{Code: backup.CodeCancelled, Fault: backup.FaultOurs, Message: "the KMS client is closed", Retryable: true}
	default:
	}
	switch {
	case s.in:
		return s.epoch, nil
	case s.failedAt.After(began):
		return 0, s.failure
	}
	err := s.logIn(ctx)
	if err != nil && ctx.Err() == nil {
		s.failure, s.failedAt = err, time.Now()
	}
	return s.epoch, err
}

// logIn is called by whoever has the turn.
func (s *session) logIn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	secret, err := s.authenticate(ctx)
	if err != nil {
		return err
	}
	s.client.SetToken(secret.Auth.ClientToken)
	if err := s.checkNamespace(ctx); err != nil {
		return err
	}
	s.epoch, s.in = s.epoch+1, true
	return s.renew(secret)
}

// checkNamespace finds the server that ignores namespaces, as Vault's free edition does without a word: it would give out the root
// namespace's keys.
func (s *session) checkNamespace(ctx context.Context) error {
	wanted := strings.Trim(s.server.Namespace, "/")
	if wanted == "" {
		return nil
	}
	self, err := s.lookUpSelf(ctx)
	if err != nil {
		return err
	}
	if got := strings.Trim(self.NamespacePath, "/"); got != wanted {
		return s.server.badConfig(fmt.Sprintf("the login belongs to the namespace %q and not to %q", excerpt(got), wanted),
			"a server without namespaces (Vault's free edition) ignores the setting: leave namespace out; elsewhere use a login of that namespace")
	}
	return nil
}

// renew starts the watch over the login's token. One that never expires needs none.
func (s *session) renew(secret *api.Secret) error {
	if secret.Auth.LeaseDuration == 0 {
		return nil
	}
	w, err := s.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: secret})
	if err != nil {
		return &backup.Error{Code: backup.CodeInternal, Fault: backup.FaultOurs, Message: "the KMS token cannot be watched", Cause: err}
	}
	s.watcher = w
	epoch := s.epoch
	s.watch.Go(w.Start)
	s.watch.Go(func() {
		select {
		case <-w.DoneCh(): //nolint:errcheck // with or without an error: the token is about to end
			s.expire(epoch)
		case <-s.closed:
			w.Stop()
		}
	})
	return nil
}

// expire ends a login; the next call logs in again.
func (s *session) expire(epoch int) {
	select {
	case s.turn <- struct{}{}:
	case <-s.closed:
		return
	}
	defer s.give()
	if s.epoch != epoch || !s.in {
		return
	}
	s.in = false
	if s.watcher != nil {
		s.watcher.Stop()
		s.watcher = nil
	}
}

// close ends the watch. Calls that are under way come to their end.
func (s *session) close() {
	s.closing.Do(func() { close(s.closed) })
	s.watch.Wait()
	s.client.ClearToken()
	s.client.CloneConfig().HttpClient.CloseIdleConnections()
}

// call makes one call as this login. A token that the server no longer knows is exchanged once.
func (s *session) call(ctx context.Context, method, path string, in, out any) error {
	epoch, err := s.ensure(ctx)
	if err != nil {
		return s.classify(ctx, "the login", nil, err)
	}
	err = s.send(ctx, method, path, in, out)
	if !backup.HasCode(err, backup.CodeDenied) || s.known(ctx) {
		return err
	}
	s.expire(epoch)
	if _, err := s.ensure(ctx); err != nil {
		return s.classify(ctx, "the login", nil, err)
	}
	return s.send(ctx, method, path, in, out)
}

// known tells whether the server knows our token: what it refuses then, it refuses by policy.
func (s *session) known(ctx context.Context) bool {
	_, err := s.lookUpSelf(ctx)
	return err == nil
}

// send makes one call with the token at hand and decodes the answer's data into out, unless that is nil. What was read is wiped, so
// that a plain key stays in out alone; what the TLS connection and the HTTP library had of it in their buffers is beyond us.
func (s *session) send(ctx context.Context, method, path string, in, out any) error {
	doing := strings.ToLower(method) + " " + path
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := s.request(ctx, method, path, in)
	if resp != nil && resp.Response != nil && resp.Body != nil {
		defer resp.Body.Close()
	}
	if err != nil {
		return s.classify(ctx, doing, resp, err)
	}
	if out == nil {
		return nil
	}
	body, err := readAnswer(resp.Response)
	defer clear(body)
	if err != nil {
		return s.classify(ctx, doing, nil, err)
	}
	if !decodeData(body, out) {
		return later(customer(backup.CodeBadResponse, s.server.says(doing+" was answered with something that is not understood"), "is this the address of a Vault?"))
	}
	return nil
}

// decodeData decodes an answer's data, and tells whether there was any. The decoder's error is not kept: it may quote the answer.
func decodeData(body []byte, out any) bool {
	answer := struct {
		Data any `json:"data"`
	}{out}
	return json.Unmarshal(body, &answer) == nil && answer.Data != nil
}

func (s *session) request(ctx context.Context, method, path string, in any) (*api.Response, error) {
	switch method {
	case http.MethodGet:
		return s.client.Logical().ReadRawWithContext(ctx, path)
	case http.MethodDelete:
		return s.client.Logical().DeleteRawWithContext(ctx, path)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	return s.client.Logical().WriteRawWithContext(ctx, path, body)
}

var errTooLarge = errors.New("the answer is larger than 1 MiB")

// readAnswer reads a body into one piece of memory, which does not move while it grows and so can be wiped.
func readAnswer(resp *http.Response) ([]byte, error) {
	size := resp.ContentLength
	if size > maxAnswer {
		return nil, errTooLarge
	}
	if size < 0 {
		size = maxAnswer
	}
	buffer := make([]byte, size+1)
	n, err := io.ReadFull(resp.Body, buffer)
	switch {
	case err == nil:
		return buffer, errTooLarge
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && (resp.ContentLength < 0 || int64(n) == resp.ContentLength):
		return bytes.TrimSpace(buffer[:n]), nil
	}
	return buffer, err
}
