package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"acctpull/record"
)

// Linux is the source of the counters of the Linux machine it runs on: the
// 64-bit statistics of its network links (rtnetlink, struct rtnl_link_stats64),
// one dump per collection.
//
// What a link counts is the frame without FCS on Ethernet-like links and the
// inner packet on tunnels; a link knows neither profiles nor meters nor the
// octets it dropped, and those fields are absent. Drops are those of the link
// itself; what a queueing discipline drops before is not in them.
//
// Its zero value reads the links of the process's own network namespace.
type Linux struct {
	// Namespace is a network namespace: a name below /run/netns, or an
	// absolute path; "" for the one of the process.
	Namespace string

	mu   sync.Mutex
	last map[objectKey]linkEpoch // of each object in its last collection
}

// linkStats begins like struct rtnl_link_stats64 of linux/if_link.h.
type linkStats [8]uint64

// Positions in linkStats.
const (
	rxPackets = 0
	txPackets = 1
	rxBytes   = 2
	txBytes   = 3
	rxDropped = 6
	txDropped = 7
)

// linkPositions says which statistic of a link a counter is: by direction and
// unit. What is not here a link cannot know.
var linkPositions = map[bool]map[meaning]int{
	false: {
		{offered, true}: rxBytes, {offered, false}: rxPackets,
		{forwarded, true}: rxBytes, {forwarded, false}: rxPackets,
		{dropped, false}: rxDropped,
	},
	true: {
		{forwarded, true}: txBytes, {forwarded, false}: txPackets,
		{dropped, false}: txDropped,
	},
}

// linkPosition returns the position of a counter in linkStats, and false if a
// link does not have it.
func linkPosition(m meaning, egress bool) (int, bool) {
	at, ok := linkPositions[egress][m]
	return at, ok
}

// linkState is a link in one dump.
type linkState struct {
	index int32 // ifindex; 0 if the link is not there
	stats linkStats
	known bool // the kernel sent statistics
}

// links are the links of a collection, by name.
type links struct {
	at    map[string]int
	state []linkState
}

func newLinks(objects []*Object) *links {
	l := &links{at: make(map[string]int, len(objects))}
	for _, o := range objects {
		if _, ok := l.at[o.Link]; !ok {
			l.at[o.Link] = len(l.at)
		}
	}
	l.state = make([]linkState, len(l.at))
	return l
}

// complete tells whether every link was found.
func (l *links) complete() bool {
	for i := range l.state {
		if l.state[i].index == 0 {
			return false
		}
	}
	return true
}

// errNoLink is why an object is missing.
var errNoLink = errors.New("there is no such link")

// Sample implements Source. An object whose link is not there is missing. An
// object has restarted if its link has another ifindex than before, or the host
// another boot id.
func (l *Linux) Sample(ctx context.Context, req Request, out Sink) error {
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("read links: %w", err)
	}
	found := newLinks(req.Objects)
	if err := dumpLinks(ctx, l.Namespace, found); err != nil {
		return fmt.Errorf("read links: %w", err)
	}
	for _, r := range l.restarts(req.Objects, found, boot) {
		out.Restarted(r.o, r.why)
	}
	var rec record.Record
	rows := linuxRows(req.Record)
	for _, o := range req.Objects {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		state := &found.state[found.at[o.Link]]
		switch {
		case state.index == 0:
			out.Missing(o, fmt.Errorf("link %s: %w", o.Link, errNoLink))
			continue
		case !state.known:
			out.Missing(o, fmt.Errorf("link %s: the kernel gives no statistics of it", o.Link))
			continue
		}
		if err := sampleLink(&rec, rows, o, &state.stats, out); err != nil {
			return err
		}
	}
	return nil
}

// sampleLink makes the records of one object.
func sampleLink(rec *record.Record, rows []row, o *Object, stats *linkStats, out Sink) error {
	for i := range rows {
		r := &rows[i]
		if !r.numbered() && r.members(o) == 0 {
			continue
		}
		r.fillKeys(rec, o, 0)
		for j := range r.fields {
			if at := r.fields[j].link; at > 0 {
				rec.Values[j] = record.Num(stats[at-1])
			}
		}
		if err := out.Record(rec); err != nil {
			return err
		}
	}
	return nil
}

// linkEpoch is what must stay the same for the counters of a link to go on: a
// link that is created anew has another ifindex, a machine that was started
// anew (or a process that was moved to another one) another boot id.
type linkEpoch struct {
	index int32
	boot  string
}

type restart struct {
	o   *Object
	why string
}

// restarts returns the objects whose counters began again since the last
// collection of the same objects.
func (l *Linux) restarts(objects []*Object, found *links, boot string) []restart {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[objectKey]linkEpoch{}
	}
	var out []restart
	for _, o := range objects {
		now := linkEpoch{found.state[found.at[o.Link]].index, boot}
		if now.index == 0 {
			continue // if it comes back with another ifindex it has restarted
		}
		was, ok := l.last[keyOf(o)]
		l.last[keyOf(o)] = now
		switch {
		case !ok || was == now:
		case was.boot != now.boot:
			out = append(out, restart{o, fmt.Sprintf("boot id %s, was %s", now.boot, was.boot)})
		default:
			out = append(out, restart{o, fmt.Sprintf("link %s has ifindex %d, was %d", o.Link, now.index, was.index)})
		}
	}
	return out
}

// bootIDFile changes with every boot of the host.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// bootID returns the boot id of the host, "" where the kernel does not tell.
func bootID() (string, error) {
	b, err := os.ReadFile(bootIDFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}
