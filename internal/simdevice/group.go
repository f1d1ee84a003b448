package simdevice

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/scenario"
	"acctpull/policy"
	"acctpull/record"
)

// GroupKey is one key of the text that ParseGroup reads.
type GroupKey struct {
	Name, Default, Doc string
	set                func(*groupText, string) error
}

// groupText is what a group says before it is put together.
type groupText struct {
	g                   Group
	records             []string
	objects, meters     int
	interval, rollover  int
	retention           time.Duration
	align, forwardDrops bool
}

// GroupKeys are the keys of the text that ParseGroup reads, in the order of the
// documentation.
func GroupKeys() []GroupKey {
	number := func(field func(*groupText) *int, least, most int) func(*groupText, string) error {
		return func(t *groupText, v string) (err error) {
			if err := scenario.Number(least, most)(v); err != nil {
				return err
			}
			*field(t), err = strconv.Atoi(v)
			return err
		}
	}
	flag := func(field func(*groupText) *bool) func(*groupText, string) error {
		return func(t *groupText, v string) error {
			if v != "" {
				return errors.New("is a word alone and takes no value")
			}
			*field(t) = true
			return nil
		}
	}
	duration := func(field func(*groupText) *time.Duration) func(*groupText, string) error {
		return func(t *groupText, v string) (err error) {
			d, err := scenario.ParseDuration(strings.TrimPrefix(v, "-"))
			if strings.HasPrefix(v, "-") {
				d = -d
			}
			*field(t) = d
			return err
		}
	}
	return []GroupKey{
		{"n", "1", "number of devices", number(func(t *groupText) *int { return &t.g.Count }, 1, MaxFleet)},
		{"record", "service-ingress-octets", "record names, with commas; an accounting policy each", func(t *groupText, v string) error {
			t.records = strings.Split(v, ",")
			return nil
		}},
		{"objects", "10", "SAPs, ports, interfaces, SDPs or tests per policy type", number(func(t *groupText) *int { return &t.objects }, 1, 100_000)},
		{"meters", "1", "ingress meters of each SAP or interface", number(func(t *groupText) *int { return &t.meters }, 1, policy.MaxMeters)},
		{"interval", "that of the record", "collection interval in minutes", number(func(t *groupText) *int { return &t.interval }, 1, 120)},
		{"rollover", "15", "rollover in minutes", number(func(t *groupText) *int { return &t.rollover }, 5, 10080)},
		{"retention", "12h", "retention, in whole hours", duration(func(t *groupText) *time.Duration { return &t.retention })},
		{"align", "no", "collect when the clock is divisible by the interval", flag(func(t *groupText) *bool { return &t.align })},
		{"forward-drop", "no", "counter mode forward-drop-count for SAPs", flag(func(t *groupText) *bool { return &t.forwardDrops })},
		{"idle", "0", "percent of the objects that have no traffic", number(func(t *groupText) *int { return &t.g.Idle }, 0, 100)},
		{"skew", "0s", "how far the clocks are ahead; -90s for behind", duration(func(t *groupText) *time.Duration { return &t.g.Skew })},
		{"zone", "UTC", "time zone of the times in file names, such as Europe/Berlin", func(t *groupText, v string) (err error) {
			t.g.Zone, err = time.LoadLocation(v)
			return err
		}},
		{"scp-only", "no", "there is no SFTP", flag(func(t *groupText) *bool { return &t.g.SCPOnly })},
		{"legacy", "no", "only old algorithms, and an RSA host key", flag(func(t *groupText) *bool { return &t.g.Legacy })},
		{"md-cli", "no", "the model-driven command line instead of the classic one", flag(func(t *groupText) *bool { return &t.g.MDCLI })},
		{"show-collect", "no", "act-collect/ can be seen", flag(func(t *groupText) *bool { return &t.g.ShowCollect })},
		{"faults", "none", "faults from the start, with commas: `faults=slow=1000,corrupt`", func(t *groupText, v string) (err error) {
			t.g.Faults, err = ParseFaults(v)
			return err
		}},
	}
}

// ParseGroup reads a group as a command line has it: its name and then words,
// "edge n=150 record=network-egress-octets rollover=60 scp-only".
func ParseGroup(text string) (Group, error) {
	words := strings.Fields(text)
	if len(words) == 0 || strings.ContainsAny(words[0], "=*?[\\/:,") {
		return Group{}, fmt.Errorf("group %.80q: it begins with its name", text)
	}
	t := groupText{g: Group{Name: words[0], Count: 1}, records: []string{"service-ingress-octets"},
		objects: 10, meters: 1, rollover: 15, retention: policy.DefaultRetention}
	var errs []error
	for _, word := range words[1:] {
		if err := t.word(word); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		errs = append(errs, t.config())
	}
	if err := errors.Join(errs...); err != nil {
		return Group{}, fmt.Errorf("group %.80q: %w", words[0], err)
	}
	return t.g, nil
}

func (t *groupText) word(word string) error {
	name, value, _ := strings.Cut(word, "=")
	var names []string
	for _, k := range GroupKeys() {
		if k.Name != name {
			names = append(names, k.Name)
			continue
		}
		if err := k.set(t, value); err != nil {
			return fmt.Errorf("%s: %.80q %w", name, value, err)
		}
		return nil
	}
	return fmt.Errorf("there is no key %.80q; the keys are %s", name, strings.Join(names, ", "))
}

// config makes the configuration: a policy and a file-id per record, and the
// objects that each type of policy needs.
func (t *groupText) config() error {
	c := &t.g.Config
	have := map[policy.Type]int{} // objects
	for i, name := range t.records {
		def, ok := record.Builtin().Lookup(record.Name(name))
		if !ok {
			return fmt.Errorf("there is no record %.80q: acctpull records lists all", name)
		}
		kind, ok := policy.ParseType(def.PolicyType)
		if !ok {
			return fmt.Errorf("record %s is not one of the 7210 SAS", def.Name)
		}
		id := 10 * (i + 1)
		interval := time.Duration(t.interval) * time.Minute
		c.FileIDs = append(c.FileIDs, policy.FileID{ID: id + 1, Rollover: time.Duration(t.rollover) * time.Minute, Retention: t.retention})
		c.Policies = append(c.Policies, policy.AccountingPolicy{ID: id, Record: def.Name, CollectionInterval: interval,
			To: policy.Destination(id + 1), Align: t.align, Default: have[kind] == 0})
		for _, o := range t.make(kind, have[kind]) {
			if have[kind] > 0 { // one default per type: further objects name their policy
				o.Policy = id
			}
			c.Objects = append(c.Objects, o)
		}
		have[kind] += t.objects
	}
	return nil
}

// make returns objects of a type, numbered from the first.
func (t *groupText) make(kind policy.Type, first int) []policy.Object {
	var out []policy.Object
	for i := first; i < first+t.objects; i++ {
		o := policy.Object{Type: kind, CollectStats: true}
		switch kind {
		case policy.Access:
			o.ID, o.Service, o.Meters = fmt.Sprintf("1/1/%d:%d", 1+i/100, 100+i%100), strconv.Itoa(1000+i), t.meters
			if t.forwardDrops {
				o.CounterMode = policy.ForwardDrop
			}
		case policy.NetworkIf:
			o.ID, o.Meters = fmt.Sprintf("to-core-%d", 1+i), t.meters
		case policy.SDP:
			o.ID = strconv.Itoa(1 + i)
		case policy.SAA:
			o.ID, o.Owner = fmt.Sprintf("test-%d", 1+i), "simulator"
		default:
			o.ID = fmt.Sprintf("1/%d/%d", int(kind), 1+i)
		}
		out = append(out, o)
	}
	return out
}

// Summary says in a few words what the devices of a group are.
func (g *Group) Summary() string {
	var words []string
	for i, p := range g.Config.Policies {
		f := g.Config.FileIDs[i]
		interval := ""
		if p.CollectionInterval > 0 {
			interval = fmt.Sprintf(" every %d min", p.CollectionInterval/time.Minute)
		}
		words = append(words, fmt.Sprintf("%s%s, rollover %d min, retention %s", p.Record, interval, f.Rollover/time.Minute, scenario.FormatDuration(f.Retention)))
	}
	for _, w := range []struct {
		on   bool
		text string
	}{{g.SCPOnly, "SCP only"}, {g.Legacy, "old algorithms"}, {g.MDCLI, "model-driven CLI"}, {g.ShowCollect, "act-collect visible"}, {g.Faults != Faults{}, "with faults"}} {
		if w.on {
			words = append(words, w.text)
		}
	}
	return cmp.Or(strings.Join(words, "; "), "no policy")
}
