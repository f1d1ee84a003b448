package export

import (
	"strconv"
	"strings"
	"time"
)

// DataFile is one file of a dataset that readers take for data.
type DataFile struct {
	// Table is the record name, or what a derived table is called.
	Table string `json:"table"`
	// Version is that of the table's schema.
	Version int `json:"version"`
	// Date is the UTC date of the interval ends, YYYY-MM-DD.
	Date string `json:"date"`
	// Path is the slash path in the dataset.
	Path string `json:"path"`
	// Rows, Bytes and SHA256 are what it holds. Where a snapshot is a listing
	// of a directory, Rows is -1 and SHA256 "": nobody has opened the file.
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// datePrefix begins the name of a partition's directory.
const datePrefix = "date="

// PartitionPath is the slash path, in a dataset, of the directory with the files
// of one day of a table in one version of its schema.
func PartitionPath(table string, version int, date string) string {
	return table + "/v" + strconv.Itoa(version) + "/" + datePrefix + date
}

// ParsePath tells what the path of a file in a dataset says: table, version, date
// and path; ok is false if it is no path of a data file.
func ParsePath(p string) (f DataFile, ok bool) {
	e := strings.Split(p, "/")
	if len(e) != 4 || e[0] == "" || len(e[3]) == len(parquetSuffix) || !strings.HasSuffix(e[3], parquetSuffix) {
		return f, false
	}
	date, dated := strings.CutPrefix(e[2], datePrefix)
	number, versioned := strings.CutPrefix(e[1], "v")
	v, err := strconv.Atoi(number)
	if !dated || !versioned || err != nil || v < 1 || strconv.Itoa(v) != number {
		return f, false
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return f, false
	}
	return DataFile{Table: e[0], Version: v, Date: date, Path: p, Rows: -1}, true
}

// parquetSuffix ends the name of a data file.
const parquetSuffix = ".parquet"

// isOutput reports whether a path is that of a data file.
func isOutput(p string) bool {
	_, ok := ParsePath(p)
	return ok
}
