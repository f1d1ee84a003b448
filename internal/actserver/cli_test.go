package actserver

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"acctpull/internal/need"

	"golang.org/x/crypto/ssh"
)

var cliTime = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)

// startCLI is a device with a command line and two files.
func startCLI(t testing.TB, adjust func(*Options)) *bench {
	t.Helper()
	b := start(t, func(o *Options) {
		o.CLI = &CLI{System: "edge-1", Now: func() time.Time { return cliTime }, Booted: func() time.Time { return cliTime.Add(-50 * time.Hour) },
			Free: func() int64 { return 961531904 }}
		if adjust != nil {
			adjust(o)
		}
	})
	for i, size := range []int{112, 197} {
		name := fmt.Sprintf("act1%d1%d-20260102-03040%d.xml.gz", i+1, i+1, i)
		b.put(name, size)
		when := time.Date(2006, 12, 23, 12*i, 46, 0, 0, time.UTC)
		must(t, os.Chtimes(filepath.Join(b.dir, name), when, when))
	}
	return b
}

// terminalSession is a client that types and waits for what it expects.
type terminalSession struct {
	t       testing.TB
	session *ssh.Session
	in      interface{ Write([]byte) (int, error) }
	out     chan []byte
	seen    string // all of it
	unread  string // since the last match
}

func openTerminal(t testing.TB, b *bench, pty bool) *terminalSession {
	t.Helper()
	session, err := b.dial().NewSession()
	must(t, err)
	s := &terminalSession{t: t, session: session, out: make(chan []byte, 100)}
	s.in, err = session.StdinPipe()
	must(t, err)
	out, err := session.StdoutPipe()
	must(t, err)
	if pty {
		must(t, session.RequestPty("vt100", 24, 80, ssh.TerminalModes{}))
	}
	must(t, session.Shell())
	go func() {
		defer close(s.out)
		for {
			p := make([]byte, 4096)
			n, err := out.Read(p)
			if n > 0 {
				s.out <- p[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *terminalSession) send(text string) {
	s.t.Helper()
	_, err := s.in.Write([]byte(text))
	must(s.t, err)
}

// expect reads until the pattern is there, and returns what came before.
func (s *terminalSession) expect(pattern string) string {
	s.t.Helper()
	re := regexp.MustCompile(pattern)
	for {
		if at := re.FindStringIndex(s.unread); at != nil {
			before := s.unread[:at[0]]
			s.unread = s.unread[at[1]:]
			return before
		}
		p, ok := <-s.out
		if !ok {
			s.t.Fatalf("no %q in %q", pattern, s.unread)
		}
		s.seen += string(p)
		s.unread += string(p)
	}
}

// The layout of the device's guide, and the patterns that clients look for in
// it: netmiko's nokia_sros reads name, size and free space that way.
func TestCLIFileDir(t *testing.T) {
	b := startCLI(t, func(o *Options) { o.Collect = filepath.Join(filepath.Dir(o.Root), "act-collect") })
	const row = `(?m)^12/23/2006  12:46a\s+112 act1111-20260102-030400\.xml\.gz$`
	for command, want := range map[string]string{
		`file dir cf1:\act`:    row,
		`file dir cf1:/act/`:   row,
		`file dir act`:         `(?m)^12/23/2006  12:46p\s+197 act1212-20260102-030401\.xml\.gz$`,
		`file dir \act\act11*`: `(?m)^\s+1 File\(s\)\s+112 bytes\.$`,
		`file dir cf1:\act\act1111-20260102-030400.xml.gz`: row,
		`fi di "cf1:\act"`:        `(?m)^Directory of cf1:\\act$`,
		`file dir cf1:\`:          `(?m)^01/01/1970  12:00a\s+<DIR> act-collect$`,
		`file dir act*`:           `(?m)^\s+2 Dir\(s\)\s+961531904 bytes free\.$`,
		`file dir act-collect`:    `(?m)^\s+0 File\(s\)\s+0 bytes\.$`,
		`file dir`:                `(\d+)\s+\w+\s+free`,
		`show system information`: `System Name            : edge-1`,
		`show version`:            `7210 SAS`,
		`show time`:               `Fri Jan  2 15:04:05 UTC 2026`,
		`show system time`:        `2026`,
		`help`:                    `file dir`,
	} {
		out, err := exec(b.dial(), command, nil)
		if err != nil || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: %v, want %s in\n%s", command, err, want, out)
		}
	}
	if out, _ := exec(b.dial(), "show system information", nil); !strings.Contains(out, "2 days, 02:00:00") {
		t.Errorf("up time:\n%s", out)
	}
	size := regexp.MustCompile(`\S+\s+\S+\s+(\d+)\s+act1212-20260102-030401\.xml\.gz`)
	out, err := exec(b.dial(), `file dir cf1:/act/act1212-20260102-030401.xml.gz`, nil)
	if m := size.FindStringSubmatch(out); err != nil || m == nil || m[1] != "197" {
		t.Errorf("size: %v in\n%s", err, out)
	}
}

func TestCLIRefuses(t *testing.T) {
	b := startCLI(t, nil)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(b.dir), "secret"), []byte("x"), 0o600))
	must(t, os.Symlink("../secret", filepath.Join(b.dir, "link")))
	for command, want := range map[string]string{
		`file dir cf1:\none`:        "File Not Found\n",
		`file dir cf1:\act\..`:      "File Not Found\n",
		`file dir ../..`:            "File Not Found\n",
		`file dir /etc`:             "File Not Found\n",
		`file dir cf1:\act\link`:    "File Not Found\n",
		`file dir act-collect`:      "File Not Found\n",
		`file dir cf1:\act\[`:       "File Not Found\n",
		`file dir cf1:\act\none*`:   "File Not Found\n",
		`file dir cf1:\a* b`:        "Error: Bad command.\n",
		`file delete cf1:\act\link`: "Error: Bad command.\n",
		`configure log`:             "Error: Bad command.\n",
		`s`:                         "Error: Bad command.\n",
		"show \x1b[2Jversion":       "Error: Bad command.\n",
		`"open`:                     "Error: Bad command.\n",
		strings.Repeat("x", 2000):   "Error: Line too long.\n",
		`cd act`:                    "Error: Bad command.\n",
	} {
		out, err := exec(b.dial(), command, nil)
		if err == nil || out != want {
			t.Errorf("%.60q: %v, %q, want %q", command, err, out, want)
		}
	}
}

// A terminal: echo, prompt, corrections, pages, contexts, the end.
func TestCLITerminal(t *testing.T) {
	b := startCLI(t, nil)
	for i := range 40 {
		b.put(fmt.Sprintf("act0101-20260102-0400%02d.xml.gz", i), 1)
	}
	s := openTerminal(t, b, true)
	const prompt = `A:edge-1# $`
	s.expect(prompt)
	s.send("shoX\x7fw versiom\bn\r")
	if echo := s.expect(prompt); !strings.HasPrefix(echo, "shoX\b \bw versiom\b \bn\r\n") || !strings.Contains(echo, "7210 SAS\r\n") {
		t.Errorf("echo %q", echo)
	}
	s.send("file dir cf1:\\act\r")
	page := s.expect(regexp.QuoteMeta("Press any key to continue (Q to quit)") + "$")
	if n := strings.Count(page, "\r\n"); n != 24 { // the echo and 23 lines
		t.Errorf("a page has %d lines:\n%q", n, page)
	}
	s.send(" ")
	s.expect(regexp.QuoteMeta("(Q to quit)") + "$")
	s.send("q")
	if rest := s.expect(prompt); strings.Contains(rest, "bytes free") {
		t.Errorf("after Q: %q", rest)
	}
	s.send("environment no more\r")
	s.expect("environment no more")
	s.expect(prompt)
	s.send("file dir cf1:/act\r")
	if all := s.expect(prompt); strings.Count(all, ".xml.gz") != 42 || !strings.Contains(all, "bytes free.\r\n") || strings.Contains(all, "Press any") {
		t.Errorf("all of it: %q", all)
	}
	s.send("bogus\r")
	if answer := s.expect(prompt); answer != "bogus\r\n^\r\nError: Bad command.\r\n" {
		t.Errorf("bogus: %q", answer)
	}
	s.send("show nothing\r")
	if answer := s.expect(prompt); answer != "show nothing\r\n     ^\r\nError: Bad command.\r\n" {
		t.Errorf("show nothing: %q", answer)
	}
	s.send("file\r")
	s.expect(`A:edge-1>file cf1:\\# $`)
	s.send("cd act\r")
	s.expect(`A:edge-1>file cf1:\\act# $`)
	s.send("dir act1111*\r")
	if answer := s.expect(`A:edge-1>file cf1:\\act# $`); !strings.Contains(answer, "112 act1111-") {
		t.Errorf("dir: %q", answer)
	}
	s.send("cd ..\rcd ..\rcd nowhere\r")
	if answer := s.expect(`(?s)A:edge-1>file cf1:\\# .*A:edge-1>file cf1:\\# .*A:edge-1>file cf1:\\# $`); strings.Contains(answer, "Error") {
		t.Errorf("cd: %q", answer)
	}
	s.send("exit all\r")
	s.expect(prompt)
	s.send("never sent\x03")
	s.expect(prompt)
	s.send("\x1b[A\x1b]0;title\x07\x15\r")
	s.expect(prompt)
	s.send("logout\r")
	if err := s.session.Wait(); err != nil {
		t.Error(err)
	}
	for p := range s.out {
		s.seen += string(p)
	}
	if i := strings.IndexFunc(s.seen, func(r rune) bool { return r == '\x1b' || r == unicode.ReplacementChar }); i >= 0 {
		t.Errorf("the client got its own control sequences back: %q", s.seen[i:])
	}
}

// The model-driven flavour, with a classic line in between.
func TestCLIModelDriven(t *testing.T) {
	b := startCLI(t, func(o *Options) { o.CLI.MD = true })
	s := openTerminal(t, b, true)
	const prompt = `\r\n\[/\]\r\nA:admin@edge-1# $`
	s.expect(prompt)
	for command, want := range map[string]string{
		"environment more false":        `^environment more false\r\n$`,
		"environment console width 512": `^environment console width 512\r\n$`,
		`file list cf1:\act`:            `112 act1111-20260102-030400\.xml\.gz\r\n`,
		`//file dir cf1:\act`:           `(?s)#2051.*act1212-.*#2052`,
		"file list cf1:/none":           `Invalid element value`,
		"file dir cf1:/act":             `Unknown element - 'dir'`,
		"show time":                     `Unknown element - 'time'`,
		"show system time":              `2026`,
	} {
		s.send(command + "\r")
		if answer := s.expect(prompt); !regexp.MustCompile(want).MatchString(answer) {
			t.Errorf("%s: %q, want %s", command, answer, want)
		}
	}
	s.send("\x04")
	if err := s.session.Wait(); err != nil {
		t.Error(err)
	}
}

// Without a terminal there is no echo and there are no pages.
func TestCLIWithoutTerminal(t *testing.T) {
	b := startCLI(t, nil)
	for i := range 60 {
		b.put(fmt.Sprintf("act0101-20260102-0400%02d.xml.gz", i), 1)
	}
	session, err := b.dial().NewSession()
	must(t, err)
	session.Stdin = strings.NewReader("file dir cf1:\\act\nshow version")
	out, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Shell())
	all := make([]byte, 64<<10)
	n := 0
	for {
		m, err := out.Read(all[n:])
		n += m
		if err != nil {
			break
		}
	}
	must(t, session.Wait())
	text := string(all[:n])
	if strings.Count(text, ".xml.gz\n") != 62 || strings.Contains(text, "show version") || strings.Contains(text, "Press") || !strings.HasSuffix(text, "A:edge-1# ") {
		t.Errorf("%q", text)
	}
}

// The ssh of OpenSSH gets listings, by exec and through a shell.
func TestOpenSSHReadsListings(t *testing.T) {
	b := startCLI(t, nil)
	client := newOpenSSH(b)
	options := append([]string{}, client.options...)
	for i := range options {
		if options[i] == "-P" {
			options[i] = "-p" // as ssh spells it
		}
	}
	for _, test := range []struct {
		args  []string
		input string
	}{
		{[]string{"admin@127.0.0.1", `file dir cf1:\act`}, ""},
		{[]string{"-T", "admin@127.0.0.1"}, "file dir cf1:/act\nlogout\n"},
		{[]string{"-tt", "admin@127.0.0.1"}, "environment no more\rfile dir cf1:/act\rlogout\r"},
	} {
		cmd := osexec.Command(need.Tool(t, "ssh"), append(append([]string{}, options...), test.args...)...)
		cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=", "LC_ALL=C")
		cmd.Stdin = strings.NewReader(test.input)
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), "112 act1111-20260102-030400.xml.gz") {
			t.Errorf("ssh %q: %v\n%s", test.args, err, out)
		}
	}
}

// Whatever is typed: lines are short and printable, and so is the echo.
func FuzzCLILine(f *testing.F) {
	f.Add([]byte("file dir cf1:\\act\r\n"))
	f.Add([]byte("\x1b[A\x1bOP\x7f\x15\x03\x04\"a b\" \tc\r"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e editor
		for _, b := range data {
			echo, event := e.feed(b)
			for _, c := range echo {
				if c >= 0x7f || c < 0x20 && !strings.ContainsRune("\a\b\r\n", rune(c)) {
					t.Fatalf("echo %q of %q", echo, data)
				}
			}
			if len(e.line) > maxCLILine || strings.ContainsFunc(string(e.line), func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Fatalf("line %q", e.line)
			}
			if event != entered {
				continue
			}
			line := e.take()
			words, err := splitCLI(line)
			if (err != nil) != (strings.Count(line, `"`)%2 == 1) {
				t.Fatalf("%q: %v", line, err)
			}
			for _, w := range words {
				if w.at < 0 || w.at >= len(line) || len(w.text) > len(line) {
					t.Fatalf("%q: word %+v", line, w)
				}
			}
			if len(words) > 0 {
				for _, commands := range [][]cliCommand{classicCommands(), mdCommands(), append(fileCommands(), classicCommands()...)} {
					if c, args, _ := findCommand(commands, words); c != nil && len(args) >= len(words) {
						t.Fatalf("%q: %s takes %d words of %d", line, c.words, len(args), len(words))
					}
				}
			}
		}
	})
}
