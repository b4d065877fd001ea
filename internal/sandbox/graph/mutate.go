package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Counts is how many changes of each kind Mutate makes. They are spread over everybody who has a mailbox.
type Counts struct {
	MessagesAdded   int `json:"messagesAdded"`
	MessagesRead    int `json:"messagesRead"`
	MessagesEdited  int `json:"messagesEdited"`
	MessagesMoved   int `json:"messagesMoved"`
	MessagesDeleted int `json:"messagesDeleted"`

	MailFoldersAdded   int `json:"mailFoldersAdded"`
	MailFoldersRenamed int `json:"mailFoldersRenamed"`

	FilesAdded   int `json:"filesAdded"`
	FilesEdited  int `json:"filesEdited"`
	FilesRenamed int `json:"filesRenamed"`
	FilesMoved   int `json:"filesMoved"`
	FilesDeleted int `json:"filesDeleted"`
	FoldersAdded int `json:"foldersAdded"`
}

// SomeOfEverything is a day at work.
func SomeOfEverything() Counts {
	return Counts{MessagesAdded: 6, MessagesRead: 4, MessagesEdited: 2, MessagesMoved: 4, MessagesDeleted: 2, MailFoldersAdded: 1, MailFoldersRenamed: 1,
		FilesAdded: 4, FilesEdited: 3, FilesRenamed: 2, FilesMoved: 2, FilesDeleted: 1, FoldersAdded: 1}
}

// Done is a change that was made, and the id of what it made or changed.
type Done struct {
	Change
	ID string `json:"id"`
}

// maxMutations bounds one call of Mutate.
const maxMutations = 100_000

// Mutate makes changes drawn from the seed and tells which. The same seed on the same state makes the same changes, times excepted.
// A change for which there is nothing left (no file to delete) is left out.
func (s *Server) Mutate(seed uint64, n Counts) ([]Done, error) {
	script := &script{server: s, r: rand.New(rand.NewPCG(seed, 0x6d757461))}
	for _, u := range s.company.users {
		if !u.NoMailbox {
			script.users = append(script.users, u)
		}
	}
	total := 0
	for _, step := range script.steps(n) {
		if step.times < 0 || step.times > maxMutations || len(script.users) == 0 {
			return nil, fmt.Errorf("%d changes cannot be made", step.times)
		}
		total += step.times
	}
	if total > maxMutations {
		return nil, fmt.Errorf("%d changes are more than %d", total, maxMutations)
	}
	for _, step := range script.steps(n) {
		for range step.times {
			if err := script.make(step.change); err != nil {
				return script.done, err
			}
		}
	}
	return script.done, nil
}

// script draws changes.
type script struct {
	server *Server
	r      *rand.Rand
	users  []*user
	done   []Done
}

// step is a kind of change and how often it is made. change fills in what it concerns, and gives false when there is nothing.
type step struct {
	times  int
	change func(*user) (Change, bool)
}

func (s *script) steps(n Counts) []step {
	return []step{
		{n.MailFoldersAdded, s.addMailFolder}, {n.MailFoldersRenamed, s.renameMailFolder},
		{n.MessagesAdded, s.addMessage}, {n.MessagesRead, s.message(OpReadMessage)}, {n.MessagesEdited, s.message(OpEditMessage)},
		{n.MessagesMoved, s.message(OpMoveMessage)}, {n.MessagesDeleted, s.message(OpDeleteMessage)},
		{n.FoldersAdded, s.addFolder}, {n.FilesAdded, s.addFile}, {n.FilesEdited, s.item(OpEditFile)}, {n.FilesRenamed, s.item(OpRenameItem)},
		{n.FilesMoved, s.item(OpMoveItem)}, {n.FilesDeleted, s.item(OpDeleteItem)},
	}
}

func (s *script) make(change func(*user) (Change, bool)) error {
	u := s.users[s.r.IntN(len(s.users))]
	c, ok := change(u)
	if !ok {
		return nil
	}
	c.User = u.UPN
	id, err := s.server.Apply(c)
	if err != nil {
		return err
	}
	s.done = append(s.done, Done{c, id})
	return nil
}

// pickOne draws one of those that fit.
func pickOne[T any](r *rand.Rand, all []T, fits func(T) bool) (T, bool) {
	list := slices.DeleteFunc(slices.Clone(all), func(x T) bool { return !fits(x) })
	if len(list) == 0 {
		var none T
		return none, false
	}
	return list[r.IntN(len(list))], true
}

// drawFolder draws a mail folder that holds messages; own ones only when they are to be changed themselves.
func (s *script) drawFolder(m *mailbox, own bool) (string, bool) {
	f, ok := pickOne(s.r, m.folders, func(f *mailFolder) bool {
		return !f.gone && !f.search && !f.hidden && f.n != rootNumber && (!own || f.wellKnown == "")
	})
	if !ok {
		return "", false
	}
	return m.user.ids.folderID(f.n), true
}

func (s *script) addMailFolder(u *user) (Change, bool) {
	m := u.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	into, ok := s.drawFolder(m, false)
	return Change{Op: OpAddMailFolder, Into: into, Name: fmt.Sprintf("Folder %d", len(m.folders)+1)}, ok
}

func (s *script) renameMailFolder(u *user) (Change, bool) {
	m := u.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	id, ok := s.drawFolder(m, true)
	return Change{Op: OpRenameMailFolder, Item: id, Name: fmt.Sprintf("Renamed %d ✏️", s.r.IntN(1000))}, ok
}

func (s *script) addMessage(u *user) (Change, bool) {
	m := u.mail()
	m.mu.Lock()
	defer m.mu.Unlock()
	into, ok := s.drawFolder(m, false)
	return Change{Op: OpAddMessage, Into: into}, ok
}

func (s *script) message(op Operation) func(*user) (Change, bool) {
	return func(u *user) (Change, bool) {
		m := u.mail()
		m.mu.Lock()
		defer m.mu.Unlock()
		msg, ok := pickOne(s.r, m.messages, func(x *message) bool { return x != nil && (op != OpEditMessage || x.raw == nil) })
		if !ok {
			return Change{}, false
		}
		c := Change{Op: op, Item: u.ids.messageID(msg.n, 0)}
		if op == OpMoveMessage {
			c.Into, ok = s.drawFolder(m, false)
		}
		return c, ok
	}
}

func (s *script) addFolder(u *user) (Change, bool) {
	d := u.drive()
	d.mu.Lock()
	defer d.mu.Unlock()
	return Change{Op: OpAddFolder, Into: s.drawContainer(d), Name: fmt.Sprintf("Folder %d", len(d.items)+1)}, true
}

func (s *script) addFile(u *user) (Change, bool) {
	d := u.drive()
	d.mu.Lock()
	defer d.mu.Unlock()
	return Change{Op: OpAddFile, Into: s.drawContainer(d)}, true
}

// drawContainer draws a folder; there is always the root.
func (s *script) drawContainer(d *drive) string {
	f, _ := pickOne(s.r, d.items, func(it *driveItem) bool { return it.kind == itemFolder && !it.gone })
	return d.user.ids.itemID(f.n)
}

func (s *script) item(op Operation) func(*user) (Change, bool) {
	return func(u *user) (Change, bool) {
		d := u.drive()
		d.mu.Lock()
		defer d.mu.Unlock()
		it, ok := pickOne(s.r, d.items, func(x *driveItem) bool { return x.kind == itemFile && !x.gone && (op != OpEditFile || x.raw == nil) })
		if !ok {
			return Change{}, false
		}
		c := Change{Op: op, Item: u.ids.itemID(it.n)}
		switch op {
		case OpRenameItem:
			c.Name = fmt.Sprintf("renamed %d-%d.dat", it.n, it.edits+1)
		case OpMoveItem:
			c.Into = s.drawContainer(d)
			into, _ := d.item(c.Into)
			ok = !d.taken(into, it.name, it)
		}
		return c, ok
	}
}
