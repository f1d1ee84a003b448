package event

import "fmt"

// Severity is the perceived severity of an event. Its numbers are those of the
// device documentation (7210 SAS system management guide, table 41), which are
// names and no order: compare with Rank.
type Severity int

// The severities. The zero value is none of them.
const (
	Cleared       Severity = 1
	Indeterminate Severity = 2
	Critical      Severity = 3
	Major         Severity = 4
	Minor         Severity = 5
	Warning       Severity = 6
)

// severities has name and rank of each severity. Devices compare by rank:
// their filter "gte major" forwards major and critical. The rank of cleared and
// indeterminate below warning is inferred, not documented.
var severities = [...]struct {
	name string
	rank int
}{
	Cleared:       {"cleared", 1},
	Indeterminate: {"indeterminate", 2},
	Critical:      {"critical", 6},
	Major:         {"major", 5},
	Minor:         {"minor", 4},
	Warning:       {"warning", 3},
}

// Valid reports whether s is one of the severities.
func (s Severity) Valid() bool { return s >= Cleared && s <= Warning }

// Rank orders severities: a higher rank is more severe. It is 0 if s is none.
func (s Severity) Rank() int {
	if !s.Valid() {
		return 0
	}
	return severities[s].rank
}

// String returns the name in lower case.
func (s Severity) String() string {
	if !s.Valid() {
		return fmt.Sprintf("severity %d", int(s))
	}
	return severities[s].name
}

// Stream is the source stream that an event belongs to.
type Stream int

// The streams of the device model. The zero value is none of them.
const (
	// Main has everything that is in no other stream.
	Main Stream = iota + 1
	// Security has logins, keys and refused access.
	Security
	// Change has changes of configuration and of administrative state.
	Change
	// Debug has traces.
	Debug
)

var streams = [...]string{Main: "main", Security: "security", Change: "change", Debug: "debug"}

// String returns the name in lower case.
func (s Stream) String() string {
	if s < Main || s > Debug {
		return fmt.Sprintf("stream %d", int(s))
	}
	return streams[s]
}
