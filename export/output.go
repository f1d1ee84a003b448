package export

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"github.com/parquet-go/parquet-go"

	"acctpull/internal/columns"
	"acctpull/internal/durable"
)

// The keys of the metadata that every output carries.
const (
	metaSchema    = "acctpull.schema"    // name/version of the schema
	metaColumns   = "acctpull.columns"   // JSON array of Column
	metaSemantics = "acctpull.semantics" // cumulative, interval, unknown or mixed
	metaSources   = "acctpull.sources"   // JSON array of Source: the inputs with rows in this file
	metaBatch     = "acctpull.batch"     // JSON object of batchInfo
	metaVersion   = "acctpull.version"   // version of acctpull
)

// Source is an input file that has rows in an output.
type Source struct {
	Device  string `json:"device"`
	Name    string `json:"file"`
	SHA256  string `json:"sha256"`
	Records int64  `json:"records"`
	// Truncated tells that the file was cut off and salvaged.
	Truncated bool `json:"truncated,omitempty"`
}

// batchInfo lets a reader of one output know whether the batch is complete.
type batchInfo struct {
	ID      string   `json:"id"`
	Outputs []string `json:"outputs"` // relative paths of all outputs of the batch
}

// output is one output file: staged, then published.
type output struct {
	part      *part
	temp      *durable.File
	sink      io.Writer
	hash      hash.Hash
	file      *columns.ChunkWriter
	byFile    map[Source]int64 // rows by device, file and hash
	semantics []string
}

// stage opens the staged file of a part.
func (x *Exporter) stage(p *part, batch string) (*output, error) {
	dir := x.o.staging()
	temp, err := durable.Create(dir, p.ds.table.Name+"-"+p.date()+"-"+batch[:batchDigits]+".part", durable.DataMode)
	if err != nil {
		return nil, &Error{Op: "create output", Path: dir, Err: err}
	}
	o := &output{part: p, temp: temp, sink: temp, hash: sha256.New(), byFile: map[Source]int64{}}
	if x.wrap != nil {
		o.sink = x.wrap(temp)
	}
	return o, nil
}

// Write implements io.Writer for the ChunkWriter.
func (o *output) Write(p []byte) (int, error) {
	n, err := o.sink.Write(p)
	o.hash.Write(p[:n])
	if err != nil {
		err = &Error{Op: "write output", Path: o.temp.Path(), Err: err}
	}
	return n, err
}

// note counts the rows of a row group by source.
func (o *output) note(t *sorter) {
	rows := make([]int64, len(t.names.origins))
	for _, id := range t.origs {
		rows[id]++
	}
	text := func(id int32) string { return t.names.texts.list[id] }
	for _, id := range t.usedOr {
		org := &t.names.origins[id]
		o.byFile[Source{Device: text(org.device), Name: text(org.file), SHA256: text(org.sum)}] += rows[id]
		if s := text(org.semantics); !slices.Contains(o.semantics, s) {
			o.semantics = append(o.semantics, s)
		}
	}
}

// sourceList returns the sources by device, name and hash.
func (o *output) sourceList(truncated map[ledgerKey]bool) []Source {
	list := make([]Source, 0, len(o.byFile))
	for s, n := range o.byFile {
		s.Records = n
		s.Truncated = truncated[ledgerKey{s.Device, s.SHA256}]
		list = append(list, s)
	}
	slices.SortFunc(list, compareSources)
	return list
}

// ledgerKey is the identity of a content.
type ledgerKey struct{ device, sum string }

// finish writes the footer with own behind what every output has, makes the
// staged file durable, reads it back from the disk and compares.
func (o *output) finish(x *Exporter, own ...columns.KeyValue) error {
	semantics := "mixed"
	if len(o.semantics) == 1 {
		semantics = o.semantics[0]
	}
	table := o.part.ds.table
	err := o.file.Finish(x.o.createdBy(), append([]columns.KeyValue{
		{Key: metaSchema, Value: table.ID()},
		{Key: metaColumns, Value: table.columnsJSON()},
		{Key: metaSemantics, Value: semantics},
		{Key: metaVersion, Value: x.o.Version},
	}, own...))
	if err == nil {
		err = o.temp.Sync()
	}
	if err == nil {
		err = o.verify()
	}
	if err != nil {
		return &Error{Op: "finish output", Path: o.temp.Path(), Err: err}
	}
	return nil
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("marshal metadata: " + err.Error()) // strings and numbers only
	}
	return string(b)
}

// verify reads the staged file back, not through the page cache.
func (o *output) verify() error {
	sum, size, err := durable.Sum(o.temp.Path())
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if want := o.sum(); sum != want || size != o.temp.Size() {
		return fmt.Errorf("read back: %d bytes with SHA-256 %s, wrote %d bytes with %s", size, sum, o.temp.Size(), want)
	}
	f, err := os.Open(o.temp.Path())
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	pf, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err == nil && pf.NumRows() != o.file.Rows() {
		err = fmt.Errorf("the footer has %d rows, wrote %d", pf.NumRows(), o.file.Rows())
	}
	if err != nil {
		err = fmt.Errorf("read back: %w", err)
	}
	return errors.Join(err, f.Close())
}

func (o *output) sum() string { return hex.EncodeToString(o.hash.Sum(nil)) }

// batchDigits is how many digits of the batch id name its outputs.
const batchDigits = 32

// path is the output's path relative to the dataset root.
func (p *part) outputPath(batch string) string {
	return p.path() + "/" + batch[:batchDigits] + ".parquet"
}
