package export

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
	"acctpull/ledger"
)

// This file writes the rows anew that share a data file with rebuilt ones.

// rewriteAll writes every data file anew that has rows of inputs which are
// replaced, and others.
func (r *rebuild) rewriteAll() error {
	for _, h := range r.held {
		kept := h.Kept
		for k, n := range h.shares {
			if !r.drop[k] {
				kept += n
			}
		}
		if !r.replaces(h) || kept == 0 {
			continue
		}
		if err := r.rewrite(h, kept); err != nil {
			return &Error{Op: "rewrite data file", Path: h.Path, Err: err}
		}
	}
	return nil
}

// rewrite writes a data file without the rows that are replaced, which leaves
// kept rows, and proves that these are the same.
func (r *rebuild) rewrite(h holder, kept int64) (err error) {
	dir := r.x.o.staging()
	local, done, err := depot.Localize(r.ctx, r.x.o.Outputs, h.Path, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	src, err := os.Open(local)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	f, err := columns.Open(src, st.Size())
	if err != nil {
		return err
	}
	temp, err := durable.Create(dir, h.Table+"-"+h.Date+"-kept.part", durable.DataMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temp.Abort()) }()
	hash := sha256.New()
	w := columns.NewWriter(io.MultiWriter(temp, hash), *f.Schema(), columns.WriterOptions{CreatedBy: r.x.o.createdBy()})
	digester := columns.NewDigester()
	var sum columns.Digest
	k, err := r.copyKept(f, w, digester, &sum)
	if err != nil {
		return err
	}
	if w.Rows() != kept {
		return fmt.Errorf("%d rows of others are in it, its sources have %d", w.Rows(), kept)
	}
	if err := w.Close(r.metadataOf(f, h, k)); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	if err := r.provePart(temp, digest, digester, sum); err != nil {
		return err
	}
	return r.keep(temp, ledger.Output{SHA256: digest, Rows: kept, Record: h.Table, Date: h.Date}, h.Path)
}

// keeper tells rows that stay, batch by batch.
type keeper struct {
	sources   sourceCounter
	at        [3]int // of sourceColumns in the table
	semantics int    // the column
	meanings  []string
	rows      []int32
}

// copyKept copies the rows that stay, in the order of the table, and adds them up.
func (r *rebuild) copyKept(f *columns.File, w *columns.Writer, digester *columns.Digester, sum *columns.Digest) (_ *keeper, err error) {
	schema := f.Schema()
	k := &keeper{sources: sourceCounter{rows: map[Source]int64{}}, semantics: schema.Index("semantics")}
	for i, name := range sourceColumns {
		if k.at[i] = schema.Index(name); k.at[i] < 0 {
			return nil, fmt.Errorf("it has no column %s", name)
		}
	}
	m, err := columns.Merge([]*columns.File{f}, columns.MergeOptions{Temp: r.x.o.staging()})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	for {
		b, err := m.Next(r.ctx)
		if err == io.EOF {
			return k, nil
		}
		if err != nil {
			return nil, err
		}
		r.choose(k, b)
		if len(k.rows) == 0 {
			continue
		}
		pick(b, k.rows)
		k.note(b)
		digester.Add(sum, b)
		if err := w.WriteRows(b); err != nil {
			return nil, err
		}
	}
}

// choose finds the rows of a batch that stay.
func (r *rebuild) choose(k *keeper, b *columns.Batch) {
	device, sum := &b.Columns[k.at[0]], &b.Columns[k.at[2]]
	dropped := map[[2]int32]bool{}
	k.rows = k.rows[:0]
	for row := range b.Rows {
		id := [2]int32{device.ID(row), sum.ID(row)}
		drop, known := dropped[id]
		if !known {
			drop = r.drop[ledgerKey{device.Texts[id[0]], sum.Texts[id[1]]}]
			dropped[id] = drop
		}
		if !drop {
			k.rows = append(k.rows, int32(row))
		}
	}
}

// note books sources and meanings of rows that stay.
func (k *keeper) note(b *columns.Batch) {
	k.sources.count(&columns.Batch{Rows: b.Rows, Columns: []columns.Vector{b.Columns[k.at[0]], b.Columns[k.at[1]], b.Columns[k.at[2]]}})
	v := &b.Columns[k.semantics]
	last := int32(-2)
	for row := range b.Rows {
		if id := v.ID(row); id != last {
			last = id
			if text, ok := v.Text(row); ok && !slices.Contains(k.meanings, text) {
				k.meanings = append(k.meanings, text)
			}
		}
	}
}

// metadataOf is the metadata of the rows that stay: what the file said of itself,
// and of which sources they are.
func (r *rebuild) metadataOf(f *columns.File, h holder, k *keeper) map[string]string {
	semantics := "mixed"
	if len(k.meanings) == 1 {
		semantics = k.meanings[0]
	}
	m := map[string]string{metaSemantics: semantics, metaVersion: r.x.o.Version}
	for _, key := range []string{metaSchema, metaColumns} {
		m[key], _ = f.Metadata(key)
	}
	cut := map[ledgerKey]bool{}
	for _, s := range h.cut {
		cut[ledgerKey{s.Device, s.SHA256}] = true
	}
	for _, kv := range madeOf(k.sources.list(cut)) {
		m[kv.Key] = kv.Value
	}
	return m
}

// provePart reads a staged file back from the disk: its bytes, and its rows.
func (r *rebuild) provePart(temp *durable.File, digest string, digester *columns.Digester, want columns.Digest) (err error) {
	got, size, err := durable.Sum(temp.Path())
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if got != digest || size != temp.Size() {
		return fmt.Errorf("read back: %d bytes with SHA-256 %s, wrote %d bytes with %s", size, got, temp.Size(), digest)
	}
	file, err := os.Open(temp.Path())
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	f, err := columns.Open(file, size)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	var sum columns.Digest
	if err := digester.AddFile(r.ctx, &sum, f); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if sum != want {
		return errors.New("read back: the rows are not those of others in the data file")
	}
	return nil
}

// clearRebuild removes what a rebuild that is over left.
func (x *Exporter) clearRebuild() error {
	dir := x.o.rebuilding()
	entries, err := os.ReadDir(dir)
	if err != nil && !isMissing(err) {
		return &Error{Op: "clear directory of the rebuild", Path: dir, Err: err}
	}
	for _, e := range entries {
		if e.IsDir() {
			continue // of another node
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return &Error{Op: "clear directory of the rebuild", Path: dir, Err: err}
		}
	}
	return nil
}

// pick keeps some rows of a batch, in ascending order.
func pick(b *columns.Batch, rows []int32) {
	if len(rows) == b.Rows {
		return
	}
	b.Rows, b.Origin = len(rows), nil
	for i := range b.Columns {
		v := &b.Columns[i]
		v.Rows = len(rows)
		if v.Const || v.AllNull {
			continue
		}
		v.Ints, v.IDs, v.Null = picked(v.Ints, rows), picked(v.IDs, rows), picked(v.Null, rows)
	}
}

// picked keeps some values, nil if there are none at all.
func picked[T any](values []T, rows []int32) []T {
	if values == nil {
		return nil
	}
	for i, row := range rows {
		values[i] = values[row]
	}
	return values[:len(rows)]
}
