package policy

import (
	"strings"
	"testing"
	"time"

	"acctpull/retention"
)

// Every warning comes with its numbers, and only where it belongs.
func TestAdvise(t *testing.T) {
	const m, h = time.Minute, time.Hour
	good := demand(5*m, h, 12*h)
	with := func(change func(*Demand)) Demand {
		d := good
		change(&d)
		return d
	}
	usual := Card{DeleteRate: 100, Size: 1 << 30}
	for _, c := range []struct {
		name string
		d    Demand
		c    Card
		p    Practice
		kind string
		text []string
	}{
		{"all is well", good, usual, Practice{Poll: h, Outage: 12 * h}, "", nil},
		{"no collector is named", good, Card{DeleteRate: 100}, Practice{}, "", nil},
		{"a collection longer than its interval", with(func(d *Demand) { d.Collect = 6 * m }), usual, Practice{}, "interval", []string{"10 objects takes 6m", "interval is 5m"}},
		{"a collection of most of its interval", with(func(d *Demand) { d.Collect = 3 * m }), usual, Practice{}, "interval", []string{"3m, 60 % of the interval of 5m"}},
		{"rollover shorter than the interval", demand(h, 5*m, 12*h), usual, Practice{}, "rollover", []string{"rollover 5m is shorter", "1h: it is", "lives for 1h"}},
		{"rollover no multiple", demand(7*m, 20*m, 12*h), usual, Practice{}, "rollover", []string{"20m is no multiple", "live for 21m"}},
		{"polled too seldom", demand(5*m, h, h), usual, Practice{Poll: 2 * h}, "retention", []string{"fetched for 1h at least", "every 2h", "retention 2h or more"}},
		{"polled just often enough", demand(5*m, h, h), usual, Practice{Poll: 45 * m}, "retention", []string{"one visit that fails"}},
		{"gone when closed", demand(5*m, 2*h, h), Card{DeleteRate: 100, Rule: retention.CreatedRetention}, Practice{}, "retention", []string{"retention 1h", "live for 2h", "as soon as it is closed"}},
		{"an outage", demand(5*m, h, 2*h), usual, Practice{Outage: 4 * h}, "outage", []string{"outage of 4h loses up to 2 files with 480 rows (2h of data)", "fetched for 2h", "retention 4h survives"}},
		{"too much for the card", good, Card{DeleteRate: 100, Size: 70_000}, Practice{}, "card", []string{"up to 75.0 kB", "it has 70.0 kB"}},
		{"nearly too much for the card", good, Card{DeleteRate: 100, Size: 85_000}, Practice{}, "card", []string{"less than a tenth"}},
		{"a sweep that cannot keep up", demand(5*m, 5*m, 12*h), Card{DeleteRate: 1}, Practice{}, "sweep", []string{"up to 12 files", "10s at 1 files a second deletes 10", "2 more"}},
		{"wear", good, Card{DeleteRate: 100, Size: 10_000_000}, Practice{}, "wear", []string{"288 writes a day", "2.2 years", "128 KiB"}},
		{"nothing to collect", with(func(d *Demand) { d.Records = 0 }), usual, Practice{Poll: 99 * h}, "empty", []string{"no records"}},
	} {
		got := Advise(c.c, c.p, []Planned{{Policy: 10, Demand: c.d, Sizing: c.d.Size(c.c)}})
		if c.kind == "wear" || c.kind == "card" { // a card that is too small wears out too
			kept := got[:0]
			for _, a := range got {
				if a.Kind == c.kind {
					kept = append(kept, a)
				}
			}
			got = kept
		}
		if c.kind == "" {
			if len(got) != 0 {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Kind != c.kind {
			t.Errorf("%s: %+v, want %s", c.name, got, c.kind)
			continue
		}
		for _, text := range c.text {
			if !strings.Contains(got[0].Text, text) {
				t.Errorf("%s: no %q in %q", c.name, text, got[0].Text)
			}
		}
	}
}

// What Advise calls enough is enough: with that retention the warning is gone.
func TestAdviceHelps(t *testing.T) {
	for _, keep := range []time.Duration{time.Hour, 3 * time.Hour} {
		for _, roll := range []time.Duration{5 * time.Minute, 25 * time.Minute, time.Hour, 6 * time.Hour} {
			for _, kind := range []retention.Kind{retention.CreatedRolloverRetention, retention.CreatedRetention} {
				c := Card{DeleteRate: 100, Rule: kind}
				d := demand(10*time.Minute, roll, keep)
				for _, outage := range []time.Duration{90 * time.Minute, 4 * time.Hour, 30 * time.Hour} {
					a := advisor{c: c}
					better := d
					better.Retention = a.enough(d, d.Size(c), outage)
					if lost := better.Size(c).Lost(better, outage); lost.Files != 0 {
						t.Errorf("%v: retention %v for an outage of %v loses %d files", d, better.Retention, outage, lost.Files)
					}
				}
			}
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 12345678: "12ms", 90 * time.Second: "1m30s", 5 * time.Minute: "5m", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m", 72 * time.Hour: "72h", 20 * time.Second: "20s",
	} {
		if got := Short(d); got != want {
			t.Errorf("Short(%d) = %s, want %s", d, got, want)
		}
	}
	for bytes, want := range map[float64]string{0: "0 B", 999: "999 B", 75000: "75.0 kB", 1.234e6: "1.2 MB", 5e8: "500 MB", 2e15: "2000 TB"} {
		if got := Bytes(bytes); got != want {
			t.Errorf("Bytes(%v) = %s, want %s", bytes, got, want)
		}
	}
}
