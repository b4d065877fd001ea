package ledger

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/backup"
)

// release is a line of a connector's own log of releases. The connector's side writes it; this is what is read of it here.
type release struct {
	Connector  string            `json:"connector"`
	Tenant     string            `json:"tenant"`
	Generation int               `json:"generation"`
	Purpose    backup.KeyPurpose `json:"purpose"`
	WorkflowID string            `json:"workflowID"`
	RunID      string            `json:"runID"`
	Attempt    int               `json:"attempt"`
	Requester  string            `json:"requester"` // the worker's public identity
	Nonce      string            `json:"nonce"`
	Until      time.Time         `json:"until"`
}

const (
	// maxReleaseLine bounds a line in bytes; a right one has about 500.
	maxReleaseLine = 16 << 10
	// MaxReleases bounds the lines of one file, each of which takes about 50 bytes of memory.
	MaxReleases = 2_000_000
	// MaxDifferences bounds the differences that a comparison lists; all are counted.
	MaxDifferences = 1000
)

// DifferenceKind is how a connector's log and ours differ.
type DifferenceKind string

const (
	OnlyOurs   DifferenceKind = "only_ours"   // we have a receipt of what the connector did not release
	OnlyTheirs DifferenceKind = "only_theirs" // the connector released what we have no receipt of
	Differs    DifferenceKind = "differs"     // both have it and say different things
	Twice      DifferenceKind = "twice"       // the connector released twice for one request
)

// Difference is one of them.
type Difference struct {
	Kind   DifferenceKind `json:"kind"`
	Nonce  string         `json:"nonce"`
	Number int64          `json:"number,omitempty"` // of our receipt
	Line   int64          `json:"line,omitempty"`   // of the connector's file, from 1
	Fields []FieldPair    `json:"fields,omitempty"`
}

// FieldPair is a field of which both say different things.
type FieldPair struct {
	Name   string `json:"name"`
	Ours   string `json:"ours"`
	Theirs string `json:"theirs"`
}

// String says it in a sentence for a person.
func (d Difference) String() string {
	switch d.Kind {
	case OnlyOurs:
		return fmt.Sprintf("receipt %d is not in the connector's log", d.Number)
	case OnlyTheirs:
		return fmt.Sprintf("line %d of the connector's log has no receipt here", d.Line)
	case Twice:
		return fmt.Sprintf("line %d of the connector's log is a second release for one request", d.Line)
	}
	said := make([]string, len(d.Fields))
	for i, f := range d.Fields {
		said[i] = fmt.Sprintf("%s is %q here and %q there", f.Name, f.Ours, f.Theirs)
	}
	return fmt.Sprintf("receipt %d and line %d differ: %s", d.Number, d.Line, strings.Join(said, ", "))
}

// Comparison is what comparing a connector's log with ours found.
type Comparison struct {
	Connectors []string `json:"connectors"` // whose log it is
	Lines      int64    `json:"lines"`      // releases of the tenant in the connector's log
	Receipts   int64    `json:"receipts"`   // receipts of ours that should be there
	Matching   int64    `json:"matching"`
	// Late are releases for requests that another connector had answered first.
	Late int64 `json:"late,omitempty"`
	// Torn tells that the last line breaks off, as it does when the connector was killed or is writing. Unreadable counts other lines
	// that are none: a connector that was killed leaves half a line, and releases nothing before its line is whole.
	Torn       bool  `json:"torn,omitempty"`
	Unreadable int64 `json:"unreadable,omitempty"`
	// Differences are at most MaxDifferences of Different.
	Different   int64        `json:"different"`
	Differences []Difference `json:"differences"`
}

// OK tells that both logs say the same.
func (c Comparison) OK() bool { return c.Different == 0 }

// nonceKey stands for a nonce of whatever length.
type nonceKey [16]byte

func keyOf(nonce string) nonceKey {
	sum := sha256.Sum256([]byte(nonce))
	return nonceKey(sum[:16])
}

// place is where a line stands in the file.
type place struct {
	offset int64
	line   int64
}

// Copy is a connector's own log of a tenant's releases, to be compared with ours receipt by receipt. It keeps where each line is, and
// reads the line again when its receipt comes.
type Copy struct {
	tenant string
	file   io.ReaderAt
	lines  map[nonceKey]place
	found  Comparison
	// readable tells that a line is a connector's, of whatever tenant.
	readable bool
}

// OpenCopy reads a connector's log of releases: JSON lines. Lines of other tenants and of requests that release nothing are left out.
// CodeBadConfig when the file has more than MaxReleases lines, or is something else.
func OpenCopy(tenant string, file io.ReaderAt, size int64) (*Copy, error) {
	c := &Copy{tenant: tenant, file: file, lines: map[nonceKey]place{}, found: Comparison{Connectors: []string{}, Differences: []Difference{}}}
	r := bufio.NewReaderSize(io.NewSectionReader(file, 0, size), maxReleaseLine)
	at := place{line: 1}
	for ; ; at.line++ {
		line, length, err := readLine(r)
		if length > 0 {
			c.take(line, at, errors.Is(err, io.EOF))
		}
		switch {
		case errors.Is(err, io.EOF) && c.found.Unreadable > 0 && !c.readable:
			return nil, notACopy("none of the file's lines is a connector's")
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			return nil, err
		case at.line >= MaxReleases:
			return nil, notACopy(fmt.Sprintf("the file has more than %d lines", MaxReleases))
		}
		at.offset += length
	}
}

func notACopy(message string) error {
	return &backup.Error{Code: backup.CodeBadConfig, Fault: backup.FaultCustomer, Message: message, Hint: "give the file releases.jsonl of a connector's folder"}
}

// readLine reads a line with its end; of one that is too long nothing is kept but its length. The last line ends with io.EOF.
func readLine(r *bufio.Reader) (line []byte, length int64, err error) {
	for {
		part, err := r.ReadSlice('\n')
		length += int64(len(part))
		if !errors.Is(err, bufio.ErrBufferFull) {
			if length > int64(len(part)) {
				return nil, length, err
			}
			return part, length, err
		}
	}
}

// take remembers a line's place.
func (c *Copy) take(line []byte, at place, last bool) {
	if line != nil && len(bytes.TrimSpace(line)) == 0 {
		return
	}
	var r release
	if json.Unmarshal(line, &r) != nil || r.Nonce == "" || r.Connector == "" {
		if last {
			c.found.Torn = true
		} else {
			c.found.Unreadable++
		}
		return
	}
	c.readable = true
	if r.Tenant != c.tenant || !releases(r.Purpose) {
		return
	}
	c.found.Lines++
	if !slices.Contains(c.found.Connectors, r.Connector) && len(c.found.Connectors) < 100 {
		c.found.Connectors = append(c.found.Connectors, r.Connector)
	}
	key := keyOf(r.Nonce)
	if _, again := c.lines[key]; again {
		c.differ(Difference{Kind: Twice, Nonce: r.Nonce, Line: at.line})
		return
	}
	c.lines[key] = at
}

// releases tells whether a request of this purpose gives the ekey to whoever asks.
func releases(p backup.KeyPurpose) bool {
	switch p {
	case backup.PurposeProvision, backup.PurposeBackup, backup.PurposeRestore, backup.PurposeVerify, backup.PurposeRotate:
		return true
	}
	return false
}

// Receipt compares one of our receipts with the connector's line of it.
func (c *Copy) Receipt(r backup.Receipt) error {
	if r.Method != backup.KeyByConnector {
		return nil
	}
	at, there := c.lines[keyOf(r.Nonce)]
	name, _ := strings.CutPrefix(r.Holder, "connector ")
	mine := len(c.found.Connectors) == 0 || slices.Contains(c.found.Connectors, name)
	switch {
	case !there && mine:
		c.found.Receipts++
		c.differ(Difference{Kind: OnlyOurs, Nonce: r.Nonce, Number: r.Number})
		return nil
	case !there:
		return nil
	}
	delete(c.lines, keyOf(r.Nonce))
	line, err := c.read(at)
	if err != nil {
		return err
	}
	if line.Connector != name && !mine {
		c.found.Late++
		return nil
	}
	c.found.Receipts++
	if fields := compare(r, line); len(fields) > 0 {
		c.differ(Difference{Kind: Differs, Nonce: r.Nonce, Number: r.Number, Line: at.line, Fields: fields})
	} else {
		c.found.Matching++
	}
	return nil
}

func (c *Copy) read(at place) (r release, err error) {
	line, _, err := readLine(bufio.NewReaderSize(io.NewSectionReader(c.file, at.offset, maxReleaseLine), maxReleaseLine))
	if err != nil && !errors.Is(err, io.EOF) {
		return r, err
	}
	return r, json.Unmarshal(line, &r)
}

// compare lists what a receipt and the connector's line of it say differently. The times of release are two clocks' and are not compared.
func compare(ours backup.Receipt, theirs release) (fields []FieldPair) {
	requester := theirs.Requester
	if strings.HasPrefix(requester, ours.Requester) && ours.Requester != "" {
		requester = ours.Requester // ours is the short form
	}
	for _, f := range []FieldPair{
		{"generation", fmt.Sprint(ours.Generation), fmt.Sprint(theirs.Generation)},
		{"purpose", string(ours.Purpose), string(theirs.Purpose)},
		{"workflow", ours.WorkflowID, theirs.WorkflowID},
		{"run", ours.RunID, theirs.RunID},
		{"attempt", fmt.Sprint(ours.Attempt), fmt.Sprint(theirs.Attempt)},
		{"holder", ours.Holder, "connector " + theirs.Connector},
		{"requester", ours.Requester, requester},
		{"until", milliseconds(ours.Until), milliseconds(theirs.Until)},
	} {
		if f.Ours != f.Theirs {
			fields = append(fields, f)
		}
	}
	return fields
}

// milliseconds is a time as a request carries it.
func milliseconds(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
}

func (c *Copy) differ(d Difference) {
	c.found.Different++
	if len(c.found.Differences) < MaxDifferences {
		c.found.Differences = append(c.found.Differences, d)
	}
}

// Conclude tells what was found, once all of our receipts were compared.
func (c *Copy) Conclude() (Comparison, error) {
	rest := make([]place, 0, len(c.lines))
	for _, at := range c.lines {
		rest = append(rest, at)
	}
	slices.SortFunc(rest, func(a, b place) int { return cmp.Compare(a.line, b.line) })
	for _, at := range rest {
		d := Difference{Kind: OnlyTheirs, Line: at.line}
		if len(c.found.Differences) < MaxDifferences {
			line, err := c.read(at)
			if err != nil {
				return c.found, err
			}
			d.Nonce = line.Nonce
		}
		c.differ(d)
	}
	return c.found, nil
}
