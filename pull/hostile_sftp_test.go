package pull

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// rawSFTP answers packets by hand.
type rawSFTP struct {
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
		"wrong reply": {rawSFTP{readdir: func(s *rawSFTP, id uint32) []byte { return packet(102, id, str("h")) }}, "packet type 102 does not answer the request"},
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

// T9: a long listing out of order, with doubles and names that are not ours.
func TestLongListing(t *testing.T) {
	r := newRig(t, scpQuirks{})
	const packets, each = 1000, 50
	s := rawSFTP{stat: attrs(4, regular, 5), readdir: func(s *rawSFTP, id uint32) []byte {
		if s.dirs == packets {
			return nil
		}
		var list []string
		for i := range each {
			list = append(list, fmt.Sprintf("junk-%d", (s.dirs*each+i)*7919%100_000))
		}
		list[7] = actName(s.dirs * 7 % 100) // 100 names, ten times each
		return names(id, attrs(4, regular, 5), list...)
	}, data: func(id uint32, off uint64, n uint32) []byte {
		if off >= 4 {
			return sftpStatus(id, 1, "eof")
		}
		return packet(103, id, str("END\n"))
	}}
	r.server.sftp = s.serve
	res, err := r.pull(SFTP)
	if err != nil || res.Listed != 100 || res.Ignored != packets*each-100 || res.Count(Stored)+res.Count(Alias) != 100 {
		t.Fatalf("%s %v", brief(res), err)
	}
}
