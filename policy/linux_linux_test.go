package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acctpull/internal/need"
	"acctpull/record"
)

// namespace is a network namespace of the test's own: a thread that is in it
// and runs what it is given.
type namespace struct {
	path string
	jobs chan func()
}

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	need.Root(t)
	ns := &namespace{jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		ns.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		ready <- err
		for job := range ns.jobs {
			job()
		}
	}()
	if err := <-ready; err != nil {
		need.Missing(t, "network namespaces: %v", err)
	}
	t.Cleanup(func() { close(ns.jobs) })
	return ns
}

// do runs f in the namespace.
func (ns *namespace) do(f func()) {
	done := make(chan struct{})
	ns.jobs <- func() { defer close(done); f() }
	<-done
}

// run runs a program in the namespace.
func (ns *namespace) run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	var out []byte
	var err error
	tool := need.Tool(t, name)
	ns.do(func() { out, err = exec.Command(tool, args...).CombinedOutput() })
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// ip runs lines of ip(8).
func (ns *namespace) ip(t testing.TB, lines ...string) {
	t.Helper()
	for _, line := range lines {
		ns.run(t, "ip", strings.Fields(line)...)
	}
}

// send puts n Ethernet frames of a size, for which the receiver does not
// matter, onto a link.
func (ns *namespace) send(t testing.TB, link string, to net.HardwareAddr, n, size int) {
	t.Helper()
	ns.sendClass(t, link, to, n, size, 0)
}

// sendClass sends frames for a class of the link's root queueing discipline.
func (ns *namespace) sendClass(t testing.TB, link string, to net.HardwareAddr, n, size int, class ClassID) {
	t.Helper()
	var err error
	ns.do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, int(class)); err != nil {
			return
		}
		var itf *net.Interface
		if itf, err = net.InterfaceByName(link); err != nil {
			return
		}
		frame := make([]byte, size)
		copy(frame, to)
		copy(frame[6:], itf.HardwareAddr)
		frame[12], frame[13] = 0x88, 0xb5 // an EtherType for local experiments (IEEE 802)
		address := unix.SockaddrLinklayer{Ifindex: itf.Index, Halen: 6}
		copy(address.Addr[:], to)
		for range n {
			// A queue that is full takes no frame, and says so.
			if err = unix.Sendto(fd, frame, 0, &address); err != nil && err != unix.ENOBUFS {
				return
			}
			err = nil
		}
	})
	if err != nil {
		t.Fatalf("send on %s: %v", link, err)
	}
}

// ready waits until links can send: the kernel sets their queues up a moment
// after they are.
func (ns *namespace) ready(t testing.TB, links ...string) {
	t.Helper()
	for _, link := range links {
		tries := 0
		for !strings.Contains(string(ns.run(t, "ip", "-o", "link", "show", "dev", link)), "state UP") {
			if tries++; tries > 2000 {
				t.Fatalf("link %s does not come up", link)
			}
		}
	}
}

// ipStats are the counters as ip(8) tells them.
type ipStats struct {
	Name    string `json:"ifname"`
	Address string `json:"address"`
	Stats   struct {
		RX, TX struct{ Bytes, Packets, Dropped uint64 }
	} `json:"stats64"`
}

func (ns *namespace) stats(t testing.TB) map[string]ipStats {
	t.Helper()
	var all []ipStats
	if err := json.Unmarshal(ns.run(t, "ip", "-s", "-j", "link"), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]ipStats{}
	for _, s := range all {
		out[s.Name] = s
	}
	return out
}

func (ns *namespace) mac(t testing.TB, link string) net.HardwareAddr {
	t.Helper()
	mac, err := net.ParseMAC(ns.stats(t)[link].Address)
	if err != nil {
		t.Fatal(err)
	}
	return mac
}

// linuxNamespace has a port pair veth p0–p1, four SAPs on p0 and an SDP over it.
func linuxNamespace(t *testing.T) *namespace {
	ns := newNamespace(t)
	ns.run(t, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	ns.ip(t, "link set lo up", "link add p0 type veth peer name p1")
	for i := range 4 {
		ns.ip(t, fmt.Sprintf("link add link p0 name sap%d type macvlan mode bridge", i), fmt.Sprintf("link set sap%d up", i))
	}
	ns.ip(t,
		"link set p0 up", "link set p1 up",
		"address add 192.0.2.1/24 dev p0",
		"neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev p0",
		"link add sdp7 type vxlan id 7 local 192.0.2.1 remote 192.0.2.2 dstport 4789 dev p0",
		"link set sdp7 up",
	)
	return ns
}

// TestLinuxNamespace sends known traffic through links of every type of object
// and compares what stands in the accounting files with what ip(8) says of the
// same links at the same moment.
func TestLinuxNamespace(t *testing.T) {
	ns := linuxNamespace(t)
	set, err := New(linuxConfig(t, ns))
	if err != nil {
		t.Fatal(err)
	}
	src, err := NewSource(set)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCollector(Options{Set: set, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	before := ns.stats(t)
	ns.traffic(t)
	after := ns.stats(t)
	for i := range 4 {
		link := fmt.Sprintf("sap%d", i)
		rx, tx := after[link].Stats.RX, after[link].Stats.TX
		// A link counts the whole frame on receipt as on transmission.
		if rx.Packets-before[link].Stats.RX.Packets != uint64(10+i) || tx.Packets-before[link].Stats.TX.Packets != uint64(20+i) || tx.Bytes-before[link].Stats.TX.Bytes != uint64((20+i)*(200+i)) {
			t.Fatalf("%s: the traffic did not arrive: %+v, before %+v", link, after[link].Stats, before[link].Stats)
		}
	}
	now := time.Now()
	for _, plan := range set.Plan() {
		if _, err := c.Collect(context.Background(), plan.Policy.ID, now); err != nil {
			t.Fatal(err)
		}
	}
	if again := ns.stats(t); fmt.Sprint(again) != fmt.Sprint(after) {
		t.Fatalf("traffic did not stop: %v, before %v", again, after)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	var want []string
	add := func(sub, id string, values ...any) { want = append(want, fmt.Sprintf("%s %s %v", sub, id, values)) }
	link := func(name string) ipStats { return after[name] }
	rx := func(name string) struct{ Bytes, Packets, Dropped uint64 } { return link(name).Stats.RX }
	tx := func(name string) struct{ Bytes, Packets, Dropped uint64 } { return link(name).Stats.TX }
	add("sio", "1/1/1:100", "ioo", rx("sap0").Bytes)
	add("sip", "1/1/1:101", "ipo", rx("sap1").Packets)
	add("seo", "1/1/1:102", "eof", tx("sap2").Bytes)
	add("cpSipo", "1/1/1:103", "ipo", rx("sap3").Packets, "ioo", rx("sap3").Bytes)
	add("cpSepo", "1/1/1:103", "epf", tx("sap3").Packets, "eof", tx("sap3").Bytes)
	add("aeo", "1/1/1", "of", tx("p1").Bytes)
	add("aep", "1/1/1", "pf", tx("p1").Packets, "pd", tx("p1").Dropped)
	add("cmNepo", "1/1/2", "pf", tx("p0").Packets, "pd", tx("p0").Dropped, "of", tx("p0").Bytes)
	add("cmNifipo", "core", "pf", rx("p0").Packets, "pd", rx("p0").Dropped, "of", rx("p0").Bytes)
	add("cmSdpipo", "7", "tpf", rx("sdp7").Packets, "tpd", rx("sdp7").Dropped, "tof", rx("sdp7").Bytes)
	add("cmSdpepo", "7", "tpf", tx("sdp7").Packets, "tof", tx("sdp7").Bytes)
	records := readArchive(t, set)
	for _, r := range records {
		if !r.End.Equal(now.Truncate(time.Millisecond)) {
			t.Errorf("%s: interval end %v, sampled at %v", r.Sub, r.End, now)
		}
	}
	sameLines(t, recordLines(records), want)
}

// recordLines says what stands in records: sub-record, id of the object, and
// every number.
func recordLines(records []*record.Record) []string {
	var out []string
	for _, r := range records {
		id, values := "", []any{}
		for i, f := range r.Set.Fields {
			switch {
			case r.Values[i].State == record.Number:
				values = append(values, f.Abbrev, r.Values[i].N)
			case r.Values[i].State == record.Text && f.Abbrev != "svc":
				id = r.Values[i].Text
			}
		}
		line := fmt.Sprintf("%s %s %v", r.Sub, id, values)
		if r.Final > 0 {
			line += fmt.Sprintf(" final %d", r.Final)
		}
		out = append(out, line)
	}
	return out
}

func sameLines(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("in the records\n\t%s\nthe kernel says\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// traffic sends another number of frames of another size on each link, and then
// nothing.
func (ns *namespace) traffic(t *testing.T) {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	elsewhere := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for i := range 4 {
		link := fmt.Sprintf("sap%d", i)
		ns.send(t, "p1", ns.mac(t, link), 10+i, 100+i)
		ns.send(t, link, elsewhere, 20+i, 200+i)
	}
	ns.send(t, "sdp7", broadcast, 30, 300)
	ns.send(t, "p0", elsewhere, 40, 400)
}

// linuxConfig measures everything in linuxNamespace.
func linuxConfig(t *testing.T, ns *namespace) Config {
	c := Config{Source: SourceConfig{Kind: SourceLinux, Namespace: ns.path}, Objects: []Object{
		{Type: Access, ID: "1/1/1:100", Service: "1", Link: "sap0", CollectStats: true, Policy: 1},
		{Type: Access, ID: "1/1/1:101", Service: "1", Link: "sap1", CollectStats: true, Policy: 2},
		{Type: Access, ID: "1/1/1:102", Service: "1", Link: "sap2", CollectStats: true, Policy: 3},
		{Type: Access, ID: "1/1/1:103", Service: "1", Link: "sap3", CollectStats: true, Policy: 4},
		{Type: AccessPort, ID: "1/1/1", Link: "p1", CollectStats: true, Policy: 5},
		{Type: Network, ID: "1/1/2", Link: "p0", CollectStats: true, Policy: 6},
		{Type: NetworkIf, ID: "core", Link: "p0", CollectStats: true, Policy: 7},
		{Type: SDP, ID: "7", Link: "sdp7", CollectStats: true, Policy: 8},
	}}
	location := t.TempDir()
	for i, name := range []record.Name{
		"service-ingress-octets", "service-ingress-packets", "service-egress-octets", "complete-service-ingress-egress",
		"combined-access-egress", "combined-network-egress", "combined-network-interface-ingress", "combined-sdp-ingress-egress",
	} {
		c.FileIDs = append(c.FileIDs, FileID{ID: 11 + i, Location: location})
		c.Policies = append(c.Policies, AccountingPolicy{ID: 1 + i, Record: name, To: Destination(11 + i)})
	}
	return c
}

// Links that are not there, that come back, and a namespace that is not there.
func TestLinuxNamespaceChanges(t *testing.T) {
	ns := linuxNamespace(t)
	src := &Linux{Namespace: ns.path}
	o := &Object{Type: Access, ID: "1/1/1:1", Service: "1", Link: "sap1"}
	other := &Object{Type: Access, ID: "1/1/1:2", Service: "1", Link: "sap2"}
	req := Request{At: time.Now(), Record: definition(t, "service-egress-packets"), Objects: []*Object{o, other}}
	collect := func(records int, notes ...string) {
		t.Helper()
		g := sample(t, src, req)
		if len(g.records) != records || len(g.notes) != len(notes) {
			t.Fatalf("%d records, notes %q; want %d, %q", len(g.records), g.notes, records, notes)
		}
		for i, note := range notes {
			if !strings.Contains(g.notes[i], note) {
				t.Errorf("note %q, want %q", g.notes[i], note)
			}
		}
	}
	collect(2)
	ns.ip(t, "link set sap1 down", "link set sap1 up")
	collect(2) // down and up keeps the counters
	ns.ip(t, "link delete sap1")
	collect(2, "SAP 1/1/1:1 missing: link sap1: there is no such link")
	collect(1, "SAP 1/1/1:1 missing")
	ns.ip(t, "link add link p0 name sap1 type macvlan mode bridge")
	collect(2, "SAP 1/1/1:1 restarted: link sap1 has ifindex ")
	collect(2)
	src.views[req.Record.Name].boot = "another"
	collect(4, "SAP 1/1/1:1 restarted: boot id ", "SAP 1/1/1:2 restarted: boot id ")

	var g gather
	if err := (&Linux{Namespace: "acctpull-no-such"}).Sample(context.Background(), req, &g); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/run/netns/acctpull-no-such") {
		t.Errorf("no namespace: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(ErrUnfinished)
	if err := src.Sample(ctx, req, &g); !errors.Is(err, ErrUnfinished) {
		t.Errorf("ended context: %v", err)
	}
}

// The links of the machine itself, without a namespace and without root.
func TestLinuxOwnLinks(t *testing.T) {
	g := sample(t, &Linux{}, Request{At: time.Now(), Record: definition(t, "combined-sdp-ingress-egress"), Objects: []*Object{{Type: SDP, ID: "1", Link: "lo"}}})
	if len(g.records) != 2 || len(g.notes) != 0 || g.records[0].Get("tof").State != record.Number || g.records[0].Get("tod").State != record.Absent {
		t.Errorf("lo: %+v, %q", g.records, g.notes)
	}
}
