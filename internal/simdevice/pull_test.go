package simdevice

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acctpull/ledger"
	"acctpull/pull"
	"acctpull/record"
)

// puller is acctpull's own client, with short limits, and all it has pulled
// from one device.
type puller struct {
	t      *testing.T
	o      pull.Options
	target pull.Target
	stored map[string]pull.File
}

func newPuller(t *testing.T, f *Fleet, d *Device) *puller {
	t.Helper()
	home := t.TempDir()
	known, password, data := filepath.Join(home, "known_hosts"), filepath.Join(home, "password"), filepath.Join(home, "data")
	must(t, os.WriteFile(known, []byte(knownHostsLine(t, d)+"\n"), 0o600))
	must(t, os.WriteFile(password, []byte("secret\n"), 0o600))
	must(t, os.Mkdir(data, 0o750))
	at := netip.MustParseAddrPort(d.Addr())
	led, err := ledger.Open(t.Context(), filepath.Join(home, "ledger.db"))
	must(t, err)
	t.Cleanup(func() { must(t, led.Close()) })
	verify := func(_ context.Context, path string) (pull.Verified, error) {
		file, err := os.Open(path)
		if err != nil {
			return pull.Verified{}, err
		}
		defer file.Close()
		r := record.NewReader(record.ReaderOptions{})
		r.Reset(file, path)
		stats, err := r.Verify()
		return pull.Verified{Records: stats.Records}, err
	}
	return &puller{t: t, stored: map[string]pull.File{},
		o: pull.Options{Data: data, Ledger: led, Owner: "test", Verify: verify,
			Limits: pull.Limits{Retries: -1, Handshake: 3 * time.Second, FreeStart: pull.Space{Bytes: 1}, FreeStop: pull.Space{Bytes: 1}}},
		target: pull.Target{Device: d.Name(), User: "admin", Host: at.Addr().String(), Port: int(at.Port()), Path: "cf1:/act",
			KnownHosts: []string{known}, Password: pull.Secret{File: password}}}
}

// pull pulls once.
func (p *puller) pull() (map[pull.Outcome]int, error) {
	p.t.Helper()
	result, err := pull.Device(p.t.Context(), p.o, p.target)
	outcomes := map[pull.Outcome]int{}
	for _, f := range result.Files {
		outcomes[f.Outcome]++
		if f.Outcome == pull.Stored || f.Outcome == pull.Alias {
			p.stored[f.Name] = f
		}
	}
	return outcomes, err
}

// compare compares what was stored with the truth, record by record, and
// returns how many files of act/ were not.
func (p *puller) compare(d *Device) (missing int) {
	p.t.Helper()
	truth, err := d.Truth()
	must(p.t, err)
	known := map[string]TruthFile{}
	for _, f := range truth.Files {
		known[f.Name] = f
		if _, ok := p.stored[f.Name]; !ok && !f.Sealed.IsZero() && f.Gone.IsZero() {
			missing++
		}
	}
	for name, f := range p.stored {
		want, ok := known[name]
		if !ok || want.Sealed.IsZero() || uint64(f.Records) != want.Records {
			p.t.Errorf("%s: %s with %d records; the truth is %+v", d.Name(), name, f.Records, want)
			continue
		}
		got, sums := read(p.t, filepath.Join(p.o.Data, filepath.FromSlash(f.Stored))), d.Counters(want)
		if got.Records != sums.Records || !maps.Equal(got.Sums, sums.Sums) {
			p.t.Errorf("%s: %s holds %+v; the truth is %+v", d.Name(), name, got, sums)
		}
	}
	return missing
}

// Every fault, pulled from twice: while it lasts and when it is over. Nothing
// wrong is ever stored, and in the end nothing that could be had is missing.
func TestPullThroughEveryFault(t *testing.T) {
	const files = 8
	everything := func(outcomes map[pull.Outcome]int, err error) bool {
		return err == nil && outcomes[pull.Stored] == files
	}
	nothing := func(is func(error) bool) func(map[pull.Outcome]int, error) bool {
		return func(outcomes map[pull.Outcome]int, err error) bool { return len(outcomes) == 0 && is(err) }
	}
	anyError := func(err error) bool { return err != nil }
	for _, test := range []struct {
		faults string
		first  func(map[pull.Outcome]int, error) bool
		keeps  bool // the second pull leaves it at that: the device lists the same size and time
	}{
		{"", everything, false},
		{"slow=40000", everything, false},
		{"latency=15ms", everything, false},
		{"scp-only", everything, false},
		{"slow=40000,latency=15ms,scp-only", everything, false},
		{"full", everything, false},
		{"down", nothing(anyError), false},
		{"silent", nothing(func(err error) bool { return errors.Is(err, pull.ErrTimeout) }), false},
		{"banner", nothing(anyError), false},
		{"drop=3", nothing(anyError), false},
		{"drop=9000", func(_ map[pull.Outcome]int, err error) bool { return err != nil }, false},
		{"refuse-login", nothing(func(err error) bool { _, ok := errors.AsType[*pull.AuthError](err); return ok }), false},
		{"host-key", nothing(func(err error) bool {
			key, ok := errors.AsType[*pull.HostKeyError](err)
			return ok && key.Problem == pull.HostKeyChanged
		}), false},
		{"legacy", nothing(func(err error) bool { _, ok := errors.AsType[*pull.AlgorithmError](err); return ok }), false},
		{"truncate", func(outcomes map[pull.Outcome]int, _ error) bool {
			return outcomes[pull.Quarantined] == files && outcomes[pull.Stored] == 0
		}, false},
		{"corrupt", func(outcomes map[pull.Outcome]int, _ error) bool {
			return outcomes[pull.Quarantined] == files && outcomes[pull.Stored] == 0
		}, true},
		{"vanish=3", func(outcomes map[pull.Outcome]int, _ error) bool {
			return outcomes[pull.Lost] == 3 && outcomes[pull.Stored] == files-3
		}, false},
	} {
		t.Run(test.faults, func(t *testing.T) {
			t.Parallel()
			f := fleet(t, func(o *FleetOptions) { o.Clock = NewClock(began.Add(2*time.Hour + 10*time.Minute)) }, "dut objects=4")
			d := f.Device(0)
			faults, err := ParseFaults(test.faults)
			must(t, err)
			d.SetFaults(faults)
			p := newPuller(t, f, d)
			if outcomes, err := p.pull(); !test.first(outcomes, err) {
				t.Errorf("while it lasts: %v, %v", outcomes, err)
			}
			p.compare(d)
			d.SetFaults(Faults{})
			must(t, f.Step(20*time.Minute))
			_, err = p.pull()
			missing := p.compare(d)
			if test.keeps {
				if missing != files {
					t.Errorf("%d files are missing: the quarantine was forgotten", missing)
				}
			} else if err != nil || missing > 0 || len(p.stored) < files-3 {
				t.Errorf("when it is over: %d files are missing, %d stored, %v", missing, len(p.stored), err)
			}
		})
	}
}

// A day of reboots, clock steps, full flashes and files that vanish, pulled
// every quarter of an hour: whatever was there at a pull has arrived, exactly as
// it was, and what was not is known by name and reason.
func TestPullThroughABadDay(t *testing.T) {
	f := fleet(t, func(o *FleetOptions) { o.Clock = NewClock(began.Add(time.Minute)) }, "a retention=1h objects=2", "b retention=1h objects=2 scp-only record=service-egress-packets")
	s, err := Language().Parse("day", []byte(`
every 3h from 02:10 until 10:00 for 40m a-*: fault full
at 03:07 reboot 3m
at 04:31 a-*: clock forward 35m
at 05:02 clock back 20m
at 06:00 for 40m fault vanish 100
at 07:20 b-*: clock back 1h
at 07:20 b-*: format
at 08:05 for 2h a-*: fault down
`))
	must(t, err)
	must(t, f.Schedule(s))
	pullers := []*puller{newPuller(t, f, f.Device(0)), newPuller(t, f, f.Device(1))}
	for range 12 * 4 {
		must(t, f.Step(15*time.Minute))
		for i, p := range pullers {
			if _, err := p.pull(); err != nil && !f.Device(i).Faults().Down {
				t.Errorf("%v: %v", f.Now(), err)
			}
		}
	}
	for i, p := range pullers {
		d := f.Device(i)
		truth, err := d.Truth()
		must(t, err)
		missing := map[Cause]int{}
		for _, file := range truth.Files {
			if _, ok := p.stored[file.Name]; !ok {
				missing[file.Cause]++
			}
		}
		t.Logf("%s: %d files, %d stored, not stored by cause: %v", d.Name(), len(truth.Files), len(p.stored), missing)
		if missing[""] > 1 || missing[Orphaned] == 0 || missing[Vanished] == 0 || len(p.stored) < 20 {
			t.Errorf("%s: not stored by cause: %v", d.Name(), missing) // "" is the open file
		}
		if i == 0 { // b-1 has used names twice
			p.compare(d)
		}
		if d.Name() == "a-1" && missing[Expired] == 0 {
			t.Error("two hours away cost nothing, with a retention of one hour")
		}
	}
}
