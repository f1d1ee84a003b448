package coverage

import (
	"slices"
	"testing"
	"time"
)

// nth returns a file by the order in which it was made.
func (w *world) nth(n int) *wfile { return w.all[n] }

// is tells whether a file is one of these.
func (w *world) is(f *wfile, numbers ...int) bool {
	return slices.Contains(numbers, slices.Index(w.all, f))
}

// remarkable returns the runs of a policy that are not simply there.
func remarkable(streams []Stream, policy int) []Run {
	var all []Run
	for _, s := range streams {
		if s.Policy != policy {
			continue
		}
		for _, r := range s.Runs {
			if r.Verdict != Present && r.Verdict != Open {
				all = append(all, r)
			}
		}
	}
	return all
}

// vanish makes the device lose the n-th file as soon as it is closed.
func (w *world) vanish(numbers ...int) {
	for w.now.Before(dawn.Add(30 * time.Hour)) {
		for _, n := range numbers {
			if n < len(w.all) {
				f := w.all[n]
				w.remove(func(g *wfile) bool { return g == f })
			}
		}
		w.run(time.Minute)
	}
}

// The twelve ways in which files are missing, and the one in which none is. Each
// is reported as what it is, with its time, and nothing else is reported.
func TestMissingFilePatterns(t *testing.T) {
	hours := func(n float64) time.Time { return dawn.Add(time.Duration(n * float64(time.Hour))) }
	type want struct {
		verdict  Verdict
		cause    Cause
		from, to float64 // hours since dawn
		about    int     // number of the file it names, -1 for none
	}
	for _, test := range []struct {
		name string
		play func(*world)
		want []want
	}{
		{"idle", func(w *world) {
			w.run(5*time.Hour + 30*time.Minute)
			w.policies[0].idle = true
			w.run(4 * time.Hour)
			w.policies[0].idle = false
			w.run(20 * time.Hour)
		}, []want{{Idle, NoWrite, 5.5, 9.5, -1}}},
		{"1 first file of a policy", func(w *world) {
			w.policies[0].idle = true
			w.run(2 * time.Hour)
			w.policies[0].idle = false
			w.fetch = func(f *wfile) FileState {
				if w.is(f, 0) {
					return Gone
				}
				return Here
			}
			w.run(20 * time.Hour)
		}, []want{{Lost, ListedGone, 2, 3, 0}}},
		{"1 first files of a policy, never listed", func(w *world) {
			w.policies[0].idle = true
			w.run(2 * time.Hour)
			w.policies[0].idle, w.blind = false, true
			w.run(30 * time.Hour)
			w.blind = false
			w.run(10 * time.Hour)
		}, []want{{Missing, Expired, 2, 19, -1}, {Late, "", 19, 30, -1}}},
		{"2 middle file", func(w *world) { w.vanish(7) }, []want{{Missing, "", 7, 8, -1}}},
		{"3 last file, the device is away", func(w *world) {
			w.run(10 * time.Hour)
			w.blind = true
			w.run(8 * time.Hour)
		}, []want{{Waiting, NotVisited, 9, 16.92, -1}}},
		{"3 last file, the device is away for longer than files live", func(w *world) {
			w.run(10 * time.Hour)
			w.blind = true
			w.run(24 * time.Hour)
		}, []want{{Missing, NotVisited, 9, 21.92, -1}, {Waiting, NotVisited, 21.92, 32.92, -1}}},
		{"3 late", func(w *world) {
			w.run(10 * time.Hour)
			w.blind = true
			w.run(8 * time.Hour)
			w.blind = false
			w.run(10 * time.Hour)
		}, []want{{Late, "", 9, 16, -1}}},
		{"4 a run of files, away for longer than they live", func(w *world) {
			w.run(10 * time.Hour)
			w.blind = true
			w.run(30 * time.Hour)
			w.blind = false
			w.run(10 * time.Hour)
		}, []want{{Lost, Expired, 9, 27, -1}, {Late, "", 27, 38, -1}}},
		{"5 listed, then gone", func(w *world) {
			w.fetch = func(f *wfile) FileState {
				if w.is(f, 6, 7) {
					return Gone
				}
				return Here
			}
			w.run(24 * time.Hour)
		}, []want{{Lost, ListedGone, 6, 7, 6}, {Lost, ListedGone, 7, 8, 7}}},
		{"6 in quarantine", func(w *world) {
			w.fetch = func(f *wfile) FileState {
				if w.is(f, 6) {
					return Quarantined
				}
				return Here
			}
			w.run(24 * time.Hour)
		}, []want{{Corrupt, Refused, 6, 7, 6}}},
		{"7 cut off", func(w *world) {
			w.run(24 * time.Hour)
			for i := range w.device.Files {
				if f := &w.device.Files[i]; f.Name == w.nth(6).name {
					f.Truncated, f.Spans = true, f.Spans[:4]
				}
			}
		}, []want{{Truncated, CutOff, 6.25, 7, 6}}},
		{"8 one of several policies", func(w *world) {
			w.policies = append(w.policies, &writer{id: 20, file: 21, interval: 10 * time.Minute, rollover: time.Hour, next: dawn.Add(10 * time.Minute)})
			w.vanish(13) // every second file is of policy 20
		}, []want{{Missing, "", 6, 7, -1}}},
		{"9 across a restart", func(w *world) {
			w.run(6*time.Hour + 32*time.Minute)
			w.reboot(7*time.Minute, 0)
			w.run(20 * time.Hour)
		}, []want{{Missing, Restart, 6, 6.65, -1}}},
		{"9 across a clock that is set back", func(w *world) {
			w.run(6*time.Hour + 32*time.Minute)
			w.reboot(7*time.Minute, -3*time.Hour)
			w.run(20 * time.Hour)
		}, []want{{Overlapping, "", 3.65, 6, -1}, {Missing, ClockBack, 6, 6.65, -1}}},
		{"10 across a change of interval and rollover", func(w *world) {
			w.run(6*time.Hour + 30*time.Minute)
			p := w.policies[0]
			p.open, p.interval, p.rollover = nil, 15*time.Minute, 3*time.Hour
			p.next = w.now.Add(p.interval)
			w.run(20 * time.Hour)
		}, []want{{Missing, Changed, 6, 6.5, -1}}},
		{"11 deleted to make room", func(w *world) {
			w.every = 3 * time.Hour
			w.visitAt = hours(2.1)
			w.run(10 * time.Hour)
			w.remove(func(f *wfile) bool { return f.made.Before(hours(9)) })
			w.run(20 * time.Hour)
		}, []want{{Lost, Contention, 8, 9, -1}}},
		{"12 the name of one with the content of another", func(w *world) {
			w.run(24 * time.Hour)
			files := w.device.Files
			files[6].AliasOf, files[6].SHA256, files[6].Spans = files[5].Name.String(), files[5].SHA256, files[5].Spans
		}, []want{{Duplicate, "", 5, 6, -1}, {Missing, Repeated, 6, 7, 6}}},
		{"12 the same collections twice hide others", func(w *world) {
			w.run(24 * time.Hour)
			w.device.Files[6].Spans = w.device.Files[5].Spans
		}, []want{{Overlapping, "", 5, 6, -1}, {Missing, Repeated, 6, 7, 6}}},
	} {
		for _, way := range []string{"before the write", "behind the write", "clock ahead", "in local time"} {
			t.Run(test.name+", "+way, func(t *testing.T) {
				w := newWorld(t, policy(10))
				w.atWrite = way == "behind the write"
				if way == "clock ahead" {
					w.skew = 25 * time.Minute
				}
				if way == "in local time" {
					w.zone = time.FixedZone("", 5*3600+1800)
				}
				ahead := w.skew
				test.play(w)
				streams := w.judge()
				policy := 10
				if len(w.policies) > 1 {
					policy = 20
					if got := remarkable(streams, 10); len(got) > 0 {
						t.Errorf("the other policy: %s", show(got[0]))
					}
				}
				got := remarkable(streams, policy)
				if len(got) != len(test.want) {
					dump(t, streams)
					t.Fatalf("%d runs, not %d", len(got), len(test.want))
				}
				for i, want := range test.want {
					r, about := got[i], ""
					if want.about >= 0 {
						about = w.nth(want.about).name.String()
					}
					const slip = 20 * time.Minute // what rolls over a write earlier
					near := func(a time.Time, b float64) bool { return a.Sub(hours(b).Add(ahead)).Abs() <= slip+ahead }
					if r.Verdict != want.verdict || r.Cause != want.cause || !near(r.From, want.from) || !near(r.To, want.to) || about != "" && r.File != about {
						dump(t, streams)
						t.Errorf("%s, not %v (%s) %v to %v %s", show(r), want.verdict, want.cause, stamp(hours(want.from)), stamp(hours(want.to)), about)
					}
				}
			})
		}
	}
}

// Judge does not depend on the order of its input.
func TestJudgeIsAFunction(t *testing.T) {
	w := newWorld(t, policy(10), policy(20))
	w.run(10 * time.Hour)
	w.reboot(time.Minute, -time.Hour)
	w.run(20 * time.Hour)
	want := w.judge()
	slices.Reverse(w.device.Files)
	slices.Reverse(w.device.Visits)
	got := w.judge()
	if len(got) != len(want) {
		t.Fatal(len(got), len(want))
	}
	for i := range want {
		if !slices.Equal(got[i].Runs, want[i].Runs) {
			t.Errorf("policy %d: %v\nnot %v", want[i].Policy, got[i].Runs, want[i].Runs)
		}
	}
}
