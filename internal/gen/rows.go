package gen

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"acctpull/record"
)

// meterKeys are the key fields that number the meters, queues, policers or
// override counters of one object.
var meterKeys = []string{"mId", "qid", "pid", "cid"}

// rows holds the counters of one row set for every object and meter.
type rows struct {
	set       *record.RowSet
	objects   int
	perObject int        // records per object and interval
	textKey   bool       // a text key names the object, so numeric keys may repeat between objects
	keys      [][]string // text values by object and field; "" for numbers
	cells     []uint64   // the counter values, by object, meter and field
	steps     []uint32   // the mean growth per interval of each cell; 0 never moves
	records   int64
	sums      []uint128 // by field
}

func newRows(set *record.RowSet, o Options, busy []bool, rng *rand.PCG) *rows {
	s := &rows{set: set, objects: o.Objects, perObject: 1, sums: make([]uint128, len(set.Fields))}
	for _, f := range set.Fields {
		if f.Role == record.Key && slices.Contains(meterKeys, f.Abbrev) {
			s.perObject = o.Meters
		}
		s.textKey = s.textKey || f.Role == record.Key && !f.Numeric
	}
	width := len(set.Fields)
	s.cells = make([]uint64, o.Objects*s.perObject*width)
	s.steps = make([]uint32, len(s.cells))
	for object := range o.Objects {
		texts := make([]string, width)
		for i, f := range set.Fields {
			if !f.Numeric {
				texts[i] = textOf(f, object)
			}
		}
		s.keys = append(s.keys, texts)
	}
	for row := range o.Objects * s.perObject {
		if busy[row/s.perObject] {
			s.traffic(row, rng)
		}
	}
	return s
}

// busyObjects decides which objects carry traffic.
func busyObjects(o Options, rng *rand.PCG) []bool {
	busy := make([]bool, o.Objects)
	for object := range busy {
		busy[object] = float64(rng.Uint64()>>11)/(1<<53) >= o.Idle
	}
	return busy
}

// traffic decides how the counters of one row move: packets at a rate of its
// own, octets with them, drops and out-of-profile traffic at lower rates and not
// on all rows.
func (s *rows) traffic(row int, rng *rand.PCG) {
	packets := logUniform(rng, 50, 500_000)
	size := logUniform(rng, 80, 1_400)
	marked := rng.Uint64()%8 != 0   // some traffic is out of profile
	dropping := rng.Uint64()%2 == 0 // some queues overflow
	uncoloured := rng.Uint64()%2 == 0
	age := float64(rng.Uint64() % 2_000)
	for i, f := range s.set.Fields {
		if f.Role == record.Key || !f.Numeric {
			continue
		}
		rate := packets
		switch {
		case strings.Contains(f.Column, "drop") || strings.Contains(f.Column, "discard"):
			if rate /= 200; !dropping {
				rate = 0
			}
		case strings.Contains(f.Column, "uncoloured"):
			if rate /= 3; !uncoloured {
				rate = 0
			}
		case strings.Contains(f.Column, "out_of_profile") || strings.Contains(f.Column, "low_priority"):
			if rate /= 5; !marked {
				rate = 0
			}
		}
		if f.Unit == "octets" {
			rate *= size
		}
		at := row*len(s.set.Fields) + i
		s.steps[at] = uint32(min(rate, 1<<31))
		s.cells[at] = uint64(float64(s.steps[at]) * age)
	}
}

// restart begins the counters of an object at zero.
func (s *rows) restart(object int) {
	n := s.perObject * len(s.set.Fields)
	clear(s.cells[object*n : (object+1)*n])
}

// fill puts the next sample of one row into rec and adds it to the sums.
func (s *rows) fill(rec *record.Record, object, meter, tick int, rng *rand.PCG) {
	rec.Set, rec.Sub = s.set, s.set.Sub
	rec.Values = rec.Values[:0]
	row := object*s.perObject + meter
	base := row * len(s.set.Fields)
	for i := range s.set.Fields {
		f := &s.set.Fields[i]
		if !f.Numeric {
			rec.Values = append(rec.Values, record.Str(s.keys[object][i]))
			continue
		}
		n := s.cells[base+i]
		if f.Role == record.Key {
			n = s.numericKey(f, object, meter, tick)
		} else if step := uint64(s.steps[base+i]); step > 0 {
			moved := step/2 + rng.Uint64()>>32*step>>32
			if f.Role == record.Counter {
				n += moved
				s.cells[base+i] = n
			} else {
				n = moved
			}
		}
		s.sums[i].add(n)
		rec.Values = append(rec.Values, record.Num(n))
	}
	s.records++
}

// numericKey numbers the meters of an object from 1. Where no text names the
// object, the number itself is unique in the device; a run id is unique anyway.
func (s *rows) numericKey(f *record.FieldDef, object, meter, tick int) uint64 {
	switch {
	case !slices.Contains(meterKeys, f.Abbrev):
		return uint64(tick*s.objects + object)
	case s.textKey:
		return uint64(meter + 1)
	}
	return uint64(object*s.perObject + meter + 1)
}

// textOf returns the value of a text field, which for a key names the object.
func textOf(f record.FieldDef, object int) string {
	switch f.Abbrev {
	case "svc":
		return strconv.Itoa(1000 + object)
	case "sap":
		return fmt.Sprintf("1/1/%d:%d", object%24+1, 100+object/24)
	case "port", "pId":
		return fmt.Sprintf("1/%d/%d", object/48+1, object%48+1)
	case "sdp":
		return fmt.Sprintf("%d:%d", 10+object/100, 2000+object)
	case "own":
		return "ops"
	case "tmd":
		return "icmp-ping"
	}
	if f.Role == record.Key {
		return fmt.Sprintf("%s-%d", strings.ReplaceAll(f.Abbrev, " ", "-"), object+1)
	}
	return "pass"
}

func (s *rows) resetSums() {
	s.records = 0
	clear(s.sums)
}

func (s *rows) addTo(t *Truth) {
	t.Records += s.records
	t.Rows[s.set.Sub] += s.records
	for i, f := range s.set.Fields {
		if f.Role == record.Key || !f.Numeric {
			continue
		}
		if t.Sums[f.Column] == nil {
			t.Sums[f.Column] = new(big.Int)
		}
		t.Sums[f.Column].Add(t.Sums[f.Column], s.sums[i].big())
	}
}
