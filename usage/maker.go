package usage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"acctpull/export"
	"acctpull/internal/columns"
	"acctpull/internal/depot"
	"acctpull/internal/durable"
)

// maker makes the usage of one day.
type maker struct {
	*refresher
	date  string
	carry string // path of what the days before left, "" if nothing
	key   string
	open  []io.Closer
}

// run makes the usage of the day and what it leaves for the days behind, puts
// both in place, and notes it. The carry comes first and the note last: a crash
// in between leaves a file that nobody names, or a day that is made once more.
func (m *maker) run(ctx context.Context) (err error) {
	if err := durable.MkdirAll(m.o.Scratch); err != nil {
		return err
	}
	usage, err := m.create("usage.parquet")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, usage.temp.Abort()) }()
	left, err := m.create("carry")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, left.temp.Abort()) }()
	stats, err := m.compute(ctx, usage, left)
	if err = errors.Join(err, m.close()); err != nil {
		return err
	}
	next := &dayState{Key: m.key, Stats: stats}
	if next.Carry, err = m.keep(ctx, left); err != nil {
		return err
	}
	if next.Output, err = m.publish(ctx, usage); err != nil {
		return err
	}
	m.state.Days[m.date] = next
	return m.state.write(ctx, m.o.Dataset, m.base)
}

// output is a local Parquet file in the making.
type output struct {
	temp *durable.File
	hash hash.Hash
	*columns.Writer
	schema columns.Schema
}

// Write implements io.Writer.
func (f *output) Write(p []byte) (int, error) {
	n, err := f.temp.Write(p)
	f.hash.Write(p[:n])
	return n, err
}

func (f *output) sum() string { return hex.EncodeToString(f.hash.Sum(nil)) }

func (m *maker) create(name string) (*output, error) {
	temp, err := durable.Create(m.o.Scratch, name, durable.DataMode)
	if err != nil {
		return nil, err
	}
	return &output{temp: temp, hash: sha256.New()}, nil
}

// begin starts the file with a schema.
func (f *output) begin(s columns.Schema, encoder *columns.Encoder) {
	f.schema = s
	f.Writer = columns.NewWriter(f, s, columns.WriterOptions{CreatedBy: createdBy, Encoder: encoder})
}

// createdBy names the writer in the footer of a Parquet file.
const createdBy = "acctpull"

// compute merges the files of the day and writes usage and carry.
func (m *maker) compute(ctx context.Context, usage, left *output) (Stats, error) {
	var files []*columns.File
	for _, f := range m.files[m.date] {
		file, err := m.openFile(ctx, f.Path)
		if err != nil {
			return Stats{}, err
		}
		files = append(files, file)
	}
	merger, err := columns.Merge(files, columns.MergeOptions{Columns: m.l.read, Memory: m.o.Memory, Temp: m.o.Scratch})
	if err != nil {
		return Stats{}, err
	}
	m.open = append(m.open, merger)
	at := dayIO{usage: usage, leftover: left}
	if m.carry != "" {
		file, err := m.openFile(ctx, m.carry)
		if err != nil {
			return Stats{}, forgotten(err)
		}
		at.carry = carried{source{ctx, file.Scan(columns.ScanOptions{Columns: m.carryColumns()})}}
	}
	usage.begin(columnsOf(m.l.usage), m.encoders[0])
	left.begin(m.l.carry, m.encoders[1])
	began, err := time.Parse(time.DateOnly, m.date)
	if err != nil {
		return Stats{}, err
	}
	d, err := newDay(m.l, at, began.Add(-Horizon).UnixMicro(), m.narrow())
	if err != nil {
		return Stats{}, err
	}
	stats, err := d.run(ctx, source{ctx, merger})
	if err != nil {
		return Stats{}, err
	}
	metadata, err := m.metadata(d)
	if err != nil {
		return Stats{}, err
	}
	return stats, errors.Join(usage.Close(metadata), left.Close(map[string]string{"acctpull.schema": StateDir + "/" + m.l.record.ID()}))
}

// batchReader is what yields the batches of files.
type batchReader interface {
	Next(context.Context) (*columns.Batch, error)
}

// source makes a rowSource of a batchReader.
type source struct {
	ctx context.Context
	batchReader
}

func (s source) next() (*columns.Batch, error) { return s.Next(s.ctx) }

// carried is a rowSource with a carry.
type carried struct{ source }

func (s carried) next() (*columns.Batch, error) {
	b, err := s.source.next()
	return b, forgotten(err)
}

// forgotten tells of an error of a carry that is gone or damaged that it can be
// helped by making it anew.
func forgotten(err error) error {
	var damaged *columns.Error
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &damaged) {
		return fmt.Errorf("%w: %w", errForgotten, err)
	}
	return err
}

func (m *maker) carryColumns() (names []string) {
	for _, c := range m.l.carry.Columns {
		names = append(names, c.Name)
	}
	return names
}

func (m *maker) openFile(ctx context.Context, path string) (*columns.File, error) {
	object, err := m.o.Dataset.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	m.open = append(m.open, object)
	f, err := columns.Open(object, object.Size())
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

// close closes all that was opened.
func (m *maker) close() error {
	var errs []error
	for _, c := range m.open {
		errs = append(errs, c.Close())
	}
	m.open = nil
	return errors.Join(errs...)
}

// narrow returns the rates of the counters of a device that have 32 bits.
func (m *maker) narrow() func(device string) []uint64 {
	if len(m.o.Narrow) == 0 {
		return nil
	}
	rates := map[string][]uint64{}
	for _, n := range m.o.Narrow {
		for i, name := range m.l.counters {
			if name != n.Column {
				continue
			}
			if rates[n.Device] == nil {
				rates[n.Device] = make([]uint64, len(m.l.counters))
			}
			rates[n.Device][i] = n.Rate
		}
	}
	return func(device string) []uint64 { return rates[device] }
}

// metadata is what the footer of a usage file says.
func (m *maker) metadata(d *day) (map[string]string, error) {
	all, err := json.Marshal(m.l.usage.Columns)
	if err != nil {
		return nil, err
	}
	made, err := json.Marshal(struct {
		Kind   string `json:"kind"`
		Inputs int    `json:"inputs"`
		Digest string `json:"digest"`
	}{"usage", len(m.files[m.date]), m.key})
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"acctpull.schema": m.l.usage.ID(), "acctpull.columns": string(all), "acctpull.semantics": d.semantics(),
		"acctpull.made": string(made), "acctpull.version": m.o.Version,
	}, nil
}

// keep puts the carry where the next day finds it, and returns its path; "" if
// there is nothing in it.
func (m *maker) keep(ctx context.Context, f *output) (string, error) {
	if f.Rows() == 0 {
		return "", nil
	}
	if err := f.temp.Seal(); err != nil {
		return "", err
	}
	sum := f.sum()
	path := m.base + "/" + m.date + "-" + sum[:32] + carrySuffix
	file := []depot.File{{Path: path, Local: f.temp.Path(), SHA256: sum, Size: f.temp.Size()}}
	placed, err := m.o.Dataset.Publish(ctx, file)
	if err == nil && placed[0].Outcome == depot.Taken {
		// It is named after its content: the one that is there is damaged.
		if err = m.o.Dataset.Remove(ctx, path); err == nil {
			placed, err = m.o.Dataset.Publish(ctx, file)
		}
	}
	if err == nil && placed[0].Outcome == depot.Taken {
		err = fmt.Errorf("%s is there with other content: %w", path, export.ErrConflict)
	}
	return path, err
}

// publish puts the usage of the day in place of what is there, and returns its
// path. If the same is there already nothing changes.
func (m *maker) publish(ctx context.Context, f *output) (string, error) {
	if err := f.temp.Seal(); err != nil {
		return "", err
	}
	sum := f.sum()
	var old []string
	for _, at := range m.made[m.date] {
		old = append(old, at.Path)
	}
	if len(old) == 1 && m.made[m.date][0].Bytes == f.temp.Size() {
		there, _, err := m.o.Dataset.Sum(ctx, old[0])
		if err != nil || there == sum {
			return old[0], err
		}
	}
	t := m.l.usage
	path := export.MadePath(t.Name, t.Version, m.date, sum, old)
	change := export.Change{Reason: export.ReasonUsage, Remove: old, Add: []depot.File{{Path: path, Local: f.temp.Path(), SHA256: sum, Size: f.temp.Size()}}}
	if err := export.Replace(ctx, m.o.Dataset, change, export.ReplaceOptions{Now: m.o.Now()}); err != nil {
		return "", err
	}
	m.made[m.date] = []export.DataFile{{Table: t.Name, Version: t.Version, Date: m.date, Path: path, Rows: f.Rows(), Bytes: f.temp.Size(), SHA256: sum}}
	return path, nil
}

// RemoveLeftovers removes what a crash left in the scratch directory. No Refresh
// may be running.
func RemoveLeftovers(scratch string) error {
	if _, err := os.Stat(scratch); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	_, err := durable.RemoveLeftovers(filepath.Clean(scratch))
	return err
}
