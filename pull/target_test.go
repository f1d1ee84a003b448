package pull

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]Target{
		"admin@router:cf1:/act":             {User: "admin", Host: "router", Path: "cf1:/act"},
		"router:/act":                       {Host: "router", Path: "/act"},
		"router:act":                        {Host: "router", Path: "act"},
		"router:~/act":                      {Host: "router", Path: "act"},
		"router:~":                          {Host: "router", Path: "./"},
		"router:~/cf1:/act":                 {Host: "router", Path: "./cf1:/act"},
		"h://x":                             {Host: "h", Path: "//x"},
		`admin@router:cf1:\act`:             {User: "admin", Host: "router", Path: `cf1:\act`},
		"[2001:db8::1]:/act":                {Host: "2001:db8::1", Path: "/act"},
		"admin@[fe80::1%eth0]:/act":         {User: "admin", Host: "fe80::1%eth0", Path: "/act"},
		"192.0.2.7:/a b":                    {Host: "192.0.2.7", Path: "/a b"},
		"router:/x@y":                       {Host: "router", Path: "/x@y"},
		"ssh://admin@router:2222/act":       {User: "admin", Host: "router", Port: 2222, Path: "/act"},
		"ssh://router/cf1:/act":             {Host: "router", Path: "cf1:/act"},
		"ssh://router/~/act":                {Host: "router", Path: "act"},
		"ssh://[2001:db8::1]:22/act":        {Host: "2001:db8::1", Port: 22, Path: "/act"},
		"ssh://router/a%20b":                {Host: "router", Path: "/a b"},
		"ssh://router/":                     {Host: "router", Path: "/"},
		"ssh://router//cf1:/act":            {Host: "router", Path: "//cf1:/act"},
		"router:ssh://x":                    {Host: "router", Path: "ssh://x"},
		"ssh://ad%20min@router/act":         {User: "ad min", Host: "router", Path: "/act"},
		"r_1.example.com:/act/../other/act": {Host: "r_1.example.com", Path: "/act/../other/act"},
	} {
		got, err := ParseTarget(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", in, got, err, want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "no directory",
		"router":                               "no directory",
		"admin@router":                         "no directory",
		"router:":                              "no directory after the colon",
		":/act":                                "empty host name",
		"@router:/act":                         "empty user name",
		"admin:secret@router:/act":             "a password in the target is refused",
		"ssh://a:b@router/act":                 "a password in the target is refused",
		"2001:db8::1:/act":                     "write an IPv6 address in brackets: [2001:db8::1]:/act",
		"[2001:db8::1]/act":                    "expected [address]:path",
		"[2001:db8::1:/act":                    "expected [address]:path",
		"[router:x]:/act":                      "not an IPv6 address",
		"ssh://router":                         "no directory",
		"ssh://router:/act":                    "empty port",
		"ssh://router:0/act":                   "must be 1 to 65535",
		"ssh://router:65536/act":               "must be 1 to 65535",
		"ssh://router:22x/act":                 "invalid port",
		"http://router/act":                    "only ssh:// is known",
		"ssh://router/act?x=1":                 "has no meaning",
		"router:~bob/act":                      "home directory of another user",
		"-oProxyCommand=x:/act":                "not usable",
		"-x@router:/act":                       "not usable",
		"me@corp@router:/act":                  "not usable",
		"ssh://a:secret x@router/act":          "invalid userinfo",
		"rou ter:/act":                         "not usable",
		"router\n:/act":                        "not usable",
		"router:/a\x1b[31mct":                  "cannot be printed",
		"router:/a\u202ect":                    "cannot be printed",
		"ssh://router/a%00b":                   "cannot be printed",
		"router:/\xff":                         "not valid UTF-8",
		"router:/" + strings.Repeat("x", 2000): "longer than 1024",
		strings.Repeat("h", 300) + ":/act":     "not usable",
	} {
		got, err := ParseTarget(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v; want %q", in, got, err, want)
			continue
		}
		oneLineError(t, err)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the password: %v", in, err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"admin@router:cf1:/act", "[2001:db8::1]:/act", "ssh://u@h:2222/~/x", "h:~/~", "ssh://h//x", "a:b@c:d", `h:cf1:\a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseTarget(s)
		if err != nil {
			oneLineError(t, err)
			return
		}
		b, err := ParseTarget(a.String())
		if err != nil {
			t.Fatalf("%q is %+v, written %q: %v", s, a, a.String(), err)
		}
		if b.Port == 0 && a.Port == defaultPort {
			b.Port = a.Port
		}
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("%q is %+v, written %q and read %+v", s, a, a.String(), b)
		}
		if word, err := shellWord(a.Path); err == nil {
			if got := unquote(t, word); got != a.Path && got != "./"+a.Path {
				t.Fatalf("path %q is the word %s, which is %q", a.Path, word, got)
			}
		}
		dir := DirName(a.device())
		if d, err := DeviceName(dir); CheckDevice(a.device()) == nil && (err != nil || d != a.device()) {
			t.Fatalf("device %q is the directory %q, which is %q, %v", a.device(), dir, d, err)
		}
		if strings.ContainsAny(dir, "/\x00") || dir == "." || dir == ".." || len(a.device()) <= maxDevice && len(dir) > 240 {
			t.Fatalf("directory %q", dir)
		}
	})
}

// unquote does what a POSIX shell does with one word of ours. A backslash
// outside quotes only appears for devices, which have no such shell.
func unquote(t *testing.T, word string) string {
	if usesBackslash(word) || usesBackslash(strings.TrimPrefix(word, "./")) {
		return word
	}
	var b strings.Builder
	for word != "" {
		switch {
		case word[0] == '\'':
			in, rest, ok := strings.Cut(word[1:], "'")
			if !ok {
				t.Fatalf("quote not closed in %q", word)
			}
			b.WriteString(in)
			word = rest
		case strings.HasPrefix(word, `\'`):
			b.WriteByte('\'')
			word = word[2:]
		case strings.IndexByte(bareBytes, word[0]) >= 0:
			b.WriteByte(word[0])
			word = word[1:]
		default:
			t.Fatalf("byte %q outside quotes in %q", word[0], word)
		}
	}
	return b.String()
}

func TestPaths(t *testing.T) {
	for _, c := range []struct{ dir, file, glob string }{
		{"/act", "/act/f", "/act/*"},
		{"/act/", "/act/f", "/act/*"},
		{"cf1:/act", "cf1:/act/f", "cf1:/act/*"},
		{`cf1:\act`, `cf1:\act\f`, `cf1:\act\*`},
		{`cf1:\act\`, `cf1:\act\f`, `cf1:\act\*`},
		{"cf1:", "cf1:/f", "cf1:/*"},
		{"/", "/f", "/*"},
		{".", "./f", "./*"},
		{"-rf", "./-rf/f", "./-rf/*"},
		{"/a b", "'/a b/f'", "'/a b'/*"},
		{"/a'b;rm *", `'/a'\''b;rm */f'`, `'/a'\''b;rm *'/*`},
		{`/a\b`, `'/a\b/f'`, `'/a\b'/*`},
		{"/ä", "'/ä/f'", "'/ä'/*"},
	} {
		file, err := shellWord(joinPath(c.dir, "f"))
		if err != nil || file != c.file {
			t.Errorf("%q: file %s, %v", c.dir, file, err)
		}
		glob, err := globWord(c.dir)
		if err != nil || glob != c.glob {
			t.Errorf("%q: glob %s, %v", c.dir, glob, err)
		}
	}
	if w, err := shellWord(`cf1:\act;reboot`); err == nil {
		t.Errorf("accepted as %s", w)
	}
}

func TestDirName(t *testing.T) {
	for device, dir := range map[string]string{
		"router1": "router1", "127.0.0.1:2201": "127.0.0.1%3A2201", "..": "%2E.", ".": "%2E", "a/b": "a%2Fb", "a%2Fb": "a%252Fb",
		"Zürich 1": "Z%C3%BCrich%201", "fe80::1%eth0": "fe80%3A%3A1%25eth0", "~": "%7E",
	} {
		if got := DirName(device); got != dir {
			t.Errorf("%q: %q, want %q", device, got, dir)
		}
		if got, err := DeviceName(dir); err != nil || got != device {
			t.Errorf("back from %q: %q, %v", dir, got, err)
		}
	}
	for _, dir := range []string{"", "%", "%2", "%2e.", "%41", "a b", "%00", "%FF", "..", ".x", strings.Repeat("x", 81)} {
		if d, err := DeviceName(dir); err == nil {
			t.Errorf("%q accepted as %q", dir, d)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	included := filepath.Join(dir, "more")
	config := filepath.Join(dir, "config")
	system := filepath.Join(dir, "system")
	for name, text := range map[string]string{
		included: "Host inc\n  HostName 192.0.2.9\n",
		config: `Include ` + included + `
Host core-*
  HostName %h.example.net
  User ops
  Port 2022
  IdentityFile ~/keys/%n-%r
  IdentityFile /etc/keys/%%fleet
  IdentitiesOnly yes
  UserKnownHostsFile ~/kh1 /fleet/kh2
  GlobalKnownHostsFile none
  HostKeyAlias %n.alias
  IdentityAgent none
Host jump
  ProxyJump bastion
Host command
  ProxyCommand nc %h %p
Host nojump
  ProxyJump none
Host badport
  Port 99999
Host badtoken
  HostName %x
Host badfile
  IdentityFile ~bob/key
Host maybe
  IdentitiesOnly maybe
`,
		system: "Host *\n  User fallback\nHost core-1\n  User never\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadSSHConfig(false, config, filepath.Join(dir, "absent"), system)
	if err != nil {
		t.Fatal(err)
	}
	me := Login{User: "me", Home: "/home/me", AgentSocket: "/run/agent"}
	resolve := func(target string, change ...func(*Target)) (Target, error) {
		tt, err := ParseTarget(target)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range change {
			f(&tt)
		}
		return tt.Resolve(c, me)
	}
	got, err := resolve("core-1:/act")
	want := Target{Device: "core-1", User: "ops", Host: "core-1", Port: 2022, Path: "/act", Address: "core-1.example.net",
		HostKeyAlias: "core-1.alias", KnownHosts: []string{"/home/me/kh1", "/fleet/kh2"},
		Identities: []string{"/home/me/keys/core-1-ops", "/etc/keys/%fleet"}, IdentitiesOnly: true}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v, %v\nwant %+v", got, err, want)
	}
	if got.dialAddress() != "core-1.example.net:2022" || got.hostKeyAddress() != "core-1.alias:22" {
		t.Errorf("addresses %s %s", got.dialAddress(), got.hostKeyAddress())
	}
	// Flags win.
	got, err = resolve("root@core-1:/act", func(t *Target) {
		t.Port, t.KnownHosts, t.Identities = 22, []string{"/x"}, []string{"/y"}
	})
	if err != nil || got.User != "root" || got.Port != 22 || got.KnownHosts[0] != "/x" || len(got.Identities) != 1 || got.Identities[0] != "/y" {
		t.Errorf("%+v %v", got, err)
	}
	// Defaults, and the first file wins over the second.
	got, err = resolve("inc:/act")
	want = Target{Device: "inc", User: "fallback", Host: "inc", Port: 22, Path: "/act", Address: "192.0.2.9",
		KnownHosts:        []string{"/home/me/.ssh/known_hosts", "/home/me/.ssh/known_hosts2", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"},
		DefaultIdentities: []string{"/home/me/.ssh/id_ed25519", "/home/me/.ssh/id_ecdsa", "/home/me/.ssh/id_rsa"}, AgentSocket: "/run/agent"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v, %v\nwant %+v", got, err, want)
	}
	if got, err = resolve("nojump:/act"); err != nil || got.Address != "nojump" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = resolve("ssh://inc:2201/act"); err != nil || got.Device != "inc:2201" {
		t.Errorf("%+v %v", got, err)
	}
	if got, err = resolve("jump:/act"); err != nil || JumpWords(got.Jump) != "me@bastion" && JumpWords(got.Jump) != "fallback@bastion" {
		t.Errorf("%+v %v", got.Jump, err)
	}
	for target, text := range map[string]string{
		"command:/act":  "asks for ProxyCommand",
		"badport:/act":  "must be 1 to 65535",
		"badtoken:/act": "the token %x is not supported",
		"badfile:/act":  "only ~/ is expanded",
		"maybe:/act":    "must be yes or no",
	} {
		if _, err := resolve(target); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestLoadSSHConfig(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadSSHConfig(true, filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	match := filepath.Join(dir, "match")
	if err := os.WriteFile(match, []byte("Match exec \"true\"\n  User x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadSSHConfig(false, match)
	oneLineError(t, err)
	var h interface{ Hint() string }
	if !strings.Contains(err.Error(), match) || !errors.As(err, &h) {
		t.Errorf("%v", err)
	}
	if line := relativeSystemInclude("/etc/ssh/ssh_config", []byte("Host *\n  include /etc/a conf.d/*\n")); line != "include /etc/a conf.d/*" {
		t.Errorf("%q", line)
	}
	if line := relativeSystemInclude("/etc/ssh/ssh_config", []byte("Include /etc/ssh/ssh_config.d/*.conf\n")); line != "" {
		t.Errorf("%q", line)
	}
}
