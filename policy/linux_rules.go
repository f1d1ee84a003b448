package policy

import (
	"fmt"
	"slices"
	"strings"

	"acctpull/record"
)

// measured is what the objects of one type measure already.
type measured map[typedUnit]*Object

type typedUnit struct {
	t    Type
	unit unitKey
}

// objectUnits checks what the source linux is to measure of an object: its
// link, its nft counters and its tc classes, and that no other object of its
// kind measures the same. It tells whether they can be looked at any further.
func (k *checker) objectUnits(o *Object, seen measured) bool {
	if o.bad.has(badLink | badNFT | badTC) {
		return false
	}
	if o.Type == SAA {
		k.fail(RuleObjectLink, o.Line, subject(o), "the source linux runs no tests; it measures links")
		return false
	}
	if o.Link == "" && o.NFT == nil && o.TC == nil {
		k.fail(RuleObjectLink, o.Line, subject(o), "it has no link and neither nft counters nor tc classes, which the source linux measures")
		return false
	}
	good := o.Link == "" || k.linkText(o, "link", o.Link, o.Line)
	if o.NFT != nil {
		good = k.objectNFT(o) && good
	}
	if o.TC != nil {
		good = k.objectTC(o) && good
	}
	if !good {
		return false
	}
	for _, u := range o.own() {
		key := typedUnit{o.Type, u}
		first, ok := seen[key]
		if !ok {
			seen[key] = o
			continue
		}
		rule := RuleObjectCounters
		if u.kind == linkUnit {
			rule = RuleObjectLink
		}
		if first == o {
			k.fail(rule, o.Line, subject(o), "%s is named twice", u)
		} else {
			k.failPair(rule, o.Line, subject(o), subject(first), first.Line, "%s is measured as %s already", u, subject(first))
		}
		good = false
	}
	return good
}

func (k *checker) linkText(o *Object, key, link string, line int) bool {
	if len(link) > MaxLink || !printable(link) || strings.ContainsAny(link, "/: ") || link == "." || link == ".." {
		k.fail(RuleObjectLink, line, subject(o), "%s %q cannot be the name of a network link (1–%d characters without space, colon and slash)", key, bounded(link), MaxLink)
		return false
	}
	return true
}

// own returns everything that an object measures as its own.
func (o *Object) own() []unitKey {
	var out []unitKey
	if o.Link != "" {
		out = append(out, unitKey{kind: linkUnit, name: o.Link})
	}
	if n := o.NFT; n != nil {
		names := []string{n.Ingress, n.IngressDropped, n.Egress, n.EgressDropped}
		for _, list := range [][]NFTMember{n.Meters, n.EgressMeters, n.IngressQueues, n.Queues} {
			for i := range list {
				names = append(names, list[i].names()...)
			}
		}
		for _, name := range names {
			if name != "" {
				out = append(out, unitKey{kind: counterUnit, name: n.Table, counter: name})
			}
		}
	}
	if t := o.TC; t != nil {
		for _, c := range append([]ClassID{t.Egress}, append(slices.Clone(t.EgressMeters), t.Queues...)...) {
			if c != 0 {
				out = append(out, unitKey{kind: classUnit, name: o.tcLink(), class: c})
			}
		}
	}
	return out
}

func (k *checker) objectNFT(o *Object) bool {
	n, failed := o.NFT, len(k.out)
	port := o.Type == AccessPort || o.Type == Network
	fail := func(format string, a ...any) {
		k.fail(RuleObjectCounters, lineOr(n.Line, o.Line), subject(o), format, a...)
	}
	if _, _, ok := nftTable(n.Table); !ok {
		fail("nft: table %q is not the family and the name of a table, such as inet acct", bounded(n.Table))
	}
	for _, c := range []struct {
		key, name string
		has       bool
	}{
		{"ingress", n.Ingress, true},
		{"ingress-dropped", n.IngressDropped, o.Type != Access},
		{"egress", n.Egress, o.Type != NetworkIf},
		{"egress-dropped", n.EgressDropped, port},
	} {
		switch {
		case c.name != "" && !c.has:
			fail("nft: it cannot have %s: no record of %s %s has such a counter", c.key, article(o.Type), o.Type.Object())
		case c.name != "" && !nftName(c.name):
			fail("nft: %s %q is no name of a counter", c.key, bounded(c.name))
		}
	}
	for _, list := range []struct {
		key     string
		members []NFTMember
		has     bool
		most    int
	}{
		{"meters", n.Meters, o.Type == Access || o.Type == AccessPort || o.Type == NetworkIf, MaxMeters},
		{"egress-meters", n.EgressMeters, o.Type == Access, MaxEgress},
		{"ingress-queues", n.IngressQueues, o.Type == Network, MaxQueues},
		{"queues", n.Queues, port, MaxQueues},
	} {
		if len(list.members) > 0 && !list.has {
			fail("nft: it cannot have %s", list.key)
		}
		if len(list.members) > list.most {
			fail("nft: it has %d %s, more than %d", len(list.members), list.key, list.most)
		}
		for i := range list.members {
			names := list.members[i].names()
			if len(names) == 0 {
				fail("nft: number %d of %s names no counter", i+1, list.key)
			}
			for _, name := range names {
				if !nftName(name) {
					fail("nft: number %d of %s: %q is no name of a counter", i+1, list.key, bounded(name))
				}
			}
		}
	}
	return len(k.out) == failed
}

func (k *checker) objectTC(o *Object) bool {
	t, failed := o.TC, len(k.out)
	line := lineOr(t.Line, o.Line)
	fail := func(format string, a ...any) { k.fail(RuleObjectCounters, line, subject(o), format, a...) }
	port := o.Type == AccessPort || o.Type == Network
	switch {
	case o.tcLink() == "":
		fail("tc: it has no link: the classes are those of one")
	case t.Link != "":
		k.linkText(o, "tc: link", t.Link, line)
	}
	switch {
	case o.Type != Access && (t.Egress != 0 || len(t.EgressMeters) > 0):
		fail("tc: it cannot have egress and egress-meters, only a SAP can")
	case !port && len(t.Queues) > 0:
		fail("tc: it cannot have queues, only ports can")
	case t.Egress == 0 && len(t.EgressMeters)+len(t.Queues) == 0:
		fail("tc: it names no class")
	}
	if len(t.EgressMeters) > MaxEgress || len(t.Queues) > MaxQueues {
		fail("tc: it has more than %d egress-meters or %d queues", MaxEgress, MaxQueues)
	}
	for _, c := range append(slices.Clone(t.EgressMeters), t.Queues...) {
		if c&0xffff == 0 {
			fail("tc: %s is a queueing discipline, no class", c)
		}
	}
	if n := o.NFT; n != nil {
		for _, both := range []struct {
			key  string
			both bool
		}{
			{"egress", n.Egress != "" && t.Egress != 0},
			{"egress-meters", len(n.EgressMeters) > 0 && len(t.EgressMeters) > 0},
			{"queues", len(n.Queues) > 0 && len(t.Queues) > 0},
		} {
			if both.both {
				fail("nft and tc both count %s", both.key)
			}
		}
	}
	return len(k.out) == failed
}

func lineOr(line, object int) int {
	if line > 0 {
		return line
	}
	return object
}

// objectRecord checks that the source linux knows something of what the record
// of the object's policy holds, and of each meter or queue that is named.
func (k *checker) objectRecord(o *Object, p *AccountingPolicy, d *record.Definition) {
	rows := linuxRows(d)
	if !slices.ContainsFunc(rows, func(r row) bool { return (r.scope == perBinding) == (o.Type == SDP && o.Service != "") }) {
		return // objectPolicy reports it
	}
	if len(linuxObjectRows(nil, rows, o)) == 0 {
		k.failPair(RuleRecordSource, o.Line, subject(o), policyName(p.ID), p.Line, "record %s of %s counts %s, and nothing does that here: %s",
			d.Name, policyName(p.ID), directions(rows), remedy(o, rows))
		return
	}
	for i := range rows {
		first := &rows[i]
		if !first.numbered() || slices.ContainsFunc(rows[:i], func(r row) bool { return r.alternative(first) }) {
			continue
		}
		for m := 1; m <= o.members(first.scope, first.egress); m++ {
			if bestRow(rows[i:], first, o, m) == nil {
				k.failPair(RuleRecordSource, o.Line, subject(o), policyName(p.ID), p.Line, "record %s of %s counts of each %s %s, and number %d has none of it",
					d.Name, policyName(p.ID), memberWord(first), partList(rows[i:], first, o.CounterMode), m)
			}
		}
	}
}

func memberWord(r *row) string {
	switch r.scope {
	case perMeter:
		return "meter"
	case perEgressMeter:
		return "egress meter"
	}
	return "queue"
}

// partKeys are the keys of a meter or queue by what they count.
var partKeys = map[part]string{
	forwarded: "forwarded", dropped: "dropped", inForwarded: "in-profile", outForwarded: "out-of-profile",
	inDropped: "in-profile-dropped", outDropped: "out-of-profile-dropped",
}

// partList names what the rows of a scope count in a counter mode.
func partList(rows []row, like *row, mode CounterMode) string {
	var out []string
	for i := range rows {
		r := &rows[i]
		if !r.alternative(like) || r.set.CounterMode != "" && r.set.CounterMode != mode.String() {
			continue
		}
		for _, f := range r.fields {
			if name := partKeys[f.meaning.part]; f.counter && name != "" && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return strings.Join(out, ", ")
}

func directions(rows []row) string {
	in := slices.ContainsFunc(rows, func(r row) bool { return !r.egress })
	out := slices.ContainsFunc(rows, func(r row) bool { return r.egress })
	switch {
	case in && out:
		return "what comes in and what is sent"
	case out:
		return "what is sent"
	}
	return "what comes in"
}

// remedy says what would count.
func remedy(o *Object, rows []row) string {
	egress := slices.ContainsFunc(rows, func(r row) bool { return r.egress })
	ways := []string{"a link"}
	if slices.ContainsFunc(rows, func(r row) bool { return !r.egress }) {
		ways = append(ways, "nft with ingress")
	}
	switch {
	case egress && o.Type == Access:
		ways = append(ways, "nft with egress", "tc with egress")
	case egress && o.Type == SDP:
		ways = append(ways, "nft with egress")
	case egress:
		ways = append(ways, "nft with egress", "tc with queues")
	}
	return fmt.Sprintf("it takes %s", strings.Join(ways, " or "))
}
