package rollover

import (
	"math/rand/v2"
	"testing"
	"time"
)

// wants are the stamps of files created one after the other by one log.
func TestStamps(t *testing.T) {
	berlin := location(t, "Europe/Berlin")
	for _, c := range []struct {
		name string
		loc  *time.Location
		at   []string // creation, UTC
		want []string
	}{
		{"one a second", time.UTC, []string{"2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"}, []string{"20260101-000000", "20260101-000001"}},
		{"four in a second", time.UTC,
			[]string{"2026-01-01T00:00:00Z", "2026-01-01T00:00:00.3Z", "2026-01-01T00:00:00.6Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:10Z"},
			[]string{"20260101-000000", "20260101-000001", "20260101-000002", "20260101-000003", "20260101-000010"}},
		{"a clock set back a little", time.UTC,
			[]string{"2026-01-01T00:00:30Z", "2026-01-01T00:00:10Z", "2026-01-01T00:01:00Z"},
			[]string{"20260101-000030", "20260101-000031", "20260101-000100"}},
		{"a clock set back by a year", time.UTC,
			[]string{"2026-01-01T00:00:30Z", "2025-01-01T00:00:00Z"},
			[]string{"20260101-000030", "20250101-000000"}},
		{"the repeated hour", berlin,
			[]string{"2026-10-24T23:45:00Z", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"},
			[]string{"20261025-014500", "20261025-020000", "20261025-023000", "20261025-023001", "20261025-023002", "20261025-030000"}},
		{"the skipped hour", berlin,
			[]string{"2026-03-29T00:59:59Z", "2026-03-29T00:59:59.5Z", "2026-03-29T01:00:00Z"},
			[]string{"20260329-015959", "20260329-030000", "20260329-030001"}},
	} {
		var newest Mark
		for i, text := range c.at {
			now, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				t.Fatal(err)
			}
			for wall := range stamps(now, c.loc, newest) {
				newest = Mark{Wall: wall, At: now}
				break
			}
			if got := newest.Wall.Format(stampLayout); got != c.want[i] {
				t.Errorf("%s: file of %s gets %s, want %s", c.name, text, got, c.want[i])
			}
		}
	}
}

// Over a change of the clocks names of any pace are unique, in order, exist in
// their zone, and stand for an instant that is never before the creation.
func TestStampsOverTheYear(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	for _, zone := range []string{"Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "America/Santiago", "UTC"} {
		loc := location(t, zone)
		for _, pace := range []time.Duration{100 * time.Millisecond, time.Minute, 7 * time.Minute, time.Hour} {
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			if pace < time.Minute {
				now = time.Date(2026, 10, 25, 0, 59, 0, 0, time.UTC)
			}
			var newest Mark
			for range 10_000 {
				now = now.Add(time.Duration(rng.Int64N(int64(2 * pace))))
				var wall time.Time
				for wall = range stamps(now, loc, newest) {
					break
				}
				n := NewName(Act, 1, 1, wall, ".xml.gz")
				if !wall.After(newest.Wall) {
					t.Fatalf("seed %d, %s: %s after %v", seed, zone, n, newest.Wall)
				}
				at, err := n.Time(loc)
				if err != nil || at.Before(now.Truncate(time.Second)) {
					t.Fatalf("seed %d, %s: %s was created at %v and says %v, %v", seed, zone, n, now, at, err)
				}
				if wallOf(at, loc) != wall {
					t.Fatalf("seed %d, %s: %s does not exist", seed, zone, n)
				}
				newest = Mark{Wall: wall, At: now}
			}
		}
	}
}
