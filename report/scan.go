package report

import (
	"context"
	"io"
	"math/bits"

	"acctpull/internal/columns"
	"acctpull/usage"
)

// batches gives rows in the order of the table. columns.Merger is one.
type batches interface {
	Next(context.Context) (*columns.Batch, error)
}

// The columns of a usage table that are read beside keys and counters.
const (
	colDevice = iota
	colPolicy
	colSub
	colScope
	colMode
	colFinal
	colEnd
	colSeconds
	colBreak
	colGap
	fixedColumns
)

var fixedNames = [fixedColumns]string{"device", "policy_id", "sub_record", "scope", "counter_mode", "final", "interval_end", usage.ColSeconds, usage.ColBreak, usage.ColGap}

// The columns that a proof needs beside.
const (
	proofStart = iota
	proofFile
	proofSum
	proofPrevious
	proofPreviousSum
)

var proofNames = []string{"interval_start", "source_file", "source_sha256", usage.ColPrevious, usage.ColPreviousHash}

// columnNames are the columns that the engine reads, in the order of the batches.
func (e *engine) columnNames(proof bool) []string {
	names := append(fixedNames[:], e.keys...)
	names = append(names, e.measure.all()...)
	if proof {
		names = append(names, proofNames...)
	}
	return names
}

// scanner feeds an engine from batches.
type scanner struct {
	*engine
	proof *collector // nil unless a proof is made
	// identity are the columns whose change begins another series.
	identity []int
	counts   bool
	key      Key
	row      row
}

func newScanner(e *engine, proof *collector) *scanner {
	s := &scanner{engine: e, proof: proof, identity: []int{colDevice, colPolicy, colSub, colScope, colMode}}
	for i := range e.keys {
		s.identity = append(s.identity, fixedColumns+i)
	}
	s.key.Cells = make([]Cell, len(e.keys))
	return s
}

// scan reads to the end of the batches and closes the last figures.
func (s *scanner) scan(ctx context.Context, in batches) error {
	first := true
	for {
		b, err := in.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := s.batch(b, first); err != nil {
			return err
		}
		first = first && b.Rows == 0
	}
	s.flush()
	s.counts = false
	return nil
}

// batch takes the rows of one batch. fresh tells that nothing came before.
func (s *scanner) batch(b *columns.Batch, fresh bool) error {
	cols := b.Columns
	varying := make([]*columns.Vector, 0, len(s.identity))
	for _, i := range s.identity {
		if v := &cols[i]; !v.Const && !v.AllNull {
			varying = append(varying, v)
		}
	}
	from, to := s.opts.Window.From.UnixMicro()-slack, s.opts.Window.To.UnixMicro()+slack
	ends := &cols[colEnd]
	for i := range b.Rows {
		if i == 0 && (fresh || s.changed(b, i)) || i > 0 && differs(varying, i) {
			s.load(b, i)
			s.counts = s.series(&s.key)
		}
		if !s.counts {
			continue
		}
		end, _ := ends.Int(i)
		if end < from || end > to {
			if s.proof != nil {
				s.proof.pass(s, b, i)
			}
			continue
		}
		if err := s.fill(b, i, end); err != nil {
			return err
		}
		s.add(&s.row)
		if s.proof != nil {
			if err := s.proof.add(s, b, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// slack is how far an end may be from its multiple of the interval: half of the
// longest one there is, two hours.
const slack = 60 * minute

// differs compares a row with the one before it.
func differs(varying []*columns.Vector, i int) bool {
	for _, v := range varying {
		if v.IDs != nil {
			if v.IDs[i] != v.IDs[i-1] {
				return true
			}
			continue
		}
		if v.Ints[i] != v.Ints[i-1] || v.Null != nil && v.Null[i] != v.Null[i-1] {
			return true
		}
	}
	return false
}

// changed compares the first row of a batch with the last one of the batch before.
func (s *scanner) changed(b *columns.Batch, i int) bool {
	before := s.key.clone()
	s.load(b, i)
	return !before.sameSeries(&s.key) || before.Mode != s.key.Mode || before.Policy != s.key.Policy || !s.begun
}

// load reads the key of a row.
func (s *scanner) load(b *columns.Batch, i int) {
	k := &s.key
	k.Device, _ = b.Columns[colDevice].Text(i)
	k.Sub, _ = b.Columns[colSub].Text(i)
	k.Scope, _ = b.Columns[colScope].Text(i)
	k.Mode, _ = b.Columns[colMode].Text(i)
	k.Policy = numberCell(&b.Columns[colPolicy], i)
	for j := range k.Cells {
		v := &b.Columns[fixedColumns+j]
		if v.IDs == nil {
			k.Cells[j] = numberCell(v, i)
			continue
		}
		text, ok := v.Text(i)
		k.Cells[j] = Cell{Set: ok, S: text}
	}
}

func numberCell(v *columns.Vector, i int) Cell {
	n, ok := v.Int(i)
	return Cell{Set: ok, Number: ok, N: n}
}

// fill reads what the figures need of a row.
func (s *scanner) fill(b *columns.Batch, i int, end int64) error {
	cols, r := b.Columns, &s.row
	r.end = end
	r.seconds, _ = cols[colSeconds].Int(i)
	r.reason, _ = cols[colBreak].Text(i)
	r.gap, _ = cols[colGap].Int(i)
	final, _ := cols[colFinal].Int(i)
	r.final = final > 0
	counters := cols[fixedColumns+len(s.keys):]
	r.whole = false
	for _, w := range s.wants {
		var ok bool
		if r.main, ok = sumOf(counters, w.main, i); !ok {
			continue
		}
		if r.forward, ok = sumOf(counters, w.forwarded, i); ok {
			r.whole = true
			break
		}
	}
	if r.main.hi>>63 != 0 || r.forward.hi>>63 != 0 {
		return invalid("acctpull usage makes it anew", "a delta of %s is negative", s.measure.def.Name)
	}
	return nil
}

// sumOf adds up counters of a row; false if one of them is NULL. A negative one makes
// the sum too large to be one.
func sumOf(counters []columns.Vector, which []int, i int) (Sum, bool) {
	var s Sum
	for _, c := range which {
		n, ok := counters[c].Int(i)
		if !ok {
			return Sum{}, false
		}
		if n < 0 {
			return Sum{hi: 1 << 63}, true
		}
		var carry uint64
		s.lo, carry = bits.Add64(s.lo, uint64(n), 0)
		s.hi += carry
	}
	return s, true
}
