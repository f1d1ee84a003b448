package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Profile tells a Reader how one kind of device writes its files: what they do
// not say, and how they spell what they say. docs/formats/profile.md describes
// it. The zero value changes nothing.
type Profile struct {
	// What the files do not say.

	Platform  string `yaml:"platform,omitempty"`  // "7210 SAS"; chooses between row sets that fit equally
	Record    Name   `yaml:"record,omitempty"`    // record name of files that give none
	Policy    int    `yaml:"policy,omitempty"`    // accounting policy id of files that give none, 1–99
	Semantics string `yaml:"semantics,omitempty"` // Cumulative or PerInterval
	TimeZone  string `yaml:"time-zone,omitempty"` // zone of times without one, as in the IANA database; "" means UTC
	Time      string `yaml:"time,omitempty"`      // where the end of the interval stands: TimeFile ("" too) or TimeFileName

	// How they spell what they say. The key is what stands in the file.

	Fields     map[string]string `yaml:"fields,omitempty"`      // name of a field: its abbreviation
	SubRecords map[string]string `yaml:"sub-records,omitempty"` // name of an element: its sub-record
	Records    map[string]Name   `yaml:"records,omitempty"`     // text: record name
	Names      ProfileNames      `yaml:"names,omitempty"`

	// ExtraFields are fields outside the catalogue that are expected. They are
	// returned in Record.Unknown, but not counted as unknown.
	ExtraFields []ExtraField `yaml:"extra-fields,omitempty"`
}

// ProfileNames are names of elements and attributes beyond the built-in ones.
type ProfileNames struct {
	End       []string `yaml:"end,omitempty"`        // end of the collection interval
	Start     []string `yaml:"start,omitempty"`      // its start
	Final     []string `yaml:"final,omitempty"`      // the ordinal of deleted objects
	Policy    []string `yaml:"policy,omitempty"`     // accounting policy id
	Record    []string `yaml:"record,omitempty"`     // record name
	SubRecord []string `yaml:"sub-record,omitempty"` // sub-record name
	Created   []string `yaml:"created,omitempty"`    // when the file was created
	System    []string `yaml:"system,omitempty"`     // name of the device
	Header    []string `yaml:"header,omitempty"`     // elements whose content belongs to their parent
	PairName  []string `yaml:"pair-name,omitempty"`  // the name of a name/value pair
	PairValue []string `yaml:"pair-value,omitempty"` // its value
	Ignore    []string `yaml:"ignore,omitempty"`     // names that have none of the built-in meanings
}

// ExtraField is a field that only a profile knows.
type ExtraField struct {
	Name string `yaml:"name"`
	// Role is "key", which records inside the element inherit; "counter", which
	// makes its element a record and must be a decimal number; or "info".
	Role string `yaml:"role"`
}

// The values of Profile.Time.
const (
	TimeFile     = "file"      // in the file
	TimeFileName = "file-name" // the time in the file's name is the end of its one interval
)

// maxProfile bounds the size of a profile in bytes.
const maxProfile = 1 << 20

// LoadProfile reads a profile from YAML and checks it against the catalogue (nil
// means Builtin). All mistakes are reported at once, with their lines.
func LoadProfile(src io.Reader, c *Catalogue) (*Profile, error) {
	text, err := io.ReadAll(io.LimitReader(src, maxProfile+1))
	if err != nil {
		return nil, fmt.Errorf("read profile: %w", err)
	}
	if len(text) > maxProfile {
		return nil, fmt.Errorf("read profile: longer than %d bytes", maxProfile)
	}
	if c == nil {
		c = Builtin()
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("read profile: %w", plainYAML(err))
	}
	p := new(Profile)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var faults []error
	if err := d.Decode(p); err != nil && err != io.EOF {
		faults = append(faults, plainYAML(err))
	}
	if err := d.Decode(new(yaml.Node)); err != io.EOF {
		faults = append(faults, errors.New("a second document follows the first"))
	}
	found := p.faults(c)
	slices.SortStableFunc(found, func(a, b fault) int { return lineOf(&doc, a.at...) - lineOf(&doc, b.at...) })
	for _, f := range found {
		faults = append(faults, fmt.Errorf("line %d: %w", lineOf(&doc, f.at...), f.err))
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("read profile: %w", joinLines(faults))
	}
	return p, nil
}

// plainYAML takes Go's type names out of the messages of the YAML library.
func plainYAML(err error) error {
	var types *yaml.TypeError
	if !errors.As(err, &types) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var out []error
	for _, m := range types.Errors {
		m, _, _ = strings.Cut(m, " in type ")
		out = append(out, errors.New(m))
	}
	return joinLines(out)
}

// joinLines joins errors into one line.
func joinLines(errs []error) error {
	var all []string
	for _, e := range errs {
		all = append(all, e.Error())
	}
	return errors.New(strings.Join(all, "; "))
}

// lineOf finds the line of a value by the keys that lead to it; "#2" is the
// second element of a list.
func lineOf(n *yaml.Node, at ...string) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line := n.Line
	for _, key := range at {
		var found *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					line, found = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			for i, c := range n.Content {
				if c.Value == key || "#"+strconv.Itoa(i+1) == key {
					line, found = c.Line, c
				}
			}
		}
		if found == nil {
			break
		}
		n = found
	}
	return line
}

// fault is one mistake in a profile, and the keys that lead to it.
type fault struct {
	at  []string
	err error
}

// Validate reports all mistakes of a profile that was not made by LoadProfile.
func (p *Profile) Validate(c *Catalogue) error {
	var errs []error
	for _, f := range p.faults(c) {
		errs = append(errs, fmt.Errorf("%s: %w", strings.Join(f.at, ": "), f.err))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("profile: %w", joinLines(errs))
}

func (p *Profile) faults(c *Catalogue) []fault {
	var out []fault
	fail := func(at []string, format string, a ...any) {
		out = append(out, fault{at, fmt.Errorf(format, a...)})
	}
	if p.Platform != "" && !slices.ContainsFunc(c.Definitions(), func(d *Definition) bool { return len(d.On(p.Platform)) > 0 }) {
		fail([]string{"platform"}, "platform %q is not in the catalogue", bounded(p.Platform))
	}
	if _, ok := c.Lookup(p.Record); p.Record != "" && !ok {
		fail([]string{"record"}, "record name %q is not in the catalogue", bounded(string(p.Record)))
	}
	if p.Policy < 0 || p.Policy > 99 {
		fail([]string{"policy"}, "policy %d is not in 1–99", p.Policy)
	}
	if p.Semantics != "" && p.Semantics != Cumulative && p.Semantics != PerInterval {
		fail([]string{"semantics"}, "semantics %q is neither %q nor %q", bounded(p.Semantics), Cumulative, PerInterval)
	}
	if _, err := p.zone(); err != nil {
		fail([]string{"time-zone"}, "time zone %q is not known", bounded(p.TimeZone))
	}
	if p.Time != "" && p.Time != TimeFile && p.Time != TimeFileName {
		fail([]string{"time"}, "time %q is neither %q nor %q", bounded(p.Time), TimeFile, TimeFileName)
	}
	extra := p.faultsOfExtra(c, fail)
	for _, name := range sortedKeys(p.Fields) {
		if abbrev := p.Fields[name]; !c.hasField(abbrev) && !extra[abbrev] {
			fail([]string{"fields", name}, "field %q is in no record of the catalogue, and no extra field", bounded(abbrev))
		}
	}
	for _, name := range sortedKeys(p.SubRecords) {
		if sub := p.SubRecords[name]; len(c.SubRecord(sub)) == 0 || sub == "" {
			fail([]string{"sub-records", name}, "sub-record %q is not in the catalogue", bounded(sub))
		}
	}
	for _, name := range sortedKeys(p.Records) {
		if _, ok := c.Lookup(p.Records[name]); !ok {
			fail([]string{"records", name}, "record name %q is not in the catalogue", bounded(string(p.Records[name])))
		}
	}
	p.faultsOfNames(fail)
	return out
}

// faultsOfExtra returns the names of the extra fields.
func (p *Profile) faultsOfExtra(c *Catalogue, fail func([]string, string, ...any)) map[string]bool {
	names := map[string]bool{}
	for i, e := range p.ExtraFields {
		at := []string{"extra-fields", "#" + strconv.Itoa(i+1)}
		switch {
		case e.Name == "":
			fail(at, "an extra field has no name")
		case names[e.Name]:
			fail(at, "extra field %q stands twice", bounded(e.Name))
		case c.hasField(e.Name):
			fail(at, "field %q is in the catalogue already", bounded(e.Name))
		case slices.Index(roleNames[:], e.Role) < 0:
			fail(at, "role %q of %q is not key, counter or info", bounded(e.Role), bounded(e.Name))
		}
		names[e.Name] = true
	}
	return names
}

// faultsOfNames reports names that would have two meanings.
func (p *Profile) faultsOfNames(fail func([]string, string, ...any)) {
	seen := map[string]string{}
	note := func(name, as string, at ...string) {
		if name == "" {
			fail(at, "an empty name")
		} else if other, ok := seen[name]; ok {
			fail(at, "%q is given as %s and as %s", bounded(name), other, as)
		}
		seen[name] = as
	}
	for _, name := range sortedKeys(p.Fields) {
		note(name, "field", "fields", name)
	}
	for _, name := range sortedKeys(p.SubRecords) {
		note(name, "sub-record", "sub-records", name)
	}
	for _, l := range p.Names.lists() {
		for _, name := range l.names {
			note(name, l.key, "names", l.key, name)
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// hasField tells whether any record has a field of this abbreviation.
func (c *Catalogue) hasField(abbrev string) bool {
	return slices.ContainsFunc(c.defs, func(d *Definition) bool {
		return slices.ContainsFunc(d.Columns, func(col Column) bool { return slices.Contains(col.Abbrevs, abbrev) })
	})
}

// zone is the zone of times that have none.
func (p *Profile) zone() (*time.Location, error) {
	if p.TimeZone == "Local" {
		return nil, errors.New("the zone must have a name")
	}
	return time.LoadLocation(p.TimeZone)
}

// nameList is one list of ProfileNames and what it does to a word.
type nameList struct {
	key   string
	names []string
	apply func(*word)
}

func (n *ProfileNames) lists() []nameList {
	as := func(c ctxKind) func(*word) { return func(w *word) { w.ctx = c } }
	return []nameList{
		{"end", n.End, as(ctxEnd)},
		{"start", n.Start, as(ctxStart)},
		{"final", n.Final, as(ctxFinal)},
		{"policy", n.Policy, as(ctxPolicy)},
		{"record", n.Record, as(ctxRecord)},
		{"sub-record", n.SubRecord, as(ctxSub)},
		{"created", n.Created, as(ctxCreated)},
		{"system", n.System, as(ctxSystem)},
		{"header", n.Header, func(w *word) { w.header = true }},
		{"pair-name", n.PairName, func(w *word) { w.pairName = true }},
		{"pair-value", n.PairValue, func(w *word) { w.pairValue = true }},
		{"ignore", n.Ignore, func(*word) {}},
	}
}

// extend adds what the profile says to the words of the catalogue.
func (p *Profile) extend(v *lexicon) {
	for _, e := range p.ExtraFields {
		v.addField(e.Name, Role(max(0, slices.Index(roleNames[:], e.Role))), true)
	}
	for name, abbrev := range p.Fields {
		w := v.exact(name)
		w.field, w.profiled = v.fields[abbrev], true
	}
	for name, sub := range p.SubRecords {
		w := v.exact(name)
		w.sub, w.profiled = sub, true
	}
	for _, l := range p.Names.lists() {
		for _, name := range l.names {
			w := &word{name: name} // whatever it means otherwise
			w.profiled = true
			l.apply(w)
			v.static[name] = w
		}
	}
}
