package policy

import (
	"slices"

	"acctpull/record"
)

// linuxRows returns the rows of a record that the source linux may fill: those
// of the 7210 SAS and those that the catalogue has for Linux, which leave out
// what Linux cannot know. Which of them an object has depends on its link,
// counters and classes.
func linuxRows(d *record.Definition) []row {
	if d.PolicyType == SAA.String() {
		return nil // it runs no tests
	}
	rows := deviceRows(d)
	for _, set := range d.On(platformLinux) {
		if slices.ContainsFunc(rows, func(r row) bool { return r.set == set }) {
			continue
		}
		if r, ok := newRow(set); ok {
			rows = append(rows, r)
		}
	}
	return rows
}

// objectRow is a row of an object: of one of its meters or queues, or (member
// 0) of the object as a whole.
type objectRow struct {
	row    *row
	member int
}

// linuxObjectRows appends the rows that an object has. Of the row sets of one
// sub-record and scope that one is taken of which most counters are known, and
// of those the shortest. A port or interface of which meters or queues are known
// has no row of its own, which would count the same packets again; the rows of a
// SAP and of its meters hold different counters, as on the device.
func linuxObjectRows(buf []objectRow, rows []row, o *Object) []objectRow {
	for i := range rows {
		first := &rows[i]
		if slices.ContainsFunc(rows[:i], func(r row) bool { return r.alternative(first) }) {
			continue
		}
		switch {
		case first.numbered():
			for m := 1; m <= o.members(first.scope, first.egress); m++ {
				if r := bestRow(rows[i:], first, o, m); r != nil {
					buf = append(buf, objectRow{r, m})
				}
			}
		case first.scope == perBinding != (o.Type == SDP && o.Service != ""):
		case o.Type != Access && (o.members(perMeter, first.egress) > 0 && !first.egress || o.members(perQueue, first.egress) > 0):
		default:
			if r := bestRow(rows[i:], first, o, 0); r != nil {
				buf = append(buf, objectRow{r, 0})
			}
		}
	}
	return buf
}

// alternative tells whether two rows are about the same thing.
func (r *row) alternative(other *row) bool {
	return r.set.Sub == other.set.Sub && r.scope == other.scope
}

// bestRow returns the row that says most, nil if none says anything.
func bestRow(rows []row, like *row, o *Object, member int) *row {
	var best *row
	most := 0
	for i := range rows {
		r := &rows[i]
		if !r.alternative(like) || r.set.CounterMode != "" && r.set.CounterMode != o.CounterMode.String() {
			continue
		}
		n := r.known(o, member)
		if n > most || n == most && n > 0 && len(r.fields) < len(best.fields) {
			best, most = r, n
		}
	}
	return best
}

// known returns how many counters of the row the source linux knows.
func (r *row) known(o *Object, member int) int {
	n := 0
	var buf [2]ref
	for i := range r.fields {
		if f := &r.fields[i]; f.counter && len(o.refs(buf[:0], r.scope, r.egress, member, f.meaning)) > 0 {
			n++
		}
	}
	return n
}
