package policy

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"acctpull/record"
)

// counting takes records and keeps none.
type counting struct {
	records, counters, missing int
}

func (c *counting) Record(r *record.Record) error {
	c.records++
	for i := range r.Set.Fields {
		if r.Set.Fields[i].Role == record.Counter && r.Values[i].State == record.Number {
			c.counters++
		}
	}
	return nil
}
func (c *counting) Missing(*Object, error)    { c.missing++ }
func (c *counting) Restarted(*Object, string) {}

// manyLinks is a namespace with n SAPs over one port, and their objects: each
// with its link, two ingress meters of three named counters, an egress meter in
// a class, which makes 14 counters of complete-service-ingress-egress.
func manyLinks(b *testing.B, n int) (*namespace, []*Object) {
	ns := newNamespace(b)
	ns.run(b, "sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
	var links, rules, classes strings.Builder
	links.WriteString("link add p0 type veth peer name p1\nlink set p0 up\nlink set p1 up\n")
	classes.WriteString("qdisc add dev p0 root handle 1: htb\n")
	rules.WriteString("table inet acct {\n")
	var objects []*Object
	for i := range n {
		fmt.Fprintf(&links, "link add link p0 name s%d type macvlan mode bridge\n", i)
		fmt.Fprintf(&classes, "class add dev p0 parent 1: classid 1:%x htb rate 1mbit\n", i+1)
		o := &Object{Type: Access, ID: fmt.Sprintf("1/1/1:%d", i), Service: "1", Link: fmt.Sprintf("s%d", i), NFT: &NFT{Table: "inet acct"},
			TC: &TC{Link: "p0", EgressMeters: []ClassID{ClassID(0x10001 + i)}}}
		for m := range 2 {
			meter := NFTMember{InProfile: fmt.Sprintf("s%d_%d_in", i, m), OutOfProfile: fmt.Sprintf("s%d_%d_out", i, m)}
			o.NFT.Meters = append(o.NFT.Meters, meter)
			for _, name := range meter.names() {
				fmt.Fprintf(&rules, "counter %s { }\n", name)
			}
		}
		objects = append(objects, o)
	}
	rules.WriteString("}\n")
	ns.script(b, links.String(), "ip", "-batch", "-")
	ns.script(b, classes.String(), "tc", "-batch", "-")
	ns.script(b, rules.String(), "nft", "-f", "-")
	return ns, objects
}

// BenchmarkLinux collects 10,000 objects of the source linux: of links only,
// and of links, 40,000 named counters and 10,000 classes, 14 counters each.
func BenchmarkLinux(b *testing.B) {
	const n = 10_000
	ns, objects := manyLinks(b, n)
	for _, c := range []struct {
		name     string
		record   record.Name
		counters int
		full     bool
	}{
		{"links", "combined-service-ingress", 2, false},
		{"14counters", "complete-service-ingress-egress", 15, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			var mine []*Object
			for _, o := range objects {
				one := *o
				if !c.full {
					one.NFT, one.TC = nil, nil
				}
				mine = append(mine, &one)
			}
			src := &Linux{Namespace: ns.path}
			req := Request{At: time.Now(), Record: definition(b, c.record), Objects: mine}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var got counting
			if err := src.Sample(b.Context(), req, &got); err != nil {
				b.Fatal(err)
			}
			if got.missing > 0 || got.counters != c.counters*n {
				b.Fatalf("%d missing, %d counters in %d records", got.missing, got.counters, got.records)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			cpu := cpuSeconds(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := src.Sample(b.Context(), req, &got); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuSeconds(b)-cpu)/float64(b.N), "cpu-s/op")
			b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/(1<<20), "held-MiB")
			b.ReportMetric(peakMiB(b), "peak-MiB")
			if err := src.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
