package coverage

import (
	"slices"
	"testing"
	"time"
)

// again lists every closed file once more, with another length and broken. What
// came whole before or comes whole later is the same file.
func (w *world) again() {
	for _, f := range slices.Clone(w.device.Files) {
		f.State, f.Read, f.Spans, f.First, f.SHA256 = Quarantined, false, nil, w.now, f.SHA256+"!"
		w.device.Files = append(w.device.Files, f)
	}
}

// What a fleet with every fault taught: nothing is missing in these, or only what
// is said.
func TestFoundByTheFleet(t *testing.T) {
	for _, test := range []struct {
		name string
		play func(*world)
	}{
		{"what came whole is listed again, shorter", func(w *world) {
			w.run(10 * time.Hour)
			w.again()
			w.run(10 * time.Hour)
		}},
		{"what came whole is listed again, shorter, and the next listing is too", func(w *world) {
			w.run(10 * time.Hour)
			w.again()
			w.run(15 * time.Minute)
			w.again()
			w.run(10 * time.Hour)
		}},
		{"what was listed shorter comes whole", func(w *world) {
			w.run(10 * time.Hour)
			n := len(w.device.Files)
			for i := range w.device.Files {
				f := &w.device.Files[i]
				f.First, f.SHA256 = w.now, f.SHA256+"!"
			}
			for _, f := range slices.Clone(w.device.Files[:n]) {
				f.State, f.Read, f.Spans, f.First = Quarantined, false, nil, dawn.Add(9*time.Hour)
				w.device.Files = append(w.device.Files, f)
			}
			w.run(10 * time.Hour)
		}},
		{"it takes minutes to record a listing, and the next ones find the same", func(w *world) {
			w.slow = true
			w.run(40 * time.Hour)
		}},
		{"the clock is set back while a file is open", func(w *world) {
			w.run(10*time.Hour + 2*time.Minute)
			w.skew = -37 * time.Minute
			w.run(10 * time.Hour)
		}},
		{"the clock is set back while a file is open, and the device is down then", func(w *world) {
			w.policies[0].rollover = 20 * time.Minute
			w.run(10*time.Hour + 6*time.Minute)
			w.skew, w.blind = -37*time.Minute, true
			w.run(time.Hour)
			w.blind = false
			w.run(10 * time.Hour)
		}},
		{"the clock is set back, and later what came whole is listed shorter", func(w *world) {
			w.policies[0].rollover = 20 * time.Minute
			w.run(10*time.Hour + 6*time.Minute)
			w.skew = -37 * time.Minute
			w.run(3 * time.Hour)
			w.again()
			w.run(10 * time.Hour)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, policy(10))
			test.play(w)
			for _, s := range w.judge() {
				for _, r := range s.Gaps() {
					t.Errorf("false gap: %s", show(r))
				}
			}
		})
	}
}
