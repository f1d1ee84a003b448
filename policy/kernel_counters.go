package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// NFT names the counters of nftables (nft "counter" objects, stateful and with
// a name of their own) from which the source linux takes what an object has
// counted. Which packets a counter counts is decided by the rules that refer to
// it. A counter that is named here goes before the link's.
type NFT struct {
	// Table is the family and the name of the table of all counters, as nft
	// writes them: "inet acct".
	Table string
	// Ingress counts everything that comes from the object's side: what is
	// offered to a SAP, what is forwarded from a port, interface or SDP.
	Ingress string
	// IngressDropped counts what came in and was dropped; not for SAPs, whose
	// records have no such field outside their meters.
	IngressDropped string
	// Egress counts what is sent, and EgressDropped what should have been.
	Egress, EgressDropped string
	// Meters are ingress meters of a SAP, an access port or an interface;
	// the first is meter 1.
	Meters []NFTMember
	// EgressMeters are those of a SAP.
	EgressMeters []NFTMember
	// IngressQueues are those of a network port.
	IngressQueues []NFTMember
	// Queues are the egress queues of a port.
	Queues []NFTMember
	// Line is where it stands in the YAML, 0 if it does not.
	Line int
}

// NFTMember names the counters of one meter or queue by what they count; "" for
// what nothing counts. Forwarded is the sum of both profiles if it is not given
// and they are, and so is Dropped.
type NFTMember struct {
	Forwarded, Dropped                    string
	InProfile, OutOfProfile               string // forwarded
	InProfileDropped, OutOfProfileDropped string
}

// TC names classes of queueing disciplines whose counters the source linux
// takes. They shape what is sent, so they count egress.
type TC struct {
	// Link is the link of the queueing discipline; "" for the object's own.
	Link string
	// Egress is the class of everything that is sent to a SAP; 0 for none.
	Egress ClassID
	// EgressMeters are classes that stand for the egress meters of a SAP; the
	// first is meter 1.
	EgressMeters []ClassID
	// Queues are classes that stand for the queues of a port, often one per
	// forwarding class; the first is queue 1.
	Queues []ClassID
	// Line is where it stands in the YAML, 0 if it does not.
	Line int
}

// sameCounters tells whether two objects have the same nft counters and tc
// classes. Where they stand in the YAML does not matter.
func (o *Object) sameCounters(other *Object) bool {
	return reflect.DeepEqual(o.counters(), other.counters())
}

// kernelCounters are the nft counters and tc classes of an object.
type kernelCounters struct {
	nft NFT
	tc  TC
}

func (o *Object) counters() (c kernelCounters) {
	if o.NFT != nil {
		c.nft = *o.NFT
	}
	if o.TC != nil {
		c.tc = *o.TC
	}
	c.nft.Line, c.tc.Line = 0, 0
	return c
}

// ClassID is the number of a tc class: the major number of its queueing
// discipline in the upper half, its own in the lower. 0 is none.
type ClassID uint32

// String returns what tc(8) prints, such as "1:1a".
func (c ClassID) String() string { return fmt.Sprintf("%x:%x", uint32(c)>>16, uint32(c)&0xffff) }

// ParseClassID reads a class as tc(8) prints it, both numbers hexadecimal:
// "1:1a", or ":1" for a class of the default queueing discipline.
func ParseClassID(s string) (ClassID, bool) {
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return 0, false
	}
	if major == "" {
		major = "0"
	}
	a, err := strconv.ParseUint(major, 16, 16)
	if err != nil {
		return 0, false
	}
	b, err := strconv.ParseUint(minor, 16, 16)
	if err != nil || b == 0 {
		return 0, false
	}
	return ClassID(a<<16 | b), true
}

// nftFamilies are the families of nftables with their numbers in the kernel's
// interface (linux/netfilter.h, NFPROTO_*).
var nftFamilies = map[string]uint8{"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

// nftTable returns the family and the name of a table such as "inet acct".
func nftTable(s string) (family uint8, name string, ok bool) {
	word, name, _ := strings.Cut(s, " ")
	family, ok = nftFamilies[word]
	return family, name, ok && nftName(name)
}

// nftName tells whether s can be the name of a table or counter: what nft reads
// without quotes.
func nftName(s string) bool {
	return s != "" && len(s) <= MaxCounter && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/\\_.-") == ""
}

// unitKind is a kind of thing in the kernel that counts.
type unitKind uint8

const (
	linkUnit unitKind = iota + 1
	rootUnit          // the root queueing discipline of a link
	classUnit
	counterUnit
)

// unitKey names one thing in the kernel that counts.
type unitKey struct {
	kind    unitKind
	name    string // the link, or the table of the counter
	counter string
	class   ClassID
}

// String names it as the messages do.
func (k unitKey) String() string {
	switch k.kind {
	case rootUnit:
		return "root qdisc of link " + k.name
	case classUnit:
		return fmt.Sprintf("tc class %s of link %s", k.class, k.name)
	case counterUnit:
		return fmt.Sprintf("nft counter %s %s", k.name, k.counter)
	}
	return "link " + k.name
}

// Positions in counts. A unit that is not a link has the first three only.
const (
	octetsAt = iota
	packetsAt
	droppedAt  // packets; of a link those of ingress
	sentOctets // what follows is a link's
	sentPackets
	sentDropped
	countsLen
)

// ref is one number of one unit.
type ref struct {
	unitKey
	at uint8
	// extra: the number adds to another one, and is 0 if its unit is not
	// there.
	extra bool
}

// members returns how many meters or queues of a scope the source linux knows
// of an object.
func (o *Object) members(s scope, egress bool) int {
	return max(len(o.nftMembers(s, egress)), len(o.classes(s, egress)))
}

func (o *Object) nftMembers(s scope, egress bool) []NFTMember {
	switch n := o.NFT; {
	case n == nil:
	case s == perMeter:
		return n.Meters
	case s == perEgressMeter:
		return n.EgressMeters
	case s == perQueue && egress:
		return n.Queues
	case s == perQueue:
		return n.IngressQueues
	}
	return nil
}

func (o *Object) classes(s scope, egress bool) []ClassID {
	switch t := o.TC; {
	case t == nil:
	case s == perEgressMeter:
		return t.EgressMeters
	case s == perQueue && egress:
		return t.Queues
	}
	return nil
}

// tcLink returns the link of the object's classes.
func (o *Object) tcLink() string {
	if o.TC.Link != "" {
		return o.TC.Link
	}
	return o.Link
}

// refs appends the numbers whose sum a counter of an object is: of the object as
// a whole if member is 0, else of one of its meters or queues. It appends none
// if nothing in the configuration counts that.
func (o *Object) refs(buf []ref, s scope, egress bool, member int, m meaning) []ref {
	if member > 0 {
		if n := o.nftMembers(s, egress); member <= len(n) {
			return n[member-1].refs(buf, o.NFT.Table, m)
		}
		if c := o.classes(s, egress); member <= len(c) {
			return o.classRefs(buf, c[member-1], m)
		}
		return buf
	}
	if name := o.nftWhole(egress, m.part); name != "" {
		return append(buf, counterRef(o.NFT.Table, name, m))
	}
	if egress && o.TC != nil && o.TC.Egress != 0 {
		return o.classRefs(buf, o.TC.Egress, m)
	}
	return o.linkRefs(buf, egress, m)
}

// nftWhole returns the counter of the object as a whole.
func (o *Object) nftWhole(egress bool, p part) string {
	switch n := o.NFT; {
	case n == nil:
	case p == dropped && egress:
		return n.EgressDropped
	case p == dropped:
		return n.IngressDropped
	case p == forwarded && egress:
		return n.Egress
	case (p == forwarded || p == offered) && !egress:
		return n.Ingress
	}
	return ""
}

// counterRef is a number of a named counter: it counts octets and packets of
// the same packets.
func counterRef(table, name string, m meaning) ref {
	at := uint8(packetsAt)
	if m.octets {
		at = octetsAt
	}
	return ref{unitKey: unitKey{kind: counterUnit, name: table, counter: name}, at: at}
}

func (n *NFTMember) refs(buf []ref, table string, m meaning) []ref {
	// The counter of the part itself, or those of the parts it consists of.
	var own, first, second string
	switch m.part {
	case forwarded:
		own, first, second = n.Forwarded, n.InProfile, n.OutOfProfile
	case dropped:
		own, first, second = n.Dropped, n.InProfileDropped, n.OutOfProfileDropped
	case inForwarded:
		own = n.InProfile
	case outForwarded:
		own = n.OutOfProfile
	case inDropped:
		own = n.InProfileDropped
	case outDropped:
		own = n.OutOfProfileDropped
	}
	switch {
	case own != "":
		return append(buf, counterRef(table, own, m))
	case first != "" && second != "":
		return append(buf, counterRef(table, first, m), counterRef(table, second, m))
	}
	return buf
}

// names returns the counters that are given.
func (n *NFTMember) names() []string {
	return slices.DeleteFunc([]string{n.Forwarded, n.Dropped, n.InProfile, n.OutOfProfile, n.InProfileDropped, n.OutOfProfileDropped},
		func(s string) bool { return s == "" })
}

// classRefs: a class knows what it sent and how many packets it dropped, not how
// many octets those had, and nothing of profiles.
func (o *Object) classRefs(buf []ref, c ClassID, m meaning) []ref {
	r := ref{unitKey: unitKey{kind: classUnit, name: o.tcLink(), class: c}}
	switch {
	case m.part == forwarded && m.octets:
		r.at = octetsAt
	case m.part == forwarded:
		r.at = packetsAt
	case m.part == dropped && !m.octets:
		r.at = droppedAt
	default:
		return buf
	}
	return append(buf, r)
}

// linkPositions says which statistic of a link a counter is: by direction and
// meaning. What is not here a link cannot know.
var linkPositions = map[bool]map[meaning]uint8{
	false: {
		{offered, true}: octetsAt, {offered, false}: packetsAt,
		{forwarded, true}: octetsAt, {forwarded, false}: packetsAt,
		{dropped, false}: droppedAt,
	},
	true: {
		{forwarded, true}: sentOctets, {forwarded, false}: sentPackets,
		{dropped, false}: sentDropped,
	},
}

// linkRefs: what a port drops before it sends is dropped by its link or by the
// link's root queueing discipline, which also counts what the classes and
// queues below it drop. A link does not count that (linux/if_link.h,
// tx_dropped: "packets dropped on their way to transmission, e.g. due to lack
// of resources").
func (o *Object) linkRefs(buf []ref, egress bool, m meaning) []ref {
	at, ok := linkPositions[egress][m]
	if !ok || o.Link == "" {
		return buf
	}
	buf = append(buf, ref{unitKey: unitKey{kind: linkUnit, name: o.Link}, at: at})
	if at == sentDropped && (o.Type == AccessPort || o.Type == Network) {
		buf = append(buf, ref{unitKey: unitKey{kind: rootUnit, name: o.Link}, at: droppedAt, extra: true})
	}
	return buf
}
