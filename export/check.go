package export

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"acctpull/internal/durable"
	"acctpull/ledger"
)

// This file is what a check asks of a dataset: what is there, and whether it is
// what was written.

// Published is one file of a dataset as it tells of itself.
type Published struct {
	// Output has all fields; Batch is the id of the batch that made it.
	Output ledger.Output
	// Bytes is its size.
	Bytes int64
	// Batch are the paths of all outputs of that batch.
	Batch []string
	// Sources are the inputs with rows in it, by device, name and hash.
	Sources []Source
}

// Contents lists a dataset: published are the slash paths of the files that
// readers see; foreign is everything else that lies where only such files
// belong. Neither was opened. A dataset that does not exist has nothing.
func Contents(dataset string) (published, foreign []string, err error) {
	published, foreign, err = contents(dataset)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, &Error{Op: "list dataset", Path: dataset, Err: err}
	}
	return published, foreign, nil
}

// ReadPublished reads one file of Contents to its end, not through the page
// cache: its SHA-256, and what its footer says. An error that does not come from
// the operating system means that the file is not one that acctpull wrote there,
// or not any more.
func ReadPublished(dataset, rel string) (Published, error) {
	path := filepath.Join(dataset, filepath.FromSlash(rel))
	sum, bytes, err := durable.Sum(path)
	if err != nil {
		return Published{}, &Error{Op: "read output", Path: path, Err: err}
	}
	p, err := readPublished(path, rel)
	p.Output.SHA256, p.Bytes = sum, bytes
	if err != nil {
		return p, &Error{Op: "read output", Path: path, Err: err}
	}
	return p, nil
}

// CheckCatalog proves the catalogue of a dataset by the digest in its last line.
// A dataset without one is whole: the next export makes it.
func CheckCatalog(dataset string) error {
	path := filepath.Join(dataset, catalogFile)
	if err := catalogDigest.CheckFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "check catalog", Path: path, Err: err}
	}
	return nil
}

// RejectsName is the name, in the quarantine directory, of the file with the
// unusable records of an input. No device chooses it.
func RejectsName(device, sha256 string) string {
	return rejectsName(ledger.Input{Device: device, SHA256: sha256})
}

// RejectsSuffix ends the names of such files.
const RejectsSuffix = ".records.jsonl"

// CheckRejects proves a file of unusable records by the digest in its last line.
func CheckRejects(path string) error {
	if err := rejectsDigest.CheckFile(path); err != nil {
		return &Error{Op: "check quarantine file", Path: path, Err: err}
	}
	return nil
}

// CountRejects returns the number of unusable records of an input that are in
// the quarantine directory; 0 if there is no such file.
func CountRejects(quarantine, device, sha256 string) (n int64, err error) {
	path := filepath.Join(quarantine, RejectsName(device, sha256))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
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

// contents walks the two levels below the root.
func contents(dataset string) (published, foreign []string, err error) {
	records, err := os.ReadDir(dataset)
	for _, r := range records {
		if err != nil || !r.IsDir() || strings.HasPrefix(r.Name(), ".") {
			continue
		}
		var dates []fs.DirEntry
		dates, err = os.ReadDir(filepath.Join(dataset, r.Name()))
		for _, d := range dates {
			rel := r.Name() + "/" + d.Name()
			if !d.IsDir() || !strings.HasPrefix(d.Name(), "date=") {
				foreign = append(foreign, rel)
				continue
			}
			files, e := os.ReadDir(filepath.Join(dataset, r.Name(), d.Name()))
			err = errors.Join(err, e)
			for _, f := range files {
				if f.Type().IsRegular() && strings.HasSuffix(f.Name(), ".parquet") && !strings.HasPrefix(f.Name(), ".") {
					published = append(published, rel+"/"+f.Name())
				} else {
					foreign = append(foreign, rel+"/"+f.Name())
				}
			}
		}
	}
	return published, foreign, err
}
