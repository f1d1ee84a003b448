package policy

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

const (
	// measureEntries is how many intervals are written to measure one at most,
	// and measureRecords how many records that may be in all before it is
	// less.
	measureEntries = 12
	measureRecords = 500_000
)

// Measure finds out what one policy of a Set puts on its flash: it collects
// made-up counters of its objects through a Collector into files below dir, as
// the agent would, and looks at their size and at the time it took. It leaves
// the files there. Of a policy that stores nothing only the number of objects
// and records is found out.
//
// Rows and fields are those that the source of the Set writes: all that a
// 7210 SAS has, or for the source linux what the links, counters and classes of
// the objects can tell, if all of them are there.
func Measure(ctx context.Context, s *Set, policy int, dir string, now time.Time) (Demand, error) {
	plan, err := s.planOf(policy)
	if err != nil {
		return Demand{}, err
	}
	d := Demand{
		Interval: plan.Policy.CollectionInterval, Rollover: plan.File.Rollover, Retention: plan.File.Retention,
		Objects: len(plan.Objects), Memory: int64(plan.Policy.LogMemorySize) << 10,
	}
	var source Source = &Synthetic{Seed: s.c.Source.Seed, Idle: s.c.Source.Idle}
	if s.c.Source.Kind == SourceLinux {
		source = linuxLike{&Synthetic{}}
	}
	if plan.File.ID == 0 {
		count := truthSink{Truth{Sums: map[string]uint64{}}}
		err := source.Sample(ctx, Request{At: now, Record: plan.Definition, Objects: plan.Objects}, &count)
		d.Records = int(count.Truth.Records)
		return d, err
	}
	set, err := alone(s, plan, dir)
	if err != nil {
		return Demand{}, err
	}
	c, err := NewCollector(Options{Set: set, Source: source})
	if err != nil {
		return Demand{}, err
	}
	m := measurement{c: c, policy: policy, at: now, interval: d.Interval}
	first, err := m.file(ctx, 1)
	d.Records, d.Collect = m.records, m.longest
	if err != nil || d.Records == 0 {
		return d, closing(err, c)
	}
	n := max(2, min(measureEntries, measureRecords/d.Records))
	more, err := m.file(ctx, n)
	d.Collect = m.longest
	d.EntryBytes = float64(more-first) / float64(n-1)
	d.FileBytes = max(0, float64(first)-d.EntryBytes)
	return d, closing(err, c)
}

// closing closes the collector, and returns the error that came first.
func closing(err error, c *Collector) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}

func (s *Set) planOf(policy int) (Plan, error) {
	for _, p := range s.Plan() {
		if p.Policy.ID == policy {
			return p, nil
		}
	}
	return Plan{}, &Error{Op: "measure", Policy: policy, Err: ErrNoPolicy}
}

// alone returns the Set of one policy with its objects, whose files lie below
// dir.
func alone(s *Set, plan Plan, dir string) (*Set, error) {
	c := s.Config()
	p := plan.Policy
	file := FileID{ID: plan.File.ID, Description: plan.File.Description, Location: dir, Rollover: MaxRollover, Retention: MaxRetention}
	p.To, p.Default = Destination(file.ID), false
	c.FileIDs, c.Policies, c.Objects = []FileID{file}, []AccountingPolicy{p}, nil
	for _, o := range plan.Objects {
		own := *o
		own.Policy = p.ID
		c.Objects = append(c.Objects, own)
	}
	return New(c)
}

// measurement writes files of one policy in virtual time.
type measurement struct {
	c        *Collector
	policy   int
	at       time.Time
	interval time.Duration
	records  int
	longest  time.Duration
}

// file writes one file of n intervals and returns its size.
func (m *measurement) file(ctx context.Context, n int) (int64, error) {
	for range n {
		m.at = m.at.Add(m.interval)
		began := time.Now()
		in, err := m.c.Collect(ctx, m.policy, m.at)
		if err != nil {
			return 0, err
		}
		m.records, m.longest = in.Records, max(m.longest, time.Since(began))
	}
	f, ok, err := m.c.Roll(ctx, m.policy, m.at)
	if err != nil || !ok {
		return 0, err
	}
	if f, err = f.Stat(); err != nil {
		return 0, err
	}
	return f.Size, nil
}

// linuxLike makes up what the source linux would find: its rows, with the
// counters that Linux knows of each object.
type linuxLike struct{ *Synthetic }

// Sample implements Source.
func (s linuxLike) Sample(ctx context.Context, req Request, out Sink) error {
	rows, at := linuxRows(req.Record), s.clock(req.At)
	var rec record.Record
	var own []objectRow
	var refs [2]ref
	for _, o := range req.Objects {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		g := s.object(o)
		own = linuxObjectRows(own[:0], rows, o)
		for _, r := range own {
			r.row.fillKeys(&rec, o, r.member)
			g.traffic(r.row.egress, r.member, at).fill(r.row, &rec)
			for i := range r.row.fields {
				if f := &r.row.fields[i]; f.counter && len(o.refs(refs[:0], r.row.scope, r.row.egress, r.member, f.meaning)) == 0 {
					rec.Values[i] = record.Value{}
				}
			}
			if err := out.Record(&rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// deleteFiles is how many files DeleteRate deletes.
const deleteFiles = 500

// DeleteRate finds out how many files a second a sweep deletes below dir. It
// makes files there and deletes them.
func DeleteRate(ctx context.Context, dir string) (float64, error) {
	dirs := rollover.Dirs{Collect: filepath.Join(dir, CollectDir), Archive: filepath.Join(dir, ArchiveDir)}
	if err := os.MkdirAll(dirs.Archive, 0o700); err != nil {
		return 0, err
	}
	for i := range deleteFiles {
		name := rollover.NewName(rollover.Act, MinID, MinID, time.Unix(int64(i), 0).UTC(), fileExt)
		// The content is of no use to anybody: nothing is synced.
		if err := os.WriteFile(filepath.Join(dirs.Archive, name.String()), make([]byte, 4096), 0o600); err != nil {
			return 0, err
		}
	}
	o := retention.Options{Dirs: dirs, Rule: retention.Rule{Retention: time.Hour, Rollover: time.Hour}, Force: true}
	began := time.Now()
	r, err := retention.Sweep(ctx, o, began)
	if err != nil {
		return 0, err
	}
	return float64(r.Removed) / max(time.Since(began), time.Microsecond).Seconds(), nil
}
