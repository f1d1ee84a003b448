package policy

import (
	"context"
	"time"

	"acctpull/record"
)

// Synthetic is a source of made-up counters for tests, demonstrations and
// benchmarks: the same seed, object and time give the same values, whoever asks
// and however often. Counters are cumulative, never decrease, and agree with
// each other: offered = forwarded + dropped, forwarded = in-profile +
// out-of-profile, and the octets offered to a SAP are the sum over its meters.
// An SAA test is run every five minutes, and what is read is its last run.
//
// Its zero value has the seed 0 and no idle object.
type Synthetic struct {
	// Seed selects one of the made-up worlds.
	Seed uint64
	// Idle is how many percent of the objects have no traffic at all, about.
	Idle int
	// Start is when all counters were zero; the zero time is the beginning of
	// 2025. Before Start they are zero.
	Start time.Time
}

// Sample implements Source. Nothing is ever missing or restarted.
func (s *Synthetic) Sample(ctx context.Context, req Request, out Sink) error {
	rows := [...][]row{InOutProfile: syntheticRows(req.Record, InOutProfile), ForwardDrop: syntheticRows(req.Record, ForwardDrop)}
	at := s.clock(req.At)
	var rec record.Record
	for _, o := range req.Objects {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		g := s.object(o)
		for i := range rows[o.CounterMode] {
			r := &rows[o.CounterMode][i]
			n := r.members(o)
			for m := 1; m <= n; m++ {
				member := 0
				if r.numbered() {
					member = m
				}
				r.fillKeys(&rec, o, member)
				if o.Type == SAA {
					g.run(at).fill(&rec)
				} else {
					g.traffic(r.egress, member, at).fill(r, &rec)
				}
				if err := out.Record(&rec); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Truth is the sum of everything a collection holds, to compare with what came
// out at the other end.
type Truth struct {
	Records uint64
	// Sums of the counters by column of the dataset.
	Sums map[string]uint64
}

// Add adds another collection to t.
func (t *Truth) Add(o Truth) {
	t.Records += o.Records
	if t.Sums == nil {
		t.Sums = map[string]uint64{}
	}
	for column, n := range o.Sums {
		t.Sums[column] += n
	}
}

// Truth returns what Sample will hand out for the same request.
func (s *Synthetic) Truth(req Request) Truth {
	sum := truthSink{Truth{Sums: map[string]uint64{}}}
	// The Sink returns no error and the context does not end.
	_ = s.Sample(context.Background(), req, &sum)
	return sum.Truth
}

type truthSink struct{ Truth }

func (t *truthSink) Record(r *record.Record) error {
	t.Records++
	for i := range r.Set.Fields {
		if f := &r.Set.Fields[i]; f.Role == record.Counter && r.Values[i].State == record.Number {
			t.Sums[f.Column] += r.Values[i].N
		}
	}
	return nil
}

func (t *truthSink) Missing(*Object, error)    {}
func (t *truthSink) Restarted(*Object, string) {}

// slot is the time over which the rate of a stream is constant.
const slot = 5 * time.Minute

var defaultStart = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// moment is a time as the generator counts it.
type moment struct {
	slot uint64 // whole slots since the start
	ms   uint64 // milliseconds into the slot
}

func (s *Synthetic) clock(at time.Time) moment {
	start := s.Start
	if start.IsZero() {
		start = defaultStart
	}
	ms := at.UnixMilli() - start.UnixMilli()
	if ms < 0 {
		return moment{}
	}
	return moment{slot: uint64(ms) / uint64(slot.Milliseconds()), ms: uint64(ms) % uint64(slot.Milliseconds())}
}

// generator makes the traffic of one object.
type generator struct {
	o    *Object
	hash uint64
	idle bool
}

func (s *Synthetic) object(o *Object) generator {
	h := mix(s.Seed ^ uint64(o.Type)<<56)
	h = hashString(h, o.ID)
	h = hashString(h, o.Service)
	return generator{o: o, hash: h, idle: int(mix(h)%100) < s.Idle}
}

// traffic is what one meter, queue or object has counted.
type traffic struct {
	offered, dropped, inForwarded, inDropped amount
}

// amount is a number of packets and their octets.
type amount struct{ packets, octets uint64 }

func (a amount) plus(b amount) amount { return amount{a.packets + b.packets, a.octets + b.octets} }

func (a amount) minus(b amount) amount { return amount{a.packets - b.packets, a.octets - b.octets} }

// traffic of a member; member 0 is the object as a whole, the sum over its
// members if it has any.
func (g generator) traffic(egress bool, member int, at moment) traffic {
	if g.idle {
		return traffic{}
	}
	n := 0
	if g.o.Type == Access && member == 0 {
		n = g.o.Meters
		if egress {
			n = g.o.EgressMeters
		}
	}
	if n == 0 {
		return newStream(g.hash, egress, member).traffic(at)
	}
	var sum traffic
	for m := 1; m <= n; m++ {
		t := newStream(g.hash, egress, m).traffic(at)
		sum.offered = sum.offered.plus(t.offered)
		sum.dropped = sum.dropped.plus(t.dropped)
		sum.inForwarded = sum.inForwarded.plus(t.inForwarded)
		sum.inDropped = sum.inDropped.plus(t.inDropped)
	}
	return sum
}

// fill fills in the counters of a row.
func (t traffic) fill(r *row, rec *record.Record) {
	for j := range r.fields {
		if r.fields[j].counter {
			rec.Values[j] = record.Num(t.value(r.fields[j].meaning))
		}
	}
}

func (t *traffic) value(m meaning) uint64 {
	var a amount
	switch m.part {
	case offered:
		a = t.offered
	case forwarded:
		a = t.offered.minus(t.dropped)
	case dropped:
		a = t.dropped
	case inForwarded:
		a = t.inForwarded
	case outForwarded:
		a = t.offered.minus(t.dropped).minus(t.inForwarded)
	case inDropped:
		a = t.inDropped
	case outDropped:
		a = t.dropped.minus(t.inDropped)
	}
	if m.octets {
		return a.octets
	}
	return a.packets
}

// stream is an endless flow of packets of one size.
type stream struct {
	hash    uint64
	perSlot uint64 // packets in a slot, on average
	size    uint64 // octets of a packet
	drop    uint64 // 1024ths of the packets that are dropped
	profile uint64 // 1024ths that are in profile
}

func newStream(object uint64, egress bool, member int) stream {
	h := mix(object ^ uint64(member+1)<<1 ^ uint64(boolInt(egress)))
	s := stream{hash: h, size: 64 + h>>8%1455, profile: 512 + h>>24%513}
	// From one packet per second to some ten thousand, small ones more often.
	s.perSlot = 300 << (h % 15)
	s.perSlot += mix(h) % s.perSlot
	if h>>40%4 == 0 { // one stream of four drops up to 5 percent
		s.drop = 1 + h>>44%51
	}
	return s
}

func (s stream) traffic(at moment) traffic {
	from, to := s.boundary(at.slot), s.boundary(at.slot+1)
	packets := from + (to-from)*at.ms/uint64(slot.Milliseconds())
	drops := packets * s.drop / 1024
	in := (packets - drops) * s.profile / 1024
	inDrops := drops * s.profile / 1024
	return traffic{s.amount(packets), s.amount(drops), s.amount(in), s.amount(inDrops)}
}

// boundary is how many packets have come when slot n begins. It moves by less
// than one slot around the straight line, so it never decreases.
func (s stream) boundary(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return s.perSlot*n + mix(s.hash+n)%s.perSlot
}

func (s stream) amount(packets uint64) amount { return amount{packets, packets * s.size} }

// mix is the finaliser of splitmix64: every bit of x changes about half of the
// result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString continues an FNV-1a hash over s and its length.
func hashString(h uint64, s string) uint64 {
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h ^ uint64(len(s)))
}
