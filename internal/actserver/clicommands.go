package actserver

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// cliCommand is one command. Its words may be shortened, as on the device.
type cliCommand struct {
	words string
	run   func(s *shell, args []cliWord)
	help  string
}

// classicCommands are those of the classic CLI.
func classicCommands() []cliCommand {
	return []cliCommand{
		{"environment", (*shell).environment, "environment [no] more: page long output, or not; all else is taken and does nothing"},
		{"exit", (*shell).exit, "leave the context \"file\""},
		{"file", (*shell).enterFile, "enter the context \"file\""},
		{"file dir", (*shell).dirCommand, "list files: file dir [PATH]"},
		{"help", (*shell).help, "this list"},
		{"logout", (*shell).logout, "end the session"},
		{"show system information", (*shell).showSystem, "name, model, time, uptime"},
		{"show system time", (*shell).showTime, "the device's clock"},
		{"show time", (*shell).showTime, "the device's clock"},
		{"show version", (*shell).showVersion, "what this is"},
	}
}

// fileCommands are those of the context "file".
func fileCommands() []cliCommand {
	return []cliCommand{
		{"back", (*shell).exit, "leave the context"},
		{"cd", (*shell).cd, "change the directory: cd PATH"},
		{"dir", (*shell).dirCommand, "list files: dir [PATH]"},
	}
}

// mdCommands are those of the model-driven CLI.
func mdCommands() []cliCommand {
	return []cliCommand{
		{"environment", (*shell).environment, "environment more true|false; all else is taken and does nothing"},
		{"exit", (*shell).exit, "leave a context"},
		{"file list", (*shell).dirCommand, "list files: file list [PATH]"},
		{"help", (*shell).help, "this list"},
		{"logout", (*shell).logout, "end the session"},
		{"show system information", (*shell).showSystem, "name, model, time, uptime"},
		{"show system time", (*shell).showTime, "the device's clock"},
		{"show version", (*shell).showVersion, "what this is"},
	}
}

func (s *shell) commands() []cliCommand {
	switch {
	case s.md:
		return mdCommands()
	case s.file:
		return append(fileCommands(), classicCommands()...)
	}
	return classicCommands()
}

// run runs one line.
func (s *shell) run(line string) {
	text := strings.TrimLeft(line, " ")
	if rest, ok := strings.CutPrefix(text, "//"); ok && s.cli.MD {
		s.print("INFO: CLI #2051: Switching to the classic CLI engine\n")
		s.md = false
		s.run(rest)
		s.md = true
		s.print("INFO: CLI #2052: Switching to the MD-CLI engine\n")
		return
	}
	words, err := splitCLI(line)
	if err != nil {
		s.bad(cliWord{text: line})
		return
	}
	if len(words) == 0 || strings.HasPrefix(words[0].text, "#") { // a comment
		return
	}
	if words[0].text == "?" {
		s.help(nil)
		return
	}
	command, args, bad := findCommand(s.commands(), words)
	if command == nil {
		s.bad(bad)
		return
	}
	command.run(s, args)
}

// findCommand finds the command that the words begin with: the longest one whose
// words they spell or shorten. If there is none it returns the word that fits
// nowhere.
func findCommand(commands []cliCommand, words []cliWord) (*cliCommand, []cliWord, cliWord) {
	var best *cliCommand
	length, reached, exact := 0, 0, 0
	for i := range commands {
		names := strings.Fields(commands[i].words)
		fit, whole := 0, 0
		for fit < len(names) && fit < len(words) && words[fit].text != "" && strings.HasPrefix(names[fit], words[fit].text) {
			if names[fit] == words[fit].text {
				whole++
			}
			fit++
		}
		reached = max(reached, fit)
		if fit == len(names) && (fit > length || fit == length && whole > exact) {
			best, length, exact = &commands[i], fit, whole
		}
	}
	if best == nil {
		return nil, nil, words[min(reached, len(words)-1)]
	}
	return best, words[length:], cliWord{}
}

// bad answers what is no command.
func (s *shell) bad(w cliWord) {
	if s.md {
		s.fail("MINOR: MGMT_CORE #2201: Unknown element - '%.64s'", plainText(w.text))
		return
	}
	if s.term != nil {
		s.print("%s^\n", strings.Repeat(" ", w.at))
	}
	s.fail("Error: Bad command.")
}

func (s *shell) help([]cliWord) {
	for _, c := range s.commands() {
		s.print(" %-26s %s\n", c.words, c.help)
	}
}

func (s *shell) logout([]cliWord) { s.leaving = true }

func (s *shell) enterFile(args []cliWord) {
	if len(args) > 0 {
		s.bad(args[0])
		return
	}
	s.file = true
}

func (s *shell) exit([]cliWord) { s.file = false }

// environment knows paging; width and the like are taken and do nothing.
func (s *shell) environment(args []cliWord) {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a.text
	}
	switch strings.Join(words, " ") {
	case "no more", "more false":
		s.paging = false
	case "more", "more true":
		s.paging = s.term != nil
	}
}

func (s *shell) showVersion([]cliWord) {
	s.print("acctpull simulator of a %s\nSystem Name: %s\n", s.model(), s.cli.System)
}

func (s *shell) showTime([]cliWord) {
	s.print("%s\n", s.cli.now().Format("Mon Jan _2 15:04:05 MST 2006"))
}

func (s *shell) showSystem([]cliWord) {
	rule := strings.Repeat("=", 79)
	s.print("%s\nSystem Information\n%s\n", rule, rule)
	now := s.cli.now()
	s.print("System Name            : %s\nSystem Type            : %s (simulated)\nSystem Time            : %s\n",
		s.cli.System, s.model(), now.Format("2006/01/02 15:04:05"))
	if s.cli.Booted != nil {
		up := now.Sub(s.cli.Booted()).Truncate(time.Second)
		s.print("System Up Time         : %d days, %02d:%02d:%02d (hr:min:sec)\n",
			int(up.Hours())/24, int(up.Hours())%24, int(up.Minutes())%60, int(up.Seconds())%60)
	}
	s.print("%s\n", rule)
}

// deviceDir writes a directory as the device does.
func deviceDir(dir string) string {
	text := strings.ReplaceAll(strings.TrimPrefix(dir, "/"), "/", `\`)
	if strings.HasSuffix(text, ":") {
		text += `\`
	}
	return text
}

// resolve makes a path absolute: "act" and `\act` and "cf1:/act" are the same
// in the directory "cf1:".
func (s *shell) resolve(arg string) string {
	p := strings.ReplaceAll(arg, `\`, "/")
	volume := s.c.server.tree.lead
	switch first, _, _ := strings.Cut(strings.TrimLeft(p, "/"), "/"); {
	case strings.HasSuffix(first, ":"):
		return strings.TrimLeft(p, "/")
	case strings.HasPrefix(p, "/") && len(volume) > 0:
		return volume[0] + p
	}
	return s.dir + "/" + p
}

func (s *shell) cd(args []cliWord) {
	if len(args) != 1 {
		s.fail("Error: Missing parameter.")
		return
	}
	t := s.c.server.tree
	target := s.resolve(args[0].text)
	if args[0].text == ".." {
		target = path.Dir(s.dir)
		if strings.HasSuffix(s.dir, ":") || target == "." {
			target = s.dir
		}
	}
	n, err := t.locate(target)
	if err != nil || n.name != "" {
		s.notFound()
		return
	}
	s.dir = strings.TrimPrefix(t.shown(n), "/")
}

func (s *shell) notFound() {
	if s.md {
		s.fail("MINOR: MGMT_CORE #2203: Invalid element value")
		return
	}
	s.fail("File Not Found")
}

// dirCommand lists a directory, a file, or what matches a pattern.
func (s *shell) dirCommand(args []cliWord) {
	target := s.dir
	switch len(args) {
	case 0:
	case 1:
		target = s.resolve(args[0].text)
	default:
		s.bad(args[1])
		return
	}
	dir, infos, err := s.c.server.tree.look(target)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.c.refuse("cli", fmt.Errorf("%w: %s", bare(err), quote(target)))
		}
		s.notFound()
		return
	}
	s.print("\nVolume in drive %s on slot A is .\n\nDirectory of %s\n\n", strings.TrimSuffix(s.c.server.tree.volume(), ":"), deviceDir(dir))
	location := s.cli.now().Location()
	var total int64
	files, dirs := 0, 0
	for _, fi := range infos {
		size := "<DIR>"
		if fi.IsDir() {
			dirs++
		} else {
			files++
			total += fi.Size()
			size = fmt.Sprint(fi.Size())
		}
		s.print("%s  %12s %s\n", deviceTime(fi.ModTime().In(location)), size, fi.Name())
	}
	var free int64
	if s.cli.Free != nil {
		free = s.cli.Free()
	}
	s.print("%16d File(s) %20d bytes.\n%16d Dir(s)  %20d bytes free.\n", files, total, dirs, free)
}

// deviceTime writes a time as the device does: 12/23/2006  01:46a.
func deviceTime(t time.Time) string {
	half := "a"
	if t.Hour() >= 12 {
		half = "p"
	}
	return t.Format("01/02/2006  03:04") + half
}

// volume is the name of the flash.
func (t *tree) volume() string {
	if len(t.lead) == 0 {
		return ""
	}
	return t.lead[0]
}

// look finds what a listing of a path shows: what is in a directory, a file
// alone, or what matches a pattern in the last component, sorted by name. dir
// is the directory.
func (t *tree) look(p string) (dir string, infos []fs.FileInfo, err error) {
	parent, last := path.Split(strings.TrimRight(p, "/"))
	n, err := t.locate(p)
	pattern := "*"
	if err != nil || n.name != "" || strings.ContainsAny(last, "*?[") {
		if n, err = t.locate(parent); err != nil {
			return "", nil, err
		}
		pattern = last
	}
	if n.name != "" {
		return "", nil, fs.ErrNotExist
	}
	whole := pattern == "*"
	if n.dir == nil {
		infos, err = t.matching(n, pattern)
	} else {
		infos, err = t.files(n, pattern)
	}
	if err == nil && len(infos) == 0 && !whole {
		err = fs.ErrNotExist
	}
	if err != nil {
		return "", nil, err
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	if whole {
		infos = append([]fs.FileInfo{dirInfo("."), dirInfo("..")}, infos...)
	}
	return t.shown(n), infos, nil
}

// matching are the fixed directories below a node.
func (t *tree) matching(n node, pattern string) ([]fs.FileInfo, error) {
	var found []fs.FileInfo
	for _, fi := range t.children(n) {
		if ok, err := path.Match(pattern, fi.Name()); err != nil {
			return nil, fs.ErrNotExist
		} else if ok {
			found = append(found, fi)
		}
	}
	return found, nil
}

// files are the served files of a node's directory.
func (t *tree) files(n node, pattern string) (found []fs.FileInfo, err error) {
	l, err := t.list(n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	for {
		fi, err := l.next(pattern)
		switch {
		case errors.Is(err, io.EOF):
			return found, nil
		case errors.Is(err, path.ErrBadPattern):
			return nil, fs.ErrNotExist
		case err != nil:
			return nil, err
		}
		found = append(found, fi)
	}
}
