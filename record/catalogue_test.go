package record

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"testing"
)

func TestBuiltinCatalogue(t *testing.T) {
	c := Builtin()
	seven := 0
	for _, d := range c.Definitions() {
		if len(d.On("7210 SAS")) > 0 {
			seven++
		}
		for _, s := range d.RowSets {
			if len(s.Fields) == 0 || len(s.Platforms) == 0 || !s.Known {
				t.Errorf("%s/%s: fields %d platforms %v known %v", d.Name, s.Sub, len(s.Fields), s.Platforms, s.Known)
			}
			for _, f := range s.Fields {
				if d.ColumnIndex(f.Column) < 0 {
					t.Errorf("%s: field %s: no column %s", d.Name, f.Abbrev, f.Column)
				}
			}
		}
	}
	if seven != 21 {
		t.Errorf("7210 SAS records: %d, want 21 (21 baseline records, saa among them)", seven)
	}
	d, ok := c.Lookup("Service-Ingress-Octets")
	if !ok || d.Number != 1 || d.PolicyType != "access" {
		t.Fatalf("lookup ignores case: %+v %v", d, ok)
	}
	if i := d.ColumnIndex("in_profile_octets_forwarded"); i < 0 || d.Columns[i].Abbrevs[0] != "iof" {
		t.Errorf("columns: %+v", d.Columns)
	}
}

// The same abbreviation may mean something else on another platform; then it
// has another column, so no sum ever mixes the two (ioo: offered to the SAP on
// a 7210, in-profile offered on an SR OS policer).
func TestSameLettersOtherMeaning(t *testing.T) {
	sio, _ := Builtin().Lookup("service-ingress-octets")
	custom, _ := Builtin().Lookup("custom-record-service")
	find := func(d *Definition, abbrev string) string {
		for _, c := range d.Columns {
			if slices.Contains(c.Abbrevs, abbrev) {
				return c.Name
			}
		}
		return ""
	}
	if a, b := find(sio, "ioo"), find(custom, "ioo"); a == b || a == "" || b == "" {
		t.Errorf("ioo is %q on the SAP and %q on the policer", a, b)
	}
}

func TestLoadCatalogueReportsAllMistakes(t *testing.T) {
	head := strings.SplitN(string(recordsCSV), "\n", 2)[0]
	bad := head + "\n" +
		"x,access,r,notanumber,s,f,c,int64,m,octets,counter,,per SAP,SAP,5,documented,src\n" +
		"x,access,r,1,s,g,c2,int64,m,octets,nonsense,,per SAP,SAP,5,documented,src\n"
	_, err := LoadCatalogue(strings.NewReader(bad))
	if err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("error names not both lines: %v", err)
	}
}

// Merging equal row sets of several platforms loses no row of the CSV: each is
// evidence of its own field.
func TestEvidenceOfEveryRow(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(recordsCSV)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	col := func(row []string, name string) string { return row[slices.Index(rows[0], name)] }
	for n, row := range rows[1:] {
		d, _ := Builtin().Lookup(Name(col(row, "record_name")))
		want := Evidence{col(row, "platform"), Confidence(slices.Index(confidenceNames[:], col(row, "confidence"))), col(row, "source")}
		found := false
		for _, s := range d.On(want.Platform) {
			if i := s.Index(col(row, "field")); i >= 0 && s.Sub == col(row, "sub_record") && s.Scope == col(row, "scope") {
				found = found || slices.Contains(s.Fields[i].Evidence, want)
			}
		}
		if !found {
			t.Errorf("row %d is not in the catalogue: %v", n+2, row)
		}
	}
	nio := Builtin().SubRecord("nio")[0]
	for platform, want := range map[string]Confidence{"7210 SAS": Hypothesis, "7705 SAR": Inferred, "7450 ESS/7750 SR": Documented} {
		if c := nio.Fields[1].Confidence(platform); c != want {
			t.Errorf("nio on %s: %v", platform, c)
		}
	}
}
