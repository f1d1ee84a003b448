package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// netnsDir is where ip-netns(8) keeps named namespaces.
	netnsDir = "/run/netns"
	// dumpPatience is how long the kernel may take for one answer.
	dumpPatience = 10 * time.Second
	// dumpTries is how often a dump is begun when links come and go meanwhile.
	dumpTries = 5
)

// dumpLinks asks the kernel once for all links, and fills in those that are
// looked for. A dump during which links came or went is repeated while one of
// them is not found: it may have been passed over.
func dumpLinks(ctx context.Context, namespace string, want *links) error {
	sock, err := openRoute(namespace)
	if err != nil {
		return err
	}
	defer sock.Close()
	patience := unix.NsecToTimeval(dumpPatience.Nanoseconds())
	if err := errors.Join(sock.SetSendTimeout(&patience), sock.SetReceiveTimeout(&patience)); err != nil {
		return fmt.Errorf("netlink socket: %w", err)
	}
	handles := map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: sock}}
	for try := 1; ; try++ {
		req := nl.NewNetlinkRequest(unix.RTM_GETLINK, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		req.Sockets = handles
		err := req.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, func(msg []byte) bool {
			want.take(msg)
			return ctx.Err() == nil
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted)
		if err != nil && !interrupted {
			return fmt.Errorf("dump links: %w", err)
		}
		if !interrupted || want.complete() {
			return nil
		}
		if try == dumpTries {
			return fmt.Errorf("dump links: %w %d times", err, try)
		}
	}
}

// openRoute opens a netlink socket in the namespace.
func openRoute(namespace string) (*nl.NetlinkSocket, error) {
	if namespace == "" {
		sock, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
		return sock, nil
	}
	path := namespace
	if !filepath.IsAbs(path) {
		path = filepath.Join(netnsDir, namespace)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	sock, err := nl.GetNetlinkSocketAt(ns, netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		err = fmt.Errorf("netlink socket in network namespace %s: %w", path, err)
	}
	if cerr := ns.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("close network namespace %s: %w", path, cerr))
		if sock != nil {
			sock.Close()
		}
	}
	return sock, err
}

// take reads one RTM_NEWLINK message. It only walks over the attributes: a
// hundred thousand links must not become a hundred thousand trees.
func (l *links) take(msg []byte) {
	if len(msg) < unix.SizeofIfInfomsg {
		return
	}
	index := int32(binary.NativeEndian.Uint32(msg[4:8])) // struct ifinfomsg.ifi_index
	var name, stats []byte
	for attrs := msg[unix.SizeofIfInfomsg:]; len(attrs) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(attrs[0:2]))
		if n < unix.SizeofRtAttr || n > len(attrs) {
			break
		}
		value := attrs[unix.SizeofRtAttr:n]
		switch binary.NativeEndian.Uint16(attrs[2:4]) {
		case unix.IFLA_IFNAME:
			name = value
		case unix.IFLA_STATS64:
			stats = value
		}
		attrs = attrs[min((n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1), len(attrs)):]
	}
	if len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	at, ok := l.at[string(name)]
	if !ok {
		return
	}
	s := &l.state[at]
	*s = linkState{index: index}
	if len(stats) < 8*len(s.stats) {
		return
	}
	for i := range s.stats {
		s.stats[i] = binary.NativeEndian.Uint64(stats[8*i:])
	}
	s.known = true
}
