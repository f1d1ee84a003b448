package export

import (
	"bytes"
	"encoding/json"
)

// dataPackageDoc is datapackage.json: a Data Package (version 2.0 of the
// standard, datapackage.org). What it has no property for carries the prefix
// acctpull.
type dataPackageDoc struct {
	Schema      string            `json:"$schema"`
	Name        string            `json:"name"`
	Title       string            `json:"title"`
	Description string            `json:"description"`
	Resources   []packageResource `json:"resources"`
}

// packageResource is one table.
type packageResource struct {
	Name      string        `json:"name"`
	Path      string        `json:"path"` // a pattern: the files of a day come and go
	Format    string        `json:"format"`
	Mediatype string        `json:"mediatype"`
	Schema    packageSchema `json:"schema"`
	// Version is the version of the schema, Sorted the order of rows in a file,
	// and Partition the column that stands in the path.
	Version   int          `json:"acctpull:version"`
	Sorted    []string     `json:"acctpull:sorted"`
	Partition packageField `json:"acctpull:partition"`
}

type packageSchema struct {
	Fields []packageField `json:"fields"`
}

// packageField is one column.
type packageField struct {
	Name        string             `json:"name"`
	Type        string             `json:"type"`
	Description string             `json:"description"`
	Constraints packageConstraints `json:"constraints,omitzero"`
	Unit        string             `json:"acctpull:unit,omitempty"`
	Role        string             `json:"acctpull:role,omitempty"`
	// Abbreviations are what the device calls the field, Parquet is the type in
	// the file, as docs/formats/dataset.md has it.
	Abbreviations []string `json:"acctpull:abbreviations,omitempty"`
	Parquet       string   `json:"acctpull:type,omitempty"`
}

type packageConstraints struct {
	Required bool `json:"required,omitempty"`
}

// packageTypes are the types of Table Schema.
var packageTypes = [...]string{String: "string", Int32: "integer", Int64: "integer", Timestamp: "datetime", Map: "object"}

// dataPackage returns datapackage.json without its digest and the last brace.
func dataPackage(tables []*Table) []byte {
	doc := dataPackageDoc{
		Schema: "https://datapackage.org/profiles/2.0/datapackage.json",
		Name:   "acctpull-dataset", Title: "Accounting records",
		Description: "Accounting records of routers as Parquet, one table per record name; made by acctpull. " +
			"Each path is a pattern of the files of one table, partitioned by the UTC date of the interval end. " +
			"NULL means that there is no number, never 0.",
		Resources: []packageResource{},
	}
	for _, t := range tables {
		r := packageResource{
			Name: t.Name, Path: t.dir() + "/*/*" + parquetSuffix, Format: "parquet", Mediatype: "application/vnd.apache.parquet",
			Version: t.Version, Sorted: t.Sorted,
			Partition: packageField{Name: "date", Type: "date", Description: "UTC date of the interval end"},
		}
		for _, c := range t.Columns {
			r.Schema.Fields = append(r.Schema.Fields, packageField{
				Name: c.Name, Type: packageTypes[c.Type], Description: c.Meaning, Constraints: packageConstraints{Required: !c.Nullable},
				Unit: c.Unit, Role: c.Role, Abbreviations: c.Abbrevs, Parquet: c.Type.String(),
			})
		}
		doc.Resources = append(doc.Resources, r)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(doc); err != nil {
		panic("marshal data package: " + err.Error()) // strings and numbers only
	}
	return append(bytes.TrimSuffix(b.Bytes(), []byte("\n}\n")), '\n')
}
