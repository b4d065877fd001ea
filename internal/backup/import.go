package backup

import "fmt"

// ImportCounts is the difference between a directory's listing and what is known. Counts of entries.
type ImportCounts struct {
	Listed    int `json:"listed"`    // entries in this listing
	Added     int `json:"added"`     // not known before
	Changed   int `json:"changed"`   // known, an attribute differs
	Unchanged int `json:"unchanged"` // known and equal
	Vanished  int `json:"vanished"`  // known and active, not listed any more
	Disabled  int `json:"disabled"`  // listed as disabled
	Returned  int `json:"returned"`  // preserved before, listed and enabled now
	// Problems by kind; such entries are counted in Added/Changed/Unchanged, too.
	NoMail        int `json:"noMail"`
	DuplicateMail int `json:"duplicateMail"`
	BadEntries    int `json:"badEntries"`
	// KnownActive is how many active accounts stood before this import: the base of the threshold's percent.
	KnownActive int `json:"knownActive"`
	// Leaving is how many active accounts this import would preserve (vanished or newly disabled).
	Leaving int `json:"leaving"`
}

// Accounts is how many accounts of each state stand after an import.
type Accounts struct {
	Active    int `json:"active"`
	Preserved int `json:"preserved"`
}

// RemovalThreshold is the size of a difference that no longer happens by itself. Zero fields take the defaults.
type RemovalThreshold struct {
	// Percent of the active accounts; default 10.
	Percent int `json:"percent,omitempty"`
	// Count of accounts under which the percentage is not looked at; default 5.
	Count int `json:"count,omitempty"`
}

// ImportVerdict is what may be done with a difference.
type ImportVerdict string

const (
	ImportApply   ImportVerdict = "apply"   // go ahead
	ImportApprove ImportVerdict = "approve" // a person must approve the removals first
	ImportRefuse  ImportVerdict = "refuse"  // an error, never an absence: nothing is changed
)

// JudgeImport decides on a difference. It is the one place where promise 4 ("an error is never read as
// an absence") and the removal threshold are decided.
func JudgeImport(c ImportCounts, t RemovalThreshold) (ImportVerdict, string) {
	percent, count := t.Percent, t.Count
	if percent == 0 {
		percent = 10
	}
	if count == 0 {
		count = 5
	}
	switch {
	case c.Listed == 0 && c.KnownActive > 0:
		return ImportRefuse, fmt.Sprintf("the directory lists nobody, but %d people are known", c.KnownActive)
	case c.Listed == 0:
		return ImportRefuse, "the directory lists nobody: base DN, filter or rights are probably wrong"
	case c.Leaving > count && c.Leaving*100 > percent*c.KnownActive:
		return ImportApprove, fmt.Sprintf("%d of %d active people would be preserved (limit: %d %%, at least %d)", c.Leaving, c.KnownActive, percent, count)
	}
	return ImportApply, ""
}
