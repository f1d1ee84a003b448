// Package pull fetches closed accounting files from devices over SSH and keeps
// them: list, ask the ledger what is new, fetch into act-collect/, prove that
// the file is whole, publish it in act/ without overwriting anything, tell the
// ledger. See docs/formats/archive.md for what lies where and why.
//
// A device never chooses a local name, path or mode, never makes this package
// wait for ever and never puts raw text on a terminal: every name must parse as
// an accounting file name, every wait has a limit (Limits), every text that came
// over the wire is escaped and cut to 256 bytes in errors. Nothing is ever
// written to a device, and nothing removed from it unless Target.Remove asks.
//
// Host keys are checked strictly, always. There is no option to skip it.
//
// The package logs nothing and prints nothing: it returns values and errors and
// calls the functions of one Hooks value. It takes no lock on the data
// directory; the caller holds one (internal/durable.AcquireLock).
package pull

import (
	"context"
	"time"

	"acctpull/internal/depot"
	"acctpull/ledger"
)

// Options is what all devices of one run share.
type Options struct {
	// Data is the data directory; see docs/formats/archive.md.
	Data string
	// Depot is where finished files live. nil is the data directory itself;
	// with another one only files on their way lie below Data.
	Depot depot.Depot
	// Ledger is the open ledger of that data directory.
	Ledger *ledger.Ledger
	// Verify reads the file at path to its end and returns what it holds. Its
	// error sends the file to quarantine, with the error text
	// as the reason; an error that wraps an operating system error
	// (syscall.Errno) or comes from ctx does not: it says nothing about the
	// content, and the file is fetched again. Required. It is called from
	// several goroutines.
	Verify func(ctx context.Context, path string) (Verified, error)
	// Owner names this installation in ledger leases, together with the
	// device. It must stay the same from run to run: whatever the same owner
	// holds at the start of a run was left by a process that died, and is
	// taken back. "" is the host name. The lock on the data directory keeps
	// two living processes from being the same owner.
	Owner string
	// Limits bound every wait and every size. The zero value means
	// DefaultLimits, and so does every zero field.
	Limits Limits
	// Cache is shared by all devices; nil is none.
	Cache *Cache
	// Hooks report progress. All are optional.
	Hooks Hooks
	// Getenv reads the environment variables that Secret and the agent
	// socket name. nil is os.Getenv.
	Getenv func(string) string
	// Now is the clock for ledger rows. nil is time.Now.
	Now func() time.Time
}

// Verified is what Options.Verify found in a file.
type Verified struct {
	// Records counts its records.
	Records int64
	// Facts go into the ledger with the file; nil if nothing is known.
	Facts *ledger.Facts
}

// Limits bound what a peer can make us wait for or hold. A zero field is the
// default of DefaultLimits. Source of the defaults: the table of default limits
// in docs/formats/archive.md.
type Limits struct {
	// Connect bounds the TCP connection, name lookup included.
	Connect time.Duration
	// Handshake bounds key exchange and authentication together. It is a
	// deadline of its own: ssh.ClientConfig.Timeout covers the TCP
	// connection only.
	Handshake time.Duration
	// Open bounds the opening of a session, subsystem or command.
	Open time.Duration
	// Idle ends a connection that owes us bytes and sends none.
	Idle time.Duration
	// MinRate, in bytes per second over RateWindow, ends a connection that
	// owes us bytes and only drips.
	MinRate    int64
	RateWindow time.Duration
	// File bounds the transfer of one file, Run the whole run for a device,
	// retries and waiting included.
	File, Run time.Duration
	// A device that sent nothing for Keepalive is asked for a sign of life;
	// one that sends nothing for KeepaliveMax times as long is gone.
	Keepalive    time.Duration
	KeepaliveMax int
	// Retries is how often a run is tried again after a network error,
	// BackoffMin and BackoffMax bound the waits between (doubled each time,
	// with jitter). Negative: never. Authentication and host key errors are
	// never tried again.
	Retries                int
	BackoffMin, BackoffMax time.Duration
	// ListFiles is the largest number of names in one listing, ListBytes
	// the largest number of bytes it may take on the wire.
	ListFiles int
	ListBytes int64
	// FileSize is the largest file that is fetched, in bytes.
	FileSize int64
	// Parallel is how many files SFTP has in flight on the one connection of
	// a device nearby; the longer its round trip is, the more, up to eight
	// times as many. Memory bounds the bytes that are asked for and not
	// written: a file counts with what is on its way, not with its size.
	Parallel int
	Memory   int64
	// A batch is published and recorded together; it ends after BatchFiles
	// files or BatchBytes bytes. A batch is settled while the next is
	// fetched, so a crash repeats at most two.
	BatchFiles int
	BatchBytes int64
	// FreeStart is the free space below which nothing is started, FreeStop
	// the one below which no further batch is started: the smaller of the
	// bytes and the percentage of the file system.
	FreeStart, FreeStop Space
}

// Space is an amount of disk space: Bytes, or Percent of the file system if
// that is less.
type Space struct {
	Bytes   int64
	Percent int
}

// DefaultLimits returns the defaults.
func DefaultLimits() Limits {
	return Limits{
		Connect:      10 * time.Second,
		Handshake:    20 * time.Second,
		Open:         10 * time.Second,
		Idle:         30 * time.Second,
		MinRate:      1024,
		RateWindow:   time.Minute,
		File:         15 * time.Minute,
		Run:          30 * time.Minute,
		Keepalive:    15 * time.Second,
		KeepaliveMax: 3,
		Retries:      3,
		BackoffMin:   2 * time.Second,
		BackoffMax:   time.Minute,
		ListFiles:    100_000,
		ListBytes:    64 << 20,
		FileSize:     256 << 20,
		Parallel:     16,
		Memory:       8 << 20,
		BatchFiles:   512,
		BatchBytes:   256 << 20,
		FreeStart:    Space{2 << 30, 10},
		FreeStop:     Space{1 << 30, 5},
	}
}

// or returns v, or def if v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	return Limits{
		Connect:      or(l.Connect, d.Connect),
		Handshake:    or(l.Handshake, d.Handshake),
		Open:         or(l.Open, d.Open),
		Idle:         or(l.Idle, d.Idle),
		MinRate:      or(l.MinRate, d.MinRate),
		RateWindow:   or(l.RateWindow, d.RateWindow),
		File:         or(l.File, d.File),
		Run:          or(l.Run, d.Run),
		Keepalive:    or(l.Keepalive, d.Keepalive),
		KeepaliveMax: or(l.KeepaliveMax, d.KeepaliveMax),
		Retries:      or(l.Retries, d.Retries),
		BackoffMin:   or(l.BackoffMin, d.BackoffMin),
		BackoffMax:   or(l.BackoffMax, d.BackoffMax),
		ListFiles:    or(l.ListFiles, d.ListFiles),
		ListBytes:    or(l.ListBytes, d.ListBytes),
		FileSize:     or(l.FileSize, d.FileSize),
		Parallel:     or(l.Parallel, d.Parallel),
		Memory:       or(l.Memory, d.Memory),
		BatchFiles:   or(l.BatchFiles, d.BatchFiles),
		BatchBytes:   or(l.BatchBytes, d.BatchBytes),
		FreeStart:    or(l.FreeStart, d.FreeStart),
		FreeStop:     or(l.FreeStop, d.FreeStop),
	}
}

// Hooks are called while a device is pulled, one call at a time per device and
// from other goroutines than the caller's. They must not block for long.
type Hooks struct {
	// OnConnect is called after authentication.
	OnConnect func(Connected)
	// OnFile is called when the outcome of a file is final: for a stored
	// file after the ledger has it.
	OnFile func(File)
	// OnProgress is called after every file that arrived.
	OnProgress func(Progress)
	// OnRetry is called before a wait.
	OnRetry func(Retry)
	// OnHostKey is called when a connection was refused because of the host
	// key; the same value is in the error of Device.
	OnHostKey func(*HostKeyError)
}

// Connected says what a connection stands on.
type Connected struct {
	Device string
	// Address is the peer's IP address and port, Server its SSH version
	// string, escaped. Through jump hosts, Address is what the last of them
	// was asked to connect to, and Jump the chain, as ParseJump reads it.
	Address, Server, Jump string
	// Algorithms are key exchange, host key, cipher and MAC agreed on.
	Algorithms []string
	// Insecure are those of them that are only there because the device is
	// marked legacy.
	Insecure []string
	// HostKey is the SHA-256 fingerprint of the key the device proved.
	HostKey string
	// Transport is what the files come through.
	Transport Transport
	// Clear says that password and files go over the line in clear, and that
	// nobody proved to be the device: FTP.
	Clear bool
}

// Progress counts the files of this run that are being fetched.
type Progress struct {
	Device            string
	Files, FilesTotal int
	Bytes, BytesTotal int64
}

// Retry says that a run failed and when it is tried again.
type Retry struct {
	Device string
	// Attempt counts from 1, Of is how many there will be at most.
	Attempt, Of int
	Wait        time.Duration
	Err         error
}

// Outcome is what became of one file in one run.
type Outcome int

// The outcomes of a file.
const (
	// Stored: verified, durable in act/, and in the ledger.
	Stored Outcome = iota
	// Alias: as Stored, and its content is already there under AliasOf.
	Alias
	// Quarantined: it arrived whole and did not pass Verify.
	Quarantined
	// Lost: it was on the device and was gone before it could be fetched.
	Lost
	// Superseded: the device now lists the same name with another size or
	// time; that one is a file of its own.
	Superseded
	// Failed: it did not arrive; the next run tries again.
	Failed

	outcomeCount
)

// SupersededReason begins the reason of a file that is Superseded, in the ledger
// where it is Lost.
const SupersededReason = "superseded: "

var outcomeNames = [...]string{"stored", "alias", "quarantined", "lost", "superseded", "failed"}

// String returns the outcome in lower case.
func (o Outcome) String() string {
	if o < 0 || o >= outcomeCount {
		return "unknown"
	}
	return outcomeNames[o]
}

// File is one file of one run.
type File struct {
	ledger.Key
	Outcome Outcome
	// SHA256 is the hex digest of the whole file, "" if it never arrived.
	SHA256 string
	// Stored is where it lies now, a slash path relative to the data
	// directory: in act/, or in quarantine.
	Stored string
	// Records is what Verify counted.
	Records int64
	// AliasOf is the name of the file with the same content.
	AliasOf string
	// Reason says why, for every outcome but Stored. One line, escaped.
	Reason string
	// Warning is set when a stored file deserves a look: the device gave
	// other content under a name that was already taken. One line, escaped.
	Warning string
}

// Result is what a run did, complete even if it ended with an error.
type Result struct {
	Device    string
	Target    string
	Transport Transport
	// Listed counts the accounting files on the device, Ignored the names
	// beside them: names that do not parse, directories, links.
	Listed, Ignored int
	// Oldest is the listed file with the earliest stamp in its name, "" if
	// none is listed, and OldestSeen when it was seen for the first time, by
	// our clock. They tell how long files live on the device.
	Oldest     string
	OldestSeen time.Time
	// Listing is about the first complete listing of the run; zero if there
	// was none.
	Listing Listing
	// Skew is the device's clock less ours, where the device tells its time:
	// on the command line only. The zero value is unknown.
	Skew Skew
	// Known counts listed files that were settled in an earlier run, Busy
	// those that another process is working on or that wait for a later
	// retry.
	Known, Busy int
	// Files are those this run worked on.
	Files []File
	// Bytes counts the bytes of the files that arrived whole.
	Bytes int64
	// Removal is what was removed from the device; zero unless Target.Remove.
	Removal Removal
	// Attempts counts the connections tried.
	Attempts int
}

// Listing says when the directory was listed, and what that says about the
// clock of the device: every file that no listing had before was closed since
// the one before.
type Listing struct {
	// Began and Ended are by our clock.
	Began, Ended time.Time
	// Earliest and Latest bound the modification times of the files that
	// were listed for the first time; zero if there are none.
	Earliest, Latest time.Time
}

// note takes a file that was listed for the first time.
func (l *Listing) note(mtime int64) {
	if mtime == 0 {
		return
	}
	t := time.Unix(mtime, 0).UTC()
	if l.Earliest.IsZero() || t.Before(l.Earliest) {
		l.Earliest = t
	}
	if t.After(l.Latest) {
		l.Latest = t
	}
}

// Count returns how many files had the outcome.
func (r Result) Count(o Outcome) int {
	n := 0
	for _, f := range r.Files {
		if f.Outcome == o {
			n++
		}
	}
	return n
}
