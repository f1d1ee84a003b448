package policy

import (
	"fmt"
	"strings"
	"time"

	"acctpull/internal/strictyaml"
	"acctpull/record"
)

// The keys of the YAML. The parser reads by these tables, the printer writes by
// them, and Reference and Schema are made of them, so none of the four can know
// a key that another does not.

var configKeys = []key[Config]{
	strictyaml.TextKey("system-name", line80, "The name of this system, for the files of policies with `include-system-info`.",
		func(c *Config) *string { return &c.System }).Or("none"),
	strictyaml.TextKey("control-socket", freeText(fmt.Sprintf("an absolute path of up to %d bytes, or %s", MaxControlSocket, NoControlSocket), MaxControlSocket),
		"The socket by which `acctpull show`, `clear` and `reload` reach the running agent.",
		func(c *Config) *string { return &c.ControlSocket }).Or("`" + controlName + "` in the location of the first file-id"),
	strictyaml.SectionKey("source", "Where counters come from.", sourceKeys,
		func(c *Config) *SourceConfig { return &c.Source },
		func(c *Config, line int, g given) { c.Source.Line, c.Source.given = line, g }).Or("linux"),
	strictyaml.ListKey("file-ids", "file-id", "Where files lie and how long they live. One policy writes to one file-id.", fileKeys, FileID{},
		func(c *Config) []FileID { return c.FileIDs },
		func(c *Config, f FileID, line int, g given) {
			f.Line, f.given = line, g
			c.FileIDs = append(c.FileIDs, f)
		}),
	strictyaml.ListKey("accounting-policies", "accounting-policy", "What is collected, how often, and where to.", policyKeys, AccountingPolicy{},
		func(c *Config) []AccountingPolicy { return c.Policies },
		func(c *Config, p AccountingPolicy, line int, g given) {
			p.Line, p.given = line, g
			c.Policies = append(c.Policies, p)
		}),
	strictyaml.SectionKey("objects", "What is measured, by kind.", objectLists,
		func(c *Config) *[]Object { return &c.Objects }, nil).Or("none"),
}

var sourceKeys = []key[SourceConfig]{
	strictyaml.WordKey("kind", sourceKinds, "`linux` reads the 64-bit counters of the network links of this machine; `synthetic` makes counters up; `replay` gives out recorded accounting files again.",
		func(s *SourceConfig) *string { return &s.Kind }, anyWord, plainWord).ByDefault(SourceLinux),
	strictyaml.TextKey("namespace", freeText("a name below /run/netns or an absolute path", maxDirPath), "The network namespace in which `linux` looks for links.",
		func(s *SourceConfig) *string { return &s.Namespace }).Or("the agent's own"),
	strictyaml.SeedKey("seed", "The same seed makes `synthetic` give the same counters.",
		func(s *SourceConfig) *uint64 { return &s.Seed }),
	strictyaml.NumberKey("idle", 0, 100, "How many of the objects of `synthetic` have no traffic.",
		func(s *SourceConfig) *int { return &s.Idle }).In("percent").ByDefault(0),
	strictyaml.TextsKey("path", freeText("directories and files", maxDirPath), "The recording that `replay` gives out: the `.xml.gz` and `.xml` files of a directory in the order of their creation, or files in the order given.",
		func(s *SourceConfig) *[]string { return &s.Path }).Or("required by the source replay"),
	strictyaml.TextKey("profile", directory, "The profile that tells `replay` how to read the recording (docs/formats/profile.md).",
		func(s *SourceConfig) *string { return &s.Profile }).Or("none"),
	strictyaml.FlagKey("loop", false, "`replay` begins again behind the end of the recording; otherwise it ends there, and nothing more is collected.",
		func(s *SourceConfig) *bool { return &s.Loop }),
}

var fileKeys = []key[FileID]{
	strictyaml.NumberKey("id", MinID, MaxID, "The number; it stands in the names of the files.",
		func(f *FileID) *int { return &f.ID }).Required(),
	strictyaml.TextKey("description", line80, "For people.",
		func(f *FileID) *string { return &f.Description }).Or("empty"),
	strictyaml.TextKey("location", directory, "Stands for the device's flash card: the open file lies in `"+CollectDir+"/` below it, closed files in `"+ArchiveDir+"/`. Missing directories are made.",
		func(f *FileID) *string { return &f.Location }).Required(),
	strictyaml.TextKey("backup-location", directory, "Where a file is created when it cannot be at the location. The location is tried again with the next file.",
		func(f *FileID) *string { return &f.BackupLocation }).Or("none"),
	strictyaml.SpanKey("rollover", MinRollover, MaxRollover, time.Minute, "How long a file is written to. The first write after that closes it and begins another.",
		func(f *FileID) *time.Duration { return &f.Rollover }).ByDefault(int(DefaultRollover / time.Minute)),
	strictyaml.SpanKey("retention", MinRetention, MaxRetention, time.Hour, "How long a closed file is kept at least.",
		func(f *FileID) *time.Duration { return &f.Retention }).ByDefault(int(DefaultRetention / time.Hour)),
}

var policyKeys = []key[AccountingPolicy]{
	strictyaml.NumberKey("id", MinID, MaxID, "The number; it stands in the names of the files.",
		func(p *AccountingPolicy) *int { return &p.ID }).Required(),
	strictyaml.TextKey("description", line80, "For people; it also stands in the header of every file.",
		func(p *AccountingPolicy) *string { return &p.Description }).Or("empty"),
	strictyaml.WordKey("type", typeNames[1:], "Checked against the record.",
		func(p *AccountingPolicy) *Type { return &p.Type }, ParseType, Type.String).Or("the type of the record"),
	recordKey("record", "What is collected. A record name serves one policy.",
		func(p *AccountingPolicy) *record.Name { return &p.Record }).Or("required in service"),
	strictyaml.SpanKey("collection-interval", MinTestInterval, MaxInterval, time.Minute, "How often.",
		func(p *AccountingPolicy) *time.Duration { return &p.CollectionInterval }).Only("5–120 minutes, with record saa 1–120").Or("that of the record: 5 or 15"),
	destinationKey("to", "Where the records go; `no-file` collects and stores nothing.",
		func(p *AccountingPolicy) *Destination { return &p.To }).Or("required in service"),
	strictyaml.FlagKey("default", false, "The policy of all objects of its type that collect statistics and name no policy.",
		func(p *AccountingPolicy) *bool { return &p.Default }).Only("one policy of a type"),
	strictyaml.FlagKey("align", false, "Collect when the clock (UTC) is divisible by the interval; otherwise the first interval begins when the agent starts.",
		func(p *AccountingPolicy) *bool { return &p.Align }),
	strictyaml.FlagKey("include-system-info", false, "Put the `system-name`, the program and the time zone of the times in file names at the top of every file.",
		func(p *AccountingPolicy) *bool { return &p.IncludeSystemInfo }),
	strictyaml.FlagKey("log-memory", false, "Hold intervals in memory and write them to the flash when the memory is full, at rollover and at the end. A crash loses what is in memory.",
		func(p *AccountingPolicy) *bool { return &p.LogMemory }),
	strictyaml.NumberKey("log-memory-size", 1, MaxLogMemory, "How much `log-memory` holds, compressed.",
		func(p *AccountingPolicy) *int { return &p.LogMemorySize }).In("KiB").ByDefault(MaxLogMemory),
	strictyaml.FlagKey("shutdown", false, "Out of service: nothing is collected, and record and destination may be missing.",
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
	return strictyaml.ListKey(name, t.Object(), doc, keys, Object{Type: t, CollectStats: true},
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
				if g.Bad(f.key) {
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
	return strictyaml.TextKey(name, label, doc, func(o *Object) *string { return &o.ID }).Required()
}

func service(doc string) key[Object] {
	return strictyaml.TextKey("service", label, doc, func(o *Object) *string { return &o.Service })
}

var (
	objectLinkKey = strictyaml.TextKey("link", linkName, "The network link whose counters are those of the object; one object of a kind per link.",
		func(o *Object) *string { return &o.Link }).Or("none; `linux` needs `link`, `nft` or `tc`")
	policyKey = countKey("accounting-policy", MaxID, "The policy that collects the object.",
		func(o *Object) *int { return &o.Policy }).Only("a policy of the object's type").Or("the default policy of the type")
	collectKey = strictyaml.FlagKey("collect-stats", true, "Off: the counters go on, nothing is written.",
		func(o *Object) *bool { return &o.CollectStats })
	modeKey = strictyaml.WordKey("counter-mode", modeNames[:], "What ingress meters count. `linux` knows meters by the counters in `nft`.",
		func(o *Object) *CounterMode { return &o.CounterMode }, ParseCounterMode, CounterMode.String).ByDefault(modeNames[0])
	metersKey = countKey("meters", MaxMeters, "How many ingress meters; used by `synthetic`.",
		func(o *Object) *int { return &o.Meters }).ByDefault(defMeters)
	egressKey = countKey("egress-meters", MaxEgress, "How many egress meters. They have counters of their own only if the SAP has an aggregate meter, so none is the usual case; used by `synthetic`.",
		func(o *Object) *int { return &o.EgressMeters }).Or("none")
	queuesKey = countKey("queues", MaxQueues, "How many queues; used by `synthetic`.",
		func(o *Object) *int { return &o.Queues }).ByDefault(defQueues)
)

var (
	sapKeys = []key[Object]{
		objectID("sap", "The SAP id, `port:encap`; unique."), service("The service of the SAP.").Required(),
		objectLinkKey, policyKey, collectKey, modeKey, metersKey, egressKey, nftKey, tcKey,
	}
	accessPortKeys  = []key[Object]{objectID("port", "The port id; unique among access ports."), objectLinkKey, policyKey, collectKey, modeKey, metersKey, queuesKey, nftKey, tcKey}
	networkPortKeys = []key[Object]{objectID("port", "The port id; unique among network ports."), objectLinkKey, policyKey, collectKey, queuesKey, nftKey, tcKey}
	interfaceKeys   = []key[Object]{objectID("interface", "The name of the interface; unique."), objectLinkKey, policyKey, collectKey, metersKey, nftKey}
	testKeys        = []key[Object]{
		objectID("test", "The name of the test; unique together with the owner."),
		strictyaml.TextKey("owner", label, "The owner of the test.", func(o *Object) *string { return &o.Owner }).Required(),
		policyKey, collectKey,
	}
	sdpKeys = []key[Object]{
		objectID("sdp", "The SDP id; unique together with the service."), service("The service of an SDP binding.").Or("none: the SDP as a whole"),
		objectLinkKey, policyKey, collectKey, nftKey,
	}
)

// Reference returns the tables of every key, rule and warning as Markdown. docs/configuration.md
// contains them, and a test keeps the two alike.
func Reference() string {
	var b strings.Builder
	strictyaml.Table(&b, "The whole", configKeys)
	strictyaml.Table(&b, "source", sourceKeys)
	strictyaml.Table(&b, "file-ids", fileKeys)
	strictyaml.Table(&b, "accounting-policies", policyKeys)
	strictyaml.Table(&b, "objects", objectLists)
	strictyaml.Table(&b, "objects: saps", sapKeys)
	strictyaml.Table(&b, "objects: access-ports", accessPortKeys)
	strictyaml.Table(&b, "objects: network-ports", networkPortKeys)
	strictyaml.Table(&b, "objects: network-interfaces", interfaceKeys)
	strictyaml.Table(&b, "objects: sdps", sdpKeys)
	strictyaml.Table(&b, "objects: saa-tests", testKeys)
	strictyaml.Table(&b, "objects: nft", nftKeys)
	strictyaml.Table(&b, "objects: nft: one meter or queue", memberKeys)
	strictyaml.Table(&b, "objects: tc", tcKeys)
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
