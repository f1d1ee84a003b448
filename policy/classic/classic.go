// Package classic translates between the classic command line of 7210 SAS and SR
// OS routers and a [policy.Config].
//
// [Import] reads what "info" and "admin display-config" print, or commands as
// somebody typed them: file-ids and accounting policies of "configure log", and
// the SAPs, SDPs, ports and interfaces that use them. Every line that does not
// end up in the Config is named, with the reason. [Print] writes a Config as
// such text again, and Import of that text gives the same Config.
package classic

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"acctpull/policy"
)

// Options say what the text alone does not. The zero value is usable.
type Options struct {
	// Cards maps flash cards ("cf1:") to the directories that stand for them;
	// a card that is missing here, and all if it is nil, is that of Card.
	Cards map[string]string
	// Links maps ports and LAGs of the device ("1/1/1", "lag-1") to network
	// links of this machine. Ports get the link as their own, SAPs the VLAN
	// interface of it that is named as usual: 1/1/1:100 on eth1 is eth1.100.
	// So do router interfaces on a port. Without an entry there is no link.
	Links map[string]string
	// CollectStats is what holds for a SAP without collect-stats and without
	// no collect-stats. It is off on the 7210 SAS and on, by their guides, on
	// the 7705 SAR and the 7750 SR. All other objects collect only when told.
	CollectStats bool
}

// Root is the directory below which each flash card has one of its own, unless
// Options say otherwise.
const Root = "/var/lib/acctpull"

// Card returns the directory of a flash card: that of the Options, or the card's
// name below Root, so that cf1: is /var/lib/acctpull/cf1.
func (o Options) Card(name string) string {
	if dir, ok := o.Cards[name]; ok {
		return dir
	}
	return path.Join(Root, strings.TrimSuffix(name, ":"))
}

// card returns the name of the card that a directory stands for.
func (o Options) card(dir string) (string, bool) {
	var names []string
	for name, d := range o.Cards {
		if d == dir {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return slices.Min(names), true
	}
	if name := path.Base(dir) + ":"; isCard(name) && o.Card(name) == dir {
		return name, true
	}
	return "", false
}

// isCard tells whether name is that of a flash card: two letters, a digit and a
// colon (cf1: to cf4:, uf1:).
func isCard(name string) bool {
	return len(name) == 4 && (strings.HasPrefix(name, "cf") || strings.HasPrefix(name, "uf")) && name[2] >= '1' && name[2] <= '9' && name[3] == ':'
}

// link returns the link of a port or SAP ("1/1/1", "1/1/1:100", "lag-1:100.*"),
// "" if its port has none. The outer tag comes first; 0 and * are no tags.
func (o Options) link(id string) string {
	port, encap, _ := strings.Cut(id, ":")
	link := o.Links[port]
	if link == "" || encap == "" {
		return link
	}
	for _, tag := range strings.Split(encap, ".") {
		if tag != "0" && tag != "*" {
			link += "." + tag
		}
	}
	return link
}

// DefaultCard is where a file-id without a location writes on the 7210 SAS.
const DefaultCard = "cf1:"

// Why says why a line is not in the Config.
type Why uint8

// The reasons.
const (
	// NotUnderstood: Import does not know the line, or a value in it. What it
	// asks for is missing in the Config.
	NotUnderstood Why = iota + 1
	// NoMeaning: Import knows the line, and an accounting agent has no use
	// for it.
	NoMeaning
	// Refused: Import knows the line, and a device would refuse it where it
	// stands, as it does the deletion of what is in use.
	Refused
)

// String returns "not understood", "no meaning here" or "refused".
func (w Why) String() string {
	switch w {
	case NotUnderstood:
		return "not understood"
	case NoMeaning:
		return "no meaning here"
	case Refused:
		return "refused"
	}
	return fmt.Sprintf("Why(%d)", uint8(w))
}

// Line is a line of the text that is not in the Config.
type Line struct {
	Number int    // from 1
	Text   string // without spaces around it, at most 256 bytes
	Why    Why
	// Note tells more than Why, in words; it may be empty.
	Note string
	// Block is the number of the line that began the block in which this one
	// stands, and which was left out as a whole; Number if there is none.
	Block int
}

// Result is what Import made of a text.
type Result struct {
	// Config holds file-ids and policies by id and objects by type, service and
	// id, with the numbers of their lines. It has no source, and links only by the
	// Options: the text does not know of them. policy.New tells whether it keeps the rules.
	Config policy.Config
	// Left are the lines that are not in the Config, in order. Empty lines,
	// comments, echo, prompts and exit are not among them.
	Left []Line
	// Conflicts are broken rules that a Config cannot show: a file-id that
	// serves an event log and an accounting policy.
	Conflicts []policy.Violation
	// Lines is how many lines the text has.
	Lines int
}

// Lost returns the lines whose meaning is lost: those that were not understood
// or refused.
func (r *Result) Lost() []Line {
	var lost []Line
	for _, l := range r.Left {
		if l.Why != NoMeaning {
			lost = append(lost, l)
		}
	}
	return lost
}
