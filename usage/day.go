package usage

import (
	"context"
	"errors"
	"io"
	"slices"

	"acctpull/internal/columns"
)

// Stats are the figures of some rows of usage.
type Stats struct {
	// Rows is how many rows the usage table has.
	Rows int64 `json:"rows"`
	// Repeated is how many rows of the record table were left out because they
	// repeat another.
	Repeated int64 `json:"repeated"`
	// Known is how many rows have counters.
	Known int64 `json:"known"`
	// Breaks is how many rows have each reason.
	Breaks map[string]int64 `json:"breaks"`
	// GapSeconds is the sum of gap_seconds.
	GapSeconds int64 `json:"gap_seconds"`
}

// Add adds the figures of other rows.
func (s *Stats) Add(o Stats) {
	s.Rows, s.Repeated, s.Known, s.GapSeconds = s.Rows+o.Rows, s.Repeated+o.Repeated, s.Known+o.Known, s.GapSeconds+o.GapSeconds
	for why, n := range o.Breaks {
		if s.Breaks == nil {
			s.Breaks = map[string]int64{}
		}
		s.Breaks[why] += n
	}
}

// day makes the usage of one day of a table: it merges the rows of the day with
// the carry of the days before, both in the order of the table, and writes the
// usage and the carry for the days behind. What it holds is one group: the rows of
// one end, and the state of the few series with the same device, keys and
// sub-record, which differ in their scopes.
type day struct {
	l       *layout
	texts   *texts
	reader  rowReader
	marks   marks
	carried *carryReader
	left    *carryWriter
	out     *gatherer
	oldest  int64 // end of a row in µs since 1970 before which its series is forgotten
	narrow  func(device string) []uint64

	group   row // its device, keys and sub-record; valid if there are members
	members []*member
	pending []*row // rows of the group with one end
	spare   []*row
	unused  []*member
	points  []*Point
	why     [breaks]int64
	kinds   [PerInterval + 1]int64 // rows by semantics
	stats   Stats
	err     error
	emit    func(*Point, *Delta)
}

// member is a series of a group.
type member struct {
	scope  int32
	series Series
}

// dayIO is where a day comes from and goes to.
type dayIO struct {
	rows, carry     rowSource // carry is nil if there is none
	usage, leftover rowSink
}

func newDay(l *layout, at dayIO, oldest int64, narrow func(device string) []uint64) (*day, error) {
	t := newTexts(l)
	d := &day{l: l, texts: t, reader: rowReader{l: l, texts: t}, left: newCarryWriter(l, t, at.leftover), oldest: oldest, narrow: narrow, group: newRow(l)}
	schema := columnsOf(l.usage)
	d.out = newGatherer(at.usage, &schema, d.textsOf)
	d.emit = d.write
	var err error
	d.carried, err = newCarryReader(l, t, at.carry)
	return d, err
}

// textsOf returns the texts of a column of the usage table.
func (d *day) textsOf(column string) *interner {
	switch column {
	case ColBreak:
		return &d.texts.reasons
	case colOverflow:
		return &d.texts.maps
	case ColPrevious:
		column = colSource
	case ColPreviousHash:
		column = colSourceHash
	}
	in := slices.Index(d.l.read, column)
	if i := slices.Index(textIn[:], in); i >= 0 {
		return &d.texts.of[i]
	}
	return &d.texts.of[d.l.keys[in-inKeys].text]
}

// run makes the usage of all rows.
func (d *day) run(ctx context.Context, rows rowSource) (Stats, error) {
	for {
		b, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return Stats{}, err
		}
		if err := d.addBatch(b); err != nil {
			return Stats{}, err
		}
	}
	if err := d.end(); err != nil {
		return Stats{}, err
	}
	d.stats.Rows, d.stats.Breaks = d.out.total, map[string]int64{}
	for why, n := range d.why {
		if why != int(None) && n > 0 {
			d.stats.Breaks[Break(why).String()] = n
		}
	}
	return d.stats, nil
}

// end closes the last group, and hands on what is left.
func (d *day) end() error {
	if err := d.closeGroup(); err != nil {
		return err
	}
	for d.carried.batch != nil {
		if err := d.pass(); err != nil {
			return err
		}
	}
	return errors.Join(d.out.flush(), d.left.rows.flush())
}

// addBatch takes all rows of a batch.
func (d *day) addBatch(b *columns.Batch) error {
	d.reader.bind(b)
	plain := d.marks.mark(d.l, b)
	for i := 0; i < b.Rows; i++ {
		if plain[i] != 0 {
			to := i + 1
			for plain[to] != 0 { // the last row is not plain
				to++
			}
			done, err := d.stretch(i, to)
			if err != nil {
				return err
			}
			if done {
				i = to - 1
				continue
			}
		}
		if err := d.add(i); err != nil {
			return err
		}
	}
	return nil
}

// add takes a row of the batch that is read.
func (d *day) add(i int) error {
	w := d.take()
	if err := d.reader.read(i, w); err != nil {
		return err
	}
	if !d.inGroup(w) {
		if err := d.openGroup(i, w); err != nil {
			return err
		}
	} else if len(d.pending) > 0 && d.pending[0].End != w.End {
		if err := d.settle(); err != nil {
			return err
		}
	}
	d.pending = append(d.pending, w)
	return nil
}

// take returns a row to fill.
func (d *day) take() *row {
	if n := len(d.spare); n > 0 {
		w := d.spare[n-1]
		d.spare = d.spare[:n-1]
		return w
	}
	w := newRow(d.l)
	return &w
}

// inGroup reports whether a row belongs to the group.
func (d *day) inGroup(w *row) bool {
	g := &d.group
	if len(d.members) == 0 && len(d.pending) == 0 || w.text[textSub] != g.text[textSub] || w.text[textDevice] != g.text[textDevice] {
		return false
	}
	return slices.Equal(w.text[textKeys:], g.text[textKeys:]) && slices.Equal(w.nums, g.nums)
}

// openGroup begins the group of a row, which is that of row i of the batch. What
// the days before left for the groups in between goes on to the days behind.
func (d *day) openGroup(i int, w *row) error {
	if err := d.closeGroup(); err != nil {
		return err
	}
	if d.texts.full() {
		if err := d.forget(i, w); err != nil {
			return err
		}
	}
	copy(d.group.text, w.text)
	copy(d.group.nums, w.nums)
	for d.carried.batch != nil {
		c := d.carried.compare(&d.group)
		if c > 0 {
			break
		}
		if c < 0 {
			if err := d.pass(); err != nil {
				return err
			}
			continue
		}
		carried, state, err := d.carried.read()
		if err != nil {
			return err
		}
		d.member(carried.text[textScope]).series.Resume(state)
		if err := d.carried.step(); err != nil {
			return err
		}
	}
	return nil
}

// forget drops all texts but those of a row that was just read.
func (d *day) forget(i int, w *row) error {
	if err := errors.Join(d.out.flush(), d.left.rows.flush()); err != nil {
		return err
	}
	d.texts.reset()
	d.reader.bind(d.reader.batch)
	return d.reader.read(i, w)
}

// pass hands a series on that has no row today.
func (d *day) pass() error {
	w, state, err := d.carried.read()
	if err == nil && state.Last.End >= d.oldest {
		err = d.left.write(w, w.text[textScope], state)
	}
	return errors.Join(err, d.carried.step())
}

// member returns the series of the group with a scope.
func (d *day) member(scope int32) *member {
	for _, m := range d.members {
		if m.scope == scope {
			return m
		}
	}
	m := &member{}
	if n := len(d.unused); n > 0 {
		m, d.unused = d.unused[n-1], d.unused[:n-1]
		m.series.Reset()
	}
	m.scope = scope
	m.series.Narrow = nil
	if d.narrow != nil {
		m.series.Narrow = d.narrow(d.texts.of[textDevice].texts[d.group.text[textDevice]])
	}
	d.members = append(d.members, m)
	return m
}

// settle gives the pending rows to their series, scope by scope.
func (d *day) settle() error {
	rows := d.pending
	if len(rows) > 1 {
		scopes := &d.texts.of[textScope]
		slices.SortStableFunc(rows, func(a, b *row) int {
			return scopes.cell(a.text[textScope]).compare(scopes.cell(b.text[textScope]))
		})
	}
	for from := 0; from < len(rows); {
		scope, to := rows[from].text[textScope], from
		d.points = d.points[:0]
		for ; to < len(rows) && rows[to].text[textScope] == scope; to++ {
			rows[to].at = to
			d.points = append(d.points, &rows[to].Point)
		}
		d.stats.Repeated += int64(d.member(scope).series.Add(d.points, d.emit))
		from = to
	}
	d.spare = append(d.spare, rows...)
	d.pending = rows[:0]
	return d.err
}

// closeGroup settles what is pending and leaves the states of the group to the
// days behind.
func (d *day) closeGroup() error {
	if len(d.pending) > 0 {
		if err := d.settle(); err != nil {
			return err
		}
	}
	if len(d.members) > 1 {
		scopes := &d.texts.of[textScope]
		slices.SortFunc(d.members, func(a, b *member) int { return scopes.cell(a.scope).compare(scopes.cell(b.scope)) })
	}
	for _, m := range d.members {
		if state := m.series.State(); state.Last.End >= d.oldest {
			if err := d.left.write(&d.group, m.scope, state); err != nil {
				return err
			}
		}
	}
	d.unused = append(d.unused, d.members...)
	d.members = d.members[:0]
	return nil
}

// write writes a row of usage.
func (d *day) write(p *Point, delta *Delta) {
	if d.err != nil {
		return
	}
	g, at, w := d.out, &d.l.out, d.pending[p.at]
	if d.err = g.next(); d.err != nil {
		return
	}
	g.text(at.device, w.text[textDevice])
	g.text(at.sub, w.text[textSub])
	g.text(at.scope, w.text[textScope])
	g.text(at.mode, w.text[textMode])
	g.text(at.semantics, w.text[textSemantics])
	g.text(at.source, w.text[textSource])
	g.text(at.sourceHash, w.text[textSourceHash])
	g.number(at.policy, w.policy)
	g.int(at.final, int64(p.Final))
	g.int(at.end, p.End)
	for i := range d.l.keys {
		if k := &d.l.keys[i]; k.text >= 0 {
			g.text(at.keys[i], w.text[k.text])
		} else {
			g.number(at.keys[i], w.nums[k.num])
		}
	}
	d.why[delta.Break]++
	d.kinds[p.Semantics]++
	if delta.Break != None {
		g.text(at.why, d.texts.reasons.id(delta.Break.String()))
	}
	if delta.Gap > 0 {
		n := seconds(delta.Gap)
		g.int(at.gap, n)
		d.stats.GapSeconds += n
	}
	if s := delta.Previous; s != nil {
		g.text(at.previous, s.file)
		g.text(at.previousHash, s.hash)
	}
	if !delta.Known {
		return
	}
	d.stats.Known++
	if delta.From != NoTime {
		g.int(at.start, delta.From)
		g.int(at.seconds, seconds(p.End-delta.From))
	}
	writeCounters(d.l, g, at.counters, at.overflow, &d.texts.maps, delta.Values, p.Present)
}

// semantics is what the counters of the rows were, in the words of the metadata.
func (d *day) semantics() string {
	said := ""
	for kind, n := range d.kinds {
		switch {
		case n == 0:
		case said != "":
			return "mixed"
		default:
			said = Semantics(kind).String()
		}
	}
	return said
}

// seconds rounds a time span in µs.
func seconds(span int64) int64 { return (span + second/2) / second }
