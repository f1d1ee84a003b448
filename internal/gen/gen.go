// Package gen makes accounting files for benchmarks, tests and proofs: seeded,
// so the same Options give the same bytes; shaped like the traffic of a real
// network, with idle and busy objects; and with the truth beside it, so a test
// can count and sum what it got back without trusting the code under test.
//
// No two records of one device are alike: the keys of the record, the end of
// its interval and its final mark together occur once.
package gen

import (
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"

	"acctpull/record"
)

// DefaultIdle is the fraction of objects without traffic if Options.Idle is 0.
// With it, gzip level 6 shrinks the default record about ten times.
const DefaultIdle = 0.65

// Options say what to generate. The zero value is the record of the
// benchmarks, 3 keys and 14 counters, for a handful of objects.
type Options struct {
	Seed   uint64
	Device string // system name in the file; "" means "gen-1"
	// Record is the record name; "" means combined-service-ingress.
	Record record.Name
	// Platform chooses the row sets, "7210 SAS" for example; "" means the
	// platform that has the row set with the most fields.
	Platform string
	// CounterMode is the mode of the row sets that depend on it; "" means
	// in-out-profile-count.
	CounterMode string
	// Sub keeps only the row sets of one sub-record; "" means all.
	Sub       string
	Policy    int           // accounting policy id; 0 means 10
	FileID    int           // 0 means 11
	Objects   int           // SAPs, ports, SDPs …; 0 means 10
	Meters    int           // meters or queues per object, where the row set has them; 0 means 4
	Intervals int           // collection intervals per file; 0 means 3
	Start     time.Time     // start of the first interval; zero means 2026-01-02 00:00 UTC
	Interval  time.Duration // 0 means 5 minutes
	// Idle is the fraction of objects that carry no traffic; 0 means
	// DefaultIdle, a negative number means none.
	Idle float64
	// FinalEvery deletes one object in every n-th interval: it leaves a record
	// with final=1 and comes back at once, counting from zero. 0 means never.
	FinalEvery int
	// Shape is the XML around the records; the zero value is our own dialect.
	Shape Shape
}

func (o Options) withDefaults() Options {
	o.Device = or(o.Device, "gen-1")
	o.Record = or(o.Record, "combined-service-ingress")
	o.CounterMode = or(o.CounterMode, "in-out-profile-count")
	o.Policy = or(o.Policy, 10)
	o.FileID = or(o.FileID, 11)
	o.Objects = or(o.Objects, 10)
	o.Meters = or(o.Meters, 4)
	o.Intervals = or(o.Intervals, 3)
	o.Interval = or(o.Interval, 5*time.Minute)
	o.Idle = or(o.Idle, DefaultIdle)
	if o.Start.IsZero() {
		o.Start = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	}
	return o
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Sink takes the generated records interval by interval. record.Writer is one.
// The Record is reused: a Sink that keeps it must clone it.
type Sink interface {
	BeginInterval(start, end time.Time) error
	Write(*record.Record) error
	EndInterval() error
}

// Truth is what was generated.
type Truth struct {
	Files   int
	Records int64
	Rows    map[string]int64    // records by sub-record name
	Sums    map[string]*big.Int // sum of each number column that is not a key, by dataset column
	First   time.Time           // end of the first interval
	Last    time.Time           // end of the last interval
	XML     int64               // bytes before gzip
	Gzip    int64               // bytes after gzip; 0 if there was none
}

// Add adds another truth to t.
func (t *Truth) Add(o Truth) {
	if t.Rows == nil {
		t.Rows, t.Sums = map[string]int64{}, map[string]*big.Int{}
	}
	t.Files += o.Files
	t.Records += o.Records
	t.XML += o.XML
	t.Gzip += o.Gzip
	for sub, n := range o.Rows {
		t.Rows[sub] += n
	}
	for column, n := range o.Sums {
		if t.Sums[column] == nil {
			t.Sums[column] = new(big.Int)
		}
		t.Sums[column].Add(t.Sums[column], n)
	}
	if !o.First.IsZero() && (t.First.IsZero() || o.First.Before(t.First)) {
		t.First = o.First
	}
	if o.Last.After(t.Last) {
		t.Last = o.Last
	}
}

// Generator makes the records of one device. Its counters go on from interval
// to interval and from file to file, as those of a device do.
type Generator struct {
	o    Options
	rng  *rand.PCG
	sets []*rows
	tick int // intervals made so far
	rec  record.Record
	gz   *gzip.Writer
}

// New returns a Generator. It fails if the catalogue has no such record on the
// platform.
func New(o Options) (*Generator, error) {
	o = o.withDefaults()
	def, ok := record.Builtin().Lookup(o.Record)
	if !ok {
		return nil, fmt.Errorf("generate: no record %q in the catalogue", o.Record)
	}
	o.Record = def.Name
	if o.Platform == "" {
		widest := slices.MaxFunc(def.RowSets, func(a, b *record.RowSet) int { return len(a.Fields) - len(b.Fields) })
		o.Platform = widest.Platforms[0]
	}
	g := &Generator{o: o, rng: rand.NewPCG(o.Seed, 0x61636374)}
	busy := busyObjects(o, g.rng)
	for _, set := range def.On(o.Platform) {
		if (set.CounterMode == "" || set.CounterMode == o.CounterMode) && (o.Sub == "" || set.Sub == o.Sub) {
			g.sets = append(g.sets, newRows(set, o, busy, g.rng))
		}
	}
	if len(g.sets) == 0 {
		return nil, fmt.Errorf("generate: record %s has no sub-record %q on %s in mode %s", o.Record, o.Sub, o.Platform, o.CounterMode)
	}
	return g, nil
}

// Options returns the options with every default filled in.
func (g *Generator) Options() Options { return g.o }

// Header returns the header of the file that begins with the next interval.
func (g *Generator) Header() record.Header {
	reason := "rollover"
	if g.tick == 0 {
		reason = "policy applied"
	}
	return record.Header{
		Policy: g.o.Policy, FileID: g.o.FileID, Record: g.o.Record, Created: g.Now(), Interval: g.o.Interval,
		Semantics: record.Cumulative, System: g.o.Device, Description: "generated", Reason: reason,
	}
}

// Now returns the time up to which records have been made.
func (g *Generator) Now() time.Time {
	return g.o.Start.Add(time.Duration(g.tick) * g.o.Interval)
}

// Run makes n intervals and gives every record to the sink, object by object.
// Truth.Files, XML and Gzip are left zero.
func (g *Generator) Run(n int, sink Sink) (Truth, error) {
	for _, s := range g.sets {
		s.resetSums()
	}
	first := g.Now().Add(g.o.Interval)
	for range n {
		start := g.Now()
		g.tick++
		end := g.Now()
		if err := sink.BeginInterval(start, end); err != nil {
			return Truth{}, err
		}
		g.rec.Start, g.rec.End = start, end
		for object := range g.o.Objects {
			if err := g.object(object, sink); err != nil {
				return Truth{}, err
			}
		}
		if err := sink.EndInterval(); err != nil {
			return Truth{}, err
		}
	}
	t := Truth{Rows: map[string]int64{}, Sums: map[string]*big.Int{}}
	if n > 0 {
		t.First, t.Last = first, g.Now()
	}
	for _, s := range g.sets {
		s.addTo(&t)
	}
	return t, nil
}

// object writes the records of one object for one interval.
func (g *Generator) object(object int, sink Sink) error {
	if n := g.o.FinalEvery; n > 0 && g.tick%n == 0 && g.tick/n%g.o.Objects == object {
		if err := g.rowsOf(object, 1, sink); err != nil {
			return err
		}
		for _, s := range g.sets {
			s.restart(object)
		}
	}
	return g.rowsOf(object, 0, sink)
}

func (g *Generator) rowsOf(object, final int, sink Sink) error {
	for _, s := range g.sets {
		for meter := range s.perObject {
			s.fill(&g.rec, object, meter, g.tick, g.rng)
			g.rec.Final = final
			if err := sink.Write(&g.rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// uint128 sums counters exactly.
type uint128 struct{ hi, lo uint64 }

func (u *uint128) add(n uint64) {
	var carry uint64
	u.lo, carry = bits.Add64(u.lo, n, 0)
	u.hi += carry
}

func (u uint128) big() *big.Int {
	n := new(big.Int).SetUint64(u.hi)
	n.Lsh(n, 64)
	return n.Or(n, new(big.Int).SetUint64(u.lo))
}

// logUniform returns a number between low and high whose logarithm is evenly
// spread: few large objects, many small ones.
func logUniform(rng *rand.PCG, low, high float64) float64 {
	return low * math.Exp(float64(rng.Uint64()>>11)/(1<<53)*math.Log(high/low))
}
