package usage

import (
	"fmt"
	"math"
	"strconv"

	"acctpull/internal/columns"
)

// row is a row of a record table.
type row struct {
	Point
	text   []int32 // numbers of its texts, -1 for NULL
	nums   []number
	policy number
}

// rowSource yields batches of rows in the order of their table; io.EOF ends it.
// A batch is valid until the next one is asked for.
type rowSource interface {
	next() (*columns.Batch, error)
}

// texts are the interners of a day, one for each text of a row, and those of the
// maps and reasons that are written.
type texts struct {
	of      []interner // by position in row.text
	maps    interner
	reasons interner
	sources []*Source // by number of the hash
}

func newTexts(l *layout) *texts { return &texts{of: make([]interner, l.texts)} }

// full reports whether it is time to forget: a day may have more texts than fit
// into the memory.
func (t *texts) full() bool {
	n := len(t.maps.texts)
	for i := range t.of {
		n += len(t.of[i].texts)
	}
	return n > maxTexts
}

// maxTexts is how many texts are kept. At some 150 bytes each they take 20 MB.
const maxTexts = 1 << 17

func (t *texts) reset() {
	for i := range t.of {
		t.of[i].reset()
	}
	t.maps.reset()
	t.reasons.reset()
	t.sources = t.sources[:0]
}

// source returns the file with these numbers of name and hash.
func (t *texts) source(file, hash int32) *Source {
	for len(t.sources) <= int(hash) {
		t.sources = append(t.sources, nil)
	}
	s := t.sources[hash]
	if s == nil || s.file != file {
		// A file that has two names is met as often as its name changes.
		s = &Source{File: t.of[textSource].texts[file], SHA256: t.of[textSourceHash].texts[hash], file: file, hash: hash}
		t.sources[hash] = s
	}
	return s
}

// rowReader turns batches of a record table into rows.
type rowReader struct {
	l     *layout
	texts *texts
	batch *columns.Batch
	// always are the counters that every row of the batch has, sometimes those
	// that some have, as positions among the counters.
	always, sometimes []int
	present           []uint64 // of always
}

// bind gets ready for a batch.
func (r *rowReader) bind(b *columns.Batch) {
	r.batch = b
	for i := range r.texts.of {
		r.texts.of[i].bind(&b.Columns[r.textColumn(i)])
	}
	r.always, r.sometimes = r.always[:0], r.sometimes[:0]
	r.present = append(r.present[:0], make([]uint64, r.l.words)...)
	for i := range r.l.counters {
		switch v := &b.Columns[r.l.firstCounter()+i]; {
		case v.AllNull:
		case v.Null == nil:
			r.always = append(r.always, i)
			r.present[i/64] |= 1 << (i % 64)
		default:
			r.sometimes = append(r.sometimes, i)
		}
	}
}

// textColumn is the input column of a text.
func (r *rowReader) textColumn(text int) int {
	if text < textKeys {
		return textIn[text]
	}
	for _, k := range r.l.keys {
		if k.text == text {
			return k.in
		}
	}
	panic("usage: text without a column")
}

// read fills a row from the batch.
func (r *rowReader) read(i int, w *row) error {
	b := r.batch
	for t := range textKeys {
		w.text[t] = r.texts.of[t].at(&b.Columns[textIn[t]], i)
	}
	for k := range r.l.keys {
		if key := &r.l.keys[k]; key.text >= 0 {
			w.text[key.text] = r.texts.of[key.text].at(&b.Columns[key.in], i)
		} else {
			w.nums[key.num] = numberOf(&b.Columns[key.in], i)
		}
	}
	w.policy = numberOf(&b.Columns[inPolicy], i)
	final, _ := b.Columns[inFinal].Int(i)
	w.Final = int32(final)
	w.End, _ = b.Columns[inEnd].Int(i)
	var ok bool
	if w.Start, ok = b.Columns[inStart].Int(i); !ok {
		w.Start = NoTime
	}
	w.Semantics = ParseSemantics(r.texts.of[textSemantics].text(w.text[textSemantics]))
	w.Mode = r.texts.of[textMode].text(w.text[textMode])
	w.Source = r.texts.source(w.text[textSource], w.text[textSourceHash])
	return r.readCounters(i, w)
}

func (r *rowReader) readCounters(i int, w *row) error {
	vectors := r.batch.Columns[r.l.firstCounter():]
	clear(w.Values)
	copy(w.Present, r.present)
	for _, c := range r.always {
		v := &vectors[c]
		if v.Const {
			w.Values[c] = uint64(v.Ints[0])
		} else {
			w.Values[c] = uint64(v.Ints[i])
		}
	}
	for _, c := range r.sometimes {
		if n, ok := vectors[c].Int(i); ok {
			w.Values[c] = uint64(n)
			w.Present[c/64] |= 1 << (c % 64)
		}
	}
	if text, ok := r.batch.Columns[inOverflow].Text(i); ok {
		return readOverflow(r.l, text, &w.Point)
	}
	return nil
}

// readOverflow adds the counters above 2^63-1 to a point.
func readOverflow(l *layout, text string, p *Point) error {
	for _, pair := range columns.Pairs(text) {
		for c, name := range l.counters {
			if name != pair.Key {
				continue
			}
			n, err := strconv.ParseUint(pair.Value, 10, 64)
			if err != nil {
				return fmt.Errorf("column overflow: %.64q is no number of %s: %w", pair.Value, name, err)
			}
			p.Values[c] = n
			p.Present[c/64] |= 1 << (c % 64)
		}
	}
	return nil
}

// writeCounters writes counters, those above 2^63-1 as overflow. first is the
// column of each counter.
func writeCounters(l *layout, g *gatherer, at []int, overflow int, maps *interner, values, present []uint64) {
	var above []columns.Pair
	for c, n := range values {
		switch {
		case present[c/64]>>(c%64)&1 == 0:
		case n <= math.MaxInt64:
			g.int(at[c], int64(n))
		default:
			above = append(above, columns.Pair{Key: l.counters[c], Value: strconv.FormatUint(n, 10)})
		}
	}
	if above != nil {
		g.text(overflow, maps.id(columns.EncodePairs(above)))
	}
}
