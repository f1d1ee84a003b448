// Package usage derives what was counted in each interval from accounting
// records: differences of cumulative counters, row by row, with the reason
// wherever a row does not simply go on from the one before. Interval records are
// passed through.
//
// The rules are in [Series], which is pure: rows of one series in, deltas and
// reasons out. They never invent a count: where the difference of two readings
// is not known to be what was counted, the delta is NULL and a reason says why.
// docs/formats/usage.md is their specification.
package usage
