package record

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// hypothesisNote is said wherever the 7210 SAS records are listed as a whole.
const hypothesisNote = "7210 SAS: that there are 21 records is documented; which records they are is a working hypothesis, whatever the confidence of their fields."

// confidenceNote explains the confidence words.
const confidenceNote = "documented: stated by a public document; inferred: concluded from documented facts; hypothesis: fits what is known, stated nowhere. The confidence of a record is that of its weakest field."

// intervalNote explains "(ours)" beside an interval.
const intervalNote = "(ours): no document names the default interval of accessport and networkIf records; this one is acctpull's choice."

// allNotes stand below a list of all records.
var allNotes = []string{hypothesisNote, intervalNote, confidenceNote}

const baseline = "7210 SAS" // the platform hypothesisNote speaks of

// Overview returns a table of all records of c: number, name, policy type,
// default interval, sub-records, and the platforms with their confidence.
func Overview(c *Catalogue) string {
	t := newTable("RECORD #", "RECORD NAME", "TYPE", "DEF. INTERVAL", "SUB-RECORDS", "PLATFORMS")
	for _, d := range c.Definitions() {
		t.row(numberText(d.Number), string(d.Name), d.PolicyType, d.intervalText(), strings.Join(d.subRecords(), " "), d.platformText())
	}
	return t.String() + "\n" + strings.Join(allNotes, "\n") + "\n"
}

// Describe returns all the catalogue knows of one record: a table per row set,
// with the confidence and the source of every field on every platform.
func Describe(d *Definition) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", d.Name)
	head := newTable()
	head.row("record number", numberText(d.Number))
	head.row("policy type", d.PolicyType)
	head.row("default interval", d.intervalText())
	head.row("platforms", d.platformText())
	b.WriteString(head.String())
	var sources sourceList
	for _, s := range d.RowSets {
		fmt.Fprintf(&b, "\n%s\n", s.title())
		t := newTable(append([]string{"FIELD", "COLUMN", "TYPE", "UNIT", "ROLE", "MEANING"}, s.Platforms...)...)
		for i := range s.Fields {
			f := &s.Fields[i]
			cells := []string{f.Abbrev, f.Column, typeText(f.Numeric), f.Unit, f.Role.String(), f.Meaning}
			for _, p := range s.Platforms {
				cells = append(cells, sources.cell(f, p))
			}
			t.row(cells...)
		}
		b.WriteString(t.String())
	}
	b.WriteString("\nSources\n")
	t := newTable()
	for i, s := range sources {
		t.row(fmt.Sprintf("[%d]", i+1), s)
	}
	b.WriteString(t.String())
	return b.String() + "\n" + strings.Join(d.notes(), "\n") + "\n"
}

// subRecords lists the sub-record names of d, each once. A record without a
// name for its sub-record has "-".
func (d *Definition) subRecords() []string {
	var out []string
	for _, s := range d.RowSets {
		if name := orDash(s.Sub); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// platforms lists the platforms of d, each once.
func (d *Definition) platforms() []string {
	var out []string
	for _, s := range d.RowSets {
		for _, p := range s.Platforms {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// confidence returns how well the weakest field of d on a platform is known.
func (d *Definition) confidence(platform string) Confidence {
	weakest := Documented
	for _, s := range d.On(platform) {
		for i := range s.Fields {
			weakest = min(weakest, s.Fields[i].Confidence(platform))
		}
	}
	return weakest
}

func (d *Definition) platformText() string {
	var out []string
	for _, p := range d.platforms() {
		out = append(out, p+" "+d.confidence(p).String())
	}
	return strings.Join(out, ", ")
}

// title names a row set in one line.
func (s *RowSet) title() string {
	t := fmt.Sprintf("Sub-record %s, %s, object: %s", orDash(s.Sub), orDash(s.Scope), orDash(s.Object))
	if s.CounterMode != "" {
		t += ", counter mode: " + s.CounterMode
	}
	return t
}

// sourceList numbers sources in the order in which they are cited.
type sourceList []string

// cell returns the evidence for a field on one platform, "documented [1]".
func (l *sourceList) cell(f *FieldDef, platform string) string {
	var out []string
	for _, e := range f.Evidence {
		if e.Platform != platform {
			continue
		}
		n := slices.Index(*l, e.Source)
		if n < 0 {
			n = len(*l)
			*l = append(*l, e.Source)
		}
		out = append(out, fmt.Sprintf("%s [%d]", e.Confidence, n+1))
	}
	return strings.Join(out, ", ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func numberText(n int) string {
	if n == 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// intervalOurs tells that the default interval is our choice.
func (d *Definition) intervalOurs() bool {
	return d.DefaultInterval != 0 && (d.PolicyType == "accessport" || d.PolicyType == "networkIf")
}

func (d *Definition) intervalText() string {
	if d.DefaultInterval == 0 {
		return "unknown"
	}
	t := strconv.Itoa(int(d.DefaultInterval/time.Minute)) + " min"
	if d.intervalOurs() {
		t += " (ours)"
	}
	return t
}

// notes are the sentences without which a description of d would claim too much.
func (d *Definition) notes() []string {
	var out []string
	if len(d.On(baseline)) > 0 {
		out = append(out, hypothesisNote)
	}
	if d.intervalOurs() {
		out = append(out, intervalNote)
	}
	return append(out, confidenceNote)
}

func typeText(numeric bool) string {
	if numeric {
		return "int64"
	}
	return "string"
}

// table is a text table whose columns line up.
type table struct {
	text strings.Builder
	tab  *tabwriter.Writer
}

func newTable(head ...string) *table {
	t := &table{}
	t.tab = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	if len(head) > 0 {
		t.row(head...)
	}
	return t
}

func (t *table) row(cells ...string) {
	fmt.Fprintln(t.tab, "  "+strings.Join(cells, "\t")) // memory: cannot fail
}

func (t *table) String() string {
	t.tab.Flush() // memory: cannot fail
	return t.text.String()
}
