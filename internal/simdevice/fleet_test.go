package simdevice

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func group(t testing.TB, text string) Group {
	t.Helper()
	g, err := ParseGroup(text)
	must(t, err)
	return g
}

// fleet starts a fleet with a clock that the test moves, twelve hours old.
func fleet(t *testing.T, adjust func(*FleetOptions), groups ...string) *Fleet {
	t.Helper()
	o := FleetOptions{Dir: t.TempDir(), Seed: 5, Listen: netip.MustParseAddrPort("127.0.0.1:0"), PortEach: true, Passwords: map[string]string{"admin": "secret"},
		Began: began, Clock: NewClock(began.Add(12 * time.Hour)), KeepTruth: true}
	for _, text := range groups {
		o.Groups = append(o.Groups, group(t, text))
	}
	if adjust != nil {
		adjust(&o)
	}
	f, err := NewFleet(o)
	must(t, err)
	must(t, f.Start(t.Context()))
	t.Cleanup(func() { must(t, f.Stop()) })
	return f
}

// listing is what an SFTP client sees in act/.
func listing(t *testing.T, d *Device) map[string]int64 {
	t.Helper()
	c, err := dial(t, d)
	must(t, err)
	defer c.Close()
	files, err := sftp.NewClient(c)
	must(t, err)
	defer files.Close()
	entries, err := files.ReadDir("cf1:/act")
	must(t, err)
	out := map[string]int64{}
	for _, e := range entries {
		out[e.Name()] = e.Size()
	}
	return out
}

// Every device has a key, an address and files of its own; all of it is the
// same when the fleet is made again.
func TestFleetIsItselfAgain(t *testing.T) {
	dir := t.TempDir()
	same := func(o *FleetOptions) { o.Dir = dir }
	f := fleet(t, same, "edge n=3 objects=2", "old n=1 legacy scp-only record=network-egress-octets,combined-sdp-ingress-egress objects=3")
	if f.Len() != 4 || f.Named("old-1") != f.Device(3) || f.Named("edge-4") != nil {
		t.Errorf("%d devices", f.Len())
	}
	seen := map[string]string{}
	for i := range 3 {
		d := f.Device(i)
		files := listing(t, d)
		truth, err := f.Truth(i)
		must(t, err)
		there := 0
		for _, file := range truth.Files {
			if !file.Sealed.IsZero() && file.Gone.IsZero() {
				there++
				if files[file.Name] == 0 {
					t.Errorf("%s: %s is missing", d.Name(), file.Name)
				}
			}
		}
		if len(files) != there || there < 40 {
			t.Errorf("%s: %d files are listed, %d are there", d.Name(), len(files), there)
		}
		key := string(hostKey(t, d).Marshal())
		if seen[key] != "" || seen[d.Addr()] != "" {
			t.Errorf("%s has the key or address of %s", d.Name(), seen[key]+seen[d.Addr()])
		}
		seen[key], seen[d.Addr()] = d.Name(), d.Name()
	}
	again, err := NewFleet(f.o)
	must(t, err)
	for i := range f.Len() {
		if !bytes.Equal(hostKey(t, f.Device(i)).Marshal(), hostKey(t, again.Device(i)).Marshal()) {
			t.Errorf("%s has another key", f.Device(i).Name())
		}
	}
	old := again.Named("old-1")
	truth, err := old.Truth()
	must(t, err)
	if truth.Files[0].Record == truth.Files[1].Record || hostKey(t, old).Type() != ssh.KeyAlgoRSA {
		t.Errorf("old-1: %+v", truth.Files[:2])
	}
	var known, config bytes.Buffer
	must(t, f.WriteKnownHosts(&known))
	must(t, f.WriteSSHConfig(&config, "admin", "/id", "/known"))
	if n := strings.Count(known.String(), "\n"); n != 4 || strings.Count(config.String(), "Host ") != 5 || !strings.Contains(config.String(), "+ssh-rsa") {
		t.Errorf("known_hosts and ssh_config:\n%s\n%s", known.String(), config.String())
	}
	entries, err := f.Inventory()
	must(t, err)
	if e := entries[3]; e.Name != "old-1" || e.Address != "127.0.0.1" || e.Port == 0 || !e.SCPOnly || !e.Legacy {
		t.Errorf("inventory %+v", e)
	}
}

func TestAddresses(t *testing.T) {
	o := FleetOptions{Listen: netip.MustParseAddrPort("127.64.0.253:2022")}
	at := o.Listen
	var got []string
	for range 4 {
		got = append(got, at.String())
		var err error
		at, err = o.after(at)
		must(t, err)
	}
	if s := strings.Join(got, " "); s != "127.64.0.253:2022 127.64.0.254:2022 127.64.1.1:2022 127.64.1.2:2022" {
		t.Error(s)
	}
	if _, err := o.after(netip.MustParseAddrPort("127.255.255.254:22")); err == nil {
		t.Error("an address outside the loopback network")
	}
	o.PortEach = true
	if at, err := o.after(netip.MustParseAddrPort("[::1]:22")); err != nil || at.Port() != 23 {
		t.Error(at, err)
	}
	if _, err := o.after(netip.MustParseAddrPort("[::1]:65535")); err == nil {
		t.Error("port 65536")
	}
}

// A scenario happens while the clock moves, to the devices it names.
func TestSchedule(t *testing.T) {
	done := 0
	f := fleet(t, nil, "edge n=2", "core n=1")
	f.o.Hooks.OnStep = nil
	s, err := Language().Parse("night.txt", []byte(`
at 00:15 for 10m edge-*: fault silent
at +20m core-1: fault slow 5000
at +20m core-1: fault latency 20ms
at +25m heal silent
at +30m core-1: reboot
at +30m edge-2: clock back 2h
at +40m edge-1 edge-2: fault vanish 3
at +45m core-1: heal
`))
	must(t, err)
	must(t, f.Schedule(s))
	edge, core := f.Named("edge-1"), f.Named("core-1")
	check := func(after time.Duration, e, c Faults) {
		t.Helper()
		must(t, f.Step(after))
		done++
		if edge.Faults() != e || core.Faults() != c {
			t.Errorf("step %d: %+v, %+v", done, edge.Faults(), core.Faults())
		}
	}
	check(10*time.Minute, Faults{}, Faults{})
	check(6*time.Minute, Faults{Silent: true}, Faults{})
	slow := Faults{SlowBytesPerSecond: 5000, Latency: 20 * time.Millisecond}
	check(5*time.Minute, Faults{Silent: true}, slow)
	check(5*time.Minute, Faults{}, slow)
	if core.booting() {
		t.Error("core-1 boots already")
	}
	check(4*time.Minute+time.Second, Faults{}, slow)
	if !core.booting() || f.Named("edge-2").Time().Sub(f.Now()) != -2*time.Hour {
		t.Errorf("core-1 is up, or the clock of edge-2 is %v", f.Named("edge-2").Time())
	}
	check(time.Hour, Faults{Vanish: 3}, Faults{})
	truth, err := core.Truth()
	must(t, err)
	if causes(truth)[Orphaned] != 1 {
		t.Errorf("%v", causes(truth))
	}

	for _, text := range []string{"at +1m nobody-*: reboot", "at +1m [x: reboot"} {
		s, err := Language().Parse("x", []byte(text))
		must(t, err)
		if err := f.Schedule(s); err == nil {
			t.Errorf("%s was planned", text)
		}
	}
	if err := f.Step(-1); err == nil {
		t.Error("the clock went back")
	}
}

func TestParseGroupAndFaults(t *testing.T) {
	g := group(t, "edge n=7 record=service-ingress-octets,service-egress-octets objects=3 meters=2 interval=10 rollover=60 retention=3d align forward-drop idle=50 skew=-90s zone=Europe/Berlin scp-only legacy show-collect faults=slow=1000,corrupt")
	c := g.Config
	if g.Count != 7 || len(c.Policies) != 2 || len(c.Objects) != 6 || c.Objects[3].Policy != 20 || c.Objects[5].ID != "1/1/1:105" || !c.Policies[0].Align ||
		c.FileIDs[1].Retention != 72*time.Hour || g.Skew != -90*time.Second || g.Zone.String() != "Europe/Berlin" || (g.Faults != Faults{SlowBytesPerSecond: 1000, CorruptByte: true}) {
		t.Errorf("%+v", g)
	}
	for text, want := range map[string]string{
		"":                     "begins with its name",
		"n=3":                  "begins with its name",
		"a n=0":                `n: "0"`,
		"a n=10001":            `n: "10001"`,
		"a colour=red":         "there is no key",
		"a record=nonsense":    "there is no record",
		"a record=aa-protocol": "not one of the 7210 SAS",
		"a rollover=3":         "rollover",
		"a legacy=yes":         "takes no value",
		"a retention=x":        "retention",
		"a faults=slow":        "needs a value",
		"a faults=down=1":      "takes no value",
		"a faults=latency=2h":  "is no latency",
		"a faults=tired":       "there is no fault",
		"a zone=Mars/Nowhere":  "zone",
	} {
		if _, err := ParseGroup(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestNewFleetRefuses(t *testing.T) {
	good := FleetOptions{Dir: "x", Groups: []Group{{Name: "a", Count: 1}}, Passwords: map[string]string{"a": "b"}}
	for want, adjust := range map[string]func(*FleetOptions){
		"1 to 10000":     func(o *FleetOptions) { o.Groups = nil },
		"needs a name":   func(o *FleetOptions) { o.Groups = []Group{{Count: 1}} },
		"not a loopback": func(o *FleetOptions) { o.Listen = netip.MustParseAddrPort("192.0.2.1:22") },
		"no way":         func(o *FleetOptions) { o.Passwords = nil },
		"no beginning":   func(o *FleetOptions) { o.Groups = []Group{{Name: "a", Count: 1, Config: saps(1, 5, 15, time.Hour)}} },
		"rollover": func(o *FleetOptions) {
			o.Began = began
			o.Groups = []Group{{Name: "a", Count: 1, Config: saps(1, 5, 1, time.Hour)}}
		},
		"two devices": func(o *FleetOptions) { o.Groups = []Group{{Name: "a", Count: 1}, {Name: "a", Count: 1}} },
		"ports end": func(o *FleetOptions) {
			o.PortEach = true
			o.Listen = netip.MustParseAddrPort("127.0.0.1:65535")
			o.Groups[0].Count = 2
		},
	} {
		o := good
		o.Groups = append([]Group{}, good.Groups...)
		adjust(&o)
		if _, err := NewFleet(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := enoughFiles(1 << 40); err == nil || err.(*FilesError).Hint() == "" {
		t.Errorf("files: %v", err)
	}
}

// KeepState keeps what it was given first.
func TestKeepState(t *testing.T) {
	dir := t.TempDir()
	first := State{Seed: 3, Began: began, Minute: time.Second}
	got, err := KeepState(dir, first)
	must(t, err)
	again, err := KeepState(dir, State{Seed: 9, Began: time.Now(), Minute: time.Second})
	must(t, err)
	if got != first || again != first {
		t.Errorf("%+v, %+v", got, again)
	}
	if _, err := KeepState(dir, State{Minute: time.Minute}); err == nil {
		t.Error("another minute was taken")
	}
}

// usage is what this process takes: resident bytes and CPU time.
func usage(t *testing.T) (resident int64, cpu time.Duration) {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	must(t, err)
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	must(t, err)
	var r syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &r))
	return pages * int64(os.Getpagesize()), time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Ten thousand idle devices are cheap: at most 1.5 GiB and no busy CPU.
func TestIdleFleetProof(t *testing.T) {
	n, idle := 500, time.Duration(0)
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		n, idle = MaxFleet, 20*time.Second
	}
	before, _ := usage(t)
	goroutines := runtime.NumGoroutine()
	start := time.Now()
	f := fleet(t, func(o *FleetOptions) {
		o.PortEach, o.Listen, o.Clock, o.Began = false, netip.MustParseAddrPort("127.96.0.1:0"), nil, time.Now().Add(-12*time.Hour)
	}, fmt.Sprintf("sim n=%d", n))
	took := time.Since(start)
	after, cpu := usage(t)
	time.Sleep(idle) // how busy idle devices are shows only in real time
	_, later := usage(t)
	d := f.Device(n - 1)
	if files := listing(t, d); len(files) < 40 {
		t.Errorf("the last device lists %d files", len(files))
	}
	taken := after - before
	t.Logf("%d idle devices: started in %v, %d KiB resident (%d bytes each), %d goroutines, %v of CPU in %v",
		n, took, taken>>10, taken/int64(n), runtime.NumGoroutine()-goroutines, later-cpu, idle)
	if after > 1536<<20 || taken > int64(n)*64<<10 {
		t.Errorf("%d bytes are resident", after)
	}
	if n == MaxFleet && later-cpu > idle/100 {
		t.Errorf("idle devices took %v of CPU in %v", later-cpu, idle)
	}
}

// The keys of known_hosts are those that are shown.
func TestLegacyKeyIsTheKnownOne(t *testing.T) {
	f := fleet(t, nil, "old n=1 legacy")
	d := f.Device(0)
	c, err := dial(t, d)
	must(t, err)
	must(t, c.Close())
	d.SetFaults(Faults{ChangeHostKey: true})
	if _, err := dial(t, d); err == nil {
		t.Error("a changed key was taken")
	} else if _, ok := errors.AsType[*knownhosts.KeyError](err); !ok {
		t.Error(err)
	}
}
