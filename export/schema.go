package export

import (
	"encoding/json"
	"slices"
	"strconv"

	"acctpull/internal/columns"
	"acctpull/record"
)

// SchemaVersion is the version of every schema that [Schema] builds. A column
// never changes its type or meaning within a version: a new meaning is a new
// column, anything else is a new version and a new dataset.
const SchemaVersion = 1

// UnknownRecords is the dataset of rows whose record name nobody knows.
const UnknownRecords = "unknown-records"

// ColumnType is the type of a dataset column.
type ColumnType = columns.Type

// The column types.
const (
	String    = columns.String
	Int32     = columns.Int32
	Int64     = columns.Int64
	Timestamp = columns.Timestamp
	Map       = columns.Map
)

// Column is one column of a dataset.
type Column struct {
	Name     string     `json:"name"`
	Type     ColumnType `json:"type"`
	Nullable bool       `json:"nullable"`
	// Role is "common", "key", "counter" or "info".
	Role string `json:"role"`
	// Abbrevs are the device's abbreviations of the field, empty for a column
	// that is not a field of the record.
	Abbrevs []string `json:"abbreviations,omitempty"`
	Unit    string   `json:"unit,omitempty"` // octets, packets, id, string or other
	Meaning string   `json:"meaning"`
}

// Table is the schema of one dataset: fixed for a record name, whatever a file
// holds.
type Table struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Columns []Column `json:"columns"`
	// Sorted are the columns by which each row group is sorted, ascending,
	// NULL first.
	Sorted []string `json:"sorted"`
}

// ID is the value of the metadata key acctpull.schema: name, slash, version.
func (t *Table) ID() string { return t.Name + "/" + strconv.Itoa(t.Version) }

// dir is where its files are, a slash path in the dataset.
func (t *Table) dir() string { return t.Name + "/v" + strconv.Itoa(t.Version) }

// Index returns the position of a column, -1 if there is none.
func (t *Table) Index(name string) int {
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

// layout is what the Parquet file has of the schema.
func (t *Table) layout() *columns.Schema {
	s := &columns.Schema{Sorted: t.Sorted}
	for _, c := range t.Columns {
		s.Columns = append(s.Columns, columns.Column{Name: c.Name, Type: c.Type, Nullable: c.Nullable})
	}
	return s
}

// columnsJSON is the value of the metadata key acctpull.columns.
func (t *Table) columnsJSON() string {
	b, err := json.Marshal(t.Columns)
	if err != nil {
		panic("marshal columns: " + err.Error()) // strings, bools and ColumnType cannot fail
	}
	return string(b)
}

// The names of the common columns.
const (
	colDevice      = "device"
	colPolicy      = "policy_id"
	colFileID      = "file_id"
	colRecordName  = "record_name"
	colSub         = "sub_record"
	colScope       = "scope"
	colCounterMode = "counter_mode"
	colSemantics   = "semantics"
	colFinal       = "final"
	colStart       = "interval_start"
	colEnd         = "interval_end"
	colOverflow    = "overflow"
	colUnknown     = "unknown_fields"
	colSourceFile  = "source_file"
	colSourceSum   = "source_sha256"
)

func common(name string, t ColumnType, nullable bool, meaning string) Column {
	return Column{Name: name, Type: t, Nullable: nullable, Role: "common", Meaning: meaning}
}

// leading are the common columns before those of the record.
func leading() []Column {
	return []Column{
		common(colDevice, String, false, "the device the file came from"),
		common(colPolicy, Int32, true, "accounting policy id"),
		common(colFileID, Int32, true, "file id of the accounting policy"),
		common(colSub, String, true, "sub-record name as it stands in the file"),
		common(colScope, String, true, "what one row counts: per meter, per SAP, per queue …"),
		common(colCounterMode, String, true, "counter mode of the row's field set; NULL if it does not matter or cannot be told"),
		common(colSemantics, String, false, "cumulative: counters since the object or device started; interval: counts of the interval; unknown: the file does not say"),
		common(colFinal, Int32, false, "0, or n for the n-th object of the same identity deleted since the last collection"),
		common(colStart, Timestamp, true, "start of the collection interval; NULL if the file does not say"),
		common(colEnd, Timestamp, false, "end of the collection interval"),
	}
}

// trailing are the common columns after those of the record.
func trailing() []Column {
	return []Column{
		common(colOverflow, Map, true, "column name -> exact decimal text, for numbers above 2^63-1, whose column is NULL"),
		common(colUnknown, Map, true, "field name -> text, for fields that are no column of this dataset"),
		common(colSourceFile, String, false, "name of the accounting file"),
		common(colSourceSum, String, false, "SHA-256 of the accounting file, hexadecimal"),
	}
}

// Schema returns the schema of a record name's dataset: the common columns,
// then the keys, counters and infos of every row set of the record, then
// overflow, unknown_fields and the source. The partition key date is not among
// them: it stands only in the path.
func Schema(def *record.Definition) *Table {
	t := &Table{Name: string(def.Name), Version: SchemaVersion, Columns: leading(), Sorted: []string{colDevice}}
	for _, c := range def.Columns {
		typ := String
		if c.Numeric {
			typ = Int64
		}
		t.Columns = append(t.Columns, Column{
			Name: c.Name, Type: typ, Nullable: true, Role: c.Role.String(),
			Abbrevs: c.Abbrevs, Unit: c.Unit, Meaning: c.Meaning,
		})
		if c.Role == record.Key {
			t.Sorted = append(t.Sorted, c.Name)
		}
	}
	t.Columns = append(t.Columns, trailing()...)
	t.Sorted = append(t.Sorted, colSub, colEnd)
	return t
}

// UnknownSchema returns the schema of [UnknownRecords]: the common columns and
// the record name the file gives, if any; every field is in unknown_fields and
// sub_record is the name of the element.
func UnknownSchema() *Table {
	t := &Table{Name: UnknownRecords, Version: SchemaVersion, Columns: leading(), Sorted: []string{colDevice, colRecordName, colSub, colEnd}}
	t.Columns = append(t.Columns, Column{
		Name: colRecordName, Type: String, Nullable: true, Role: record.Key.String(), Unit: "string",
		Meaning: "record name as the file gives it",
	})
	t.Columns = append(t.Columns, trailing()...)
	return t
}
