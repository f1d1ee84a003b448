package policy

import "fmt"

// counts are the numbers of one unit at one moment.
type counts struct {
	n     [countsLen]uint64
	known uint8 // bit i: n[i] is known
}

func (c *counts) set(at int, n uint64) {
	c.n[at] = n
	c.known |= 1 << at
}

func (c *counts) has(at uint8) bool { return c.known&(1<<at) != 0 }

// below returns the position of the first number that both know and that is
// smaller in c, and -1 if there is none.
func (c *counts) below(old *counts) int {
	for i := range c.n {
		if c.known&old.known&(1<<i) != 0 && c.n[i] < old.n[i] {
			return i
		}
	}
	return -1
}

// unit is one thing in the kernel that counts, through the collections of one
// record.
type unit struct {
	key unitKey

	// What the kernel says now:
	id      uint64 // 0 if it is not there; else what changes when it is made anew
	now     counts
	renamed string // what the link is called now, if it has another name

	// What the last collection left:
	lastID uint64 // 0 if it was not there, or has left its final record
	last   counts
	met    uint64 // the id it had when it was last there, 0 for never
	gone   bool   // it has left its final record, and was not there since
	lost   uint64 // overruns of the watch then

	// What this collection found; commit keeps it:
	ended []counts   // those that went away since, oldest first
	why   string     // how it was seen that its counters began again
	took  int        // departures that were looked at
	keep  []departed // and those of them that belong to the next collection
}

// departed is a link that went away, as RTM_DELLINK tells.
type departed struct {
	id     uint64
	counts counts
}

// settle compares what the kernel says now with the last collection and with
// what went away since. It returns the departures that belong to the next
// collection. lost is how often the watch was overrun.
func (u *unit) settle(gone []departed, rebooted string, lost uint64) (keep []departed) {
	u.ended, u.why = u.ended[:0], ""
	if rebooted != "" {
		if u.lastID != 0 {
			u.ended, u.why = append(u.ended, u.last), rebooted
		}
		return nil
	}
	seen := u.lastID
	for i, d := range gone {
		switch {
		case d.id == u.id:
			// It is there: either it went after the kernel was asked, or
			// it was moved to another namespace and back, and counts on.
			if i == len(gone)-1 && d.counts.below(&u.now) < 0 {
				keep = append(keep, d)
			}
		case u.gone && d.id == u.met:
			// Its final record is written.
		default:
			if seen != 0 && seen != d.id {
				u.ended = append(u.ended, u.last)
			}
			u.ended = append(u.ended, d.counts)
			seen = 0
		}
	}
	u.why = u.began()
	if seen != 0 && seen != u.id && u.renamed == "" {
		u.ended = append(u.ended, u.last)
		if u.why != "" && lost != u.lost {
			u.why += " (notifications were lost: the counters of its end are those of the collection before)"
		}
	}
	return keep
}

// began tells how it is seen that the counters of a unit that is there began
// again, or "".
func (u *unit) began() string {
	if u.id == 0 || u.met == 0 {
		return ""
	}
	if u.key.kind != linkUnit && u.key.kind != counterUnit {
		u.widen()
	}
	switch at := u.now.below(&u.last); {
	case u.id != u.met && u.key.kind == linkUnit:
		return fmt.Sprintf("%s has ifindex %d, was %d", u.key, u.id, u.met)
	case u.id != u.met:
		return fmt.Sprintf("%s has handle %d, was %d", u.key, u.id, u.met)
	case u.gone:
		return fmt.Sprintf("%s was away and is there again", u.key)
	case at >= 0:
		return fmt.Sprintf("%s counts %d, was %d", u.key, u.now.n[at], u.last.n[at])
	}
	return ""
}

// widen makes a 64-bit number of the packets that a queueing discipline dropped,
// of which the kernel tells 32 bits (struct gnet_stats_queue): what falls by more
// than half of the range, while nothing else falls, has passed the end of it.
func (u *unit) widen() {
	const span = 1 << 32
	n, last := &u.now.n[droppedAt], u.last.n[droppedAt]
	wide := *n + last&^(span-1)
	if wide < last && last-wide > span/2 {
		wide += span
	}
	narrow := *n
	*n = wide
	if u.now.below(&u.last) >= 0 {
		*n = narrow
	}
}

// commit makes this collection the last one.
func (u *unit) commit(lost uint64) {
	switch {
	case u.id != 0:
		u.lastID, u.met, u.last, u.gone = u.id, u.id, u.now, false
	case u.renamed == "" && u.lastID != 0:
		u.lastID, u.gone = 0, true
	}
	u.lost, u.ended, u.keep, u.took = lost, u.ended[:0], nil, 0
}

// missing says why nothing can be read of the unit, nil if something can.
func (u *unit) missing() error {
	switch {
	case u.id == 0 && u.renamed != "":
		return fmt.Errorf("%s: its name is %q now", u.key, bounded(u.renamed))
	case u.id == 0 && u.key.kind == linkUnit:
		return fmt.Errorf("%s: %w", u.key, errNoLink)
	case u.id == 0:
		return fmt.Errorf("%s: %w", u.key, errNotThere)
	case u.now.known == 0:
		return fmt.Errorf("%s: the kernel gives no statistics of it", u.key)
	}
	return nil
}
