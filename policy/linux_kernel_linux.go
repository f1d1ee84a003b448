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
	// dumpTries is how often a dump is begun when what it tells changes
	// meanwhile.
	dumpTries = 5
)

// read asks the kernel for everything that the view needs.
func (l *Linux) read(ctx context.Context, v *view) (err error) {
	k, err := openKernel(l.Namespace)
	if err != nil {
		// The subscription must not keep a namespace alive that has no name.
		return errors.Join(err, l.watch.close())
	}
	defer func() { err = errors.Join(err, k.close()) }()
	if err := l.watch.follow(k.id, k.subscribe); err != nil {
		return err
	}
	if err := k.dumpLinks(ctx, v); err != nil {
		return err
	}
	for link := range v.classes {
		if u := &v.units[link]; u.id != 0 {
			if err := k.dumpClasses(ctx, v, u); err != nil {
				return err
			}
		}
	}
	if v.roots || len(v.classes) > 0 {
		if err := k.dumpWhole(ctx, unix.NETLINK_ROUTE, unix.RTM_GETQDISC, unix.RTM_NEWQDISC, make([]byte, tcHeader), v.takeQdisc); err != nil {
			return fmt.Errorf("dump queueing disciplines: %w", err)
		}
	}
	for table := range v.counters {
		if err := k.dumpCounters(ctx, v, table); err != nil {
			return err
		}
	}
	return l.watch.drain()
}

// kernel is a conversation with the kernel about one network namespace.
type kernel struct {
	ns      netns.NsHandle // none for the process's own
	name    string
	id      nsIdentity
	sockets map[int]*nl.SocketHandle // by netlink family, opened when needed
}

func openKernel(namespace string) (*kernel, error) {
	k := &kernel{ns: netns.None(), sockets: map[int]*nl.SocketHandle{}}
	if namespace == "" {
		return k, nil
	}
	path := namespace
	if !filepath.IsAbs(path) {
		path = filepath.Join(netnsDir, namespace)
	}
	k.name = " in network namespace " + path
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	k.ns = ns
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat network namespace %s: %w", path, err), k.close())
	}
	k.id = nsIdentity{uint64(st.Dev), st.Ino}
	return k, nil
}

func (k *kernel) close() error {
	for _, s := range k.sockets {
		s.Socket.Close()
	}
	if !k.ns.IsOpen() {
		return nil
	}
	if err := k.ns.Close(); err != nil {
		return fmt.Errorf("close network namespace: %w", err)
	}
	return nil
}

// socket opens the socket of a netlink family.
func (k *kernel) socket(family int) error {
	if k.sockets[family] != nil {
		return nil
	}
	sock, err := nl.GetNetlinkSocketAt(k.ns, netns.None(), family)
	if err != nil {
		return fmt.Errorf("netlink socket%s: %w", k.name, err)
	}
	k.sockets[family] = &nl.SocketHandle{Socket: sock}
	patience := unix.NsecToTimeval(dumpPatience.Nanoseconds())
	if err := errors.Join(sock.SetSendTimeout(&patience), sock.SetReceiveTimeout(&patience)); err != nil {
		return fmt.Errorf("netlink socket%s: %w", k.name, err)
	}
	return nil
}

// dump makes one dump request and hands every answer to take.
func (k *kernel) dump(ctx context.Context, family, request, answer int, body []byte, take func([]byte)) error {
	if err := k.socket(family); err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(request, unix.NLM_F_DUMP)
	req.AddRawData(body)
	req.Sockets = k.sockets
	err := req.ExecuteIter(family, uint16(answer), func(msg []byte) bool {
		take(msg)
		return ctx.Err() == nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// dumpWhole is a dump that is repeated if what it tells changed meanwhile.
func (k *kernel) dumpWhole(ctx context.Context, family, request, answer int, body []byte, take func([]byte)) error {
	for try := 1; ; try++ {
		err := k.dump(ctx, family, request, answer, body, take)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return err
		}
		if try == dumpTries {
			return fmt.Errorf("%w %d times", err, try)
		}
	}
}

// dumpLinks asks once for all links. A dump during which links came or went is
// repeated while one of them is not found: it may have been passed over.
func (k *kernel) dumpLinks(ctx context.Context, v *view) error {
	if len(v.links) == 0 {
		return nil
	}
	for try := 1; ; try++ {
		err := k.dump(ctx, unix.NETLINK_ROUTE, unix.RTM_GETLINK, unix.RTM_NEWLINK, make([]byte, linkHeader), v.takeLink)
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted)
		switch {
		case err != nil && !interrupted:
			return fmt.Errorf("dump links: %w", err)
		case !interrupted || v.complete():
			return nil
		case try == dumpTries:
			return fmt.Errorf("dump links: %w %d times", err, try)
		}
	}
}

// dumpClasses asks for the classes of a link. A link that went away meanwhile
// has none.
func (k *kernel) dumpClasses(ctx context.Context, v *view, link *unit) error {
	body := make([]byte, tcHeader)
	binary.NativeEndian.PutUint32(body[4:], uint32(link.id))
	err := k.dumpWhole(ctx, unix.NETLINK_ROUTE, unix.RTM_GETTCLASS, unix.RTM_NEWTCLASS, body, v.takeClass)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("dump classes of %s: %w", link.key, err)
	}
	return nil
}

// dumpCounters asks for the named counters of a table.
func (k *kernel) dumpCounters(ctx context.Context, v *view, table string) error {
	family, name, _ := nftTable(table)
	body := []byte{family, unix.NFNETLINK_V0, 0, 0}
	body = append(body, nl.NewRtAttr(nftObjTable, nl.ZeroTerminated(name)).Serialize()...)
	body = append(body, nl.NewRtAttr(nftObjType, binary.BigEndian.AppendUint32(nil, nftCounter)).Serialize()...)
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	err := k.dumpWhole(ctx, unix.NETLINK_NETFILTER, subsystem|unix.NFT_MSG_GETOBJ, subsystem|unix.NFT_MSG_NEWOBJ, body,
		func(msg []byte) { v.takeCounter(table, msg) })
	if err != nil {
		return fmt.Errorf("dump nft counters of %s: %w", table, err)
	}
	return nil
}
