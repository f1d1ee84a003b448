package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"

	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// This file compacts one day of a table.

// compactor compacts one day after the other.
type compactor struct {
	o   *CompactOptions
	enc *columns.Encoder
}

// compactInput is a file that is read.
type compactInput struct {
	at        DataFile
	object    readAtCloser
	drop      func() error // removes a local copy
	file      *columns.File
	kind      string // what made it, "" if it is the output of a batch
	semantics string
	truncated []Source
}

// readAtCloser is an open file.
type readAtCloser interface {
	io.ReaderAt
	io.Closer
}

// day compacts one day if it is due; ok is false if it is as it should be.
func (c *compactor) day(ctx context.Context, files []DataFile) (done CompactedDay, ok bool) {
	first := files[0]
	done = CompactedDay{Table: first.Table, Version: first.Version, Date: first.Date}
	err := c.tryDay(ctx, files, &done)
	if errors.Is(err, ErrStale) || errors.Is(err, fs.ErrNotExist) {
		err, done.Outputs = nil, nil
		done.Reason = "it changed meanwhile; it is compacted the next time"
	}
	if err != nil {
		done.Err = &Error{Op: "compact", Path: partitionOf(first.Path), Err: err}
	}
	return done, err != nil || done.Reason != "" || len(done.Inputs) > 0
}

// tryDay compacts one day. A day with very many files takes several steps: what
// one step makes is merged again with the next files.
func (c *compactor) tryDay(ctx context.Context, files []DataFile, done *CompactedDay) error {
	var made []DataFile
	for {
		inputs, err := c.openInputs(ctx, files, done)
		if err != nil {
			return err
		}
		step, due := c.step(inputs, made, done)
		if due {
			made, err = c.replace(ctx, step)
		}
		if err := errors.Join(err, closeInputs(inputs)); err != nil || !due {
			return err
		}
		done.Outputs = made
		if len(step) == len(inputs) {
			return nil
		}
		files = slices.Clone(made)
		for _, in := range inputs[len(step):] {
			files = append(files, in.at)
		}
	}
}

// step decides on the files of a day, of which some were made by the step before,
// and returns those to merge next; due is false if there is nothing to do.
func (c *compactor) step(inputs []*compactInput, made []DataFile, done *CompactedDay) (step []*compactInput, due bool) {
	var fresh, compacted []DataFile
	for _, in := range inputs {
		if in.kind == ReasonCompact {
			compacted = append(compacted, in.at)
		} else {
			fresh = append(fresh, in.at)
		}
	}
	if made == nil {
		if due, done.Reason = c.o.due(fresh, compacted); !due {
			return nil, false
		}
		for _, in := range inputs {
			done.Inputs = append(done.Inputs, in.at)
		}
	}
	return inputs[:min(len(inputs), maxCompactInputs)], !c.o.DryRun
}

// openInputs opens the files that may be replaced. A table that is derived from
// others has none: it is made as it should be.
func (c *compactor) openInputs(ctx context.Context, files []DataFile, done *CompactedDay) (inputs []*compactInput, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, closeInputs(inputs))
			inputs = nil
		}
	}()
	done.Waiting = 0
	for _, f := range files {
		in, err := c.openInput(ctx, f)
		if err != nil {
			return inputs, fmt.Errorf("%q: %w", f.Path, err)
		}
		inputs = append(inputs, in)
		switch {
		case in.kind == ReasonUsage:
			done.Reason = "it is derived from another table"
			return nil, closeInputs(inputs)
		case in.kind == "" && !c.finished(f.Path):
			done.Waiting++
			inputs = inputs[:len(inputs)-1]
			if err := in.close(); err != nil {
				return inputs, err
			}
		}
	}
	return inputs, nil
}

func (c *compactor) finished(path string) bool {
	if c.o.Finished == nil {
		return false
	}
	_, ok := c.o.Finished(path)
	return ok
}

// openInput opens one file and reads its footer. A file of a bucket that is to be
// read whole is copied to the staging directory first.
func (c *compactor) openInput(ctx context.Context, f DataFile) (*compactInput, error) {
	in := &compactInput{at: f, drop: func() error { return nil }}
	_, local := c.o.Dataset.(*depot.Dir)
	if local || c.o.DryRun {
		object, err := c.o.Dataset.Open(ctx, f.Path)
		if err != nil {
			return nil, err
		}
		in.object, in.at.Bytes = object, object.Size()
	} else {
		name, drop, err := depot.Localize(ctx, c.o.Dataset, f.Path, c.o.Staging)
		if err != nil {
			return nil, err
		}
		in.drop = drop
		object, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, drop())
		}
		in.object = object
	}
	if err := in.read(); err != nil {
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

func (in *compactInput) close() error { return errors.Join(in.object.Close(), in.drop()) }

func (in *compactInput) read() error {
	file, err := columns.Open(in.object, in.at.Bytes)
	if err != nil {
		return err
	}
	in.file, in.at.Rows = file, file.Rows()
	made, _, err := readMade(file.Metadata)
	if err != nil {
		return err
	}
	in.kind = made.Kind
	in.semantics, _ = file.Metadata(metaSemantics)
	in.truncated, err = readTruncated(file.Metadata)
	return err
}

func closeInputs(inputs []*compactInput) error {
	var err error
	for _, in := range inputs {
		err = errors.Join(err, in.close())
	}
	return err
}

// replace merges files and puts the result in their place.
func (c *compactor) replace(ctx context.Context, inputs []*compactInput) (made []DataFile, err error) {
	staged, err := c.merge(ctx, inputs)
	defer func() {
		for _, s := range staged {
			err = errors.Join(err, s.temp.Abort())
		}
	}()
	if err != nil {
		return nil, err
	}
	change := Change{Reason: ReasonCompact}
	for _, in := range inputs {
		change.Remove = append(change.Remove, in.at.Path)
	}
	first := inputs[0].at
	for _, s := range staged {
		f := first
		f.SHA256, f.Bytes, f.Rows = s.sum(), s.temp.Size(), s.rows
		f.Path = MadePath(f.Table, f.Version, f.Date, f.SHA256, change.Remove)
		change.Add = append(change.Add, depot.File{Path: f.Path, Local: s.temp.Path(), SHA256: f.SHA256, Size: f.Bytes})
		made = append(made, f)
	}
	return made, Replace(ctx, c.o.Dataset, change, ReplaceOptions{Finished: c.o.Finished, Now: c.o.Now})
}

// stagedFile is a file in the making.
type stagedFile struct {
	temp *durable.File
	hash hash.Hash
	rows int64
}

// Write implements io.Writer.
func (s *stagedFile) Write(p []byte) (int, error) {
	n, err := s.temp.Write(p)
	s.hash.Write(p[:n])
	return n, err
}

func (s *stagedFile) sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// merge writes the rows of all inputs in one order, and proves that all of them,
// and no others, can be read back from the disk.
func (c *compactor) merge(ctx context.Context, inputs []*compactInput) (staged []*stagedFile, err error) {
	digester := columns.NewDigester()
	var before, after columns.Digest
	files := make([]*columns.File, len(inputs))
	for i, in := range inputs {
		files[i] = in.file
	}
	m, err := columns.Merge(files, columns.MergeOptions{
		Memory: c.o.Memory, Temp: c.o.Staging, OnRead: func(b *columns.Batch) { digester.Add(&before, b) },
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if staged, err = c.write(ctx, inputs, m); err != nil {
		return staged, inputName(inputs, err)
	}
	for _, s := range staged {
		if err := s.verify(ctx, digester, &after); err != nil {
			return staged, fmt.Errorf("read back: %w", err)
		}
	}
	rows := int64(0)
	for _, f := range files {
		rows += f.Rows()
	}
	if before != after || before.Rows != rows {
		return staged, fmt.Errorf("the %d rows that were written are not the %d rows that were there; nothing was replaced", after.Rows, rows)
	}
	return staged, nil
}

// inputName tells which file an error of a merge is about.
func inputName(inputs []*compactInput, err error) error {
	var e *columns.InputError
	if errors.As(err, &e) && e.Input < len(inputs) {
		return fmt.Errorf("%q: %w", inputs[e.Input].at.Path, e.Err)
	}
	return err
}

// write writes the merged rows to one file, or to more if it becomes large.
func (c *compactor) write(ctx context.Context, inputs []*compactInput, m *columns.Merger) (staged []*stagedFile, err error) {
	if c.enc == nil {
		if c.enc, err = columns.NewEncoder(); err != nil {
			return nil, err
		}
	}
	metadata := c.metadata(inputs)
	o := Options{Version: c.o.Version}
	var w *columns.Writer
	finish := func() error {
		if w == nil {
			return nil
		}
		s := staged[len(staged)-1]
		s.rows = w.Rows()
		err := w.Close(metadata)
		w = nil
		if err != nil {
			return err
		}
		return s.temp.Sync()
	}
	for {
		b, err := m.Next(ctx)
		if err == io.EOF {
			return staged, finish()
		}
		if err != nil {
			return staged, err
		}
		if w == nil {
			at := inputs[0].at
			temp, err := durable.Create(c.o.Staging, fmt.Sprintf("%s-%s-%d.part", at.Table, at.Date, len(staged)), durable.DataMode)
			if err != nil {
				return staged, err
			}
			s := &stagedFile{temp: temp, hash: sha256.New()}
			staged = append(staged, s)
			w = columns.NewWriter(s, *m.Schema(), columns.WriterOptions{CreatedBy: o.createdBy(), WholeOrder: true, Encoder: c.enc})
		}
		if err := w.WriteRows(b); err != nil {
			return staged, err
		}
		if staged[len(staged)-1].temp.Size() >= c.o.FileBytes {
			if err := finish(); err != nil {
				return staged, err
			}
		}
	}
}

// metadata is what the footer of the merged files says beside the schema.
func (c *compactor) metadata(inputs []*compactInput) map[string]string {
	meta := map[string]string{metaVersion: c.o.Version}
	first := inputs[0]
	for _, key := range []string{metaSchema, metaColumns} {
		meta[key], _ = first.file.Metadata(key)
	}
	meta[metaSemantics] = first.semantics
	var names []string
	var truncated []Source
	for _, in := range inputs {
		if in.semantics != first.semantics {
			meta[metaSemantics] = "mixed"
		}
		names = append(names, in.at.Path)
		truncated = append(truncated, in.truncated...)
	}
	slices.SortFunc(truncated, compareSources)
	truncated = slices.CompactFunc(truncated, func(a, b Source) bool { return compareSources(a, b) == 0 })
	for _, kv := range NewMade(ReasonCompact, names).Metadata(truncated) {
		meta[kv.Key] = kv.Value
	}
	return meta
}

// verify reads the file back, not through the page cache, and adds its rows to
// the digest.
func (s *stagedFile) verify(ctx context.Context, d *columns.Digester, after *columns.Digest) (err error) {
	sum, size, err := durable.Sum(s.temp.Path())
	if err != nil {
		return err
	}
	if want := s.sum(); sum != want || size != s.temp.Size() {
		return fmt.Errorf("%d bytes with SHA-256 %s, wrote %d bytes with %s", size, sum, s.temp.Size(), want)
	}
	f, err := os.Open(s.temp.Path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	file, err := columns.Open(f, size)
	if err != nil {
		return err
	}
	return d.AddFile(ctx, after, file)
}
