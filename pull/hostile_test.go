package pull

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostile runs a pull against an exec or SFTP behaviour and checks what every
// attack must end in: nothing but the archive's own directories changed, one
// line of error, nothing recorded as stored.
func hostile(t *testing.T, prepare func(*rig)) (Result, error) {
	t.Helper()
	r := newRig(t, scpQuirks{})
	prepare(r)
	before := tree(t, r.base)
	res, err := r.pull(r.target.Transport)
	oneLineError(t, err)
	var e *Error
	if !errors.As(err, &e) || e.Device != "router1" {
		t.Errorf("the error does not name the device: %v", err)
	}
	for _, f := range res.Files {
		if f.Outcome != Failed || strings.ContainsFunc(f.Reason, notInName) {
			t.Errorf("file %+v", f)
		}
	}
	after := tree(t, r.base)
	for _, own := range []string{"data/devices", "data/devices/router1", "data/devices/router1/act", "data/devices/router1/act-collect"} {
		after = slices.DeleteFunc(after, func(line string) bool { return strings.HasPrefix(line, own+" d") })
	}
	if !slices.Equal(before, after) {
		t.Errorf("files changed:\nbefore %q\nafter  %q", before, after)
	}
	return res, err
}

// sendsLines is a device that lists one file honestly and answers the fetch with
// the given lines, reading whatever we answer.
func sendsLines(lines string) func(*rig) {
	return func(r *rig) {
		r.target.Transport = SCP
		r.server.exec = func(command string, ch ssh.Channel) int {
			go func() { _, _ = io.Copy(io.Discard, ch) }()
			if strings.Contains(command, "*") {
				fmt.Fprintf(ch, "T5 0 5 0\nC0644 4 %s\n", actName(1))
				if !strings.Contains(command, " -p ") {
					return 1
				}
				// Either the listing is refused, or read to nowhere: without
				// reading the answer both are possible, so end here.
				return 1
			}
			_, _ = io.WriteString(ch, lines)
			return 0
		}
	}
}

// The eight behaviours of OpenSSH's regress/scp-ssh-wrapper.sh, and the other
// things a device can try with a file header. The listing before them is honest.
func TestHostileSCPHeaders(t *testing.T) {
	name := actName(1)
	file := "C0644 4 " + name + "\nEND\n\x00"
	for what, c := range map[string]struct{ lines, want string }{
		"0 absolute directory":   {"D0755 0 /tmp/dir\nC0755 2 file\nxx\x00", "sends a directory"},
		"1 directory with ..":    {"D0755 0 ../../dir\nC0755 2 file\nxx\x00", "sends a directory"},
		"2 directory with .., r": {"D0755 0 ../dir\n" + file, "sends a directory"},
		"3 .. one by one":        {"D0755 0 ..\nD0755 0 ..\nD0755 0 dir\n" + file, "sends a directory"},
		"4 .. one by one, again": {"D0755 0 ..\nD0755 0 dir\nD0755 0 ..\n" + file, "sends a directory"},
		"5 empty directory name": {"D0555 0 \n" + file, "sends a directory"},
		"6 directory .":          {"D0555 0 .\n" + file, "sends a directory"},
		"7 extra file":           {"C0755 2 extrafile\nxx\x00", "which nobody asked for"},
		"extra accounting file":  {"C0755 2 " + actName(2) + "\nxx\x00", "which nobody asked for"},
		"extra file after ours":  {file + "C0755 2 extrafile\nxx\x00", "more files than the 1"},
		"our file twice":         {file + file, "more files than the 1"},
		"wrong size, short":      {"C0644 4 " + name + "\nEN", "was cut"},
		"wrong size, long":       {"C0644 4 " + name + "\nEND\nEND\n\x00", "longer than the 4 bytes"},
		"absolute file":          {"C0644 4 /tmp/x\nEND\n\x00", "with a directory"},
		"../ file":               {"C0644 4 ../" + name + "\nEND\n\x00", "with a directory"},
		"file ..":                {"C0644 4 ..\nEND\n\x00", `names a file ".."`},
		"file .":                 {"C0644 4 .\nEND\n\x00", `names a file "."`},
		"empty file name":        {"C0644 4 \nEND\n\x00", "empty name"},
		"backslash":              {"C0644 4 ..\\x\nEND\n\x00", "with a directory"},
		"NUL":                    {"C0644 4 a\x00b\nEND\n\x00", "cannot be printed"},
		"ESC":                    {"C0644 4 a\x1b[2Jb\nEND\n\x00", "cannot be printed"},
		"long name":              {"C0644 4 " + strings.Repeat("n", 300) + "\nEND\n\x00", "300 bytes"},
		"setuid mode":            {"C4777 2 extrafile\nxx\x00", "which nobody asked for"},
		"size -1":                {"C0644 -1 " + name + "\n", "decimal size"},
		"size +4":                {"C0644 +4 " + name + "\n", "decimal size"},
		"size 2^63":              {"C0644 9223372036854775808 " + name + "\n", "decimal size"},
		"size 0x10":              {"C0644 0x10 " + name + "\n", "decimal size"},
		"size huge":              {"C0644 9223372036854775807 " + name + "\n", "the limit is"},
		"no size":                {"C0644 " + name + "\n", "without a name"},
		"no mode":                {"C\n", "without a mode"},
		"mode of letters":        {"Cxxxx 4 " + name + "\n", "without a mode"},
		"no end of line":         {strings.Repeat("C", 5000), "longer than 1024 bytes"},
		"E without D":            {"E\n", "leaves a directory"},
		"flood of E":             {strings.Repeat("E\n", 100000), "leaves a directory"},
		"T twice":                {"T1 0 1 0\nT1 0 1 0\n", "unexpected time"},
		"T with words":           {"Tx 0 1 0\n", "four numbers"},
		"T negative":             {"T-1 0 1 0\n", "four numbers"},
		"T short":                {"T1 0\n", "four numbers"},
		"T and end":              {"T1 0 1 0\n", "was cut"},
		"greeting":               {"Welcome to \x1b]0;router\a\n", `no file header: "Welcome to \x1b]0;router\a"`},
		"empty line":             {"\n", "an empty line"},
		"fatal":                  {"\x02out of \x1b[31mmemory\n", `ended the transfer: "out of \x1b[31mmemory"`},
		"flood of errors":        {strings.Repeat("\x01no\x1b[1mthing\n", 1000), "does not stop to report errors"},
		"cut in a line":          {"C0644 4 ac", "was cut: in a line"},
		"cut after content":      {"C0644 4 " + name + "\nEND\n", "was cut: after the content"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := hostile(t, func(r *rig) {
				sendsLines(c.lines)(r)
				honest := r.server.exec
				r.server.exec = func(command string, ch ssh.Channel) int {
					if strings.Contains(command, "*") {
						return honestListing(ch)
					}
					return honest(command, ch)
				}
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// honestListing speaks the protocol for two files, so that the listing needs no
// second session, and takes refusals.
func honestListing(ch ssh.Channel) int {
	r := bufio.NewReader(ch)
	answer := func() bool {
		b, err := r.ReadByte()
		if err == nil && b != 0 {
			_, err = r.ReadString('\n')
		}
		return err == nil && b == 0
	}
	answer()
	for i, name := range []string{actName(1), "other"} {
		fmt.Fprintf(ch, "T%d 0 5 0\n", 5+i)
		answer()
		fmt.Fprintf(ch, "C0644 4 %s\n", name)
		if answer() {
			_, _ = io.WriteString(ch, "END\n\x00")
			answer()
		}
	}
	return 1
}

// The same attacks in the listing.
func TestHostileSCPListing(t *testing.T) {
	endless := func(line func(i int) string) func(ssh.Channel) int {
		return func(ch ssh.Channel) int {
			go func() { _, _ = io.Copy(io.Discard, ch) }()
			w := bufio.NewWriterSize(ch, 32<<10)
			for i := 0; ; i++ {
				if _, err := w.WriteString(line(i)); err != nil {
					return 1
				}
			}
		}
	}
	for what, c := range map[string]struct {
		serve func(ssh.Channel) int
		want  string
	}{
		"endless files":    {endless(func(i int) string { return fmt.Sprintf("C0644 4 f%d\n", i) }), "more files than the 1000"},
		"endless times":    {endless(func(i int) string { return "T1 0 1 0\n" }), "unexpected time"},
		"endless errors":   {endless(func(i int) string { return "\x01no\n" }), "does not stop to report errors"},
		"endless zeros":    {endless(func(i int) string { return "\x00" }), "longer than 1024 bytes"},
		"endless line":     {endless(func(i int) string { return "C" }), "longer than 1024 bytes"},
		"directory":        {endless(func(i int) string { return "D0755 0 ..\n" }), "sends a directory"},
		"path as name":     {endless(func(i int) string { return "C0644 4 ../../" + actName(1) + "\n" }), "with a directory"},
		"time then none":   {endless(func(i int) string { return []string{"T1 0 1 0\nC0644 4 a\n", "C0644 4 b\n"}[min(i, 1)] }), "without a time"},
		"none then a time": {endless(func(i int) string { return []string{"C0644 4 a\n", "T1 0 1 0\nC0644 4 b\n"}[min(i, 1)] }), "unexpected time"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := hostile(t, func(r *rig) {
				r.target.Transport = SCP
				r.o.Limits.ListFiles = 1000
				r.server.exec = func(_ string, ch ssh.Channel) int { return c.serve(ch) }
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// rawSFTP answers packets by hand.
type rawSFTP struct {
	ch   ssh.Channel
	dirs int // READDIRs answered
	// name answers a READDIR, nil ends the listing.
	readdir func(s *rawSFTP, id uint32) []byte
	data    func(id uint32, offset uint64, n uint32) []byte
	stat    []byte // attributes
}

func packet(typ byte, id uint32, rest ...[]byte) []byte {
	b := []byte{typ}
	b = binary.BigEndian.AppendUint32(b, id)
	for _, r := range rest {
		b = append(b, r...)
	}
	return b
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
func str(s string) []byte { return append(u32(uint32(len(s))), s...) }

// attrs are size, permissions, times.
func attrs(size uint64, mode, mtime uint32) []byte {
	return bytes.Join([][]byte{u32(1 | 4 | 8), u64(size), u32(mode), u32(mtime), u32(mtime)}, nil)
}

func sftpStatus(id, code uint32, text string) []byte {
	return packet(101, id, u32(code), str(text), str(""))
}

// names is a NAME packet.
func names(id uint32, attr []byte, names ...string) []byte {
	b := packet(104, id, u32(uint32(len(names))))
	for _, n := range names {
		b = append(b, str(n)...)
		b = append(b, str("-rw-r--r-- "+n)...)
		b = append(b, attr...)
	}
	return b
}

func (s *rawSFTP) serve(ch ssh.Channel) {
	send := func(p []byte) bool {
		_, err := ch.Write(append(u32(uint32(len(p))), p...))
		return err == nil
	}
	for {
		var length [4]byte
		if _, err := io.ReadFull(ch, length[:]); err != nil {
			return
		}
		p := make([]byte, binary.BigEndian.Uint32(length[:]))
		if _, err := io.ReadFull(ch, p); err != nil {
			return
		}
		if p[0] == 1 { // INIT
			send([]byte{2, 0, 0, 0, 3})
			continue
		}
		id := binary.BigEndian.Uint32(p[1:])
		var reply []byte
		switch p[0] {
		case 11, 3: // OPENDIR, OPEN
			reply = packet(102, id, str("h"))
		case 12: // READDIR
			if reply = s.readdir(s, id); reply == nil {
				reply = sftpStatus(id, 1, "end")
			}
			s.dirs++
		case 5: // READ
			handle := binary.BigEndian.Uint32(p[5:])
			rest := p[9+handle:]
			reply = s.data(id, binary.BigEndian.Uint64(rest), binary.BigEndian.Uint32(rest[8:]))
		case 7, 17: // LSTAT, STAT
			reply = packet(105, id, s.stat)
		case 4: // CLOSE
			reply = sftpStatus(id, 0, "ok")
		default:
			reply = sftpStatus(id, 8, "no")
		}
		if reply != nil && !send(reply) {
			return
		}
	}
}

// once answers the first READDIR.
func once(reply func(id uint32) []byte) func(*rawSFTP, uint32) []byte {
	return func(s *rawSFTP, id uint32) []byte {
		if s.dirs > 0 {
			return nil
		}
		return reply(id)
	}
}

const regular = 0o100644

func TestHostileSFTP(t *testing.T) {
	name := actName(1)
	good := once(func(id uint32) []byte { return names(id, attrs(4, regular, 5), name) })
	eof := func(id uint32) []byte { return sftpStatus(id, 1, "eof") }
	for what, c := range map[string]struct {
		s    rawSFTP
		want string
	}{
		"endless listing": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte {
			return names(id, attrs(4, regular, 5), fmt.Sprint("a", s.dirs), fmt.Sprint("b", s.dirs))
		}}, "the listing does not end"},
		"endless empty listing": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return names(id, nil) }}, "the listing does not end"},
		"endless long names": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte {
			return names(id, attrs(4, regular, 5), strings.Repeat("x", 100_000))
		}}, "the listing does not end"},
		"count that lies":    {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return packet(104, id, u32(1<<31)) }}, "the listing does not end"},
		"name packet short":  {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return packet(104, id) }}, "SFTP packet of type 104"},
		"status with escape": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return sftpStatus(id, 4, "\x1b[2Jgone\r\n") }}, `\x1b[2Jgone`},
		"permission":         {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return sftpStatus(id, 3, "") }}, "permission denied"},
		"other id":           {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return sftpStatus(id+77, 1, "") }}, "session ended"},
		"empty blocks": {rawSFTP{readdir: good, stat: attrs(4, regular, 5), data: func(id uint32, off uint64, n uint32) []byte {
			return packet(103, id, u32(0))
		}}, "empty block"},
		"length 0":    {rawSFTP{readdir: good, data: func(id uint32, off uint64, n uint32) []byte { return []byte{} }}, "SFTP packet of 0 bytes"},
		"silence":     {rawSFTP{readdir: good, data: func(id uint32, off uint64, n uint32) []byte { return nil }}, "no byte for"},
		"wrong reply": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return packet(102, id, str("h")) }}, "unimplemented packet type"},
	} {
		t.Run(what, func(t *testing.T) {
			if c.s.data == nil {
				c.s.data = func(id uint32, off uint64, n uint32) []byte { return eof(id) }
			}
			_, err := hostile(t, func(r *rig) {
				r.target.Transport = SFTP
				r.o.Limits.ListFiles, r.o.Limits.ListBytes = 1000, 1<<20
				if what == "silence" {
					r.o.Limits.Idle = time.Second
				}
				r.server.sftp = c.s.serve
			})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// What is odd and no attack ends as a file that failed, or is ignored.
func TestOddSFTP(t *testing.T) {
	name := actName(1)
	content := func(size int) func(id uint32, off uint64, n uint32) []byte {
		return func(id uint32, off uint64, n uint32) []byte {
			if off >= uint64(size) {
				return sftpStatus(id, 1, "eof")
			}
			n = min(n, uint32(uint64(size)-off))
			all := strings.Repeat("x", size-4) + "END\n"
			return packet(103, id, str(all[off:off+uint64(n)]))
		}
	}
	one := func(size uint64, mode uint32) func(*rawSFTP, uint32) []byte {
		return once(func(id uint32) []byte { return names(id, attrs(size, mode, 5), name) })
	}
	for what, c := range map[string]struct {
		s       rawSFTP
		want    []string
		reason  string
		ignored int
	}{
		"honest":             {s: rawSFTP{readdir: one(100, regular), data: content(100), stat: attrs(100, regular, 5)}, want: []string{"stored"}},
		"many blocks":        {s: rawSFTP{readdir: one(1<<20, regular), data: content(1 << 20), stat: attrs(1<<20, regular, 5)}, want: []string{"stored"}},
		"whole blocks":       {s: rawSFTP{readdir: one(2*sftpBlock, regular), data: content(2 * sftpBlock), stat: attrs(2*sftpBlock, regular, 5)}, want: []string{"stored"}},
		"shorter":            {s: rawSFTP{readdir: one(100, regular), data: content(99), stat: attrs(100, regular, 5)}, want: []string{"failed"}, reason: "99 of 100 bytes"},
		"shorter, blocks":    {s: rawSFTP{readdir: one(100_000, regular), data: content(70_000), stat: attrs(100_000, regular, 5)}, want: []string{"failed"}, reason: "70000 of 100000"},
		"longer":             {s: rawSFTP{readdir: one(100, regular), data: content(101), stat: attrs(100, regular, 5)}, want: []string{"failed"}, reason: "more than 100"},
		"longer, blocks":     {s: rawSFTP{readdir: one(sftpBlock, regular), data: content(sftpBlock + 1), stat: attrs(sftpBlock, regular, 5)}, want: []string{"failed"}, reason: "more than 32768"},
		"empty":              {s: rawSFTP{readdir: one(0, regular), data: content(4), stat: attrs(0, regular, 5)}, want: []string{"failed"}, reason: "more than 0"},
		"link":               {s: rawSFTP{readdir: one(100, 0o120777)}, ignored: 1},
		"directory":          {s: rawSFTP{readdir: one(100, 0o040755)}, ignored: 1},
		"fifo":               {s: rawSFTP{readdir: one(100, 0o010644)}, ignored: 1},
		"no type, then file": {s: rawSFTP{readdir: one(100, 0o644), data: content(100), stat: attrs(100, regular, 5)}, want: []string{"stored"}},
		"no type, then link": {s: rawSFTP{readdir: one(100, 0o644), stat: attrs(100, 0o120777, 5)}, ignored: 1},
		"size of 2^63":       {s: rawSFTP{readdir: one(1<<63, regular)}, ignored: 1},
		"too large":          {s: rawSFTP{readdir: one(1<<40, regular)}, want: []string{"failed"}, reason: "the limit is"},
		"names to be ignored": {s: rawSFTP{readdir: once(func(id uint32) []byte {
			return names(id, attrs(4, regular, 5), ".", "..", "a\x00b", "x\ny", "\x1b[2J", "", "act", strings.Repeat("n", 5000))
		})}, ignored: 6},
		"name twice":   {s: rawSFTP{readdir: once(func(id uint32) []byte { return names(id, attrs(100, regular, 5), name, name) }), data: content(100), stat: attrs(100, regular, 5)}, want: []string{"stored"}, ignored: 1},
		"no such file": {s: rawSFTP{readdir: one(100, regular), data: func(id uint32, _ uint64, _ uint32) []byte { return sftpStatus(id, 4, "\x1bbad disk") }, stat: attrs(100, regular, 5)}, want: []string{"failed"}, reason: `\x1bbad disk`},
		"short reads": {s: rawSFTP{readdir: one(100_000, regular), stat: attrs(100_000, regular, 5), data: func(id uint32, off uint64, n uint32) []byte {
			return content(100_000)(id, off, min(n, 1000))
		}}, want: []string{"stored"}},
		"more than asked": {s: rawSFTP{readdir: one(100, regular), stat: attrs(100, regular, 5), data: func(id uint32, off uint64, n uint32) []byte {
			return packet(103, id, str(strings.Repeat("x", 100_000)))
		}}, want: []string{"failed"}, reason: "more than 100"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.server.sftp = c.s.serve
			res, err := r.pull(SFTP)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, o := range c.want {
				want = append(want, name+" "+o)
			}
			if got := outcomes(res); !slices.Equal(got, want) || res.Ignored != c.ignored {
				t.Fatalf("got %q, %d ignored; %s", got, res.Ignored, brief(res))
			}
			if c.reason != "" && !strings.Contains(res.Files[0].Reason, c.reason) {
				t.Errorf("reason %q", res.Files[0].Reason)
			}
			if left := tree(t, filepath.Join(r.data, "devices/router1/act-collect")); len(left) != 1 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// Servers that do not get anywhere are ended by a limit.
func TestTarpits(t *testing.T) {
	drip := func(text string, every time.Duration) func(net.Conn) {
		return func(c net.Conn) {
			for {
				for i := range len(text) {
					if _, err := c.Write([]byte{text[i]}); err != nil {
						return
					}
					time.Sleep(every)
				}
			}
		}
	}
	swallow := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for what, c := range map[string]struct {
		prepare func(*rig)
		want    error
		text    string
	}{
		"silent":         {func(r *rig) { r.server.raw = swallow }, ErrTimeout, "no complete SSH handshake in 1s"},
		"closes":         {func(r *rig) { r.server.raw = func(net.Conn) {} }, ErrCut, ""},
		"drip banner":    {func(r *rig) { r.server.raw = drip("SSH-2.0-x", 20*time.Millisecond) }, ErrTimeout, "handshake"},
		"endless banner": {func(r *rig) { r.server.raw = drip("a line that is no version\r\n", 0) }, ErrCut, "version"},
		"garbage after version": {func(r *rig) {
			r.server.raw = func(c net.Conn) {
				go swallow(c)
				_, _ = io.WriteString(c, "SSH-2.0-x\r\n")
				drip("\xff\xff\xff\xff", 0)(c)
			}
		}, ErrCut, ""},
		"version with ESC": {func(r *rig) {
			r.server.raw = func(c net.Conn) {
				_, _ = io.WriteString(c, "\x1b[31mgo away\r\n\r\n")
			}
		}, ErrCut, ""},
		"slow handshake": {func(r *rig) {
			r.server.wrap = func(_ int, c net.Conn) net.Conn { return &slowConn{Conn: c, delay: 20 * time.Millisecond, step: 1} }
		}, ErrTimeout, "handshake"},
		"no session": {func(r *rig) {
			r.target.Transport = SFTP
			r.server.sftp = func(ch ssh.Channel) { _, _ = io.Copy(io.Discard, ch) }
		}, ErrTimeout, "no SFTP version in 1s"},
		"scp says nothing": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int { _, _ = io.Copy(io.Discard, ch); return 0 }
		}, ErrTimeout, "no byte for 1s"},
		"scp drips": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				for i := 0; ; i++ {
					if _, err := fmt.Fprintf(ch, "C0644 4 f%d\n", i); err != nil {
						return 0
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		}, ErrTimeout, "at least 1024 a second"},
		"endless stderr": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				b := make([]byte, 32<<10)
				for {
					if _, err := ch.Stderr().Write(b); err != nil {
						return 0
					}
				}
			}
		}, ErrTimeout, "no byte for 1s"},
		"scp never ends": {func(r *rig) {
			r.target.Transport = SCP
			r.server.exec = func(_ string, ch ssh.Channel) int {
				_ = ch.CloseWrite()
				for {
					if _, err := ch.SendRequest("still-here@test", false, nil); err != nil {
						return 0
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		}, ErrTimeout, "no end of the command in 1s"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := hostile(t, func(r *rig) {
				r.o.Limits = quickLimits()
				c.prepare(r)
			})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// slowConn delivers step bytes per write and waits after each.
type slowConn struct {
	net.Conn
	delay time.Duration
	step  int
}

func (c *slowConn) Write(p []byte) (int, error) {
	for i := 0; i < len(p); i += c.step {
		if _, err := c.Conn.Write(p[i:min(i+c.step, len(p))]); err != nil {
			return i, err
		}
		time.Sleep(c.delay)
	}
	return len(p), nil
}

// cutConn closes after n bytes.
type cutConn struct {
	net.Conn
	left *int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	if *c.left -= int64(len(p)); *c.left < 0 {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// T1: the connection is cut at every 1/16 of the transfer, in the middle of a run
// over several files. What is stored is whole, and a run without cuts gets the
// rest.
func TestCut(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			// Large files, so that most bytes are content.
			want := make(map[string]string)
			fill := func(r *rig) {
				for i := range 3 {
					content := strings.Repeat(fmt.Sprintf("%07d\n", i), 16<<10)
					r.put(actName(i), content, 100)
					want[actName(i)] = content + "END\n"
				}
			}
			total := int64(3*128<<10) + 40<<10
			cuts, whole := 0, 0
			for i := range 16 {
				r := newRig(t, scpQuirks{})
				left := total * int64(i+1) / 16
				r.server.wrap = func(n int, c net.Conn) net.Conn {
					if n > 0 {
						return c
					}
					return &cutConn{Conn: c, left: &left}
				}
				fill(r)
				res, err := r.pull(tr)
				if err != nil {
					cuts++
					oneLineError(t, err)
					if !errors.Is(err, ErrCut) {
						t.Fatalf("cut %d: %v", i, err)
					}
				}
				for name, content := range r.stored() {
					if content != want[name] {
						t.Fatalf("cut %d: %s is stored with %d bytes", i, name, len(content))
					}
				}
				if res.Count(Stored) != len(r.stored()) {
					t.Fatalf("cut %d: %s", i, brief(res))
				}
				if err != nil && res.Count(Stored) > 0 {
					whole++
				}
				if left := tree(t, filepath.Join(r.data, "devices/router1/act-collect")); err == nil && len(left) != 1 || len(left) > 1 {
					t.Fatalf("cut %d: left %q", i, left)
				}
				if res, err = r.pull(tr); err != nil || len(r.stored()) != 3 {
					t.Fatalf("cut %d, then: %s %v", i, brief(res), err)
				}
			}
			if cuts < 8 || whole == 0 {
				t.Errorf("%d cuts, %d of them after a whole file: the test does not test what it should", cuts, whole)
			}
		})
	}
}

// A cut is tried again by the run itself.
func TestRetry(t *testing.T) {
	r := newRig(t, scpQuirks{})
	left := int64(60 << 10)
	r.server.wrap = func(n int, c net.Conn) net.Conn {
		if n > 0 {
			return c
		}
		return &cutConn{Conn: c, left: &left}
	}
	r.put(actName(1), strings.Repeat("x", 200<<10), 1)
	r.o.Limits.Retries, r.o.Limits.BackoffMin, r.o.Limits.BackoffMax = 2, time.Millisecond, 2*time.Millisecond
	var retries []Retry
	r.o.Hooks.OnRetry = func(x Retry) { retries = append(retries, x) }
	res, err := r.pull(SFTP)
	if err != nil || res.Attempts != 2 || !slices.Equal(outcomes(res), []string{actName(1) + " stored"}) {
		t.Fatalf("%s %v", brief(res), err)
	}
	if len(retries) != 1 || retries[0].Attempt != 1 || retries[0].Of != 2 || !errors.Is(retries[0].Err, ErrCut) {
		t.Fatalf("%+v", retries)
	}
}

func TestBackoff(t *testing.T) {
	l := DefaultLimits()
	var got []time.Duration
	for i := range 8 {
		got = append(got, backoff(i+1, l, 0))
	}
	s := time.Second
	if want := []time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 60 * s, 60 * s, 60 * s}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if d := backoff(1, l, 1); d != 1500*time.Millisecond {
		t.Errorf("with jitter %v", d)
	}
}

// An interrupted run keeps what is whole, records it, and gives the rest back.
func TestInterrupt(t *testing.T) {
	for _, tr := range []Transport{SFTP, SCP} {
		r := newRig(t, scpQuirks{})
		r.o.Limits.BatchFiles = 1
		for i := range 5 {
			r.put(actName(i), fmt.Sprintln(i), 1)
		}
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		r.o.Hooks.OnFile = func(f File) {
			if n++; n == 2 {
				cancel()
			}
		}
		r.target.Transport = tr
		r.server.accept()
		res, err := Device(ctx, r.o, r.target)
		cancel()
		if !errors.Is(err, context.Canceled) || res.Count(Stored) != 2 || len(r.stored()) != 2 {
			t.Fatalf("%s: %s %v", tr, brief(res), err)
		}
		if res, err = r.pull(tr); err != nil || res.Count(Stored) != 3 {
			t.Fatalf("%s: %s %v", tr, brief(res), err)
		}
	}
}

func TestWatch(t *testing.T) {
	w := newWatch(Limits{Idle: 30 * time.Second, RateWindow: time.Minute, MinRate: 1024})
	now := time.Unix(1000, 0)
	step := func(d time.Duration, bytes int) error {
		now = now.Add(d)
		w.got(bytes, now)
		return w.check(now)
	}
	// Nobody waits: an hour of silence is ours.
	if err := step(time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	w.enter(now)
	for range 100 { // slow and steady enough
		if err := step(10*time.Second, 30<<10); err != nil {
			t.Fatal(err)
		}
	}
	if err := step(29*time.Second, 0); err != nil {
		t.Fatal(err)
	}
	if err := step(time.Second, 0); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "no byte for 30s") {
		t.Fatal(err)
	}
	w.leave(now)
	// A pause of ours does not count as idle.
	now = now.Add(time.Hour)
	w.enter(now)
	if err := step(29*time.Second, 1); err != nil {
		t.Fatal(err)
	}
	// A drip of a byte a second is ended after a minute of waiting.
	var err error
	n := 0
	for ; err == nil && n < 200; n++ {
		err = step(time.Second, 1)
	}
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "at least 1024 a second") || n > 61 {
		t.Fatalf("after %d s: %v", n, err)
	}
	// Two goroutines wait; one leaving does not stop the watch.
	w.enter(now)
	w.leave(now)
	if err := step(30*time.Second, 0); err == nil {
		t.Fatal("the watch sleeps while somebody waits")
	}
	w.leave(now)
	if err := step(time.Hour, 0); err != nil {
		t.Fatal(err)
	}
}

// Free text of a device never reaches a terminal as it is.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":             "plain",
		"a\x1b[31mb\r\n":    `a\x1b[31mb\r\n`,
		"C1 \u009b31m":      `C1 \u009b31m`,
		"bidi \u202e\u2066": `bidi \u202e\u2066`,
		`say "x" \ y`:       `say "x" \\ y`,
		"bad \xff":          `bad \xff`,
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: %s", in, got)
		}
	}
	long := strings.Repeat("ü", 1000)
	if got := quote(long); len(got) > 300 || !strings.HasSuffix(got, "…") {
		t.Errorf("%d bytes", len(got))
	}
	if err := os.ErrNotExist; fromPeer(nil) != nil || !errors.Is(fromPeer(err), os.ErrNotExist) {
		t.Error("wrapping")
	}
}
