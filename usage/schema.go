package usage

import (
	"strings"

	"acctpull/export"
)

// Suffix ends the names of usage tables.
const Suffix = "-usage"

// The names of the columns that a usage table has beside those that it takes
// from its record table.
const (
	ColSeconds      = "interval_seconds"
	ColBreak        = "break"
	ColGap          = "gap_seconds"
	ColPrevious     = "previous_file"
	ColPreviousHash = "previous_sha256"
)

// The columns of a record table that the rules look at.
const (
	colDevice     = "device"
	colPolicy     = "policy_id"
	colSub        = "sub_record"
	colScope      = "scope"
	colMode       = "counter_mode"
	colSemantics  = "semantics"
	colFinal      = "final"
	colStart      = "interval_start"
	colEnd        = "interval_end"
	colOverflow   = "overflow"
	colSource     = "source_file"
	colSourceHash = "source_sha256"
)

// Roles of columns that belong to a record, as export.Column has them.
const (
	roleCommon  = "common"
	roleKey     = "key"
	roleCounter = "counter"
)

// Name returns the name of the usage table of a record table.
func Name(record string) string { return record + Suffix }

// RecordOf returns the record table that a usage table is made from, and whether
// the name is that of a usage table.
func RecordOf(table string) (string, bool) { return strings.CutSuffix(table, Suffix) }

// HasUsage reports whether a record table has anything to subtract: a counter.
// The table of unknown records has none.
func HasUsage(t *export.Table) bool {
	for _, c := range t.Columns {
		if c.Role == roleCounter {
			return true
		}
	}
	return false
}

// Schema returns the schema of the usage table of a record table: the same keys
// and the same counters under the same names, which hold what was counted in the
// interval of the row instead of a reading. Infos are not in it. It is sorted as
// the record table is.
func Schema(t *export.Table) *export.Table {
	u := &export.Table{Name: Name(t.Name), Version: t.Version, Sorted: t.Sorted}
	add := func(name string, typ export.ColumnType, nullable bool, meaning string) {
		u.Columns = append(u.Columns, export.Column{Name: name, Type: typ, Nullable: nullable, Role: roleCommon, Meaning: meaning})
	}
	from := func(name string) { u.Columns = append(u.Columns, t.Columns[t.Index(name)]) }
	for _, name := range []string{colDevice, colPolicy, colSub, colScope, colMode, colSemantics, colFinal} {
		from(name)
	}
	add(colStart, export.Timestamp, true, "since when the row counts: the end of the row before, or for interval records what the file says; NULL if the counters are")
	add(colEnd, export.Timestamp, false, "end of the collection interval")
	add(ColSeconds, export.Int64, true, "seconds from interval_start to interval_end, rounded; NULL if interval_start is")
	add(ColBreak, export.String, true, "why the row does not simply go on from the row before: "+strings.Join(breakNames[1:], ", ")+"; NULL if it does")
	add(ColGap, export.Int64, true, "seconds without rows between this row's collection interval and the row before; NULL if there are none")
	for _, c := range t.Columns {
		if c.Role == roleKey || c.Role == roleCounter {
			u.Columns = append(u.Columns, c)
		}
	}
	from(colOverflow)
	from(colSource)
	from(colSourceHash)
	add(ColPrevious, export.String, true, "name of the accounting file with the row that was subtracted; NULL if none was")
	add(ColPreviousHash, export.String, true, "SHA-256 of that file, hexadecimal")
	return u
}
