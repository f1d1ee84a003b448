package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"acctpull/policy"
	"acctpull/policy/classic"
)

type importFlags struct {
	locations []string
	ports     []string
	output    string
	source    string
	stats     bool
}

func (a *app) configImportCommand() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "import FILE|-",
		Short: "Make a configuration of the classic CLI text of a 7210 SAS or SR OS router",
		Long: `import reads what "info" and "admin display-config" print in the classic command
line: the file-ids and accounting policies of "configure log", and the SAPs, SDPs,
ports, interfaces and SAA tests that use them. It prints the YAML that means the
same, and on stderr every line that is not in it, with the reason. The code is 3
if a line was not understood or the text breaks a rule; the YAML is printed all
the same.

A flash card cf1: becomes the directory ` + classic.Root + `/cf1 unless --location says
otherwise. The text does not know the network links of this machine: --port names
the link of a port or LAG, and SAPs on it get its VLAN interfaces (1/1/1:100 on
eth1 is eth1.100). The source linux needs links for all objects.`,
		Example: `  acctpull config import router.cfg -o agent.yaml
  acctpull config import router.cfg --port 1/1/1=eth1 --port lag-1=bond0 -o agent.yaml
  acctpull config import router.cfg --location cf1:=/srv/flash --source synthetic
  ssh admin@router 'admin display-config' | acctpull config import - --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.configImport(args[0], f) },
	}
	c.Flags().StringArrayVar(&f.locations, "location", nil, "`card=directory` that stands for a flash card; can be given again")
	c.Flags().StringArrayVar(&f.ports, "port", nil, "`port=link` whose counters are those of a port or LAG; can be given again")
	c.Flags().StringVarP(&f.output, "output", "o", "", "write the YAML to this new `file`")
	c.Flags().StringVar(&f.source, "source", "", "`kind` of source of the configuration: linux, synthetic")
	c.Flags().BoolVar(&f.stats, "collect-stats", false, "SAPs collect statistics unless told otherwise, as on 7705 and 7750")
	return c
}

// pairs reads a flag that is given as what=value.
func pairs(flag, example string, given []string) (map[string]string, error) {
	out := map[string]string{}
	for _, g := range given {
		k, v, ok := strings.Cut(g, "=")
		if !ok || k == "" || v == "" {
			return nil, usagef("as in "+flag+" "+example, "%s %q is not of that form", flag, g)
		}
		out[k] = v
	}
	return out, nil
}

func (a *app) configImport(file string, f importFlags) error {
	cards, err := pairs("--location", "cf1:=/srv/flash", f.locations)
	if err != nil {
		return err
	}
	links, err := pairs("--port", "1/1/1=eth1", f.ports)
	if err != nil {
		return err
	}
	if f.source != "" && f.source != policy.SourceLinux && f.source != policy.SourceSynthetic {
		return usagef("", "there is no source %q", f.source)
	}
	text, err := a.readInput(file)
	if err != nil {
		return err
	}
	r := classic.Import(text, classic.Options{Cards: cards, Links: links, CollectStats: f.stats})
	r.Config.Source.Kind = f.source
	yaml, err := r.Config.YAML()
	if err != nil {
		return err
	}
	mistakes, linkless := importMistakes(r)
	if f.output != "" {
		if err := writeNew(f.output, yaml); err != nil {
			return err
		}
	}
	switch {
	case a.json:
		err = a.printImport(f, r, yaml, mistakes, linkless)
	case f.output == "":
		_, err = a.stdout.Write(yaml)
	}
	if err == nil && !a.json {
		err = a.tellImport(r, mistakes, linkless)
	}
	if err == nil && len(r.Lost())+len(mistakes) > 0 {
		err = &outcome{code: exitPartly}
	}
	return err
}

// importMistakes returns the rules that an imported configuration breaks, and
// how many of its objects only lack their link.
func importMistakes(r *classic.Result) (mistakes []policy.Violation, linkless int) {
	mistakes = r.Conflicts
	_, err := policy.New(r.Config)
	var ce *policy.ConfigError
	if !errors.As(err, &ce) {
		return mistakes, 0
	}
	bare := map[string]bool{}
	for i := range r.Config.Objects {
		if o := &r.Config.Objects[i]; o.Link == "" {
			bare[o.String()] = true
		}
	}
	for _, v := range ce.Violations {
		if v.Rule == policy.RuleObjectLink && bare[v.Subject] {
			linkless++
		} else {
			mistakes = append(mistakes, v)
		}
	}
	return mistakes, linkless
}

// lineNumbers prints the number of a line, or of the first and last of a block.
func lineNumbers(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d–%d", first, last)
}

// leftRows are the lines that are not in the YAML: first every one that is lost,
// then those that have no meaning here, blocks as one and the same text once.
func leftRows(left []classic.Line) [][]string {
	var lost, rest [][]string
	seen := map[string]int{} // row in rest by text and note
	times := map[int]int{}
	for i := 0; i < len(left); {
		l, n := left[i], 1
		for l.Why == classic.NoMeaning && i+n < len(left) && left[i+n].Block == l.Number {
			n++
		}
		row := []string{lineNumbers(l.Number, left[i+n-1].Number), l.Why.String(), l.Text, l.Note}
		i += n
		if l.Why != classic.NoMeaning {
			lost = append(lost, row)
			continue
		}
		key := l.Text + "\n" + l.Note
		at, again := seen[key]
		if !again {
			at, seen[key] = len(rest), len(rest)
			rest = append(rest, row)
		}
		times[at]++
	}
	for at, row := range rest {
		if n := times[at] - 1; n > 0 {
			row[3] = strings.TrimPrefix(row[3]+", and "+plural(n, "more line")+" like it", ", ")
		}
	}
	return append(lost, rest...)
}

// tellImport tells on stderr what is not in the YAML.
func (a *app) tellImport(r *classic.Result, mistakes []policy.Violation, linkless int) error {
	if rows := leftRows(r.Left); len(rows) > 0 {
		if err := table(a.stderr, []string{"LINE", "WHY", "TEXT", ""}, rows); err != nil {
			return err
		}
	}
	for _, v := range mistakes {
		if _, err := fmt.Fprintf(a.stderr, "mistake: %s\n", v); err != nil {
			return err
		}
	}
	c := r.Config
	_, err := fmt.Fprintf(a.stderr, "%s: %s, %s, %s; lost: %s; no meaning here: %s\n", plural(r.Lines, "line"),
		plural(len(c.FileIDs), "file-id"), policies(len(c.Policies)), plural(len(c.Objects), "object"), plural(len(r.Lost()), "line"), plural(len(r.Left)-len(r.Lost()), "line"))
	if err == nil && linkless > 0 {
		_, err = fmt.Fprintf(a.stderr, "without a link, which the source linux needs: %s; see --port and docs/configuration.md\n", plural(linkless, "object"))
	}
	return err
}

type leftJSON struct {
	Line  int    `json:"line"`
	Text  string `json:"text"`
	Why   string `json:"why"`
	Note  string `json:"note,omitempty"`
	Block int    `json:"block"`
}

func (a *app) printImport(f importFlags, r *classic.Result, yaml []byte, mistakes []policy.Violation, linkless int) error {
	left := make([]leftJSON, 0, len(r.Left))
	for _, l := range r.Left {
		left = append(left, leftJSON{l.Number, l.Text, l.Why.String(), l.Note, l.Block})
	}
	return a.printJSON(struct {
		Lines    int             `json:"lines"`
		Lost     int             `json:"lines_lost"`
		Linkless int             `json:"objects_without_link"`
		Output   string          `json:"output,omitempty"`
		Left     []leftJSON      `json:"left"`
		Mistakes []violationJSON `json:"mistakes"`
		YAML     string          `json:"yaml"`
	}{r.Lines, len(r.Lost()), linkless, f.output, left, violationsJSON(mistakes), string(yaml)})
}
