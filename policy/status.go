package policy

import (
	"slices"
	"time"

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
	// Objects is how many objects the policy collects; none if it is shut
	// down.
	Objects int
	// File is the open file, with what is committed to it; its name is zero
	// if none is open. Since is when the file was created.
	File  rollover.File
	Since time.Time
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
		Type: p.Type, Record: p.Record, CollectionInterval: p.CollectionInterval,
	}
	if p.Shutdown {
		s.Err = ErrShutdown
	}
	return s
}

// Status returns the status of every policy of the configuration, by id, also
// of those that are shut down. It can be called at any time, also from a hook.
func (c *Collector) Status() []Status {
	var out []Status
	for _, p := range c.o.Set.Config().Policies {
		i := slices.IndexFunc(c.workers, func(w *worker) bool { return w.plan.Policy.ID == p.ID })
		if i < 0 {
			out = append(out, statusOf(p))
			continue
		}
		w := c.workers[i]
		w.mu.Lock()
		out = append(out, w.status)
		w.mu.Unlock()
	}
	return out
}
