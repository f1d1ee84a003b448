package policy

import (
	"maps"
	"slices"
	"time"

	"acctpull/flash"
	"acctpull/record"
	"acctpull/rollover"
)

// Status is what a policy is and what it has done so far: the columns of the
// device's "show log accounting-policy".
type Status struct {
	// State is the operational state. A policy that is shut down is down with
	// ErrShutdown.
	State
	// Shutdown is the administrative state: true if the policy is out of
	// service.
	Shutdown bool
	// Default is true if the policy is the default policy of its type.
	Default bool
	Type    Type
	Record  record.Name
	// CollectionInterval is how often the policy collects.
	CollectionInterval time.Duration
	// Align is true if it collects when the clock is divisible by that.
	Align bool
	// Objects is how many objects the policy collects; none if it is shut
	// down.
	Objects int
	// File is the open file, with what is committed to it; its name is zero
	// if none is open. Since is when the file was created.
	File  rollover.File
	Since time.Time
	// Flash is the state of the policy's log after the last interval: where the
	// open file is, which locations are in use, and what the log-memory holds
	// that a crash would lose. Zero before the first record.
	Flash flash.State
	// Last is the last interval; its End is zero before the first.
	Last Interval
	// Next is when the next collection is due; zero if the policy is shut
	// down or the Collector is not running.
	Next time.Time
	// DataLoss counts the intervals that are incomplete or missed since the
	// Collector was made, and LastDataLoss is the end of the last of them.
	DataLoss     uint64
	LastDataLoss time.Time
}

// statusOf returns the status of a policy that has done nothing yet.
func statusOf(p AccountingPolicy) Status {
	s := Status{
		State: State{Policy: p.ID, FileID: max(0, int(p.To)), Up: !p.Shutdown}, Shutdown: p.Shutdown, Default: p.Default,
		Type: p.Type, Record: p.Record, CollectionInterval: p.CollectionInterval, Align: p.Align,
	}
	if p.Shutdown {
		s.Err = ErrShutdown
	}
	return s
}

// Status returns the status of every policy of the configuration, by id, also
// of those that are shut down. It can be called at any time, also from a hook.
func (c *Collector) Status() []Status {
	c.mu.Lock()
	set, workers := c.set, slices.Clone(c.workers)
	past := maps.Clone(c.past)
	c.mu.Unlock()
	var out []Status
	for _, p := range set.Config().Policies {
		i := slices.IndexFunc(workers, func(w *worker) bool { return w.id == p.ID })
		if i < 0 {
			s := statusOf(p)
			s.remember(past[p.ID])
			out = append(out, s)
			continue
		}
		w := workers[i]
		w.mu.Lock()
		out = append(out, w.status)
		w.mu.Unlock()
	}
	return out
}

// remember takes over what the policy did before it was shut down or restarted.
func (s *Status) remember(past Status) {
	s.Last, s.DataLoss, s.LastDataLoss = past.Last, past.DataLoss, past.LastDataLoss
}
