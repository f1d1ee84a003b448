package fleet

import (
	"slices"
	"strconv"
	"time"

	"acctpull/internal/strictyaml"
)

// Limits and defaults of the file-ids of the central side.
const (
	MinKept, MaxKept   = 24 * time.Hour, 36500 * 24 * time.Hour
	DefaultClosesAfter = 10 * 24 * time.Hour
	MinClose, MaxClose = time.Hour, 366 * 24 * time.Hour
	MaxCentralFileID   = 99
	ArchiveLocation    = "archive"
	DatasetLocation    = "dataset"
)

// FileID is a file-id of the central side: how long files of the raw archive, or
// days of tables of the dataset, are kept.
type FileID struct {
	// ID is its number, 1 to 99, Description for people.
	ID          int
	Description string
	// Location is ArchiveLocation or DatasetLocation.
	Location string
	// Retention is how long what it holds for is kept.
	Retention time.Duration
	// Records and Groups say what it holds for; none is everything. In the
	// dataset a record is a table, such as one with "-usage" at its end.
	Records, Groups []string
	// Line is where it stands in the inventory.
	Line int
}

// Billing says when a billing month is closed.
type Billing struct {
	// ClosesAfter is how long after its end a month closes.
	ClosesAfter time.Duration
	// Location is the time zone of the months, never nil.
	Location *time.Location
	// KeepProof is how long after its close everything is kept that a month
	// stands on, whatever the retention; 0 is not at all.
	KeepProof time.Duration
}

// retentionKeys are the keys of the whole that are about retention here.
var retentionKeys = []strictyaml.Key[document]{
	{Name: "file-ids", Type: "list of mappings", Default: "none: everything is kept", Doc: "How long the archive and the dataset are kept here. See [retention.md](retention.md).",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return strictyaml.Items(d, "file-id", n, fileIDKeys, FileID{}, func(f FileID, item *node, g strictyaml.Given) {
				f.Line = item.Line
				for _, must := range []string{"file-id", "location", "retention"} {
					if !g.Has(must) {
						d.Fail(rule, item.Line, "file-id", "%s is not given", must)
					}
				}
				v.fileIDs = append(v.fileIDs, f)
			})
		}},
	{Name: "billing", Type: "mapping", Doc: "When a billing month is closed. Nothing of a month that is open is deleted.",
		Set: func(d *decoder, k string, n *node, v *document) bool {
			return strictyaml.Decode(d, k, n, &v.billing, billingKeys) != nil
		}},
}

var fileIDKeys = []strictyaml.Key[FileID]{
	{Name: "file-id", Type: "number", Limits: upTo(MaxCentralFileID), Default: "required", Doc: "Its number. It has nothing to do with those of devices.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool {
			return d.Integer(k, n, 1, MaxCentralFileID, &v.ID)
		}},
	{Name: "description", Type: "text", Doc: "What it is for.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool { return d.Text(k, n, &v.Description) }},
	{Name: "location", Type: "word", Limits: "archive or dataset", Default: "required", Doc: "Whether it holds for accounting files of the raw archive or for days of tables of the dataset.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool {
			var text string
			if !d.Text(k, n, &text) {
				return false
			}
			if text != ArchiveLocation && text != DatasetLocation {
				d.Fail(strictyaml.Value, n.Line, k, "%q is neither archive nor dataset", strictyaml.Bounded(text))
				return false
			}
			v.Location = text
			return true
		}},
	{Name: "retention", Type: "time", Limits: span(MinKept, MaxKept), Default: "required", Doc: "How long a file of the archive is kept from when it came here, and a day of a table from its end or from when it was last written to, whichever is later.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool {
			return d.Duration(k, n, MinKept, MaxKept, &v.Retention)
		}},
	{Name: "records", Type: "record name, or a list", Default: "all", Doc: "The record names that it holds for; in the dataset, tables: `service-ingress-octets-usage` is one.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool { return d.Texts(k, n, &v.Records) }},
	{Name: "groups", Type: "name of a group, or a list", Default: "all devices", Doc: "The groups of devices that it holds for; in the archive only.",
		Set: func(d *decoder, k string, n *node, v *FileID) bool { return d.Texts(k, n, &v.Groups) }},
}

var billingKeys = []strictyaml.Key[Billing]{
	{Name: "closes-after", Type: "time", Limits: span(MinClose, MaxClose), Default: strictyaml.Span(DefaultClosesAfter), Doc: "How long after its end a billing month is closed.",
		Set: func(d *decoder, k string, n *node, v *Billing) bool {
			return d.Duration(k, n, MinClose, MaxClose, &v.ClosesAfter)
		}},
	{Name: "time-zone", Type: "name", Default: "UTC", Doc: "The time zone in which a billing month begins: `Europe/Berlin`.",
		Set: func(d *decoder, k string, n *node, v *Billing) bool {
			var text string
			if !d.Text(k, n, &text) {
				return false
			}
			loc, err := time.LoadLocation(text)
			if err != nil || text == "" || text == "Local" {
				d.Fail(strictyaml.Value, n.Line, k, "there is no time zone %q", strictyaml.Bounded(text))
				return false
			}
			v.Location = loc
			return true
		}},
	{Name: "keep-proof", Type: "time", Limits: span(MinKept, MaxKept), Default: "no longer than the retention", Doc: "How long after a month was closed everything is kept that its usage and its reports stand on, however short the retention is.",
		Set: func(d *decoder, k string, n *node, v *Billing) bool {
			return d.Duration(k, n, MinKept, MaxKept, &v.KeepProof)
		}},
}

// checkFileIDs finds what is wrong with the file-ids of an inventory.
func (doc *document) checkFileIDs(d *strictyaml.Decoder) {
	numbers, general := map[int]int{}, map[string]int{}
	for _, f := range doc.fileIDs {
		what := "file-id"
		if f.ID > 0 {
			what += " " + strconv.Itoa(f.ID)
		}
		fail := func(format string, a ...any) { d.Fail(rule, f.Line, what, format, a...) }
		if first, taken := numbers[f.ID]; taken && f.ID > 0 {
			fail("it stands in line %d already", first)
		}
		numbers[f.ID] = f.Line
		if len(f.Groups) > 0 && f.Location == DatasetLocation {
			fail("the dataset has the records of all devices together: groups are for the archive")
		}
		for _, g := range f.Groups {
			if _, ok := doc.groups[g]; !ok {
				fail("there is no group %q", strictyaml.Bounded(g))
			}
		}
		if slices.Contains(f.Records, "") {
			fail("a record without a name")
		}
		if len(f.Records) == 0 && len(f.Groups) == 0 && f.Location != "" {
			if first, taken := general[f.Location]; taken {
				fail("the one in line %d holds for everything of the %s already", first, f.Location)
			}
			general[f.Location] = f.Line
		}
	}
}
