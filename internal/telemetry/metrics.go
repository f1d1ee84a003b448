// Package telemetry is how a running service tells machines about itself: counters
// and gauges for Prometheus, health and readiness over HTTP, and the notify
// protocol of systemd. It decides nothing: the program tells it what happened, and
// it asks the program how things stand when somebody looks.
package telemetry

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"acctpull/event"
)

// Metrics are the counters of a process. The methods of a nil *Metrics do nothing,
// so that a program without an address to serve them on need not ask.
type Metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	files    *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	visits   *prometheus.CounterVec
	took     prometheus.Histogram
	retries  prometheus.Counter
	exports  *prometheus.CounterVec
	exported *prometheus.CounterVec
	exportS  prometheus.Histogram
	reloads  *prometheus.CounterVec
	reloadAt prometheus.Gauge
	chores   *prometheus.CounterVec
	choreAt  *prometheus.GaugeVec
	choreS   *prometheus.CounterVec
}

// NewMetrics returns counters that are all zero. version is that of the program.
func NewMetrics(version string) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "acctpull", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events:   counter("events_total", "Events by application, name and severity; docs/events.md lists them.", "application", "event", "severity"),
		files:    counter("files_total", "Files of devices by what became of them.", "outcome"),
		bytes:    counter("fetched_bytes_total", "Compressed bytes of files that arrived whole, by what became of them.", "outcome"),
		visits:   counter("visits_total", "Visits of devices by result: ok, failed, host_key, login or stopped.", "result"),
		took: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "acctpull", Name: "visit_seconds",
			Help: "How long visits took.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100, 300, 1000}}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "acctpull", Name: "retries_total",
			Help: "Connections that were tried again within a visit."}),
		exports:  counter("exports_total", "Runs of the export that had something to do, by result: ok or failed.", "result"),
		exported: counter("exported_total", "What was published in the dataset, by kind: inputs, records or outputs.", "kind"),
		exportS: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "acctpull", Name: "export_seconds",
			Help: "How long exports took that had something to do.", Buckets: []float64{.01, .03, .1, .3, 1, 3, 10, 30, 100, 300}}),
		reloads: counter("config_loads_total", "Readings of the configuration by result: ok or refused.", "result"),
		reloadAt: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "acctpull", Name: "config_last_load_timestamp_seconds",
			Help: "When the configuration in force was read."}),
		chores: counter("chores_total", "Hourly works of the service on its dataset by result: ok or failed.", "chore", "result"),
		choreAt: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "acctpull", Name: "chore_last_success_timestamp_seconds",
			Help: "When an hourly work last ended well."}, []string{"chore"}),
		choreS: counter("chore_seconds_total", "How long hourly works took.", "chore"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "acctpull", Name: "build_info", Help: "1, with the version of the program.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(m.events, m.files, m.bytes, m.visits, m.took, m.retries, m.exports, m.exported, m.exportS,
		m.reloads, m.reloadAt, m.chores, m.choreAt, m.choreS, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// What can happen is there from the start, at zero: a rate over a series
	// that begins with its first error misses that error.
	for _, outcome := range []string{"stored", "alias", "quarantined", "lost", "superseded", "failed"} {
		m.files.WithLabelValues(outcome)
	}
	for _, result := range []string{"ok", "failed", "host_key", "login", "stopped"} {
		m.visits.WithLabelValues(result)
	}
	for _, d := range event.Own() {
		m.events.WithLabelValues(d.Application, d.Name, d.Severity.String())
	}
	return m
}

// Sink counts events.
func (m *Metrics) Sink() event.Sink {
	if m == nil {
		return event.Discard
	}
	return counting{m.events}
}

type counting struct{ events *prometheus.CounterVec }

// Emit implements event.Sink.
func (c counting) Emit(e event.Event) {
	c.events.WithLabelValues(e.Application, e.Name, e.Severity.String()).Inc()
}

// File counts a file of a device; bytes is 0 if it did not arrive.
func (m *Metrics) File(outcome string, bytes int64) {
	if m != nil {
		m.files.WithLabelValues(outcome).Inc()
		m.bytes.WithLabelValues(outcome).Add(float64(bytes))
	}
}

// Visit counts a visit of a device.
func (m *Metrics) Visit(result string, took time.Duration) {
	if m != nil {
		m.visits.WithLabelValues(result).Inc()
		m.took.Observe(took.Seconds())
	}
}

// Retry counts a connection that is tried again.
func (m *Metrics) Retry() {
	if m != nil {
		m.retries.Inc()
	}
}

// Export counts a run of the export that read files.
func (m *Metrics) Export(files, outputs int, records int64, took time.Duration, ok bool) {
	if m == nil {
		return
	}
	result := "ok"
	if !ok {
		result = "failed"
	}
	m.exports.WithLabelValues(result).Inc()
	m.exported.WithLabelValues("inputs").Add(float64(files))
	m.exported.WithLabelValues("records").Add(float64(records))
	m.exported.WithLabelValues("outputs").Add(float64(outputs))
	m.exportS.Observe(took.Seconds())
}

// Config counts a reading of the configuration.
func (m *Metrics) Config(now time.Time, ok bool) {
	switch {
	case m == nil:
	case ok:
		m.reloads.WithLabelValues("ok").Inc()
		m.reloadAt.Set(float64(now.UnixMilli()) / 1000)
	default:
		m.reloads.WithLabelValues("refused").Inc()
	}
}

// Chore counts an hourly work on the dataset that ended at now.
func (m *Metrics) Chore(now time.Time, chore string, took time.Duration, ok bool) {
	if m == nil {
		return
	}
	m.choreS.WithLabelValues(chore).Add(took.Seconds())
	if !ok {
		m.chores.WithLabelValues(chore, "failed").Inc()
		return
	}
	m.chores.WithLabelValues(chore, "ok").Inc()
	m.choreAt.WithLabelValues(chore).Set(float64(now.UnixMilli()) / 1000)
}

// Sample is one number that is asked for when somebody looks.
type Sample struct {
	// Name is without the prefix "acctpull_", Help one sentence.
	Name, Help string
	// Label and Of make one series of several, "" if there is one.
	Label, Of string
	Value     float64
}

// Ask makes f the source of the gauges. It is called at every scrape, from
// several goroutines, and has to return soon after ctx ends. A sample must
// always come with the same Label and Help. An error leaves the gauges out and
// is told as the gauge acctpull_state_error.
func (m *Metrics) Ask(f func(context.Context) ([]Sample, error)) {
	if m != nil {
		m.registry.MustRegister(&asking{f})
	}
}

// askFor is how long a scrape waits for the gauges.
const askFor = 5 * time.Second

// asking is a collector without a fixed list of metrics.
type asking struct {
	f func(context.Context) ([]Sample, error)
}

// Describe implements prometheus.Collector: what comes is not known before.
func (*asking) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (a *asking) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	samples, err := a.f(ctx)
	failed := 0.0
	if err != nil {
		samples, failed = nil, 1
	}
	samples = append(samples, Sample{Name: "state_error", Help: "1 if the state of the service could not be read.", Value: failed})
	for _, s := range samples {
		var labels, values []string
		if s.Label != "" {
			labels, values = []string{s.Label}, []string{s.Of}
		}
		desc := prometheus.NewDesc("acctpull_"+s.Name, s.Help, labels, nil)
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, s.Value, values...)
	}
}
