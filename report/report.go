// Package report turns usage tables into figures: how much an object carried, its
// 95th percentile, what it dropped, and who the largest are.
//
// A figure is a sum or a percentile over the intervals of one object, or of several
// objects added up, with everything that is needed to trust it: the counters, the
// length of the intervals, the policy for intervals that are missing, and how many
// of the expected intervals were there. Sums are exact; a rate is one division of
// two whole numbers. docs/reports.md has the rules, so that the same figure can be
// computed with any other program to the last digit.
//
// A report reads the files of one table as one stream in the order of the objects.
// Memory does not grow with the number of objects.
package report

import (
	"fmt"
	"time"
)

// RulesVersion is the version of the rules in docs/reports.md. It stands in every
// proof; a change of a rule that changes a figure raises it.
const RulesVersion = 1

// Kind is what a report is about.
type Kind string

// The reports.
const (
	Volume Kind = "volume" // octets or packets that were forwarded
	P95    Kind = "p95"    // percentile of the rate
	Drops  Kind = "drops"  // octets or packets that were dropped, and their share
	Top    Kind = "top"    // the largest objects, or those over a threshold
)

// Policy says what becomes of intervals without a delta of their own.
type Policy string

// The gap policies.
const (
	Exclude Policy = "exclude" // they do not count: a percentile is of fewer samples
	Zero    Policy = "zero"    // what has no delta counts as nothing carried
	Refuse  Policy = "refuse"  // there is no figure if one is missing
)

// ParsePolicy reads the name of a gap policy.
func ParsePolicy(s string) (Policy, error) {
	switch p := Policy(s); p {
	case Exclude, Zero, Refuse:
		return p, nil
	}
	return "", invalid("it is exclude, zero or refuse", "no gap policy %q", clip(s))
}

// Unit is what is counted.
type Unit string

// The units.
const (
	Octets  Unit = "octets"
	Packets Unit = "packets"
)

// Rate names the unit of a rate: bits or packets per second.
func (u Unit) Rate() string {
	if u == Packets {
		return "packet/s"
	}
	return "bit/s"
}

// Direction is which way the traffic goes, as the device sees it.
type Direction string

// The directions. AnyDirection is that of a record which does not say.
const (
	AnyDirection Direction = ""
	In           Direction = "in"
	Out          Direction = "out"
)

// Window is a range of time. An interval belongs to it if its end is after From and
// not after To: the interval that ends at midnight of the first is the last one of
// the month before.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Month returns the window of a billing month in UTC, such as "2026-11".
func Month(s string) (Window, error) {
	t, err := time.Parse("2006-01", s)
	if err != nil || t.Year() < 1971 || t.Year() > 9998 {
		return Window{}, invalid("such as 2026-11", "%q is no month", clip(s))
	}
	return Window{t, t.AddDate(0, 1, 0)}, nil
}

// String returns both ends in RFC 3339.
func (w Window) String() string {
	return w.From.UTC().Format(time.RFC3339) + " to " + w.To.UTC().Format(time.RFC3339)
}

// Options say what figures to make. They are plain data: a proof holds them.
type Options struct {
	Kind   Kind   `json:"report"`
	Window Window `json:"window"`
	// By is the kind of object that has a figure of its own; "" is the natural
	// one of the table. It is not used with Groups or Sum.
	By By `json:"by"`
	// Across makes one object of those that have the same keys on several devices.
	Across bool `json:"across,omitempty"`
	// Sum adds up everything that is selected, Groups what each group names.
	Sum    bool    `json:"sum,omitempty"`
	Groups []Group `json:"groups,omitempty"`
	Filter Filter  `json:"filter"`
	// Direction keeps one direction; AnyDirection keeps all, each with a figure
	// of its own.
	Direction Direction `json:"direction,omitempty"`
	// Unit is Octets or Packets; "" is Octets, or Packets of a table that counts
	// only these.
	Unit Unit `json:"unit,omitempty"`
	// Counters are the columns to add up, in place of those that the catalogue
	// says are forwarded or dropped.
	Counters []string `json:"counters,omitempty"`
	// Scope keeps the rows of one scope, such as "per queue".
	Scope string `json:"scope,omitempty"`
	// Percentile is that of the rate; its zero value means 95.
	Percentile Percentile `json:"percentile"`
	Gaps       Policy     `json:"gaps"` // "" means Exclude
	// Interval keeps intervals of one length; 0 means whatever length there is,
	// if it is one for each figure.
	Interval time.Duration `json:"interval_ns,omitempty"`
	// Mix accepts intervals of several lengths in one figure. How many are
	// expected is not known then.
	Mix bool `json:"mix,omitempty"`
	// Capacity tells how much an object can carry in bits per second; nil if
	// nothing is known. Over is a share of it (0.8 for 80 %): with it the report
	// counts the intervals with a rate above. 0 means not asked for.
	Capacity *Capacities `json:"capacity,omitempty"`
	Over     float64     `json:"over,omitempty"`
	// Rank orders a top report, Limit keeps the first figures of any; 0 keeps all.
	Rank  Rank `json:"rank,omitempty"`
	Limit int  `json:"limit,omitempty"`
}

// Coverage is what a figure stands on.
type Coverage struct {
	// Expected is the number of intervals in the window; -1 if lengths are mixed
	// or no interval was long enough to tell.
	Expected int `json:"expected"`
	// Counted are the intervals that have a delta from everything that belongs to
	// the figure at that time.
	Counted int `json:"counted"`
	// Missing are the others, by their reason: the breaks of the usage table,
	// and those of this package. If no length is known they are rows.
	Missing map[string]int `json:"missing,omitempty"`
	// Partial are counted intervals in which something that belongs to the figure
	// had not begun or had already ended.
	Partial int `json:"partial"`
	// GapSeconds is the time that gaps are longer than an interval, over all
	// series.
	GapSeconds int64 `json:"gap_seconds"`
	// Series is the number of series, Rows and Deltas that of their rows, and of
	// those that have a delta.
	Series int   `json:"series"`
	Rows   int64 `json:"rows"`
	Deltas int64 `json:"deltas"`
	// Absent are the members of a group that have no row at all.
	Absent []string `json:"members_without_rows,omitempty"`
}

// Figure is the result for one object or group in one direction.
type Figure struct {
	Table string `json:"table"`
	// Object is the label: values of the columns of the object, Report.Labels.
	Object    []string  `json:"object"`
	Direction Direction `json:"direction"`
	Unit      Unit      `json:"unit"`
	Counters  []string  `json:"counters"`
	Scopes    []string  `json:"scopes"`
	Interval  int64     `json:"interval_seconds"` // 0 if unknown or mixed
	// Refused says why there is no figure; "" if there is one.
	Refused string `json:"refused,omitempty"`

	// Total is the sum of every delta of the window; for drops it is what was
	// dropped and Forwarded the sum beside it.
	Total     Sum `json:"total"`
	Forwarded Sum `json:"forwarded"`
	// Percent is 100 × dropped ÷ (dropped + forwarded) for drops, nil if nothing
	// was there; the share of the sum of all figures for top.
	Percent *float64 `json:"percent,omitempty"`

	// Samples is the number of rates, and Rank which of them, counted from the
	// smallest, is the percentile Rate. Max is the largest. Without a sample Rank
	// is 0 and both are nil.
	Samples int      `json:"samples"`
	Rank    int      `json:"rank"`
	Rate    *float64 `json:"rate"`
	Max     *float64 `json:"max_rate"`
	// At is the end of the earliest interval whose rate is Rate.
	At *time.Time `json:"at,omitempty"`

	// Capacity in bits per second, 0 if not known; OverCount how many samples are
	// above the threshold; Peak is Max ÷ Capacity.
	Capacity  float64  `json:"capacity,omitempty"`
	OverCount int      `json:"intervals_over,omitempty"`
	Peak      *float64 `json:"peak_utilisation,omitempty"`

	Coverage Coverage `json:"coverage"`

	plot *plot
}

// Report is a set of figures with what they have in common.
type Report struct {
	Rules      int        `json:"rules_version"`
	Kind       Kind       `json:"report"`
	Window     Window     `json:"window"`
	Gaps       Policy     `json:"gap_policy"`
	Percentile Percentile `json:"percentile"`
	Method     string     `json:"percentile_method"`
	// Labels name the values in Figure.Object.
	Labels  []string `json:"labels"`
	Tables  []string `json:"tables"`
	Figures []Figure `json:"figures"`
	// Of is the number of figures before top was cut to its largest.
	Of int `json:"of"`
}

// Method is how a percentile is chosen, in one line.
const Method = "nearest rank: the rate of rank ceil(n*p/100) of n in ascending order; rate = delta*8/seconds of the interval (packets: delta/seconds)"

// Refused returns how many figures are refused and the first of the reasons.
func (r *Report) Refused() (n int, why string) {
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Refused != "" {
			if n == 0 {
				why = f.Refused
			}
			n++
		}
	}
	return n, why
}

// Error is a question that has no answer as it is asked.
type Error struct {
	what, hint string
}

// Error implements error.
func (e *Error) Error() string { return e.what }

// Hint returns what a person can do, "" if nothing is known.
func (e *Error) Hint() string { return e.hint }

func invalid(hint, format string, a ...any) error {
	return &Error{fmt.Sprintf(format, a...), hint}
}

// clip bounds text from outside that goes into a message.
func clip(s string) string {
	if len(s) > 256 {
		return s[:256]
	}
	return s
}
