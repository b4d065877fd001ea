package graph

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
)

// LiveMessage is a message as it is now, for comparison with what was backed up or restored.
type LiveMessage struct {
	ID      string   `json:"id"`     // immutable form
	Folder  []string `json:"folder"` // names from the top
	Hidden  bool     `json:"hidden,omitempty"`
	Subject string   `json:"subject"`
	Read    bool     `json:"read"`
	Size    int64    `json:"size"`   // of the bytes that $value gives
	SHA256  string   `json:"sha256"` // of the same, in hex
}

// LiveFile is an item of a drive as it is now. Kind tells files from folders and from items whose content cannot be had.
type LiveFile struct {
	ID     string   `json:"id"`
	Path   []string `json:"path"` // names from the root
	Kind   string   `json:"kind"` // file, folder, malware, shortcut, package
	Size   int64    `json:"size"`
	SHA256 string   `json:"sha256,omitempty"`
}

func (s *Server) owner(name string) (*user, error) {
	u, ok := s.company.find(name)
	if !ok || u.NoMailbox {
		return nil, fmt.Errorf("nobody called %q has a mailbox and a drive", name)
	}
	return u, nil
}

// Messages lists a mailbox.
func (s *Server) Messages(user string) ([]LiveMessage, error) {
	u, err := s.owner(user)
	if err != nil {
		return nil, err
	}
	list, copies := u.mail().listLive()
	for i := range list {
		b, err := u.mail().bytes(copies[i])
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		list[i].Size, list[i].SHA256 = int64(len(b)), hex.EncodeToString(sum[:])
	}
	return list, nil
}

// listLive lists the messages without their bytes, which are then made from the copies without the lock.
func (m *mailbox) listLive() (list []LiveMessage, copies []message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.messages {
		if msg == nil {
			continue
		}
		f := m.folders[msg.folder-1]
		list = append(list, LiveMessage{ID: m.user.ids.messageID(msg.n, 0), Folder: m.path(f), Hidden: m.hidden(f), Subject: m.mail(msg).Subject, Read: msg.read})
		copies = append(copies, *msg)
	}
	return list, copies
}

// hidden tells whether a folder or one above it is hidden.
func (m *mailbox) hidden(f *mailFolder) bool {
	for ; f.n != rootNumber; f = m.folders[f.parent-1] {
		if f.hidden {
			return true
		}
	}
	return false
}

// OpenMessage gives the bytes of a message, as $value does.
func (s *Server) OpenMessage(user, id string) (io.Reader, error) {
	u, err := s.owner(user)
	if err != nil {
		return nil, err
	}
	m := u.mail()
	m.mu.Lock()
	msg, e := m.message(id)
	if e != nil {
		m.mu.Unlock()
		return nil, e
	}
	found := *msg
	m.mu.Unlock()
	b, err := m.bytes(found)
	return bytes.NewReader(b), err
}

// Files lists a drive.
func (s *Server) Files(user string) ([]LiveFile, error) {
	u, err := s.owner(user)
	if err != nil {
		return nil, err
	}
	list, copies := u.drive().listLive()
	for i := range list {
		if copies[i].kind != itemFile && copies[i].kind != itemMalware {
			continue
		}
		if list[i].SHA256, err = hashOf(copies[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (d *drive) listLive() (list []LiveFile, copies []driveItem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, it := range d.items {
		if it.gone || it.n == 1 {
			continue
		}
		list = append(list, LiveFile{ID: d.user.ids.itemID(it.n), Path: d.path(it), Kind: string(it.kind), Size: it.size()})
		copies = append(copies, *it)
	}
	return list, copies
}

func hashOf(it driveItem) (string, error) {
	r, err := it.open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// OpenFile gives the content of a file, that of a malware item included. The caller closes it.
func (s *Server) OpenFile(user, id string) (io.ReadSeekCloser, error) {
	u, err := s.owner(user)
	if err != nil {
		return nil, err
	}
	d := u.drive()
	d.mu.Lock()
	defer d.mu.Unlock()
	it, err := d.resolve(id)
	if err != nil {
		return nil, err
	}
	if it.kind != itemFile && it.kind != itemMalware {
		return nil, fmt.Errorf("%q has no content", it.name)
	}
	return (*it).open()
}
