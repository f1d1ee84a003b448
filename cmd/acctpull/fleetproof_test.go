package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acctpull/internal/pgserver"
	"acctpull/internal/simdevice"
	"acctpull/pull"
)

// proofFleet is a fleet of simulated devices, an inventory of it and the clock
// that both sides go by.
type proofFleet struct {
	t      *testing.T
	rng    *rand.Rand
	fleet  *simdevice.Fleet
	pace   nodePace
	began  time.Time // the fast clock at the start
	dir    string
	file   string // the inventory
	data   string
	faults []episode
	nodes  []*node
	kills  int
	// database is the ledger that the nodes share, with its password; "" if it
	// is a file.
	database string
	lag      time.Duration // how far the clock of the devices was behind at most
}

// episode is a time during which something is wrong with a device.
type episode struct {
	device   string
	fault    string
	from, to time.Duration // since the start
}

// proofGroups are the groups of the fleet, in percent of the devices.
var proofGroups = []struct {
	percent   int
	text      string
	keys      string // of the group in the inventory
	retention time.Duration
}{
	{50, "edge objects=2 interval=5 rollover=20 retention=12h", "rollover: 20m, retention: 12h", 12 * time.Hour},
	{15, "brief objects=1 interval=5 rollover=10 retention=1h", "rollover: 10m, retention: 1h, every: 10m, site: brief", time.Hour},
	{10, "slow objects=2 interval=5 rollover=30 retention=12h scp-only", "rollover: 30m, retention: 12h, site: slow", 12 * time.Hour},
	{10, "ahead objects=2 interval=10 rollover=30 retention=12h skew=95s zone=Europe/Berlin", "rollover: 30m, retention: 12h", 12 * time.Hour},
	{10, "two objects=2 interval=15 rollover=30 retention=12h record=service-ingress-octets,network-egress-octets align idle=30", "rollover: 30m", 12 * time.Hour},
	{5, "old objects=2 interval=15 rollover=60 retention=12h legacy", "rollover: 1h, retention: 12h, legacy: true", 12 * time.Hour},
}

// proofFaults are the faults of an episode. Those that end by themselves have
// no length.
var proofFaults = []struct {
	text    string
	lasting bool
}{
	{"fault down", true}, {"fault silent", true}, {"fault banner", true}, {"fault refuse-login", true}, {"fault host-key", true},
	{"fault legacy", true}, {"fault scp-only", true}, {"fault drop 9000", true}, {"fault slow 4000", true}, {"fault latency 100ms", true},
	{"fault truncate", true}, {"fault corrupt", true}, {"fault vanish 2", true}, {"fault full", true},
	{"reboot 3m", false}, {"format 2m", false}, {"clock forward 7m", false}, {"clock back 40m", false},
}

// newProofFleet starts n devices and writes their inventory. lasts is how long
// they run, by their own time; head is the inventory but for the devices.
func newProofFleet(t *testing.T, n int, lasts time.Duration, rate int64, head string) *proofFleet {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &proofFleet{t: t, rng: rand.New(rand.NewPCG(seed, 1)), dir: t.TempDir()}
	p.began = time.Date(2026, 10, 5, 6, 0, 0, 0, time.UTC)
	p.file, p.data = filepath.Join(p.dir, "fleet.yaml"), filepath.Join(p.dir, "data")
	o := simdevice.FleetOptions{
		Dir: filepath.Join(p.dir, "sim"), Seed: seed, Listen: netip.MustParseAddrPort("127.0.0.1:0"), PortEach: true,
		Passwords: map[string]string{"admin": "secret"}, Began: p.began.Add(-2 * time.Hour), Clock: simdevice.NewClock(p.began), KeepTruth: true,
	}
	left := n
	for i, g := range proofGroups {
		count := max(1, n*g.percent/100)
		if i == len(proofGroups)-1 {
			count = left
		}
		left -= count
		group, err := simdevice.ParseGroup(g.text)
		check(t, err)
		group.Count = count
		o.Groups = append(o.Groups, group)
	}
	var err error
	p.fleet, err = simdevice.NewFleet(o)
	check(t, err)
	check(t, p.fleet.Start(t.Context()))
	t.Cleanup(func() { check(t, p.fleet.Stop()) })
	p.write(head)
	p.plan(lasts)
	p.pace = nodePace{Limits: pull.Limits{
		Connect: 5 * time.Second, Handshake: 3 * time.Second, Open: 3 * time.Second, Idle: 3 * time.Second, MinRate: 1, File: 20 * time.Second, Run: 30 * time.Second,
		FreeStart: pull.Space{Bytes: 1}, FreeStop: pull.Space{Bytes: 1},
	}}
	p.pace.Clock = fastClock{Began: time.Now().Round(0), At: p.began, Rate: rate}
	return p
}

// write writes the inventory.
func (p *proofFleet) write(head string) {
	p.t.Helper()
	known, password := filepath.Join(p.dir, "known_hosts"), filepath.Join(p.dir, "password")
	var lines bytes.Buffer
	check(p.t, p.fleet.WriteKnownHosts(&lines))
	check(p.t, os.WriteFile(known, lines.Bytes(), 0o600))
	check(p.t, os.WriteFile(password, []byte("secret\n"), 0o600))
	var b strings.Builder
	fmt.Fprintf(&b, "data: %s\n%sdevices-at-once: 12\ndevices-at-once-per-site: 3\n", p.data, head)
	fmt.Fprintf(&b, "defaults: {user: admin, path: \"cf1:/act\", every: 15m, known-hosts: %s, password-file: %s}\ngroups:\n", known, password)
	for _, g := range proofGroups {
		fmt.Fprintf(&b, "  %s: {%s}\n", strings.Fields(g.text)[0], g.keys)
	}
	b.WriteString("devices:\n")
	entries, err := p.fleet.Inventory()
	check(p.t, err)
	for _, e := range entries {
		group, _, _ := strings.Cut(e.Name, "-")
		fmt.Fprintf(&b, "- {name: %s, host: %s, port: %d, groups: [%s]}\n", e.Name, e.Address, e.Port, group)
	}
	check(p.t, os.WriteFile(p.file, []byte(b.String()), 0o600))
}

// plan gives every second device an episode now and then; every fault comes.
func (p *proofFleet) plan(lasts time.Duration) {
	p.t.Helper()
	var b strings.Builder
	next := p.rng.IntN(len(proofFaults))
	minutes := func(least, most int) time.Duration {
		return time.Duration(least+p.rng.IntN(most-least+1)) * time.Minute
	}
	for i := range p.fleet.Len() {
		if i%2 == 1 {
			continue
		}
		name := p.fleet.Device(i).Name()
		at := minutes(3, 40)
		for at < lasts-5*time.Minute {
			f := proofFaults[next%len(proofFaults)]
			next++
			e := episode{device: name, fault: f.text, from: at, to: at + 5*time.Minute}
			if f.lasting {
				e.to = min(at+minutes(10, 70), lasts)
				fmt.Fprintf(&b, "at %s for %dm %s: %s\n", clockTime(at), int((e.to-at)/time.Minute), name, f.text)
			} else {
				fmt.Fprintf(&b, "at %s %s: %s\n", clockTime(at), name, f.text)
			}
			p.faults = append(p.faults, e)
			at = e.to + minutes(20, 150)
		}
	}
	s, err := simdevice.Language().Parse("faults.txt", []byte(b.String()))
	check(p.t, err)
	check(p.t, p.fleet.Schedule(s))
}

// clockTime is a time of a scenario.
func clockTime(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d/time.Hour), int(d/time.Minute)%60)
}

// follow moves the clock of the devices to that of the nodes.
func (p *proofFleet) follow() {
	p.t.Helper()
	if d := p.pace.Clock.Now().Sub(p.fleet.Now()); d > 0 {
		check(p.t, p.fleet.Step(d))
		p.lag = max(p.lag, p.pace.Clock.Now().Sub(p.fleet.Now()), d)
	}
}

// until waits for something that the nodes do, while the clock goes on.
func (p *proofFleet) until(what string, ok func() bool) {
	p.t.Helper()
	for limit := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(limit) {
			log := ""
			for _, n := range p.nodes {
				log += n.log.String() + "\n"
			}
			p.t.Fatalf("%s did not happen within a minute\n%s", what, log)
		}
		time.Sleep(5 * time.Millisecond) // real processes run in real time
		p.follow()
	}
}

// serve runs so many nodes for a time of the fast clock. Every few seconds one
// of them is killed and another one started.
func (p *proofFleet) serve(count int, lasts time.Duration) {
	p.t.Helper()
	p.pace.Clock.Began = time.Now().Round(0)
	for range count {
		p.nodes = append(p.nodes, startNode(p.t, p.pace, "serve", "-c", p.file))
	}
	end := p.began.Add(lasts)
	kill := time.Now().Add(2 * time.Second)
	for p.pace.Clock.Now().Before(end) {
		time.Sleep(20 * time.Millisecond) // real processes run in real time
		p.follow()
		for _, n := range p.nodes {
			n.alive(p.t)
		}
		if time.Now().Before(kill) {
			continue
		}
		i := p.rng.IntN(count)
		p.nodes[i].kill()
		p.kills++
		p.nodes[i] = startNode(p.t, p.pace, "serve", "-c", p.file)
		kill = time.Now().Add(2*time.Second + time.Duration(p.rng.IntN(2500))*time.Millisecond)
	}
	for _, n := range p.nodes {
		n.end(p.t)
	}
}

// last heals everything and fetches what is there: once more, nobody is killed.
func (p *proofFleet) last() {
	p.t.Helper()
	for i := range p.fleet.Len() {
		p.fleet.Device(i).SetFaults(simdevice.Faults{})
	}
	p.follow()
	// The clock stands still from here on, for the devices as well.
	at := p.fleet.Now()
	pace := p.pace
	pace.Clock = fastClock{Began: time.Now().Round(0), At: at, Rate: 1}
	n := startNode(p.t, pace, "pull", "-c", p.file, "--retries", "0")
	<-n.done
	if code := n.cmd.ProcessState.ExitCode(); code != exitOK && code != exitPartly {
		p.t.Fatalf("the last pull: %v\n%s%s", n.err, n.out.String(), n.log.String())
	}
}

// TestFleetProofAlone is a fleet with every fault of the simulator, and a service
// that is killed every few seconds. In the end every record that could be read
// is in Parquet exactly once.
func TestFleetProofAlone(t *testing.T) {
	devices, lasts, rate := 12, 40*time.Minute, int64(600)
	if proof() {
		devices, lasts, rate = 60, 2*time.Hour, 200
	}
	p := newProofFleet(t, devices, lasts, rate, "")
	p.run(1, lasts)
}

// TestFleetProofNodes is the same with two nodes on one ledger, of which one is
// killed every few seconds.
func TestFleetProofNodes(t *testing.T) {
	devices, lasts, rate := 12, 40*time.Minute, int64(600)
	if proof() {
		devices, lasts, rate = 200, 10*time.Hour, 200
	}
	database := pgserver.Start(t).Database()
	p := newProofFleet(t, devices, lasts, rate, sharedLedger(t, database))
	p.pace.Lease = 3 * time.Second
	p.database = database
	p.run(2, lasts)
}

// sharedLedger is the part of an inventory that names a database. The password
// does not stand in it.
func sharedLedger(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	check(t, err)
	password, _ := u.User.Password()
	u.User = url.User(u.User.Username())
	file := filepath.Join(t.TempDir(), "ledger-password")
	check(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	return fmt.Sprintf("ledger: %q\nledger-password-file: %s\n", u.String(), file)
}

// run runs the nodes for a time and judges what they made of it.
func (p *proofFleet) run(nodes int, lasts time.Duration) {
	p.t.Helper()
	p.serve(nodes, lasts)
	p.last()
	v := p.judge()
	left, err := filepath.Glob(filepath.Join(p.data, "devices", "*", "act-collect", "*"))
	check(p.t, err)
	if len(left) > 0 {
		p.t.Errorf("left in act-collect: %v", left)
	}
	p.t.Logf("%d devices, %v at %d times real time, %d faults, %d nodes, %d kills: %s", p.fleet.Len(), lasts, p.pace.Clock.Rate, len(p.faults), nodes, p.kills, v)
}

// TestZombie stops a node in the middle of a file for longer than its lease.
// Another node takes the device over; when the first one wakes up it can damage
// nothing, and goes on as if it were new.
func TestZombie(t *testing.T) {
	database := pgserver.Start(t).Database()
	p := newProofFleet(t, 10, 0, 60, sharedLedger(t, database))
	p.pace.Lease = 1500 * time.Millisecond
	p.database = database
	for i := range p.fleet.Len() {
		p.fleet.Device(i).SetFaults(simdevice.Faults{SlowBytesPerSecond: 2000})
	}
	p.pace.Clock.Began = time.Now().Round(0)
	first := startNode(t, p.pace, "serve", "-c", p.file)
	p.nodes = append(p.nodes, first)
	var making []string
	p.until("a file in the making", func() bool {
		making, _ = filepath.Glob(filepath.Join(p.data, "devices", "*", "act-collect", ".tmp-*"))
		return len(making) > 0
	})
	check(t, first.cmd.Process.Signal(syscall.SIGSTOP))
	for i := range p.fleet.Len() {
		p.fleet.Device(i).SetFaults(simdevice.Faults{})
	}
	second := startNode(t, p.pace, "serve", "-c", p.file)
	p.nodes = append(p.nodes, second)
	p.until("a take-over", func() bool { return strings.Contains(second.log.String(), "name=deviceTakenOver") })
	device := filepath.Base(filepath.Dir(filepath.Dir(making[0])))
	p.until("a file of "+device, func() bool {
		found, _ := filepath.Glob(filepath.Join(p.data, "devices", device, "act", "act*"))
		return len(found) > 0
	})
	if _, err := os.Stat(making[0]); err == nil {
		t.Errorf("%s is still there", making[0])
	}
	check(t, first.cmd.Process.Signal(syscall.SIGCONT))
	p.until("the end of what is void", func() bool { return strings.Contains(first.log.String(), "name=leaseLost") })
	second.end(t)
	stored := strings.Count(first.log.String(), "name=filePulled")
	p.until("a file of the node that woke up", func() bool { return strings.Count(first.log.String(), "name=filePulled") > stored })
	first.end(t)
	p.last()
	t.Log(p.judge())
}
