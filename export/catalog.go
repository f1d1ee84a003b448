package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/record"
)

// catalogFile is the file of DuckDB views in the dataset root.
const catalogFile = "catalog.sql"

// catalogDigest ends it.
var catalogDigest = durable.Digest{Before: "-- sha256 of the lines above: "}

// WriteCatalog writes catalog.sql into the dataset root: a DuckDB view for each
// record name that has a published file. It changes nothing if the file is right
// already. Run calls it after each batch.
func (x *Exporter) WriteCatalog(ctx context.Context) error {
	names, err := x.publishedNames(ctx)
	if err != nil {
		return &Error{Op: "list dataset", Path: x.o.Dataset, Err: err}
	}
	text := catalogDigest.Append(catalogSQL(names))
	if old, err := x.oldCatalog(ctx); err == nil && bytes.Equal(old, text) {
		return nil
	}
	if err := x.o.Outputs.Replace(ctx, catalogFile, text); err != nil {
		return &Error{Op: "write catalog", Path: x.o.outputName(catalogFile), Err: err}
	}
	return nil
}

// oldCatalog reads the catalog that is there.
func (x *Exporter) oldCatalog(ctx context.Context) ([]byte, error) {
	f, err := x.o.Outputs.Open(ctx, catalogFile)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// publishedNames returns the record names of the catalogue, and UnknownRecords,
// that have at least one published file: a view on none would be an error.
func (x *Exporter) publishedNames(ctx context.Context) ([]*Table, error) {
	var tables []*Table
	for _, t := range x.tables() {
		ok, err := hasParquet(ctx, x.o.Outputs, t.Name)
		if err != nil {
			return nil, err
		}
		if ok {
			tables = append(tables, t)
		}
	}
	return tables, nil
}

// tables are the schemas of all datasets there can be.
func (x *Exporter) tables() []*Table {
	var all []*Table
	for _, d := range x.o.Reader.Catalogue.Definitions() {
		all = append(all, Schema(d))
	}
	return append(all, UnknownSchema())
}

// hasParquet reports whether some partition of a dataset has a file.
func hasParquet(ctx context.Context, d depot.Reader, record string) (bool, error) {
	for e, err := range d.List(ctx, record) {
		if err != nil {
			return false, err
		}
		if isOutput(e.Path) {
			return true, nil
		}
	}
	return false, nil
}

// viewName is the name of a dataset's view.
func viewName(dataset string) string { return strings.ReplaceAll(dataset, "-", "_") }

// catalogSQL returns the text of catalog.sql.
func catalogSQL(tables []*Table) []byte {
	var b bytes.Buffer
	b.WriteString(`-- Views on this dataset for DuckDB. Start it in this directory, for the paths are
-- relative to it:   duckdb -init catalog.sql
-- The file is made by acctpull after each export; changes to it are lost.
`)
	for _, t := range tables {
		fmt.Fprintf(&b, `
CREATE OR REPLACE VIEW %s AS
  SELECT * FROM read_parquet('%s/v%d/*/*.parquet', hive_partitioning = true, union_by_name = true);
`, viewName(t.Name), t.Name, t.Version)
	}
	if t := exampleTable(tables); t != nil {
		b.WriteString(exampleQueries(t))
	}
	return b.Bytes()
}

// exampleTable is the dataset the examples are about: the first with a counter,
// else the first.
func exampleTable(tables []*Table) *Table {
	for _, t := range tables {
		if firstCounter(t) != "" {
			return t
		}
	}
	return nil
}

func firstCounter(t *Table) string {
	for _, c := range t.Columns {
		if c.Role == record.Counter.String() {
			return c.Name
		}
	}
	return ""
}

// exampleQueries shows the three questions that come first.
func exampleQueries(t *Table) string {
	view, counter := viewName(t.Name), firstCounter(t)
	object := make([]string, 0, len(t.Sorted))
	for _, name := range t.Sorted {
		if name != colEnd {
			object = append(object, name)
		}
	}
	by := strings.Join(object, ", ")
	return fmt.Sprintf(`
-- What is here: devices, files and records of each day.
--   SELECT date, device, count(DISTINCT source_file) AS files, count(*) AS records
--   FROM %[1]s GROUP BY ALL ORDER BY ALL;
--
-- What a cumulative counter moved by from one interval to the next, per object.
--   SELECT %[3]s, interval_end,
--          %[2]s - lag(%[2]s) OVER (PARTITION BY %[3]s ORDER BY interval_end) AS delta
--   FROM %[1]s WHERE final = 0 AND date = (SELECT max(date) FROM %[1]s);
--
-- Where a row came from, and numbers too large for their column.
--   SELECT device, source_file, source_sha256, interval_end, overflow
--   FROM %[1]s WHERE overflow IS NOT NULL;
`, view, counter, by)
}
