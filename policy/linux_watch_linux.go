package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	// watchBuffer holds some thousand notifications that come at once.
	watchBuffer = 8 << 20
	// watchMessage is more than the kernel puts into one message.
	watchMessage = 64 << 10
)

// linkSocket is a subscription to the departures of links of one network
// namespace. A goroutine reads it until Close.
type linkSocket struct {
	ns   nsIdentity
	w    *watch
	file *os.File
	raw  syscall.RawConn
	done chan struct{} // closed when the goroutine has ended

	mu  sync.Mutex // held by who reads
	buf []byte
	err error // why nothing can be read any more
}

// subscribe opens a linkSocket.
func (k *kernel) subscribe(w *watch) (notifier, error) {
	sock, err := nl.SubscribeAt(k.ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return nil, fmt.Errorf("subscribe to links%s: %w", k.name, err)
	}
	// The library's socket cannot be read without waiting; a second
	// descriptor of it can.
	fd, err := unix.FcntlInt(uintptr(sock.GetFd()), unix.F_DUPFD_CLOEXEC, 0)
	sock.Close()
	if err != nil {
		return nil, fmt.Errorf("subscribe to links%s: %w", k.name, err)
	}
	s := &linkSocket{ns: k.id, w: w, file: os.NewFile(uintptr(fd), "netlink"), done: make(chan struct{}), buf: make([]byte, watchMessage)}
	if err := s.prepare(fd); err != nil {
		return nil, fmt.Errorf("subscribe to links%s: %w", k.name, errors.Join(err, s.file.Close()))
	}
	go s.run()
	return s, nil
}

// prepare makes room for many notifications and lets only those in that are
// wanted.
func (s *linkSocket) prepare(fd int) (err error) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchBuffer) != nil {
		// Without CAP_NET_ADMIN the system's limit holds (net.core.rmem_max).
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchBuffer); err != nil {
			return fmt.Errorf("set receive buffer: %w", err)
		}
	}
	// The program loads nlmsg_type, in network order, and compares it.
	wanted := uint32(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, delLink)))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: wanted},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	s.raw, err = s.file.SyscallConn()
	return err
}

// run reads what comes until the socket is closed.
func (s *linkSocket) run() {
	defer close(s.done)
	// It ends with an error: the one of readAll, which the next drain
	// returns, or that the socket is closed.
	_ = s.raw.Read(func(fd uintptr) bool { return s.readAll(int(fd)) != nil })
}

// drain implements notifier.
func (s *linkSocket) drain() error {
	var err error
	if cerr := s.raw.Control(func(fd uintptr) { err = s.readAll(int(fd)) }); cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("read link notifications: %w", err)
	}
	return nil
}

// readAll reads until nothing is left.
func (s *linkSocket) readAll(fd int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil {
		n, from, err := unix.Recvfrom(fd, s.buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return nil
		case err == unix.ENOBUFS:
			s.w.overrun() // and what comes after it can be read again
		case err != nil:
			s.err = err
		default:
			if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 {
				s.w.takeDeparted(s.buf[:n])
			}
		}
	}
	return s.err
}

// follows implements notifier.
func (s *linkSocket) follows(ns nsIdentity) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && s.ns == ns
}

// Close implements notifier. It waits for the goroutine.
func (s *linkSocket) Close() error {
	err := s.file.Close()
	<-s.done
	if err != nil {
		return fmt.Errorf("close link notifications: %w", err)
	}
	return nil
}
