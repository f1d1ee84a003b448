// Package fleet pulls many devices: who they are (Inventory), when each has to
// be visited so that nothing expires on it (Queue), and the loop that does it
// (Runner). It knows no transport and no file: it calls one function per visit.
package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"acctpull/internal/strictyaml"
	"acctpull/pull"
)

// Limits and defaults of an inventory.
const (
	DefaultEvery   = 15 * time.Minute
	DefaultAtOnce  = 8 // devices at once
	DefaultPerSite = 4 // devices at once at one site

	MinEvery, MaxEvery = time.Minute, 7 * 24 * time.Hour
	MaxAtOnce          = 4096
	MaxDevices         = 200_000
)

// DefaultRetention is that of a device whose own settings nobody gave and nobody
// could learn yet (7210 SAS, "Log Files").
const DefaultRetention = 12 * time.Hour

// Inventory is the configuration of the pull service.
type Inventory struct {
	// Data is the data directory; see docs/formats/archive.md.
	Data string
	// Ledger is the URL of a PostgreSQL database that nodes share, without
	// its password; "" is a ledger of SQLite in Data, for one process alone.
	Ledger string
	// LedgerPassword refers to the password of that database.
	LedgerPassword pull.Secret
	// Node is what this machine is called among the nodes; "" is its host
	// name.
	Node string
	// Store is an object store for archive and dataset.
	Store Store
	// Chores are the hourly works on the dataset.
	Chores Chores
	// AtOnce is how many devices are pulled at the same time, PerSite how
	// many of them at one site.
	AtOnce, PerSite int
	// Devices are all devices that are not disabled, by name.
	Devices []Device
	// Groups are the names of all groups, sorted.
	Groups []string
	// FileIDs say how long archive and dataset are kept here; none keeps
	// everything. Billing says when a billing month is closed.
	FileIDs []FileID
	Billing Billing
}

// Device is one device with everything that defaults and groups give it.
type Device struct {
	Name string
	// Line is where it stands in the inventory.
	Line int
	// Site is where it is; devices of one site share a bound. "" is a site
	// of its own for every device.
	Site   string
	Groups []string
	// Target is what pull needs; Target.Device is Name.
	Target pull.Target
	// Every is the time between two visits, or Cron a schedule in UTC.
	Every time.Duration
	Cron  *Cron
	// Rollover and Retention are those of the device's accounting files; 0
	// if nobody gave them.
	Rollover, Retention time.Duration
	// Profile, Record and Platform say how its files are read.
	Profile, Record, Platform string
}

// settings are the values of one layer: the defaults, a group or a device.
type settings struct {
	name, host, user, path, site, transport, hostKeyAlias string
	port                                                  int
	identities, identityCredentials, knownHosts, groups   []string
	listing                                               string
	quirks                                                pull.Quirks
	jump                                                  []pull.Target
	password, passphrase                                  pull.Secret
	legacy                                                []string
	disabled, remove                                      bool
	every, rollover, retention                            time.Duration
	cron                                                  *Cron
	profile, record, platform                             string
}

// document is the whole YAML.
type document struct {
	data            string
	ledger, node    string
	ledgerPassword  pull.Secret
	atOnce, perSite int
	store           Store
	chores          Chores
	defaults        settings
	defaultsNode    *yaml.Node
	groups          map[string]*yaml.Node
	jumpHosts       map[string]jumpHost
	devices         []entry
	fileIDs         []FileID
	billing         Billing
}

// jumpHost is a jump host as it stands in the YAML.
type jumpHost struct {
	settings
	node *yaml.Node
}

// entry is a device as it stands in the YAML.
type entry struct {
	own   settings
	node  *yaml.Node
	given strictyaml.Given
}

// ConfigError holds every mistake of an inventory.
type ConfigError struct{ Problems []strictyaml.Problem }

// Error has one line per mistake, at most 100 of them.
func (e *ConfigError) Error() string {
	const most = 100
	var b strings.Builder
	for i, p := range e.Problems {
		if i == most {
			fmt.Fprintf(&b, "\n… and %d more", len(e.Problems)-most)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		if p.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", p.Line)
		}
		if p.Key != "" {
			b.WriteString(p.Key + ": ")
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// Hint tells where the keys are described.
func (e *ConfigError) Hint() string { return "docs/service.md describes every key" }

// Load reads an inventory. The error is a *ConfigError with every mistake.
func Load(data []byte) (*Inventory, error) {
	d := &strictyaml.Decoder{}
	doc := document{chores: Chores{Usage: true, Compact: true}, atOnce: DefaultAtOnce, perSite: DefaultPerSite, groups: map[string]*yaml.Node{}, jumpHosts: map[string]jumpHost{},
		billing: Billing{ClosesAfter: DefaultClosesAfter, Location: time.UTC}}
	if root := d.Document(data); root != nil {
		strictyaml.Decode(d, "inventory", root, &doc, documentKeys)
	}
	inv := doc.inventory(d)
	if p := d.Problems(); len(p) > 0 {
		return nil, &ConfigError{p}
	}
	return inv, nil
}

// rule is the kind of a mistake that is not one of the text alone.
const rule = strictyaml.Kind("inventory")

func (doc *document) inventory(d *strictyaml.Decoder) *Inventory {
	inv := &Inventory{Data: doc.data, Store: doc.store, Ledger: doc.ledger, LedgerPassword: doc.ledgerPassword, Node: doc.node, AtOnce: doc.atOnce, PerSite: doc.perSite, Groups: slices.Sorted(maps.Keys(doc.groups)),
		Chores: doc.chores, FileIDs: doc.fileIDs, Billing: doc.billing}
	if doc.data == "" {
		d.Fail(rule, 0, "data", "it is not given: the directory in which archive, ledger and dataset lie")
	}
	switch err := doc.ledgerPassword.Check(); {
	case err != nil:
		d.Fail(rule, 0, "ledger-password", "%v", err)
	case doc.ledger == "" && doc.ledgerPassword != (pull.Secret{}):
		d.Fail(rule, 0, "ledger", "it is not given, and a password for it is")
	}
	doc.checkStore(d)
	doc.checkFileIDs(d)
	if len(doc.devices) == 0 {
		d.Fail(rule, 0, "devices", "there is none")
	}
	if len(doc.devices) > MaxDevices {
		d.Fail(rule, 0, "devices", "%d are more than %d", len(doc.devices), MaxDevices)
		return nil
	}
	doc.checkJumpHosts(d)
	names, dirs := map[string]int{}, map[string]int{}
	for i := range doc.devices {
		dev, disabled, ok := doc.device(d, &doc.devices[i])
		line := doc.devices[i].node.Line
		if !ok {
			continue
		}
		if first, taken := names[dev.Name]; taken {
			d.Fail(rule, line, "device "+dev.Name, "it stands in line %d already", first)
			continue
		}
		names[dev.Name] = line
		key := fmt.Sprintf("%s\x00%d\x00%s\x00%s", dev.Target.Host, dev.Target.Port, dev.Target.Path, pull.JumpWords(dev.Target.Jump))
		if first, taken := dirs[key]; taken {
			d.Fail(rule, line, "device "+dev.Name, "the device in line %d has the same host, port and path: its files would count twice", first)
			continue
		}
		dirs[key] = line
		if !disabled {
			inv.Devices = append(inv.Devices, dev)
		}
	}
	for _, dev := range inv.Devices {
		if slices.Contains(inv.Groups, dev.Name) {
			d.Fail(rule, dev.Line, "device "+dev.Name, "a group has the same name: a command could not tell which is meant")
		}
	}
	slices.SortFunc(inv.Devices, func(a, b Device) int { return strings.Compare(a.Name, b.Name) })
	return inv
}

// device puts a device together: the defaults, over them its groups in their
// order, over them its own keys.
func (doc *document) device(d *strictyaml.Decoder, e *entry) (dev Device, disabled, ok bool) {
	what := "device " + strictyaml.Bounded(cmp.Or(e.own.name, e.own.host, "?"))
	good := true
	fail := func(key, format string, a ...any) {
		good = false
		d.Fail(rule, e.given.Line(key, e.node.Line), what, format, a...)
	}
	groups := e.own.groups
	if groups == nil {
		groups = doc.defaults.groups
	}
	m := doc.defaults
	for _, name := range groups {
		node, ok := doc.groups[name]
		if !ok {
			fail("groups", "there is no group %q", strictyaml.Bounded(name))
		}
		strictyaml.Apply(node, &m, groupKeys)
	}
	strictyaml.Apply(e.node, &m, deviceKeys)
	m.name = cmp.Or(e.own.name, m.host)
	if m.host == "" {
		m.host = m.name
	}
	dev = Device{
		Name: m.name, Line: e.node.Line, Site: m.site, Groups: groups,
		Every: m.every, Cron: m.cron, Rollover: m.rollover, Retention: m.retention,
		Profile: m.profile, Record: m.record, Platform: m.platform,
		Target: pull.Target{
			Device: m.name, User: m.user, Host: m.host, Port: m.port, Path: m.path, HostKeyAlias: m.hostKeyAlias,
			Identities: m.identities, IdentityCredentials: m.identityCredentials, KnownHosts: m.knownHosts,
			Password: m.password, Passphrase: m.passphrase, Legacy: m.legacy, Remove: m.remove, Jump: doc.through(m.jump), Quirks: m.quirks,
		},
	}
	if dev.Every == 0 && dev.Cron == nil {
		dev.Every = DefaultEvery
	}
	for _, check := range []struct {
		key string
		err error
	}{
		{"name", pull.CheckDevice(dev.Name)},
		{"host", dev.Target.Check()},
		{"password-file", m.password.Check()},
		{"passphrase-file", m.passphrase.Check()},
	} {
		if check.err != nil {
			fail(check.key, "%v", check.err)
		}
	}
	if e.given.Has("every") && e.given.Has("cron") {
		fail("cron", "every and cron are both given")
	}
	var err error
	if dev.Target.Transport, err = pull.ParseTransport(m.transport); err != nil {
		fail("transport", "%v", err)
	}
	if m.listing != "" {
		if dev.Target.Listing, err = pull.ParseListBy(m.listing); err != nil {
			fail("listing", "%v", err)
		}
	}
	if m.remove && dev.Target.Transport != pull.SFTP {
		fail("remove-after-export", "it needs transport: sftp; the others cannot remove a file")
	}
	if every, life := dev.period(), dev.Life(); dev.Retention > 0 && every > life {
		fail("every", "it is visited every %s, and its files live %s: some would expire unseen", strictyaml.Span(every), strictyaml.Span(life))
	}
	return dev, m.disabled, good
}

// through completes a chain of jump hosts: a word that is the name of one in the
// inventory stands for that.
func (doc *document) through(chain []pull.Target) []pull.Target {
	hops := slices.Clone(chain)
	for i, hop := range hops {
		j, known := doc.jumpHosts[hop.Host]
		if !known {
			continue
		}
		hops[i] = pull.Target{
			User: cmp.Or(hop.User, j.user), Host: cmp.Or(j.host, hop.Host), Port: cmp.Or(hop.Port, j.port), HostKeyAlias: j.hostKeyAlias,
			Identities: j.identities, IdentityCredentials: j.identityCredentials, KnownHosts: j.knownHosts,
			Password: j.password, Passphrase: j.passphrase, Legacy: j.legacy,
		}
	}
	return hops
}

// checkJumpHosts checks what no key alone can.
func (doc *document) checkJumpHosts(d *strictyaml.Decoder) {
	for _, name := range slices.Sorted(maps.Keys(doc.jumpHosts)) {
		j := doc.jumpHosts[name]
		hop := pull.Target{Host: cmp.Or(j.host, name), User: j.user, Path: "."}
		for _, err := range []error{hop.Check(), j.password.Check(), j.passphrase.Check()} {
			if err != nil {
				d.Fail(rule, j.node.Line, "jump host "+strictyaml.Bounded(name), "%v", err)
			}
		}
	}
}

// Life is how long a closed file stays on the device at the least by the
// inventory. The shorter of the two rules is used: creation + retention counts
// from the creation of the file, which was rollover before it was closed. It is
// half of the retention at the least, or no schedule could keep up with a
// rollover as long as the retention.
func (d Device) Life() time.Duration {
	retention := cmp.Or(d.Retention, DefaultRetention)
	return max(retention-min(d.Rollover, retention/2), retention/2)
}

// period is the longest time between two visits.
func (d Device) period() time.Duration {
	if d.Cron != nil {
		return d.Cron.Longest()
	}
	return d.Every
}

// Select returns the devices with these names, and those of these groups, in the
// order of the inventory; all of them if none is named. A name that is neither
// is an error with what is close to it.
func (inv *Inventory) Select(names []string) ([]Device, error) {
	if len(names) == 0 {
		return inv.Devices, nil
	}
	var out []Device
	known := map[string]bool{}
	for _, d := range inv.Devices {
		take := slices.Contains(names, d.Name)
		known[d.Name] = true
		for _, g := range d.Groups {
			take = take || slices.Contains(names, g)
		}
		if take {
			out = append(out, d)
		}
	}
	var wrong []string
	for _, n := range names {
		if !known[n] && !slices.Contains(inv.Groups, n) {
			wrong = append(wrong, fmt.Sprintf("%q", strictyaml.Bounded(n)))
		}
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("the inventory has no device and no group %s", strings.Join(wrong, ", "))
	}
	return out, nil
}
