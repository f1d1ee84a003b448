package main

import (
	"maps"
	"os"
	"slices"
	"time"

	"acctpull/coverage"
	"acctpull/internal/simdevice"
	"acctpull/ledger"
	"acctpull/pull/fleet"
)

// coverOf is what coverage says of a device.
type coverOf struct{ streams []coverage.Stream }

// covers asks for the coverage of every device, with nothing but what the nodes
// left in the ledger.
func (p *proofFleet) covers(l *ledger.Ledger) map[string]coverOf {
	p.t.Helper()
	text, err := os.ReadFile(p.file)
	check(p.t, err)
	inv, err := fleet.Load(text)
	check(p.t, err)
	all := map[string]coverOf{}
	for _, d := range inv.Devices {
		var c coverOf
		w := coverage.Window{From: p.began.Add(-4 * time.Hour), To: p.fleet.Now().Add(4 * time.Hour)}
		c.streams, _, err = judgeDevice(p.t.Context(), l, coverage.Device{Name: d.Name, Rollover: d.Rollover, Life: d.Life()}, w)
		check(p.t, err)
		all[d.Name] = c
	}
	return all
}

// at is what coverage says of one interval.
func (c coverOf) at(policy int, end time.Time) (v coverage.Verdict, r coverage.Run) {
	for _, s := range c.streams {
		if s.Policy != policy {
			continue
		}
		for _, r := range s.Runs {
			if end.After(r.From) && !end.After(r.To) {
				return r.Verdict, r
			}
		}
	}
	return coverage.Unjudged, r
}

// judged is a file of a device.
type judged struct {
	simdevice.TruthFile
	here  bool
	again bool // its records are here in another one
}

// named checks what coverage says of a device: what is here is no gap, what was in
// act/ and is not here is named, from the first file on that was seen, and where
// nothing is lost there is no gap.
func (p *proofFleet) named(v *verdict, c coverOf, d *simdevice.Device, files []judged, unwritten []simdevice.Lost, first time.Time) {
	p.t.Helper()
	device := d.Name()
	var lost []lostAt
	for _, f := range files {
		if open := f.Sealed.IsZero() && f.Cause == ""; !f.here && !f.again && !open {
			for _, end := range f.Ends {
				lost = append(lost, lostAt{f.Policy, end})
			}
		}
	}
	for _, f := range files {
		for _, end := range f.Ends {
			said, run := c.at(f.Policy, end)
			switch {
			case f.here && said.Gap() && lostThen(lost, f.Policy, end):
				// The clock showed this time twice, and one of the two is lost.
			case f.here && said.Gap():
				p.t.Errorf("false gap: %s policy %d: the interval to %v is here (%s), and coverage has %+v", device, f.Policy, end, f.Name, run)
			case f.here, f.again:
			case said == coverage.Idle && !followed(files, f):
				// That a file was written and went between two visits shows only
				// in the next one of its policy: until it comes there is no trace.
			case !f.Sealed.IsZero() && f.Sealed.After(first) && !said.Gap() && said != coverage.Waiting && said != coverage.Open:
				p.t.Errorf("not named: %s policy %d: the interval to %v of %s (%s) is lost, and coverage says %v: %+v", device, f.Policy, end, f.Name, f.Cause, said, run)
			case !f.Sealed.IsZero() && said.Gap():
				v.gaps++
			}
		}
	}
	for _, l := range unwritten {
		lost = append(lost, lostAt{l.Policy, l.End})
	}
	for _, s := range c.streams {
		for _, r := range s.Gaps() {
			in := func(l lostAt) bool {
				return l.policy == s.Policy && l.end.After(r.From) && !l.end.After(r.To.Add(s.Interval))
			}
			if !slices.ContainsFunc(lost, in) {
				p.t.Errorf("false gap: %s policy %d: nothing is lost in %+v", device, s.Policy, r)
			}
		}
	}
}

// same reports whether two files have the same records: the clock was set back,
// and what the device counted at the time that came twice is the same in this
// simulator. Such records are in Parquet once, as they should be.
func same(d *simdevice.Device, f, g judged) bool {
	if f.Policy != g.Policy || f.Sealed.IsZero() || !slices.EqualFunc(f.Ends, g.Ends, time.Time.Equal) {
		return false
	}
	a, b := d.Counters(f.TruthFile), d.Counters(g.TruthFile)
	return a.Records == b.Records && maps.Equal(a.Sums, b.Sums)
}

// followed reports whether a file of the same policy that was closed later is here.
func followed(files []judged, f judged) bool {
	return slices.ContainsFunc(files, func(g judged) bool { return g.here && g.Policy == f.Policy && g.Sealed.After(f.Sealed) })
}

// lostAt is an interval that is not here.
type lostAt struct {
	policy int
	end    time.Time
}

// lostThen reports whether an interval is lost that meets the one that ends then.
// A clock that was set back shows a time twice.
func lostThen(lost []lostAt, policy int, end time.Time) bool {
	const shortest = 5 * time.Minute // of the intervals of the fleet
	return slices.ContainsFunc(lost, func(l lostAt) bool { return l.policy == policy && l.end.Sub(end).Abs() < shortest })
}
