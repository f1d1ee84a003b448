package actserver

import (
	"errors"
	"path"
	"strings"
	"testing"
)

func TestParseSCP(t *testing.T) {
	for line, want := range map[string]scpCommand{
		"scp -f act/x":                    {dir: "act/", name: "x"},
		"scp  -f\tact/x ":                 {dir: "act/", name: "x"},
		"scp -p -f -- act/x":              {times: true, dir: "act/", name: "x"},
		"scp -v -q -d -pf act/x":          {times: true, dir: "act/", name: "x"},
		"scp -f -- -x":                    {name: "-x"},
		"scp -f -":                        {name: "-"},
		"scp -f -f x":                     {name: "x"},
		`scp -f cf1:\act\x`:               {dir: "cf1:/act/", name: "x"},
		`scp -f 'cf1:\act\act*'`:          {dir: "cf1:/act/", name: "act*"},
		`scp -f "act/x"`:                  {dir: "act/", name: "x"},
		`scp -f act/'x y'z`:               {dir: "act/", name: "x yz"},
		"scp -f act/*.gz":                 {dir: "act/", name: "*.gz", glob: true},
		"scp -f act/act01[0-9]?":          {dir: "act/", name: "act01[0-9]?", glob: true},
		"scp -f act/'[a]'*":               {dir: "act/", name: `\[a\]*`, glob: true},
		`scp -f act/a'*'b?`:               {dir: "act/", name: `a\*b?`, glob: true},
		"scp -f act/":                     {name: "act"},
		"scp -f /":                        {},
		"scp -f ''":                       {},
		"scp -f $(id)":                    {name: "$(id)"},
		"scp -f act/act0101-2026*;reboot": {dir: "act/", name: "act0101-2026*;reboot", glob: true},
	} {
		got, err := parseSCP(line)
		got.operand = ""
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", line, got, err, want)
		}
	}
	for line, want := range map[string]string{
		"":                                 errNotSCP.Error(),
		"   ":                              errNotSCP.Error(),
		"id":                               errNotSCP.Error(),
		"scp2 -f x":                        errNotSCP.Error(),
		"/usr/bin/scp -f x":                errNotSCP.Error(),
		"'scp -f x":                        errNotSCP.Error(),
		"scp":                              "option -f is missing",
		"scp x":                            "option -f is missing",
		"scp -f":                           "one path is wanted, not 0",
		"scp -f a b":                       "one path is wanted, not 2",
		"scp -f *; id":                     "one path is wanted, not 2",
		"scp -t x":                         ErrReadOnly.Error(),
		"scp -ft x":                        ErrReadOnly.Error(),
		"scp -f -r x":                      "directories are not sent: -r is refused",
		"scp -S/bin/sh -f x":               "option -S is not understood",
		"scp --help -f x":                  "option -- is not understood",
		"scp -f 'x":                        "a quote is not closed",
		`scp -f x"`:                        "a quote is not closed",
		"scp -f x\x00":                     "control character 0x00 in the command",
		"scp -f x\ny":                      "control character 0x0a in the command",
		"scp -f */x":                       "a pattern is understood in the last component only",
		"scp -f act/[a":                    "the pattern is malformed",
		"scp " + strings.Repeat("x", 5000): "command of 5004 bytes is too long",
	} {
		if _, err := parseSCP(line); err == nil || err.Error() != want {
			t.Errorf("%.40q: %v, want %s", line, err, want)
		}
	}
}

func FuzzSCPCommand(f *testing.F) {
	for _, line := range []string{"scp -f act/x", "scp -p -f -- 'act/*; id'", `scp -pf cf1:\act\a"*"[b-]?`, "scp -t x", "scp -f ../../x", "scp -f 'x\\' y", "id"} {
		f.Add(line)
	}
	tree, err := newTree(Options{Root: "nowhere"})
	must(f, err)
	f.Fuzz(func(t *testing.T, line string) {
		c, err := parseSCP(line)
		if errors.Is(err, errNotSCP) {
			if strings.HasPrefix(line, "scp -f ") && len(line) <= maxPath && !strings.ContainsAny(line, "\x00'\"") {
				t.Fatalf("%q is scp", line)
			}
			return
		}
		if err != nil {
			if text := err.Error(); text == "" || len(text) > 200 || strings.ContainsAny(text, "\n\x00") {
				t.Fatalf("%q: error %q", line, text)
			}
			return
		}
		for _, part := range []string{c.dir, c.name, c.operand} {
			if strings.ContainsAny(part, "\x00\n\r\x1b") || len(part) > 2*len(line) {
				t.Fatalf("%q: %+v", line, c)
			}
		}
		if strings.Contains(c.name, "/") || strings.Contains(c.dir, `\`) || !c.glob && strings.Contains(c.name, `\`) {
			t.Fatalf("%q: %+v", line, c)
		}
		if c.dir != "" && !strings.HasSuffix(c.dir, "/") {
			t.Fatalf("%q: directory %q", line, c.dir)
		}
		if c.glob {
			if _, err := path.Match(c.name, "act0101-20260102-030405.xml.gz"); err != nil {
				t.Fatalf("%q: pattern %q: %v", line, c.name, err)
			}
		}
		// Wherever the path leads, it is a plain name in a served directory, or
		// a directory of the tree.
		n, err := tree.locate(path.Join(c.dir, c.name))
		if err == nil && n.name != "" && (!plain(n.name) || n.dir == nil) {
			t.Fatalf("%q leads to %+v", line, n)
		}
		// The same path in single quotes is the same file.
		if !c.glob && !strings.ContainsAny(c.operand, `*?['"`) {
			again, err := parseSCP("scp -f -- '" + c.operand + "'")
			if err != nil || again.dir != c.dir || again.name != c.name {
				t.Fatalf("%q: %+v, quoted %+v, %v", line, c, again, err)
			}
		}
	})
}
