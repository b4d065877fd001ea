package vault

import (
	"sync"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// maxSessions bounds the logins that are kept at a time, each with a goroutine and a few connections.
const maxSessions = 256

// pool shares sessions among tenants that have the same server and login, so that many tenants of one Vault are one client to it.
type pool struct {
	secrets Secrets

	mu       sync.Mutex
	sessions map[sessionKey]*used
	uses     int64
	closed   bool
}

type sessionKey struct {
	Server
	backup.VaultLogin
}

// used is a session and when it was last taken, counted in uses.
type used struct {
	*session
	last int64
}

func newPool(secrets Secrets) *pool {
	return &pool{secrets: secrets, sessions: map[sessionKey]*used{}}
}

// session returns the shared session of a server and login. When there are too many, the one that was not used for longest goes.
func (p *pool) session(server Server, login backup.VaultLogin) (*session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &backup.Error{Code: backup.CodeCancelled, Fault: backup.FaultOurs, Message: "the KMS clients are closed", Retryable: true}
	}
	key := sessionKey{server, login}
	p.uses++
	if u, ok := p.sessions[key]; ok {
		u.last = p.uses
		return u.session, nil
	}
	s, err := newSession(server, login, p.secrets)
	if err != nil {
		return nil, err
	}
	if len(p.sessions) >= maxSessions {
		p.evict()
	}
	p.sessions[key] = &used{s, p.uses}
	return s, nil
}

func (p *pool) evict() {
	var oldest sessionKey
	last := p.uses + 1
	for key, u := range p.sessions {
		if u.last < last {
			oldest, last = key, u.last
		}
	}
	go p.sessions[oldest].close() // it may wait for a renewal that is under way
	delete(p.sessions, oldest)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var all sync.WaitGroup
	for _, u := range p.sessions {
		all.Go(u.session.close)
	}
	all.Wait()
	clear(p.sessions)
}
