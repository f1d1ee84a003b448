package export

import (
	"math"
	"slices"
	"time"

	"acctpull/internal/columns"
	"acctpull/record"
)

// groupRows is the most rows a row group holds.
const groupRows = columns.GroupRows

// shape says how the records of one row set under one sub-record name become
// rows of a dataset.
type shape struct {
	set  *record.RowSet
	sub  string
	ds   *dataset
	slot int // index of its segment in a part
	// label is that of the rows from device, a text id; null after the names
	// were forgotten.
	label, device int32
	keys          []int // index in Record.Values of each key column, null if absent
	// present are the keys that are not absent; their column is a position in
	// dataset.keys.
	present []cell
	cells   []cell
	extra   []int // indexes in Record.Values of fields without a column
	// loose is set for row sets outside the catalogue, of which a file can make
	// any number: they share a segment, and their fields are looked up by name.
	loose bool
}

// cell is a value of a record that has a column and is no key.
type cell struct {
	value  int // index in Record.Values
	column int // index in Table.Columns
	isNum  bool
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
	device   int32 // text id
	final    int
	policy   int

	key     []int32
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
	enc, err := columns.NewEncoder()
	if err != nil {
		return nil, err
	}
	s := &store{catalogue: c, budget: budget, names: newNames(), sorter: &sorter{enc: enc}, input: -1}
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
	s.names.reset()
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
	g := p.segment(sh)
	at := g.next(&s.pool)
	s.fill(sh, rec, g.tail[rowColumns:], at)
	g.tail[rowObject][at] = pack(obj, uint32(s.interval))
	g.tail[rowOrigin][at] = pack(s.origin, s.appendExtra(p))
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
	s.names.reset()
	for _, d := range s.datasets {
		d.objects.reset()
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
	s.origin, s.device = n.originID(o), o.device
}

func orNull(id int) int32 {
	if id <= 0 || id > math.MaxInt32 {
		return null
	}
	return int32(id)
}
