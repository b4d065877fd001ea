package graph

import (
	"fmt"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/sandbox/content"
)

// mailbox is a person's mail: a tree of folders and messages by number. Numbers start at 1 and are never reused.
type mailbox struct {
	mu       sync.Mutex
	user     *user
	people   []content.Address // whom its mail is from and to
	seq      uint64
	folders  []*mailFolder // folder n stands at n-1
	messages []*message    // message n stands at n-1; nil: gone for good
	tree     feed          // of the folders
}

// mailFolder is one folder. A removed one stays as a stub, so that delta calls can tell of it.
type mailFolder struct {
	n, parent int
	name      string
	wellKnown string // inbox, drafts, ...; also an id
	hidden    bool
	search    bool // a saved search: it shows messages of other folders and holds none
	gone      bool
	seq       uint64
	feed      feed
	// left are messages that were moved away or removed, with the number of that change.
	left map[int]uint64
}

// message is one message. Its bytes are made from the key, or are raw when they were put in as they are.
type message struct {
	n, folder int
	version   int // of the content
	edits     int // of anything; with version it makes the changeKey
	seq       uint64
	read      bool
	sent      bool // by the mailbox's owner
	created   time.Time
	modified  time.Time
	raw       *blob
	head      *content.Mail // of a raw message: what its header says
}

// Folder numbers of what every mailbox has.
const (
	rootNumber = iota + 1
	inboxNumber
	draftsNumber
	sentNumber
	deletedNumber
	archiveNumber
	junkNumber
	recoverableNumber
	hiddenNumber
	searchNumber
	projectsNumber
	firstOwnNumber
)

// standardFolders in the order of the numbers above.
var standardFolders = []mailFolder{
	{name: "Top of Information Store", wellKnown: "msgfolderroot"},
	{parent: rootNumber, name: "Inbox", wellKnown: "inbox"},
	{parent: rootNumber, name: "Drafts", wellKnown: "drafts"},
	{parent: rootNumber, name: "Sent Items", wellKnown: "sentitems"},
	{parent: rootNumber, name: "Deleted Items", wellKnown: "deleteditems"},
	{parent: rootNumber, name: "Archive", wellKnown: "archive"},
	{parent: rootNumber, name: "Junk Email", wellKnown: "junkemail"},
	{parent: rootNumber, name: "Deletions", wellKnown: "recoverableitemsdeletions", hidden: true},
	{parent: rootNumber, name: "Conversation Action Settings", hidden: true},
	{parent: rootNumber, name: "Unread Mail", search: true},
	{parent: inboxNumber, name: "Projects"},
	// Own folders: a tree with names that are awkward as file names.
	{parent: projectsNumber, name: "2026: Q1/Q2 \"Review\""},
	{parent: projectsNumber, name: "Überblick 📬"},
	{parent: firstOwnNumber, name: "מסמכים"},
}

// spread says which folder a mailbox's first messages go to: half to the inbox.
var spread = []int{inboxNumber, sentNumber, inboxNumber, projectsNumber, inboxNumber, firstOwnNumber, inboxNumber, firstOwnNumber + 1, inboxNumber, firstOwnNumber + 2,
	inboxNumber, sentNumber, inboxNumber, archiveNumber, inboxNumber, deletedNumber, inboxNumber, hiddenNumber, inboxNumber, sentNumber}

// newMailbox makes a mailbox as it was on the first day.
func newMailbox(u *user) *mailbox {
	m := &mailbox{user: u, people: u.company.correspondents(u)}
	for _, f := range standardFolders {
		m.putFolder(&f)
	}
	for i := range u.company.messages {
		folder := spread[i%len(spread)]
		m.putMessage(&message{folder: folder, read: i%3 != 0, sent: folder == sentNumber})
	}
	return m
}

func (m *mailbox) next() uint64 {
	m.seq++
	return m.seq
}

func (m *mailbox) putFolder(f *mailFolder) {
	f.n, f.left = len(m.folders)+1, map[int]uint64{}
	m.folders = append(m.folders, f)
	m.touchFolder(f)
}

func (m *mailbox) touchFolder(f *mailFolder) {
	f.seq = m.next()
	m.tree.note(f.seq, f.n)
}

func (m *mailbox) putMessage(msg *message) {
	msg.n = len(m.messages) + 1
	m.messages = append(m.messages, msg)
	if msg.created.IsZero() {
		msg.created = m.mail(msg).Sent.Add(2 * time.Second)
		msg.modified = msg.created
	}
	m.touchMessage(msg)
}

func (m *mailbox) touchMessage(msg *message) {
	msg.seq = m.next()
	f := m.folders[msg.folder-1]
	delete(f.left, msg.n)
	f.feed.note(msg.seq, msg.n)
}

// leave notes that a message is no longer in its folder.
func (m *mailbox) leave(msg *message) {
	f := m.folders[msg.folder-1]
	f.left[msg.n] = m.next()
	f.feed.note(m.seq, msg.n)
}

// live tells whether a feed entry is its message's newest in this folder, and not a removal that nobody needs to hear of.
func (m *mailbox) live(f *mailFolder, floor uint64) func(feedEntry) bool {
	return func(e feedEntry) bool {
		if left, ok := f.left[e.n]; ok {
			return left == e.seq && e.seq > floor
		}
		msg := m.messages[e.n-1]
		return msg != nil && msg.folder == f.n && msg.seq == e.seq
	}
}

// message finds a message by either form of its id; the default form is good only while it is in that folder.
func (m *mailbox) message(id string) (*message, *apiError) {
	n, folder, ok := m.user.ids.parseMessageID(id)
	if !ok {
		return nil, badRequest("ErrorInvalidIdMalformed", "Id is malformed.")
	}
	if n < 1 || n > len(m.messages) || m.messages[n-1] == nil || folder != 0 && m.messages[n-1].folder != folder {
		return nil, notFound("ErrorItemNotFound", "The specified object was not found in the store.")
	}
	return m.messages[n-1], nil
}

// folder finds a folder by id or well-known name.
func (m *mailbox) folder(id string) (*mailFolder, *apiError) {
	i := slices.IndexFunc(m.folders, func(f *mailFolder) bool { return f.wellKnown != "" && strings.EqualFold(f.wellKnown, id) })
	if i < 0 {
		n, ok := m.user.ids.parseFolderID(id)
		if !ok {
			return nil, badRequest("ErrorInvalidIdMalformed", "Id is malformed.")
		}
		i = n - 1
	}
	if i < 0 || i >= len(m.folders) || m.folders[i].gone {
		return nil, notFound("ErrorItemNotFound", "The specified object was not found in the store., The process failed to get the correct properties.")
	}
	return m.folders[i], nil
}

// path is the folder's names from the top, without the root.
func (m *mailbox) path(f *mailFolder) []string {
	var names []string
	for ; f.n != rootNumber; f = m.folders[f.parent-1] {
		names = append(names, f.name)
	}
	slices.Reverse(names)
	return names
}

// mail is what a message says of itself; for a raw one, what could be read of its header.
func (m *mailbox) mail(msg *message) content.Mail {
	if msg.head != nil {
		return *msg.head
	}
	key := content.Key{Seed: m.user.company.seed, ID: fmt.Sprintf("%s/mail/%d", m.user.GraphID, msg.n), Version: msg.version}
	mail := content.NewMail(key, m.people)
	if msg.sent {
		mail.From, mail.To = mail.To[0], []content.Address{mail.From}
	}
	return mail
}

// bytes are the message as $value gives it.
func (m *mailbox) bytes(msg message) ([]byte, error) {
	if msg.raw != nil {
		return msg.raw.read()
	}
	return m.mail(&msg).Bytes(), nil
}

// maxHead bounds how much of a raw message is searched for its header, in bytes.
const maxHead = 256 << 10

// readHead reads the header of mail that somebody else wrote. Whatever cannot be read is left out: such mail exists.
func readHead(raw []byte, at time.Time) *content.Mail {
	head := &content.Mail{Sent: at, From: content.Address{Name: "unknown", Mail: "unknown@mail.example"}}
	if slices.ContainsFunc(readAttachments(raw), func(a attachment) bool { return !a.inline }) {
		head.Shape = content.WithFiles
	}
	parsed, err := mail.ReadMessage(strings.NewReader(string(raw[:min(len(raw), maxHead)])))
	if err != nil {
		return head
	}
	h := parsed.Header
	head.Subject = decodeWords(h.Get("Subject"))
	head.MessageID = strings.Trim(h.Get("Message-Id"), "<> \t")
	if from, err := mail.ParseAddress(h.Get("From")); err == nil {
		head.From = content.Address{Name: from.Name, Mail: from.Address}
	}
	if to, err := h.AddressList("To"); err == nil {
		for _, a := range to[:min(len(to), 50)] {
			head.To = append(head.To, content.Address{Name: a.Name, Mail: a.Address})
		}
	}
	if sent, err := h.Date(); err == nil && sent.Year() > 1970 && sent.Year() < 2100 {
		head.Sent = sent.UTC()
	}
	return head
}

// decodeWords undoes RFC 2047; what cannot be decoded stays as it is.
func decodeWords(s string) string {
	plain, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		return s
	}
	return plain
}
