package pull

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// framed is an SFTP server that answers the version and leaves everything else,
// the length of the packet included, to a function. No answer ends the session.
func framed(answer func(kind byte, id uint32) []byte) func(ssh.Channel) {
	return func(ch ssh.Channel) {
		for {
			var length [4]byte
			if _, err := io.ReadFull(ch, length[:]); err != nil {
				return
			}
			p := make([]byte, binary.BigEndian.Uint32(length[:]))
			if _, err := io.ReadFull(ch, p); err != nil {
				return
			}
			reply := []byte{0, 0, 0, 5, 2, 0, 0, 0, 3}
			if p[0] != 1 {
				reply = answer(p[0], binary.BigEndian.Uint32(p[1:]))
			}
			if _, err := ch.Write(reply); err != nil || reply == nil {
				return
			}
		}
	}
}

// withLength puts the right length before a packet.
func withLength(p []byte) []byte { return append(u32(uint32(len(p))), p...) }

// H5: what a packet and a handle may be. Each ends the session at once and
// leaves nothing.
func TestHostileSFTPPackets(t *testing.T) {
	for what, c := range map[string]struct {
		opendir func(id uint32) []byte
		want    string
	}{
		"length 0":              {func(uint32) []byte { return u32(0) }, "SFTP packet of 0 bytes"},
		"length 2^32-1":         {func(uint32) []byte { return append(u32(1<<32-1), 102) }, "SFTP packet of 4294967295 bytes"},
		"length 256 KiB and 1":  {func(uint32) []byte { return append(u32(256<<10+1), 102) }, "SFTP packet of 262145 bytes"},
		"handle of 10 KiB":      {func(id uint32) []byte { return withLength(packet(102, id, str(strings.Repeat("h", 10<<10)))) }, "type 102 with 10249 bytes"},
		"handle longer than it": {func(id uint32) []byte { return withLength(packet(102, id, u32(1<<31), []byte("h"))) }, ""},
		"no handle":             {func(id uint32) []byte { return withLength(packet(102, id)) }, ""},
		"answer to nobody":      {func(id uint32) []byte { return withLength(packet(102, id+1000, str("h"))) }, ""},
		"version again":         {func(uint32) []byte { return []byte{0, 0, 0, 5, 2, 0, 0, 0, 3} }, ""},
		"end of the session":    {func(uint32) []byte { return nil }, ""},
		"status with ESC":       {func(id uint32) []byte { return withLength(sftpStatus(id, 4, "\x1b]0;owned\a\u202e\r\n")) }, `\x1b]0;owned\a`},
		"status of 200 kB":      {func(id uint32) []byte { return withLength(sftpStatus(id, 4, strings.Repeat("A", 200_000))) }, "AAAA"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			_, err := hostile(t, func(r *rig) {
				r.target.Transport = SFTP
				r.o.Limits = quickLimits()
				r.server.sftp = framed(func(kind byte, id uint32) []byte {
					if kind == 11 {
						return c.opendir(id)
					}
					return withLength(sftpStatus(id, 8, "no"))
				})
			})
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrTimeout) {
				t.Errorf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

// H5: names that lead elsewhere are names that are not ours: ignored, counted,
// never used.
func TestHostileSFTPNames(t *testing.T) {
	name := actName(1)
	bad := []string{"../" + name, "/" + name, "/etc/passwd", "../../../etc/passwd", "act/" + name, "./" + name, name + "/", name + "\x00", name + "\n", "\x1b[2J" + name,
		name + "\u202e", `..\` + name, name + ".part", "." + name, strings.ToUpper(name), ""}
	r := newRig(t, scpQuirks{})
	s := rawSFTP{stat: attrs(4, regular, 5), readdir: once(func(id uint32) []byte { return names(id, attrs(4, regular, 5), append(bad, name)...) }),
		data: func(id uint32, off uint64, n uint32) []byte {
			if off >= 4 {
				return sftpStatus(id, 1, "eof")
			}
			return packet(103, id, str("END\n"))
		}}
	r.server.sftp = s.serve
	before := tree(t, r.base)
	res, err := r.pull(SFTP)
	if err != nil || !slices.Equal(outcomes(res), []string{name + " stored"}) || res.Ignored != len(bad) {
		t.Fatalf("%s %v", brief(res), err)
	}
	for _, line := range tree(t, r.base) {
		if !slices.Contains(before, line) && !strings.HasPrefix(line, "data/devices") {
			t.Errorf("new outside of the archive: %s", line)
		}
	}
}
