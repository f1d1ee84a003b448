package policy

import (
	"time"

	"acctpull/retention"
)

// Demand is what one accounting policy puts on its flash.
type Demand struct {
	// Interval is the collection interval; Rollover and Retention are those of
	// the file-id. All are more than 0.
	Interval, Rollover, Retention time.Duration
	Objects                       int
	// Records is how many records one interval has, EntryBytes how many
	// compressed bytes, and FileBytes what a file has besides: its header and
	// footer.
	Records               int
	EntryBytes, FileBytes float64
	// Collect is how long one collection takes.
	Collect time.Duration
	// Memory is the log-memory in bytes, 0 for none: then every interval is
	// a write of its own.
	Memory int64
}

// Card is the flash, and what is done with its files.
type Card struct {
	// Rule is the retention rule.
	Rule retention.Kind
	// SweepEvery and SweepBudget are those of the sweeps: 0 for once every
	// hour, ten seconds (7210 SAS guide, 5.2.4).
	SweepEvery, SweepBudget time.Duration
	// DeleteRate is how many files a sweep deletes in a second, more than 0.
	DeleteRate float64
	// Size is how many bytes it has, 0 if that is not known.
	Size int64
}

func (c Card) withDefaults() Card {
	if c.SweepEvery == 0 {
		c.SweepEvery = retention.DefaultEvery
	}
	if c.SweepBudget == 0 {
		c.SweepBudget = retention.DefaultBudget
	}
	return c
}

// Sizing is what becomes of a Demand on a Card when everything runs as planned.
type Sizing struct {
	// Entries is how many intervals a file holds, and Life how long it is
	// written to: rollover is tested only when a file is written, so it is the
	// next multiple of the interval.
	Entries int
	Life    time.Duration
	// FileBytes is the size of a whole file.
	FileBytes float64
	// BytesPerRecord is the compressed size of a record, its share of header
	// and footer included.
	BytesPerRecord float64
	BytesPerHour   float64
	FilesPerDay    float64
	RowsPerDay     float64
	// WritesPerDay is how many times a day the flash is written to and synced.
	WritesPerDay float64
	// MostFiles is how many files are on the card at most, the open one and
	// those that wait for the next sweep included, and MostBytes their size.
	MostFiles int
	MostBytes float64
	// Window is how long a closed file can be fetched at least: from its end
	// to its expiry. A collector has to come once in it at least. 0 or less:
	// a file can go as soon as it is closed.
	Window time.Duration
	// SweepFiles is how many files expire between two sweeps at most, and
	// SweepTime how long their deletion takes.
	SweepFiles int
	SweepTime  time.Duration
	// Busy is the share of the interval that a collection takes.
	Busy float64
}

// Size works out the numbers of a policy.
func (d Demand) Size(c Card) Sizing {
	c = c.withDefaults()
	var s Sizing
	s.Entries = int((d.Rollover + d.Interval - 1) / d.Interval)
	s.Life = time.Duration(s.Entries) * d.Interval
	s.FileBytes = d.FileBytes + float64(s.Entries)*d.EntryBytes
	if d.Records > 0 {
		s.BytesPerRecord = s.FileBytes / float64(s.Entries*d.Records)
	}
	perDay := float64(24*time.Hour) / float64(d.Interval)
	s.FilesPerDay = perDay / float64(s.Entries)
	s.BytesPerHour = s.FileBytes * s.FilesPerDay / 24
	s.RowsPerDay = perDay * float64(d.Records)
	s.WritesPerDay = perDay
	if d.Memory > 0 && d.EntryBytes < float64(d.Memory) {
		// Memory is written when the next entry has no room in it, and at the
		// end of the file.
		together := min(float64(s.Entries), max(1, float64(int(float64(d.Memory)/d.EntryBytes))))
		s.WritesPerDay = s.FilesPerDay * float64(ceil(float64(s.Entries)/together))
	}
	age := d.age(c.Rule) + c.SweepEvery
	s.MostFiles = int(age/s.Life) + 1
	s.MostBytes = float64(s.MostFiles) * s.FileBytes
	s.Window = d.age(c.Rule) - s.Life
	s.SweepFiles = max(1, ceil(float64(c.SweepEvery)/float64(s.Life)))
	s.SweepTime = time.Duration(float64(s.SweepFiles) / c.DeleteRate * float64(time.Second))
	s.Busy = float64(d.Collect) / float64(d.Interval)
	return s
}

// age is how old a file may become by the retention rule, counted from its
// creation.
func (d Demand) age(rule retention.Kind) time.Duration {
	r := retention.Rule{Kind: rule, Retention: d.Retention, Rollover: d.Rollover}
	zero := time.Unix(0, 0)
	return r.Expires(zero).Sub(zero)
}

func ceil(x float64) int {
	n := int(x)
	if float64(n) < x {
		n++
	}
	return n
}

// Loss is what is lost at most when the collector does not come for a while.
type Loss struct {
	Outage time.Duration
	// Files are lost before they were fetched, with the records of Time.
	Files int
	Time  time.Duration
	Rows  float64
}

// Lost works out what an outage loses that begins at the worst moment, just
// before a file is closed. The sweep, which may come up to an hour later, is
// not counted on.
func (s Sizing) Lost(d Demand, outage time.Duration) Loss {
	loss := Loss{Outage: outage}
	if beyond := outage - s.Window; beyond > 0 {
		loss.Files = ceil(float64(min(beyond, outage)) / float64(s.Life))
		loss.Time = time.Duration(loss.Files) * s.Life
		loss.Rows = float64(loss.Files * s.Entries * d.Records)
	}
	return loss
}
