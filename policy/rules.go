package policy

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acctpull/record"
)

// checker applies every rule to a configuration and fills in its defaults. It
// never stops at a mistake.
type checker struct {
	c         Config
	cat       *record.Catalogue
	rows      rowFinder
	out       []Violation
	files     map[int]*FileID
	policies  map[int]*AccountingPolicy
	policyDef map[int]*record.Definition
}

// check returns the configuration with its defaults filled in and what is wrong
// with it, in the order of the lines.
func check(c Config) (*checker, []Violation) {
	k := &checker{c: c, cat: c.Catalogue, files: map[int]*FileID{}, policies: map[int]*AccountingPolicy{}, policyDef: map[int]*record.Definition{}}
	if k.cat == nil {
		k.cat = record.Builtin()
	}
	k.c.FileIDs = slices.Clone(c.FileIDs)
	k.c.Policies = slices.Clone(c.Policies)
	k.c.Objects = slices.Clone(c.Objects)
	k.system()
	k.control()
	k.source()
	for i := range k.c.FileIDs {
		k.file(&k.c.FileIDs[i])
	}
	for i := range k.c.Policies {
		k.policy(&k.c.Policies[i])
	}
	k.between()
	k.objects()
	slices.SortStableFunc(k.out, func(a, b Violation) int { return cmp.Compare(a.Line, b.Line) })
	return k, k.out
}

func (k *checker) fail(rule Rule, line int, subject, format string, a ...any) {
	k.out = append(k.out, Violation{Rule: rule, Line: line, Subject: subject, Text: fmt.Sprintf(format, a...)})
}

// failPair reports a rule between two objects; the text names the other.
func (k *checker) failPair(rule Rule, line int, subject, other string, otherLine int, format string, a ...any) {
	k.out = append(k.out, Violation{Rule: rule, Line: line, Subject: subject, Other: other, OtherLine: otherLine, Text: fmt.Sprintf(format, a...)})
}

func (k *checker) system() {
	s := k.c.System
	line := k.c.given.Line("system-name", 0)
	if len(s) > maxSystem || !printable(s) {
		k.fail(RuleSystem, line, "system-name", "%q is not up to %d printable ASCII characters", bounded(s), maxSystem)
	}
}

func (k *checker) control() {
	s := k.c.ControlSocket
	if s == "" && !k.c.given.Has("control-socket") || s == NoControlSocket {
		return
	}
	if len(s) > MaxControlSocket || hasControl(s) || !filepath.IsAbs(s) {
		k.fail(RuleControl, k.c.given.Line("control-socket", 0), "control-socket", "%q is not an absolute path of up to %d bytes, nor %s", bounded(s), MaxControlSocket, NoControlSocket)
	}
}

func (k *checker) file(f *FileID) {
	name := fileName(f.ID)
	line := func(key string) int { return f.given.Line(key, f.Line) }
	if !f.given.Bad("id") {
		if k.id(name, f.ID, line("id")) {
			if first, ok := k.files[f.ID]; ok {
				k.failPair(RuleDuplicateID, line("id"), name, "the first", first.Line, "the id is given twice")
			} else {
				k.files[f.ID] = f
			}
		}
	} else {
		name = "file-id"
	}
	k.description(name, f.Description, line("description"))
	switch {
	case f.given.Bad("location"):
	case f.Location == "":
		k.fail(RuleLocation, line("location"), name, "location is missing: it takes the directory below which %s/ and %s/ are made", CollectDir, ArchiveDir)
	case len(f.Location) > maxDirPath || hasControl(f.Location):
		k.fail(RuleLocation, line("location"), name, "location %q is longer than %d bytes or has control characters", bounded(f.Location), maxDirPath)
	}
	if b := f.BackupLocation; !f.given.Bad("backup-location") {
		switch {
		case len(b) > maxDirPath || hasControl(b):
			k.fail(RuleLocation, line("backup-location"), name, "backup-location %q is longer than %d bytes or has control characters", bounded(b), maxDirPath)
		case b == "" && f.given.Has("backup-location"):
			k.fail(RuleLocation, line("backup-location"), name, "backup-location is empty; leave it out if there is none")
		case b != "" && !f.given.Bad("location") && filepath.Clean(b) == filepath.Clean(f.Location):
			k.fail(RuleBackup, line("backup-location"), name, "backup-location and location are both %q", bounded(b))
		}
	}
	k.duration(RuleRollover, name, "rollover", &f.Rollover, f.given, f.Line, DefaultRollover, MinRollover, MaxRollover, time.Minute)
	k.duration(RuleRetention, name, "retention", &f.Retention, f.given, f.Line, DefaultRetention, MinRetention, MaxRetention, time.Hour)
}

func (k *checker) id(subject string, id, line int) bool {
	if id < MinID || id > MaxID {
		k.fail(RuleID, line, subject, "the id is outside %d–%d", MinID, MaxID)
		return false
	}
	return true
}

func (k *checker) description(subject, s string, line int) {
	if len(s) > MaxDescription {
		k.fail(RuleDescription, line, subject, "the description has %d characters, more than %d", len(s), MaxDescription)
	}
	if !printable(s) {
		k.fail(RuleDescription, line, subject, "the description %q has characters that are not printable 7-bit ASCII", bounded(s))
	}
}

// units are what whole numbers of a duration are counted in.
var units = map[time.Duration]string{time.Minute: "minutes", time.Hour: "hours"}

// duration fills in a default and checks the range of a duration in whole units.
func (k *checker) duration(rule Rule, subject, key string, d *time.Duration, g given, objectLine int, def, least, most, unit time.Duration) {
	if g.Bad(key) {
		*d = def
		return
	}
	if *d == 0 && !g.Has(key) {
		*d = def
		return
	}
	if *d < least || *d > most {
		k.fail(rule, g.Line(key, objectLine), subject, "%s %s is outside %d–%d %s", key, inUnits(*d, unit), least/unit, most/unit, units[unit])
		return
	}
	if *d%unit != 0 {
		k.fail(rule, g.Line(key, objectLine), subject, "%s %v is not a whole number of %s", key, *d, units[unit])
	}
}

// inUnits prints a duration as the reader of a configuration would.
func inUnits(d, unit time.Duration) string {
	if d%unit == 0 {
		return fmt.Sprintf("%d", d/unit)
	}
	return d.String()
}

func (k *checker) policy(p *AccountingPolicy) {
	name := policyName(p.ID)
	line := func(key string) int { return p.given.Line(key, p.Line) }
	if p.given.Bad("id") {
		name = "accounting-policy"
	} else if k.id(name, p.ID, line("id")) {
		if first, ok := k.policies[p.ID]; ok {
			k.failPair(RuleDuplicateID, line("id"), name, "the first", first.Line, "the id is given twice")
		} else {
			k.policies[p.ID] = p
		}
	}
	k.description(name, p.Description, line("description"))
	def := k.record(p, name)
	interval := DefaultInterval
	if def != nil {
		if _, dup := k.policyDef[p.ID]; !dup {
			k.policyDef[p.ID] = def
		}
		if def.DefaultInterval != 0 {
			interval = def.DefaultInterval
		}
	}
	least := MinInterval
	if p.Type == SAA {
		least = MinTestInterval
	}
	k.duration(RuleInterval, name, "collection-interval", &p.CollectionInterval, p.given, p.Line, interval, least, MaxInterval, time.Minute)
	k.logMemory(p, name)
	switch {
	case p.given.Bad("to"):
	case p.To == 0 && !p.Shutdown:
		k.fail(RuleToMissing, line("to"), name, "it has no destination: to takes \"file N\" or \"no-file\"")
	case p.To != 0 && p.To != NoFile && k.files[int(p.To)] == nil:
		k.fail(RuleToUnknown, line("to"), name, "to file %d: there is no file-id %d", int(p.To), int(p.To))
	}
}

// logMemory checks the size of the log-memory, which is 0 without one.
func (k *checker) logMemory(p *AccountingPolicy, name string) {
	const key = "log-memory-size"
	line := p.given.Line(key, p.Line)
	switch {
	case p.given.Bad(key) || p.given.Bad("log-memory"):
	case !p.LogMemory:
		if p.LogMemorySize != 0 || p.given.Has(key) {
			k.fail(RuleLogMemory, line, name, "%s without log-memory", key)
		}
	case p.LogMemorySize == 0 && !p.given.Has(key):
		p.LogMemorySize = MaxLogMemory
	case p.LogMemorySize < 1 || p.LogMemorySize > MaxLogMemory:
		k.fail(RuleLogMemory, line, name, "%s %d is outside 1–%d KiB", key, p.LogMemorySize, MaxLogMemory)
	}
}

func policyName(id int) string { return fmt.Sprintf("accounting-policy %d", id) }

func fileName(id int) string { return fmt.Sprintf("file-id %d", id) }

// record checks the record of a policy and sets its type. It returns nil if the
// record is not known.
func (k *checker) record(p *AccountingPolicy, name string) *record.Definition {
	line := p.given.Line("record", p.Line)
	if p.Record == "" {
		if !p.given.Bad("record") {
			k.noRecord(p, name, line)
		}
		return nil
	}
	if p.Default && isLSP(p.Record) {
		k.fail(RuleDefaultLSP, p.given.Line("default", p.Line), name, "record %s: LDP and RSVP records cannot be in a default policy", p.Record)
	}
	def, ok := k.cat.Lookup(p.Record)
	if !ok {
		k.fail(RuleRecordUnknown, line, name, "there is no record name %q", bounded(string(p.Record)))
		return nil
	}
	p.Record = def.Name
	t, ok := ParseType(def.PolicyType)
	if !ok {
		k.fail(RuleRecordType, line, name, "record %s is of type %q; policies have the types %s", def.Name, def.PolicyType, typeList())
		return def
	}
	if p.Type != 0 && p.Type != t {
		k.fail(RuleRecordType, line, name, "record %s is of type %s, the policy is of type %s", def.Name, t, p.Type)
	} else if knownSource(k.c.Source.Kind) && !k.rows.collects(def) {
		k.fail(RuleRecordSource, line, name, "source %s cannot collect record %s: %s", k.c.Source.Kind, def.Name, k.rows.why())
	}
	if p.Type == 0 && !p.given.Bad("type") {
		p.Type = t
	}
	if p.Default && t == SAA {
		k.fail(RuleDefaultSAA, p.given.Line("default", p.Line), name, "record %s: an SAA test names its policy, there is no default policy for tests", def.Name)
	}
	return def
}

func (k *checker) noRecord(p *AccountingPolicy, name string, line int) {
	if p.Default {
		k.fail(RuleDefaultRecord, p.given.Line("default", p.Line), name, "it has no record: a record must be set before default")
	} else if !p.Shutdown {
		k.fail(RuleRecordMissing, line, name, "it has no record")
	}
}

func isLSP(n record.Name) bool {
	s := strings.ToLower(string(n))
	return strings.Contains(s, "ldp") || strings.Contains(s, "rsvp")
}

func typeList() string {
	var names []string
	for _, t := range Types() {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}

// between checks the rules between policies: one policy per record name, per
// file-id, and one default per type. Of two policies the later one is wrong.
func (k *checker) between() {
	byRecord := map[record.Name]*AccountingPolicy{}
	byFile := map[Destination]*AccountingPolicy{}
	byType := map[Type]*AccountingPolicy{}
	for i := range k.c.Policies {
		p := &k.c.Policies[i]
		name := policyName(p.ID)
		if first, ok := byRecord[p.Record]; ok {
			k.failPair(RuleRecordTwice, p.given.Line("record", p.Line), name, policyName(first.ID), first.Line, "record %s is that of %s already; a record name serves one policy", p.Record, policyName(first.ID))
		} else if p.Record != "" {
			byRecord[p.Record] = p
		}
		if first, ok := byFile[p.To]; ok {
			k.failPair(RuleFileShared, p.given.Line("to", p.Line), name, policyName(first.ID), first.Line, "%s is that of %s already; a file-id serves one policy", p.To, policyName(first.ID))
		} else if p.To > 0 {
			byFile[p.To] = p
		}
		if !p.Default || p.Type == 0 {
			continue
		}
		if first, ok := byType[p.Type]; ok {
			k.failPair(RuleDefaultTwice, p.given.Line("default", p.Line), name, policyName(first.ID), first.Line, "%s is the default policy of type %s already; a type has one", policyName(first.ID), p.Type)
		} else {
			byType[p.Type] = p
		}
	}
}

// printable tells whether s is printable 7-bit ASCII.
func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// bounded cuts text from outside to the 256 bytes that a message may hold.
func bounded(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
