package policy

import (
	"fmt"
	"strconv"
	"time"
)

// Practice is how a collector fetches the files.
type Practice struct {
	// Poll is how often it comes, and Outage for how long it may fail to come
	// without a loss. 0: nothing is said about it.
	Poll, Outage time.Duration
}

// Planned is a policy with what becomes of it.
type Planned struct {
	Policy int
	Demand Demand
	Sizing Sizing
}

// Advice is a warning of what will go wrong, or nearly so, with the numbers
// that it is drawn from (7210 SAS, "Design Considerations": collection
// interval, rollover, retention and the frequency of retrieval have to fit the
// amount of statistics).
type Advice struct {
	// Kind is one of the words that docs/plan.md lists.
	Kind string
	// Policy is 0 if it concerns the card as a whole.
	Policy int
	Text   string
}

// Assumptions about flash wear: each write that is synced costs at least one
// erase block, and a block survives so many erasures. They are a rule of thumb
// for the cards of routers, not figures of one card.
const (
	wearBlock  = 128 << 10
	wearCycles = 3000
	wearYears  = 5 // less is worth a warning
)

// Advise warns of what is wrong with policies that share a card.
func Advise(c Card, p Practice, all []Planned) []Advice {
	a := advisor{c: c.withDefaults(), p: p}
	for _, q := range all {
		if a.policy = q.Policy; q.Demand.Records == 0 {
			a.warn("empty", "it collects no records: nothing is written")
			continue
		}
		a.interval(q)
		a.rollover(q)
		a.retrieval(q)
	}
	a.policy = 0
	a.card(all)
	return a.out
}

type advisor struct {
	c      Card
	p      Practice
	policy int
	out    []Advice
}

func (a *advisor) warn(kind, format string, args ...any) {
	a.out = append(a.out, Advice{Kind: kind, Policy: a.policy, Text: fmt.Sprintf(format, args...)})
}

func (a *advisor) interval(q Planned) {
	d := q.Demand
	switch {
	case d.Collect >= d.Interval:
		a.warn("interval", "a collection of %d objects takes %s and the interval is %s: each one is cut off when the next begins, and the records of the objects behind are lost", d.Objects, Short(d.Collect), Short(d.Interval))
	case 2*d.Collect >= d.Interval:
		a.warn("interval", "a collection of %d objects takes %s, %.0f %% of the interval of %s: a busy moment cuts it off, and its last records are lost", d.Objects, Short(d.Collect), 100*q.Sizing.Busy, Short(d.Interval))
	}
}

func (a *advisor) rollover(q Planned) {
	d, s := q.Demand, q.Sizing
	switch {
	case d.Rollover < d.Interval:
		a.warn("rollover", "rollover %s is shorter than the collection interval %s: it is tested only when a file is written, so every file has one collection and lives for %s", Short(d.Rollover), Short(d.Interval), Short(s.Life))
	case s.Life != d.Rollover:
		a.warn("rollover", "rollover %s is no multiple of the collection interval %s: files live for %s", Short(d.Rollover), Short(d.Interval), Short(s.Life))
	}
}

// retrieval compares how long files can be fetched with how often somebody
// comes.
func (a *advisor) retrieval(q Planned) {
	d, s, p := q.Demand, q.Sizing, a.p
	switch {
	case s.Window <= 0:
		a.warn("retention", "with retention %s and files that live for %s a file can be deleted as soon as it is closed", Short(d.Retention), Short(s.Life))
	case p.Poll > s.Window:
		a.warn("retention", "a closed file can be fetched for %s at least and the collector comes every %s: files are lost without any failure; retention %s or more keeps them", Short(s.Window), Short(p.Poll), Short(a.enough(d, s, p.Poll)))
	case 2*p.Poll > s.Window:
		a.warn("retention", "a closed file can be fetched for %s at least and the collector comes every %s: one visit that fails loses files", Short(s.Window), Short(p.Poll))
	}
	if lost := s.Lost(d, p.Outage); lost.Files > 0 {
		a.warn("outage", "an outage of %s loses up to %d files with %.0f rows (%s of data), because a closed file can be fetched for %s; retention %s survives it", Short(p.Outage), lost.Files, lost.Rows, Short(lost.Time), Short(max(0, s.Window)), Short(a.enough(d, s, p.Outage)))
	}
}

// enough is the retention, in whole hours, with which a file can be fetched for
// that long.
func (a *advisor) enough(d Demand, s Sizing, long time.Duration) time.Duration {
	need := d.Retention + long - s.Window
	return (need + time.Hour - 1) / time.Hour * time.Hour
}

// card looks at all policies of a card together.
func (a *advisor) card(all []Planned) {
	var most, largest, writes, perDay float64
	expire := 0
	for _, q := range all {
		if q.Demand.Records == 0 {
			continue
		}
		s := q.Sizing
		most += s.MostBytes
		largest = max(largest, s.FileBytes)
		writes += s.WritesPerDay
		perDay += max(s.BytesPerHour*24, s.WritesPerDay*wearBlock)
		expire += s.SweepFiles
	}
	if can := int(a.c.DeleteRate * a.c.SweepBudget.Seconds()); expire > can {
		a.warn("sweep", "up to %d files expire between two sweeps, and a sweep of %s at %s files a second deletes %d: %d more are on the card after every one; a longer rollover makes fewer files", expire, Short(a.c.SweepBudget), Rate(a.c.DeleteRate), can, expire-can)
	}
	if a.c.Size == 0 {
		return
	}
	size := float64(a.c.Size)
	switch need := most + largest; {
	case need > size:
		a.warn("card", "up to %s are on the card, and %s for the next file have to be free; it has %s: files are deleted before their retention is over", Bytes(most), Bytes(largest), Bytes(size))
	case need > 0.9*size:
		a.warn("card", "up to %s are on the card, which has %s: less than a tenth stays free, and the device reports space contention", Bytes(most), Bytes(size))
	}
	if perDay == 0 {
		return
	}
	if years := size * wearCycles / perDay / 365; years < wearYears {
		a.warn("wear", "%.0f writes a day wear the card out in about %.1f years, if each costs a block of %d KiB and a block survives %d erasures; log-memory makes fewer writes", writes, years, wearBlock>>10, wearCycles)
	}
}

// Bytes writes a number of bytes as people do: "400 B", "3.4 kB", "35.5 MB"
// (powers of ten).
func Bytes(n float64) string {
	unit := 0
	for ; n >= 1000 && unit < len(byteUnits)-1; unit++ {
		n /= 1000
	}
	if unit == 0 || n >= 100 {
		return fmt.Sprintf("%.0f %s", n, byteUnits[unit])
	}
	return fmt.Sprintf("%.1f %s", n, byteUnits[unit])
}

var byteUnits = [...]string{"B", "kB", "MB", "GB", "TB"}

// Rate writes a rate, a large one without its fraction.
func Rate(x float64) string {
	if x >= 10 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

// Short writes a duration as people do: "72h", "1h30m", "250ms".
func Short(d time.Duration) string {
	if d < time.Minute {
		return d.Round(time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	for _, zero := range []string{"0s", "0m"} {
		if n := len(s) - len(zero); n > 1 && s[n:] == zero && (s[n-1] == 'm' || s[n-1] == 'h') {
			s = s[:n]
		}
	}
	return s
}
