package policy

import (
	"fmt"
	"strings"
	"time"

	"acctpull/record"
)

// The keys of the YAML. The parser reads by these tables, the printer writes by
// them, and Reference and Schema are made of them, so none of the four can know
// a key that another does not.

var configKeys = []key[Config]{
	textKey("system-name", line80, "The name of this system, for the files of policies with `include-system-info`.",
		func(c *Config) *string { return &c.System }).or("none"),
	textKey("control-socket", freeText(fmt.Sprintf("an absolute path of up to %d bytes, or %s", MaxControlSocket, NoControlSocket), MaxControlSocket),
		"The socket by which `acctpull show`, `clear` and `reload` reach the running agent.",
		func(c *Config) *string { return &c.ControlSocket }).or("`" + controlName + "` in the location of the first file-id"),
	sectionKey("source", "Where counters come from.", sourceKeys,
		func(c *Config) *SourceConfig { return &c.Source },
		func(c *Config, line int, g given) { c.Source.Line, c.Source.given = line, g }).or("linux"),
	listKey("file-ids", "file-id", "Where files lie and how long they live. One policy writes to one file-id.", fileKeys, FileID{},
		func(c *Config) []FileID { return c.FileIDs },
		func(c *Config, f FileID, line int, g given) {
			f.Line, f.given = line, g
			c.FileIDs = append(c.FileIDs, f)
		}),
	listKey("accounting-policies", "accounting-policy", "What is collected, how often, and where to.", policyKeys, AccountingPolicy{},
		func(c *Config) []AccountingPolicy { return c.Policies },
		func(c *Config, p AccountingPolicy, line int, g given) {
			p.Line, p.given = line, g
			c.Policies = append(c.Policies, p)
		}),
	sectionKey("objects", "What is measured, by kind.", objectLists,
		func(c *Config) *[]Object { return &c.Objects }, nil).or("none"),
}

var sourceKeys = []key[SourceConfig]{
	wordKey("kind", sourceKinds, "`linux` reads the 64-bit counters of the network links of this machine; `synthetic` makes counters up; `replay` gives out recorded accounting files again.",
		func(s *SourceConfig) *string { return &s.Kind }, anyWord, plainWord).byDefault(SourceLinux),
	textKey("namespace", freeText("a name below /run/netns or an absolute path", maxDirPath), "The network namespace in which `linux` looks for links.",
		func(s *SourceConfig) *string { return &s.Namespace }).or("the agent's own"),
	seedKey("seed", "The same seed makes `synthetic` give the same counters.",
		func(s *SourceConfig) *uint64 { return &s.Seed }),
	numberKey("idle", 0, 100, "How many of the objects of `synthetic` have no traffic.",
		func(s *SourceConfig) *int { return &s.Idle }).in("percent").byDefault(0),
	textsKey("path", freeText("directories and files", maxDirPath), "The recording that `replay` gives out: the `.xml.gz` and `.xml` files of a directory in the order of their creation, or files in the order given.",
		func(s *SourceConfig) *[]string { return &s.Path }).or("required by the source replay"),
	textKey("profile", directory, "The profile that tells `replay` how to read the recording (docs/formats/profile.md).",
		func(s *SourceConfig) *string { return &s.Profile }).or("none"),
	flagKey("loop", false, "`replay` begins again behind the end of the recording; otherwise it ends there, and nothing more is collected.",
		func(s *SourceConfig) *bool { return &s.Loop }),
}

var fileKeys = []key[FileID]{
	numberKey("id", MinID, MaxID, "The number; it stands in the names of the files.",
		func(f *FileID) *int { return &f.ID }).required(),
	textKey("description", line80, "For people.",
		func(f *FileID) *string { return &f.Description }).or("empty"),
	textKey("location", directory, "Stands for the device's flash card: the open file lies in `"+CollectDir+"/` below it, closed files in `"+ArchiveDir+"/`. Missing directories are made.",
		func(f *FileID) *string { return &f.Location }).required(),
	textKey("backup-location", directory, "Where a file is created when it cannot be at the location. The location is tried again with the next file.",
		func(f *FileID) *string { return &f.BackupLocation }).or("none"),
	spanKey("rollover", MinRollover, MaxRollover, time.Minute, "How long a file is written to. The first write after that closes it and begins another.",
		func(f *FileID) *time.Duration { return &f.Rollover }).byDefault(int(DefaultRollover / time.Minute)),
	spanKey("retention", MinRetention, MaxRetention, time.Hour, "How long a closed file is kept at least.",
		func(f *FileID) *time.Duration { return &f.Retention }).byDefault(int(DefaultRetention / time.Hour)),
}

var policyKeys = []key[AccountingPolicy]{
	numberKey("id", MinID, MaxID, "The number; it stands in the names of the files.",
		func(p *AccountingPolicy) *int { return &p.ID }).required(),
	textKey("description", line80, "For people; it also stands in the header of every file.",
		func(p *AccountingPolicy) *string { return &p.Description }).or("empty"),
	wordKey("type", typeNames[1:], "Checked against the record.",
		func(p *AccountingPolicy) *Type { return &p.Type }, ParseType, Type.String).or("the type of the record"),
	recordKey("record", "What is collected. A record name serves one policy.",
		func(p *AccountingPolicy) *record.Name { return &p.Record }).or("required in service"),
	spanKey("collection-interval", MinTestInterval, MaxInterval, time.Minute, "How often.",
		func(p *AccountingPolicy) *time.Duration { return &p.CollectionInterval }).only("5–120 minutes, with record saa 1–120").or("that of the record: 5 or 15"),
	destinationKey("to", "Where the records go; `no-file` collects and stores nothing.",
		func(p *AccountingPolicy) *Destination { return &p.To }).or("required in service"),
	flagKey("default", false, "The policy of all objects of its type that collect statistics and name no policy.",
		func(p *AccountingPolicy) *bool { return &p.Default }).only("one policy of a type"),
	flagKey("align", false, "Collect when the clock (UTC) is divisible by the interval; otherwise the first interval begins when the agent starts.",
		func(p *AccountingPolicy) *bool { return &p.Align }),
	flagKey("include-system-info", false, "Put the `system-name`, the program and the time zone of the times in file names at the top of every file.",
		func(p *AccountingPolicy) *bool { return &p.IncludeSystemInfo }),
	flagKey("log-memory", false, "Hold intervals in memory and write them to the flash when the memory is full, at rollover and at the end. A crash loses what is in memory.",
		func(p *AccountingPolicy) *bool { return &p.LogMemory }),
	numberKey("log-memory-size", 1, MaxLogMemory, "How much `log-memory` holds, compressed.",
		func(p *AccountingPolicy) *int { return &p.LogMemorySize }).in("KiB").byDefault(MaxLogMemory),
	flagKey("shutdown", false, "Out of service: nothing is collected, and record and destination may be missing.",
		func(p *AccountingPolicy) *bool { return &p.Shutdown }),
}

// objectLists are the lists of objects, one per type.
var objectLists = []key[[]Object]{
	objectList("saps", Access, "SAPs.", sapKeys),
	objectList("access-ports", AccessPort, "Access ports.", accessPortKeys),
	objectList("network-ports", Network, "Network ports.", networkPortKeys),
	objectList("network-interfaces", NetworkIf, "Network IP interfaces.", interfaceKeys),
	objectList("sdps", SDP, "SDPs and SDP bindings.", sdpKeys),
	objectList("saa-tests", SAA, "Tests of the service assurance agent; they have no default policy.", testKeys),
}

func objectList(name string, t Type, doc string, keys []key[Object]) key[[]Object] {
	return listKey(name, t.Object(), doc, keys, Object{Type: t, CollectStats: true},
		func(all *[]Object) []Object {
			var mine []Object
			for _, o := range *all {
				if o.Type == t {
					mine = append(mine, o)
				}
			}
			return mine
		},
		func(all *[]Object, o Object, line int, g given) {
			o.Line = line
			for _, f := range objectBits {
				if g.bad(f.key) {
					o.bad |= f.bit
				}
			}
			*all = append(*all, o)
		})
}

// objectBits are the keys whose values the rules look at.
var objectBits = []struct {
	key string
	bit badFields
}{
	{"sap", badID}, {"port", badID}, {"interface", badID}, {"sdp", badID}, {"test", badID}, {"owner", badOwner}, {"service", badService}, {"accounting-policy", badPolicy},
	{"link", badLink}, {"meters", badMeters}, {"egress-meters", badEgress}, {"queues", badQueues}, {"nft", badNFT}, {"tc", badTC},
}

func objectID(name, doc string) key[Object] {
	return textKey(name, label, doc, func(o *Object) *string { return &o.ID }).required()
}

func service(doc string) key[Object] {
	return textKey("service", label, doc, func(o *Object) *string { return &o.Service })
}

var (
	objectLinkKey = textKey("link", linkName, "The network link whose counters are those of the object; one object of a kind per link.",
		func(o *Object) *string { return &o.Link }).or("none; `linux` needs `link`, `nft` or `tc`")
	policyKey = countKey("accounting-policy", MaxID, "The policy that collects the object.",
		func(o *Object) *int { return &o.Policy }).only("a policy of the object's type").or("the default policy of the type")
	collectKey = flagKey("collect-stats", true, "Off: the counters go on, nothing is written.",
		func(o *Object) *bool { return &o.CollectStats })
	modeKey = wordKey("counter-mode", modeNames[:], "What ingress meters count. `linux` knows meters by the counters in `nft`.",
		func(o *Object) *CounterMode { return &o.CounterMode }, ParseCounterMode, CounterMode.String).byDefault(modeNames[0])
	metersKey = countKey("meters", MaxMeters, "How many ingress meters; used by `synthetic`.",
		func(o *Object) *int { return &o.Meters }).byDefault(defMeters)
	egressKey = countKey("egress-meters", MaxEgress, "How many egress meters. They have counters of their own only if the SAP has an aggregate meter, so none is the usual case; used by `synthetic`.",
		func(o *Object) *int { return &o.EgressMeters }).or("none")
	queuesKey = countKey("queues", MaxQueues, "How many queues; used by `synthetic`.",
		func(o *Object) *int { return &o.Queues }).byDefault(defQueues)
)

var (
	sapKeys = []key[Object]{
		objectID("sap", "The SAP id, `port:encap`; unique."), service("The service of the SAP.").required(),
		objectLinkKey, policyKey, collectKey, modeKey, metersKey, egressKey, nftKey, tcKey,
	}
	accessPortKeys  = []key[Object]{objectID("port", "The port id; unique among access ports."), objectLinkKey, policyKey, collectKey, modeKey, metersKey, queuesKey, nftKey, tcKey}
	networkPortKeys = []key[Object]{objectID("port", "The port id; unique among network ports."), objectLinkKey, policyKey, collectKey, queuesKey, nftKey, tcKey}
	interfaceKeys   = []key[Object]{objectID("interface", "The name of the interface; unique."), objectLinkKey, policyKey, collectKey, metersKey, nftKey}
	testKeys        = []key[Object]{
		objectID("test", "The name of the test; unique together with the owner."),
		textKey("owner", label, "The owner of the test.", func(o *Object) *string { return &o.Owner }).required(),
		policyKey, collectKey,
	}
	sdpKeys = []key[Object]{
		objectID("sdp", "The SDP id; unique together with the service."), service("The service of an SDP binding.").or("none: the SDP as a whole"),
		objectLinkKey, policyKey, collectKey, nftKey,
	}
)

// Reference returns the tables of every key, rule and warning as Markdown. docs/configuration.md
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
	table(&b, "objects: saa-tests", testKeys)
	table(&b, "objects: nft", nftKeys)
	table(&b, "objects: nft: one meter or queue", memberKeys)
	table(&b, "objects: tc", tcKeys)
	b.WriteString("### Rules\n\n| rule | demands |\n|---|---|\n")
	for _, r := range Rules() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r.Rule, r.Doc)
	}
	b.WriteString("\n### Warnings\n\n| warning | about |\n|---|---|\n")
	for _, r := range Warnings() {
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
