package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"acctpull/record"
)

// departing is a namespace with a port p0 and a SAP that comes and goes over it.
type departing struct {
	*namespace
	t   *testing.T
	src *Linux
	req Request
}

func newDeparting(t *testing.T) *departing {
	ns := newNamespace(t)
	ns.run(t, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	ns.ip(t, "link add p0 type veth peer name p1", "link set p0 up", "link set p1 up")
	ns.ready(t, "p0", "p1")
	d := &departing{namespace: ns, t: t, src: &Linux{Namespace: ns.path}}
	d.req = Request{At: time.Now(), Record: definition(t, "service-egress-packets"), Objects: []*Object{{Type: Access, ID: "1/1/1:1", Service: "1", Link: "sap"}}}
	t.Cleanup(func() {
		if err := d.src.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// comes makes the link and sends n frames through it.
func (d *departing) comes(n int) {
	d.t.Helper()
	d.ip(d.t, "link add link p0 name sap type macvlan mode bridge", "link set sap up")
	d.ready(d.t, "sap")
	d.send(d.t, "sap", elsewhere, n, 100)
}

func (d *departing) goes() { d.t.Helper(); d.ip(d.t, "link delete sap") }

// finds collects and compares: of each record the packets, and its ordinal if it
// is final, then what is said of the object.
func (d *departing) finds(want ...string) {
	d.t.Helper()
	g := sample(d.t, d.src, d.req)
	var got []string
	for _, r := range g.records {
		s := fmt.Sprint(r.Get("epf").N)
		if r.Final > 0 {
			s += fmt.Sprintf(" final %d", r.Final)
		}
		got = append(got, s)
	}
	for _, n := range g.notes {
		got = append(got, strings.TrimPrefix(n, "SAP 1/1/1:1 "))
	}
	if len(got) != len(want) {
		d.t.Fatalf("found %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			d.t.Errorf("found %q, want %q", got, want)
		}
	}
}

// A link that goes away leaves a final record with what it had counted at its
// end, one for each that had its name, and a link that comes back begins at
// zero.
func TestLinuxNamespaceFinal(t *testing.T) {
	d := newDeparting(t)
	d.comes(1)
	d.finds("1")
	d.send(t, "sap", elsewhere, 4, 100) // after the collection, before the end
	d.goes()
	d.finds("5 final 1", "missing: link sap: there is no such link")
	d.finds("missing")
	d.comes(7)
	d.finds("7", "restarted: link sap has ifindex ")
	d.goes()
	for n := range 3 {
		d.comes(n + 2)
		d.goes()
	}
	d.comes(9)
	d.finds("7 final 1", "2 final 2", "3 final 3", "4 final 4", "9", "restarted")
	d.finds("9")

	// Renamed is not gone, and counts on when it has its name again.
	d.ip(t, "link set sap down", "link set sap name other")
	d.finds("missing: link sap: its name is \"other\" now")
	d.ip(t, "link set other name sap", "link set sap up")
	d.ready(t, "sap")
	d.send(t, "sap", elsewhere, 1, 100)
	d.finds("10")

	// A bridge that lets a port go tells of it as of a link.
	d.ip(t, "link add br0 type bridge", "link set sap master br0")
	d.finds("10")
	d.ip(t, "link set sap nomaster")
	d.finds("10")

	// Several departures when no collection has seen the link yet.
	d.goes()
	d.finds("10 final 1", "missing")
}

// A link that is moved to another namespace and back is the same link.
func TestLinuxNamespaceMoved(t *testing.T) {
	d := newDeparting(t)
	d.req.Objects[0].Link = "p0"
	d.send(t, "p0", elsewhere, 3, 100)
	d.finds("3")
	other := newNamespace(t)
	moved, err := os.Open(other.path)
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	self, err := os.Open(d.path)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	d.ip(t, fmt.Sprintf("link set p0 netns /proc/%d/fd/%d", os.Getpid(), moved.Fd()))
	other.ip(t, fmt.Sprintf("link set p0 netns /proc/%d/fd/%d", os.Getpid(), self.Fd()))
	d.ip(t, "link set p0 up")
	d.ready(t, "p0")
	d.send(t, "p0", elsewhere, 2, 100)
	d.finds("5")
	d.finds("5")
}

// Notifications that come faster than they are read are lost and counted; what
// went away is found all the same, with what was last read of it.
func TestLinuxNamespaceOverrun(t *testing.T) {
	d := newDeparting(t)
	d.comes(3)
	d.finds("3")
	socket := d.src.watch.socket.(*linkSocket)
	socket.mu.Lock() // nobody reads
	if err := socket.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		d.ip(t, fmt.Sprintf("link add link p0 name x%d type macvlan mode bridge", i), fmt.Sprintf("link delete x%d", i))
	}
	d.send(t, "sap", elsewhere, 2, 100)
	d.goes()
	d.comes(1)
	socket.mu.Unlock()
	d.finds("3 final 1", "1", "restarted: link sap has ifindex ")
	if d.src.Overruns() == 0 {
		t.Error("no overrun is counted")
	}
	d.goes()
	d.comes(2)
	d.finds("1 final 1", "2", "restarted") // and it hears again
}

// Departures that wait are bounded; those beyond are counted.
func TestLinuxNamespaceFlapping(t *testing.T) {
	d := newDeparting(t)
	d.comes(1)
	d.finds("1")
	var batch strings.Builder
	for range maxDeparted + 5 {
		batch.WriteString("link delete sap\nlink add link p0 name sap type macvlan mode bridge\n")
	}
	d.script(t, batch.String(), "ip", "-batch", "-")
	g := sample(t, d.src, d.req)
	if len(g.records) != maxDeparted+1 || g.records[maxDeparted-1].Final != maxDeparted || d.src.Overruns() != 5 {
		t.Errorf("%d records, the last but one final %d, %d overruns", len(g.records), g.records[len(g.records)-2].Final, d.src.Overruns())
	}
}

// A namespace that is made anew under the same name is another one: nothing of
// the old one is followed, and nothing keeps it alive.
func TestLinuxNamespaceAnew(t *testing.T) {
	need := newDeparting(t) // for its checks
	name := fmt.Sprintf("acctpull-%d", os.Getpid())
	need.ip(t, "netns add "+name)
	t.Cleanup(func() { need.ip(t, "netns delete "+name) })
	src := &Linux{Namespace: name}
	req := Request{At: time.Now(), Record: definition(t, "network-egress-packets"), Objects: []*Object{{Type: Network, ID: "1", Link: "lo"}, {Type: Network, ID: "2", Link: "d0"}}}
	if g := sample(t, src, req); len(g.records) != 1 {
		t.Fatalf("%q", g.notes)
	}
	first := src.watch.socket
	need.ip(t, "-n "+name+" link add d0 type veth peer name d1")
	if g := sample(t, src, req); len(g.records) != 2 || len(g.notes) != 0 || src.watch.socket != first {
		t.Fatalf("%q", g.notes)
	}
	need.ip(t, "netns delete "+name, "netns add "+name)
	g := sample(t, src, req)
	// lo has the same ifindex everywhere and counts nothing here; d0 is gone.
	if src.watch.socket == first || len(g.records) != 2 || g.records[0].Final != 1 || len(g.notes) != 1 {
		t.Fatalf("%q, %q", recordLines(g.records), g.notes)
	}
	need.ip(t, "netns delete "+name)
	if err := src.Sample(t.Context(), req, g); !errors.Is(err, os.ErrNotExist) || src.watch.socket != nil {
		t.Errorf("no namespace: %v, subscribed %v", err, src.watch.socket != nil)
	}
	need.ip(t, "netns add "+name) // for the cleanup
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
}

// What goes away between two collections stands in the file, in front of what
// has its name now.
func TestLinuxNamespaceFinalInFile(t *testing.T) {
	d := newDeparting(t)
	set, err := New(Config{
		Source:   SourceConfig{Kind: SourceLinux, Namespace: d.path},
		FileIDs:  []FileID{{ID: 11, Location: t.TempDir()}},
		Policies: []AccountingPolicy{{ID: 10, Record: "service-egress-packets", To: 11, Default: true}},
		Objects:  []Object{{Type: Access, ID: "1/1/1:1", Service: "1", Link: "sap", CollectStats: true}, {Type: Access, ID: "1/1/1:2", Service: "1", Link: "p1", CollectStats: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewCollector(Options{Set: set, Source: d.src})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i, between := range []func(){func() { d.comes(1) }, func() { d.goes(); d.comes(2); d.goes(); d.comes(3) }, func() { d.goes() }, func() { d.comes(4) }} {
		between()
		if _, err := c.Collect(t.Context(), 10, now.Add(time.Duration(i)*5*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(recordLines(readArchive(t, set)), "; ")
	if want := "sep 1/1/1:1 [epf 1]; sep 1/1/1:2 [epf 0]; " +
		"sep 1/1/1:1 [epf 1] final 1; sep 1/1/1:1 [epf 2] final 2; sep 1/1/1:1 [epf 3]; sep 1/1/1:2 [epf 0]; " +
		"sep 1/1/1:1 [epf 3] final 1; sep 1/1/1:2 [epf 0]; " +
		"sep 1/1/1:1 [epf 4]; sep 1/1/1:2 [epf 0]"; got != want {
		t.Errorf("in the file\n%s\nwant\n%s", got, want)
	}
}

// Policies sample at the same time, while links come and go: each finds every
// end once.
func TestLinuxNamespaceTogether(t *testing.T) {
	d := newDeparting(t)
	d.comes(1)
	var running sync.WaitGroup
	stop := make(chan struct{})
	finals := make([]int, 3)
	for i, name := range []record.Name{"service-egress-packets", "service-egress-octets", "service-ingress-octets"} {
		req := Request{At: time.Now(), Record: definition(t, name), Objects: []*Object{{Type: Access, ID: "1", Service: "1", Link: "sap"}}}
		sample(t, d.src, req)
		running.Go(func() {
			for last := false; ; {
				var g gather
				if err := d.src.Sample(context.Background(), req, &g); err != nil {
					t.Error(err)
					return
				}
				d.src.Epoch(name, req.Objects[0])
				for _, r := range g.records {
					if r.Final > 0 {
						finals[i]++
					}
				}
				if last {
					return
				}
				select {
				case <-stop:
					last = true
				default:
				}
			}
		})
	}
	const times = 20
	for range times {
		d.goes()
		d.ip(t, "link add link p0 name sap type macvlan mode bridge")
	}
	d.goes()
	close(stop)
	running.Wait()
	for i, n := range finals {
		if n != times+1 {
			t.Errorf("policy %d: %d final records of %d links", i, n, times+1)
		}
	}
}

// Nothing is left when a source is closed: no goroutine, no socket, also after
// errors; and a closed source can be used again.
func TestLinuxNamespaceClose(t *testing.T) {
	d := newDeparting(t)
	d.comes(1)
	d.finds("1")
	if err := d.src.Close(); err != nil {
		t.Fatal(err)
	}
	leaks, files := goleak.IgnoreCurrent(), openFiles(t)
	for range 3 {
		d.finds("1")
		if err := d.src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var g gather
	if err := d.src.Sample(ctx, d.req, &g); err == nil {
		t.Error("no error after the context ended")
	}
	if err := (&Linux{Namespace: "acctpull-no-such"}).Sample(context.Background(), d.req, &g); err == nil {
		t.Error("no error without a namespace")
	}
	if err := d.src.Close(); err != nil {
		t.Fatal(err)
	}
	if err := goleak.Find(leaks); err != nil {
		t.Error(err)
	}
	if now := openFiles(t); now != files {
		t.Errorf("%d files are open, %d were", now, files)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
