package pull

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// countedSFTP serves files that are all alike, and counts. It answers READs in
// the most awkward way: when as many blocks are asked for as it waits for, and
// then the last one first.
type countedSFTP struct {
	files, size, maxOpen int
	wait                 int // blocks to wait for; 0 answers at once

	mu                sync.Mutex
	open, mostOpen    int
	owed, mostOwed    int64 // bytes asked for and not answered
	held              []heldRead
	left              int // blocks that will be asked for
	listings, refused int
}

type heldRead struct {
	id, n uint32
	off   uint64
}

func (s *countedSFTP) attrs() []byte { return attrs(uint64(s.size), regular, 5) }

func (s *countedSFTP) serve(ch ssh.Channel) {
	for {
		var length [4]byte
		if _, err := io.ReadFull(ch, length[:]); err != nil {
			return
		}
		p := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(ch, p); err != nil {
			return
		}
		for _, reply := range s.reply(p) {
			if _, err := ch.Write(append(u32(uint32(len(reply))), reply...)); err != nil {
				return
			}
		}
	}
}

// reply returns what to answer now.
func (s *countedSFTP) reply(p []byte) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := binary.BigEndian.Uint32(p[1:])
	one := func(b []byte) [][]byte { return [][]byte{b} }
	switch p[0] {
	case fxpInit:
		return one([]byte{fxpVersion, 0, 0, 0, 3})
	case fxpOpendir:
		s.listings = 0
		return one(packet(fxpHandle, id, str("dir")))
	case fxpReaddir:
		if s.listings++; s.listings > 1 {
			return one(sftpStatus(id, statusEOF, ""))
		}
		var all []string
		for i := range s.files {
			all = append(all, actName(i))
		}
		return one(names(id, s.attrs(), all...))
	case fxpOpen:
		if s.open == s.maxOpen {
			s.refused++
			return one(sftpStatus(id, statusFailure, "too many open files"))
		}
		s.open++
		s.mostOpen = max(s.mostOpen, s.open)
		return one(packet(fxpHandle, id, str("file")))
	case fxpClose:
		if string(p[9:]) == "file" {
			s.open--
		}
		return one(sftpStatus(id, statusOK, ""))
	case fxpLstat:
		return one(packet(fxpAttrs, id, s.attrs()))
	}
	rest := p[9+binary.BigEndian.Uint32(p[5:]):] // READ
	r := heldRead{id, binary.BigEndian.Uint32(rest[8:]), binary.BigEndian.Uint64(rest)}
	if r.off >= uint64(s.size) {
		return one(sftpStatus(id, statusEOF, ""))
	}
	s.held = append(s.held, r)
	s.owed += int64(r.n)
	s.mostOwed = max(s.mostOwed, s.owed)
	if len(s.held) < min(s.wait, s.left) {
		return nil
	}
	var out [][]byte
	for i := len(s.held) - 1; i >= 0; i-- {
		h := s.held[i]
		all := strings.Repeat("x", s.size-4) + "END\n"
		out = append(out, packet(fxpData, h.id, str(all[h.off:h.off+uint64(h.n)])))
		s.owed -= int64(h.n)
	}
	s.left -= len(s.held)
	s.held = nil
	return out
}

// What is asked for and not written is bounded, in whatever order the blocks come,
// and the bound is made use of.
func TestSFTPMemory(t *testing.T) {
	for _, blocks := range []int{1, 3, 8} {
		t.Run(fmt.Sprint(blocks), func(t *testing.T) {
			t.Parallel()
			const perFile = 4
			s := &countedSFTP{files: 30, size: perFile * sftpBlock, maxOpen: 1000, wait: blocks, left: 30 * perFile}
			r := newRig(t, scpQuirks{})
			r.server.sftp = s.serve
			r.o.Limits.Memory = int64(blocks * sftpBlock)
			r.server.accept()
			c, err := connect(context.Background(), r.target, os.Getenv, r.o.Limits.withDefaults())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			tr, err := openSFTP(context.Background(), c, "act")
			if err != nil {
				t.Fatal(err)
			}
			l, err := tr.list(context.Background())
			if err != nil || len(l.files) != s.files {
				t.Fatal(len(l.files), err)
			}
			to := newReceiver(context.Background(), t.TempDir(), r.o.Verify, func(int64) {})
			x := tr.newFetch(l.files, to)
			for len(tr.p.waiting) > 0 {
				if err := tr.p.step(); err != nil {
					t.Fatal(err)
				}
				unwritten := 0
				for _, f := range x.flying {
					for _, b := range f.blocks {
						unwritten += b.want
					}
				}
				if int64(unwritten) > r.o.Limits.Memory || int64(unwritten) != x.owed {
					t.Fatalf("%d bytes asked for and not written, %d counted, the limit is %d", unwritten, x.owed, r.o.Limits.Memory)
				}
			}
			x.stop()
			if err := to.wait(); err != nil || len(to.arrived) != s.files {
				t.Fatal(len(to.arrived), err)
			}
			for _, a := range to.arrived {
				if err := a.file.Abort(); err != nil {
					t.Error(err)
				}
			}
			if s.mostOwed != r.o.Limits.Memory {
				t.Errorf("at most %d bytes were on their way, the limit is %d", s.mostOwed, r.o.Limits.Memory)
			}
		})
	}
}

// A device that opens few files at once gets no more than that from then on, and
// no file is lost over it.
func TestSFTPFewHandles(t *testing.T) {
	for _, most := range []int{1, 5, 1000} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			s := &countedSFTP{files: 60, size: 100, maxOpen: most}
			r := newRig(t, scpQuirks{})
			r.server.sftp = s.serve
			res, err := r.pull(SFTP)
			if err != nil || res.Count(Stored)+res.Count(Alias) != s.files {
				t.Fatalf("%s %v", brief(res), err)
			}
			limit := 8 * DefaultLimits().Parallel
			if s.mostOpen > min(most, limit) || s.refused > limit || s.open != 0 {
				t.Errorf("%d files open at once, %d refused, %d still open", s.mostOpen, s.refused, s.open)
			}
		})
	}
}

// A device that opens no file at all is given each of them up, once.
func TestSFTPNoHandles(t *testing.T) {
	s := &countedSFTP{files: 40, size: 100}
	r := newRig(t, scpQuirks{})
	r.server.sftp = s.serve
	res, err := r.pull(SFTP)
	if err != nil || res.Count(Failed) != s.files || s.refused != s.files || !strings.Contains(res.Files[0].Reason, "too many open files") {
		t.Fatalf("%s, %d refused, %v", brief(res), s.refused, err)
	}
}
