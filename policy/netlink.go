package policy

import (
	"encoding/binary"
	"iter"
)

// The messages of the kernel that the source linux reads, from its interface:
// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/pkt_sched.h,
// linux/gen_stats.h, linux/netfilter/nf_tables.h. Integers are in the order of
// the machine, those of nftables in network order.
const (
	attrHeader    = 4  // struct nlattr
	messageHeader = 16 // struct nlmsghdr
	linkHeader    = 16 // struct ifinfomsg
	tcHeader      = 20 // struct tcmsg
	nftHeader     = 4  // struct nfgenmsg

	attrType = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER

	iflaName    = 3
	iflaStats64 = 23

	tcaStats2     = 7
	statsBasic    = 1
	statsQueue    = 3
	statsPackets  = 8 // TCA_STATS_PKT64: only if they exceed 32 bits
	tcHandleRoot  = 0xffffffff
	nftObjTable   = 1
	nftObjName    = 2
	nftObjType    = 3
	nftObjData    = 4
	nftObjHandle  = 6
	nftCounter    = 1 // NFT_OBJECT_COUNTER
	nftCtrOctets  = 1
	nftCtrPackets = 2
)

// attributes walks over netlink attributes. What is cut short ends it.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= attrHeader {
			n := int(binary.NativeEndian.Uint16(b))
			if n < attrHeader || n > len(b) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[2:])&attrType, b[attrHeader:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// cString returns text up to its NUL.
func cString(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// parseLink reads the body of an RTM_NEWLINK or RTM_DELLINK message.
func parseLink(msg []byte) (index int32, name []byte, c counts) {
	if len(msg) < linkHeader {
		return 0, nil, c
	}
	for typ, value := range attributes(msg[linkHeader:]) {
		switch typ {
		case iflaName:
			name = cString(value)
		case iflaStats64:
			c = linkCounts(value)
		}
	}
	return int32(binary.NativeEndian.Uint32(msg[4:])), name, c
}

// linkCounts reads the beginning of struct rtnl_link_stats64: packets received
// and sent, octets received and sent, errors of both, dropped of both.
func linkCounts(b []byte) (c counts) {
	for i, at := range [...]int{packetsAt, sentPackets, octetsAt, sentOctets, -1, -1, droppedAt, sentDropped} {
		if at >= 0 && len(b) >= 8*i+8 {
			c.set(at, binary.NativeEndian.Uint64(b[8*i:]))
		}
	}
	return c
}

// parseTC reads the body of an RTM_NEWTCLASS or RTM_NEWQDISC message.
func parseTC(msg []byte) (index int32, handle, parent uint32, c counts) {
	if len(msg) < tcHeader {
		return 0, 0, 0, c
	}
	for typ, value := range attributes(msg[tcHeader:]) {
		if typ == tcaStats2 {
			c = tcCounts(value)
		}
	}
	index = int32(binary.NativeEndian.Uint32(msg[4:]))
	return index, binary.NativeEndian.Uint32(msg[8:]), binary.NativeEndian.Uint32(msg[12:]), c
}

// tcCounts reads what is in TCA_STATS2: struct gnet_stats_basic, gnet_stats_queue
// and the 64-bit number of packets.
func tcCounts(b []byte) (c counts) {
	var packets []byte
	for typ, value := range attributes(b) {
		switch {
		case typ == statsBasic && len(value) >= 12:
			c.set(octetsAt, binary.NativeEndian.Uint64(value))
			c.set(packetsAt, uint64(binary.NativeEndian.Uint32(value[8:])))
		case typ == statsQueue && len(value) >= 12:
			c.set(droppedAt, uint64(binary.NativeEndian.Uint32(value[8:])))
		case typ == statsPackets && len(value) >= 8:
			packets = value
		}
	}
	if packets != nil {
		c.set(packetsAt, binary.NativeEndian.Uint64(packets))
	}
	return c
}

// parseCounter reads the body of an NFT_MSG_NEWOBJ message. It returns no name
// if the object is no counter. A kernel that gives no handles leaves it 1.
func parseCounter(msg []byte) (table, name []byte, handle uint64, c counts) {
	if len(msg) < nftHeader {
		return nil, nil, 0, c
	}
	counter := false
	handle = 1
	for typ, value := range attributes(msg[nftHeader:]) {
		switch typ {
		case nftObjTable:
			table = cString(value)
		case nftObjName:
			name = cString(value)
		case nftObjType:
			counter = len(value) >= 4 && binary.BigEndian.Uint32(value) == nftCounter
		case nftObjHandle:
			if len(value) >= 8 {
				handle = binary.BigEndian.Uint64(value)
			}
		case nftObjData:
			c = counterCounts(value)
		}
	}
	if !counter {
		return nil, nil, 0, counts{}
	}
	return table, name, handle, c
}

func counterCounts(b []byte) (c counts) {
	for typ, value := range attributes(b) {
		switch {
		case typ == nftCtrOctets && len(value) >= 8:
			c.set(octetsAt, binary.BigEndian.Uint64(value))
		case typ == nftCtrPackets && len(value) >= 8:
			c.set(packetsAt, binary.BigEndian.Uint64(value))
		}
	}
	return c
}

// delLink is RTM_DELLINK.
const delLink = 17

// takeDeparted takes notifications of links: all messages of one datagram. A
// bridge tells of the ports that leave it in the same way, in a family of its
// own; those links are still there.
func (w *watch) takeDeparted(b []byte) {
	for len(b) >= messageHeader {
		n := int(binary.NativeEndian.Uint32(b))
		if n < messageHeader || n > len(b) {
			return
		}
		if body := b[messageHeader:n]; binary.NativeEndian.Uint16(b[4:]) == delLink && len(body) > 0 && body[0] == 0 {
			if index, name, c := parseLink(body); index > 0 && c.known != 0 {
				w.take(name, departed{uint64(index), c})
			}
		}
		b = b[min((n+3)&^3, len(b)):]
	}
}

// takeLink takes one link of a dump.
func (v *view) takeLink(msg []byte) {
	index, name, c := parseLink(msg)
	if at, ok := v.links[string(name)]; ok && index > 0 {
		u := &v.units[at]
		u.id, u.now, u.renamed = uint64(index), c, ""
		v.byIndex[index] = at
		return
	}
	if at, ok := v.byIndex[index]; ok && v.units[at].id == 0 && v.units[at].lastID == uint64(index) {
		v.units[at].renamed = string(name)
	}
}

// link returns the unit of the link that has the ifindex now.
func (v *view) link(index int32) (int32, bool) {
	at, ok := v.byIndex[index]
	return at, ok && index > 0 && v.units[at].id == uint64(index)
}

// takeClass takes one class of a dump of the link's.
func (v *view) takeClass(msg []byte) {
	index, handle, _, c := parseTC(msg)
	if link, ok := v.link(index); ok {
		if at, ok := v.classes[link][ClassID(handle)]; ok {
			v.units[at].id, v.units[at].now = 1, c
		}
	}
}

// takeQdisc takes one queueing discipline of a dump: the root of a link, or the
// one inside a class. The latter counts every packet that the class drops,
// the class only those that it did not take.
func (v *view) takeQdisc(msg []byte) {
	index, _, parent, c := parseTC(msg)
	link, ok := v.link(index)
	if !ok {
		return
	}
	if parent == tcHandleRoot {
		if at, ok := v.at[unitKey{kind: rootUnit, name: v.units[link].key.name}]; ok {
			v.units[at].id, v.units[at].now = 1, c
		}
		return
	}
	if at, ok := v.classes[link][ClassID(parent)]; ok && v.units[at].id != 0 && c.has(droppedAt) {
		v.units[at].now.set(droppedAt, c.n[droppedAt])
	}
}

// takeCounter takes one named counter of a dump of the table's.
func (v *view) takeCounter(table string, msg []byte) {
	_, name, handle, c := parseCounter(msg)
	if at, ok := v.counters[table][string(name)]; ok {
		v.units[at].id, v.units[at].now = handle, c
	}
}

// complete tells whether every link was found.
func (v *view) complete() bool {
	for _, at := range v.links {
		if v.units[at].id == 0 {
			return false
		}
	}
	return true
}
