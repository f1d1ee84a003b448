package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"acctpull/record"
)

// fullObject has everything of one kind that an object of the type can have.
func fullObject(t Type, from string, binding bool) *Object {
	o := &Object{Type: t, ID: "id", CollectStats: true}
	if t == Access || binding {
		o.Service = "1"
	}
	prefix := ""
	member := func(name string) []NFTMember {
		name = prefix + name
		return []NFTMember{{name + "_fwd", name + "_drop", name + "_in", name + "_out", name + "_indrop", name + "_outdrop"}}
	}
	port := t == AccessPort || t == Network
	switch from {
	case "link":
		o.Link = "eth0"
	case "tc":
		o.TC = &TC{Link: "eth0"}
		if t == Access {
			o.TC.Egress, o.TC.EgressMeters = 0x10001, []ClassID{0x10010}
		} else if port {
			o.TC.Queues = []ClassID{0x10010}
		}
	case "nft":
		n := &NFT{Table: "inet acct", Ingress: "in"}
		if t != Access {
			n.IngressDropped = "in_drop"
		}
		if t != NetworkIf {
			n.Egress = "out"
		}
		if port {
			n.EgressDropped, n.Queues = "out_drop", member("q")
		}
		if t == Access || t == AccessPort || t == NetworkIf {
			n.Meters = member("m")
		}
		if t == Access {
			n.EgressMeters = member("em")
		}
		if t == Network {
			n.IngressQueues = member("iq")
		}
		o.NFT = n
	}
	return o
}

// knownFields are the counters of a row that an object knows.
func knownFields(r objectRow, o *Object) []string {
	var out []string
	for i, f := range r.row.fields {
		if f.counter && len(o.refs(nil, r.row.scope, r.row.egress, r.member, f.meaning)) > 0 {
			out = append(out, r.row.set.Fields[i].Abbrev)
		}
	}
	return out
}

// linuxTable lists what each kind of counter can fill of each record.
func linuxTable() string {
	var b strings.Builder
	b.WriteString("| record | sub-record | row | mode | a link | tc classes | nft counters |\n|---|---|---|---|---|---|---|\n")
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok {
			continue
		}
		rows := linuxRows(d)
		for i := range rows {
			cells, any := "", false
			for _, from := range []string{"link", "tc", "nft"} {
				o := fullObject(typ, from, rows[i].scope == perBinding)
				if rows[i].set.CounterMode == ForwardDrop.String() {
					o.CounterMode = ForwardDrop
				}
				var fields []string
				for _, r := range linuxObjectRows(nil, rows, o) {
					if r.row == &rows[i] {
						fields = knownFields(r, o)
					}
				}
				if len(fields) > 0 {
					any = true
					cells += " `" + strings.Join(fields, "` `") + "` |"
				} else {
					cells += " – |"
				}
			}
			mode := rows[i].set.CounterMode
			if mode == "" {
				mode = "–"
			}
			if any {
				fmt.Fprintf(&b, "| %s | %s | %s | %s |%s\n", d.Name, rows[i].set.Sub, rows[i].set.Scope, mode, cells)
			}
		}
	}
	return b.String()
}

// Every record of the 7210 SAS can be collected on Linux, and with nft counters
// every counter of every row but the octets that queues and tunnels drop.
func TestLinuxRecords(t *testing.T) {
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok || typ == SAA || len(deviceRows(d)) == 0 {
			continue
		}
		rows := linuxRows(d)
		for _, mode := range []CounterMode{InOutProfile, ForwardDrop} {
			for _, binding := range []bool{false, typ == SDP} {
				o := fullObject(typ, "nft", binding)
				o.CounterMode = mode
				var filled []*row
				for _, r := range linuxObjectRows(nil, rows, o) {
					if n := len(knownFields(r, o)); n == 0 {
						t.Errorf("%s: an empty row", d.Name)
					}
					filled = append(filled, r.row)
				}
				if len(filled) == 0 && (!binding || strings.HasPrefix(string(d.Name), "complete")) {
					t.Errorf("%s: nothing of it", d.Name)
				}
				for i := range rows {
					r := &rows[i]
					wanted := r.numbered() && slices.Contains(r.set.Platforms, "7210 SAS") && (r.set.CounterMode == "" || r.set.CounterMode == mode.String())
					if wanted && !slices.Contains(filled, r) {
						t.Errorf("%s %s %s %s: not filled by counters", d.Name, r.set.Sub, r.set.Scope, mode)
					}
				}
			}
		}
	}
	for _, c := range []struct {
		name record.Name
		from string
		want string
	}{
		{"service-ingress-octets", "link", "sio/0 ioo"},
		{"service-ingress-octets", "nft", "sio/1 iof oof, sio/0 ioo"},
		{"service-egress-packets", "link", "sep/0 epf"},
		{"service-egress-octets", "tc", "seo/0 eof, seo/1 of"},
		{"complete-service-ingress-egress", "tc", "cpSepo/0 epf eof, cpSepo/1 pf pd of"},
		{"combined-access-egress", "link", "aeo/0 of, aep/0 pf pd"},
		{"combined-access-egress", "tc", "aeo/1 of, aep/1 pf pd"},
		{"combined-sdp-ingress-egress", "link", "cmSdpipo/0 tpf tpd tof, cmSdpepo/0 tpf tof"},
		{"network-egress-octets", "link", "neo/0 of"},
		{"network-egress-octets", "tc", "neo/1 of"},
		{"network-egress-octets", "nft", "neo/1 iof iod oof ood"},
		{"network-ingress-octets", "tc", ""},
		{"combined-network-egress", "tc", "cmNepo/1 pf pd of"},
		{"network-interface-ingress-packets", "link", "nifip/0 pf pd"},
	} {
		d, _ := record.Builtin().Lookup(c.name)
		typ, _ := ParseType(d.PolicyType)
		o := fullObject(typ, c.from, false)
		var got []string
		for _, r := range linuxObjectRows(nil, linuxRows(d), o) {
			got = append(got, fmt.Sprintf("%s/%d %s", r.row.set.Sub, r.member, strings.Join(knownFields(r, o), " ")))
		}
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s from %s: %s, want %s", c.name, c.from, g, c.want)
		}
	}
}
