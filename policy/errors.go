package policy

import (
	"fmt"
	"strings"
	"time"
)

// Rule names one rule of a configuration. The names are stable; docs/configuration.md
// lists them.
type Rule string

// The rules. Those that begin with yaml- are broken by the text, the others by
// what it says. Rules tells what each demands.
const (
	RuleSyntax         Rule = "yaml-syntax"
	RuleUnknownKey     Rule = "yaml-unknown-key"
	RuleDuplicateKey   Rule = "yaml-duplicate-key"
	RuleValue          Rule = "yaml-value"
	RuleSystem         Rule = "system-name"
	RuleControl        Rule = "control-socket"
	RuleSource         Rule = "source"
	RuleID             Rule = "id-range"
	RuleDuplicateID    Rule = "id-duplicate"
	RuleDescription    Rule = "description"
	RuleLocation       Rule = "location"
	RuleBackup         Rule = "backup-location"
	RuleLogMemory      Rule = "log-memory"
	RuleRollover       Rule = "rollover-range"
	RuleRetention      Rule = "retention-range"
	RuleInterval       Rule = "interval-range"
	RuleRecordMissing  Rule = "record-missing"
	RuleRecordUnknown  Rule = "record-unknown"
	RuleRecordType     Rule = "record-type"
	RuleRecordTwice    Rule = "record-twice"
	RuleRecordSource   Rule = "record-source"
	RuleDefaultRecord  Rule = "default-without-record"
	RuleDefaultTwice   Rule = "default-twice"
	RuleDefaultLSP     Rule = "default-ldp-rsvp"
	RuleDefaultSAA     Rule = "default-saa"
	RuleToMissing      Rule = "to-missing"
	RuleToUnknown      Rule = "to-unknown"
	RuleFileShared     Rule = "file-shared"
	RuleObject         Rule = "object"
	RuleObjectTwice    Rule = "object-twice"
	RuleObjectPolicy   Rule = "object-policy-unknown"
	RuleObjectType     Rule = "object-policy-type"
	RuleObjectLink     Rule = "object-link"
	RuleObjectCounters Rule = "object-counters"
	RuleObjectFields   Rule = "object-fields"
)

// RuleDoc is a rule with what it demands.
type RuleDoc struct {
	Rule Rule
	Doc  string
}

// Rules returns every rule in the order of the constants.
func Rules() []RuleDoc {
	return []RuleDoc{
		{RuleSyntax, "The text is YAML, one document."},
		{RuleUnknownKey, "Every key is one of this page."},
		{RuleDuplicateKey, "A mapping has each key once."},
		{RuleValue, "A value is of the kind that its key takes; anchors, aliases and empty values are not taken."},
		{RuleSystem, fmt.Sprintf("The system name is up to %d printable ASCII characters.", maxSystem)},
		{RuleControl, fmt.Sprintf("The control socket is an absolute path of up to %d bytes, or none.", MaxControlSocket)},
		{RuleSource, "The source is a known one and has only its own keys, in their ranges."},
		{RuleID, fmt.Sprintf("Ids of policies and file-ids are %d–%d.", MinID, MaxID)},
		{RuleDuplicateID, "No two policies and no two file-ids have the same id."},
		{RuleDescription, fmt.Sprintf("A description is up to %d printable 7-bit ASCII characters.", MaxDescription)},
		{RuleLocation, "A file-id has a location."},
		{RuleBackup, "The backup location is another directory than the location."},
		{RuleLogMemory, fmt.Sprintf("The log-memory is 1–%d KiB, and its size is given only with it.", MaxLogMemory)},
		{RuleRollover, "Rollover is in its range, in whole minutes."},
		{RuleRetention, "Retention is in its range, in whole hours."},
		{RuleInterval, fmt.Sprintf("The collection interval is in its range, in whole minutes; the shortest is %d, with record saa %d.", MinInterval/time.Minute, MinTestInterval/time.Minute)},
		{RuleRecordMissing, "A policy in service has a record."},
		{RuleRecordUnknown, "The record name is one of the catalogue."},
		{RuleRecordType, "The record is of one of the five types or of type saa, and of the policy's type if that is given."},
		{RuleRecordTwice, "A record name is used by one policy only, in service or not."},
		{RuleRecordSource, "The source can collect the record; with the source linux something counts it of every object that the policy collects, and of each meter and queue that is named."},
		{RuleDefaultRecord, "A default policy has a record."},
		{RuleDefaultTwice, "A type has one default policy at most."},
		{RuleDefaultLSP, "LDP and RSVP records are in no default policy."},
		{RuleDefaultSAA, "An SAA test names its policy; no default policy is of type saa."},
		{RuleToMissing, "A policy in service has a destination."},
		{RuleToUnknown, "The file-id of the destination exists."},
		{RuleFileShared, "A file-id is the destination of one policy only, in service or not."},
		{RuleObject, "An object has its id, a SAP its service, and an SAA test its owner."},
		{RuleObjectTwice, "No object is given twice."},
		{RuleObjectPolicy, "The policy that an object names exists."},
		{RuleObjectType, "The policy that an object names is of the object's type; a policy over SDP bindings has a record about them."},
		{RuleObjectLink, "With the source linux an object has a link, nft counters or tc classes, and no other object of its kind has the same link."},
		{RuleObjectCounters, "nft and tc name tables, counters and classes as nft and tc write them, only those that the kind of object has, and each for one object of a kind."},
		{RuleObjectFields, "Counter mode, meters, egress meters, queues, service and owner are given only where the object has them, in their ranges."},
	}
}

// Violation is one broken rule.
type Violation struct {
	Rule Rule
	// Line of the YAML, 0 if the configuration was not read from one.
	Line int
	// Subject is the object that breaks the rule: "accounting-policy 11".
	Subject string
	// Other is the second object of a rule between two, and OtherLine its line.
	Other     string
	OtherLine int
	// Text says in plain words what is wrong; it does not name Subject or
	// lines, but it names Other.
	Text string
}

// String returns the violation as one line: `line 12: accounting-policy 11: …
// (accounting-policy 10 is in line 7)`.
func (v Violation) String() string {
	var b strings.Builder
	if v.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", v.Line)
	}
	if v.Subject != "" {
		b.WriteString(v.Subject + ": ")
	}
	b.WriteString(v.Text)
	if v.OtherLine > 0 {
		fmt.Fprintf(&b, " (%s is in line %d)", v.Other, v.OtherLine)
	}
	return b.String()
}

// ConfigError holds every violation of a configuration, in the order of the
// lines.
type ConfigError struct {
	Violations []Violation
}

// maxPrinted bounds the text of a ConfigError; Violations holds them all.
const maxPrinted = 100

// Error returns one line per violation, at most 100 of them.
func (e *ConfigError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "configuration has %s", count(len(e.Violations), "mistake"))
	for i, v := range e.Violations {
		if i == maxPrinted {
			fmt.Fprintf(&b, "\n  and %d more", len(e.Violations)-i)
			break
		}
		b.WriteString("\n  " + v.String())
	}
	return b.String()
}

// Hint tells where the rules are written down.
func (e *ConfigError) Hint() string {
	return "docs/configuration.md lists every key with its range and default, and every rule"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
