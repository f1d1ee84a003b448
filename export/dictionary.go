package export

import (
	"bytes"
	"fmt"
	"strings"
)

// dictionary returns data-dictionary.md without its digest: every column of
// every table that is there.
func dictionary(tables []*Table) []byte {
	var b bytes.Buffer
	b.WriteString(`# Data dictionary

Every column of every table in this dataset. The same is in datapackage.json for programs, and in the
metadata of each Parquet file under the key acctpull.columns. Made by acctpull; changes to it are lost.

- *key*: names the object; the keys and the device identify a series.
- *counter*: counts up until the object or the device restarts, or, in a table whose name ends in -usage, what
  was counted in the interval of the row.
- *info*: gauge, maximum, bitmap or text; neither differenced nor summed.
- *common*: of the file, the interval, or the row itself.

NULL means that the device gave no number, or that none is known. It is never 0. All times are UTC.
The column date stands in the path and not in the files: the date of interval_end.
`)
	for _, t := range tables {
		fmt.Fprintf(&b, "\n## %s\n\nVersion %d, in `%s/`. Sorted by %s.\n\n", t.Name, t.Version, t.dir(), codeList(t.Sorted))
		rows := [][]string{{"column", "type", "NULL", "role", "unit", "device field", "meaning"}}
		for _, c := range t.Columns {
			null := "no"
			if c.Nullable {
				null = "yes"
			}
			rows = append(rows, []string{codeList([]string{c.Name}), c.Type.String(), null, c.Role, c.Unit, codeList(c.Abbrevs), c.Meaning})
		}
		markdownTable(&b, rows)
	}
	return b.Bytes()
}

// codeList sets words in code type.
func codeList(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return "`" + strings.Join(words, "`, `") + "`"
}

// markdownTable writes a table whose first row is the head.
func markdownTable(b *bytes.Buffer, rows [][]string) {
	for i, row := range rows {
		for _, cell := range row {
			b.WriteString("| " + strings.ReplaceAll(cell, "|", `\|`) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
}
