// Package coverage says of every collection interval of every accounting policy
// of a device whether its records are here, and if not, why not.
//
// The files carry no sequence number, and a device that has nothing to write
// writes nothing. So completeness follows from arithmetic: what the files say
// about themselves (their collections, their names, when they were closed), how
// they follow each other, and when we looked at the device. Everything here is
// pure: facts go in, verdicts come out, and the same facts give the same
// verdicts. docs/formats/coverage.md explains every rule.
//
// Times of intervals, file names and closings are by the device's clock; times
// of visits and of a file's first listing are by ours. Skew relates the two.
package coverage

import (
	"fmt"
	"slices"
	"time"

	"acctpull/rollover"
)

// Verdict is what is known about one collection interval.
type Verdict uint8

// The verdicts. Of several that hold for one interval the one that counts is the
// last of this list.
const (
	// Unjudged: nothing is known, for example before the first file that was
	// ever seen. It is the zero value.
	Unjudged Verdict = iota
	// Open: not due yet. The file it is in, if any, need not be closed and
	// listed yet.
	Open
	// Idle: nothing was written, so there is nothing to have. A file rolls
	// over only when it is written to (7210 SAS, "Log Files").
	Idle
	// Waiting: due, and still to be had: the file waits on the device.
	Waiting
	// Present: its records are here, once.
	Present
	// Late: its records are here; the file was first listed after the stated
	// delay.
	Late
	// Duplicate: its records are here; the device gave the same file under
	// several names.
	Duplicate
	// Overlapping: files of different content have records for it.
	Overlapping
	// Truncated: it was in the part of a file that was cut off.
	Truncated
	// Corrupt: the file it was in could not be trusted and is in quarantine.
	Corrupt
	// Missing: it should be here, and nothing says where it went.
	Missing
	// Lost: its file went on the device before it could be fetched.
	Lost

	// Verdicts is their number.
	Verdicts
)

var verdictNames = [...]string{"unjudged", "open", "idle", "waiting", "present", "late", "duplicate", "overlapping", "truncated", "corrupt", "missing", "lost"}

// String returns the verdict in lower case, as docs/formats/coverage.md spells it.
func (v Verdict) String() string {
	if v >= Verdicts {
		return fmt.Sprintf("verdict %d", uint8(v))
	}
	return verdictNames[v]
}

// MarshalText writes the verdict as String does.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (v *Verdict) UnmarshalText(text []byte) error {
	i := slices.Index(verdictNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("read verdict: %q is none", text)
	}
	*v = Verdict(i)
	return nil
}

// Received reports whether the records of the interval are here.
func (v Verdict) Received() bool { return v >= Present && v <= Overlapping }

// Gap reports whether records that were or should have been written are not
// here and cannot be expected any more.
func (v Verdict) Gap() bool { return v >= Truncated && v < Verdicts }

// Expected reports whether there should be records of the interval: those that
// were received, are waited for, or will never come.
func (v Verdict) Expected() bool { return v >= Waiting && v < Verdicts }

// Cause says more about a verdict. The zero value says nothing more.
type Cause string

// The causes.
const (
	NoWrite     Cause = "no write"               // idle: the file before was open all the time
	PolicyOff   Cause = "policy off"             // idle: the file before was closed before its rollover, and no other was begun
	NoRecords   Cause = "no records"             // idle: the file holds none
	NotListed   Cause = "not closed"             // idle: a write would have closed the file, and it would have been listed
	NotVisited  Cause = "not visited"            // waiting, missing: no good visit since
	NotFetched  Cause = "not fetched"            // waiting: listed, and not fetched yet
	ListedGone  Cause = "listed and gone"        // lost: it was listed, and gone when it was to be fetched
	Expired     Cause = "expired"                // lost: longer between two good visits than a file lives
	Contention  Cause = "deleted early"          // lost: older files went too, before their retention was over: space contention or a format
	OpenTooLong Cause = "open too long"          // lost: idle for so long that the file could be deleted as soon as it was closed
	Refused     Cause = "refused"                // corrupt: it did not pass verification
	CutOff      Cause = "cut off"                // truncated: the file ends before its end
	Restart     Cause = "restart"                // missing: the rhythm of the collections changed; a file that is open at a restart stays in act-collect
	Changed     Cause = "interval changed"       // missing: the collection interval before is not the one after
	Repeated    Cause = "content repeated"       // missing: the file of that name has the content of another one
	ClockBack   Cause = "clock set back"         // overlapping, missing: the device's clock went back
	Undecidable Cause = "closing time not known" // missing, idle: nothing says when the file before was closed; its length decided
)

// Device is all that is known about one device.
type Device struct {
	Name string
	// Rollover is that of its file-ids, 0 if nobody gave it: then it is
	// learned from the names of the files.
	Rollover time.Duration
	// Life is how long a closed file stays on the device at the least, 0 if
	// nobody knows: then DefaultLife.
	Life time.Duration
	// Files are those whose records may lie in the window or beside it, in
	// any order. Files beside the window are needed to judge its ends.
	Files []File
	// Visits are when we looked, by Began. A file's First is a visit too.
	Visits []Visit
}

// DefaultLife is how long a closed file stays on a device that nobody knows
// anything about: half of the default retention of 12 hours (7210 SAS, "Log
// Files"), because some devices count it from the creation of a file.
const DefaultLife = 6 * time.Hour

// FileState says what became of a file.
type FileState uint8

// The states of a file.
const (
	// Here: verified and in the archive.
	Here FileState = iota
	// There: listed, and not fetched yet.
	There
	// Quarantined: it could not be trusted.
	Quarantined
	// Gone: listed, and gone when it was to be fetched.
	Gone
)

// File is one listed file.
type File struct {
	Name  rollover.Name
	State FileState
	// Path is the directory on the device, Stored where the bytes are.
	Path, Stored string
	Size         int64
	SHA256       string
	// Closed is its modification time, by the device's clock; zero if the
	// listing has none. A device writes to a file for the last time when it
	// closes it.
	Closed time.Time
	// First is when it was first listed, by our clock.
	First time.Time
	// AliasOf is the name of the file with the same content that stands for
	// it, "" for itself.
	AliasOf string
	// Reason is why it is Quarantined or Gone, what the last try said, or what
	// became of it since it was received.
	Reason string

	// Read says that the following is known.
	Read   bool
	Record string
	// Interval is the collection interval, 0 if the file does not give one.
	Interval time.Duration
	// Spans are its collections, ascending by End.
	Spans []Span
	// Truncated says that the file ends before its end.
	Truncated bool
}

// Span is one collection.
type Span struct {
	Start, End time.Time // Start is zero if it is not known
	Records    int64
}

// Visit is one look at a device, or several in succession that found the same.
type Visit struct {
	Began, Ended time.Time
	// Widest is the longest pause between two of them.
	Widest time.Duration
	// Good says that the directory was listed to its end.
	Good bool
	// Oldest is the name of the oldest file listed, "" if there was none or
	// nobody knows.
	Oldest string
	// Skew bounds the device's clock.
	Skew Skew
}

// Window is what is asked about.
type Window struct {
	// From and To bound the intervals, by the device's clock.
	From, To time.Time
	// AsOf is the moment of the judgement, by our clock; zero is the last
	// time we looked at the device. It is never taken from a clock here.
	AsOf time.Time
	// Delay is how long after its closing a file may be listed for the first
	// time before it is Late; 0 is DefaultDelay.
	Delay time.Duration
}

// DefaultDelay is four visits of a device with the default schedule.
const DefaultDelay = time.Hour

// Run is a number of intervals in succession with one verdict and cause.
type Run struct {
	Verdict Verdict `json:"verdict"`
	Cause   Cause   `json:"cause,omitempty"`
	// From and To bound it: it begins after From and ends with To, by the
	// device's clock.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Intervals is how many there are; for what is not here, how many fit.
	Intervals int `json:"intervals"`
	// Records is how many records are here.
	Records int64 `json:"records,omitempty"`
	// File is the file it is about, "" if it is about none or several.
	File string `json:"file,omitempty"`
	// Reason is one line for people.
	Reason string `json:"reason,omitempty"`
	// Doubt says that the facts allow another verdict, and which one was
	// taken follows from the usual length of the files.
	Doubt bool `json:"doubt,omitempty"`

	step time.Duration // the interval that holds there
}

// Stream is one accounting policy of a device.
type Stream struct {
	Policy  int    `json:"policy"`
	FileIDs []int  `json:"file_ids"`
	Record  string `json:"record,omitempty"`
	// Interval is the last collection interval.
	Interval time.Duration `json:"interval_ns"`
	// Runs cover the window without overlap, by From. What is not covered is
	// Unjudged.
	Runs []Run `json:"runs"`
}

// Totals are numbers of intervals by verdict.
type Totals [Verdicts]int

// Add adds the intervals of runs.
func (t *Totals) Add(runs []Run) {
	for _, r := range runs {
		t[r.Verdict] += r.Intervals
	}
}

// Sum adds the verdicts for which is is true.
func (t *Totals) Sum(is func(Verdict) bool) int {
	n := 0
	for v, count := range t {
		if is(Verdict(v)) {
			n += count
		}
	}
	return n
}

// Totals returns the intervals of the stream by verdict.
func (s *Stream) Totals() Totals {
	var t Totals
	t.Add(s.Runs)
	return t
}

// Gaps returns the runs that are gaps.
func (s *Stream) Gaps() []Run {
	var gaps []Run
	for _, r := range s.Runs {
		if r.Verdict.Gap() {
			gaps = append(gaps, r)
		}
	}
	return gaps
}

// Judge returns the verdicts of every policy of a device that has something to
// say about the window, by policy. It changes nothing in d.
func Judge(d Device, w Window) []Stream {
	j := newJudge(d, w)
	var all []Stream
	for _, t := range j.threads {
		j.findRestarts(t)
	}
	for _, t := range j.threads {
		if s := j.stream(t); len(s.Runs) > 0 {
			all = append(all, s)
		}
	}
	return all
}
