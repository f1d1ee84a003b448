package export

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math/bits"
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
	sum := newRowSum()
	k, err := r.copyKept(f, w, sum)
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
	if err := r.provePart(temp, digest, sum); err != nil {
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
func (r *rebuild) copyKept(f *columns.File, w *columns.Writer, sum *rowSum) (_ *keeper, err error) {
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
		sum.add(b)
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
func (r *rebuild) provePart(temp *durable.File, digest string, want *rowSum) (err error) {
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
	sum := want.again()
	s := f.Scan(columns.ScanOptions{})
	for {
		b, err := s.Next(r.ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		sum.add(b)
	}
	if !sum.equal(want) {
		return fmt.Errorf("read back: %d rows that are not the %d of others in the data file", sum.rows, want.rows)
	}
	return nil
}

// rowSum is a sum over rows that does not depend on their order: equal sums are
// equal multisets of rows, but for one chance in 2^64 if a bug of ours changes
// some.
type rowSum struct {
	seed   maphash.Seed
	rows   int64
	lo, hi uint64
	hashes []uint64 // of the rows of the batch
	texts  []uint64
}

func newRowSum() *rowSum { return &rowSum{seed: maphash.MakeSeed()} }

// again returns an empty sum that can be compared with s.
func (s *rowSum) again() *rowSum { return &rowSum{seed: s.seed} }

func (s *rowSum) equal(o *rowSum) bool { return s.rows == o.rows && s.lo == o.lo && s.hi == o.hi }

// add adds the rows of a batch, whose columns are all of the table.
func (s *rowSum) add(b *columns.Batch) {
	s.hashes = slices.Grow(s.hashes[:0], b.Rows)[:b.Rows]
	clear(s.hashes)
	for i := range b.Columns {
		s.column(&b.Columns[i], b.Rows)
	}
	for _, h := range s.hashes {
		var carry uint64
		s.lo, carry = bits.Add64(s.lo, h, 0)
		s.hi += mix(h) + carry
	}
	s.rows += int64(b.Rows)
}

// nullHash stands for no value; the place of a column comes in by mixing.
const nullHash = 0x6E756C6C

func (s *rowSum) column(v *columns.Vector, rows int) {
	text := v.IDs != nil
	if text {
		s.texts = slices.Grow(s.texts[:0], len(v.Texts))[:len(v.Texts)]
		for i, t := range v.Texts {
			s.texts[i] = maphash.String(s.seed, t)
		}
	}
	for row := range rows {
		value := uint64(nullHash)
		if text {
			if id := v.ID(row); id >= 0 {
				value = s.texts[id]
			}
		} else if n, ok := v.Int(row); ok {
			value = mix(uint64(n)+1) ^ 0x9E3779B97F4A7C15
		}
		s.hashes[row] = mix(s.hashes[row]*0x2545F4914F6CDD1D + value + 1)
	}
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
