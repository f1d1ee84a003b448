package export

import (
	"bufio"
	"context"
	"errors"
	"io"

	"acctpull/internal/depot"
	"acctpull/ledger"
)

// This file is what a check asks of a dataset: what is there, and whether it is
// what was written.

// Published is one file of a dataset as it tells of itself.
type Published struct {
	// Output has all fields; Batch is the id of the batch that made it, "" if
	// it was made of other files.
	Output ledger.Output
	// Bytes is its size.
	Bytes int64
	// Batch are the paths of all outputs of that batch.
	Batch []string
	// Sources are the inputs with rows in it, by device, name and hash. A
	// derived table has none.
	Sources []Source
}

// Contents returns the slash paths of the files that readers see, in order. None
// was opened. A dataset that does not exist has nothing.
func Contents(ctx context.Context, dataset depot.Reader) ([]string, error) {
	s, err := ReadSnapshot(ctx, dataset)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(s.Files))
	for i, f := range s.Files {
		paths[i] = f.Path
	}
	return paths, nil
}

// ReadPublished reads one file of Contents to its end, as the medium gives it
// back: its SHA-256, and what its footer says. An error that does not come from
// the system means that the file is not one that acctpull wrote there, or not
// any more.
func ReadPublished(ctx context.Context, dataset depot.Reader, rel string) (Published, error) {
	sum, bytes, err := dataset.Sum(ctx, rel)
	if err != nil {
		return Published{}, &Error{Op: "read output", Path: rel, Err: err}
	}
	p, err := readPublished(ctx, dataset, rel)
	p.Output.SHA256, p.Bytes = sum, bytes
	if err != nil {
		return p, &Error{Op: "read output", Path: rel, Err: err}
	}
	return p, nil
}

// RejectsName is the name, in the quarantine directory, of the file with the
// unusable records of an input. No device chooses it.
func RejectsName(device, sha256 string) string {
	return rejectsName(ledger.Input{Device: device, SHA256: sha256})
}

// RejectsSuffix ends the names of such files.
const RejectsSuffix = ".records.jsonl"

// CheckRejects proves a file of unusable records, a name in the quarantine, by
// the digest in its last line.
func CheckRejects(ctx context.Context, quarantine depot.Reader, name string) error {
	if err := depot.CheckDigest(ctx, quarantine, name, rejectsDigest); err != nil {
		return &Error{Op: "check quarantine file", Path: name, Err: err}
	}
	return nil
}

// CountRejects returns the number of unusable records of an input that are in
// the quarantine; 0 if there is no such file.
func CountRejects(ctx context.Context, quarantine depot.Reader, device, sha256 string) (n int64, err error) {
	path := RejectsName(device, sha256)
	f, err := quarantine.Open(ctx, path)
	if isMissing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, &Error{Op: "read quarantine file", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case err == nil:
			n++
		case errors.Is(err, bufio.ErrBufferFull):
			continue // the middle of a long line
		case err == io.EOF:
			if len(line) > 0 {
				n++
			}
			return max(n-1, 0), nil // without the digest
		default:
			return 0, &Error{Op: "read quarantine file", Path: path, Err: err}
		}
	}
}
