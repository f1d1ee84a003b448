package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/need"
	"acctpull/record"
)

const schemaFile = "../docs/schema/agent.schema.json"

// The committed schema is the one that the keys make.
func TestSchema(t *testing.T) {
	s, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, schemaFile, string(s))
}

// judge validates JSON lines by the schema: one "taken" or "refused" per line.
const judge = `
import json, sys
from jsonschema import Draft202012Validator as V
schema = json.load(open(sys.argv[1]))
V.check_schema(schema)
v = V(schema)
for line in sys.stdin:
    print("taken" if v.is_valid(json.loads(line)) else "refused")
`

// structural are the rules that the schema knows as well as Load does.
var structural = []Rule{RuleUnknownKey, RuleSystem, RuleID, RuleDescription, RuleLocation, RuleObject, RuleObjectFields}

// An independent validator takes what Load takes, and refuses of the rule table
// what a schema can know.
func TestSchemaJudged(t *testing.T) {
	python := need.PythonModule(t, "jsonschema")
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	type sample struct {
		name, text string
		refused    bool
	}
	samples := []sample{{"valid", valid, false}, {"the example", string(example), false}}
	for _, c := range ruleTable {
		samples = append(samples, sample{fmt.Sprintf("%s: %q -> %q", c.rule, c.old, c.new), strings.Replace(valid, c.old, c.new, 1), slices.Contains(structural, c.rule)})
	}
	var in bytes.Buffer
	var seen []sample
	for _, s := range samples {
		var v any
		if yaml.Unmarshal([]byte(s.text), &v) != nil {
			continue // a schema never sees it
		}
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		in.Write(append(line, '\n'))
		seen = append(seen, s)
	}
	cmd := exec.Command(python, "-c", judge, schemaFile)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	verdicts := strings.Fields(string(out))
	if len(verdicts) != len(seen) {
		t.Fatalf("%d verdicts for %d samples", len(verdicts), len(seen))
	}
	for i, s := range seen {
		if _, err := Load([]byte(s.text)); err == nil && verdicts[i] != "taken" {
			t.Errorf("%s: Load takes it, the schema refuses it", s.name)
		}
		if s.refused && verdicts[i] != "refused" {
			t.Errorf("%s: the schema takes it", s.name)
		}
	}
}

// randomConfig makes a configuration that keeps every rule, with every key in
// use somewhere.
func randomConfig(r *rand.Rand) Config {
	pick := func(n int) bool { return r.IntN(n) == 0 }
	words := func(most int) string {
		const letters = `abcXYZ 0123456789:#"'\-{}[]&*!|>%@,?~=` + "`"
		b := make([]byte, 1+r.IntN(most))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return string(b)
	}
	labels := 0
	label := func() string {
		labels++
		return strings.TrimSpace(fmt.Sprintf("%s%d", strings.TrimSpace(words(20)), labels))
	}
	c := Config{Source: SourceConfig{Kind: SourceSynthetic, Seed: r.Uint64(), Idle: r.IntN(101)}}
	if pick(2) {
		c.System = words(maxSystem)
	}
	ids := r.Perm(MaxID)
	rows := newRowFinder(SourceSynthetic)
	byType := map[Type][]int{}
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok || !rows.collects(d) || pick(2) {
			continue
		}
		n := len(c.Policies)
		p := AccountingPolicy{ID: ids[n] + 1, Record: d.Name, To: NoFile, Default: typ != SAA && len(byType[typ]) == 0 && pick(2), Align: pick(2), Shutdown: pick(4)}
		if pick(2) {
			p.Description = words(MaxDescription)
		}
		if pick(2) {
			p.Type = typ
		}
		if p.LogMemory = pick(2); p.LogMemory && pick(2) {
			p.LogMemorySize = 1 + r.IntN(MaxLogMemory)
		}
		if pick(2) {
			p.CollectionInterval = MinInterval + time.Duration(r.IntN(116))*time.Minute
		}
		if !pick(4) {
			f := FileID{ID: ids[len(ids)-1-n] + 1, Location: "/" + words(40)}
			if pick(2) {
				f.Rollover, f.Retention = MinRollover+time.Duration(r.IntN(10076))*time.Minute, MinRetention+time.Duration(r.IntN(500))*time.Hour
			}
			if pick(2) {
				f.Description = words(MaxDescription)
			}
			if pick(2) {
				f.BackupLocation = "/backup/" + words(40)
			}
			c.FileIDs = append(c.FileIDs, f)
			p.To = Destination(f.ID)
		}
		c.Policies = append(c.Policies, p)
		byType[typ] = append(byType[typ], p.ID)
	}
	for _, typ := range Types() {
		for range r.IntN(5) {
			o := Object{Type: typ, ID: label(), CollectStats: !pick(4)}
			if of := byType[typ]; len(of) > 0 && pick(2) {
				o.Policy = of[r.IntN(len(of))]
			}
			if typ == Access {
				o.Service, o.EgressMeters = label(), r.IntN(MaxEgress+1)
			}
			if typ == Access || typ == AccessPort {
				o.CounterMode = CounterMode(r.IntN(len(modeNames)))
			}
			if typ == Access || typ == AccessPort || typ == NetworkIf {
				o.Meters = r.IntN(MaxMeters + 1)
			}
			if typ == AccessPort || typ == Network {
				o.Queues = r.IntN(MaxQueues + 1)
			}
			if typ == SAA {
				o.Owner = label()
			} else if pick(2) {
				o.Link = label()
			}
			if pick(2) && o.Link != "" {
				o.NFT = fullObject(typ, "nft", false).NFT
				o.TC = fullObject(typ, "tc", false).TC
				if typ == NetworkIf || typ == SDP {
					o.TC = nil
				}
			}
			c.Objects = append(c.Objects, o)
		}
	}
	return c
}

// bare takes out what a text adds: lines.
func bare(c Config) Config {
	c.given, c.Source.given, c.Source.Line = nil, nil, 0
	for i := range c.FileIDs {
		c.FileIDs[i].given, c.FileIDs[i].Line = nil, 0
	}
	for i := range c.Policies {
		c.Policies[i].given, c.Policies[i].Line = nil, 0
	}
	for i := range c.Objects {
		o := &c.Objects[i]
		o.Line = 0
		if o.NFT != nil {
			n := *o.NFT
			n.Line, o.NFT = 0, &n
		}
		if o.TC != nil {
			t := *o.TC
			t.Line, o.TC = 0, &t
		}
	}
	return c
}

// What is printed is read back the same, as YAML and as JSON, with and without
// defaults, and prints the same again.
func TestPrintedConfigurationIsTheSame(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		c := randomConfig(r)
		set, err := New(c)
		if err != nil {
			t.Fatalf("the random configuration breaks rules: %v", err)
		}
		for name, print := range map[string]func() ([]byte, error){"yaml": c.YAML, "json": c.JSON} {
			printed, err := print()
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseYAML(printed)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, printed)
			}
			if !reflect.DeepEqual(bare(back), c) {
				t.Fatalf("%s: read back as\n%+v, was\n%+v\n%s", name, bare(back), c, printed)
			}
		}
		for name, print := range map[string]func() ([]byte, error){"yaml": set.YAML, "json": set.JSON} {
			printed, err := print()
			if err != nil {
				t.Fatal(err)
			}
			again, err := Load(printed)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, printed)
			}
			if !reflect.DeepEqual(bare(again.Config()), bare(set.Config())) {
				t.Fatalf("%s with defaults: another set\n%s", name, printed)
			}
		}
	}
}

// The printed form is the same every time and easy to read.
func TestPrintGolden(t *testing.T) {
	set, err := Load([]byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseYAML([]byte(valid))
	if err != nil {
		t.Fatal(err)
	}
	short, err := parsed.YAML()
	full, err2 := set.YAML()
	js, err3 := set.JSON()
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "testdata/print.txt", fmt.Sprintf("# as it was written\n%s# with defaults\n%s# as JSON\n%s", short, full, js))
}
