package classic

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/policy"
	"acctpull/record"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s (go test -update rewrites it): got\n%s", file, got)
	}
}

// bare takes the numbers of lines out of a Config.
func bare(c policy.Config) policy.Config {
	c.FileIDs, c.Policies, c.Objects = slices.Clone(c.FileIDs), slices.Clone(c.Policies), slices.Clone(c.Objects)
	for i := range c.FileIDs {
		c.FileIDs[i].Line = 0
	}
	for i := range c.Policies {
		c.Policies[i].Line = 0
	}
	for i := range c.Objects {
		c.Objects[i].Line = 0
	}
	return c
}

func leftText(r *Result) string {
	var b strings.Builder
	for _, l := range r.Left {
		fmt.Fprintf(&b, "%d: %s: %s", l.Number, l.Why, l.Text)
		if l.Note != "" {
			fmt.Fprintf(&b, " (%s)", l.Note)
		}
		if l.Block != l.Number {
			fmt.Fprintf(&b, " [in the block of line %d]", l.Block)
		}
		b.WriteByte('\n')
	}
	for _, v := range r.Conflicts {
		fmt.Fprintf(&b, "conflict: %s\n", v)
	}
	return b.String()
}

// sameAgain fails unless the printed text of a Config is imported as that
// Config, without a line left.
func sameAgain(t *testing.T, c policy.Config, o Options) {
	t.Helper()
	printed, _ := Print(c, o)
	again := Import(printed, o)
	if !reflect.DeepEqual(bare(again.Config), bare(c)) {
		t.Fatalf("imported again as\n%+v\nwas\n%+v\n%s", bare(again.Config), bare(c), printed)
	}
	if left := leftText(again); left != "" {
		t.Fatalf("lines of our own text are left:\n%s\n%s", left, printed)
	}
	if twice, _ := Print(again.Config, o); string(twice) != string(printed) {
		t.Fatalf("printed twice:\n%s\n%s", printed, twice)
	}
}

// The configuration of a whole node: every line ends up in the Config or is
// named, the result keeps every rule, and printed as YAML and as classic text it
// means the same.
func TestNode(t *testing.T) {
	text, err := os.ReadFile("testdata/node.cfg")
	if err != nil {
		t.Fatal(err)
	}
	r := Import(text, Options{})
	golden(t, "testdata/node.left", leftText(r))
	c := r.Config
	c.Source.Kind = policy.SourceSynthetic
	set, err := policy.New(c)
	if err != nil {
		t.Fatal(err)
	}
	yaml, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/node.yaml", string(yaml))
	loaded, err := policy.Load(yaml)
	if err != nil {
		t.Fatal(err)
	}
	want, err := set.YAML()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := loaded.YAML(); err != nil || string(got) != string(want) {
		t.Errorf("the YAML means another set: %v\n%s", err, got)
	}
	sameAgain(t, r.Config, Options{})
	printed, _ := Print(r.Config, Options{})
	golden(t, "testdata/node.printed", string(printed))

	// Line ends of Windows, and a pager in between, change nothing.
	crlf := strings.ReplaceAll(string(text), "\n", "\r\n")
	crlf = strings.Replace(crlf, "        vpls 100", "Press any key to continue (Q to quit)\r\n        vpls 100", 1)
	if other := Import([]byte(crlf), Options{}); !reflect.DeepEqual(bare(other.Config), bare(r.Config)) || len(other.Left) != len(r.Left) {
		t.Errorf("with CRLF:\n%s", leftText(other))
	}
}

// Every line of the node that is not in the Config is named: whatever line is
// taken out, either the Config changes, or it was named, or it says nothing.
func TestEveryLineCounts(t *testing.T) {
	text, err := os.ReadFile("testdata/node.cfg")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	r := Import(text, Options{})
	named := map[int]bool{}
	for _, l := range r.Left {
		named[l.Number] = true
	}
	// Later commands overrule these, and these say what holds anyway.
	overruled := []string{"rollover 1440", "accounting-policy 10", "no collect-stats", "location cf1:", "mode access", "mode network"}
	for i, line := range lines {
		said := strings.TrimSpace(line)
		first, _, _ := strings.Cut(said, " ")
		if said == "" || said[0] == '#' || first == "echo" || first == "exit" || named[i+1] || slices.Contains(overruled, said) {
			continue
		}
		if slices.Contains([]string{"configure", "system", "log", "service", "router", "statistics", "ingress", "egress", "ethernet", "port", "customer"}, first) ||
			said == `interface "system"` || said == "sap 1/1/2 create" || strings.HasSuffix(said, "create") || said == "access" || said == "network" {
			continue // a context, which has no effect by itself
		}
		without := slices.Concat(lines[:i], []string{""}, lines[i+1:])
		if other := Import([]byte(strings.Join(without, "\n")), Options{}); reflect.DeepEqual(bare(other.Config), bare(r.Config)) {
			t.Errorf("line %d, %q, is neither in the Config nor named", i+1, said)
		}
	}
}

var shapes = []struct{ name, text, want, left string }{
	{"info of configure log", "file-id 11\n    location cf1:\n    rollover 60\nexit\naccounting-policy 10\n    record service-ingress-octets\n    to file 11\n    no shutdown\nexit\n",
		"file 11 /var/lib/acctpull/cf1 1h0m0s 0s\npolicy 10 service-ingress-octets 0s file 11\n", ""},
	{"a session", "*A:ALA-1>config>log# info\n----------------------------------------------\n        file-id 11\n            retention 24\n        exit\n----------------------------------------------\n*A:ALA-1>config>log# accounting-policy 4\n*A:ALA-1>config>log>acct-policy$ record saa\n*A:ALA-1>config>log>acct-policy# exit\n*A:ALA-1# ",
		"file 11 /var/lib/acctpull/cf1 0s 24h0m0s\npolicy 4 saa 0s  shutdown\n", ""},
	{"commands in one line", "/configure log file-id 11 rollover 30 retention 2\n/configure log accounting-policy 4 interval 10 default\n/configure service vpls 7 customer 1 create sap 1/1/1:7 create accounting-policy 4\n",
		"file 11 /var/lib/acctpull/cf1 30m0s 2h0m0s\npolicy 4  10m0s  default shutdown\nSAP 1/1/1:7 in 7 policy 4 off\n", ""},
	{"without indentation", "configure\nlog\nfile-id 11\nlocation cf1:\nexit\nexit\nservice\nvpls 5 customer 1 create\nfrob 3 create\nspin\nexit\nsap 1/1/1:5 create\ncollect-stats\nexit\nexit\nexit\n",
		"file 11 /var/lib/acctpull/cf1 0s 0s\nSAP 1/1/1:5 in 5 policy 0\n", "9: not understood: frob 3 create\n10: not understood: spin [in the block of line 9]\n"},
	{"values", "log\n    file-id 11\n        rollover soon\n        retention 0\n        location usb7:\n        rollover 60 forever\n        compress\n    exit\n    file-id eleven\n        rollover 5\n    exit\n    accounting-policy 10\n        to syslog 1\n        collection-interval\n        default yes\n        description one two\n    exit\nexit\n",
		"file 11 /var/lib/acctpull/cf1 1h0m0s 0s\npolicy 10  0s  shutdown\n",
		"3: not understood: rollover soon (\"soon\" is not a number of minutes)\n4: not understood: retention 0 (\"0\" is not a number of hours)\n5: not understood: location usb7: (\"usb7:\" is not a flash card)\n6: not understood: rollover 60 forever (after the rollover only retention may follow)\n7: not understood: compress\n9: not understood: file-id eleven (\"eleven\" is not its number)\n10: not understood: rollover 5 [in the block of line 9]\n13: not understood: to syslog 1 (it is neither file with a number nor no-file)\n14: not understood: collection-interval (collection-interval has no value)\n15: not understood: default yes (default takes no value)\n16: not understood: description one two (one text is expected)\n"},
	{"the opposite", "log\n    file-id 11\n        rollover 60\n        no rollover\n        location cf2:\n        no location\n    exit\n    accounting-policy 10\n        record saa\n        default\n        no default\n        to file 11\n        no to\n        no shutdown\n        no record\n    exit\n    file-id 12\n    exit\n    no file-id 12\nexit\nservice\n    vpls 7 create\n        sap 1/1/1:7 create\n            accounting-policy 10\n            no accounting-policy\n            collect-stats\n        exit\n        sap 1/1/1:8 create\n            collect-stats\n        exit\n        no sap 1/1/1:8\n    exit\n    vpls 8 create\n        sap 1/1/1:9 create\n            collect-stats\n        exit\n    exit\n    no vpls 8\nexit\n",
		"file 11 /var/lib/acctpull/cf1 0s 0s\npolicy 10  0s \nSAP 1/1/1:7 in 7 policy 0\n", ""},
	{"what is in use stays", "log\n    file-id 11\n    exit\n    file-id 12\n    exit\n    accounting-policy 10\n        to file 11\n    exit\n    log-id 20\n        to file 12\n    exit\n    no file-id 11\n    no file-id 12\n    no file-id 13\nexit\nservice\n    vpls 7 create\n        sap 1/1/1:7 create\n            accounting-policy 10\n        exit\n    exit\nexit\nlog\n    no accounting-policy 10\nexit\n",
		"file 11 /var/lib/acctpull/cf1 0s 0s\npolicy 10  0s file 11 shutdown\nSAP 1/1/1:7 in 7 policy 10 off\n",
		"4: no meaning here: file-id 12 (file-id 12 serves log-id 20, in line 10)\n9: no meaning here: log-id 20 (event logs are not ours)\n10: no meaning here: to file 12 (event logs are not ours)\n12: refused: no file-id 11 (accounting-policy 10 writes to file-id 11, in line 7)\n13: refused: no file-id 12 (log-id 20 writes to file-id 12, in line 10)\n14: refused: no file-id 13 (there is no file-id 13)\n24: refused: no accounting-policy 10 (SAP 1/1/1:7 uses accounting-policy 10, in line 18)\n"},
	{"one file-id, two masters", "log\n    file-id 11\n    exit\n    log-id 20\n        to file 11\n    exit\n    accounting-policy 10\n        to file 11\n    exit\n    log-id 21\n        to file 11\n    exit\nexit\n",
		"file 11 /var/lib/acctpull/cf1 0s 0s\npolicy 10  0s file 11 shutdown\n",
		"4: no meaning here: log-id 20 (event logs are not ours)\n5: no meaning here: to file 11 (event logs are not ours)\n10: no meaning here: log-id 21 (event logs are not ours)\n11: no meaning here: to file 11 (event logs are not ours)\n" +
			"conflict: line 8: accounting-policy 10: file 11 is that of log-id 20 already; a file-id serves one log or one policy (log-id 20 is in line 5)\n" +
			"conflict: line 11: log-id 21: file 11 is that of log-id 20 already; a file-id serves one log or one policy (log-id 20 is in line 5)\n" +
			"conflict: line 11: log-id 21: file 11 is that of accounting-policy 10 already; a file-id serves one log or one policy (accounting-policy 10 is in line 8)\n"},
	{"ports without access and network", "log\n    accounting-policy 1\n        record network-egress-octets\n    exit\nexit\nport 1/1/1\n    ethernet\n        accounting-policy 1\n        collect-stats\n    exit\nexit\nport 1/1/2\n    ethernet\n        collect-stats\n    exit\nexit\nport 1/1/3\n    ethernet\n        access\n            uplink\n                accounting-policy 1\n                collect-stats\n            exit\n        exit\n    exit\nexit\n",
		"policy 1 network-egress-octets 0s  shutdown\nnetwork port 1/1/1 in  policy 1\nnetwork port 1/1/3 in  policy 1\n",
		"14: not understood: collect-stats (port 1/1/2 is neither an access port nor a network port, by its mode or its policy)\n"},
	{"too many exits", "log\nexit\nexit\n", "", "3: not understood: exit (no context is open)\n"},
	{"an elided text", "log\n...\n    file-id 11\n    exit\nexit\n", "file 11 /var/lib/acctpull/cf1 0s 0s\n", "2: not understood: ...\n"},
	{"nothing", "", "", ""},
}

// The shapes in which such text comes.
func TestShapes(t *testing.T) {
	for _, c := range shapes {
		r := Import([]byte(c.text), Options{})
		var b strings.Builder
		for _, f := range r.Config.FileIDs {
			fmt.Fprintf(&b, "file %d %s %v %v\n", f.ID, f.Location, f.Rollover, f.Retention)
		}
		for _, p := range r.Config.Policies {
			fmt.Fprintf(&b, "policy %d %s %v %s", p.ID, p.Record, p.CollectionInterval, p.To)
			for name, on := range map[string]bool{" default": p.Default} {
				if on {
					b.WriteString(name)
				}
			}
			if p.Shutdown {
				b.WriteString(" shutdown")
			}
			b.WriteByte('\n')
		}
		for _, o := range r.Config.Objects {
			fmt.Fprintf(&b, "%s in %s policy %d", o.Type.Object()+" "+o.ID, o.Service, o.Policy)
			if !o.CollectStats {
				b.WriteString(" off")
			}
			b.WriteByte('\n')
		}
		if b.String() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, b.String(), c.want)
		}
		if left := leftText(r); left != c.left {
			t.Errorf("%s: left\n%s\nwant\n%s", c.name, left, c.left)
		}
		sameAgain(t, r.Config, Options{})
	}
}

// With collect-stats on by default every SAP is an object; cards can be mapped.
func TestOptions(t *testing.T) {
	o := Options{CollectStats: true, Cards: map[string]string{"cf1:": "/flash", "usb:": "/mnt/usb"}}
	r := Import([]byte("log\n file-id 1\n exit\n file-id 2\n  location usb:\n exit\nexit\nservice\n vpls 1 create\n  sap 1/1/1:1 create\n  exit\n  sap 1/1/1:2 create\n   no collect-stats\n  exit\n  spoke-sdp 1:1 create\n  exit\n exit\nexit\n"), o)
	c := r.Config
	if len(c.FileIDs) != 2 || c.FileIDs[0].Location != "/flash" || c.FileIDs[1].Location != "/mnt/usb" {
		t.Errorf("file-ids %+v", c.FileIDs)
	}
	if len(c.Objects) != 2 || !c.Objects[0].CollectStats || c.Objects[1].CollectStats {
		t.Errorf("objects %+v", c.Objects)
	}
	sameAgain(t, c, o)
}

// Ports that are mapped to links give links to what is on them.
func TestLinks(t *testing.T) {
	text, err := os.ReadFile("testdata/node.cfg")
	if err != nil {
		t.Fatal(err)
	}
	r := Import(text, Options{Links: map[string]string{"1/1/1": "eth1", "1/1/24": "eth24", "lag-1": "bond0"}})
	var got []string
	for i := range r.Config.Objects {
		if o := &r.Config.Objects[i]; o.Link != "" {
			got = append(got, o.String()+"="+o.Link)
		}
	}
	want := []string{"SAP 1/1/1:100=eth1.100", "SAP 1/1/1:101=eth1.101", "SAP lag-1:200.*=bond0.200", "access port 1/1/1=eth1", "network port 1/1/24=eth24", "network interface to-core=eth24"}
	if !slices.Equal(got, want) {
		t.Errorf("links %q", got)
	}
	for id, link := range map[string]string{"1/1/1:0": "eth1", "1/1/1:*": "eth1", "1/1/1:7.9": "eth1.7.9", "1/1/2:7": "", "1/1/1": "eth1"} {
		if got := (Options{Links: map[string]string{"1/1/1": "eth1"}}).link(id); got != link {
			t.Errorf("the link of %s is %q, want %q", id, got, link)
		}
	}
	before, after := Import(text, Options{}), r
	if n := len(before.Left) - len(after.Left); n != 1 { // port 1/1/24 of the interface
		t.Errorf("%d lines less are left", n)
	}
}

// What the text cannot say is named.
func TestPrintLoses(t *testing.T) {
	_, lost := Print(policy.Config{
		System:   "a",
		Source:   policy.SourceConfig{Kind: policy.SourceSynthetic},
		FileIDs:  []policy.FileID{{ID: 1, Location: "/data"}},
		Policies: []policy.AccountingPolicy{{ID: 1, Type: policy.SDP}},
		Objects:  []policy.Object{{Type: policy.SDP, ID: "1", Link: "gre1"}, {Type: policy.Access, ID: "1", Service: "1", Meters: 2}},
	}, Options{})
	want := []string{"the source", "the system name: no policy has include-system-info", "the type of accounting-policy 1, which has no record", "the links of 1 object", "the numbers of meters and queues of 1 object", `the location "/data" of file-id 1, which is no flash card`}
	if !slices.Equal(lost, want) {
		t.Errorf("lost %q", lost)
	}
}

// random makes a Config of what classic text can say.
func random(r *rand.Rand) policy.Config {
	pick := func(n int) bool { return r.IntN(n) == 0 }
	words := func(most int) string {
		const letters = `abcXYZ 0123456789:#"'\-/>{}*.`
		b := make([]byte, 1+r.IntN(most))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	id := func() string {
		if pick(2) {
			return fmt.Sprintf("%d/%d/%d:%d", r.IntN(3), r.IntN(12), r.IntN(30), r.IntN(4000))
		}
		return words(20)
	}
	var c policy.Config
	names := record.Builtin().Definitions()
	for n := range r.IntN(8) {
		f := policy.FileID{ID: 1 + n*7, Location: fmt.Sprintf("%s/cf%d", Root, 1+r.IntN(4))}
		if pick(2) {
			f.Description = words(80)
		}
		if pick(2) {
			f.BackupLocation = Root + "/uf1"
		}
		if pick(2) {
			f.Rollover = time.Duration(5+r.IntN(10000)) * time.Minute
		}
		if pick(2) {
			f.Retention = time.Duration(1+r.IntN(500)) * time.Hour
		}
		c.FileIDs = append(c.FileIDs, f)
		p := policy.AccountingPolicy{ID: 1 + n*9, Record: names[r.IntN(len(names))].Name, To: policy.Destination(f.ID), Default: pick(2), Align: pick(2), IncludeSystemInfo: pick(3), LogMemory: pick(3), Shutdown: pick(2)}
		if pick(4) {
			p.To, p.Description = policy.NoFile, words(80)
		}
		if pick(2) {
			p.CollectionInterval = time.Duration(5+r.IntN(100)) * time.Minute
		}
		c.Policies = append(c.Policies, p)
		if p.IncludeSystemInfo {
			c.System = "node 1"
		}
	}
	seen := map[objectKey]bool{}
	for range r.IntN(40) {
		o := policy.Object{Type: policy.Types()[r.IntN(len(policy.Types()))], ID: id(), Policy: r.IntN(99), CollectStats: pick(2)}
		if o.Type == policy.Access || o.Type == policy.SDP && pick(2) {
			o.Service = fmt.Sprint(r.IntN(5))
		}
		if o.Type == policy.Access || o.Type == policy.AccessPort {
			o.CounterMode = policy.CounterMode(r.IntN(2))
		}
		if o.Type == policy.SAA {
			o.Owner, o.Policy, o.CollectStats = id(), 1+r.IntN(99), true
		}
		if key := (objectKey{o.Type, o.ID, o.Service + o.Owner}); !seen[key] {
			seen[key] = true
			c.Objects = append(c.Objects, o)
		}
	}
	slices.SortFunc(c.Objects, compareObjects)
	return c
}

// Whatever classic text can say comes back as it was.
func TestRandomRoundTrip(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 3))
	for range 500 {
		sameAgain(t, random(r), Options{})
	}
}

// Whatever the text, Import ends, names only lines that exist, in order, and
// its Config survives being printed.
func FuzzImport(f *testing.F) {
	if text, err := os.ReadFile("testdata/node.cfg"); err == nil {
		f.Add(string(text))
	}
	for _, c := range shapes {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := Import([]byte(text), Options{})
		last := 0
		for _, l := range r.Left {
			if l.Number <= last || l.Number > r.Lines || l.Block < 1 || l.Block > l.Number || l.Why == 0 {
				t.Fatalf("line %+v after line %d of %d", l, last, r.Lines)
			}
			last = l.Number
		}
		sameAgain(t, r.Config, Options{})
	})
}
