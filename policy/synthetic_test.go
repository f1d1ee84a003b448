package policy

import (
	"context"
	"fmt"
	"testing"
	"time"

	"acctpull/record"
)

// gather is a Sink that keeps everything.
type gather struct {
	records []*record.Record
	notes   []string
}

func (g *gather) Record(r *record.Record) error {
	g.records = append(g.records, r.Clone())
	return nil
}
func (g *gather) Missing(o *Object, err error) {
	g.notes = append(g.notes, fmt.Sprintf("%s missing: %v", o, err))
}
func (g *gather) Restarted(o *Object, why string) {
	g.notes = append(g.notes, fmt.Sprintf("%s restarted: %s", o, why))
}

func definition(t testing.TB, name record.Name) *record.Definition {
	t.Helper()
	d, ok := record.Builtin().Lookup(name)
	if !ok {
		t.Fatalf("no record %s", name)
	}
	return d
}

// testObjects has every type, both counter modes, and several members.
func testObjects(t testing.TB) map[Type][]*Object {
	t.Helper()
	s, err := New(Config{Source: SourceConfig{Kind: SourceSynthetic}, Objects: []Object{
		{Type: Access, ID: "1/1/1:1", Service: "1", Meters: 3, EgressMeters: 2},
		{Type: Access, ID: "1/1/1:2", Service: "1", CounterMode: ForwardDrop, Meters: 2},
		{Type: AccessPort, ID: "1/1/2", Queues: 4, Meters: 2},
		{Type: Network, ID: "1/1/3", Queues: 3},
		{Type: NetworkIf, ID: "core", Meters: 2},
		{Type: SDP, ID: "7"},
		{Type: SDP, ID: "7", Service: "100"},
		{Type: SAA, ID: "ping-core", Owner: "admin"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	out := map[Type][]*Object{}
	c := s.Config()
	for i := range c.Objects {
		o := &c.Objects[i]
		out[o.Type] = append(out[o.Type], o)
	}
	return out
}

func sample(t testing.TB, s Source, req Request) *gather {
	t.Helper()
	var g gather
	if err := s.Sample(context.Background(), req, &g); err != nil {
		t.Fatal(err)
	}
	return &g
}

// Every record of the 7210 SAS and every one of the SAS-Mxp comes out of the
// synthetic source, with every field of its row sets filled.
func TestSyntheticKnowsEveryRecord(t *testing.T) {
	objects := testObjects(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	records := 0
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok || len(d.On("7210 SAS")) == 0 && len(d.On("7210 SAS-Mxp")) == 0 {
			continue
		}
		records++
		met := map[*record.RowSet]bool{}
		for _, r := range sample(t, &Synthetic{Seed: 1}, Request{At: at, Record: d, Objects: objects[typ]}).records {
			met[r.Set] = true
			for i, v := range r.Values {
				if v.State == record.Absent {
					t.Errorf("%s %s %s: field %s is absent", d.Name, r.Sub, r.Set.Scope, r.Set.Fields[i].Abbrev)
				}
			}
		}
		for _, set := range d.RowSets {
			for _, platform := range []string{"7210 SAS", "7210 SAS-Mxp"} {
				for _, on := range d.On(platform) {
					// The access ports of the test have the default mode only.
					if on == set && !met[set] && !(typ == AccessPort && set.CounterMode == ForwardDrop.String()) {
						t.Errorf("%s: row set %s %s %q was not made", d.Name, set.Sub, set.Scope, set.CounterMode)
					}
				}
			}
		}
	}
	if records != 25 { // the 21 of the 7210 SAS, 4 of the Mxp
		t.Errorf("%d records, want 25", records)
	}
}

// Counters never decrease, agree with each other at every moment, and are the
// same whenever they are asked for.
func TestSyntheticInvariants(t *testing.T) {
	objects := testObjects(t)
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for seed := uint64(0); seed < 20; seed++ {
		src := &Synthetic{Seed: seed, Idle: 20}
		for _, name := range []record.Name{"complete-service-ingress-egress", "combined-network-egress", "complete-sdp-ingress-egress"} {
			d := definition(t, name)
			typ, _ := ParseType(d.PolicyType)
			last := map[string]uint64{}
			for step := range 200 {
				at := start.Add(time.Duration(step) * 97 * time.Second)
				g := sample(t, src, Request{At: at, Record: d, Objects: objects[typ]})
				again := sample(t, src, Request{At: at, Record: d, Objects: objects[typ]})
				offered := map[string]uint64{} // by SAP, of the meters
				for i, r := range g.records {
					key := fmt.Sprint(r.Sub, r.Set.Scope)
					for j, f := range r.Set.Fields {
						v := r.Values[j]
						if v != again.records[i].Values[j] {
							t.Fatalf("seed %d: %s of the same moment differs", seed, f.Abbrev)
						}
						if f.Role == record.Key {
							key += fmt.Sprint("/", v)
							continue
						}
						if v.N < last[key+f.Abbrev] {
							t.Fatalf("seed %d: %s %s: %d after %d", seed, key, f.Abbrev, v.N, last[key+f.Abbrev])
						}
						last[key+f.Abbrev] = v.N
					}
					if r.Sub == "cpSipo" && r.Set.Scope == "per meter" {
						offered[r.Get("sap").Text] += r.Get("of").N + r.Get("od").N + r.Get("iof").N + r.Get("oof").N
					}
				}
				for _, r := range g.records {
					if sap := r.Get("sap").Text; r.Sub == "cpSipo" && r.Set.Scope == "per SAP" {
						// In in-out mode the dropped octets are in no meter row.
						if got := r.Get("ioo").N; got < offered[sap] || sap == "1/1/1:2" && got != offered[sap] {
							t.Fatalf("seed %d: SAP %s was offered %d octets, its meters count %d", seed, sap, got, offered[sap])
						}
					}
				}
			}
		}
	}
}

// Half of the objects of a half idle world are idle, and the busy ones move in
// every five minutes.
func TestSyntheticIdle(t *testing.T) {
	var objects []*Object
	for i := range 1000 {
		objects = append(objects, &Object{Type: Access, ID: fmt.Sprintf("1/1/1:%d", i), Service: "1", Meters: 1})
	}
	d := definition(t, "service-ingress-octets")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	src := &Synthetic{Seed: 3, Idle: 50}
	before, after := sample(t, src, Request{At: at, Record: d, Objects: objects}), sample(t, src, Request{At: at.Add(5 * time.Minute), Record: d, Objects: objects})
	idle := 0
	for i, r := range before.records {
		if r.Set.Scope != "per SAP" {
			continue
		}
		a, b := r.Get("ioo").N, after.records[i].Get("ioo").N
		if a == 0 && b == 0 {
			idle++
		} else if b <= a {
			t.Fatalf("busy SAP %s stands still at %d", r.Get("sap").Text, a)
		}
	}
	if idle < 430 || idle > 570 {
		t.Errorf("%d of 1000 objects are idle, want about 500", idle)
	}
	truth := src.Truth(Request{At: at, Record: d, Objects: objects})
	if truth.Records != uint64(len(before.records)) || truth.Sums["octets_offered_to_the_sap_ingress"] == 0 {
		t.Errorf("truth %+v of %d records", truth, len(before.records))
	}
	if other := sample(t, &Synthetic{Seed: 4, Idle: 50}, Request{At: at, Record: d, Objects: objects}); fmt.Sprint(other.records[1].Values) == fmt.Sprint(before.records[1].Values) && fmt.Sprint(other.records[3].Values) == fmt.Sprint(before.records[3].Values) {
		t.Error("two seeds give the same counters")
	}
	if g := sample(t, src, Request{At: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), Record: d, Objects: objects}); g.records[0].Get("ioo").N != 0 && g.records[1].Get("ioo").N != 0 {
		t.Error("counters before the start are not zero")
	}
}
