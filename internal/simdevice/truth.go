package simdevice

import (
	"fmt"
	"slices"
	"time"

	"acctpull/policy"
	"acctpull/record"
	"acctpull/rollover"
)

// Cause says why a file is not in act/ any more.
type Cause string

// The causes.
const (
	Expired    Cause = "expired"          // the hourly sweep took it
	Vanished   Cause = "vanished"         // it expired between a listing and the first file, see Faults.Vanish
	Contention Cause = "space contention" // it made room for another one
	Formatted  Cause = "formatted"        // the flash was formatted
	Orphaned   Cause = "orphaned"         // a reboot left it open in act-collect/
)

// Truth is what a device has written since it was first switched on.
type Truth struct {
	// Device is its name.
	Device string `json:"device"`
	// Files are all accounting files there ever were, in the order in which
	// they were opened.
	Files []TruthFile `json:"files"`
	// Lost are intervals that were never written: the flash was full.
	Lost []Lost `json:"lost"`
}

// TruthFile is one accounting file.
type TruthFile struct {
	Name   string      `json:"name"`
	Policy int         `json:"policy"`
	FileID int         `json:"file_id"`
	Record record.Name `json:"record"`
	// Ends are the ends of its intervals, by the device's clock.
	Ends []time.Time `json:"ends"`
	// Records is how many records it holds.
	Records uint64 `json:"records"`
	// Opened, Sealed and Gone are moments of the world's clock: it could be
	// seen in act/ from Sealed until Gone. Sealed is zero for a file that is
	// open or was left open, Gone for one that is still there.
	Opened time.Time `json:"opened"`
	Sealed time.Time `json:"sealed,omitzero"`
	Gone   time.Time `json:"gone,omitzero"`
	// Cause is why it is gone, or Orphaned.
	Cause Cause `json:"cause,omitempty"`

	boot *boot
	plan *policy.Plan
}

// Lost is an interval of a policy that was never written.
type Lost struct {
	Policy  int         `json:"policy"`
	FileID  int         `json:"file_id"`
	Record  record.Name `json:"record"`
	End     time.Time   `json:"end"` // by the device's clock
	Records uint64      `json:"records"`
}

// Truth returns what the device has written up to now. It needs a Life with
// KeepTruth.
func (d *Device) Truth() (Truth, error) {
	l := d.life
	if l == nil || !l.o.KeepTruth {
		return Truth{}, fmt.Errorf("truth of %q: it has no life that remembers", d.o.Name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.passTo(l.clock())
	if l.err != nil {
		return Truth{}, fmt.Errorf("truth of %q: %w", d.o.Name, l.err)
	}
	all := slices.Concat(l.past, l.files)
	for _, s := range l.streams {
		if s.open != nil {
			all = append(all, s.open)
		}
	}
	slices.SortStableFunc(all, func(a, b *made) int {
		if c := a.opened.Compare(b.opened); c != 0 {
			return c
		}
		return rollover.Compare(a.name, b.name)
	})
	t := Truth{Device: d.o.Name, Lost: slices.Clone(l.lost)}
	for _, f := range all {
		t.Files = append(t.Files, TruthFile{
			Name: f.name.String(), Policy: f.plan.Policy.ID, FileID: f.plan.File.ID, Record: f.plan.Policy.Record,
			Ends: slices.Clone(f.ends), Records: f.each * uint64(len(f.ends)),
			Opened: f.opened, Sealed: f.sealed, Gone: f.gone, Cause: f.cause, boot: f.boot, plan: f.plan,
		})
	}
	return t, nil
}

// Counters returns the number of records and the sum of each counter of a file
// of this device's Truth.
func (d *Device) Counters(f TruthFile) policy.Truth {
	var sum policy.Truth
	for _, end := range f.Ends {
		sum.Add(d.life.counters(f.boot, f.plan, end))
	}
	return sum
}

// Reboot says how a device restarts: all connections end, counters begin at
// zero, counter modes are back at their default, and the files that were open
// stay in act-collect/ as they are.
type Reboot struct {
	// Down is how long the device is away.
	Down time.Duration
	// Step is how far its clock is set forward, or back if it is negative.
	Step time.Duration
	// Format empties the flash. With a negative Step names of files are used
	// again.
	Format bool
}

// Reboot restarts the device. It needs a Life.
func (d *Device) Reboot(o Reboot) error {
	if d.life == nil {
		return fmt.Errorf("reboot %q: it has no life", d.o.Name)
	}
	if o.Down < 0 {
		return fmt.Errorf("reboot %q: it cannot be down for %v", d.o.Name, o.Down)
	}
	err := d.life.reboot(o)
	d.cut()
	if err != nil {
		return fmt.Errorf("reboot %q: %w", d.o.Name, err)
	}
	return nil
}

// StepClock sets the device's clock forward, or back if step is negative. It
// needs a Life.
func (d *Device) StepClock(step time.Duration) error {
	if d.life == nil {
		return fmt.Errorf("set the clock of %q: it has no life", d.o.Name)
	}
	d.life.stepClock(step)
	return nil
}

// Time is the device's own clock.
func (d *Device) Time() time.Time {
	if d.life == nil {
		return time.Now()
	}
	return d.life.time()
}

// Show brings act/ and act-collect/ on the disk up to date, as every client's
// look does. It needs a Life.
func (d *Device) Show() error {
	if d.life == nil {
		return fmt.Errorf("show %q: it has no life", d.o.Name)
	}
	return d.life.show()
}
