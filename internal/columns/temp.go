package columns

import (
	"context"
	"errors"
	"io"
	"os"
)

// originColumn is the column of a temporary file that has the input of each row.
const originColumn = "origin"

// temp is a temporary file. It has no name, so nothing is left of it after a
// crash.
type temp struct{ f *os.File }

func (t *temp) close() error { return t.f.Close() }

// newTemp makes an empty temporary file.
func newTemp(dir string) (*temp, error) {
	f, err := os.CreateTemp(dir, ".tmp-merge-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &temp{f: f}, nil
}

// toTemp merges runs into a temporary file and returns it as a run.
func (x *Merger) toTemp(ctx context.Context, runs []run, columns []string) (run, error) {
	if len(runs) == 1 {
		return runs[0], nil
	}
	m, err := newMerge(runs, columns, x.o.Order, x.o.Memory)
	if err != nil {
		return run{}, err
	}
	m.onRead = x.onRead()
	t, err := newTemp(x.o.Temp)
	if err != nil {
		return run{}, err
	}
	x.temps = append(x.temps, t)
	s := Schema{Sorted: x.o.Order}
	for i := range m.read {
		s.Columns = append(s.Columns, m.read[i].Column)
	}
	s.Columns = append(s.Columns, Column{Name: originColumn, Type: Int64})
	w := NewWriter(t.f, s, WriterOptions{WholeOrder: true})
	if err := copyRows(ctx, w, m); err != nil {
		return run{}, err
	}
	if err := w.Close(nil); err != nil {
		return run{}, err
	}
	size, err := t.f.Seek(0, io.SeekCurrent)
	if err != nil {
		return run{}, err
	}
	f, err := Open(t.f, size)
	if err != nil {
		return run{}, err
	}
	r := runsOf(f, 0)[0]
	r.origin = true
	return r, nil
}

// copyRows writes all rows of a merge with the column of their inputs.
func copyRows(ctx context.Context, w *Writer, m *merge) error {
	var inputs []int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := m.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		inputs = inputs[:0]
		for _, i := range b.Origin {
			inputs = append(inputs, int64(i))
		}
		with := Batch{Rows: b.Rows, Columns: append(b.Columns[:len(b.Columns):len(b.Columns)], Vector{Rows: b.Rows, Ints: inputs})}
		if err := w.WriteRows(&with); err != nil {
			return err
		}
	}
}
