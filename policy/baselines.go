package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/internal/durable"
	"acctpull/record"
)

// stateDir is the directory below the location of a file-id where the baselines
// lie, one file per record.
const stateDir = "counters"

// The file of the baselines is one JSON document and a line with its checksum.
// Wrong baselines are wrong bills, so what is not exactly what writeBaselines
// writes is refused.

// baselineFile is the JSON document.
type baselineFile struct {
	Format  string           `json:"format"`
	Record  record.Name      `json:"record"`
	Objects []baselineObject `json:"objects"`
}

const baselineFormat = "acctpull baselines 1"

// baselineObject is the baseline of one object.
type baselineObject struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	Under   string        `json:"under,omitempty"` // the service of an SDP binding, the owner of a test
	Reset   time.Time     `json:"reset"`
	Epoch   string        `json:"epoch"`
	Pending bool          `json:"pending"`
	Rows    []baselineRow `json:"rows"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// formatBaselines writes the file.
func formatBaselines(name record.Name, base baselines) ([]byte, error) {
	f := baselineFile{Format: baselineFormat, Record: name, Objects: make([]baselineObject, 0, len(base))}
	for k, b := range base {
		f.Objects = append(f.Objects, baselineObject{
			Type: k.t.String(), ID: k.id, Under: k.under, Reset: b.at, Epoch: b.epoch, Pending: b.pending,
			Rows: slices.Concat([]baselineRow{}, b.rows),
		})
	}
	slices.SortFunc(f.Objects, func(a, b baselineObject) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Under, b.Under))
	})
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	text = append(text, '\n')
	return fmt.Appendf(text, "crc32c %08x\n", crc32.Checksum(text, castagnoli)), nil
}

// parseBaselines reads what formatBaselines writes and refuses everything else.
func parseBaselines(data []byte, name record.Name) (baselines, error) {
	text, line, ok := bytes.Cut(data, []byte("\n"))
	text = data[:min(len(text)+1, len(data))]
	if want := fmt.Sprintf("crc32c %08x\n", crc32.Checksum(text, castagnoli)); !ok || string(line) != want {
		return nil, errors.New("the checksum does not fit")
	}
	var f baselineFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.Format != baselineFormat || f.Record != name {
		return nil, fmt.Errorf("it is %q of record %q, not %q of record %q", bounded(f.Format), bounded(string(f.Record)), baselineFormat, name)
	}
	base := baselines{}
	for _, o := range f.Objects {
		t, ok := ParseType(o.Type)
		if !ok {
			return nil, fmt.Errorf("there is no type %q", bounded(o.Type))
		}
		base[objectKey{t, o.ID, o.Under}] = &baseline{at: o.Reset, epoch: o.Epoch, pending: o.Pending, rows: o.Rows}
	}
	if again, err := formatBaselines(name, base); err != nil || !bytes.Equal(again, data) {
		return nil, errors.New("it is not in the form in which it is written")
	}
	return base, nil
}

// baselinePath returns the file of a record.
func baselinePath(dir string, name record.Name) string {
	return filepath.Join(dir, url.PathEscape(strings.ToLower(string(name)))+".json")
}

// readBaselines reads the file of a record; no file is no baseline.
func readBaselines(dir string, name record.Name) (baselines, error) {
	path := baselinePath(dir, name)
	if _, err := durable.RemoveLeftovers(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	base, err := parseBaselines(data, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBaselines, path, err)
	}
	return base, nil
}

// writeBaselines makes the file of a record durable. Without a baseline there
// is no file.
func writeBaselines(dir string, name record.Name, base baselines) error {
	if len(base) == 0 {
		return removeBaselines(dir, name)
	}
	data, err := formatBaselines(name, base)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(dir); err != nil {
		return err
	}
	return durable.ReplaceFile(baselinePath(dir, name), data, durable.StateMode)
}

// removeBaselines removes the file of a record, if there is one.
func removeBaselines(dir string, name record.Name) error {
	err := os.Remove(baselinePath(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
