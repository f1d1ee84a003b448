package export

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// When README.md is made anew. A refresh lists the dataset, and opens the files
// of the partitions that changed.
const (
	// readmeAge is how old its figures may become.
	readmeAge = time.Hour
	// readmeSmall is the number of files up to which it is made after every
	// batch.
	readmeSmall = 1000
)

// What README.md shows of a long list.
const (
	readmeDevices = 50
	readmeDays    = 10
)

// readmeMark tells when a README.md was made and how many files there were.
var readmeMark = regexp.MustCompile(`(?m)^<!-- as of (\d+), (\d+) files -->$`)

// writeReadme makes README.md anew if it is due.
func (s Sidecars) writeReadme(ctx context.Context, tables []*Table) error {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	at := now().UTC()
	if old, err := s.old(ctx, readmeFile); err == nil && !readmeDue(old, tables, at) {
		return nil
	}
	stats, err := s.statistics(ctx, tables)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // files are being replaced; the next export is as good
	}
	if err != nil {
		return err
	}
	var devices []DeviceFiles
	if s.Devices != nil {
		if devices, err = s.Devices(ctx); err != nil {
			return &Error{Op: "count files of devices", Err: err}
		}
	}
	return s.put(ctx, readmeFile, markdownDigest.Append(readme(tables, stats, devices, s.Devices != nil, at)))
}

// readmeDue decides whether a README.md is to be made anew.
func readmeDue(old []byte, tables []*Table, now time.Time) bool {
	m := readmeMark.FindSubmatch(old)
	if m == nil {
		return true
	}
	made, err1 := strconv.ParseInt(string(m[1]), 10, 64)
	files, err2 := strconv.Atoi(string(m[2]))
	age := now.Sub(time.Unix(made, 0))
	missing := slices.ContainsFunc(tables, func(t *Table) bool {
		return !bytes.Contains(old, []byte("| `"+t.Name+"` |"))
	})
	return err1 != nil || err2 != nil || missing || age < 0 || age >= readmeAge || files <= readmeSmall
}

// readme returns README.md without its digest.
func readme(tables []*Table, stats map[string]*tableStats, devices []DeviceFiles, known bool, at time.Time) []byte {
	var b bytes.Buffer
	all := tableStats{}
	for _, t := range tables {
		all.add(stats[t.Name])
	}
	fmt.Fprintf(&b, `# Dataset of accounting records

Made by acctpull. These figures are as of %s UTC; an export makes them anew after an hour, or at
once while there are few files. They may be behind the files, never ahead of them. Changes to this file are lost.

%s records in %s files, %s, from %s to %s (UTC dates of the interval end).
`, at.Format(time.DateTime), thousands(all.Rows), thousands(all.Files), megabytes(all.Bytes), orNone(all.first()), orNone(all.last()))
	b.WriteString("\n## Tables\n\n")
	rows := [][]string{{"table", "records", "files", "size", "first day", "last day", "days between without records"}}
	for _, t := range tables {
		st := stats[t.Name]
		rows = append(rows, []string{codeList([]string{t.Name}), thousands(st.Rows), thousands(st.Files), megabytes(st.Bytes),
			orNone(st.first()), orNone(st.last()), orNone(missingDays(st.days()))})
	}
	markdownTable(&b, rows)
	if known {
		deviceSection(&b, devices)
	}
	b.WriteString(readmeReading)
	fmt.Fprintf(&b, "\n<!-- as of %d, %d files -->\n", at.Unix(), all.Files)
	return b.Bytes()
}

const readmeReading = `
Which single interval of a device is missing, and why, is told by ` + "`acctpull coverage`" + `; which row of a series comes late,
by the columns break and gap_seconds of the tables whose names end in -usage.

## Reading it

- [data-dictionary.md](data-dictionary.md) has every column with its unit and meaning, [datapackage.json](datapackage.json) the same for
  programs.
- DuckDB: ` + "`duckdb -init catalog.sql`" + ` in this directory makes a view of each table, with _ for - in its name.
- pandas: ` + "`pd.read_parquet(\"TABLE/v1\", dtype_backend=\"pyarrow\")`" + `; without dtype_backend counters become inexact.
- polars: ` + "`pl.scan_parquet(\"TABLE/v1/**/*.parquet\", hive_partitioning=True)`" + `
- Spark: ` + "`spark.read.parquet(\"TABLE/v1\")`" + `, with spark.sql.session.timeZone set to UTC.
- Counters are as the device gave them: cumulative ones grow until a restart. For what was counted use the -usage tables.
- In a bucket read the files that the newest manifest names, as catalog.sql does; a listing may have files that were replaced.
`

// deviceSection tells what is known to be missing.
func deviceSection(b *bytes.Buffer, devices []DeviceFiles) {
	var sum DeviceFiles
	var bad []DeviceFiles
	for _, d := range devices {
		sum.Exported += d.Exported
		sum.Waiting += d.Waiting
		sum.Quarantined += d.Quarantined
		sum.Lost += d.Lost
		if d.Lost+d.Quarantined > 0 {
			bad = append(bad, d)
		}
	}
	fmt.Fprintf(b, "\n## Devices and known gaps\n\n%s devices. Of their files %s are exported, %s wait, %s are in quarantine and %s were lost before they were fetched.\n",
		thousands(int64(len(devices))), thousands(int64(sum.Exported)), thousands(int64(sum.Waiting)), thousands(int64(sum.Quarantined)), thousands(int64(sum.Lost)))
	if len(bad) == 0 {
		return
	}
	slices.SortStableFunc(bad, func(x, y DeviceFiles) int {
		return cmp.Or(cmp.Compare(y.Lost+y.Quarantined, x.Lost+x.Quarantined), cmp.Compare(x.Device, y.Device))
	})
	b.WriteString("\n")
	rows := [][]string{{"device", "lost", "in quarantine", "exported", "waiting"}}
	for _, d := range bad[:min(len(bad), readmeDevices)] {
		rows = append(rows, []string{codeList([]string{strings.ReplaceAll(clip(d.Device, maxText), "`", "'")}),
			strconv.Itoa(d.Lost), strconv.Itoa(d.Quarantined), strconv.Itoa(d.Exported), strconv.Itoa(d.Waiting)})
	}
	markdownTable(b, rows)
	if more := len(bad) - readmeDevices; more > 0 {
		fmt.Fprintf(b, "\nand %d devices more.\n", more)
	}
}

// missingDays lists the days between the first and the last that are not among
// the days, which are sorted dates, as ranges.
func missingDays(days []string) string {
	var ranges []string
	for i := 1; i < len(days); i++ {
		before, err1 := time.Parse(time.DateOnly, days[i-1])
		after, err2 := time.Parse(time.DateOnly, days[i])
		if err1 != nil || err2 != nil {
			continue // ParsePath lets no such date through
		}
		from, to := before.AddDate(0, 0, 1), after.AddDate(0, 0, -1)
		switch {
		case from.After(to):
		case from.Equal(to):
			ranges = append(ranges, from.Format(time.DateOnly))
		default:
			ranges = append(ranges, from.Format(time.DateOnly)+" to "+to.Format(time.DateOnly))
		}
	}
	if more := len(ranges) - readmeDays; more > 0 {
		ranges = append(ranges[len(ranges)-readmeDays:], fmt.Sprintf("and %d gaps before", more))
	}
	return strings.Join(ranges, ", ")
}

// thousands writes a number with commas; a negative one is not known.
func thousands(n int64) string {
	if n < 0 {
		return "?"
	}
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func megabytes(n int64) string { return strconv.FormatFloat(float64(n)/1e6, 'f', 1, 64) + " MB" }

func orNone(s string) string { return cmp.Or(s, "none") }
