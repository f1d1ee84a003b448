package record

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Dictionary returns the data dictionary of c as Markdown: every dataset column
// of every record name, and the row sets it is filled from. The one of the
// embedded catalogue is committed as docs/data-dictionary.md.
func Dictionary(c *Catalogue) []byte {
	var b bytes.Buffer
	b.WriteString(dictionaryHead)
	for _, note := range allNotes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	b.WriteString("\n## Records\n\n")
	rows := [][]string{{"#", "record name", "policy type", "default interval", "sub-records", "platforms"}}
	for _, d := range c.Definitions() {
		rows = append(rows, []string{numberText(d.Number), fmt.Sprintf("[%s](#%[1]s)", d.Name), d.PolicyType, d.intervalText(), code(d.subRecords()), d.platformText()})
	}
	markdownTable(&b, rows)
	for _, d := range c.Definitions() {
		d.dictionary(&b)
	}
	return b.Bytes()
}

const dictionaryHead = `# Data dictionary

Made from the record catalogue (record/catalogue/records.csv); do not edit.
` + "`go test ./record -update`" + ` writes it anew.

The dataset has one table per record name. Its columns are those below and the
columns that all tables share, which are described with the dataset. Each column
is the union of all row sets: a row has a value only in the columns that its
sub-record, scope, counter mode and platform have, and NULL in the others. NULL
means that the device gave no number; it is never 0.

- *key*: names the object; the keys and the device identify a series.
- *counter*: counts up until the object or the device restarts; may be
  differenced and summed.
- *info*: gauge, maximum, bitmap or text; neither differenced nor summed.

How sure the catalogue is, per platform:

`

// dictionary writes the section of one record name.
func (d *Definition) dictionary(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n## %s\n\n", d.Name)
	fmt.Fprintf(b, "Record number %s, policy type %s, default interval %s.\n\n", numberText(d.Number), d.PolicyType, d.intervalText())
	platforms := d.platforms()
	columns := [][]string{append([]string{"column", "device field", "type", "unit", "role", "meaning"}, platforms...)}
	for _, c := range d.Columns {
		row := []string{code([]string{c.Name}), code(c.Abbrevs), typeText(c.Numeric), c.Unit, c.Role.String(), c.Meaning}
		for _, p := range platforms {
			row = append(row, d.columnConfidence(c.Name, p))
		}
		columns = append(columns, row)
	}
	markdownTable(b, columns)
	b.WriteString("\nRow sets:\n\n")
	sets := [][]string{{"sub-record", "scope", "counter mode", "object", "platforms", "fields"}}
	var sources []string
	for _, s := range d.RowSets {
		var fields []string
		for _, f := range s.Fields {
			fields = append(fields, f.Abbrev)
			for _, e := range f.Evidence {
				if line := e.Platform + ": " + e.Source; !slices.Contains(sources, line) {
					sources = append(sources, line)
				}
			}
		}
		sets = append(sets, []string{code([]string{orDash(s.Sub)}), orDash(s.Scope), orDash(s.CounterMode), orDash(s.Object), strings.Join(s.Platforms, ", "), code(fields)})
	}
	markdownTable(b, sets)
	b.WriteString("\nSources:\n\n")
	for _, s := range sources {
		fmt.Fprintf(b, "- %s\n", s)
	}
}

// columnConfidence returns the confidence of the weakest field that fills a
// column on a platform, "–" if the platform has none.
func (d *Definition) columnConfidence(column, platform string) string {
	weakest, found := Documented, false
	for _, s := range d.On(platform) {
		for i := range s.Fields {
			if f := &s.Fields[i]; f.Column == column {
				weakest, found = min(weakest, f.Confidence(platform)), true
			}
		}
	}
	if !found {
		return "–"
	}
	return weakest.String()
}

// code sets words in code type.
func code(words []string) string { return "`" + strings.Join(words, "` `") + "`" }

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
