package graph

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Operation is a kind of change.
type Operation string

const (
	// AddMessage adds a message to the folder Into: made up, or Raw as it is.
	OpAddMessage Operation = "message.add"
	// OpEditMessage gives a message other text, as when a draft is written on. Raw ones cannot be edited.
	OpEditMessage Operation = "message.edit"
	// OpReadMessage turns the read flag over.
	OpReadMessage   Operation = "message.read"
	OpMoveMessage   Operation = "message.move"
	OpDeleteMessage Operation = "message.delete" // for good; a move to deleteditems is what a person does first

	OpAddMailFolder    Operation = "mailfolder.add" // Name below Into
	OpRenameMailFolder Operation = "mailfolder.rename"
	OpMoveMailFolder   Operation = "mailfolder.move"
	OpDeleteMailFolder Operation = "mailfolder.delete" // with everything in it

	// OpAddFile adds a file to the folder Into: made up, or Raw as it is under Name.
	OpAddFile    Operation = "file.add"
	OpEditFile   Operation = "file.edit"
	OpAddFolder  Operation = "folder.add"
	OpRenameItem Operation = "item.rename" // a file or folder
	OpMoveItem   Operation = "item.move"
	OpDeleteItem Operation = "item.delete" // a folder with everything in it

	// OpExpireDeltas makes every delta token of Service issued so far expire.
	OpExpireDeltas Operation = "deltas.expire"
)

// Change is one change of the company. As JSON it is a line of the state file and the body of a call of the administration endpoint.
type Change struct {
	Op Operation `json:"op"`
	// User is whose mailbox or drive changes: id, UPN or mail.
	User string `json:"user,omitempty"`
	// Item is the message, folder or file by id; Into the folder it goes to. A mail folder may also be given as a well-known name or as
	// a path below the top ("Inbox/Projects"), a drive item as a path below the root ("Documents/offer.txt") or "root".
	Item string `json:"item,omitempty"`
	Into string `json:"into,omitempty"`
	Name string `json:"name,omitempty"`
	// Account is for OpAddUser and OpEditUser.
	Account *Account `json:"account,omitempty"`
	// Service is for OpExpireDeltas.
	Service Service `json:"service,omitempty"`
	// At is when it happened; filled in when it is zero.
	At time.Time `json:"at,omitzero"`
	// RawSHA256 names content that was put in as it is; filled in by the server.
	RawSHA256 string `json:"rawSHA256,omitempty"`

	raw *blob
}

// Apply makes one change and gives the id of the thing changed, in its immutable form. The change is in the state file when Apply returns.
func (s *Server) Apply(c Change) (id string, err error) { return s.journal.apply(c) }

// AddMessage puts a message into a mail folder as it is; $value gives back the same bytes.
func (s *Server) AddMessage(user, folder string, raw []byte) (id string, err error) {
	return s.addRaw(Change{Op: OpAddMessage, User: user, Into: folder}, raw)
}

// AddFile puts a file into a drive's folder as it is.
func (s *Server) AddFile(user, folder, name string, raw []byte) (id string, err error) {
	return s.addRaw(Change{Op: OpAddFile, User: user, Into: folder, Name: name}, raw)
}

func (s *Server) addRaw(c Change, raw []byte) (string, error) {
	b, err := newBlob(raw, s.journal.rawDir())
	if err != nil {
		return "", err
	}
	c.raw, c.RawSHA256 = b, b.sha256
	return s.journal.apply(c)
}

// ExpireDeltas makes every delta token of a service issued so far answer 410 Gone.
func (s *Server) ExpireDeltas(service Service) error {
	_, err := s.Apply(Change{Op: OpExpireDeltas, Service: service})
	return err
}

// apply makes the change in memory. It changes nothing when it fails.
func (c *company) apply(ch Change) (string, error) {
	if id, known, err := c.directory.apply(ch); known {
		return id, err
	}
	if ch.Op == OpExpireDeltas {
		if !slices.Contains([]Service{Mail, Drive, Directory, Groups}, ch.Service) {
			return "", fmt.Errorf("%s: there is no service %q", ch.Op, ch.Service)
		}
		c.epochs.Lock()
		defer c.epochs.Unlock()
		c.epoch[ch.Service]++
		return "", nil
	}
	u, ok := c.find(ch.User)
	if !ok || u.NoMailbox {
		return "", fmt.Errorf("%s: nobody called %q has a mailbox and a drive", ch.Op, ch.User)
	}
	id, err := u.apply(ch)
	if err != nil {
		return "", fmt.Errorf("%s of %s: %w", ch.Op, u.UPN, err)
	}
	return id, nil
}

func (u *user) apply(ch Change) (string, error) {
	switch ch.Op {
	case OpAddMessage, OpEditMessage, OpReadMessage, OpMoveMessage, OpDeleteMessage:
		m := u.mail()
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.changeMessage(ch)
	case OpAddMailFolder, OpRenameMailFolder, OpMoveMailFolder, OpDeleteMailFolder:
		m := u.mail()
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.changeFolder(ch)
	case OpAddFile, OpEditFile, OpAddFolder, OpRenameItem, OpMoveItem, OpDeleteItem:
		d := u.drive()
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.change(ch)
	}
	return "", fmt.Errorf("unknown operation %q", ch.Op)
}

func (m *mailbox) changeMessage(ch Change) (string, error) {
	var into *mailFolder
	if ch.Op == OpAddMessage || ch.Op == OpMoveMessage {
		var err error
		if into, err = m.resolveFolder(ch.Into); err != nil {
			return "", err
		}
		if into.search || into.n == rootNumber {
			return "", fmt.Errorf("the folder %q holds no messages", into.name)
		}
	}
	if ch.Op == OpAddMessage {
		msg := &message{folder: into.n, raw: ch.raw, created: ch.At, modified: ch.At}
		if ch.raw != nil {
			raw, err := ch.raw.read()
			if err != nil {
				return "", err
			}
			msg.head = readHead(raw, ch.At)
		}
		m.putMessage(msg)
		return m.user.ids.messageID(msg.n, 0), nil
	}
	msg, e := m.message(ch.Item)
	if e != nil {
		return "", e
	}
	switch ch.Op {
	case OpEditMessage:
		if msg.raw != nil {
			return "", fmt.Errorf("a message that was put in as it is cannot be edited")
		}
		msg.version++
	case OpReadMessage:
		msg.read = !msg.read
	case OpMoveMessage:
		if msg.folder != into.n {
			m.leave(msg)
			msg.folder = into.n
		}
	case OpDeleteMessage:
		m.leave(msg)
		m.messages[msg.n-1] = nil
		return m.user.ids.messageID(msg.n, 0), nil
	}
	msg.edits++
	msg.modified = ch.At
	m.touchMessage(msg)
	return m.user.ids.messageID(msg.n, 0), nil
}

// resolveFolder finds a folder by id, well-known name or path below the top.
func (m *mailbox) resolveFolder(name string) (*mailFolder, error) {
	if f, e := m.folder(name); e == nil {
		return f, nil
	}
	for _, f := range m.folders {
		if !f.gone && f.n != rootNumber && strings.EqualFold(strings.Join(m.path(f), "/"), name) {
			return f, nil
		}
	}
	return nil, fmt.Errorf("there is no mail folder %q", name)
}

func (m *mailbox) changeFolder(ch Change) (string, error) {
	var into, f *mailFolder
	var err error
	if ch.Op == OpAddMailFolder || ch.Op == OpMoveMailFolder {
		if into, err = m.resolveFolder(ch.Into); err != nil {
			return "", err
		}
	}
	if ch.Op == OpAddMailFolder {
		if ch.Name == "" {
			return "", fmt.Errorf("a folder needs a name")
		}
		f = &mailFolder{parent: into.n, name: ch.Name}
		m.putFolder(f)
		return m.user.ids.folderID(f.n), nil
	}
	if f, err = m.resolveFolder(ch.Item); err != nil {
		return "", err
	}
	if f.wellKnown != "" {
		return "", fmt.Errorf("the folder %q cannot be changed", f.wellKnown)
	}
	switch ch.Op {
	case OpRenameMailFolder:
		f.name = ch.Name
	case OpMoveMailFolder:
		if m.below(into, f) {
			return "", fmt.Errorf("a folder cannot move into itself")
		}
		f.parent = into.n
	case OpDeleteMailFolder:
		m.deleteFolder(f)
		return m.user.ids.folderID(f.n), nil
	}
	m.touchFolder(f)
	return m.user.ids.folderID(f.n), nil
}

// below tells whether a folder is another or lies below it.
func (m *mailbox) below(f, top *mailFolder) bool {
	for ; f.n != rootNumber; f = m.folders[f.parent-1] {
		if f == top {
			return true
		}
	}
	return false
}

func (m *mailbox) deleteFolder(f *mailFolder) {
	for _, child := range m.folders {
		if child.parent == f.n && !child.gone {
			m.deleteFolder(child)
		}
	}
	for i, msg := range m.messages {
		if msg != nil && msg.folder == f.n {
			m.leave(msg)
			m.messages[i] = nil
		}
	}
	f.gone = true
	m.touchFolder(f)
}

func (d *drive) change(ch Change) (string, error) {
	var into, it *driveItem
	var err error
	if ch.Op == OpAddFile || ch.Op == OpAddFolder || ch.Op == OpMoveItem {
		if into, err = d.resolve(ch.Into); err != nil {
			return "", err
		}
		if !into.container() {
			return "", fmt.Errorf("%q is no folder", into.name)
		}
	}
	switch ch.Op {
	case OpAddFile:
		return d.addFile(into, ch)
	case OpAddFolder:
		if ch.Name == "" || strings.Contains(ch.Name, "/") || d.taken(into, ch.Name, nil) {
			return "", fmt.Errorf("there is a %q already, or it is no name", ch.Name)
		}
		return d.user.ids.itemID(d.put(&driveItem{kind: itemFolder, name: ch.Name, parent: into.n, created: ch.At})), nil
	}
	if it, err = d.resolve(ch.Item); err != nil {
		return "", err
	}
	return d.changeItem(it, into, ch)
}

func (d *drive) addFile(into *driveItem, ch Change) (string, error) {
	if ch.raw == nil {
		n := d.putFile(into.n, ch.Name, len(d.items), ch.At)
		return d.user.ids.itemID(n), nil
	}
	if ch.Name == "" || strings.Contains(ch.Name, "/") || d.taken(into, ch.Name, nil) {
		return "", fmt.Errorf("there is a %q already, or it is no name", ch.Name)
	}
	n := d.put(&driveItem{kind: itemFile, name: ch.Name, parent: into.n, raw: ch.raw, created: ch.At})
	return d.user.ids.itemID(n), nil
}

func (d *drive) changeItem(it, into *driveItem, ch Change) (string, error) {
	if it.n == 1 {
		return "", fmt.Errorf("the root cannot be changed")
	}
	switch ch.Op {
	case OpEditFile:
		if it.kind != itemFile || it.raw != nil {
			return "", fmt.Errorf("%q is not a file that was made up", it.name)
		}
		it.version++
	case OpRenameItem:
		if ch.Name == "" || strings.Contains(ch.Name, "/") || d.taken(d.items[it.parent-1], ch.Name, it) {
			return "", fmt.Errorf("there is a %q already, or it is no name", ch.Name)
		}
		it.name = ch.Name
	case OpMoveItem:
		if d.within(into, it) || d.taken(into, it.name, it) {
			return "", fmt.Errorf("%q cannot move there", it.name)
		}
		it.parent = into.n
	case OpDeleteItem:
		d.deleteItem(it)
		return d.user.ids.itemID(it.n), nil
	}
	it.edits++
	it.modified = ch.At
	d.touch(it)
	return d.user.ids.itemID(it.n), nil
}

// taken tells whether a folder has another child of that name; names differ in more than case.
func (d *drive) taken(folder *driveItem, name string, except *driveItem) bool {
	return slices.ContainsFunc(d.children(folder.n), func(it *driveItem) bool { return it != except && strings.EqualFold(it.name, name) })
}

func (d *drive) deleteItem(it *driveItem) {
	for _, child := range d.children(it.n) {
		d.deleteItem(child)
	}
	it.gone = true
	d.touch(it)
}

// resolve finds an item by id or path below the root.
func (d *drive) resolve(name string) (*driveItem, error) {
	if it, e := d.item(name); e == nil {
		return it, nil
	}
	for _, it := range d.items {
		if !it.gone && it.n != 1 && strings.EqualFold(strings.Join(d.path(it), "/"), name) {
			return it, nil
		}
	}
	return nil, fmt.Errorf("there is no file or folder %q", name)
}
