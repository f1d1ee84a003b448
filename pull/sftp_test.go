package pull

import (
	"bufio"
	"bytes"
	"io"
	"testing"
	"time"
)

// FuzzSFTP: whatever a device answers to a listing, it ends, within the limits,
// with plain names or with an error of one line.
func FuzzSFTP(f *testing.F) {
	wire := func(packets ...[]byte) []byte {
		var b []byte
		for _, p := range packets {
			b = append(append(b, u32(uint32(len(p)))...), p...)
		}
		return b
	}
	f.Add(wire(packet(102, 1, str("h")), names(2, attrs(5, regular, 7), actName(1), "x"), sftpStatus(3, 1, "end"), sftpStatus(4, 1, "end"), sftpStatus(5, 1, ""), sftpStatus(6, 0, "")))
	f.Add(wire(packet(102, 1, str("h")), names(3, attrs(1<<63, regular, 7), actName(1))))
	f.Add(wire(packet(102, 1, str("h")), packet(104, 2, u32(1), str("n"), str("l"), u32(1<<31), u32(1<<31))))
	f.Add(wire(sftpStatus(1, 3, "\x1b[2J")))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, stream []byte) {
		p := &sftpClient{in: bufio.NewReader(bytes.NewReader(stream)), out: io.Discard, waiting: make(map[uint32]func(answer) error)}
		s := &sftpList{t: &sftpTransport{p: p, dir: "act"}, window: 2, files: 3, bytes: 1000, seen: make(map[string]bool)}
		p.send(s.opened, fxpOpendir, "act")
		for len(p.waiting) > 0 {
			if err := p.step(); err != nil {
				oneLineError(t, sftpEnd(err))
				break
			}
			if s.ahead > maxListAhead || len(p.waiting) > maxListAhead+1 {
				t.Fatalf("%d READDIRs on their way", s.ahead)
			}
		}
		if s.err != nil {
			oneLineError(t, s.err)
		}
		if n := len(s.l.files) + len(s.unsure) + s.l.ignored; n > 3 {
			t.Fatalf("%d files, the limit is 3", n)
		}
		for _, e := range append(s.l.files, s.unsure...) {
			if _, ok := accept(e.name, e.size, e.mtime); !ok {
				t.Fatalf("listed: %+v", e)
			}
		}
	})
}

func TestFilesInFlight(t *testing.T) {
	for rtt, want := range map[time.Duration]int{0: 16, time.Millisecond: 16, 9 * time.Millisecond: 16, 10 * time.Millisecond: 32,
		25 * time.Millisecond: 80, 50 * time.Millisecond: 128, time.Hour: 128} {
		if got := filesInFlight(16, rtt); got != want {
			t.Errorf("%v: %d, want %d", rtt, got, want)
		}
	}
}
