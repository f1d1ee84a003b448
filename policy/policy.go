// Package policy is the accounting agent: accounting policies, file-ids and the
// objects that are measured, the rules between them, the sources of counters,
// and the collector that turns one into files of the other.
//
// A [Config] is what somebody wrote, a [Set] is a Config that keeps every rule;
// only [New] and [Load] make one, so an invalid Set cannot exist. A [Source]
// reads counters of objects. A [Collector] takes a Set and a Source, samples
// every policy on its collection interval and appends each interval as one
// entry to the policy's accounting file, which package rollover keeps.
//
// Names, limits and rules are those of the 7210 SAS ("Event and Accounting
// Logs", section 5.4) where that guide gives them; where the agent has its own,
// docs/configuration.md says so.
package policy

import (
	"fmt"
	"path/filepath"
	"time"

	"acctpull/flash"
	"acctpull/record"
)

// Type is the type of an accounting policy. It decides which records the policy
// may carry and to which objects it can be applied (7210 SAS, "Accounting
// Records": access, accessport, network, networkIf, sdp).
type Type uint8

// The five types, and SAA, which stands beside them: a test names its policy,
// and there is no default policy for tests (7210 SAS OAM guide, SAA). The zero
// Type is none of them: in an AccountingPolicy it means "the type of its
// record".
const (
	Access     Type = iota + 1 // SAPs
	AccessPort                 // access ports
	Network                    // network ports
	NetworkIf                  // network IP interfaces
	SDP                        // SDPs and SDP bindings
	SAA                        // tests of the service assurance agent
)

var typeNames = [...]string{Access: "access", AccessPort: "accessport", Network: "network", NetworkIf: "networkIf", SDP: "sdp", SAA: "saa"}

var objectNames = [...]string{Access: "SAP", AccessPort: "access port", Network: "network port", NetworkIf: "network interface", SDP: "SDP", SAA: "SAA test"}

// Types returns the five types in the order of the guide, and SAA behind them.
func Types() []Type { return []Type{Access, AccessPort, Network, NetworkIf, SDP, SAA} }

// String returns the device's word, such as "networkIf", or "" for no type.
func (t Type) String() string {
	if int(t) >= len(typeNames) {
		return fmt.Sprintf("Type(%d)", uint8(t))
	}
	return typeNames[t]
}

// Object returns what a policy of this type is applied to, such as "SAP".
func (t Type) Object() string {
	if int(t) >= len(objectNames) {
		return fmt.Sprintf("object of Type(%d)", uint8(t))
	}
	return objectNames[t]
}

// ParseType returns the type with the device's word, such as "networkIf".
func ParseType(s string) (Type, bool) {
	for _, t := range Types() {
		if typeNames[t] == s {
			return t, true
		}
	}
	return 0, false
}

// CounterMode says what the two hardware counters of a SAP ingress meter count
// (7210 SAS services guide, counter-mode). Its zero value is the device's
// default.
type CounterMode uint8

// The counter modes.
const (
	InOutProfile CounterMode = iota // in-profile and out-of-profile forwarded
	ForwardDrop                     // forwarded and dropped
)

var modeNames = [...]string{InOutProfile: "in-out-profile-count", ForwardDrop: "forward-drop-count"}

// String returns the device's word, which is also the counter mode of a
// record.RowSet.
func (m CounterMode) String() string {
	if int(m) >= len(modeNames) {
		return fmt.Sprintf("CounterMode(%d)", uint8(m))
	}
	return modeNames[m]
}

// ParseCounterMode returns the counter mode with the device's word.
func ParseCounterMode(s string) (CounterMode, bool) {
	for m, name := range modeNames {
		if name == s {
			return CounterMode(m), true
		}
	}
	return 0, false
}

// The limits of the 7210 SAS ("Log Files", "accounting-policy").
const (
	MinID, MaxID = 1, 99 // accounting policies and file-ids

	MaxDescription = 80 // printable 7-bit ASCII characters

	MinRollover, MaxRollover = 5 * time.Minute, 10080 * time.Minute
	DefaultRollover          = 1440 * time.Minute

	MinRetention, MaxRetention = 1 * time.Hour, 500 * time.Hour
	DefaultRetention           = 12 * time.Hour

	// MinInterval holds for every record of the five types. Records of SAA
	// tests may be collected every minute (MinTestInterval).
	MinInterval, MaxInterval = 5 * time.Minute, 120 * time.Minute
	MinTestInterval          = 1 * time.Minute
	// MaxLogMemory is the largest log-memory, in KiB, and the default.
	MaxLogMemory = flash.MaxMemory >> 10

	// DefaultInterval is the collection interval of a record of which none is
	// known; all others have theirs in the catalogue.
	DefaultInterval = 5 * time.Minute
)

// The limits of this agent.
const (
	MaxText    = 64  // characters of an object's id, service or owner
	MaxMeters  = 32  // ingress meters of a SAP or network interface
	MaxEgress  = 32  // egress meters of a SAP
	MaxQueues  = 64  // queues of a port
	MaxLink    = 15  // bytes of a link name (IFNAMSIZ - 1)
	MaxCounter = 128 // bytes of the name of an nftables table or counter
	defMeters  = 1
	defQueues  = 8
	maxSystem  = 80
	maxDirPath = 1024
)

// The two directories below the location of a file-id (7210 SAS, "Accounting
// Files"): files that are open, and files that are closed and wait for
// retrieval.
const (
	CollectDir = flash.CollectDir
	ArchiveDir = flash.ArchiveDir
)

// Destination is where a policy writes: a file-id from 1 to 99, or NoFile. Its
// zero value means that none was given.
type Destination int

// NoFile is the destination of a policy that is collected and not stored.
const NoFile Destination = -1

// String returns "file 11", "no-file" or "".
func (d Destination) String() string {
	switch d {
	case 0:
		return ""
	case NoFile:
		return "no-file"
	}
	return fmt.Sprintf("file %d", int(d))
}

// FileID says where the files of one accounting policy lie and how long they
// live.
type FileID struct {
	ID          int    // 1–99
	Description string // up to 80 printable ASCII characters
	// Location is the directory that stands for the device's flash card;
	// act-collect/ and act/ are made below it.
	Location string
	// BackupLocation is where files go when none can be created at Location;
	// "" for nowhere.
	BackupLocation string
	// Rollover is how long a file is written to before the next write begins
	// another one: 5–10080 whole minutes, 0 for 1440.
	Rollover time.Duration
	// Retention is how long a closed file is kept at least: 1–500 whole hours,
	// 0 for 12.
	Retention time.Duration
	// Line is where the file-id stands in the YAML, 0 if it does not.
	Line int

	given given
}

// Places returns the location and, if there is one, the backup location.
func (f FileID) Places() []string {
	if f.BackupLocation == "" {
		return []string{f.Location}
	}
	return []string{f.Location, f.BackupLocation}
}

// CollectDir returns the directory of the open file.
func (f FileID) CollectDir() string { return filepath.Join(f.Location, CollectDir) }

// ArchiveDir returns the directory of the closed files.
func (f FileID) ArchiveDir() string { return filepath.Join(f.Location, ArchiveDir) }

// AccountingPolicy says what is collected, how often, and where to.
type AccountingPolicy struct {
	ID          int    // 1–99
	Description string // up to 80 printable ASCII characters
	// Type is the type of the record if it is 0; a type that is given is
	// checked against the record.
	Type Type
	// Record is the one record name of the policy; no other policy may have
	// it. Upper and lower case are the same; a Set holds the catalogue's.
	Record record.Name
	// CollectionInterval is 5–120 whole minutes, for SAA tests 1–120; 0 for the
	// record's default.
	CollectionInterval time.Duration
	// To is the file-id, which no other policy may use, or NoFile.
	To Destination
	// Default makes this the policy of all objects of its type that collect
	// statistics and name no policy. A type has at most one.
	Default bool
	// Align starts collecting when the clock (UTC, counted from 1970) is
	// divisible by the interval; otherwise the first interval begins when the
	// collector starts.
	Align bool
	// IncludeSystemInfo puts what is known of this system at the top of every
	// file (include-system-info of SR OS, off by default): its name, the
	// program, and the time zone of the times in file names.
	IncludeSystemInfo bool
	// LogMemory keeps committed intervals in memory, up to LogMemorySize, and
	// writes them to the flash when it is full, at rollover and at the end: it
	// spares the flash, and a crash loses what is in memory.
	LogMemory bool
	// LogMemorySize is the size of that memory in KiB: 1–128, 0 for 128.
	LogMemorySize int
	// Shutdown takes the policy out of service: it may be incomplete, it
	// still owns its record and file-id, and nothing is collected for it.
	Shutdown bool
	// Line is where the policy stands in the YAML, 0 if it does not.
	Line int

	given given
}

// Object is something that has counters.
type Object struct {
	// Type says what it is: Access a SAP, AccessPort and Network a port,
	// NetworkIf an IP interface, SDP an SDP, SAA a test.
	Type Type
	// ID is the SAP id ("1/1/1:100"), the port id ("1/1/1"), the name of the
	// interface, the SDP id or the name of the test, as it will stand in the
	// records.
	ID string
	// Owner is the owner of an SAA test, which must have one.
	Owner string
	// Service is the service id of a SAP, which must have one, and of an SDP
	// binding; an SDP without it is the SDP as a whole.
	Service string
	// Policy is the explicit accounting policy; 0 for the default policy of
	// the type.
	Policy int
	// CollectStats off: the counters go on counting, nothing is written.
	CollectStats bool
	// CounterMode of the ingress meters; SAPs only.
	CounterMode CounterMode
	// Meters is how many ingress meters a SAP or an interface has, 0 for 1.
	Meters int
	// EgressMeters is how many egress meters a SAP has. They have counters of
	// their own only if an aggregate meter is in use, so 0 is the usual case.
	EgressMeters int
	// Queues is how many queues a port has, 0 for 8.
	Queues int
	// Link is the network link whose counters the source linux takes.
	Link string
	// NFT and TC name counters of nftables and classes of queueing
	// disciplines that the source linux takes instead of the link's; nil for
	// none.
	NFT *NFT
	TC  *TC
	// Line is where the object stands in the YAML, 0 if it does not.
	Line int

	bad badFields
}

// String names the object as the messages do: `SAP 1/1/1:100`.
func (o *Object) String() string {
	s := o.Type.Object() + " " + o.ID
	if o.Type == SDP && o.Service != "" {
		s += " of service " + o.Service
	}
	if o.Type == SAA && o.Owner != "" {
		s += " of owner " + o.Owner
	}
	return s
}

// The kinds of sources.
const (
	SourceLinux     = "linux"
	SourceSynthetic = "synthetic"
	SourceReplay    = "replay"
)

// SourceConfig says where counters come from.
type SourceConfig struct {
	// Kind is SourceLinux, SourceSynthetic or SourceReplay; "" for
	// SourceLinux.
	Kind string
	// Namespace is the network namespace that the source linux looks into: a
	// name below /run/netns or an absolute path; "" for the agent's own.
	Namespace string
	// Seed of the source synthetic: the same seed gives the same counters.
	Seed uint64
	// Idle is how many percent of the objects of the source synthetic have no
	// traffic.
	Idle int
	// Path is the recording of the source replay: directories and files.
	Path []string
	// Profile is the file that explains the recording; "" if it needs none.
	Profile string
	// Loop begins again behind the end of the recording.
	Loop bool
	// Line is where the source stands in the YAML, 0 if it does not.
	Line int

	given given
}

// Config is a configuration as somebody wrote it. It need not make sense; New
// tells.
type Config struct {
	// System is the name of this system in the header of the files of policies
	// that include it; "" if it has none.
	System string
	// ControlSocket is where the running agent listens for operators: an
	// absolute path, NoControlSocket, or "" for a name beside the lock of the
	// first file-id; [Config.Control] returns what that comes to.
	ControlSocket string
	Source        SourceConfig
	FileIDs       []FileID
	Policies      []AccountingPolicy
	Objects       []Object
	// Catalogue holds the record names; nil for record.Builtin.
	Catalogue *record.Catalogue

	given given
}
