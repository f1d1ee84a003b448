package record

import (
	"bytes"
	_ "embed" // the catalogue is data
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Role tells what a field is for.
type Role uint8

// The roles of a field.
const (
	Key     Role = iota // identifies the object; never summed
	Counter             // cumulative or per-interval count; may be differenced and summed
	Info                // gauge, maximum, bitmap or text; neither differenced nor summed
)

var roleNames = [...]string{Key: "key", Counter: "counter", Info: "info"}

func (r Role) String() string { return roleNames[r] }

// Confidence tells how well a row of the catalogue is known.
type Confidence uint8

// The confidences, from the weakest.
const (
	Hypothesis Confidence = iota // fits what is known, stated nowhere
	Inferred                     // concluded from documented facts
	Documented                   // stated by a public document
)

var confidenceNames = [...]string{Hypothesis: "hypothesis", Inferred: "inferred", Documented: "documented"}

func (c Confidence) String() string { return confidenceNames[c] }

// FieldDef describes one field of a row set.
type FieldDef struct {
	Abbrev  string // the device's abbreviation, case-sensitive: "iof", "mId"
	Column  string // the dataset's column: "in_profile_octets_forwarded"
	Meaning string // one phrase
	Unit    string // octets, packets, id, string or other
	Role    Role
	Numeric bool // the column is INT64, else a string
	// Evidence says how well it is known that a platform has the field: one or
	// more for each platform of the row set.
	Evidence []Evidence
}

// Evidence is what a statement of the catalogue rests on.
type Evidence struct {
	Platform   string
	Confidence Confidence
	Source     string // document the statement comes from
}

// Confidence returns the strongest confidence in the field on a platform.
func (f *FieldDef) Confidence(platform string) Confidence {
	best := Hypothesis
	for _, e := range f.Evidence {
		if e.Platform == platform {
			best = max(best, e.Confidence)
		}
	}
	return best
}

// RowSet is a set of fields that appear together: one sub-record, in one scope,
// in one counter mode. Row sets of several platforms that have the same fields
// with the same meaning are one RowSet.
type RowSet struct {
	Record      Name   // record name; "" in a row set the Reader made for a sub-record nobody knows
	Sub         string // sub-record name
	Scope       string // "per meter", "per SAP", "per queue" …
	CounterMode string // "in-out-profile-count", "forward-drop-count", or "" if it does not matter or cannot be told from the fields
	Object      string // the accounting object: "SAP", "network port" …
	Platforms   []string
	Fields      []FieldDef
	// Known is false for a row set that is not in the catalogue: the Reader
	// made it for a sub-record or a combination of fields it met in a file.
	Known bool
}

// Index returns the position of the field with this abbreviation, -1 if none.
func (s *RowSet) Index(abbrev string) int {
	return slices.IndexFunc(s.Fields, func(f FieldDef) bool { return f.Abbrev == abbrev })
}

// Column is one column of a record name's dataset, the union over all row sets.
type Column struct {
	Name    string
	Abbrevs []string // the abbreviations that mean this, in catalogue order
	Meaning string
	Unit    string
	Role    Role
	Numeric bool
}

// Definition is all the catalogue knows of one record name.
type Definition struct {
	Name            Name
	Number          int           // record number of the MIB; 0 if none is known
	PolicyType      string        // access, accessport, network, networkIf, sdp, saa …
	DefaultInterval time.Duration // collection interval; 0 if unknown
	RowSets         []*RowSet
	Columns         []Column // fixed order: keys, counters, infos, each by first appearance
}

// ColumnIndex returns the position of the named column, -1 if none.
func (d *Definition) ColumnIndex(name string) int {
	return slices.IndexFunc(d.Columns, func(c Column) bool { return c.Name == name })
}

// On returns the row sets that a platform such as "7210 SAS" has.
func (d *Definition) On(platform string) []*RowSet {
	var out []*RowSet
	for _, s := range d.RowSets {
		if slices.Contains(s.Platforms, platform) {
			out = append(out, s)
		}
	}
	return out
}

// Catalogue is a set of record definitions. It is read-only once loaded.
type Catalogue struct {
	defs  []*Definition
	index map[string]*Definition // by lower-case name
	bySub map[string][]*RowSet
	// lexicon makes the words that Readers look for, once for all of them.
	lexicon func() *lexicon
}

//go:embed catalogue/records.csv
var recordsCSV []byte

var builtin = sync.OnceValue(func() *Catalogue {
	c, err := LoadCatalogue(bytes.NewReader(recordsCSV))
	if err != nil {
		panic("embedded catalogue: " + err.Error()) // a test loads it; cannot happen in a build that passed
	}
	return c
})

// Builtin returns the embedded catalogue: 7210 SAS, 7705 SAR, 7450/7750 and
// SR OS records, each row with its confidence and source.
func Builtin() *Catalogue { return builtin() }

// Definitions returns every definition in catalogue order.
func (c *Catalogue) Definitions() []*Definition { return c.defs }

// Lookup finds a record name without regard to case (device documents print
// "Access-ingress-packet" beside "access-ingress-packets").
func (c *Catalogue) Lookup(n Name) (*Definition, bool) {
	d, ok := c.index[strings.ToLower(string(n))]
	return d, ok
}

// SubRecord returns every row set that carries this sub-record name.
func (c *Catalogue) SubRecord(sub string) []*RowSet { return c.bySub[sub] }

// nameAliases are record names that documents spell in a second way.
var nameAliases = map[string]Name{
	"complete-network-ing-egr": "complete-network-ingr-egr",
	"access-ingress-packet":    "access-ingress-packets",
}

// LoadCatalogue reads a catalogue from CSV with the header of the embedded one.
// All mistakes are reported at once, with their lines.
func LoadCatalogue(r io.Reader) (*Catalogue, error) {
	cr := csv.NewReader(r)
	head, err := cr.Read()
	if err != nil {
		return nil, fmt.Errorf("read catalogue header: %w", err)
	}
	col := map[string]int{}
	for i, h := range head {
		col[h] = i
	}
	for _, need := range []string{"platform", "policy_type", "record_name", "record_number", "sub_record", "field", "column", "type", "meaning", "unit", "role", "counter_mode", "scope", "object", "default_interval_minutes", "confidence", "source"} {
		if _, ok := col[need]; !ok {
			return nil, fmt.Errorf("catalogue header: no column %q", need)
		}
	}
	c := &Catalogue{index: map[string]*Definition{}, bySub: map[string][]*RowSet{}}
	b := catalogueBuilder{c: c, sets: map[string]*rawSet{}}
	for {
		rec, err := cr.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		line, _ := cr.FieldPos(0)
		b.add(line, func(name string) string { return rec[col[name]] })
	}
	b.finish()
	if len(b.errs) > 0 {
		return nil, fmt.Errorf("catalogue: %s", strings.Join(b.errs, "; "))
	}
	c.lexicon = sync.OnceValue(func() *lexicon { return newLexicon(c) })
	return c, nil
}

// rawSet is a row set of one platform before equal ones are merged.
type rawSet struct {
	def      *Definition
	set      RowSet
	platform string
}

type catalogueBuilder struct {
	c     *Catalogue
	sets  map[string]*rawSet
	order []*rawSet
	errs  []string
}

func (b *catalogueBuilder) fail(line int, format string, a ...any) {
	b.errs = append(b.errs, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, a...))
}

func (b *catalogueBuilder) add(line int, get func(string) string) {
	name := Name(get("record_name"))
	d, ok := b.c.Lookup(name)
	if !ok {
		d = &Definition{Name: name, PolicyType: get("policy_type")}
		b.c.defs = append(b.c.defs, d)
		b.c.index[strings.ToLower(string(name))] = d
	}
	if s := get("record_number"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.fail(line, "record number %q", s)
		}
		d.Number = n
	}
	if s := get("default_interval_minutes"); s != "" && d.DefaultInterval == 0 {
		n, err := strconv.Atoi(s)
		if err != nil {
			b.fail(line, "default interval %q", s)
		}
		d.DefaultInterval = time.Duration(n) * time.Minute
	}
	f := FieldDef{Abbrev: get("field"), Column: get("column"), Meaning: get("meaning"), Unit: get("unit"), Numeric: get("type") == "int64"}
	role := slices.Index(roleNames[:], get("role"))
	conf := slices.Index(confidenceNames[:], get("confidence"))
	if role < 0 || conf < 0 || f.Abbrev == "" || f.Column == "" {
		b.fail(line, "role %q, confidence %q, field %q, column %q", get("role"), get("confidence"), f.Abbrev, f.Column)
		return
	}
	f.Role = Role(role)
	f.Evidence = []Evidence{{get("platform"), Confidence(conf), get("source")}}
	k := strings.Join([]string{get("platform"), string(name), get("sub_record"), get("scope"), get("counter_mode")}, "\x00")
	rs, ok := b.sets[k]
	if !ok {
		rs = &rawSet{def: d, platform: get("platform"), set: RowSet{Record: d.Name, Sub: get("sub_record"), Scope: get("scope"), CounterMode: get("counter_mode"), Object: get("object"), Known: true}}
		b.sets[k] = rs
		b.order = append(b.order, rs)
	}
	if rs.set.Index(f.Abbrev) >= 0 {
		b.fail(line, "field %q twice in one row set", f.Abbrev)
		return
	}
	rs.set.Fields = append(rs.set.Fields, f)
}

// finish merges equal row sets, and derives the columns of each definition.
func (b *catalogueBuilder) finish() {
	for _, rs := range b.order {
		d := rs.def
		i := slices.IndexFunc(d.RowSets, func(s *RowSet) bool { return sameMeaning(s, &rs.set) })
		if i < 0 {
			set := rs.set
			set.Platforms = []string{rs.platform}
			d.RowSets = append(d.RowSets, &set)
			b.c.bySub[set.Sub] = append(b.c.bySub[set.Sub], &set)
			continue
		}
		s := d.RowSets[i]
		if s.CounterMode != rs.set.CounterMode {
			s.CounterMode = "" // the fields are the same in both modes: they cannot tell
		}
		if !slices.Contains(s.Platforms, rs.platform) {
			s.Platforms = append(s.Platforms, rs.platform)
		}
		for i := range s.Fields {
			f, e := &s.Fields[i], rs.set.Fields[i].Evidence[0]
			if !slices.Contains(f.Evidence, e) {
				f.Evidence = append(f.Evidence, e)
			}
		}
	}
	for _, d := range b.c.defs {
		b.columns(d)
	}
	for alias, n := range nameAliases {
		if d, ok := b.c.index[string(n)]; ok {
			b.c.index[alias] = d
		}
	}
}

func sameMeaning(a, b *RowSet) bool {
	return a.Sub == b.Sub && a.Scope == b.Scope && slices.EqualFunc(a.Fields, b.Fields, func(x, y FieldDef) bool {
		return x.Abbrev == y.Abbrev && x.Column == y.Column && x.Role == y.Role
	})
}

func (b *catalogueBuilder) columns(d *Definition) {
	for _, role := range []Role{Key, Counter, Info} {
		for _, s := range d.RowSets {
			for _, f := range s.Fields {
				if f.Role != role {
					continue
				}
				i := d.ColumnIndex(f.Column)
				if i < 0 {
					d.Columns = append(d.Columns, Column{Name: f.Column, Abbrevs: []string{f.Abbrev}, Meaning: f.Meaning, Unit: f.Unit, Role: role, Numeric: f.Numeric})
					continue
				}
				c := &d.Columns[i]
				if c.Role != role || c.Numeric != f.Numeric {
					b.errs = append(b.errs, fmt.Sprintf("record %s: column %s has two types", d.Name, f.Column))
				}
				if !slices.Contains(c.Abbrevs, f.Abbrev) {
					c.Abbrevs = append(c.Abbrevs, f.Abbrev)
				}
			}
		}
	}
}
