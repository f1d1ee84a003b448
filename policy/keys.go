package policy

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"acctpull/record"
)

// The keys of the YAML: the parser reads by these tables and Reference prints
// them, so neither can know a key that the other does not.

func span(least, most, unit time.Duration) string {
	return fmt.Sprintf("%d–%d %s", least/unit, most/unit, units[unit])
}

func upTo(most int) string { return fmt.Sprintf("1–%d", most) }

var (
	idLimits   = fmt.Sprintf("%d–%d", MinID, MaxID)
	textLimits = fmt.Sprintf("up to %d printable ASCII characters", MaxText)
	descLimits = fmt.Sprintf("up to %d printable ASCII characters", MaxDescription)
)

var configKeys = []key[Config]{
	{"system-name", "text", fmt.Sprintf("up to %d printable ASCII characters", maxSystem), "left out", "The name of this system in the header of every file.",
		func(d *decoder, k string, n *yaml.Node, c *Config) bool { return d.text(k, n, &c.System) }},
	{"source", "mapping", "", "linux", "Where counters come from.",
		func(d *decoder, k string, n *yaml.Node, c *Config) bool {
			c.Source.Line = n.Line
			c.Source.given = decode(d, k, n, &c.Source, sourceKeys)
			return c.Source.given != nil
		}},
	{"file-ids", "list", "", "none", "Where files lie and how long they live. One policy writes to one file-id.",
		func(d *decoder, _ string, n *yaml.Node, c *Config) bool {
			return list(d, "file-id", n, fileKeys, func(f FileID, line int, g given) {
				f.Line, f.given = line, g
				c.FileIDs = append(c.FileIDs, f)
			}, FileID{})
		}},
	{"accounting-policies", "list", "", "none", "What is collected, how often, and where to.",
		func(d *decoder, _ string, n *yaml.Node, c *Config) bool {
			return list(d, "accounting-policy", n, policyKeys, func(p AccountingPolicy, line int, g given) {
				p.Line, p.given = line, g
				c.Policies = append(c.Policies, p)
			}, AccountingPolicy{})
		}},
	{"objects", "mapping", "", "none", "What is measured, by kind.",
		func(d *decoder, k string, n *yaml.Node, c *Config) bool {
			return decode(d, k, n, &c.Objects, objectLists) != nil
		}},
}

var sourceKeys = []key[SourceConfig]{
	{"kind", "word", SourceLinux + " or " + SourceSynthetic, SourceLinux, "`linux` reads the 64-bit counters of the network links of this machine; `synthetic` makes counters up.",
		func(d *decoder, k string, n *yaml.Node, s *SourceConfig) bool { return d.text(k, n, &s.Kind) }},
	{"namespace", "text", "a name below /run/netns or an absolute path", "the agent's own", "The network namespace in which `linux` looks for links.",
		func(d *decoder, k string, n *yaml.Node, s *SourceConfig) bool { return d.text(k, n, &s.Namespace) }},
	{"seed", "number", "0 to 2^64-1", "0", "The same seed makes `synthetic` give the same counters.",
		func(d *decoder, k string, n *yaml.Node, s *SourceConfig) bool { return d.seed(k, n, &s.Seed) }},
	{"idle", "number", "0–100 percent", "0", "How many of the objects of `synthetic` have no traffic.",
		func(d *decoder, k string, n *yaml.Node, s *SourceConfig) bool { return d.integer(k, n, &s.Idle) }},
}

var fileKeys = []key[FileID]{
	{"id", "number", idLimits, "required", "The number; it stands in the names of the files.",
		func(d *decoder, k string, n *yaml.Node, f *FileID) bool { return d.integer(k, n, &f.ID) }},
	{"description", "text", descLimits, "empty", "For people.",
		func(d *decoder, k string, n *yaml.Node, f *FileID) bool { return d.text(k, n, &f.Description) }},
	{"location", "directory", fmt.Sprintf("up to %d bytes", maxDirPath), "required", "Stands for the device's flash card: the open file lies in `" + CollectDir + "/` below it, closed files in `" + ArchiveDir + "/`. Missing directories are made.",
		func(d *decoder, k string, n *yaml.Node, f *FileID) bool { return d.text(k, n, &f.Location) }},
	{"rollover", "minutes", span(MinRollover, MaxRollover, time.Minute), fmt.Sprint(int(DefaultRollover / time.Minute)), "How long a file is written to. The first write after that closes it and begins another.",
		func(d *decoder, k string, n *yaml.Node, f *FileID) bool {
			return d.duration(k, n, time.Minute, &f.Rollover)
		}},
	{"retention", "hours", span(MinRetention, MaxRetention, time.Hour), fmt.Sprint(int(DefaultRetention / time.Hour)), "How long a closed file is kept at least.",
		func(d *decoder, k string, n *yaml.Node, f *FileID) bool {
			return d.duration(k, n, time.Hour, &f.Retention)
		}},
}

var policyKeys = []key[AccountingPolicy]{
	{"id", "number", idLimits, "required", "The number; it stands in the names of the files.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool { return d.integer(k, n, &p.ID) }},
	{"description", "text", descLimits, "empty", "For people; it also stands in the header of every file.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool {
			return d.text(k, n, &p.Description)
		}},
	{"type", "word", typeList(), "the type of the record", "Checked against the record.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool {
			return word(d, k, n, &p.Type, ParseType, typeList())
		}},
	{"record", "record name", "one name; `acctpull records` lists them", "required in service", "What is collected. A record name serves one policy.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool {
			var s string
			ok := d.text(k, n, &s)
			p.Record = record.Name(s)
			return ok
		}},
	{"collection-interval", "minutes", span(MinInterval, MaxInterval, time.Minute), "that of the record: 5 or 15", "How often.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool {
			return d.duration(k, n, time.Minute, &p.CollectionInterval)
		}},
	{"to", "`file N` or `no-file`", "a file-id that no other policy uses", "required in service", "Where the records go; `no-file` collects and stores nothing.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool { return d.destination(k, n, &p.To) }},
	{"default", "true or false", "one policy of a type", "false", "The policy of all objects of its type that collect statistics and name no policy.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool { return d.boolean(k, n, &p.Default) }},
	{"align", "true or false", "", "false", "Collect when the clock (UTC) is divisible by the interval; otherwise the first interval begins when the agent starts.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool { return d.boolean(k, n, &p.Align) }},
	{"shutdown", "true or false", "", "false", "Out of service: nothing is collected, and record and destination may be missing.",
		func(d *decoder, k string, n *yaml.Node, p *AccountingPolicy) bool {
			return d.boolean(k, n, &p.Shutdown)
		}},
}

// objectLists are the lists of objects, one per type.
var objectLists = []key[[]Object]{
	objectList("saps", Access, "SAPs.", sapKeys),
	objectList("access-ports", AccessPort, "Access ports.", accessPortKeys),
	objectList("network-ports", Network, "Network ports.", networkPortKeys),
	objectList("network-interfaces", NetworkIf, "Network IP interfaces.", interfaceKeys),
	objectList("sdps", SDP, "SDPs and SDP bindings.", sdpKeys),
}

func objectList(name string, t Type, doc string, keys []key[Object]) key[[]Object] {
	return key[[]Object]{name, "list", "", "none", doc, func(d *decoder, _ string, n *yaml.Node, all *[]Object) bool {
		return list(d, t.Object(), n, keys, func(o Object, line int, g given) {
			o.Line = line
			for _, f := range objectBits {
				if g.bad(f.key) {
					o.bad |= f.bit
				}
			}
			*all = append(*all, o)
		}, Object{Type: t, CollectStats: true})
	}}
}

// objectBits are the keys whose values the rules look at.
var objectBits = []struct {
	key string
	bit badFields
}{
	{"sap", badID}, {"port", badID}, {"interface", badID}, {"sdp", badID}, {"service", badService}, {"accounting-policy", badPolicy},
	{"link", badLink}, {"meters", badMeters}, {"egress-meters", badEgress}, {"queues", badQueues},
}

func objectID(name, doc string) key[Object] {
	return key[Object]{name, "text", textLimits, "required", doc, func(d *decoder, k string, n *yaml.Node, o *Object) bool { return d.text(k, n, &o.ID) }}
}

func service(limits, def, doc string) key[Object] {
	return key[Object]{"service", "text", limits, def, doc, func(d *decoder, k string, n *yaml.Node, o *Object) bool { return d.text(k, n, &o.Service) }}
}

var (
	objectLinkKey = key[Object]{"link", "link name", upTo(MaxLink) + " bytes", "required by the source linux", "The network link whose counters are those of the object; one object of a kind per link.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool { return d.text(k, n, &o.Link) }}
	policyKey = key[Object]{"accounting-policy", "number", "a policy of the object's type", "the default policy of the type", "The policy that collects the object.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool {
			return d.positive(k, n, MaxID, &o.Policy)
		}}
	collectKey = key[Object]{"collect-stats", "true or false", "", "true", "Off: the counters go on, nothing is written.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool { return d.boolean(k, n, &o.CollectStats) }}
	modeKey = key[Object]{"counter-mode", "word", strings.Join(modeNames[:], " or "), modeNames[0], "What ingress meters count. `linux` knows no meters and no profiles.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool {
			return word(d, k, n, &o.CounterMode, ParseCounterMode, strings.Join(modeNames[:], ", "))
		}}
	metersKey = key[Object]{"meters", "number", upTo(MaxMeters), fmt.Sprint(defMeters), "How many ingress meters; used by `synthetic`.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool {
			return d.positive(k, n, MaxMeters, &o.Meters)
		}}
	egressKey = key[Object]{"egress-meters", "number", upTo(MaxEgress), "none", "How many egress meters with counters of their own; used by `synthetic`.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool {
			return d.positive(k, n, MaxEgress, &o.EgressMeters)
		}}
	queuesKey = key[Object]{"queues", "number", upTo(MaxQueues), fmt.Sprint(defQueues), "How many queues; used by `synthetic`.",
		func(d *decoder, k string, n *yaml.Node, o *Object) bool {
			return d.positive(k, n, MaxQueues, &o.Queues)
		}}
)

var (
	sapKeys = []key[Object]{
		objectID("sap", "The SAP id, `port:encap`; unique."), service(textLimits, "required", "The service of the SAP."),
		objectLinkKey, policyKey, collectKey, modeKey, metersKey, egressKey,
	}
	accessPortKeys  = []key[Object]{objectID("port", "The port id; unique among access ports."), objectLinkKey, policyKey, collectKey, modeKey, metersKey, queuesKey}
	networkPortKeys = []key[Object]{objectID("port", "The port id; unique among network ports."), objectLinkKey, policyKey, collectKey, queuesKey}
	interfaceKeys   = []key[Object]{objectID("interface", "The name of the interface; unique."), objectLinkKey, policyKey, collectKey, metersKey}
	sdpKeys         = []key[Object]{
		objectID("sdp", "The SDP id; unique together with the service."), service(textLimits, "none: the SDP as a whole", "The service of an SDP binding."),
		objectLinkKey, policyKey, collectKey,
	}
)

// positive reads a number of which 0, in Go the default, would be a mistake.
func (d *decoder) positive(k string, n *yaml.Node, most int, v *int) bool {
	if !d.integer(k, n, v) {
		return false
	}
	if *v == 0 {
		d.fail(RuleObjectFields, n.Line, k, "0 is outside 1–%d", most)
		return false
	}
	return true
}

// word reads one of a few words.
func word[T any](d *decoder, k string, n *yaml.Node, v *T, parse func(string) (T, bool), words string) bool {
	if !d.kind(k, n, yaml.ScalarNode) {
		return false
	}
	t, ok := parse(n.Value)
	if !ok {
		d.fail(RuleValue, n.Line, k, "%q is none of %s", bounded(n.Value), words)
		return false
	}
	*v = t
	return true
}

// Reference returns the tables of every key and rule as Markdown. docs/configuration.md
// contains them, and a test keeps the two alike.
func Reference() string {
	var b strings.Builder
	table(&b, "The whole", configKeys)
	table(&b, "source", sourceKeys)
	table(&b, "file-ids", fileKeys)
	table(&b, "accounting-policies", policyKeys)
	table(&b, "objects", objectLists)
	table(&b, "objects: saps", sapKeys)
	table(&b, "objects: access-ports", accessPortKeys)
	table(&b, "objects: network-ports", networkPortKeys)
	table(&b, "objects: network-interfaces", interfaceKeys)
	table(&b, "objects: sdps", sdpKeys)
	b.WriteString("### Rules\n\n| rule | demands |\n|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r.Rule, r.Doc)
	}
	return b.String()
}

func table[T any](b *strings.Builder, title string, keys []key[T]) {
	fmt.Fprintf(b, "### %s\n\n| key | value | range | default | meaning |\n|---|---|---|---|---|\n", title)
	for _, k := range keys {
		limits := k.limits
		if limits == "" {
			limits = "–"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", k.name, k.typ, limits, k.def, k.doc)
	}
	b.WriteString("\n")
}
