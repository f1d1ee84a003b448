package export

import (
	"encoding/binary"
	"strings"
	"time"

	"acctpull/record"
)

// recentShapes is how many shapes are looked through before the map is asked.
const recentShapes = 8

// shapeOf returns the shape of the record's row set.
func (s *store) shapeOf(rec *record.Record) *shape {
	for _, sh := range s.recent {
		if sh.set == rec.Set && sh.sub == rec.Sub {
			return sh
		}
	}
	if !rec.Set.Known {
		return s.datasetOf(rec.Set.Record).looseShape()
	}
	k := shapeKey{rec.Set, rec.Sub}
	sh := s.shapes[k]
	if sh == nil {
		k.sub = strings.Clone(k.sub)
		sh = s.datasetOf(rec.Set.Record).newShape(k)
		s.shapes[k] = sh
	}
	if len(s.recent) < recentShapes {
		s.recent = append(s.recent, sh)
	} else {
		copy(s.recent[1:], s.recent)
		s.recent[0] = sh
	}
	return sh
}

// datasetOf returns the dataset of a record name: one the catalogue knows, so
// that no file can choose a path, or UnknownRecords.
func (s *store) datasetOf(name record.Name) *dataset {
	var table *Table
	def, ok := s.catalogue.Lookup(name)
	if !ok {
		def = nil
	}
	if def != nil {
		name = def.Name
	} else {
		name = UnknownRecords
	}
	if d := s.datasets[string(name)]; d != nil {
		return d
	}
	if def != nil {
		table = Schema(def)
	} else {
		table = UnknownSchema()
	}
	d := &dataset{def: def, table: table, column: map[string]int{}, parts: map[int64]*part{}}
	var isNum []bool
	for i, c := range table.Columns {
		switch c.Role {
		case "common":
			continue
		case record.Key.String():
			d.keys = append(d.keys, i)
			isNum = append(isNum, c.Type == Int64)
		}
		d.column[c.Name] = i
	}
	d.objects = newObjects(s.names, isNum)
	s.datasets[string(name)] = d
	return d
}

// columnOf returns the column that a field fills: the one of its name, if it has
// the same role and type.
func (d *dataset) columnOf(f *record.FieldDef) (int, bool) {
	i, ok := d.column[f.Column]
	if !ok || d.def == nil {
		return 0, false
	}
	c := &d.table.Columns[i]
	return i, c.Role == f.Role.String() && f.Numeric == (c.Type == Int64)
}

// field returns the position of the first field of set that fills the column,
// null if none does.
func (d *dataset) field(set *record.RowSet, column int) int {
	for i := range set.Fields {
		if c, ok := d.columnOf(&set.Fields[i]); ok && c == column {
			return i
		}
	}
	return null
}

// newShape maps the fields of a row set of the catalogue.
func (d *dataset) newShape(k shapeKey) *shape {
	sh := &shape{set: k.set, sub: k.sub, ds: d, slot: len(d.shapes), label: null}
	taken := map[int]bool{}
	for i, column := range d.keys {
		at := d.field(k.set, column)
		if at >= 0 {
			taken[at] = true
			sh.present = append(sh.present, cell{at, i, d.table.Columns[column].Type == Int64})
		}
		sh.keys = append(sh.keys, at)
	}
	for column := range d.table.Columns {
		if role := d.table.Columns[column].Role; role == "common" || role == record.Key.String() {
			continue
		}
		if at := d.field(k.set, column); at >= 0 {
			taken[at] = true
			sh.cells = append(sh.cells, cell{at, column, d.table.Columns[column].Type == Int64})
		}
	}
	for at := range k.set.Fields {
		if !taken[at] {
			sh.extra = append(sh.extra, at)
		}
	}
	d.shapes = append(d.shapes, sh)
	return sh
}

// looseShape is the one shape of row sets that are not in the catalogue. It has
// a cell for every column.
func (d *dataset) looseShape() *shape {
	if d.loose == nil {
		sh := &shape{ds: d, slot: len(d.shapes), label: null, loose: true, keys: make([]int, len(d.keys))}
		for column := range d.table.Columns {
			if role := d.table.Columns[column].Role; role != "common" && role != record.Key.String() {
				sh.cells = append(sh.cells, cell{value: null, column: column})
			}
		}
		d.shapes = append(d.shapes, sh)
		d.loose = sh
	}
	return d.loose
}

// partOf returns the dataset's part of a day and makes it the current one.
func (d *dataset) partOf(day int64) *part {
	p := d.parts[day]
	if p == nil {
		p = &part{ds: d, day: day, mark: mark{input: null}}
		d.parts[day] = p
	}
	d.current = p
	return p
}

// segment returns the part's segment of a shape.
func (p *part) segment(sh *shape) *segment {
	for len(p.segments) <= sh.slot {
		p.segments = append(p.segments, nil)
	}
	g := p.segments[sh.slot]
	if g == nil {
		g = newSegment(sh)
		p.segments[sh.slot] = g
	}
	return g
}

// date is the part's day as the path has it.
func (p *part) date() string {
	return time.Unix(p.day*secondsPerDay, 0).UTC().Format(time.DateOnly)
}

// path is the part's directory relative to the dataset root.
func (p *part) path() string { return PartitionPath(p.ds.table.Name, p.ds.table.Version, p.date()) }

func comparePaths(a, b *part) int { return strings.Compare(a.path(), b.path()) }

// appendExtra keeps the collected extras of the row and returns their position
// plus one, 0 if there are none.
func (s *store) appendExtra(p *part) uint32 {
	if len(s.scratch) == 0 {
		return 0
	}
	at := len(p.extra)
	for _, e := range s.scratch {
		p.extra = append(p.extra, e.kind)
		p.extra = binary.AppendUvarint(p.extra, uint64(e.name))
		p.extra = binary.AppendUvarint(p.extra, uint64(len(e.text)))
		p.extra = append(p.extra, e.text...)
	}
	p.extra = append(p.extra, extraEnd)
	s.extraSize += len(p.extra) - at
	return uint32(at) + 1
}

// eachExtra calls yield for the extras of one kind at a position that
// appendExtra returned. The text is valid until the extras are dropped.
func (p *part) eachExtra(ref uint32, kind byte, yield func(name int32, text []byte)) {
	if ref == 0 {
		return
	}
	b := p.extra[ref-1:]
	for b[0] != extraEnd {
		k := b[0]
		name, n := binary.Uvarint(b[1:])
		b = b[1+n:]
		size, n := binary.Uvarint(b)
		b = b[n:]
		if k == kind {
			yield(int32(name), b[:size])
		}
		b = b[size:]
	}
}
