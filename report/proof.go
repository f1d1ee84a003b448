package report

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"acctpull/internal/columns"
	"acctpull/usage"
)

// ProofFormat is the format of a proof file.
const ProofFormat = "acctpull-proof/1"

// maxProofRows bounds a proof: a month of 300 series with intervals of 15 minutes.
const maxProofRows = 1 << 20

// proofBefore is how long before the window a proof looks for the rows from which the
// first ones were told, in microseconds.
const proofBefore = 24 * 60 * minute

// Proof is a report with everything that it stands on. Whoever has it and the
// accounting files can derive the figures anew, without the dataset.
type Proof struct {
	Format string `json:"format"`
	// Rules and UsageRules are the versions of the rules of figures and of deltas.
	Rules      int     `json:"rules_version"`
	UsageRules int     `json:"usage_rules_version"`
	Options    Options `json:"question"`
	Report     *Report `json:"answer"`
	// Sources are the accounting files whose rows are in Rows, and those with the
	// rows that were subtracted from them.
	Sources []Source      `json:"sources"`
	Tables  []ProofTable  `json:"tables"`
	Series  []ProofSeries `json:"series"`
	Rows    []ProofRow    `json:"rows"`
}

// Source is an accounting file.
type Source struct {
	Device string `json:"device"`
	File   string `json:"file"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// ProofTable is a table and the columns that series and rows refer to.
type ProofTable struct {
	Name     string   `json:"table"`
	Keys     []string `json:"keys"`
	Counters []string `json:"counters"`
}

// ProofSeries is a series of rows.
type ProofSeries struct {
	Table  int       `json:"table"` // index of Proof.Tables
	Device string    `json:"device"`
	Keys   []*string `json:"keys"` // of the table; nil is NULL
	Sub    string    `json:"sub_record"`
	Scope  string    `json:"scope"`
}

// ProofRow is a row of a usage table.
type ProofRow struct {
	Series int        `json:"series"` // index of Proof.Series
	Start  *time.Time `json:"start"`
	End    time.Time  `json:"end"`
	Final  int64      `json:"final,omitempty"`
	Break  string     `json:"break,omitempty"`
	Deltas []*int64   `json:"deltas"` // of the counters of the table; nil is NULL
	// Source and Previous are indexes of Proof.Sources; Previous is -1 if no row
	// was subtracted.
	Source   int `json:"source"`
	Previous int `json:"previous"`
}

// collector gathers a proof while rows pass.
type collector struct {
	proof   Proof
	sources map[Source]int
	current Key  // of the last series of proof.Series
	open    bool // there is one
	// before tells where the last row before the window comes from, and whose it is.
	before    Source
	beforeKey Key
}

func newCollector() *collector {
	return &collector{proof: Proof{Format: ProofFormat, Rules: RulesVersion, UsageRules: usage.RulesVersion,
		Sources: []Source{}, Tables: []ProofTable{}, Series: []ProofSeries{}, Rows: []ProofRow{}}, sources: map[Source]int{}}
}

// table begins another table.
func (c *collector) table(e *engine) {
	c.proof.Tables = append(c.proof.Tables, ProofTable{string(e.measure.def.Name) + UsageSuffix, e.keys, e.measure.all()})
	c.open, c.before = false, Source{}
}

func (c *collector) source(device, file, sum string) int {
	s := Source{strings.Clone(device), strings.Clone(file), strings.Clone(sum)}
	at, ok := c.sources[s]
	if !ok {
		at = len(c.proof.Sources)
		c.sources[s] = at
		c.proof.Sources = append(c.proof.Sources, s)
	}
	return at
}

// text reads a column of a proof.
func (s *scanner) text(b *columns.Batch, i, column int) (string, bool) {
	return b.Columns[len(b.Columns)-len(proofNames)+column].Text(i)
}

// pass remembers where a row before the window comes from.
func (c *collector) pass(s *scanner, b *columns.Batch, i int) {
	if end, _ := b.Columns[colEnd].Int(i); end > s.opts.Window.From.UnixMicro() {
		return
	}
	file, _ := s.text(b, i, proofFile)
	sum, _ := s.text(b, i, proofSum)
	if !c.beforeKey.sameSeries(&s.key) {
		c.beforeKey = s.key.clone()
	}
	c.before = Source{s.key.Device, strings.Clone(file), strings.Clone(sum)}
}

// add takes a row that figures were made from.
func (c *collector) add(s *scanner, b *columns.Batch, i int) error {
	p := &c.proof
	if len(p.Rows) == maxProofRows {
		return invalid("prove fewer objects at a time: --device, --sap, --groups", "the figures stand on more than %d rows", maxProofRows)
	}
	fresh := !c.open || !c.current.sameSeries(&s.key)
	if fresh {
		series := ProofSeries{Table: len(p.Tables) - 1, Device: s.key.Device, Sub: s.key.Sub, Scope: s.key.Scope, Keys: make([]*string, len(s.key.Cells))}
		for j, cell := range s.key.Cells {
			if cell.Set {
				text := strings.Clone(cell.Text())
				series.Keys[j] = &text
			}
		}
		p.Series = append(p.Series, series)
		c.current, c.open = s.key.clone(), true
	}
	r := ProofRow{Series: len(p.Series) - 1, End: microTime(s.row.end), Break: strings.Clone(s.row.reason), Previous: -1}
	r.Final, _ = b.Columns[colFinal].Int(i)
	if start, ok := b.Columns[len(b.Columns)-len(proofNames)+proofStart].Int(i); ok {
		t := microTime(start)
		r.Start = &t
	}
	for j := range s.measure.all() {
		var v *int64
		if n, ok := b.Columns[fixedColumns+len(s.keys)+j].Int(i); ok {
			v = &n
		}
		r.Deltas = append(r.Deltas, v)
	}
	file, _ := s.text(b, i, proofFile)
	sum, _ := s.text(b, i, proofSum)
	r.Source = c.source(s.key.Device, file, sum)
	if file, ok := s.text(b, i, proofPrevious); ok {
		sum, _ := s.text(b, i, proofPreviousSum)
		r.Previous = c.source(s.key.Device, file, sum)
	} else if fresh && r.Break != "" && c.before.File != "" && c.beforeKey.sameSeries(&s.key) {
		c.source(c.before.Device, c.before.File, c.before.SHA256)
	}
	p.Rows = append(p.Rows, r)
	return nil
}

// finish closes the proof.
func (c *collector) finish(o *Options, r *Report) *Proof {
	c.proof.Options, c.proof.Report = *o, r
	return &c.proof
}

// Write writes the proof as JSON with one row, series and source in each line.
func (p *Proof) Write(w io.Writer) error {
	var b bytes.Buffer
	object := func(name string, v any) error {
		data, err := marshal(v)
		fmt.Fprintf(&b, "%q:%s", name, data)
		return err
	}
	b.WriteString("{")
	for _, part := range []struct {
		name string
		v    any
	}{{"format", p.Format}, {"rules_version", p.Rules}, {"usage_rules_version", p.UsageRules}, {"question", p.Options}, {"answer", p.Report}, {"tables", p.Tables}} {
		if err := object(part.name, part.v); err != nil {
			return fmt.Errorf("write proof: %w", err)
		}
		b.WriteString(",\n")
	}
	err := writeList(w, &b, "sources", p.Sources, ",\n")
	if err == nil {
		err = writeList(w, &b, "series", p.Series, ",\n")
	}
	if err == nil {
		err = writeList(w, &b, "rows", p.Rows, "}\n")
	}
	if err != nil {
		return fmt.Errorf("write proof: %w", err)
	}
	return nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// writeList writes what is in b, then the list in pieces.
func writeList[T any](w io.Writer, b *bytes.Buffer, name string, list []T, end string) error {
	fmt.Fprintf(b, "%q:[", name)
	for i := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		data, err := marshal(&list[i])
		if err != nil {
			return err
		}
		b.WriteByte('\n')
		b.Write(data)
		if b.Len() > 1<<16 {
			if _, err := w.Write(b.Bytes()); err != nil {
				return err
			}
			b.Reset()
		}
	}
	b.WriteString("]" + end)
	_, err := w.Write(b.Bytes())
	b.Reset()
	return err
}

// ReadProof reads a proof file and checks that it is whole: a proof is data from
// outside.
func ReadProof(r io.Reader) (*Proof, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var p Proof
	if err := d.Decode(&p); err != nil {
		return nil, invalid("acctpull report … --proof writes such a file", "read proof: %s", clip(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, invalid("", "read proof: there is more behind its end")
	}
	if p.Format != ProofFormat {
		return nil, invalid("", "%q is no proof of the format %s", clip(p.Format), ProofFormat)
	}
	if p.Rules != RulesVersion || p.UsageRules != usage.RulesVersion {
		return nil, invalid("use the version of acctpull that made it", "the proof was made by the rules %d and %d of figures and deltas, these are %d and %d", p.Rules, p.UsageRules, RulesVersion, usage.RulesVersion)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return &p, nil
}

// check refuses a proof that does not hang together.
func (p *Proof) check() error {
	bad := func(format string, a ...any) error {
		return invalid("the file was changed, or is no proof", "read proof: "+format, a...)
	}
	switch {
	case p.Report == nil:
		return bad("no answer")
	case len(p.Rows) > maxProofRows:
		return bad("more than %d rows", maxProofRows)
	}
	for i, s := range p.Sources {
		sum, err := hex.DecodeString(s.SHA256)
		if err != nil || len(sum) != 32 || s.SHA256 != strings.ToLower(s.SHA256) {
			return bad("source %d: %q is no SHA-256", i, clip(s.SHA256))
		}
		if s.Device == "" || s.File == "" || strings.ContainsAny(s.File, "/\\") || unusable(s.File) || unusable(s.Device) || s.File == "." || s.File == ".." {
			return bad("source %d: device %q, file %q", i, clip(s.Device), clip(s.File))
		}
	}
	for i, s := range p.Series {
		if s.Table < 0 || s.Table >= len(p.Tables) || len(s.Keys) != len(p.Tables[s.Table].Keys) {
			return bad("series %d", i)
		}
	}
	for i, r := range p.Rows {
		if r.Series < 0 || r.Series >= len(p.Series) || r.Source < 0 || r.Source >= len(p.Sources) || r.Previous < -1 || r.Previous >= len(p.Sources) ||
			len(r.Deltas) != len(p.Tables[p.Series[r.Series].Table].Counters) {
			return bad("row %d", i)
		}
	}
	return nil
}
