package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"acctpull/export"
	"acctpull/ledger"
	"acctpull/pull"
)

// Rebuilt is what a Rebuild found.
type Rebuilt struct {
	// Files, Exported and Quarantined count rows; Outputs files of the dataset.
	Files, Exported, Quarantined, Outputs int
	// Aside are the outputs, relative to the dataset, of batches that were
	// cut off while they were published, or lost files since. They were handed
	// to setAside, and Again files are exported anew.
	Aside []string
	Again int
}

// ErrIncomplete: rows of the dataset cannot be made again.
var ErrIncomplete = errors.New("a batch of the dataset is incomplete, and files that it was made of are not in the archive")

// Rebuild fills an empty ledger from what archive, quarantine and dataset tell:
// files that have rows in the dataset are exported, the others wait for it. The
// caller holds the lock of the data directory. Of o, everything but Ledger, Waits
// and RemovedBefore is used.
//
// A batch of which files are missing is exported anew as a whole, so what is
// there of it must leave the dataset: setAside is called with those paths before
// anything is imported. If that would lose rows, because a file that it was made
// of is not in the archive any more, the error is ErrIncomplete.
//
// The bytes of archive and dataset are taken as they are: their digests were in
// the ledger that is lost. Known no more are: files that were lost, times,
// attempts, and what the device called the directory (pull.Device recognises
// files that have their modification time from the device).
func Rebuild(ctx context.Context, o Options, to *ledger.Ledger, now time.Time, setAside func(outputs []string) error) (Rebuilt, error) {
	var res Rebuilt
	batches, err := export.Sources(ctx, o.dataset())
	if err != nil {
		return res, err
	}
	r := &rebuild{check: &check{o: o, report: &Report{}}, to: to, now: now, res: &res, exported: map[inputKey]export.Source{}}
	if r.o.Workers <= 0 {
		r.o.Workers = 4
	}
	if err := r.readArchive(ctx); err != nil {
		return res, err
	}
	outputs, aside, err := r.sort(ctx, batches)
	if err != nil {
		return res, err
	}
	if len(aside) > 0 {
		if err := setAside(aside); err != nil {
			return res, err
		}
	}
	res.Aside, res.Outputs = aside, len(outputs)
	return res, r.write(ctx, outputs)
}

// rebuild is one Rebuild under way.
type rebuild struct {
	*check
	to       *ledger.Ledger
	now      time.Time
	res      *Rebuilt
	archive  []found                    // files of all devices
	there    map[inputKey]bool          // contents of the archive
	exported map[inputKey]export.Source // by input, over all outputs
}

// found is a file of the archive.
type found struct {
	device, rel string
	sum         string
	size, mtime int64
	bad         string // why it cannot be read
	facts       *ledger.Facts
}

// readArchive reads all closed files.
func (r *rebuild) readArchive(ctx context.Context) error {
	for e, err := range r.o.Data.List(ctx, "devices") {
		if err != nil {
			return err
		}
		if device, _, ok := pull.ParseSealed(e.Path); ok {
			r.archive = append(r.archive, found{device: device, rel: e.Path})
		}
	}
	var mu sync.Mutex
	r.there = map[inputKey]bool{}
	at := make([]*found, len(r.archive))
	for i := range r.archive {
		at[i] = &r.archive[i]
	}
	return parallel(ctx, r.o.Workers, at, func(ctx context.Context, f *found) error {
		got, size, err := r.read(ctx, f.device, f.rel)
		if err != nil {
			return err
		}
		if f.mtime, err = r.modified(f.rel); err != nil {
			return err
		}
		f.sum, f.size, f.facts = got.sum, size, got.content.Facts
		if got.err != nil {
			f.bad = oneLine(got.err)
		}
		mu.Lock()
		defer mu.Unlock()
		r.there[keyOf(f.device, f.sum)] = true
		r.progress(f.size)
		return nil
	})
}

// sort tells outputs that stay from those of incomplete batches, and books the
// sources of the former.
func (r *rebuild) sort(ctx context.Context, batches []export.PublishedBatch) (outputs []ledger.Output, aside []string, err error) {
	var replaced []ledger.Output // their digests are in the histories
	for _, b := range batches {
		if len(b.Missing) > 0 {
			if len(b.Replaced) > 0 {
				return nil, nil, fmt.Errorf("%w: batch %s lacks %s, and other files stand in for %s", ErrIncomplete, short(b.ID), b.Missing[0], b.Replaced[0].Path)
			}
			for _, s := range b.Sources {
				if !r.there[keyOf(s.Device, s.SHA256)] {
					return nil, nil, fmt.Errorf("%w: batch %s lacks %s, and %q of %q, SHA-256 %s, is gone", ErrIncomplete, short(b.ID), b.Missing[0], s.Name, s.Device, s.SHA256)
				}
			}
			r.res.Again += len(b.Sources)
			for _, o := range b.Outputs {
				aside = append(aside, o.Path)
			}
			continue
		}
		outputs = append(outputs, b.Outputs...)
		replaced = append(replaced, b.Replaced...)
		for _, s := range b.Sources {
			k := keyOf(s.Device, s.SHA256)
			s.Records += r.exported[k].Records
			r.exported[k] = s
		}
	}
	at := make([]*ledger.Output, len(outputs))
	for i := range outputs {
		at[i] = &outputs[i]
	}
	err = parallel(ctx, r.o.Workers, at, func(ctx context.Context, o *ledger.Output) error {
		p, err := export.ReadPublished(ctx, r.o.dataset(), o.Path)
		o.SHA256 = p.Output.SHA256
		return err
	})
	return append(outputs, replaced...), aside, err
}

// write imports everything.
func (r *rebuild) write(ctx context.Context, outputs []ledger.Output) error {
	rows, err := r.rows(ctx)
	if err != nil {
		return err
	}
	r.res.Files = len(rows)
	for _, row := range rows {
		switch row.State {
		case ledger.Exported:
			r.res.Exported++
		case ledger.Quarantined:
			r.res.Quarantined++
		}
	}
	return r.to.Import(ctx, r.now, rows, outputs)
}

// rows makes the rows of all files. Of several names for one content the one
// that stands in the dataset comes first.
func (r *rebuild) rows(ctx context.Context) ([]ledger.Row, error) {
	var rows []ledger.Row
	notes, err := r.quarantined(ctx)
	if err != nil {
		return nil, err
	}
	type listed struct {
		device, name string
		size, mtime  int64
	}
	came := map[listed]int{} // notes by what a listing says, to their place
	for i, n := range notes {
		came[listed{n.Device, n.Name, n.Size, n.MTime}] = i + 1
	}
	taken := map[ledger.Key]bool{}
	rest := map[inputKey]bool{}
	for k := range r.exported {
		rest[k] = true
	}
	for _, f := range r.archive {
		k := keyOf(f.device, f.sum)
		row := ledger.Row{Key: ledger.Key{Device: f.device, Path: ledger.RebuiltPath, Name: path.Base(f.rel), Size: f.size, MTime: f.mtime},
			State: ledger.Stored, SHA256: f.sum, Stored: f.rel, Facts: f.facts}
		if i := came[listed{f.device, row.Name, f.size, f.mtime}]; i > 0 { // it was in quarantine first
			row.Key, notes[i-1].State = notes[i-1].Key, -1
		}
		if taken[row.Key] {
			row.Path = "sha256:" + f.sum
		}
		taken[row.Key] = true
		s, exported := r.exported[k]
		switch {
		case exported:
			delete(rest, k)
			row.State, row.Records = ledger.Exported, s.Records
		case f.bad != "":
			row.State, row.Reason = ledger.Quarantined, f.bad
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b ledger.Row) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.SHA256, b.SHA256),
			-compareBool(r.named(a), r.named(b)), cmp.Compare(a.Stored, b.Stored))
	})
	for _, n := range notes {
		if n.State >= 0 && !taken[n.Key] {
			taken[n.Key] = true
			delete(rest, keyOf(n.Device, n.SHA256))
			rows = append(rows, n)
		}
	}
	for k := range rest { // in the dataset and not in the archive any more
		s := r.exported[k]
		rows = append(rows, ledger.Row{Key: ledger.Key{Device: s.Device, Path: "sha256:" + s.SHA256, Name: s.Name},
			State: ledger.Exported, SHA256: s.SHA256, Stored: s.Name, Records: s.Records})
	}
	return rows, nil
}

// named tells whether a row has the name under which its content was exported.
func (r *rebuild) named(row ledger.Row) bool {
	return r.exported[keyOf(row.Device, row.SHA256)].Name == row.Name
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// quarantined makes the rows of the files in quarantine, from their notes.
func (r *rebuild) quarantined(ctx context.Context) ([]ledger.Row, error) {
	devices, err := pull.KeptDevices(ctx, r.o.Data)
	if err != nil {
		return nil, err
	}
	var rows []ledger.Row
	for _, device := range devices {
		files, notes, err := pull.Isolated(ctx, r.o.Data, device)
		if err != nil {
			return nil, err
		}
		for _, n := range notes {
			files = append(files, strings.TrimSuffix(n, pull.NotePath("")))
		}
		slices.Sort(files)
		for _, rel := range slices.Compact(files) {
			row, ok, err := r.isolated(ctx, device, rel)
			if err != nil {
				return nil, err
			}
			if ok {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// isolated makes the row of one file in quarantine. Without a whole note its
// name has to do; a note that cannot be read and is about nothing is left alone.
func (r *rebuild) isolated(ctx context.Context, device, rel string) (row ledger.Row, ok bool, err error) {
	n, err := pull.ReadNote(ctx, r.o.Data, pull.NotePath(rel))
	if err == nil && n.Device == device {
		row := ledger.Row{Key: n.Key, State: ledger.Quarantined, Stored: rel, Reason: n.Reason}
		if s, exported := r.exported[keyOf(device, n.SHA256)]; !n.Released.IsZero() {
			row.SHA256, row.State = n.SHA256, ledger.Stored
			if exported {
				row.State, row.Records = ledger.Exported, s.Records
			}
		}
		return row, true, nil
	}
	_, size, err := r.o.Data.Sum(ctx, rel)
	if errors.Is(err, fs.ErrNotExist) {
		return row, false, nil
	}
	name, _, _ := cutLast(path.Base(rel), "-")
	return ledger.Row{Key: ledger.Key{Device: device, Path: ledger.RebuiltPath, Name: name, Size: size},
		State: ledger.Quarantined, Stored: rel, Reason: "unknown: its note is lost"}, true, err
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
