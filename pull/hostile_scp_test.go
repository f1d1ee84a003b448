package pull

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

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
