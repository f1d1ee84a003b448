package policy

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/strictyaml"
)

const (
	patternClass   = `^[0-9a-fA-F]{0,4}:[0-9a-fA-F]{1,4}$`
	patternTable   = `^(inet|ip|ip6|arp|netdev|bridge) [A-Za-z0-9/\\_.-]{1,%d}$`
	patternCounter = `^[A-Za-z0-9/\\_.-]{1,%d}$`
)

var (
	tableName   = strictyaml.TextShape{Type: "table", Limits: "family and name, as nft writes them: `inet acct`", Pattern: fmt.Sprintf(patternTable, MaxCounter)}
	counterName = strictyaml.TextShape{Type: "counter", Limits: fmt.Sprintf("a named counter of the table, 1–%d letters, digits and `/\\_.-`", MaxCounter), Pattern: fmt.Sprintf(patternCounter, MaxCounter)}
)

func counterKey(name, doc string, at func(*NFT) *string) key[NFT] {
	return strictyaml.TextKey(name, counterName, doc, at).Or("the link's")
}

func membersKey(name, what, doc string, at func(*NFT) *[]NFTMember) key[NFT] {
	return strictyaml.ListKey(name, what, doc, memberKeys, NFTMember{},
		func(n *NFT) []NFTMember { return *at(n) },
		func(n *NFT, m NFTMember, _ int, _ given) { *at(n) = append(*at(n), m) })
}

var nftKeys = []key[NFT]{
	strictyaml.TextKey("table", tableName, "The table of all counters below.", func(n *NFT) *string { return &n.Table }).Required(),
	counterKey("ingress", "What comes from the object's side: offered to a SAP, received by a port, an interface or an SDP.", func(n *NFT) *string { return &n.Ingress }),
	counterKey("ingress-dropped", "What came in and was dropped; not for SAPs.", func(n *NFT) *string { return &n.IngressDropped }),
	counterKey("egress", "What is sent to the object's side; not for interfaces.", func(n *NFT) *string { return &n.Egress }),
	counterKey("egress-dropped", "What was to be sent and was dropped; ports only.", func(n *NFT) *string { return &n.EgressDropped }),
	membersKey("meters", "meter", "Ingress meters of a SAP, access port or interface, from 1.", func(n *NFT) *[]NFTMember { return &n.Meters }),
	membersKey("egress-meters", "egress meter", "Egress meters of a SAP, from 1.", func(n *NFT) *[]NFTMember { return &n.EgressMeters }),
	membersKey("ingress-queues", "ingress queue", "Ingress queues of a network port, from 1.", func(n *NFT) *[]NFTMember { return &n.IngressQueues }),
	membersKey("queues", "queue", "Egress queues of a port, from 1.", func(n *NFT) *[]NFTMember { return &n.Queues }),
}

func memberCounter(name, doc, def string, at func(*NFTMember) *string) key[NFTMember] {
	return strictyaml.TextKey(name, counterName, doc, at).Or(def)
}

var memberKeys = []key[NFTMember]{
	memberCounter("forwarded", "What was forwarded.", "both profiles together, if both are given", func(m *NFTMember) *string { return &m.Forwarded }),
	memberCounter("dropped", "What was dropped.", "both profiles together, if both are given", func(m *NFTMember) *string { return &m.Dropped }),
	memberCounter("in-profile", "What was forwarded in profile.", "absent", func(m *NFTMember) *string { return &m.InProfile }),
	memberCounter("out-of-profile", "What was forwarded out of profile.", "absent", func(m *NFTMember) *string { return &m.OutOfProfile }),
	memberCounter("in-profile-dropped", "What was dropped in profile.", "absent", func(m *NFTMember) *string { return &m.InProfileDropped }),
	memberCounter("out-of-profile-dropped", "What was dropped out of profile.", "absent", func(m *NFTMember) *string { return &m.OutOfProfileDropped }),
}

var tcKeys = []key[TC]{
	strictyaml.TextKey("link", linkName, "The link of the queueing discipline.", func(t *TC) *string { return &t.Link }).Or("the object's link"),
	classKey("egress", "The class of everything that is sent to a SAP.", func(t *TC) *ClassID { return &t.Egress }),
	classesKey("egress-meters", "Classes of a SAP; the first is egress meter 1.", func(t *TC) *[]ClassID { return &t.EgressMeters }),
	classesKey("queues", "Classes of a port; the first is queue 1.", func(t *TC) *[]ClassID { return &t.Queues }),
}

// The two keys that objects of every kind, and of some kinds, have.
var (
	nftKey = childKey("nft", "Named counters of nftables that count instead of the link.", nftKeys,
		func(o *Object) **NFT { return &o.NFT }, func(n *NFT) *int { return &n.Line })
	tcKey = childKey("tc", "Classes of queueing disciplines that count what is sent instead of the link.", tcKeys,
		func(o *Object) **TC { return &o.TC }, func(t *TC) *int { return &t.Line })
)

// childKey is a mapping that few objects have, so that the others hold no room
// for it. It counts as refused if anything in it is.
func childKey[T, V any](name, doc string, keys []key[V], at func(*T) **V, line func(*V) *int) key[T] {
	return key[T]{Name: name, Type: "mapping", Default: "none", Doc: doc, Schema: strictyaml.SchemaOf(keys),
		Set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			child, mistakes := new(V), d.Mistakes()
			*line(child) = n.Line
			strictyaml.Decode(d, k, n, child, keys)
			*at(v) = child
			return d.Mistakes() == mistakes
		},
		Get: func(p printer, v *T) *yaml.Node {
			if *at(v) == nil {
				return nil
			}
			return strictyaml.Mapping(p, *at(v), keys)
		}}
}

const classLimits = "as tc writes it, hexadecimal: `1:1a`"

// classKey is a tc class.
func classKey[T any](name, doc string, at func(*T) *ClassID) key[T] {
	return key[T]{Name: name, Type: "class", Limits: classLimits, Default: "the link's", Doc: doc,
		Schema: schema{"type": "string", "pattern": patternClass},
		Set:    func(d *decoder, k string, n *yaml.Node, v *T) bool { return class(d, k, n, at(v)) },
		Get: func(_ printer, v *T) *yaml.Node {
			if *at(v) == 0 {
				return nil
			}
			return strictyaml.Scalar("!!str", at(v).String())
		}}
}

// classesKey is a list of tc classes.
func classesKey[T any](name, doc string, at func(*T) *[]ClassID) key[T] {
	return key[T]{Name: name, Type: "list of classes", Limits: classLimits, Default: "none", Doc: doc,
		Schema: schema{"type": "array", "items": schema{"type": "string", "pattern": patternClass}},
		Set: func(d *decoder, k string, n *yaml.Node, v *T) bool {
			if !d.Is(k, n, yaml.SequenceNode) {
				return false
			}
			good := true
			for _, item := range n.Content {
				var c ClassID
				good = class(d, k, item, &c) && good
				*at(v) = append(*at(v), c)
			}
			return good
		},
		Get: func(_ printer, v *T) *yaml.Node {
			if len(*at(v)) == 0 {
				return nil
			}
			seq := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, c := range *at(v) {
				seq.Content = append(seq.Content, strictyaml.Scalar("!!str", c.String()))
			}
			return seq
		}}
}

func class(d *decoder, k string, n *yaml.Node, v *ClassID) bool {
	if !d.Is(k, n, yaml.ScalarNode) {
		return false
	}
	c, ok := ParseClassID(n.Value)
	if !ok {
		d.Fail(strictyaml.Kind(RuleValue), n.Line, k, "%q is no class: it takes two hexadecimal numbers, as tc prints them (1:1a)", bounded(n.Value))
		return false
	}
	*v = c
	return true
}
