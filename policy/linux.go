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
// 64-bit statistics of network links (rtnetlink, struct rtnl_link_stats64),
// named counters of nftables, and classes of queueing disciplines. One
// collection asks the kernel once for all links, once for each table, once for
// the classes of each link that has some, and once for all queueing
// disciplines, each only if an object needs it.
//
// What the kernel does not count is absent: the octets that were dropped, and
// profiles and meters unless a named counter counts them.
//
// When a link, a class or a counter goes away, the records that were made of it
// alone leave a final record each. Of a link it holds what the kernel told of
// the link when it went (RTM_DELLINK), of everything else, and where that
// message was lost, what the collection before had read. What comes back is new:
// its counters begin at zero, and that is reported.
//
// Its zero value reads the process's own network namespace. It is safe for use
// by several goroutines, as long as one record is sampled by one at a time.
// Close ends what the first Sample opened.
type Linux struct {
	// Namespace is a network namespace: a name below /run/netns, or an
	// absolute path; "" for the one of the process.
	Namespace string

	mu    sync.Mutex
	views map[record.Name]*view
	watch watch
}

// Why an object is missing.
var (
	errNoLink   = errors.New("there is no such link")
	errNotThere = errors.New("it is not there")
	errNothing  = errors.New("nothing in its configuration counts what the record holds")
)

// Sample implements Source. An object of which something is not there is
// missing; what can be read of it is handed out all the same.
func (l *Linux) Sample(ctx context.Context, req Request, out Sink) error {
	boot, err := bootID()
	if err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	v, err := l.view(req)
	if err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if err := l.look(ctx, v, boot); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	if err := v.finals(ctx, out); err != nil {
		return err
	}
	l.watch.commit(v)
	return v.records(ctx, out)
}

// look reads what the kernel says and compares it with the last collection.
func (l *Linux) look(ctx context.Context, v *view, boot string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.begin()
	if err := l.read(ctx, v); err != nil {
		return err
	}
	l.watch.settle(v, boot)
	return nil
}

// Epoch tells from what the counters of an object count, as far as the kernel
// says so: two that differ mean that something was made anew, or the machine was
// started anew. It is of the object's last collection by the record, and ""
// before that.
func (l *Linux) Epoch(name record.Name, o *Object) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.views[name]; v != nil {
		return v.epoch(keyOf(o))
	}
	return ""
}

// view returns the view of a record, made anew if its objects are others.
func (l *Linux) view(req Request) (*view, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.views[req.Record.Name]
	if v == nil || !v.of(req.Objects) {
		old := v
		v = newView(req)
		v.inherit(old)
		if l.views == nil {
			l.views = map[record.Name]*view{}
		}
		l.views[req.Record.Name] = v
		l.watch.replace(old, v)
	}
	return v, nil
}

// Close ends the subscription to link notifications. A Sample after it begins
// another one.
func (l *Linux) Close() error { return l.watch.close() }

// Overruns returns how often notifications of links came faster than they were
// read, so that some are lost; what went away meanwhile is found all the same,
// by comparison, at the next collection.
func (l *Linux) Overruns() uint64 {
	l.watch.mu.Lock()
	defer l.watch.mu.Unlock()
	return l.watch.overruns
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
