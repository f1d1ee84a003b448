package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Key is how a listing names a file: the discovery key. Two listings with equal
// keys speak of the same file; any difference makes another row.
type Key struct {
	Device string
	// Path is the directory that was listed, or localPath of a file that
	// came through AddLocal.
	Path string
	Name string
	Size int64
	// MTime is the modification time of the listing in Unix seconds, 0 if
	// the listing has none.
	MTime int64
}

// State says how far a file has come.
type State int

// The states of a file. A claimed file is Discovered with a lease.
const (
	// Discovered: a device listed it; it is not here yet.
	Discovered State = iota
	// Stored: verified, durable at Row.Stored, and waiting for export. An
	// alias is Stored while the content it repeats is.
	Stored
	// Exported: its records are in the dataset.
	Exported
	// Quarantined: it could not be trusted; Row.Reason says why. It is not
	// tried again under this Key.
	Quarantined
	// Lost: it was listed and gone before it could be fetched. A later
	// listing of the same Key makes it Discovered again.
	Lost
)

var stateNames = [...]string{"discovered", "stored", "exported", "quarantined", "lost"}

// String returns the state in lower case, as docs/formats/ledger.md spells it.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Row is all that is known about one file of one listing.
type Row struct {
	Key
	State State
	// SHA256 is the lower case hex SHA-256 of the whole file, "" before the
	// file is stored and for a file quarantined during the fetch.
	SHA256 string
	// Stored is where the bytes are: a slash path relative to the data
	// directory (quarantine included), or whatever AddLocal was given.
	Stored string
	// AliasOf is the name of the file of this device that has the same
	// content and stands for it in exports, "" if this row stands for itself.
	AliasOf string
	// Batch is the export batch of the content, "" while it is in none.
	Batch string
	// Records counts the rows that were published from this file; 0 for an
	// alias.
	Records int64
	// Reason is why the file is Quarantined or Lost, the last Release, or who
	// let it out of quarantine and why.
	Reason string
	// Owner holds the lease until Lease; "" if nobody does.
	Owner string
	Lease time.Time
	// Attempt counts the claims of this row; it is the fencing token.
	Attempt int
	// NotBefore bounds the next claim after a Release.
	NotBefore time.Time
	// First is when the row was made, Changed when its state last changed.
	First, Changed time.Time
	// Expired is when retention decided that the bytes of an Exported file go;
	// zero while they are kept. What the row says of the file stays true.
	Expired time.Time
	// Facts is what the file says about itself. Only FileFacts sets it, and
	// only Import takes it; nil means that nothing is known.
	Facts *Facts
}

// Claim is the right to work on one Discovered file. It is void as soon as
// somebody else claims the row, which the Attempt tells.
type Claim struct {
	Key
	Owner   string
	Attempt int
}

// StoreItem is one fetched file for StoreMany.
type StoreItem struct {
	Claim  Claim
	SHA256 string // lower case hex
	Stored string
	Facts  *Facts // nil if nothing is known about its content
}

// StoreResult is the outcome of one StoreItem.
type StoreResult struct {
	// AliasOf is the name of the earlier file of the device with the same
	// content, "" if the content is new.
	AliasOf string
	// Err is ErrLeaseLost (wrapped) if the claim was void. Nothing was
	// recorded for this item then.
	Err error
}

// Input is one file of an export batch.
type Input struct {
	Device string
	Name   string
	SHA256 string
	Stored string
	Size   int64 // compressed bytes
	// Facts is what the file says about itself, for AddLocal; nil elsewhere,
	// and if nothing is known.
	Facts *Facts
}

// BatchClaim is the right to finish a batch. It is void as soon as another owner
// takes the batch, which the Attempt tells.
type BatchClaim struct {
	// ID is BatchID of the inputs.
	ID      string
	Owner   string
	Attempt int
}

// Batch is a fixed set of files that are exported together.
type Batch struct {
	BatchClaim
	// Inputs are sorted by device, name and SHA-256.
	Inputs []Input
	// Retry is true if the batch was planned by an earlier call and not
	// finished: parts of it may be published already.
	Retry bool
}

// BatchID names a set of files by content: the lower case hex SHA-256 of the
// lines "device TAB sha256 LF", sorted bytewise. The order of inputs does not
// matter.
func BatchID(inputs []Input) string {
	lines := make([]string, len(inputs))
	for i, in := range inputs {
		lines[i] = in.Device + "\t" + in.SHA256 + "\n"
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(line))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Output is one published dataset file.
type Output struct {
	Batch  string // set by Outputs; FinishBatch ignores it
	Path   string // slash path relative to the dataset root
	SHA256 string // lower case hex
	Rows   int64
	Record string // record name
	Date   string // partition date, YYYY-MM-DD
	// Expired is when retention decided that the rows go; zero while they are
	// kept. FinishBatch and Import ignore it.
	Expired time.Time
}

// InputResult is what became of one input of a batch.
type InputResult struct {
	Device string
	SHA256 string
	// State is Exported or Quarantined.
	State State
	// Reason is required for Quarantined.
	Reason string
	// Records counts the rows published from this input: over a batch they
	// add up to the rows of its outputs.
	Records int64
}

// compareInputs orders inputs by device, name and SHA-256, bytewise.
func compareInputs(a, b Input) int {
	if c := strings.Compare(a.Device, b.Device); c != 0 {
		return c
	}
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.SHA256, b.SHA256)
}
