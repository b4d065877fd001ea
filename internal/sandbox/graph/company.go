package graph

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
	"github.com/holdfast-backup/holdfast/internal/sandbox/content"
)

// company is everybody and everything, as it is now.
type company struct {
	seed      uint64
	messages  int
	files     int
	users     []*user          // those known to Microsoft 365, in the order of Options.People
	byName    map[string]*user // lower-case id, UPN and mail
	drives    map[string]*user
	signKey   []byte // of cursors and download URLs; made from the seed, so that they outlive a restart
	addresses []content.Address
	directory *directory

	epochs sync.Mutex
	epoch  map[Service]int // generation of delta tokens
}

// Service is a part of a person's data that has its own delta tokens.
type Service string

const (
	Mail  Service = "mail"
	Drive Service = "drive"
	// Directory is nobody's: users/delta; and so is Groups: groups/delta.
	Directory Service = "directory"
	Groups    Service = "groups"
)

// mailboxConcurrency is how many requests of one application a mailbox takes at once.
const mailboxConcurrency = 4

// user is a person in Microsoft 365. Mailbox and drive are made when they are first asked for.
type user struct {
	sandbox.Person
	ids  idSpace
	busy chan struct{}

	company *company
	mail    func() *mailbox
	drive   func() *drive
}

func newCompany(o Options) *company {
	key := sha256.Sum256(fmt.Appendf(nil, "cursors %d %s", o.Seed, o.TenantID))
	c := &company{seed: o.Seed, messages: o.MessagesPerMailbox, files: o.FilesPerDrive, signKey: key[:],
		byName: map[string]*user{}, drives: map[string]*user{}, epoch: map[Service]int{}}
	for _, p := range o.People {
		if p.NoMail {
			continue // not known to Microsoft 365
		}
		u := &user{Person: p, ids: newIDSpace(o.Seed, p.GraphID), busy: make(chan struct{}, mailboxConcurrency), company: c}
		u.mail = sync.OnceValue(func() *mailbox { return newMailbox(u) })
		u.drive = sync.OnceValue(func() *drive { return newDrive(u) })
		c.users = append(c.users, u)
		for _, name := range []string{p.GraphID, p.UPN, p.Mail} {
			c.byName[strings.ToLower(name)] = u
		}
		if !p.NoMailbox {
			c.drives[u.ids.driveID()] = u
		}
		c.addresses = append(c.addresses, content.Address{Name: p.DisplayName(), Mail: p.Mail})
	}
	c.directory = newDirectory(o, c.users)
	return c
}

// lookUp finds who is in the directory under a name: the account as it is now and, for one of the people, what is behind it.
func (c *company) lookUp(name string) (*user, *entry) {
	d := c.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.find(name, false)
	switch {
	case !ok:
		return nil, nil
	case e.n <= len(c.users):
		return c.users[e.n-1], e
	}
	return nil, e
}

// find looks a person up by id, UPN or mail.
func (c *company) find(name string) (*user, bool) {
	u, ok := c.byName[strings.ToLower(name)]
	return u, ok
}

// correspondents are whom a person's mail is from and to; the person comes first.
func (c *company) correspondents(u *user) []content.Address {
	list := make([]content.Address, 1, 9)
	list[0] = content.Address{Name: u.DisplayName(), Mail: u.Mail}
	at := 0
	for i, other := range c.users {
		if other == u {
			at = i
		}
	}
	for i := range min(8, len(c.addresses)) {
		list = append(list, c.addresses[(at+i*i+1)%len(c.addresses)])
	}
	return list
}

func (c *company) currentEpoch(s Service) int {
	c.epochs.Lock()
	defer c.epochs.Unlock()
	return c.epoch[s]
}
