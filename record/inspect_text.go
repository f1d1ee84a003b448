package record

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes the report for a person. Texts from the files are quoted, so
// that they cannot do anything to a terminal.
func (rep *Report) WriteText(w io.Writer) error {
	t := &textReport{tw: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	t.files(rep)
	t.header(rep)
	t.shape(rep)
	t.rowSets(rep)
	t.unknown(rep)
	if len(rep.Problems) > 0 {
		t.printf("\nproblems\n")
		for _, p := range rep.Problems {
			t.printf("  %s\n", p)
		}
	}
	if t.err == nil {
		t.err = t.tw.Flush()
	}
	return t.err
}

type textReport struct {
	tw  *tabwriter.Writer
	err error
}

func (t *textReport) printf(format string, a ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.tw, format, a...)
	}
}

func (t *textReport) files(rep *Report) {
	t.printf("file\tgzip B\tXML B\tmembers\trecords\tunusable\t\n")
	for _, f := range rep.Files {
		var notes []string
		if !f.Gzip && f.XMLBytes > 0 {
			notes = append(notes, "not compressed")
		}
		switch {
		case f.Truncated:
			notes = append(notes, "truncated")
		case f.Error != "":
			notes = append(notes, "see problems")
		}
		t.printf("%s\t%d\t%d\t%d\t%d\t%d\t%s\n", printable(f.Name), f.GzipBytes, f.XMLBytes, f.Members, f.Records, f.BadRecords, strings.Join(notes, ", "))
	}
}

func (t *textReport) header(rep *Report) {
	h := rep.Header
	t.printf("\nthe file says\n")
	line := func(name, value string) {
		if value != "" {
			t.printf("  %s\t%s\n", name, value)
		}
	}
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	quoted := func(s string) string {
		if s == "" {
			return ""
		}
		return printable(s)
	}
	line("policy", number(h.Policy))
	line("file id", number(h.FileID))
	line("record", quoted(string(h.Record)))
	line("system", quoted(h.System))
	line("software", quoted(h.Software))
	line("time zone", quoted(h.Zone))
	line("description", quoted(h.Description))
	line("reason", quoted(h.Reason))
	line("semantics", h.Semantics)
	if !h.Created.IsZero() {
		line("created", h.Created.Format(time.RFC3339Nano))
	}
	if h.Interval > 0 {
		line("collection interval", seconds(h.Interval))
	}
	if rep.Intervals > 0 {
		every := ""
		if rep.Interval > 0 {
			every = ", every " + seconds(rep.Interval)
		}
		line("interval ends", fmt.Sprintf("%s to %s: %d%s", rep.First.Format(time.RFC3339), rep.Last.Format(time.RFC3339), rep.Intervals, every))
	} else {
		line("interval ends", "none found")
	}
	if rep.Finals > 0 {
		line("final records", fmt.Sprintf("%d: the last values of objects that were deleted", rep.Finals))
	}
	if len(rep.FieldsAre) > 0 {
		line("fields are", strings.Join(rep.FieldsAre, ", "))
	}
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).String()
}

func (t *textReport) shape(rep *Report) {
	t.printf("\nshape\thow often\tmeaning\texamples\n")
	const most = 400
	lines := 0
	var visit func(n *ShapeNode, depth int)
	visit = func(n *ShapeNode, depth int) {
		if lines++; lines > most {
			return
		}
		meaning := n.Meaning
		if meaning == "" && n.values > 0 {
			meaning = "?"
		}
		t.printf("%s%s\t%d\t%s\t%s\n", strings.Repeat("  ", depth), printable(n.Name), n.Count, meaning, examples(n.Examples))
		for _, c := range n.Children {
			visit(c, depth+1)
		}
	}
	for _, r := range rep.Shape {
		visit(r, 1)
	}
	if lines > most {
		t.printf("  … and %d more\n", lines-most)
	}
}

func examples(texts []string) string {
	var out []string
	for _, e := range texts {
		out = append(out, strconv.Quote(e))
	}
	return strings.Join(out, " ")
}

func (t *textReport) rowSets(rep *Report) {
	if len(rep.RowSets) == 0 {
		t.printf("\nno record was recognised\n")
		return
	}
	t.printf("\nrecord\tsub-record\tscope\tcounter mode\tin catalogue\trecords\tfields\n")
	for _, s := range rep.RowSets {
		known := "yes"
		if !s.Known {
			known = "no"
		}
		var fields []string
		for _, f := range s.Fields {
			fields = append(fields, printable(f))
		}
		t.printf("%s\t%s\t%s\t%s\t%s\t%d\t%s\n", dash(printableOrEmpty(string(s.Record))), dash(printableOrEmpty(s.Sub)), dash(s.Scope), dash(s.CounterMode), known, s.Records, strings.Join(fields, " "))
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func printableOrEmpty(s string) string {
	if s == "" {
		return ""
	}
	return printable(s)
}

func (t *textReport) unknown(rep *Report) {
	if len(rep.Unknown) == 0 {
		return
	}
	t.printf("\nunknown name\thow often\tlooks like\tat\texamples\n")
	for _, u := range rep.Unknown {
		t.printf("%s\t%d\t%s\t%s\t%s\n", printable(u.Name), u.Count, u.Looks, printable(u.Path), examples(u.Examples))
	}
}
