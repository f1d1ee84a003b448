package export

import (
	"math"
	"slices"
	"strconv"
	"time"

	"acctpull/record"
)

// groupRows is the most rows a row group holds.
const groupRows = 122_880

// shape says how the records of one row set under one sub-record name become
// rows of a dataset.
type shape struct {
	set   *record.RowSet
	sub   string
	ds    *dataset
	slot  int   // index of its segment in a part
	label int32 // null after the names were forgotten
	keys  []int // index in Record.Values of each key column, null if absent
	cells []cell
	extra []int // indexes in Record.Values of fields without a column
	// loose is set for row sets outside the catalogue, of which a file can make
	// any number: they share a segment, and their fields are looked up by name.
	loose bool
}

// cell is a value of a record that has a column and is no key.
type cell struct {
	value  int // index in Record.Values
	column int // index in Table.Columns
}

// dataset is all rows of one record name.
type dataset struct {
	def     *record.Definition // nil for UnknownRecords
	table   *Table
	column  map[string]int // index in Table.Columns of the fields' columns
	keys    []int          // indexes in Table.Columns
	shapes  []*shape
	loose   *shape // nil until needed
	objects *objects
	parts   map[int64]*part // by day
	current *part
}

// part is the rows of a dataset on one day: one output file.
type part struct {
	ds       *dataset
	day      int64 // days since 1970-01-01
	segments []*segment
	rows     int // buffered
	extra    []byte
	out      *output
	mark     mark
}

// mark is what a part held before the current input, so that a broken input
// leaves nothing.
type mark struct {
	input    int32 // number of the input
	segments []int // rows of each segment
	rows     int
	extra    int
}

// store gathers rows and writes them out sorted, in row groups, within a budget
// of memory.
type store struct {
	catalogue *record.Catalogue
	budget    int
	pool      pool
	names     *names
	datasets  map[string]*dataset // by record name, as the catalogue spells it
	recent    []*shape            // the shapes used last
	shapes    map[shapeKey]*shape
	extraSize int
	sorter    *sorter
	open      func(*part) (*output, error)

	// The state of the current input.
	input    int32
	source   source
	touched  []*part
	spilled  bool // rows of the input are in a file already
	counts   counts
	day      int64
	start    time.Time
	end      time.Time
	interval int32
	micros   interval
	origin   int32
	final    int
	policy   int

	key     []int64
	values  []int64
	scratch []extraPair
}

type shapeKey struct {
	set *record.RowSet
	sub string
}

// source is what all rows of an input have in common.
type source struct {
	device, file, sum, semantics string
	policy, fileID               int // 0 if unknown
}

// counts is what an input added.
type counts struct {
	records   int64
	repeated  int64
	overflows int64
	overflow  []Overflow
}

// extraPair is an entry of the overflow or unknown_fields map of a row.
type extraPair struct {
	kind byte
	name int32
	text string
}

const (
	extraEnd byte = iota
	extraOverflow
	extraUnknown
)

func newStore(c *record.Catalogue, budget int) (*store, error) {
	enc, err := newPageEncoder()
	if err != nil {
		return nil, err
	}
	s := &store{catalogue: c, budget: budget, sorter: &sorter{enc: enc}, input: -1}
	s.reset()
	return s, nil
}

// reset forgets everything but the buffers.
func (s *store) reset() {
	for _, d := range s.datasets {
		for _, p := range d.parts {
			s.release(p)
		}
	}
	s.names = newNames()
	s.datasets = map[string]*dataset{}
	s.shapes = map[shapeKey]*shape{}
	s.recent = nil
	s.touched = nil
	s.forgetInterval()
}

func (s *store) forgetInterval() {
	s.start, s.end, s.interval, s.origin = time.Time{}, time.Time{}, null, null
}

// begin starts an input: rows added from now on are its own until commit or
// rollback.
func (s *store) begin(src source) {
	s.input++
	s.source, s.counts, s.spilled = src, counts{}, false
	s.touched = s.touched[:0]
	s.forgetInterval()
}

// commit keeps the rows of the input.
func (s *store) commit() { s.touched = s.touched[:0] }

// rollback drops the rows of the input. It cannot if they spilled.
func (s *store) rollback() {
	for _, p := range s.touched {
		for i, g := range p.segments {
			n := 0
			if i < len(p.mark.segments) {
				n = p.mark.segments[i]
			}
			if g != nil {
				g.truncate(n, &s.pool)
			}
		}
		s.extraSize -= len(p.extra) - p.mark.extra
		p.rows, p.extra = p.mark.rows, p.extra[:p.mark.extra]
	}
	s.touched = s.touched[:0]
	s.counts = counts{}
}

// touch remembers what p held before the input.
func (s *store) touch(p *part) {
	m := &p.mark
	m.input, m.rows, m.extra = s.input, p.rows, len(p.extra)
	m.segments = m.segments[:0]
	for _, g := range p.segments {
		n := 0
		if g != nil {
			n = g.rows
		}
		m.segments = append(m.segments, n)
	}
	s.touched = append(s.touched, p)
}

// add puts one record into the buffer. It does not keep rec.
func (s *store) add(rec *record.Record) error {
	if rec.End != s.end || rec.Start != s.start || s.interval < 0 {
		if err := s.setInterval(rec); err != nil {
			return err
		}
	}
	if s.used() >= s.budget {
		if err := s.relieve(); err != nil {
			return err
		}
	}
	if s.origin < 0 || rec.Policy != s.policy || rec.Final != s.final {
		s.setOrigin(rec)
	}
	sh := s.shapeOf(rec)
	p := sh.ds.current
	if p == nil || p.day != s.day {
		p = sh.ds.partOf(s.day)
	}
	if p.rows >= groupRows {
		if err := s.flush(p); err != nil {
			return err
		}
	}
	if p.mark.input != s.input {
		s.touch(p)
	}
	s.scratch = s.scratch[:0]
	obj := s.object(sh, rec)
	cells := s.cellsOf(sh, rec)
	g := p.segment(sh)
	at := g.next(&s.pool)
	g.tail[rowObject][at] = pack(obj, uint32(s.interval))
	g.tail[rowOrigin][at] = pack(s.origin, s.appendExtra(p))
	for i, v := range cells {
		g.tail[rowColumns+i][at] = v
	}
	p.rows++
	s.counts.records++
	return nil
}

// used is the memory that rows, extras and names take.
func (s *store) used() int { return s.pool.used*stripBytes + s.extraSize + s.names.bytes }

// relieve makes room: it writes out the largest part. If names take three
// quarters of the memory it forgets them, for which every part has to go.
func (s *store) relieve() error {
	if s.names.bytes < s.budget/4*3 {
		var largest *part
		for _, p := range s.parts() {
			if largest == nil || p.size() > largest.size() {
				largest = p
			}
		}
		return s.flush(largest)
	}
	for _, p := range s.parts() {
		if err := s.flush(p); err != nil {
			return err
		}
	}
	s.names = newNames()
	for _, d := range s.datasets {
		d.objects = newObjects(s.names, d.objects.isNum)
		for _, sh := range d.shapes {
			sh.label = null
		}
	}
	s.origin = null
	s.interval = s.names.intervalID(s.micros)
	return nil
}

// size is the memory of the part's rows.
func (p *part) size() int {
	n := len(p.extra)
	for _, g := range p.segments {
		if g != nil {
			n += len(g.columns) * (g.rows + stripRows - 1) / stripRows * stripBytes
		}
	}
	return n
}

// parts returns all parts ordered by their path.
func (s *store) parts() []*part {
	var all []*part
	for _, d := range s.datasets {
		for _, p := range d.parts {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, comparePaths)
	return all
}

// release gives back the memory of a part's rows.
func (s *store) release(p *part) {
	for _, g := range p.segments {
		if g != nil {
			g.truncate(0, &s.pool)
		}
	}
	s.extraSize -= len(p.extra)
	p.rows, p.extra = 0, p.extra[:0]
}

// setOrigin numbers what the row's source, policy and final make.
func (s *store) setOrigin(rec *record.Record) {
	n := s.names
	s.policy, s.final = rec.Policy, rec.Final
	o := origin{
		device: n.textID(s.source.device), file: n.textID(s.source.file), sum: n.textID(s.source.sum),
		semantics: n.textID(s.source.semantics), policy: orNull(rec.Policy), fileID: orNull(s.source.fileID),
		final: int32(min(rec.Final, math.MaxInt32)),
	}
	if rec.Policy == 0 {
		o.policy = orNull(s.source.policy)
	}
	s.origin = n.originID(o)
}

func orNull(id int) int32 {
	if id <= 0 || id > math.MaxInt32 {
		return null
	}
	return int32(id)
}

// object finds the number of the record's object. Most often it is the one that
// came after the last one in the interval before.
func (s *store) object(sh *shape, rec *record.Record) int32 {
	o := sh.ds.objects
	lbl := sh.label
	if lbl < 0 {
		lbl = s.labelOf(sh, rec)
	}
	device := s.names.origins[s.origin].device
	id := int32(null)
	if o.last >= 0 {
		id = o.heads[o.last].next
	}
	if id < 0 || o.heads[id].device != device || o.heads[id].label != lbl || !s.sameKey(sh, rec, o.key(id)) {
		id = o.find(device, lbl, s.keyOf(sh, rec))
		if o.last >= 0 {
			o.heads[o.last].next = id
		}
	}
	o.last = id
	if rec.Final == 0 {
		h := &o.heads[id]
		if h.seenIn != s.input {
			h.seenIn, h.seenEnd = s.input, s.micros.end
		} else if s.micros.end > h.seenEnd {
			h.seenEnd = s.micros.end
		} else {
			s.counts.repeated++
		}
	}
	return id
}

func (s *store) labelOf(sh *shape, rec *record.Record) int32 {
	n := s.names
	lbl := n.labelID(label{sub: n.optionalID(rec.Sub), scope: n.optionalID(rec.Set.Scope), mode: n.optionalID(rec.Set.CounterMode)})
	if !sh.loose {
		sh.label = lbl
	}
	return lbl
}

// sameKey reports whether the key fields of rec are plainly those of key. False
// only means that keyOf has to tell.
func (s *store) sameKey(sh *shape, rec *record.Record, key []int64) bool {
	for i, at := range sh.keys {
		if at < 0 {
			if key[i] != null {
				return false
			}
			continue
		}
		switch v := &rec.Values[at]; v.State {
		case record.Number:
			if !sh.ds.objects.isNum[i] || key[i] < 0 || uint64(key[i]) != v.N {
				return false
			}
		case record.Text:
			if sh.ds.objects.isNum[i] || key[i] < 0 || s.names.texts[key[i]] != v.Text {
				return false
			}
		default:
			if key[i] != null {
				return false
			}
		}
	}
	return !sh.loose
}

// keyOf returns the key columns of rec, valid until the next call. What does not
// fit into its column becomes an extra.
func (s *store) keyOf(sh *shape, rec *record.Record) []int64 {
	s.key = s.key[:0]
	for i, column := range sh.ds.keys {
		at := null
		if sh.loose {
			at = sh.ds.field(rec.Set, column)
		} else {
			at = sh.keys[i]
		}
		v := int64(null)
		if at >= 0 {
			v = s.value(sh, rec, at, column)
		}
		s.key = append(s.key, v)
	}
	if sh.ds.def == nil {
		s.key[0] = int64(s.names.optionalID(string(rec.Set.Record)))
	}
	return s.key
}

// cellsOf returns the cells of the row, valid until the next call, and collects
// the extras.
func (s *store) cellsOf(sh *shape, rec *record.Record) []int64 {
	out := s.values[:0]
	if sh.loose {
		out = s.looseCells(sh, rec, out)
	} else {
		for i := range sh.cells {
			c := &sh.cells[i]
			v := &rec.Values[c.value]
			switch {
			case v.State == record.Number && v.N <= math.MaxInt64 && sh.ds.table.Columns[c.column].Type == Int64:
				out = append(out, int64(v.N))
			case v.State == record.Absent || v.State == record.Empty:
				out = append(out, null)
			default:
				out = append(out, s.value(sh, rec, c.value, c.column))
			}
		}
		for _, at := range sh.extra {
			s.unknown(rec.Set.Fields[at].Abbrev, &rec.Values[at])
		}
	}
	for _, p := range rec.Unknown {
		s.pair(extraUnknown, p.Name, p.Text)
	}
	s.values = out
	return out
}

// looseCells fills all columns that are no keys by name; other fields become
// extras.
func (s *store) looseCells(sh *shape, rec *record.Record, out []int64) []int64 {
	for _, c := range sh.cells {
		v := int64(null)
		if at := sh.ds.field(rec.Set, c.column); at >= 0 {
			v = s.value(sh, rec, at, c.column)
		}
		out = append(out, v)
	}
	for at := range rec.Set.Fields {
		if _, ok := sh.ds.columnOf(&rec.Set.Fields[at]); !ok {
			s.unknown(rec.Set.Fields[at].Abbrev, &rec.Values[at])
		}
	}
	return out
}

// value returns a value in the form of its column: a number, a text id or null.
// What does not fit becomes an extra.
func (s *store) value(sh *shape, rec *record.Record, at, column int) int64 {
	v, c := &rec.Values[at], &sh.ds.table.Columns[column]
	isNum := c.Type == Int64
	switch {
	case v.State == record.Number && isNum && v.N <= math.MaxInt64:
		return int64(v.N)
	case v.State == record.Number && isNum:
		s.overflow(rec, c, v.N)
	case v.State == record.Number:
		return int64(s.names.textID(strconv.FormatUint(v.N, 10)))
	case v.State == record.Text && isNum:
		s.unknown(rec.Set.Fields[at].Abbrev, v)
	case v.State == record.Text:
		return int64(s.names.textID(v.Text))
	}
	return null
}

func (s *store) overflow(rec *record.Record, c *Column, n uint64) {
	text := strconv.FormatUint(n, 10)
	s.pair(extraOverflow, c.Name, text)
	s.counts.overflows++
	if len(s.counts.overflow) < maxOverflows {
		s.counts.overflow = append(s.counts.overflow, Overflow{
			Record: string(rec.Set.Record), Column: c.Name, Value: text, End: rec.End, Offset: rec.Offset,
		})
	}
}

// unknown keeps a value that has no column as text.
func (s *store) unknown(name string, v *record.Value) {
	switch v.State {
	case record.Number:
		s.pair(extraUnknown, name, strconv.FormatUint(v.N, 10))
	case record.Text:
		s.pair(extraUnknown, name, v.Text)
	case record.Empty:
		s.pair(extraUnknown, name, "")
	}
}

// pair adds an entry to a map of the row. A name that is there already gets a
// number, for the keys of a map are unique.
func (s *store) pair(kind byte, name, text string) {
	id := s.names.textID(name)
	for n := 2; slices.ContainsFunc(s.scratch, func(p extraPair) bool { return p.kind == kind && p.name == id }); n++ {
		id = s.names.textID(name + "#" + strconv.Itoa(n))
	}
	s.scratch = append(s.scratch, extraPair{kind, id, text})
}
