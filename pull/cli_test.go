package pull

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acctpull/internal/actserver"

	"golang.org/x/crypto/ssh"
)

// cliServer serves the directory of a rig as a device does that has a command line
// and SCP.
func cliServer(t testing.TB, r *rig, cli *actserver.CLI, change func(*actserver.Options)) {
	t.Helper()
	ownServer(t, r, func(o *actserver.Options) {
		o.NoSFTP, o.CLI = true, cli
		if change != nil {
			change(o)
		}
	})
	r.target.Path = "cf1:/act"
}

// A device that is listed by its command line, in both flavours, by exec and in a
// shell, page by page and not.
func TestCLIListing(t *testing.T) {
	clock := time.Now().Add(90 * time.Second).UTC()
	for what, c := range map[string]struct {
		cli      actserver.CLI
		path     string
		listing  ListBy
		quirks   []string
		noExec   bool
		transfer Transport
	}{
		"classic":             {listing: ListCLI},
		"classic, shell":      {listing: ListCLI, noExec: true},
		"model-driven":        {cli: actserver.CLI{MD: true}, listing: ListCLI},
		"model-driven, shell": {cli: actserver.CLI{MD: true}, listing: ListCLI, noExec: true},
		"7210":                {quirks: []string{"nokia-7210"}},
		"backslash":           {listing: ListCLI, path: `cf1:\act`},
		"sftp beside it":      {listing: ListCLI, transfer: SFTP},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			cli := c.cli
			cli.System = "router1"
			cli.Now = func() time.Time { return clock }
			cliServer(t, r, &cli, func(o *actserver.Options) {
				o.NoSFTP = c.transfer != SFTP
			})
			if c.path != "" {
				r.target.Path = c.path
			}
			if c.noExec {
				throughNoExec(t, r)
			}
			r.target.Listing = c.listing
			var err error
			if r.target.Quirks, err = ParseQuirks(c.quirks); err != nil {
				t.Fatal(err)
			}
			for i := range 60 { // more than a page
				r.put(actName(i), strings.Repeat(fmt.Sprintln(i), i*30), int64(i+1))
			}
			r.put("other", "", 1)
			before := time.Now()
			res, err := r.pull(or(c.transfer, Auto))
			if err != nil || res.Count(Stored) != 60 || res.Listed != 60 || res.Transport != or(c.transfer, SCP) {
				t.Fatalf("%s %v", brief(res), err)
			}
			if res.Files[3].MTime != 0 || res.Files[3].Name != actName(3) {
				t.Errorf("%+v", res.Files[3])
			}
			if truth := clock.Sub(before); res.Skew == (Skew{}) || res.Skew.Min > truth+time.Second || res.Skew.Max < truth-30*time.Second || res.Skew.Min > res.Skew.Max {
				t.Errorf("skew %+v, and it is about %v", res.Skew, truth)
			}
			for name, content := range r.stored() {
				if b, err := os.ReadFile(filepath.Join(r.act, name)); err != nil || string(b) != content {
					t.Fatalf("%s: %d bytes, %v", name, len(content), err)
				}
			}
			r.put(actName(100), "new\n", 5)
			if err := os.Remove(filepath.Join(r.act, actName(0))); err != nil {
				t.Fatal(err)
			}
			if res, err = r.pull(or(c.transfer, Auto)); err != nil || !slices.Equal(outcomes(res), []string{actName(100) + " stored"}) || res.Known != 59 {
				t.Fatalf("%s %v", brief(res), err)
			}
			r.target.Path = "cf1:/nothing"
			if _, err = r.pull(or(c.transfer, Auto)); !errors.Is(err, errNoDirectory) {
				t.Fatal(err)
			}
		})
	}
}

// throughNoExec puts a device without exec (other than scp) in front of the one of
// the rig: a gate that passes the shell on, serves scp itself and refuses commands.
func throughNoExec(t testing.TB, r *rig) {
	t.Helper()
	inner := r.target
	config := &ssh.ClientConfig{User: inner.User, Auth: []ssh.AuthMethod{ssh.Password(testPassword)}, HostKeyCallback: ssh.FixedHostKey(r.server.keys[0].PublicKey())}
	scp := serveSCP(filepath.Dir(r.act), scpQuirks{})
	s := newServer(t)
	s.relay = func(ch ssh.Channel, reqs <-chan *ssh.Request) {
		for req := range reqs {
			var arg struct{ Text string }
			_ = ssh.Unmarshal(req.Payload, &arg)
			switch {
			case req.Type == "exec" && strings.HasPrefix(arg.Text, "scp"):
				_ = req.Reply(true, nil)
				_ = scp(strings.NewReplacer("cf1:/", "", `cf1:\`, "", `\`, "/").Replace(arg.Text), ch)
				_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
				return
			case req.Type == "pty-req":
				_ = req.Reply(true, nil)
			case req.Type == "shell":
				_ = req.Reply(true, nil)
				relayShell(t, ch, reqs, inner.dialAddress(), config)
				return
			default:
				_ = req.Reply(false, nil)
			}
		}
	}
	s.start()
	writeKnown(t, r.target.KnownHosts[0], s.address, s.keys[0].PublicKey())
	r.target.Port = s.port()
}

// relayShell passes a shell on to a device.
func relayShell(t testing.TB, ch ssh.Channel, reqs <-chan *ssh.Request, address string, config *ssh.ClientConfig) {
	client, err := ssh.Dial("tcp", address, config)
	if err != nil {
		t.Errorf("gate: %v", err)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		ssh.DiscardRequests(reqs) // until the client closes the session
		_ = client.Close()
	})
	s, err := client.NewSession()
	if err == nil {
		s.Stdin, s.Stdout = ch, ch
		if err = s.RequestPty("vt100", 24, 512, nil); err == nil {
			err = s.Shell()
		}
	}
	if err != nil {
		t.Errorf("gate: %v", err)
	} else {
		_ = s.Wait()
	}
	_ = client.Close()
	_ = ch.Close()
	wg.Wait()
}

// watchedSFTP tells of READs that come (1) and of their answers (-1).
func watchedSFTP(serve func(ssh.Channel), count func(int)) func(ssh.Channel) {
	return func(ch ssh.Channel) {
		var mu sync.Mutex
		reads := map[uint32]bool{}
		serve(&packetWatch{Channel: ch, in: func(kind byte, id uint32) {
			mu.Lock()
			defer mu.Unlock()
			if kind == 5 {
				reads[id] = true
				count(1)
			}
		}, out: func(_ byte, id uint32) {
			mu.Lock()
			defer mu.Unlock()
			if reads[id] {
				delete(reads, id)
				count(-1)
			}
		}})
	}
}

// packetWatch finds the types and ids of SFTP packets.
type packetWatch struct {
	ssh.Channel
	in, out           func(byte, uint32)
	inState, outState packetState
}

type packetState struct {
	head []byte
	skip int
}

func (s *packetState) feed(p []byte, f func(byte, uint32)) {
	for len(p) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(p))
			s.skip -= n
			p = p[n:]
			continue
		}
		s.head = append(s.head, p[0])
		p = p[1:]
		if len(s.head) == 9 {
			s.skip = int(binary.BigEndian.Uint32(s.head)) - 5
			f(s.head[4], binary.BigEndian.Uint32(s.head[5:]))
			s.head = s.head[:0]
		}
	}
}

func (w *packetWatch) Read(p []byte) (int, error) {
	n, err := w.Channel.Read(p)
	w.inState.feed(p[:n], w.in)
	return n, err
}

func (w *packetWatch) Write(p []byte) (int, error) {
	w.outState.feed(p, w.out)
	return w.Channel.Write(p)
}

// script plays a device on a shell: it prints a text and then answers lines.
func script(hello string, answer func(line string) string) func(ssh.Channel, <-chan *ssh.Request) {
	return func(ch ssh.Channel, reqs <-chan *ssh.Request) {
		for req := range reqs {
			_ = req.Reply(req.Type == "pty-req" || req.Type == "shell", nil)
			if req.Type != "shell" {
				continue
			}
			_, _ = ch.Write([]byte(hello))
			var line []byte
			b := make([]byte, 1)
			for {
				if n, err := ch.Read(b); n == 0 && err != nil {
					return
				}
				if b[0] == '\r' {
					text := answer(string(line))
					if text == "hang up" {
						_ = ch.Close()
						return
					}
					if _, err := ch.Write([]byte("\r\n" + text)); err != nil {
						return
					}
					line = line[:0]
					continue
				}
				line = append(line, b[0])
				_, _ = ch.Write(b)
			}
		}
	}
}

const sample = "\r\nVolume in drive cf1 on slot A is .\r\n\r\nDirectory of cf1:\\act\r\n\r\n" +
	"12/23/2006  01:46a         <DIR> .\r\n12/23/2006  01:46a             5 act1111-20260102-000001.xml.gz\r\n" +
	"                1 File(s)                    5 bytes.\r\n               1 Dir(s)                    0 bytes free.\r\n"

// A conversation never takes a part for the whole, whatever the device prints.
func TestCLIConversation(t *testing.T) {
	for what, c := range map[string]struct {
		hello  string
		answer func(n int, line string) string
		want   string // error, "" is one file
	}{
		"plain":             {hello: "Welcome\r\nA:r1# ", answer: func(_ int, l string) string { return dirOr(l, sample) + "A:r1# " }},
		"other prompt":      {hello: "<HUAWEI> \r\nr1> ", answer: func(_ int, l string) string { return dirOr(l, sample) + "r1> " }},
		"asterisk comes":    {hello: "A:r1# ", answer: func(n int, l string) string { return dirOr(l, sample) + strings.Repeat("*", min(n/2, 1)) + "A:r1# " }},
		"banner like #":     {hello: "##########\r\nmaintenance #\r\nA:r1# ", answer: func(_ int, l string) string { return dirOr(l, sample) + "A:r1# " }},
		"prompt in between": {hello: "A:r1# ", answer: func(_ int, l string) string { return dirOr(l, "A:r1# \r\nA:r1# x\r\n"+sample) + "A:r1# " }},
		"no sum":            {hello: "A:r1# ", answer: func(_ int, l string) string { return dirOr(l, sample[:len(sample)-140]) + "\r\nA:r1# " }, want: "without its sum"},
		"wrong sum": {hello: "A:r1# ", answer: func(_ int, l string) string {
			return dirOr(l, strings.Replace(sample, "1 File", "2 File", 1)) + "A:r1# "
		}, want: "says it has 2"},
		"no listing":     {hello: "A:r1# ", answer: func(int, string) string { return "Error: \x1b[31mBad command.\r\nA:r1# " }, want: `Error: \x1b[31mBad command.`},
		"not found":      {hello: "A:r1# ", answer: func(int, string) string { return "File Not Found\r\nA:r1# " }, want: "no such directory"},
		"hangs up":       {hello: "A:r1# ", answer: func(n int, _ string) string { return map[bool]string{true: "A:r1# ", false: "hang up"}[n < 4] }, want: "the command line ended"},
		"no prompt":      {hello: "Username", answer: func(int, string) string { return "" }, want: "no prompt of the command line"},
		"prompt changes": {hello: "A# ", answer: func(n int, _ string) string { return fmt.Sprintf("A%d# ", n) }, want: "no prompt that stays the same"},
		"endless": {hello: "A:r1# ", answer: func(_ int, l string) string {
			return dirOr(l, strings.Repeat("x", 1<<20)) + "A:r1# "
		}, want: "bytes of text"},
		"silent after a command": {hello: "A:r1# ", answer: func(_ int, l string) string {
			return dirOr(l, sample) + map[bool]string{true: "", false: "A:r1# "}[strings.HasPrefix(l, "file")]
		},
			want: "no byte for"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, scpQuirks{})
			r.put("act1111-20260102-000001.xml.gz", "x", 1)
			r.o.Limits = quickLimits()
			r.o.Limits.ListBytes = 64 << 10
			if what == "no prompt" {
				r.o.Limits.Idle = time.Minute // the bound of the login comes first
			}
			n := 0
			talk := script(c.hello, func(line string) string { n++; return c.answer(n, line) })
			scp := r.server.exec
			r.server.relay = func(ch ssh.Channel, reqs <-chan *ssh.Request) {
				req := <-reqs
				var arg struct{ Text string }
				_ = ssh.Unmarshal(req.Payload, &arg)
				if req.Type == "exec" && strings.HasPrefix(arg.Text, "scp") {
					_ = req.Reply(true, nil)
					scp(arg.Text, ch)
					_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
					return
				}
				if req.Type == "exec" {
					_ = req.Reply(false, nil)
					return
				}
				_ = req.Reply(true, nil) // pty-req
				talk(ch, reqs)
			}
			r.target.Listing = ListCLI
			res, err := r.pull(SCP)
			if c.want == "" {
				if err != nil || res.Count(Stored) != 1 {
					t.Fatalf("%s %v", brief(res), err)
				}
				return
			}
			oneLineError(t, err)
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %q", err, c.want)
			}
		})
	}
}

func dirOr(line, listing string) string {
	if strings.HasPrefix(line, "file dir") {
		return listing
	}
	return ""
}

func TestParseDir(t *testing.T) {
	for what, c := range map[string]struct {
		text     string
		files    string
		ignored  int
		complete bool
		want     string
	}{
		"sample": {text: sample, files: "act1111-20260102-000001.xml.gz 5", complete: true},
		"FAT": {text: " Volume in drive cf1 on slot A has no label.\n Volume in drive cf1 on slot A is formatted as FAT32.\n Directory of cf1:\\\n\n" +
			"02/08/2008  11:23p                 140584 boot.ldr\n02/08/2008  11:26a      <DIR>          log\n" +
			"01/01/1980  12:00a                     70 act0102-20080208-112600.xml.gz\n             2 File(s)               140654 bytes.\n             1 Dir(s)             24002560 bytes free.\n",
			files: "act0102-20080208-112600.xml.gz 70", ignored: 1, complete: true},
		"empty":            {text: "Directory of cf1:\\act\n\n 0 File(s) 0 bytes.\n 2 Dir(s) 9 bytes free.\n", complete: true},
		"hostile names":    {text: "Directory of x\n01/01/2020 01:00a 1 ../act1111-20260102-000001.xml.gz\n01/01/2020 01:00a 2 act1111-20260102-000001.xml.gz\x1b[2J\n01/01/2020 01:00a 3 act1111-20260102-000001.xml.gz/..\n3 File(s) 6 bytes\n", ignored: 3, complete: true},
		"twice":            {text: "Directory of x\n01/01/2020 01:00a 1 act1111-20260102-000001.xml.gz\n01/01/2020 01:00a 1 act1111-20260102-000001.xml.gz\n2 File(s) 2 bytes\n", files: "act1111-20260102-000001.xml.gz 1", ignored: 1, complete: true},
		"a strange line":   {text: "Directory of x\nhello\n01/01/2020 01:00a 1 act1111-20260102-000001.xml.gz\n2 File(s) 3 bytes\n", files: "act1111-20260102-000001.xml.gz 1", ignored: 1},
		"negative size":    {text: "Directory of x\n01/01/2020 01:00a -1 act1111-20260102-000001.xml.gz\n1 File(s) 1 bytes\n", ignored: 1},
		"nothing":          {text: "", want: "no listing"},
		"something else":   {text: "Error: Bad command.\n", want: "no listing"},
		"header only":      {text: "Directory of cf1:\\act\n", want: "without its sum"},
		"files and no sum": {text: "01/01/2020 01:00a 1 act1111-20260102-000001.xml.gz\n", want: "after 1 files, without its sum"},
		"too few":          {text: "Directory of x\n01/01/2020 01:00a 1 a\n2 File(s) 3 bytes\n", want: "1 files with 1 bytes, and says it has 2 with 3"},
		"too many":         {text: "Directory of x\nodd\n01/01/2020 01:00a 1 a\n0 File(s) 0 bytes\n", want: "says it has 0"},
		"limit":            {text: "Directory of x\n" + strings.Repeat("01/01/2020 01:00a 1 a\n", 11) + "11 File(s) 11 bytes\n", want: "more than 10 files"},
	} {
		d, err := parseDir(c.text, 10)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		var files []string
		for _, e := range d.files {
			files = append(files, fmt.Sprint(e.name, " ", e.size))
		}
		if err != nil || strings.Join(files, " ") != c.files || d.ignored != c.ignored || d.complete != c.complete {
			t.Errorf("%s: %q, ignored %d, complete %v, %v", what, files, d.ignored, d.complete, err)
		}
	}
}

func TestParseClock(t *testing.T) {
	want := time.Date(2026, 11, 2, 5, 6, 7, 0, time.UTC)
	for text, ok := range map[string]bool{
		"Mon Nov  2 05:06:07 UTC 2026\r\n":          true,
		"\r\nMon Nov 2 05:06:07 GMT 2026\r\n":       true,
		"Mon Nov  2 05:06:07 CET 2026\r\n":          false,
		"Current Date & Time : 2026/11/02 05:06:07": false,
		"": false,
		"Mon Nov  2 05:06:07 UTC 2026 and more\nxx\n":       false,
		"Current Date & Time : Mon Nov 2 05:06:07 UTC 2026": true,
	} {
		got, found := parseClock(text)
		if found != ok || ok && !got.Equal(want) {
			t.Errorf("%q: %v %v", text, got, found)
		}
	}
	asked := want.Add(-10 * time.Second)
	if s := skewOf(want, asked, asked.Add(4*time.Second)); s != (Skew{6 * time.Second, 11 * time.Second}) {
		t.Errorf("%+v", s)
	}
}

// FuzzDir: a listing is refused or it is what it says, and no name is unsafe.
func FuzzDir(f *testing.F) {
	f.Add(sample)
	f.Add("Directory of x\n01/01/2020 01:00a 1 ../a\n1 File(s) 1 bytes\n")
	f.Add("1 File(s) 1 bytes\n1 Dir(s) 1 bytes free")
	f.Add("12/23/2006  01:46a   99999999999999999999 act1111-20260102-000001.xml.gz\r\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDir(text, 100)
		if err != nil {
			return
		}
		if len(d.files) > 100 {
			t.Fatalf("%d files", len(d.files))
		}
		for _, e := range d.files {
			if _, ok := accept(e.name, e.size, 0); !ok || e.size < 0 || strings.ContainsAny(e.name, "/\\\x00\n\r") {
				t.Fatalf("%+v", e)
			}
		}
		if d.complete && d.unknown == 0 && d.ignored == 0 && len(d.files) > strings.Count(text, "\n")+1 {
			t.Fatal("more files than lines")
		}
	})
}

func TestQuirks(t *testing.T) {
	q, err := ParseQuirks([]string{"nokia-7210", "listing=scp", "sftp-block=2048", "sftp-files=3", "sftp-reads=one", "scp-refusal=ends"})
	want := Quirks{OneRead: true, Files: 3, Block: 2048, Bare: true, OnePath: true, NoRefusal: true, Backslash: true, Listing: ListSCP}
	if err != nil || q != want {
		t.Errorf("%+v %v", q, err)
	}
	for _, p := range quirkProfiles {
		if _, err := ParseQuirks([]string{p.name}); err != nil {
			t.Error(err)
		}
	}
	// Every key does something.
	for _, k := range quirkKeys {
		changed := false
		for _, v := range append(strings.Split(k.values, ", "), "1024", "cli") {
			var q Quirks
			changed = changed || k.set(&q, v) == nil && q != (Quirks{})
		}
		if !changed {
			t.Errorf("%s changes nothing", k.name)
		}
	}
	for word, want := range map[string]string{"nokia": "no such profile", "colour=red": "no such key", "sftp-block=1": "must be 1024 to 32768",
		"scp-times=maybe": "must be yes or no", "listing=ftp": "must be auto, sftp, scp or cli", "": "no such profile"} {
		if _, err := ParseQuirks([]string{word}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// What a quirk says is what the device sees.
func TestQuirksOnTheWire(t *testing.T) {
	t.Run("scp", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, scpQuirks{refuseP: true, onePath: true, stopsAt01: true})
		r.target.Quirks = Quirks{Bare: true, OnePath: true, NoRefusal: true}
		for i := range 3 {
			r.put(actName(i), fmt.Sprintln(i), 5)
		}
		res, err := r.pull(SCP)
		if err != nil || res.Count(Stored) != 3 {
			t.Fatalf("%s %v", brief(res), err)
		}
		ran := r.server.ran()
		for _, c := range ran {
			if strings.Contains(c, "-p") || strings.Count(c, " ") != 2 {
				t.Errorf("%q", c)
			}
		}
		if len(ran) != 5 { // a listing, three files, a listing
			t.Errorf("%q", ran)
		}
	})
	t.Run("sftp", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, scpQuirks{})
		r.target.Quirks = Quirks{OneRead: true, Block: 1024}
		for i := range 3 {
			r.put(actName(i), strings.Repeat("x", 5000*i), 5)
		}
		var most, now int
		r.server.sftp = watchedSFTP(r.server.sftp, func(n int) { now += n; most = max(most, now) })
		res, err := r.pull(SFTP)
		if err != nil || res.Count(Stored) != 3 {
			t.Fatalf("%s %v", brief(res), err)
		}
		if most != 1 {
			t.Errorf("%d READs at a time", most)
		}
	})
	t.Run("listing by the other", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			tr Transport
			l  ListBy
		}{{SFTP, ListSCP}, {SCP, ListSFTP}} {
			r := newRig(t, scpQuirks{})
			r.target.Listing = c.l
			r.put(actName(1), "x\n", 5)
			r.put(actName(2), "y\n", 5)
			res, err := r.pull(c.tr)
			if err != nil || res.Count(Stored) != 2 || res.Transport != c.tr || res.Files[0].MTime != 5 {
				t.Fatalf("%s %v", brief(res), err)
			}
			scp := len(r.server.ran())
			if want := map[Transport]int{SFTP: 2, SCP: 1}[c.tr]; scp != want {
				t.Errorf("%s, listing %s: %d scp commands, want %d", c.tr, c.l, scp, want)
			}
		}
	})
}

// The tables of the documentation are those of the program.
func TestQuirksAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), QuirkReference()) {
		t.Errorf("docs/service.md does not hold the tables of the quirks; they are:\n%s", QuirkReference())
	}
}
