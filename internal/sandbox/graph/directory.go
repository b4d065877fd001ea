package graph

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox"
)

// Account is a user of the directory, as OpAddUser and OpEditUser set it.
type Account struct {
	UPN         string   `json:"upn"`
	Mail        string   `json:"mail,omitempty"`
	Aliases     []string `json:"aliases,omitempty"` // addresses besides Mail
	GivenName   string   `json:"givenName,omitempty"`
	Surname     string   `json:"surname,omitempty"`
	DisplayName string   `json:"displayName"`
	Department  string   `json:"department,omitempty"`
	JobTitle    string   `json:"jobTitle,omitempty"`
	EmployeeID  string   `json:"employeeID,omitempty"`
	// ExtensionAttributes are onPremisesExtensionAttributes by their full names: extensionAttribute1 and so on.
	ExtensionAttributes map[string]string `json:"extensionAttributes,omitempty"`
	Disabled            bool              `json:"disabled,omitempty"`
	Guest               bool              `json:"guest,omitempty"`
	Licensed            bool              `json:"licensed,omitempty"`
	// Purpose is the mailbox's userPurpose: user, shared, room, equipment. Empty: there is no mailbox.
	Purpose string `json:"purpose,omitempty"`
}

// whereabouts is where a user is: in the directory, among the deleted, or nowhere.
type whereabouts int

const (
	present whereabouts = iota
	softDeleted
	purged
)

// entry is a user of the directory with its place in the feed.
type entry struct {
	Account
	n       int
	id      string
	seq     uint64
	where   whereabouts
	deleted time.Time
}

// directory is who there is: the company's people, then a crowd that has no mailboxes and is made up when it is looked at, then whoever
// was added. Only what was changed is held. The feed begins with everybody once, in order, and goes on with the log of changes.
type directory struct {
	seed   uint64
	domain string
	people []*user
	crowd  int

	mu      sync.Mutex
	added   int
	changed map[int]*entry
	byName  map[string]int // lower-case id and UPN of changed entries, and of all people
	groups  map[string]*group
	log     feed
	// belongings are who came into which group and left it; their feed names them by their place, from 1.
	belongings []belonging
	newest     map[belonging]uint64
	groupLog   feed
}

func newDirectory(o Options, people []*user) *directory {
	d := &directory{seed: o.Seed, domain: o.Domain, people: people, crowd: o.Crowd, changed: map[int]*entry{}, byName: map[string]int{}, groups: map[string]*group{}, newest: map[belonging]uint64{}}
	for i, u := range people {
		d.byName[strings.ToLower(u.GraphID)], d.byName[strings.ToLower(u.UPN)] = i+1, i+1
	}
	return d
}

// first is how many there were at the beginning, and so the sequence number before the first change.
func (d *directory) first() int { return len(d.people) + d.crowd }

func (d *directory) now() uint64 { return uint64(d.first() + len(d.log)) }

// entry gives the n-th user as it is now; n counts from 1. The caller holds the lock and changes nothing of it.
func (d *directory) entry(n int) *entry {
	if e := d.changed[n]; e != nil {
		return e
	}
	e := &entry{n: n, seq: uint64(n)}
	if n <= len(d.people) {
		e.id, e.Account = d.people[n-1].GraphID, accountOf(d.people[n-1].Person)
		return e
	}
	e.id, e.Account = d.crowdID(n), d.crowdAccount(n)
	return e
}

func accountOf(p sandbox.Person) Account {
	a := Account{UPN: p.UPN, Mail: p.Mail, GivenName: p.GivenName, Surname: p.Surname, DisplayName: p.DisplayName(), Department: p.Department, EmployeeID: p.EmployeeID,
		Disabled: p.Disabled, Licensed: !p.NoMailbox}
	if !p.NoMailbox {
		a.Purpose = "user"
	}
	return a
}

// crowdPrefix begins the login names of the crowd; the number follows.
const crowdPrefix = "crowd"

// crowdAccount makes one of the crowd up from the names of the people. Every 25th is disabled.
func (d *directory) crowdAccount(n int) Account {
	given, sur := d.people[n%len(d.people)], d.people[n/len(d.people)%len(d.people)]
	upn := crowdPrefix + strconv.Itoa(n) + "@" + d.domain
	return Account{UPN: upn, Mail: upn, GivenName: given.GivenName, Surname: sur.Surname, DisplayName: given.GivenName + " " + sur.Surname + " " + strconv.Itoa(n),
		Department: sur.Department, EmployeeID: fmt.Sprintf("C%07d", n), Disabled: n%25 == 0, Licensed: true}
}

// crowdID is a GUID that ends in the number, so that no index of ids is kept.
func (d *directory) crowdID(n int) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], d.seed)
	binary.BigEndian.PutUint64(b[8:], uint64(n))
	h := sha256.Sum256(b[:])
	return fmt.Sprintf("%x-%x-4%03x-8%03x-%012x", h[0:4], h[4:6], binary.BigEndian.Uint16(h[6:])&0xfff, binary.BigEndian.Uint16(h[8:])&0xfff, n)
}

// find looks a user up by id or UPN, in the directory and, where it is wanted, among the deleted.
func (d *directory) find(name string, deleted bool) (*entry, bool) {
	name = strings.ToLower(name)
	n, ok := d.byName[name]
	if !ok {
		if n, ok = d.crowdNumber(name); !ok {
			return nil, false
		}
	}
	e := d.entry(n)
	if e.where == purged || e.where == softDeleted && !deleted {
		return nil, false
	}
	return e, e.id == name || strings.EqualFold(e.UPN, name)
}

// crowdNumber reads the number from one of the crowd's ids or first UPNs.
func (d *directory) crowdNumber(name string) (int, bool) {
	digits, isUPN := strings.CutPrefix(name, crowdPrefix)
	base := 10
	if isUPN {
		digits, _, _ = strings.Cut(digits, "@")
	} else if base = 16; len(name) == 36 {
		digits = name[24:]
	}
	n, err := strconv.ParseInt(digits, base, 32)
	return int(n), err == nil && int(n) > len(d.people) && int(n) <= d.first()
}

// after gives the feed behind a sequence number, stale entries included.
func (d *directory) after(seq uint64) iter.Seq[feedEntry] {
	return func(yield func(feedEntry) bool) {
		for seq < uint64(d.first()) {
			if seq++; !yield(feedEntry{seq, int(seq)}) {
				return
			}
		}
		for _, e := range d.log.after(seq) {
			if !yield(e) {
				return
			}
		}
	}
}

// page is feed.page over both parts of the feed. The caller holds the lock.
func (d *directory) page(c cursor, size int, live func(feedEntry) bool) (list []feedEntry, next uint64, more bool) {
	next = c.Since
	for e := range d.after(c.Since) {
		if !live(e) {
			continue
		}
		if len(list) == size {
			return list, next, true
		}
		list, next = append(list, e), e.seq
	}
	return list, next, false
}

// current tells whether a feed's entry is its user's newest; removals up to floor are not told to who lists from the start.
func (d *directory) current(floor uint64) func(feedEntry) bool {
	return func(f feedEntry) bool {
		e := d.changed[f.n]
		return e == nil || e.seq == f.seq && (e.where == present || e.seq > floor)
	}
}

// numbers lists the users that are in a place, in the order in which they came, behind a number.
func (d *directory) numbers(after int, where whereabouts) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for n := after + 1; n <= d.first()+d.added; n++ {
			if e := d.entry(n); e.where == where && !yield(e) {
				return
			}
		}
	}
}

// size is how many are in the directory.
func (d *directory) size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.first() + d.added
	for _, e := range d.changed {
		if e.where != present {
			n--
		}
	}
	return n
}

// Users is how many users the directory has now, without the deleted.
func (s *Server) Users() int { return s.company.directory.size() }

// Account gives a user of the directory by id or UPN, as it is now.
func (s *Server) Account(name string) (a Account, id string, ok bool) {
	d := s.company.directory
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.find(name, false)
	if !ok {
		return Account{}, "", false
	}
	return e.Account, e.id, true
}
