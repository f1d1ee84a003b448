package report

import (
	"slices"
	"strings"

	"acctpull/record"
)

// UsageSuffix ends the name of a usage table; before it stands the record name.
const UsageSuffix = "-usage"

// measure says which counters of a table's rows make a figure.
type measure struct {
	def       *record.Definition
	unit      Unit
	counters  []string // columns of the figure, in the order of the table
	forwarded []string // for drops: the columns that were not dropped
	scope     string
	explicit  bool
}

// counting tells what a counter counts, from its name in the catalogue.
func counting(c *record.Column) string {
	switch {
	case c.Role != record.Counter:
		return ""
	case strings.Contains(c.Name, "_forwarded"):
		return "forwarded"
	case strings.Contains(c.Name, "_dropped"):
		return "dropped"
	}
	return ""
}

// newMeasure resolves the counters of a report in a table; false if the table has
// none that answer it.
func newMeasure(def *record.Definition, o *Options) (*measure, bool, error) {
	m := &measure{def: def, unit: o.Unit, scope: o.Scope, explicit: len(o.Counters) > 0}
	if m.explicit {
		return m, true, m.choose(o.Counters)
	}
	want := "forwarded"
	if o.Kind == Drops {
		want = "dropped"
	}
	if m.unit == "" {
		m.unit = Packets
		for i := range def.Columns {
			if c := &def.Columns[i]; counting(c) == want && c.Unit == string(Octets) {
				m.unit = Octets
			}
		}
	}
	for i := range def.Columns {
		c := &def.Columns[i]
		switch {
		case c.Unit != string(m.unit):
		case counting(c) == want:
			m.counters = append(m.counters, c.Name)
		case counting(c) == "forwarded":
			m.forwarded = append(m.forwarded, c.Name)
		}
	}
	return m, len(m.counters) > 0, nil
}

// choose takes the counters that were asked for; they must be of one unit.
func (m *measure) choose(names []string) error {
	m.unit = ""
	for _, name := range names {
		i := m.def.ColumnIndex(name)
		if i < 0 || m.def.Columns[i].Role != record.Counter {
			return invalid("acctpull records "+string(m.def.Name)+" lists them", "%s has no counter %q", m.def.Name, clip(name))
		}
		u := Unit(m.def.Columns[i].Unit)
		if u != Octets && u != Packets {
			return invalid("octets and packets can be reported", "the counter %s counts neither octets nor packets", name)
		}
		if m.unit != "" && m.unit != u {
			return invalid("ask for one after the other", "%s counts %s, %s %s", names[0], m.unit, name, u)
		}
		m.unit = u
		if !slices.Contains(m.counters, name) {
			m.counters = append(m.counters, name)
		}
	}
	return nil
}

// want are the counters that one kind of row has to have; indexes into measure.all.
type want struct{ main, forwarded []int }

// all are the columns that wants refer to.
func (m *measure) all() []string { return append(slices.Clone(m.counters), m.forwarded...) }

// wants returns what rows of a sub-record, scope and counter mode have to have: one
// entry for each set of fields that a platform writes there. None means that such
// rows do not count.
func (m *measure) wants(sub, scope, mode string) []want {
	if m.scope != "" && m.scope != scope {
		return nil
	}
	all := m.all()
	var out []want
	for _, s := range m.def.RowSets {
		if s.Sub != sub || s.Scope != scope || s.CounterMode != mode && s.CounterMode != "" && mode != "" {
			continue
		}
		var w want
		for i, name := range all {
			switch {
			case !slices.ContainsFunc(s.Fields, func(f record.FieldDef) bool { return f.Column == name }):
			case i < len(m.counters):
				w.main = append(w.main, i)
			default:
				w.forwarded = append(w.forwarded, i)
			}
		}
		same := func(o want) bool {
			return slices.Equal(o.main, w.main) && slices.Equal(o.forwarded, w.forwarded)
		}
		if len(w.main) > 0 && !slices.ContainsFunc(out, same) {
			out = append(out, w)
		}
	}
	return out
}

// direction tells the direction of a row from the record name, or else from the
// sub-record, whose last letters say ingress or egress, octets and packets: cpSipo,
// cmNeo.
func direction(name record.Name, sub string) Direction {
	in, out := strings.Contains(string(name), "-ingress"), strings.Contains(string(name), "-egress")
	switch {
	case in && !out:
		return In
	case out && !in:
		return Out
	}
	sub = strings.TrimSuffix(sub, "oc") // subscriber records: cpSBipooc
	rest := strings.TrimRight(sub, "po")
	switch {
	case rest == sub:
		return AnyDirection
	case strings.HasSuffix(rest, "i"):
		return In
	case strings.HasSuffix(rest, "e"):
		return Out
	}
	return AnyDirection
}

// directions are those of the rows that a measure counts.
func (m *measure) directions() []Direction {
	var out []Direction
	for _, s := range m.def.RowSets {
		if len(m.wants(s.Sub, s.Scope, s.CounterMode)) == 0 {
			continue
		}
		if d := direction(m.def.Name, s.Sub); !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}

// Choose returns the record names, of those that have a usage table, that answer the
// question together: each direction is counted by one of them. Named tables are taken
// as they are.
func Choose(cat *record.Catalogue, have []string, named []string, o *Options) ([]*record.Definition, error) {
	var list []*record.Definition
	from := named
	if len(named) == 0 {
		from = have
	}
	for _, name := range from {
		name = strings.TrimSuffix(name, UsageSuffix)
		def, ok := cat.Lookup(record.Name(name))
		switch {
		case !ok && len(named) > 0:
			return nil, invalid("acctpull records lists the record names", "no record %q in the catalogue", clip(name))
		case !ok || slices.Contains(list, def):
			continue
		case !slices.ContainsFunc(have, func(h string) bool { return strings.TrimSuffix(h, UsageSuffix) == string(def.Name) }):
			return nil, invalid("acctpull usage makes it", "the dataset has no usage of %s", def.Name)
		}
		fits, err := answers(def, o)
		switch {
		case fits:
			list = append(list, def)
		case len(named) > 0 && err != nil:
			return nil, err
		case len(named) > 0:
			return nil, invalid("acctpull records "+string(def.Name)+" lists its columns; --counter chooses some", "%s has no counters, objects or columns of the kind that is asked for", def.Name)
		}
	}
	if len(named) == 0 {
		list = preferOctets(list, o)
	}
	if err := apart(list, o); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, invalid("acctpull usage makes usage tables; --table, --by, --unit and --counter say what is looked for", "no usage table of the dataset has the answer")
	}
	return list, nil
}

// preferOctets leaves out tables that count packets if others count octets and no unit
// is asked for.
func preferOctets(list []*record.Definition, o *Options) []*record.Definition {
	counts := func(def *record.Definition) bool {
		m, _, err := newMeasure(def, o)
		return err == nil && m.unit == Octets
	}
	if o.Unit != "" || !slices.ContainsFunc(list, counts) {
		return list
	}
	return slices.DeleteFunc(list, func(def *record.Definition) bool { return !counts(def) })
}

// apart refuses tables of which two count the same direction.
func apart(list []*record.Definition, o *Options) error {
	taken := map[Direction]record.Name{}
	for _, def := range list {
		m, _, err := newMeasure(def, o)
		if err != nil {
			return err
		}
		for _, d := range m.directions() {
			if o.Direction != AnyDirection && d != o.Direction {
				continue
			}
			if before, ok := taken[d]; ok {
				return invalid("choose one with --table", "both %s and %s have the answer: together they would count twice", before, def.Name)
			}
			taken[d] = def.Name
		}
	}
	return nil
}

// answers tells whether a table has what a question needs.
func answers(def *record.Definition, o *Options) (bool, error) {
	m, ok, err := newMeasure(def, o)
	if err != nil || !ok {
		return false, err
	}
	if o.By != "" {
		if _, ok := o.By.columns(def); !ok {
			return false, nil
		}
	}
	if o.Direction != AnyDirection && !slices.Contains(m.directions(), o.Direction) {
		return false, nil
	}
	if len(o.Groups) > 0 && len(newMemberIndex(allMembers(o.Groups), keyColumns(def)).masks) == 0 {
		return false, nil
	}
	return len(m.directions()) > 0 && o.Filter.fits(def), nil
}

// keyColumns are the key columns of a record in the order of the table, which sorts
// by them.
func keyColumns(def *record.Definition) []string {
	var keys []string
	for _, c := range def.Columns {
		if c.Role == record.Key {
			keys = append(keys, c.Name)
		}
	}
	return keys
}

func allMembers(groups []Group) []Member {
	var all []Member
	for _, g := range groups {
		all = append(all, g.Members...)
	}
	return all
}

// ParseUnit reads the name of a unit.
func ParseUnit(s string) (Unit, error) {
	if u := Unit(s); u == Octets || u == Packets {
		return u, nil
	}
	return "", invalid("octets or packets", "no unit %q", clip(s))
}

// ParseDirection reads the name of a direction.
func ParseDirection(s string) (Direction, error) {
	if d := Direction(s); d == In || d == Out {
		return d, nil
	}
	return "", invalid("in or out", "no direction %q", clip(s))
}
