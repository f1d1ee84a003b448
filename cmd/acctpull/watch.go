package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/event"
	"acctpull/internal/telemetry"
	"acctpull/pull"
	"acctpull/pull/fleet"
)

// watch is how a running service is seen from outside: metrics, health, and the
// service manager.
type watch struct {
	health  *telemetry.Health
	notify  telemetry.Notifier
	metrics *telemetry.Metrics
	probe   atomic.Pointer[func(context.Context) error] // nil while it starts
	stop    context.CancelFunc
	serving sync.WaitGroup
	served  error
}

// openWatch begins to answer at address, if there is one, and takes part in the
// events. The service is not ready yet.
func (a *app) openWatch(ctx context.Context, address string) (*watch, error) {
	w := &watch{metrics: telemetry.NewMetrics(buildVersion()), stop: func() {}}
	w.health = &telemetry.Health{Probe: func(ctx context.Context) error {
		if p := w.probe.Load(); p != nil {
			return (*p)(ctx)
		}
		return nil
	}}
	w.health.NotReady("starting")
	a.metrics = w.metrics
	a.events = event.Multi(a.events, w.metrics.Sink())
	if address == "" {
		return w, nil
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, usagef("--http takes HOST:PORT, for example 127.0.0.1:9716", "serve metrics: %w", err)
	}
	fmt.Fprintf(a.stderr, "acctpull: metrics and health at http://%s\n", ln.Addr())
	ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	w.serving.Go(func() { w.served = telemetry.Serve(ctx, ln, telemetry.Handler(w.metrics, w.health)) })
	return w, nil
}

// run tells the service manager that the service is ready, and that it still
// works, until ctx ends.
func (w *watch) run(ctx context.Context, probe func(context.Context) error, status func() string) error {
	w.probe.Store(&probe)
	w.health.Ready()
	if err := w.notify.Ready(); err != nil {
		return err
	}
	err := w.notify.Watch(ctx, func(ctx context.Context) error { return w.health.Check(ctx, time.Now()) }, status)
	w.health.NotReady("stopping")
	return errors.Join(err, w.notify.Stopping())
}

// close ends the answers.
func (w *watch) close() error {
	w.stop()
	w.serving.Wait()
	return w.served
}

// watchVisit counts a visit and its files.
func (a *app) watchVisit(res pull.Result, o fleet.Outcome, took time.Duration) {
	for _, f := range res.Files {
		n := f.Size
		if f.SHA256 == "" {
			n = 0 // it did not arrive
		}
		a.metrics.File(f.Outcome.String(), n)
	}
	a.metrics.Visit(visitResult(o), took)
}

// visitResult is the word of a visit in the metrics.
func visitResult(o fleet.Outcome) string {
	var key *pull.HostKeyError
	var auth *pull.AuthError
	switch {
	case o.Stopped:
		return "stopped"
	case o.Err == nil:
		return "ok"
	case errors.As(o.Err, &key):
		return "host_key"
	case errors.As(o.Err, &auth):
		return "login"
	}
	return "failed"
}

// standings is how the devices stand, all together.
type standings struct {
	by       map[fleet.Standing]int
	devices  int
	running  int
	waiting  int           // due, and not running
	left     time.Duration // the least time until a file may be lost
	known    bool          // left is
	goodOver time.Duration // the longest time since a good visit
}

// standingsOf looks at all devices.
func standingsOf(runner *fleet.Runner, now time.Time) standings {
	s := standings{by: map[fleet.Standing]int{}}
	runner.Look(func(d fleet.Device, state fleet.State, running bool) {
		stand, left := d.Stand(state, now)
		s.by[stand]++
		s.devices++
		switch {
		case running:
			s.running++
		case !d.Due(state).After(now):
			s.waiting++
		}
		if state.Good.IsZero() {
			return
		}
		if !s.known || left < s.left {
			s.left, s.known = left, true
		}
		s.goodOver = max(s.goodOver, now.Sub(state.Good))
	})
	return s
}

// line is the status of the service in one line.
func (s standings) line() string {
	text := fmt.Sprintf("%s, %d good", plural(s.devices, "device"), s.by[fleet.Good])
	for _, bad := range []fleet.Standing{fleet.Losing, fleet.Refused, fleet.Failing, fleet.Never} {
		if n := s.by[bad]; n > 0 {
			text += fmt.Sprintf(", %d %s", n, bad)
		}
	}
	if s.known {
		text += fmt.Sprintf(", %s to the first loss", s.left.Round(time.Second))
	}
	return text
}

// samples are the gauges of the service.
func (r *fleetRun) samples(runner *fleet.Runner) func(context.Context) ([]telemetry.Sample, error) {
	return func(ctx context.Context) ([]telemetry.Sample, error) {
		now := r.a.pace.clock.Now()
		var all []telemetry.Sample
		add := func(name, help, label, of string, value float64) {
			all = append(all, telemetry.Sample{Name: name, Help: help, Label: label, Of: of, Value: value})
		}
		s := standingsOf(runner, now)
		for stand := fleet.Good; stand <= fleet.Losing; stand++ {
			add("devices", "Devices by how they stand; docs/service.md explains the words.", "standing", stand.String(), float64(s.by[stand]))
		}
		add("visits_running", "Visits under way.", "", "", float64(s.running))
		add("visits_waiting", "Devices that are due and wait for a place.", "", "", float64(s.waiting))
		if s.known {
			add("next_loss_seconds", "Time until the first file of any device may be lost; negative if that time has passed.", "", "", s.left.Seconds())
			add("oldest_good_visit_seconds", "Time since the last good visit of the device where it is longest ago.", "", "", s.goodOver.Seconds())
		}
		b, err := r.store.ledger.Backlog(ctx)
		if err != nil {
			return nil, err
		}
		const files, bytes = "Files that wait, by what for: fetch or export.", "Compressed bytes of files that wait, by what for: fetch or export."
		add("backlog_files", files, "stage", "fetch", float64(b.Fetch))
		add("backlog_files", files, "stage", "export", float64(b.Export))
		add("backlog_bytes", bytes, "stage", "fetch", float64(b.FetchBytes))
		add("backlog_bytes", bytes, "stage", "export", float64(b.ExportBytes))
		oldest := 0.0
		if !b.Oldest.IsZero() {
			oldest = now.Sub(b.Oldest).Seconds()
		}
		add("backlog_oldest_seconds", "Age of the file that waits longest, since it was first listed.", "", "", oldest)
		var st unix.Statfs_t
		if err := unix.Statfs(r.store.root, &st); err != nil {
			return nil, fmt.Errorf("free space of %s: %w", r.store.root, err)
		}
		add("data_free_bytes", "Free space where the data directory lies.", "", "", float64(st.Bavail)*float64(st.Bsize))
		return all, nil
	}
}

// probe asks the schedule and the ledger for a sign of life.
func (r *fleetRun) probe(runner *fleet.Runner) func(context.Context) error {
	return func(ctx context.Context) error {
		runner.Look(func(fleet.Device, fleet.State, bool) {})
		_, err := r.store.ledger.Empty(ctx)
		return err
	}
}
