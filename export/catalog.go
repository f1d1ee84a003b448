package export

import (
	"bytes"
	"fmt"
	"strings"

	"acctpull/record"
)

// viewName is the name of a dataset's view.
func viewName(dataset string) string { return strings.ReplaceAll(dataset, "-", "_") }

// catalogSQL returns the text of catalog.sql. Without a manifest the views read
// what lies in the directory; with one they read the files of the newest at the
// time when the script runs, because a listing may have files that were replaced.
func catalogSQL(tables []*Table, manifest bool) []byte {
	var b bytes.Buffer
	if manifest {
		b.WriteString(catalogBucket)
	} else {
		b.WriteString(catalogDirectory)
	}
	for _, t := range tables {
		view := viewName(t.Name)
		files := "'" + t.dir() + "/*/*.parquet'"
		create := "CREATE OR REPLACE VIEW"
		if manifest {
			fmt.Fprintf(&b, "\nSET VARIABLE %s = (SELECT list(path ORDER BY path) FROM acctpull_files WHERE \"table\" = '%s' AND version = %d);",
				view, t.Name, t.Version)
			files = "getvariable('" + view + "')"
			create = "CREATE OR REPLACE TEMP VIEW"
		}
		fmt.Fprintf(&b, `
%s %s AS
  SELECT * FROM read_parquet(%s, hive_partitioning = true, union_by_name = true);
`, create, view, files)
	}
	if t := exampleTable(tables); t != nil {
		b.WriteString(exampleQueries(t))
	}
	return b.Bytes()
}

const catalogDirectory = `-- Views on this dataset for DuckDB. Start it in this directory, for the paths are
-- relative to it:   duckdb -init catalog.sql
-- The file is made by acctpull after each export; changes to it are lost.
`

// catalogBucket makes a table of the files of the newest manifest. Manifest and
// pages are those of manifest.go.
const catalogBucket = `-- Views on this dataset for DuckDB. Say first where it is, with a slash at the end:
--   SET VARIABLE dataset = 's3://bucket/prefix/dataset/';
-- and run this file then. The views show the dataset as it is at that moment. Run the
-- file again to see what came since; files that were replaced are removed after an hour.
-- The file is made by acctpull after each export; changes to it are lost.

SET VARIABLE dataset = coalesce(getvariable('dataset'), '');
SET VARIABLE acctpull_manifest = (SELECT max(file) FROM glob(getvariable('dataset') || 'manifest/*.json'));
SET VARIABLE acctpull_pages = (SELECT list(getvariable('dataset') || page.path) FROM (SELECT unnest(pages) AS page
  FROM read_json(getvariable('acctpull_manifest'), columns = {pages: 'STRUCT(path VARCHAR)[]'}, maximum_object_size = 1000000000)));
CREATE OR REPLACE TEMP TABLE acctpull_files AS
  SELECT file."table" AS "table", file.version AS version, getvariable('dataset') || file.path AS path FROM (SELECT unnest(files) AS file
  FROM read_json(getvariable('acctpull_pages'), columns = {files: 'STRUCT("table" VARCHAR, version BIGINT, path VARCHAR)[]'}, maximum_object_size = 1000000000));
`

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
