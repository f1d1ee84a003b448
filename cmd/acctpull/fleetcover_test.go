package main

import (
	"os"
	"strings"
	"time"

	"acctpull/coverage"
	"acctpull/internal/simdevice"
	"acctpull/ledger"
	"acctpull/pull/fleet"
)

// coverOf is what coverage says of a device.
type coverOf struct {
	streams []coverage.Stream
	simple  bool // its clock was never set back
}

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
		c := coverOf{simple: true}
		for _, e := range p.faults {
			c.simple = c.simple && (e.device != d.Name || !strings.Contains(e.fault, "clock back"))
		}
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

// named checks what coverage says of one file: what is here is no gap, and what
// was in act/ and is not here is named, from the first file on that was seen.
func (p *proofFleet) named(v *verdict, c coverOf, d *simdevice.Device, f simdevice.TruthFile, here bool, first time.Time) {
	p.t.Helper()
	for _, end := range f.Ends {
		said, run := c.at(f.Policy, end)
		switch {
		case here && said.Gap() && c.simple:
			p.t.Errorf("false gap: %s policy %d: the interval to %v is here (%s), and coverage has %+v", d.Name(), f.Policy, end, f.Name, run)
		case here && said.Gap():
			v.doubtful++
		case !here && !f.Sealed.IsZero() && f.Sealed.After(first) && !said.Gap() && said != coverage.Waiting && said != coverage.Open:
			if c.simple {
				p.t.Errorf("not named: %s policy %d: the interval to %v of %s (%s) is lost, and coverage says %v: %+v", d.Name(), f.Policy, end, f.Name, f.Cause, said, run)
			} else {
				v.unnamed++
			}
		case !here && !f.Sealed.IsZero() && said.Gap():
			v.gaps++
		}
	}
}
