package policy

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"acctpull/record"
)

// The messages below are put together from the kernel's interface, for kinds of
// links, queueing disciplines and numbers that no test machine has to have.

// nla is a netlink attribute.
func nla(typ uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func native32(n ...uint32) (b []byte) {
	for _, v := range n {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func native64(n ...uint64) (b []byte) {
	for _, v := range n {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

// linkMessage is RTM_NEWLINK of a link with the numbers from base on, in the
// order of struct rtnl_link_stats64 (24 numbers since Linux 4.6, 25 since 6.0).
func linkMessage(index uint32, name string, base uint64, numbers int) []byte {
	b := slices.Concat(native32(0, index, 0, 0), nla(iflaName, append([]byte(name), 0)...))
	var stats []uint64
	for i := range numbers {
		stats = append(stats, base+uint64(i))
	}
	b = append(b, nla(7, native32(1, 2, 3, 4, 5, 6, 7, 8)...)...) // IFLA_STATS, 32 bits
	b = append(b, nla(iflaStats64, native64(stats...)...)...)
	return append(b, nla(18|1<<15, nla(1, []byte("gre\x00")...)...)...) // IFLA_LINKINFO
}

// tcMessage is RTM_NEWTCLASS or RTM_NEWQDISC. packets64 of 0 leaves out
// TCA_STATS_PKT64.
func tcMessage(index, handle, parent uint32, octets uint64, packets, drops uint32, packets64 uint64) []byte {
	stats := nla(statsBasic, append(native64(octets), native32(packets, 0)...)...)
	if packets64 > 0 {
		stats = append(stats, nla(statsPackets, native64(packets64)...)...)
	}
	stats = append(stats, nla(statsQueue, native32(0, 0, drops, 9, 9)...)...)
	return slices.Concat(native32(0, index, handle, parent, 0), nla(1, []byte("htb\x00")...), nla(3, make([]byte, 36)...), nla(tcaStats2|1<<15, stats...))
}

func counterMessage(table, name string, typ uint32, handle, octets, packets uint64) []byte {
	be := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	data := slices.Concat(nla(nftCtrOctets, be(octets)...), nla(nftCtrPackets, be(packets)...))
	return slices.Concat([]byte{1, 0, 0, 0}, nla(nftObjTable, append([]byte(table), 0)...), nla(nftObjName, append([]byte(name), 0)...),
		nla(nftObjType, binary.BigEndian.AppendUint32(nil, typ)...), nla(5, 0, 0, 0, 1), nla(nftObjData|1<<15, data...), nla(nftObjHandle, be(handle)...))
}

func TestNetlinkMessages(t *testing.T) {
	for _, numbers := range []int{24, 25} {
		index, name, c := parseLink(linkMessage(7, "gre1", 1<<40, numbers))
		want := [countsLen]uint64{octetsAt: 1<<40 + 2, packetsAt: 1 << 40, droppedAt: 1<<40 + 6, sentOctets: 1<<40 + 3, sentPackets: 1<<40 + 1, sentDropped: 1<<40 + 7}
		if index != 7 || string(name) != "gre1" || c.n != want || c.known != 1<<countsLen-1 {
			t.Errorf("link %d %q: %+v", index, name, c)
		}
	}
	if _, _, c := parseLink(linkMessage(7, "old", 5, 6)); c.has(droppedAt) || !c.has(octetsAt) {
		t.Errorf("a link without drops: %+v", c)
	}
	index, handle, parent, c := parseTC(tcMessage(3, 0x10010, 0x10000, 1<<41, 5, 6, 0))
	if index != 3 || handle != 0x10010 || parent != 0x10000 || c.n != [countsLen]uint64{1 << 41, 5, 6} {
		t.Errorf("class %d %x %x: %+v", index, handle, parent, c)
	}
	// More packets than 32 bits hold come in an attribute of their own.
	if _, _, _, c := parseTC(tcMessage(3, 1, 0, 1<<41, 5, 6, 1<<32+5)); c.n[packetsAt] != 1<<32+5 {
		t.Errorf("64-bit packets: %+v", c)
	}
	// A class inside a queueing discipline that counts nothing for it.
	if _, _, _, c := parseTC(slices.Concat(native32(0, 3, 0x300001, 0x300000, 0), nla(1, []byte("tbf\x00")...))); c.known != 0 {
		t.Errorf("a class without statistics: %+v", c)
	}
	table, name, id, c := parseCounter(counterMessage("acct", "s100_in", nftCounter, 4, 1<<42, 77))
	if string(table) != "acct" || string(name) != "s100_in" || id != 4 || c.n != [countsLen]uint64{1 << 42, 77} {
		t.Errorf("counter %q %q %d: %+v", table, name, id, c)
	}
	if _, name, _, _ := parseCounter(counterMessage("acct", "quota", 2, 4, 1, 2)); name != nil {
		t.Errorf("a quota is a counter: %q", name)
	}
}

// unitView is a view of objects whose units can be filled by hand.
func unitView(t testing.TB, name string, objects ...*Object) (*view, *watch) {
	v := newView(Request{Record: definition(t, "combined-access-egress"), Objects: objects})
	if name != "" {
		v = newView(Request{Record: definition(t, "service-egress-packets"), Objects: objects})
	}
	v.inherit(nil)
	w := &watch{}
	w.replace(nil, v)
	return v, w
}

// The queueing discipline inside a class counts what it drops itself, such as
// fq_codel does when it sends; the class does not. The root counts for the port.
func TestLeafCountsTheDrops(t *testing.T) {
	port := &Object{Type: AccessPort, ID: "1/1/1", Link: "eth0", TC: &TC{Queues: []ClassID{0x10010, 0x10020}}}
	whole := &Object{Type: AccessPort, ID: "1/1/2", Link: "eth1"}
	v, w := unitView(t, "", port, whole)
	v.begin()
	v.takeLink(linkMessage(2, "eth0", 100, 25))
	v.takeLink(linkMessage(3, "eth1", 200, 25))
	v.takeClass(tcMessage(2, 0x10010, 0x10000, 1000, 10, 1, 0))
	v.takeClass(tcMessage(2, 0x10020, 0x10000, 2000, 20, 2, 0))
	v.takeClass(tcMessage(3, 0x10020, 0x10000, 9, 9, 9, 0)) // of another link
	v.takeQdisc(tcMessage(2, 0x10000, tcHandleRoot, 3000, 30, 44, 0))
	v.takeQdisc(tcMessage(2, 0x80010000, 0x10020, 2000, 20, 33, 0))
	v.takeQdisc(tcMessage(3, 0, tcHandleRoot, 1, 1, 1000, 0))
	v.takeQdisc(tcMessage(3, 0xffff0000, 0xfffffff1, 1, 1, 5000, 0)) // ingress
	v.byIndex[9] = v.byIndex[3]
	v.takeQdisc(tcMessage(9, 0, tcHandleRoot, 1, 1, 7000, 0)) // the ifindex that eth1 had before
	w.settle(v, "boot")
	var g gather
	if err := v.records(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	sameLines(t, recordLines(g.records), []string{
		"aeo 1/1/1 [mId 1 of 1000]", "aep 1/1/1 [mId 1 pf 10 pd 1]", "aeo 1/1/1 [mId 2 of 2000]", "aep 1/1/1 [mId 2 pf 20 pd 33]",
		"aeo 1/1/2 [of 203]", "aep 1/1/2 [pf 201 pd 1207]",
	})
	if len(g.notes) > 0 {
		t.Errorf("notes %q", g.notes)
	}
}

// The 32 bits of what a queueing discipline dropped become 64; what falls for
// another reason begins again.
func TestDropsAreWidened(t *testing.T) {
	u := unit{key: unitKey{kind: classUnit, name: "eth0", class: 0x10010}}
	read := func(octets uint64, drops uint32) (uint64, string) {
		u.id, u.now = 1, counts{}
		u.now.set(octetsAt, octets)
		u.now.set(droppedAt, uint64(drops))
		u.settle(nil, "", 0)
		n, why := u.now.n[droppedAt], u.why
		u.commit(0)
		return n, why
	}
	const top = 1<<32 - 1
	for _, c := range []struct {
		octets uint64
		drops  uint32
		want   uint64
		began  bool
	}{
		{10, 5, 5, false}, {20, 1 << 31, 1 << 31, false}, {30, top - 1, top - 1, false},
		{40, 3, 1<<32 + 3, false}, {50, top, 1<<32 + top, false}, {60, 0, 2 << 32, false},
		{70, 9, 2<<32 + 9, false}, {5, 2, 2, true}, {6, 3, 3, false}, {7, 1, 1, true},
	} {
		if n, why := read(c.octets, c.drops); n != c.want || (why != "") != c.began {
			t.Errorf("%d octets, %d dropped: %d %q, want %d %v", c.octets, c.drops, n, why, c.want, c.began)
		}
	}
}

// What a link was and is, and what was told of it, in every order.
func TestUnitSettles(t *testing.T) {
	at := func(n uint64) (c counts) { c.set(octetsAt, n); return c }
	for _, c := range []struct {
		what    string
		lastID  uint64
		last    uint64
		id, now uint64
		gone    []departed
		lost    uint64
		ended   []uint64
		keep    int
		why     string
	}{
		{what: "goes on", lastID: 5, last: 1, id: 5, now: 2},
		{what: "counts less", lastID: 5, last: 3, id: 5, now: 2, why: "link eth0 counts 2, was 3"},
		{what: "gone", lastID: 5, last: 1, gone: []departed{{5, at(4)}}, ended: []uint64{4}},
		{what: "gone unheard", lastID: 5, last: 1, ended: []uint64{1}, lost: 1},
		{what: "anew", lastID: 5, last: 1, id: 7, now: 0, gone: []departed{{5, at(4)}}, ended: []uint64{4}, why: "link eth0 has ifindex 7, was 5"},
		{what: "anew unheard", lastID: 5, last: 1, id: 7, now: 0, lost: 1, ended: []uint64{1}, why: "link eth0 has ifindex 7, was 5 (notifications were lost: the counters of its end are those of the collection before)"},
		{what: "twice anew, the first unheard", lastID: 5, last: 1, id: 9, now: 0, gone: []departed{{7, at(3)}}, ended: []uint64{1, 3}, why: "link eth0 has ifindex 9, was 5"},
		{what: "moved away and back", lastID: 5, last: 1, id: 5, now: 9, gone: []departed{{5, at(4)}}},
		{what: "gone after the kernel was asked", lastID: 5, last: 1, id: 5, now: 3, gone: []departed{{5, at(4)}}, keep: 1},
		{what: "anew and gone after the kernel was asked", lastID: 5, last: 1, id: 7, now: 3, gone: []departed{{5, at(4)}, {7, at(5)}}, ended: []uint64{4}, keep: 1, why: "link eth0 has ifindex 7, was 5"},
		{what: "never seen", gone: []departed{{5, at(4)}}, ended: []uint64{4}},
	} {
		u := unit{key: unitKey{kind: linkUnit, name: "eth0"}, lastID: c.lastID, met: c.lastID, last: at(c.last), id: c.id, now: at(c.now)}
		keep := u.settle(c.gone, "", c.lost)
		var ended []uint64
		for _, e := range u.ended {
			ended = append(ended, e.n[octetsAt])
		}
		if !slices.Equal(ended, c.ended) || len(keep) != c.keep || u.why != c.why {
			t.Errorf("%s: ended %d, kept %d, %q", c.what, ended, len(keep), u.why)
		}
	}
	// A departure that is heard late, when its final record is written already.
	u := unit{key: unitKey{kind: linkUnit, name: "eth0"}, lastID: 5, met: 5, last: at(1)}
	u.settle(nil, "", 0)
	u.commit(0)
	if u.settle([]departed{{5, at(2)}}, "", 0); len(u.ended) != 0 {
		t.Errorf("two final records of one link: %+v", u.ended)
	}
	// Not committed, everything is found once more.
	u = unit{key: unitKey{kind: linkUnit, name: "eth0"}, lastID: 5, met: 5, last: at(1)}
	for range 2 {
		if u.settle([]departed{{5, at(2)}}, "", 0); len(u.ended) != 1 {
			t.Errorf("found %d", len(u.ended))
		}
	}
}

// Two configurations with the same counters are the same thing, wherever they
// stand, and an epoch changes with what it is made of.
func TestSameCounters(t *testing.T) {
	a, b := fullObject(Access, "nft", false), fullObject(Access, "nft", false)
	b.NFT.Line = 7
	if !sameThing(a, b) {
		t.Error("the same counters are another thing")
	}
	b.NFT.Meters[0].Dropped = "other"
	if sameThing(a, b) {
		t.Error("other counters are the same thing")
	}
	l := &Linux{}
	o := &Object{Type: Access, ID: "1", Service: "1", Link: "eth0"}
	if l.Epoch("service-egress-packets", o) != "" {
		t.Error("an epoch before any collection")
	}
	v, w := unitView(t, "sep", o)
	l.views = map[record.Name]*view{"service-egress-packets": v}
	epochs := map[string]bool{}
	for _, step := range []struct {
		index uint32
		boot  string
	}{{2, "a"}, {2, "a"}, {3, "a"}, {3, "b"}} {
		v.begin()
		v.takeLink(linkMessage(step.index, "eth0", 1, 25))
		w.settle(v, step.boot)
		w.commit(v)
		epochs[l.Epoch("service-egress-packets", &Object{Type: Access, ID: "1"})] = true
	}
	if len(epochs) != 3 || epochs[""] {
		t.Errorf("epochs %v", epochs)
	}
}

// Objects that a new configuration asks for apart leave those of the others as
// they were.
func TestViewsInherit(t *testing.T) {
	a, b := &Object{Type: Access, ID: "1", Service: "1", Link: "eth0"}, &Object{Type: Access, ID: "2", Service: "1", Link: "eth1"}
	both, w := unitView(t, "sep", a, b)
	both.begin()
	both.takeLink(linkMessage(2, "eth0", 1, 25))
	both.takeLink(linkMessage(3, "eth1", 1, 25))
	w.settle(both, "boot")
	w.commit(both)
	next := func(old *view, objects ...*Object) *view {
		v := newView(Request{Record: definition(t, "service-egress-packets"), Objects: objects})
		v.inherit(old)
		w.replace(old, v)
		return v
	}
	one := next(both, a)
	_, _, last := parseLink(linkMessage(3, "eth1", 50, 25))
	w.take([]byte("eth1"), departed{3, last})
	v := next(one, b)
	v.begin()
	w.settle(v, "boot")
	var g gather
	if err := v.finals(t.Context(), &g); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(recordLines(g.records), ";"); got != "sep 2 [epf 51] final 1" {
		t.Errorf("%s", got)
	}
	for range maxResting + 1 {
		v = next(v, a)
	}
	if len(v.resting) != 0 {
		t.Errorf("%d units are kept for nobody", len(v.resting))
	}
}

// Messages that the kernel never sends are walked over without a panic, and
// leave nothing in a view that it has not.
func FuzzNetlink(f *testing.F) {
	f.Add(linkMessage(2, "eth0", 7, 25))
	f.Add(tcMessage(2, 0x10010, 0x10000, 1, 2, 3, 4))
	f.Add(tcMessage(2, 0x10000, tcHandleRoot, 1, 2, 3, 0))
	f.Add(counterMessage("acct", "in", nftCounter, 4, 5, 6))
	f.Add(append(native32(48, delLink, 0, 0), linkMessage(2, "eth0", 7, 2)...))
	o := fullObject(AccessPort, "tc", false)
	o.Link, o.NFT = "eth0", fullObject(AccessPort, "nft", false).NFT
	o.NFT.Queues = nil
	f.Fuzz(func(t *testing.T, msg []byte) {
		v, w := unitView(t, "", o)
		units := len(v.units)
		for range 2 {
			v.begin()
			v.takeLink(linkMessage(2, "eth0", 7, 25))
			v.takeLink(msg)
			v.takeClass(msg)
			v.takeQdisc(msg)
			v.takeCounter("inet acct", msg)
			w.takeDeparted(msg)
			w.settle(v, "boot")
			var g gather
			if err := v.finals(t.Context(), &g); err != nil {
				t.Fatal(err)
			}
			if err := v.records(t.Context(), &g); err != nil {
				t.Fatal(err)
			}
			w.commit(v)
		}
		if len(v.units) != units {
			t.Fatalf("%d units, were %d", len(v.units), units)
		}
	})
}
