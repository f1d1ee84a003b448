package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"acctpull/internal/need"
	"acctpull/record"
)

// judged is what tc or nft says of a class, a queueing discipline or a counter.
type judged struct{ octets, packets, dropped uint64 }

var tcClass = regexp.MustCompile(`(?m)^class \w+ (\S+) .*\n Sent (\d+) bytes (\d+) pkt \(dropped (\d+),`)

// classes are those of a link as tc(8) tells them.
func (ns *namespace) classes(t testing.TB, link string) map[string]judged {
	t.Helper()
	out := map[string]judged{}
	for _, m := range tcClass.FindAllStringSubmatch(string(ns.run(t, "tc", "-s", "class", "show", "dev", link)), -1) {
		var n [3]uint64
		for i := range n {
			var err error
			if n[i], err = strconv.ParseUint(m[2+i], 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		out[m[1]] = judged{n[0], n[1], n[2]}
	}
	return out
}

// rootDrops is what the root queueing discipline of a link dropped.
func (ns *namespace) rootDrops(t testing.TB, link string) uint64 {
	t.Helper()
	var all []struct {
		Root  bool
		Drops uint64
	}
	if err := json.Unmarshal(ns.run(t, "tc", "-s", "-j", "qdisc", "show", "dev", link), &all); err != nil {
		t.Fatal(err)
	}
	for _, q := range all {
		if q.Root {
			return q.Drops
		}
	}
	t.Fatalf("tc tells of no root qdisc of %s", link)
	return 0
}

// counters are the named counters of a table as nft(8) tells them.
func (ns *namespace) counters(t testing.TB, table string) map[string]judged {
	t.Helper()
	var all struct {
		Nftables []struct {
			Counter *struct {
				Name           string
				Packets, Bytes uint64
			}
		}
	}
	args := append([]string{"-j", "list", "counters", "table"}, strings.Fields(table)...)
	if err := json.Unmarshal(ns.run(t, "nft", args...), &all); err != nil {
		t.Fatal(err)
	}
	out := map[string]judged{}
	for _, n := range all.Nftables {
		if n.Counter != nil {
			out[n.Counter.Name] = judged{octets: n.Counter.Bytes, packets: n.Counter.Packets}
		}
	}
	return out
}

// script gives a program its commands.
func (ns *namespace) script(t testing.TB, text, name string, args ...string) {
	t.Helper()
	tool := need.Tool(t, name)
	var out []byte
	var err error
	ns.do(func() {
		cmd := exec.Command(tool, args...)
		cmd.Stdin = strings.NewReader(text)
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// collected collects every policy of a configuration once and returns what then
// stands in the files.
func collected(t *testing.T, c Config) []string {
	t.Helper()
	location := t.TempDir()
	for i := range c.Policies {
		id := 11 + i
		c.Policies[i].ID, c.Policies[i].To, c.Policies[i].Default = id, Destination(id), false
		c.FileIDs = append(c.FileIDs, FileID{ID: id, Location: location})
	}
	set, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	src := &Linux{Namespace: c.Source.Namespace}
	col, err := NewCollector(Options{Set: set, Source: src, Hooks: Hooks{OnObject: func(n ObjectNote) { t.Errorf("%s %s: %s", n.Object, n.Kind, n.Text) }}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, plan := range set.Plan() {
		if _, err := col.Collect(context.Background(), plan.Policy.ID, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := col.Close(); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	return recordLines(readArchive(t, set))
}

// policies are one policy per record; objects name them by place, from 11.
func policies(names ...record.Name) []AccountingPolicy {
	var out []AccountingPolicy
	for _, n := range names {
		out = append(out, AccountingPolicy{Record: n})
	}
	return out
}

var elsewhere = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// TestLinuxNamespaceQueues sends traffic through the classes of an HTB and the
// queues of an mq, and compares the records with what tc(8) says: queues of
// ports, egress meters and the egress of SAPs.
func TestLinuxNamespaceQueues(t *testing.T) {
	ns := newNamespace(t)
	ns.run(t, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	ns.ip(t, "link add p0 type veth peer name p1", "link set p0 txqueuelen 2", "link set p0 up", "link set p1 up",
		"link add q0 numtxqueues 2 type veth peer name q1", "link set q0 up", "link set q1 up")
	ns.ready(t, "p0", "p1", "q0", "q1")
	for _, line := range []string{
		"qdisc add dev p0 root handle 1: htb default 30",
		"class add dev p0 parent 1: classid 1:10 htb rate 1gbit quantum 1500",
		// A class that sends one frame and then nothing for a minute: what its
		// queue of two frames does not take is dropped.
		"class add dev p0 parent 1: classid 1:20 htb rate 80bit quantum 1500",
		"class add dev p0 parent 1: classid 1:3a htb rate 1gbit quantum 1500",
		"qdisc add dev p0 parent 1:3a handle 30: tbf rate 80bit burst 1000 limit 2000",
		"qdisc add dev q0 root handle 8: mq",
	} {
		ns.run(t, "tc", strings.Fields(line)...)
	}
	for i, class := range []ClassID{0x10010, 0x10020, 0x1003a} {
		ns.sendClass(t, "p0", elsewhere, 30+i, 500+i, class)
	}
	ns.send(t, "q0", elsewhere, 7, 100)
	htb, mq, drops, link := ns.classes(t, "p0"), ns.classes(t, "q0"), ns.rootDrops(t, "p0"), ns.stats(t)["p0"].Stats
	if htb["1:10"].packets != 30 || htb["1:20"].packets == 0 || htb["1:20"].dropped < 20 || htb["1:3a"].dropped < 20 || mq["8:1"].packets+mq["8:2"].packets != 7 {
		t.Fatalf("the traffic did not go its ways: %v, %v", htb, mq)
	}
	if drops != htb["1:20"].dropped+htb["1:3a"].dropped {
		t.Fatalf("the root qdisc dropped %d: %v", drops, htb)
	}
	lines := collected(t, Config{
		Source:   SourceConfig{Kind: SourceLinux, Namespace: ns.path},
		Policies: policies("combined-access-egress", "combined-network-egress", "network-egress-packets", "complete-service-ingress-egress", "service-egress-octets", "network-egress-octets"),
		Objects: []Object{
			{Type: AccessPort, ID: "1/1/1", Policy: 11, CollectStats: true, Link: "p0", TC: &TC{Queues: []ClassID{0x10010, 0x10020, 0x1003a}}},
			{Type: Network, ID: "1/1/2", Policy: 12, CollectStats: true, TC: &TC{Link: "q0", Queues: []ClassID{0x80001, 0x80002}}},
			{Type: Network, ID: "1/1/3", Policy: 13, CollectStats: true, Link: "p0"},
			{Type: Access, ID: "1/1/1:1", Service: "1", Policy: 14, CollectStats: true, TC: &TC{Link: "p0", EgressMeters: []ClassID{0x10020}}},
			{Type: Access, ID: "1/1/1:2", Service: "1", Policy: 15, CollectStats: true, TC: &TC{Link: "p0", Egress: 0x10010}},
		},
	})
	if now := ns.classes(t, "p0"); fmt.Sprint(now) != fmt.Sprint(htb) {
		t.Fatalf("the traffic did not stop: %v, before %v", now, htb)
	}
	var want []string
	for i, c := range []judged{htb["1:10"], htb["1:20"], htb["1:3a"]} {
		want = append(want, fmt.Sprintf("aeo 1/1/1 [mId %d of %d]", i+1, c.octets), fmt.Sprintf("aep 1/1/1 [mId %d pf %d pd %d]", i+1, c.packets, c.dropped))
	}
	for i, c := range []judged{mq["8:1"], mq["8:2"]} {
		want = append(want, fmt.Sprintf("cmNepo 1/1/2 [qid %d pf %d pd %d of %d]", i+1, c.packets, c.dropped, c.octets))
	}
	want = append(want,
		fmt.Sprintf("nep 1/1/3 [pf %d pd %d]", link.TX.Packets, link.TX.Dropped+drops),
		fmt.Sprintf("cpSepo 1/1/1:1 [mId 1 pf %d pd %d of %d]", htb["1:20"].packets, htb["1:20"].dropped, htb["1:20"].octets),
		fmt.Sprintf("seo 1/1/1:2 [eof %d]", htb["1:10"].octets))
	sameLines(t, lines, want)
}

// nftRules count and drop by destination: the last byte of the address says
// which meter, and whether in profile, out of profile or over it.
const nftRules = `
table netdev acct {
	counter s100_in { }
	counter s100_out { }
	counter m1_in { }
	counter m1_out { }
	counter m1_drop { }
	counter if_in { }
	counter if_drop { }
	chain in {
		type filter hook ingress device "p0" priority 0; policy accept;
		ether daddr & ff:ff:00:00:00:00 == 02:64:00:00:00:00 counter name "s100_in"
		ether daddr 02:64:00:00:01:01 counter name "m1_in"
		ether daddr 02:64:00:00:01:02 counter name "m1_out"
		ether daddr 02:64:00:00:01:03 counter name "m1_drop" drop
		counter name "if_in"
	}
	chain out {
		type filter hook egress device "p0" priority 0; policy accept;
		counter name "s100_out"
	}
}
`

// TestLinuxNamespaceCounters sends traffic past the rules of nftables and
// compares the records with what nft(8) says of its counters: a SAP without a
// link of its own, its meters in both counter modes, a port and an interface.
func TestLinuxNamespaceCounters(t *testing.T) {
	ns := newNamespace(t)
	ns.run(t, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	ns.ip(t, "link add p0 type veth peer name p1", "link set p0 up", "link set p1 up")
	ns.ready(t, "p0", "p1")
	ns.script(t, nftRules, "nft", "-f", "-")
	for last, n := range []int{1: 11, 2: 12, 3: 13} {
		if n > 0 {
			ns.send(t, "p1", net.HardwareAddr{2, 0x64, 0, 0, 1, byte(last)}, n, 100*last)
		}
	}
	ns.send(t, "p1", elsewhere, 5, 70)
	ns.send(t, "p0", elsewhere, 20, 300)
	c := ns.counters(t, "netdev acct")
	if c["s100_in"].packets != 36 || c["m1_in"].packets != 11 || c["m1_drop"].packets != 13 || c["if_in"].packets != 28 || c["s100_out"].packets != 20 || c["if_drop"].packets != 0 {
		t.Fatalf("the traffic did not go its ways: %v", c)
	}
	if c["s100_in"].octets != 11*(100-14)+12*(200-14)+13*(300-14) || c["s100_out"].octets != 20*300 {
		t.Errorf("the octets are not those of docs/configuration.md: %v", c)
	}
	meters := []NFTMember{{InProfile: "m1_in", OutOfProfile: "m1_out", Dropped: "m1_drop"}}
	object := func(id string, policy int, mode CounterMode) Object {
		return Object{Type: Access, ID: id, Service: "100", Policy: policy, CollectStats: true, CounterMode: mode, NFT: &NFT{Table: "netdev acct", Ingress: "s100_in", Egress: "s100_out", Meters: meters}}
	}
	config := func(mode CounterMode) Config {
		return Config{
			Source:   SourceConfig{Kind: SourceLinux, Namespace: ns.path},
			Policies: policies("service-ingress-octets", "combined-access-egress", "combined-network-interface-ingress"),
			Objects: []Object{
				object("1/1/1:100", 11, mode),
				{Type: AccessPort, ID: "1/1/1", Policy: 12, CollectStats: true, Link: "p0", NFT: &NFT{Table: "netdev acct", Egress: "s100_out"}},
				{Type: NetworkIf, ID: "core", Policy: 13, CollectStats: true, NFT: &NFT{Table: "netdev acct", Ingress: "if_in", IngressDropped: "if_drop"}},
			},
		}
	}
	want := []string{
		fmt.Sprintf("sio 1/1/1:100 [ioo %d]", c["s100_in"].octets),
		fmt.Sprintf("aeo 1/1/1 [of %d]", c["s100_out"].octets),
		fmt.Sprintf("aep 1/1/1 [pf %d pd 0]", c["s100_out"].packets),
		fmt.Sprintf("cmNifipo core [pf %d pd 0 of %d]", c["if_in"].packets, c["if_in"].octets),
	}
	sameLines(t, collected(t, config(InOutProfile)), append([]string{fmt.Sprintf("sio 1/1/1:100 [mId 1 iof %d oof %d]", c["m1_in"].octets, c["m1_out"].octets)}, want...))
	sameLines(t, collected(t, config(ForwardDrop)), append([]string{fmt.Sprintf("sio 1/1/1:100 [mId 1 of %d od %d]", c["m1_in"].octets+c["m1_out"].octets, c["m1_drop"].octets)}, want...))

	// Counters that are reset, made anew, or not there.
	src := &Linux{Namespace: ns.path}
	o := object("1/1/1:100", 11, InOutProfile)
	req := Request{At: time.Now(), Record: definition(t, "service-ingress-packets"), Objects: []*Object{&o}}
	collect := func(lines []string, notes ...string) {
		t.Helper()
		g := sample(t, src, req)
		sameLines(t, recordLines(g.records), lines)
		if fmt.Sprint(g.notes) != fmt.Sprint(notes) {
			t.Errorf("notes %q, want %q", g.notes, notes)
		}
	}
	collect([]string{"sip 1/1/1:100 [mId 1 ipf 11 opf 12]", "sip 1/1/1:100 [ipo 36]"})
	ns.run(t, "nft", "reset", "counter", "netdev", "acct", "s100_in")
	collect([]string{"sip 1/1/1:100 [mId 1 ipf 11 opf 12]", "sip 1/1/1:100 [ipo 0]"}, "SAP 1/1/1:100 restarted: nft counter netdev acct s100_in counts 0, was 6896")
	ns.run(t, "nft", "flush", "table", "netdev", "acct")
	ns.run(t, "nft", "delete", "counter", "netdev", "acct", "s100_in")
	collect([]string{"sip 1/1/1:100 [mId 1 ipf 11 opf 12]", "sip 1/1/1:100 [ipo 0] final 1"}, "SAP 1/1/1:100 missing: nft counter netdev acct s100_in: it is not there")
	ns.run(t, "nft", "delete", "counter", "netdev", "acct", "m1_in")
	ns.run(t, "nft", "add", "counter", "netdev", "acct", "m1_in")
	ns.run(t, "nft", "add", "counter", "netdev", "acct", "s100_in")
	g := sample(t, src, req)
	// Only one of the two counters of the meter is a new one, so the row goes on.
	sameLines(t, recordLines(g.records), []string{"sip 1/1/1:100 [mId 1 ipf 0 opf 12]", "sip 1/1/1:100 [ipo 0]"})
	if len(g.notes) != 1 || !strings.Contains(g.notes[0], "SAP 1/1/1:100 restarted: nft counter netdev acct ") || !strings.Contains(g.notes[0], " has handle ") {
		t.Errorf("notes %q", g.notes)
	}
	ns.run(t, "nft", "delete", "table", "netdev", "acct")
	if g := sample(t, src, req); len(g.records) != 2 || g.records[0].Final != 1 || g.records[1].Final != 1 || len(g.notes) != 1 {
		t.Errorf("no table: %q, %q", recordLines(g.records), g.notes)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestLinuxNamespaceExample does what the worked example of
// docs/configuration.md does.
func TestLinuxNamespaceExample(t *testing.T) {
	ns := newNamespace(t)
	ns.run(t, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	// A macvlan stands for the VLAN, which not every kernel has.
	ns.ip(t, "link add eth1 type veth peer name customer", "link add link eth1 name eth1.100 type macvlan mode bridge", "link set eth1 up", "link set customer up", "link set eth1.100 up")
	ns.ready(t, "eth1", "customer", "eth1.100")
	file := func(name string) string {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ns.script(t, file("linux.nft"), "nft", "-f", "-")
	ns.script(t, file("linux.tc"), "tc", "-batch", "-")
	ns.send(t, "customer", ns.mac(t, "eth1.100"), 9, 114)
	ns.sendClass(t, "eth1", elsewhere, 5, 200, 0x10010)
	ns.send(t, "eth1", elsewhere, 6, 300) // by default, class 1:20
	c, err := ParseYAML([]byte(file("linux.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	c.Source.Namespace = ns.path
	for i := range c.Objects {
		c.Objects[i].Policy = 11 + i // collected numbers the policies anew
	}
	c.FileIDs = nil
	sameLines(t, collected(t, c), []string{
		"cmSipo 1/1/1:100 [mId 1 pf 9 pd 0 of 900 od 0]", "cmSipo 1/1/1:100 [ipo 9 ioo 1026]",
		"aeo 1/1/1 [mId 1 of 1000]", "aep 1/1/1 [mId 1 pf 5 pd 0]", "aeo 1/1/1 [mId 2 of 1800]", "aep 1/1/1 [mId 2 pf 6 pd 0]",
	})
}
