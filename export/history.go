package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// The reasons of a replacement.
const (
	// ReasonCompact: the same rows in fewer files.
	ReasonCompact = "compact"
	// ReasonRebuild: the rows of the same raw files, read in another way.
	ReasonRebuild = "rebuild"
	// ReasonUsage: what is derived from a table that has changed.
	ReasonUsage = "usage"
	// ReasonExpired: the rows are not kept any longer.
	ReasonExpired = "expired"
)

// Replacement is one line in the history of a partition: which files went, which
// came, and why.
type Replacement struct {
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
	// Removed are the files that were replaced, Added those that were not made
	// by an export of new input. Either may be empty.
	Removed []GoneFile `json:"removed,omitempty"`
	Added   []MadeFile `json:"added,omitempty"`
	// Pending, in a directory: it was about to be done. Whether it was, the
	// directory tells; see [Resolve].
	Pending bool `json:"pending,omitempty"`
}

// GoneFile is a file that was replaced.
type GoneFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`
	// Batch is the export batch that it was an output of, "" if none.
	Batch string `json:"batch,omitempty"`
}

// MadeFile is a file that replaces others, or is derived from others.
type MadeFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
}

// History is what was ever replaced in one partition, oldest first. No path in
// it is ever used a second time.
type History []Replacement

// gone returns what became of the file at a path: its line among those that went.
func (h History) gone(p string) (GoneFile, bool) {
	for _, r := range h {
		if r.Pending {
			continue
		}
		if i := slices.IndexFunc(r.Removed, func(g GoneFile) bool { return g.Path == p }); i >= 0 {
			return r.Removed[i], true
		}
	}
	return GoneFile{}, false
}

// replacedAt tells when the file at a path was replaced.
func (h History) replacedAt(p string) (at time.Time, was bool) {
	for _, r := range h {
		if !r.Pending && slices.ContainsFunc(r.Removed, func(g GoneFile) bool { return g.Path == p }) {
			return r.Time, true
		}
	}
	return at, false
}

// Made returns the files that were added and not removed since, by path: those
// that have to be there.
func (h History) Made() map[string]MadeFile {
	made := map[string]MadeFile{}
	for _, r := range h {
		if r.Pending {
			continue
		}
		for _, f := range r.Added {
			made[f.Path] = f
		}
		for _, f := range r.Removed {
			delete(made, f.Path)
		}
	}
	return made
}

// Gone returns the files that were replaced, by path.
func (h History) Gone() map[string]GoneFile {
	gone := map[string]GoneFile{}
	for _, r := range h {
		if r.Pending {
			continue
		}
		for _, f := range r.Removed {
			gone[f.Path] = f
		}
	}
	return gone
}

// Resolve settles what a killed process left open, by what is there: a pending
// replacement was done, or it was not and goes from the history. An error says
// that the partition is as no crash can leave it.
func (h History) Resolve(there func(path string) bool) (History, error) {
	h = slices.Clone(h)
	for i := 0; i < len(h); i++ {
		r := &h[i]
		if !r.Pending {
			continue
		}
		removed, added := 0, 0
		for _, f := range r.Removed {
			if there(f.Path) {
				removed++
			}
		}
		for _, f := range r.Added {
			if there(f.Path) {
				added++
			}
		}
		switch {
		case removed == 0 && added == len(r.Added):
			r.Pending = false
		case removed == len(r.Removed) && added == 0:
			h = slices.Delete(h, i, i+1)
			i--
		default:
			return nil, fmt.Errorf("a replacement (%s of %s) was cut off, and %d of %d old and %d of %d new files are there",
				r.Reason, r.Time.Format(time.RFC3339), removed, len(r.Removed), added, len(r.Added))
		}
	}
	return h, nil
}

// historyDigest ends a document with a history: a line like every other.
var historyDigest = durable.Digest{Before: `{"digest":"`, After: `"}`}

// encode returns the history as a document: JSON lines.
func (h History) encode() []byte {
	var b bytes.Buffer
	for _, r := range h {
		b.WriteString(toJSON(r))
		b.WriteByte('\n')
	}
	return historyDigest.Append(b.Bytes())
}

// decodeHistory reads what encode wrote.
func decodeHistory(text []byte) (History, error) {
	if err := historyDigest.Check(bytes.NewReader(text), int64(len(text))); err != nil {
		return nil, err
	}
	lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
	h := make(History, len(lines)-1)
	for i, line := range lines[:len(h)] {
		if err := json.Unmarshal(line, &h[i]); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return h, nil
}

// replacedDir has the histories of all partitions. Its name keeps every reader
// out.
const replacedDir = ".replaced"

// historySuffix ends the name of a history.
const historySuffix = ".jsonl"

// historyPath is where the history of a partition is kept in a directory.
func historyPath(partition string) string { return path.Join(replacedDir, partition+historySuffix) }

// partitionOf is the partition of a data file.
func partitionOf(p string) string { return path.Dir(p) }

// ReadHistory reads the history of a partition, which is named as by
// [PartitionPath]. One that nothing was ever replaced in has none. In a bucket it
// is that of the newest snapshot.
func ReadHistory(ctx context.Context, dataset depot.Reader, partition string) (History, error) {
	if _, ok := dataset.(*depot.Dir); ok {
		return readHistoryAt(ctx, dataset, historyPath(partition))
	}
	m, err := openManifest(ctx, dataset)
	if err != nil || m == nil {
		return nil, err
	}
	return m.history(ctx, partition)
}

// readHistoryAt reads one document.
func readHistoryAt(ctx context.Context, dataset depot.Reader, p string) (History, error) {
	text, err := readAll(ctx, dataset, p)
	if isMissing(err) {
		return nil, nil
	}
	var h History
	if err == nil {
		h, err = decodeHistory(text)
	}
	if err != nil {
		return nil, &Error{Op: "read history", Path: p, Err: err}
	}
	return h, nil
}

// readAll reads a small document.
func readAll(ctx context.Context, dataset depot.Reader, p string) ([]byte, error) {
	f, err := dataset.Open(ctx, p)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// output is the file as the ledger has it.
func (g GoneFile) output() ledger.Output {
	at, _ := ParsePath(g.Path)
	return ledger.Output{Batch: g.Batch, Path: g.Path, SHA256: g.SHA256, Rows: g.Rows, Record: at.Table, Date: at.Date}
}

// historyPartition is the partition that a history in a directory is about.
func historyPartition(p string) (string, bool) {
	in, ok := strings.CutPrefix(p, replacedDir+"/")
	if !ok {
		return "", false
	}
	partition, ok := strings.CutSuffix(in, historySuffix)
	return partition, ok && isOutput(partition+"/x"+parquetSuffix)
}
