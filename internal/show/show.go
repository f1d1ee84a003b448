// Package show is what an operator sees of an accounting agent: policies,
// file-ids, files and record names, as values with stable JSON and as tables in
// the manner of the device's show commands (7210 SAS, "show log").
//
// [Build] makes the view of a configuration. An agent that runs adds what it
// knows of itself and sends the same view through its control socket; one that
// does not run is shown as its configuration and its directories say.
package show

import "time"

// Version is the version of the JSON. A field is never removed and never
// changes its meaning within one version; new ones may come.
const Version = 1

// States of policies and files.
const (
	Up       = "up"
	Down     = "down"
	Shutdown = "shutdown"

	Complete   = "complete"    // closed, waits for retrieval
	InProgress = "in progress" // being written by an agent that runs
	LeftOpen   = "left open"   // in act-collect/, and no agent writes it
)

// Agent is one agent: what it collects, where to, and how it is.
type Agent struct {
	// Version is that of the JSON.
	Version int `json:"version"`
	// Running is false if nothing answers: then all that follows is what the
	// configuration says.
	Running bool `json:"running"`
	// PID, Started and Configuration are those of the agent that runs.
	PID           int        `json:"pid,omitempty"`
	Started       *time.Time `json:"started,omitempty"`
	Configuration string     `json:"configuration,omitempty"`
	// Note is what else an operator should know, "" for nothing.
	Note string `json:"note,omitempty"`
	// LocalTime says that the times in file names are local and not UTC.
	LocalTime bool `json:"local_time"`
	// RetentionRule is by what files expire: created+rollover+retention or
	// created+retention.
	RetentionRule string   `json:"retention_rule"`
	Policies      []Policy `json:"accounting_policies,omitzero"`
	FileIDs       []FileID `json:"file_ids,omitzero"`
}

// Policy is an accounting policy.
type Policy struct {
	ID          int    `json:"id"`
	Description string `json:"description"`
	Type        string `json:"type"`   // access, accessport, network, networkIf, sdp; "" if the policy has no record yet
	Record      string `json:"record"` // "" if it has none yet
	Admin       string `json:"admin_state"`
	Oper        string `json:"oper_state"`
	// Reason says why the policy is down, and Hint what to do about it.
	Reason   string `json:"reason,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Interval int    `json:"collection_interval_minutes"`
	To       string `json:"to"`      // "file 11", "no-file" or ""
	FileID   int    `json:"file_id"` // 0 if it stores nothing
	Default  bool   `json:"default"`
	Align    bool   `json:"align"`
	// CurrentFile is the file that is being written, "" if there is none.
	CurrentFile string `json:"current_file"`
	// LogMemory is the size of the memory in front of the flash in KiB, 0 for
	// none. Of Held intervals in it, the first since HeldSince, nothing is on
	// the flash: a crash now loses them.
	LogMemory int        `json:"log_memory_kib"`
	Held      int        `json:"held_intervals"`
	HeldSince *time.Time `json:"held_since,omitempty"`
	// DataLoss counts the intervals that are incomplete or were missed since
	// the agent started, LastDataLoss is when the last of them ended.
	DataLoss     uint64     `json:"data_loss_count"`
	LastDataLoss *time.Time `json:"last_data_loss,omitempty"`
	// Last is the last collection, nil before the first.
	Last *Collection `json:"last_collection,omitempty"`
	// Next is when the next collection is due, nil if none is.
	Next *time.Time `json:"next_collection,omitempty"`
	// Objects is how many objects the policy collects.
	Objects int `json:"objects"`
	// Associations are the objects by kind.
	Associations []Association `json:"associations"`
}

// Collection is one collection of a policy.
type Collection struct {
	End     time.Time `json:"end"`
	Objects int       `json:"objects"`
	Missing int       `json:"missing"`
	Records int       `json:"records"`
	Error   string    `json:"error,omitempty"`
}

// Association is the objects of one kind that a policy collects.
type Association struct {
	Kind  string `json:"kind"` // "SAP", "access port", …
	Count int    `json:"count"`
	// Objects are present if they were asked for.
	Objects []Object `json:"objects,omitempty"`
}

// Object is an accounting object.
type Object struct {
	ID      string `json:"id"`
	Service string `json:"service,omitempty"`
	Link    string `json:"link,omitempty"`
	// Explicit says that the object names the policy; else it has it by
	// default.
	Explicit bool `json:"explicit"`
}

// FileID is a file-id.
type FileID struct {
	ID          int    `json:"id"`
	Description string `json:"description"`
	Rollover    int    `json:"rollover_minutes"`
	Retention   int    `json:"retention_hours"`
	// Admin is the configured location, Backup the one behind it, and Oper
	// where the current file lies; "" if there is none.
	Admin  string `json:"admin_location"`
	Backup string `json:"backup_location"`
	Oper   string `json:"oper_location"`
	// UsedBy is the accounting policy that writes here, 0 if there is none.
	UsedBy      int    `json:"accounting_policy"`
	CurrentFile string `json:"current_file"`
	// Faults are the locations that could not be used the last time.
	Faults []Fault `json:"faults,omitempty"`
	// Files are present if they were asked for, oldest first.
	Files []File `json:"files,omitzero"`
	// Problems are what kept files from being listed.
	Problems []string `json:"problems,omitempty"`
}

// Fault is a location that could not be used.
type Fault struct {
	Location string `json:"location"`
	Reason   string `json:"reason"`
	// ClearLog says that a write failed there: the location is not used again
	// before clear log.
	ClearLog bool `json:"needs_clear_log"`
}

// File is an accounting file.
type File struct {
	Name    string     `json:"name"`
	Path    string     `json:"path"`
	Bytes   int64      `json:"bytes"`
	Created *time.Time `json:"created"` // nil if the name is no date
	Expired bool       `json:"expired"`
	// Expires is when a sweep may remove the file, nil while it is written.
	Expires *time.Time `json:"expires"`
	State   string     `json:"state"` // complete, in progress, left open
}

// Record is a record name that an accounting policy can carry.
type Record struct {
	// Number is 0 if none is known.
	Number int    `json:"number"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	// Interval is the default collection interval.
	Interval int `json:"default_interval_minutes"`
	// Policy is the accounting policy that has the record, 0 if none has.
	Policy int `json:"accounting_policy"`
}
