package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"acctpull/coverage"
	"acctpull/export"
	"acctpull/internal/actserver"
	"acctpull/internal/agent"
	"acctpull/internal/durable"
	"acctpull/internal/simdevice"
	"acctpull/policy"
	"acctpull/pull"
	"acctpull/record"
	"acctpull/retention"
	"acctpull/rollover"
)

// The demonstration runs on a clock of its own: one second stands for five
// minutes, the shortest collection interval of a device.
const (
	demoMinute    = time.Second / 5
	demoTick      = 5 * demoMinute
	demoIntervals = 14
	demoUser      = "acctpull"
)

func (a *app) demoCommand() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole path on this machine: devices, pull, Parquet, sweep, in under a minute",
		Long: `demo starts simulated devices on loopback, and makes one device of this machine's
own network interfaces. They write accounting files, which roll over; the files
are pulled over SSH, checked, and exported as Parquet; one device fails on the
way and recovers. At the end the devices sweep what has expired.

Nothing leaves this machine and nothing is left running.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.demo(c.Context(), dir) },
	}
	c.Flags().StringVar(&dir, "dir", "", "`directory` to work in, new or empty (default: a new one in the temporary directory)")
	return c
}

// demoDevice is one device of the demonstration.
type demoDevice struct {
	name      string
	what      string
	sim       *simdevice.Device
	set       *policy.Set
	collector *policy.Collector
	source    policy.Source
}

// demonstration is one run of the demo.
type demonstration struct {
	a       *app
	dir     string
	data    string
	began   time.Time
	devices []*demoDevice
	target  pull.Target // what all targets have in common
	sum     map[string]*summary
}

func (a *app) demo(ctx context.Context, dir string) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "acctpull-demo-"); err != nil {
			return err
		}
	} else if err := newOrEmpty(dir); err != nil {
		return err
	}
	d := &demonstration{a: a, dir: dir, data: filepath.Join(dir, "data"), began: time.Now(), sum: map[string]*summary{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		for _, dev := range d.devices {
			err = errors.Join(err, dev.sim.Stop())
		}
	}()
	if err := d.build(ctx); err != nil {
		return err
	}
	if err := d.live(ctx); err != nil {
		return err
	}
	return d.report(ctx)
}

func newOrEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return durable.MkdirAll(dir)
	case err != nil:
		return err
	case len(entries) > 0:
		return usagef("", "%s is not empty", dir)
	}
	return nil
}

// say prints one line of the story, with the seconds since the start.
func (d *demonstration) say(format string, args ...any) {
	if !d.a.json {
		fmt.Fprintf(d.a.stdout, "%5.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

// build makes the keys, the devices and their agents.
func (d *demonstration) build(ctx context.Context) error {
	client, err := actserver.NewKey("acctpull demo")
	if err != nil {
		return err
	}
	identity := filepath.Join(d.dir, "id_ed25519")
	if err := os.WriteFile(identity, client.PEM, 0o600); err != nil {
		return err
	}
	d.target = pull.Target{User: demoUser, Path: "cf1:/act", Identities: []string{identity}, IdentitiesOnly: true, KnownHosts: []string{filepath.Join(d.dir, "known_hosts")}}
	var known strings.Builder
	for _, spec := range d.specs() {
		dev, err := d.device(ctx, spec, client.Signer.PublicKey())
		if err != nil {
			return err
		}
		line, err := dev.sim.KnownHostsLine()
		if err != nil {
			return err
		}
		fmt.Fprintln(&known, line)
		d.say("%-12s listens on %s: %s", dev.name, dev.sim.Addr(), dev.what)
	}
	return os.WriteFile(d.target.KnownHosts[0], []byte(known.String()), 0o600)
}

// demoSpec is what a device collects.
type demoSpec struct {
	name, what string
	scpOnly    bool
	config     policy.Config
}

func (d *demonstration) specs() []demoSpec {
	file := func(id int) policy.FileID {
		return policy.FileID{ID: id, Description: "demo", Rollover: 24 * time.Minute, Retention: time.Hour}
	}
	pol := func(id int, rec record.Name, to int) policy.AccountingPolicy {
		return policy.AccountingPolicy{ID: id, Description: "demo", Record: rec, CollectionInterval: 5 * time.Minute, To: policy.Destination(to), Default: true}
	}
	saps, ports, sdps := []policy.Object{}, []policy.Object{}, []policy.Object{}
	for i := range 40 {
		saps = append(saps, policy.Object{Type: policy.Access, ID: fmt.Sprintf("1/1/%d:%d", 1+i/10, 100+i), Service: strconv.Itoa(1000 + i/2), CollectStats: true, Meters: 2})
	}
	for i := range 4 {
		ports = append(ports, policy.Object{Type: policy.Network, ID: fmt.Sprintf("1/2/%d", 1+i), CollectStats: true})
	}
	for i := range 10 {
		sdps = append(sdps, policy.Object{Type: policy.SDP, ID: strconv.Itoa(100 + i), CollectStats: true})
	}
	synthetic := func(seed uint64) policy.SourceConfig {
		return policy.SourceConfig{Kind: policy.SourceSynthetic, Seed: seed, Idle: 40}
	}
	specs := []demoSpec{
		{"edge-1", "40 SAPs, service-ingress-octets", false, policy.Config{Source: synthetic(1), FileIDs: []policy.FileID{file(11)}, Policies: []policy.AccountingPolicy{pol(10, "service-ingress-octets", 11)}, Objects: saps}},
		{"core-1", "4 network ports of 8 queues, network-egress-octets, SCP only", true, policy.Config{Source: synthetic(2), FileIDs: []policy.FileID{file(21)}, Policies: []policy.AccountingPolicy{pol(20, "network-egress-octets", 21)}, Objects: ports}},
		{"agg-1", "10 SDPs, combined-sdp-ingress-egress; it will fail", false, policy.Config{Source: synthetic(3), FileIDs: []policy.FileID{file(31)}, Policies: []policy.AccountingPolicy{pol(30, "combined-sdp-ingress-egress", 31)}, Objects: sdps}},
	}
	if links := ownLinks(); len(links) > 0 {
		specs = append(specs, demoSpec{"this-machine", strings.Join(links, ", ") + ", real counters of the kernel", false, policy.Config{
			Source: policy.SourceConfig{Kind: policy.SourceLinux}, FileIDs: []policy.FileID{file(41)},
			Policies: []policy.AccountingPolicy{pol(40, "combined-service-ingress", 41)}, Objects: linkObjects(links)}})
	}
	return specs
}

// ownLinks are the network links of this machine, at most eight.
func ownLinks() []string {
	links, err := net.Interfaces()
	if err != nil {
		return nil // a machine that does not tell has no such device in the demo
	}
	var names []string
	for _, l := range links {
		if l.Flags&net.FlagUp != 0 && len(names) < 8 {
			names = append(names, l.Name)
		}
	}
	return names
}

func linkObjects(links []string) []policy.Object {
	var objects []policy.Object
	for i, l := range links {
		objects = append(objects, policy.Object{Type: policy.Access, ID: l + ":0", Service: strconv.Itoa(1 + i), CollectStats: true, Link: l})
	}
	return objects
}

// device makes and starts one device.
func (d *demonstration) device(ctx context.Context, spec demoSpec, key ssh.PublicKey) (*demoDevice, error) {
	flash := filepath.Join(d.dir, "devices", spec.name)
	if err := durable.MkdirAll(flash); err != nil {
		return nil, err
	}
	sim, err := simdevice.New(simdevice.Options{Name: spec.name, Dir: flash, Addr: "127.0.0.1:0", Keys: map[string][]ssh.PublicKey{demoUser: {key}}, SCPOnly: spec.scpOnly})
	if err != nil {
		return nil, err
	}
	spec.config.System = spec.name
	spec.config.FileIDs[0].Location = flash
	dev := &demoDevice{name: spec.name, what: spec.what, sim: sim}
	if dev.set, err = policy.New(spec.config); err != nil {
		return nil, err
	}
	source, err := policy.NewSource(dev.set)
	if err != nil {
		return nil, err
	}
	dev.source = source
	dev.collector, err = policy.NewCollector(policy.Options{Set: dev.set, Source: source, Minute: demoMinute, Hooks: policy.Hooks{
		OnFile: func(f rollover.File) { d.say("%-12s closed %s", spec.name, f.Name) },
	}})
	if err != nil {
		return nil, err
	}
	if err := sim.Start(ctx); err != nil {
		return nil, err
	}
	d.devices = append(d.devices, dev)
	return dev, nil
}

// live is the life of the devices: collections, two rollovers, pulls between
// them, one device down for a while.
func (d *demonstration) live(ctx context.Context) error {
	d.say("one second stands for five minutes: files roll over after five collections")
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	agg := d.devices[2]
	for i := 1; i <= demoIntervals; i++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := d.collect(ctx); err != nil {
			return err
		}
		switch i {
		case 5:
			agg.sim.SetFaults(simdevice.Faults{Down: true})
			d.say("%-12s fails: it drops every connection", agg.name)
		case 7:
			if err := d.pullAll(ctx); err != nil {
				return err
			}
		case 9:
			agg.sim.SetFaults(simdevice.Faults{})
			d.say("%-12s is back", agg.name)
		case 12:
			if err := d.pullAll(ctx); err != nil {
				return err
			}
		}
	}
	for _, dev := range d.devices {
		if err := dev.collector.Close(); err != nil {
			return err
		}
		if c, ok := dev.source.(io.Closer); ok {
			if err := c.Close(); err != nil {
				return err
			}
		}
	}
	return d.pullAll(ctx)
}

// collect makes one collection on every device.
func (d *demonstration) collect(ctx context.Context) error {
	now := time.Now()
	for _, dev := range d.devices {
		for _, p := range dev.set.Plan() {
			if _, err := dev.collector.Collect(ctx, p.Policy.ID, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// pullAll pulls every device and exports, as a cron job would.
func (d *demonstration) pullAll(ctx context.Context) (err error) {
	s, err := openData(ctx, d.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, dev := range d.devices {
		if err := d.pullOne(ctx, s, dev); err != nil {
			return err
		}
	}
	ex, err := d.a.exportPending(ctx, s, record.ReaderOptions{}, nil, d.a.progress())
	if err != nil {
		return err
	}
	for _, f := range ex.files {
		d.sum[f.Input.Device].exported(&exported{files: []export.FileResult{f}, records: f.Records})
	}
	d.say("exported %d files, %d records, %d Parquet files", len(ex.files), ex.records, len(ex.outputs))
	return nil
}

// pullOne pulls one device. A device that cannot be reached is part of the
// story.
func (d *demonstration) pullOne(ctx context.Context, s *store, dev *demoDevice) error {
	t := d.target
	host, port, err := net.SplitHostPort(dev.sim.Addr())
	if err != nil {
		return err
	}
	t.Device, t.Host = dev.name, host
	if t.Port, err = strconv.Atoi(port); err != nil {
		return err
	}
	result, pullErr := pull.Device(ctx, pull.Options{
		Data: s.root, Ledger: s.ledger, Owner: "acctpull", Verify: verifier(record.ReaderOptions{}), Limits: pull.Limits{Retries: -1},
	}, t)
	if d.sum[dev.name] == nil {
		d.sum[dev.name] = newSummary(dev.name)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	before := d.sum[dev.name].Stored
	d.sum[dev.name].pulled(result, pullErr)
	if pullErr != nil {
		d.say("%-12s PULL FAILED: %v", dev.name, pullErr)
		return nil
	}
	d.say("%-12s pulled %d files over %s", dev.name, d.sum[dev.name].Stored-before, result.Transport)
	return nil
}

// sweep expires what is old on the devices, an hour later by their clock.
func (d *demonstration) sweep(ctx context.Context) error {
	later := time.Now().Add(12 * demoTick)
	for _, dev := range d.devices {
		f := dev.set.Config().FileIDs[0]
		o := agent.SweepOptions(f.Location)
		o.Rule = retention.Rule{Kind: retention.CreatedRolloverRetention, Rollover: 24 * demoMinute, Retention: 14 * demoTick}
		o.ClockFile = "" // the demonstration's clock runs faster than this machine's
		result, err := retention.Sweep(ctx, o, later)
		if err != nil {
			return err
		}
		d.say("%-12s swept act/ an hour later: %d removed, %d kept", dev.name, result.Removed, result.Files-result.Removed)
	}
	return nil
}

// gaps counts what is missing, by device.
func (d *demonstration) gaps(ctx context.Context) (n map[string]int, err error) {
	s, err := openData(ctx, d.data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	n = map[string]int{}
	for _, dev := range d.devices {
		streams, _, err := judgeDevice(ctx, s.ledger, coverage.Device{Name: dev.name, Life: 12 * demoTick}, coverage.Window{From: d.began, To: time.Now()})
		if err != nil {
			return nil, err
		}
		for _, stream := range streams {
			n[dev.name] += len(stream.Gaps())
		}
	}
	return n, nil
}

// report prints the table, the Parquet files and queries to paste.
func (d *demonstration) report(ctx context.Context) error {
	if err := d.sweep(ctx); err != nil {
		return err
	}
	dataset := filepath.Join(d.data, "dataset")
	parquet, err := filepath.Glob(filepath.Join(dataset, "*", "v1", "date=*", "*.parquet"))
	if err != nil {
		return err
	}
	gapsOf, err := d.gaps(ctx)
	if err != nil {
		return err
	}
	gaps := 0
	var rows [][]string
	type line struct {
		Device   string `json:"device"`
		Files    int    `json:"files"`
		Records  int64  `json:"records"`
		Failures int    `json:"failed_pulls"`
		Gaps     int    `json:"gaps"`
	}
	var lines []line
	for _, dev := range d.devices {
		sum, g := d.sum[dev.name], gapsOf[dev.name]
		gaps += g
		lines = append(lines, line{dev.name, sum.Files, sum.Records, sum.Failures, g})
		rows = append(rows, []string{dev.name, strconv.Itoa(sum.Files), strconv.FormatInt(sum.Records, 10), strconv.Itoa(sum.Failures), strconv.Itoa(g)})
	}
	if d.a.json {
		return d.a.printJSON(map[string]any{"directory": d.dir, "devices": lines, "parquet": parquet})
	}
	w := d.a.stdout
	fmt.Fprintln(w)
	if err := table(w, []string{"DEVICE", "FILES", "RECORDS", "FAILED PULLS", "GAPS"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nParquet below %s:\n", dataset)
	for _, p := range parquet {
		rel, err := filepath.Rel(dataset, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %s\n", rel)
	}
	fmt.Fprintf(w, `
Ask it, for example with DuckDB (cd %s && duckdb):

  -- which SAPs carry most?
  SELECT sap, max(in_profile_octets_forwarded) AS octets
    FROM read_parquet('service-ingress-octets/v1/**/*.parquet', hive_partitioning=true)
   WHERE scope = 'per meter' GROUP BY sap ORDER BY octets DESC LIMIT 10;

  -- what did this machine's own links receive, collection by collection?
  SELECT sap, interval_end, octets_offered_to_the_sap_ingress AS octets
    FROM read_parquet('combined-service-ingress/v1/**/*.parquet', hive_partitioning=true)
   WHERE device = 'this-machine' ORDER BY sap, interval_end;

  -- which file does a row come from, byte for byte?
  SELECT DISTINCT device, source_file, source_sha256
    FROM read_parquet('*/v1/**/*.parquet', hive_partitioning=true, union_by_name=true) ORDER BY ALL;
`, dataset)
	fmt.Fprintf(w, "\nEverything is in %s; delete it when you have seen enough.\n", d.dir)
	if gaps > 0 {
		return &outcome{code: exitPartly, err: fmt.Errorf("%d gaps between the files of one policy", gaps)}
	}
	return nil
}
