package export

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// The sidecars are the documents in the root of a dataset that tell people and
// programs what is in it. All are made from the same Tables.
const (
	catalogFile    = "catalog.sql"        // views for DuckDB
	packageFile    = "datapackage.json"   // Data Package 2.0
	dictionaryFile = "data-dictionary.md" // every column of every table there is
	readmeFile     = "README.md"          // what is there: period, rows, devices, gaps
)

// Each of them ends with a digest, in a form that its language ignores.
var (
	catalogDigest  = durable.Digest{Before: "-- sha256 of the lines above: "}
	packageDigest  = durable.Digest{Before: `,"acctpull:digest":"`, After: `"}`}
	markdownDigest = durable.Digest{Before: "<!-- sha256 of the lines above: ", After: " -->"}
)

// Sidecars makes the documents in the root of a dataset: catalog.sql,
// datapackage.json, data-dictionary.md and README.md.
type Sidecars struct {
	Dataset depot.Depot
	// Tables are the schemas of all tables that the dataset may have, derived
	// ones included, in the order in which they are listed.
	Tables []*Table
	// Devices tells for README.md what became of the files of each device. Nil
	// leaves that part out.
	Devices func(context.Context) ([]DeviceFiles, error)
	// Now is the time that README.md says it was made at; nil is time.Now.
	Now func() time.Time
}

// DeviceFiles is what became of the accounting files of a device.
type DeviceFiles struct {
	Device   string
	Exported int // their rows are in the dataset, or they have none
	Waiting  int // to be fetched or exported
	// Quarantined files are not readable or not understood, Lost ones were gone
	// from the device before they were fetched: what they held is missing.
	Quarantined, Lost int
}

// Write brings the documents up to date. The first three depend on nothing but
// the set of tables that have a file, and cost a look for one file of each.
// README.md has figures: it is made anew if a table appeared, after an hour, and
// at every call while the dataset is small. A document that is right already is
// left alone.
func (s Sidecars) Write(ctx context.Context) error {
	tables, manifest, err := s.present(ctx)
	if err != nil {
		return err
	}
	for _, doc := range []struct {
		name   string
		digest durable.Digest
		text   []byte
	}{
		{catalogFile, catalogDigest, catalogSQL(tables, manifest)},
		{packageFile, packageDigest, dataPackage(tables)},
		{dictionaryFile, markdownDigest, dictionary(tables)},
	} {
		if err := s.put(ctx, doc.name, doc.digest.Append(doc.text)); err != nil {
			return err
		}
	}
	return s.writeReadme(ctx, tables)
}

// put writes a document unless it is there.
func (s Sidecars) put(ctx context.Context, name string, text []byte) error {
	if old, err := s.old(ctx, name); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := s.Dataset.Replace(ctx, name, text); err != nil {
		return &Error{Op: "write sidecar", Path: nameIn(s.Dataset, name), Err: err}
	}
	return nil
}

// old reads a document that is there.
func (s Sidecars) old(ctx context.Context, name string) ([]byte, error) {
	f, err := s.Dataset.Open(ctx, name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// present are the tables that have at least one file: a view on none would be an
// error. manifest tells that a manifest says what the dataset is.
func (s Sidecars) present(ctx context.Context) (tables []*Table, manifest bool, err error) {
	has := func(t *Table) (bool, error) { return hasData(ctx, s.Dataset, t) }
	if _, dir := s.Dataset.(*depot.Dir); !dir {
		m, err := openManifest(ctx, s.Dataset)
		if err != nil {
			return nil, false, err
		}
		if manifest = m != nil; manifest {
			has = func(t *Table) (bool, error) {
				return slices.ContainsFunc(m.Pages, func(r pageRef) bool { return r.Table == t.Name && r.Version == t.Version && r.Files > 0 }), nil
			}
		}
	}
	for _, t := range s.Tables {
		ok, err := has(t)
		if err != nil {
			return nil, false, &Error{Op: "list dataset", Path: nameIn(s.Dataset, t.Name), Err: err}
		}
		if ok {
			tables = append(tables, t)
		}
	}
	return tables, manifest, nil
}

// hasData reports whether some partition of a table has a file.
func hasData(ctx context.Context, d depot.Reader, t *Table) (bool, error) {
	for e, err := range d.List(ctx, t.Name) {
		if err != nil {
			return false, err
		}
		if f, ok := ParsePath(e.Path); ok && f.Version == t.Version {
			return true, nil
		}
	}
	return false, nil
}

// CheckSidecars proves the documents in the root of a dataset, and the counts
// that they are made from, each by the digest in its last line, and returns what is wrong by their names. One that is missing
// is no mistake: the next export makes it.
func CheckSidecars(ctx context.Context, dataset depot.Reader) map[string]error {
	wrong := map[string]error{}
	for name, digest := range map[string]durable.Digest{
		catalogFile: catalogDigest, packageFile: packageDigest, dictionaryFile: markdownDigest, readmeFile: markdownDigest,
		statisticsFile: statisticsDigest,
	} {
		if err := depot.CheckDigest(ctx, dataset, name, digest); err != nil && !isMissing(err) {
			wrong[name] = &Error{Op: "check sidecar", Path: name, Err: err}
		}
	}
	return wrong
}

// sidecars are those of the exporter's dataset.
func (x *Exporter) sidecars() Sidecars {
	return Sidecars{Dataset: x.o.Outputs, Tables: append(x.tables(), x.o.Derived...), Devices: x.o.Devices, Now: x.o.Now}
}

// WriteSidecars brings the documents in the root of the dataset up to date, see
// [Sidecars]. Run calls it after each batch.
func (x *Exporter) WriteSidecars(ctx context.Context) error { return x.sidecars().Write(ctx) }

// tables are the schemas of all tables that exports can write.
func (x *Exporter) tables() []*Table {
	var all []*Table
	for _, d := range x.o.Reader.Catalogue.Definitions() {
		all = append(all, Schema(d))
	}
	return append(all, UnknownSchema())
}
