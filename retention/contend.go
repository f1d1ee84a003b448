package retention

import (
	"cmp"
	"slices"
	"time"

	"acctpull/rollover"
)

// Contention describes the files of an archive directory whose file system has
// no room left.
type Contention struct {
	// RuleFor returns the rule of a file; nil, or false, means that there is
	// none and the file never expires.
	RuleFor func(rollover.Name) (Rule, bool)
	// Open tells whether a file of this name is in the collect directory; nil
	// means that none is.
	Open func(rollover.Name) bool
	// Sealed is the name of the file that the caller sealed last. It goes
	// after all others, whatever its stamp says; the zero Name is none.
	Sealed rollover.Name
}

// Contend says what is deleted to make room, in the order in which it is: first
// what has expired, then the other closed files, each group from the oldest to
// the newest (7210 SAS: files past retention, then the oldest closed files
// until there is room). The caller deletes one after the other and stops as
// soon as there is room.
//
// Files that stay come last: open ones and those whose stamp is no date, for
// nobody knows how old they are. Contend is pure.
func Contend(files []rollover.File, c Contention, now time.Time) []Decision {
	plan := make([]Decision, len(files))
	for i, f := range files {
		plan[i] = c.decide(f, now)
	}
	slices.SortFunc(plan, func(a, b Decision) int {
		return cmp.Or(
			cmp.Compare(c.group(a), c.group(b)),
			a.Created.Compare(b.Created),
			rollover.Compare(a.File.Name, b.File.Name),
		)
	})
	return plan
}

func (c Contention) decide(f rollover.File, now time.Time) Decision {
	var r Rule
	ok := false
	if c.RuleFor != nil {
		r, ok = c.RuleFor(f.Name)
	}
	d := decide(f, r, ok && r.Validate() == nil, now)
	switch {
	case c.Open != nil && c.Open(f.Name):
		d.Remove, d.Reason = false, Open
	case d.Reason != NoDate && !d.Remove:
		d.Remove, d.Reason = true, SpaceContention
	}
	return d
}

// group is the part of the order that comes before the age.
func (c Contention) group(d Decision) int {
	switch {
	case !d.Remove:
		return 3
	case d.File.Name == c.Sealed:
		return 2
	case d.Reason == SpaceContention:
		return 1
	}
	return 0
}
