package usage

import (
	"acctpull/internal/columns"
)

// Nearly all rows go on plainly from the row before: same series, cumulative,
// beginning where it ended, with the same counters and none of them lower. Such
// rows need none of the rules, so whole stretches of them are subtracted column
// by column. What is not plain, and each first row of a batch, goes row by row.

// marks tells which rows of a batch go on plainly from the row before them.
type marks struct {
	plain []uint8 // 1 for a plain row
	group []uint8 // 1 for a row with the device, keys and sub-record of the one before
	cum   []bool  // scratch: whether an id of the column semantics means cumulative
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// mark marks the rows of a batch. The last one is never plain: the next batch
// may begin with a row of the same end.
func (m *marks) mark(l *layout, b *columns.Batch) []uint8 {
	if cap(m.plain) < b.Rows {
		m.plain, m.group = make([]uint8, b.Rows), make([]uint8, b.Rows)
	}
	m.plain, m.group = m.plain[:b.Rows], m.group[:b.Rows]
	ends, starts := &b.Columns[inEnd], &b.Columns[inStart]
	if b.Rows < 3 || ends.Const || starts.Const || starts.AllNull || !m.cumulative(&b.Columns[inSemantics]) {
		clear(m.plain)
		return m.plain
	}
	same(m.group, &b.Columns[inDevice])
	same(m.group, &b.Columns[inSub])
	for i := range l.keys {
		same(m.group, &b.Columns[l.keys[i].in])
	}
	copy(m.plain, m.group)
	same(m.plain, &b.Columns[inScope])
	same(m.plain, &b.Columns[inMode])
	m.times(ends.Ints, starts)
	none(m.plain, &b.Columns[inFinal])
	if v := &b.Columns[inOverflow]; !v.AllNull {
		same(m.plain, v)
		for i := range m.plain {
			m.plain[i] &= bit(v.ID(i) < 0)
		}
	}
	for i := range l.counters {
		grows(m.plain, &b.Columns[l.firstCounter()+i])
	}
	m.plain[0], m.plain[b.Rows-1] = 0, 0
	return m.plain
}

// cumulative sets all marks for rows that are cumulative as the one before; false
// if there is none.
func (m *marks) cumulative(v *columns.Vector) bool {
	for i := range m.plain {
		m.plain[i], m.group[i] = 1, 1
	}
	m.cum = m.cum[:0]
	for _, text := range v.Texts {
		m.cum = append(m.cum, ParseSemantics(text) == Cumulative)
	}
	if v.AllNull || v.Const {
		return !v.AllNull && m.cum[v.IDs[0]]
	}
	return false
}

// same keeps the marks of rows that have the value of the row before.
func same(marks []uint8, v *columns.Vector) {
	switch {
	case v.AllNull || v.Const:
	case v.IDs != nil:
		ids := v.IDs[:len(marks)]
		for i := 1; i < len(marks); i++ {
			marks[i] &= bit(ids[i] == ids[i-1])
		}
	default:
		ints := v.Ints[:len(marks)]
		for i := 1; i < len(marks); i++ {
			marks[i] &= bit(ints[i] == ints[i-1])
		}
		sameNull(marks, v)
	}
}

func sameNull(marks []uint8, v *columns.Vector) {
	if v.Null == nil {
		return
	}
	null := v.Null[:len(marks)]
	for i := 1; i < len(marks); i++ {
		marks[i] &= bit(null[i] == null[i-1])
	}
}

// times keeps the marks of rows that begin where the one before ended, and with
// whose end no other row of the group ends.
func (m *marks) times(ends []int64, starts *columns.Vector) {
	ends = ends[:len(m.plain)]
	from := starts.Ints[:len(m.plain)]
	for i := 1; i < len(ends); i++ {
		m.plain[i] &= bit(from[i] == ends[i-1]) & bit(ends[i] > ends[i-1])
		if ends[i] == ends[i-1] {
			m.plain[i-1] &= 1 ^ m.group[i]
		}
	}
	if starts.Null != nil {
		for i := range m.plain {
			m.plain[i] &= bit(!starts.Null[i])
		}
	}
}

// none keeps the marks of rows that have 0 as the row before.
func none(marks []uint8, v *columns.Vector) {
	if v.Const {
		if v.Ints[0] != 0 {
			clear(marks)
		}
		return
	}
	for i := 1; i < len(marks); i++ {
		marks[i] &= bit(v.Ints[i]|v.Ints[i-1] == 0)
	}
}

// grows keeps the marks of rows whose counter is not below that of the row
// before, or is missing in both.
func grows(marks []uint8, v *columns.Vector) {
	if v.AllNull || v.Const {
		return
	}
	ints := v.Ints[:len(marks)]
	for i := 1; i < len(marks); i++ {
		marks[i] &= bit(ints[i] >= ints[i-1])
	}
	sameNull(marks, v)
}

// stretch makes the usage of rows from..to of the batch, all of which are plain,
// and reports whether it did: the row before them has to be known, and to be
// free of doubt. Otherwise they have to be added one by one.
func (d *day) stretch(from, to int) (bool, error) {
	if len(d.pending) != 1 {
		return false, nil
	}
	scope := d.pending[0].text[textScope]
	if err := d.settle(); err != nil {
		return false, err
	}
	s := &d.member(scope).series
	if s.state.Doubtful {
		return false, nil
	}
	for i := from; i < to; {
		at, n, err := d.out.room(to - i)
		if err != nil {
			return false, err
		}
		d.subtract(i, at, n)
		i += n
	}
	d.kinds[Cumulative] += int64(to - from)
	d.stats.Known += int64(to - from)
	w := d.take()
	err := d.reader.read(to-1, w)
	s.jump(&w.Point)
	d.spare = append(d.spare, w)
	return err == nil, err
}

// jump makes p the row that came last: it went on plainly from the one before,
// and so did all between them.
func (s *Series) jump(p *Point) {
	s.keep(p)
	s.state.Doubtful, s.state.Step, s.state.Odd = false, p.End-p.Start, 0
}

// subtract writes n rows of usage, at the rows of the gatherer that begin with
// at, for the plain rows of the batch that begin with i.
func (d *day) subtract(i, at, n int) {
	in, g, o, of := d.reader.batch.Columns, d.out, &d.l.out, d.texts.of
	text := func(column, from, of int) {
		g.texts(column, at, n, &in[from], i, &d.texts.of[of])
	}
	text(o.device, inDevice, textDevice)
	text(o.sub, inSub, textSub)
	text(o.scope, inScope, textScope)
	text(o.mode, inMode, textMode)
	text(o.semantics, inSemantics, textSemantics)
	text(o.source, inSource, textSource)
	text(o.sourceHash, inSourceHash, textSourceHash)
	g.texts(o.previous, at, n, &in[inSource], i-1, &of[textSource])
	g.texts(o.previousHash, at, n, &in[inSourceHash], i-1, &of[textSourceHash])
	g.ints(o.policy, at, n, &in[inPolicy], i)
	g.ints(o.final, at, n, &in[inFinal], i)
	g.ints(o.end, at, n, &in[inEnd], i)
	g.ints(o.start, at, n, &in[inEnd], i-1)
	for k := range d.l.keys {
		if key := &d.l.keys[k]; key.text >= 0 {
			text(o.keys[k], key.in, key.text)
		} else {
			g.ints(o.keys[k], at, n, &in[key.in], i)
		}
	}
	d.spans(in[inEnd].Ints[i-1:i+n], at)
	for c := range d.l.counters {
		g.deltas(o.counters[c], at, n, &in[d.l.firstCounter()+c], i)
	}
}

// spans writes the seconds between ends.
func (d *day) spans(ends []int64, at int) {
	c := &d.out.columns[d.l.out.seconds]
	span, n := int64(-1), int64(0)
	for k := range len(ends) - 1 {
		if s := ends[k+1] - ends[k]; s != span {
			span, n = s, seconds(s)
		}
		c.ints[at+k], c.null[at+k] = n, false
	}
	c.set += len(ends) - 1
}

// room makes room for up to n rows and returns the first of them, and for how
// many there is room.
func (g *gatherer) room(n int) (at, took int, err error) {
	if err := g.next(); err != nil {
		return 0, 0, err
	}
	at = g.rows - 1
	took = min(n, batchRows-at)
	for g.have < at+took {
		g.extend(min(8*g.have, batchRows))
	}
	g.rows, g.total = at+took, g.total+int64(took-1)
	return at, took, nil
}

// texts sets n texts, at the rows that begin with at, to those of a vector that
// begin with i.
func (g *gatherer) texts(column, at, n int, v *columns.Vector, i int, of *interner) {
	c := &g.columns[column]
	switch {
	case v.AllNull:
	case v.Const:
		id := of.at(v, 0)
		if id < 0 {
			return
		}
		for k := range c.ids[at : at+n] {
			c.ids[at+k] = id
		}
		c.set += n
	default:
		out, in := c.ids[at:at+n], v.IDs[i:i+n]
		for k, id := range in {
			if id < 0 {
				continue
			}
			own := of.of[id]
			if own == unmet {
				own = of.at(v, i+k)
			}
			out[k] = own
			c.set++
		}
	}
}

// ints sets n numbers to those of a vector that begin with i.
func (g *gatherer) ints(column, at, n int, v *columns.Vector, i int) {
	c := &g.columns[column]
	switch {
	case v.AllNull:
		return
	case v.Const:
		for k := range c.ints[at : at+n] {
			c.ints[at+k] = v.Ints[0]
		}
	default:
		copy(c.ints[at:at+n], v.Ints[i:i+n])
	}
	c.nulls(at, n, v, i)
}

// nulls makes n cells NULL where those of a vector are.
func (c *gathered) nulls(at, n int, v *columns.Vector, i int) {
	if v.Null == nil || v.Const {
		clear(c.null[at : at+n])
		c.set += n
		return
	}
	for k, null := range v.Null[i : i+n] {
		c.null[at+k] = null
		if !null {
			c.set++
		}
	}
}

// deltas sets n numbers to the differences of those of a vector that begin with
// i to the ones before them.
func (g *gatherer) deltas(column, at, n int, v *columns.Vector, i int) {
	c := &g.columns[column]
	if v.AllNull {
		return
	}
	if !v.Const {
		out, a, b := c.ints[at:at+n], v.Ints[i-1:i-1+n], v.Ints[i:i+n]
		for k := range out {
			out[k] = b[k] - a[k]
		}
	}
	c.nulls(at, n, v, i)
}
