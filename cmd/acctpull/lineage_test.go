package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acctpull/lineage"
)

// traced asks for lineage as JSON.
func traced(t *testing.T, code int, args ...string) lineageResult {
	t.Helper()
	stdout, _ := expect(t, code, nil, append([]string{"lineage", "--json"}, args...)...)
	var r lineageResult
	check(t, json.Unmarshal([]byte(stdout), &r))
	return r
}

// From a device to a row and back, after a rebuild has put rows elsewhere; and
// changed bytes are found.
func TestLineage(t *testing.T) {
	dir, dataset, profile := oddArchive(t)
	data := []string{"--data", dataset, "--profile", profile}
	with := func(args ...string) []string { return append(args, data...) }
	expect(t, exitOK, nil, with("export", "--rebuild", "--from", "2026-01-01", "--to", "2026-02-01", "--device", "r1")...)

	// A raw file whose rows moved to another table and day.
	r := traced(t, exitOK, with("a.xml", "--device", "r1")...)
	if len(r.Raw) != 1 {
		t.Fatalf("%+v", r)
	}
	a := r.Raw[0]
	if a.Rows != 3 || a.Exported != 3 || a.Digest != lineage.Same || len(a.Places) != 1 || a.Stored != filepath.Join(dir, "raw/r1/a.xml") {
		t.Fatalf("%+v", a)
	}
	p := a.Places[0]
	if p.Table != "service-ingress-octets" || p.Date != "2026-01-01" || p.Kind != "rebuild" || p.Since.IsZero() || p.Digest != lineage.Same {
		t.Errorf("%+v", p)
	}
	// By path, by digest; and its device in the table for people.
	for _, query := range []string{filepath.Join(dir, "raw/r1/a.xml"), a.SHA256[:12]} {
		expect(t, exitOK, []string{"raw file", "r1", "rebuild 20", p.Path}, with("lineage", query)...)
	}
	// The file of the dataset with the rows of others, written again.
	r = traced(t, exitOK, with("b.xml", "--device", "r2")...)
	kept := r.Raw[0].Places[0]
	f := traced(t, exitOK, with(filepath.Join(dataset, kept.Path))...).File
	if f == nil || !f.There || f.Kind != "rebuild" || f.Rows != 5 || len(f.Sources) != 1 || f.Sources[0].Device != "r2" || f.Sources[0].Digest != lineage.Same || len(f.Instead) != 1 {
		t.Fatalf("%+v", f)
	}
	// What it replaced is known, and by what it was replaced.
	old := traced(t, exitOK, with(f.Instead[0])...).File
	if old.There || len(old.Gone) != 1 || len(old.Gone[0].By) != 2 || old.Gone[0].Reason != "rebuild" || old.Gone[0].Rows != 7 {
		t.Errorf("%+v", old)
	}
	// A row, by its number and by what is in it, down to its record.
	row := traced(t, exitOK, with(p.Path+"#2")...).Rows[0]
	text, err := os.ReadFile(filepath.Join(dir, "raw/r1/a.xml"))
	check(t, err)
	sap := ""
	for _, v := range row.Values {
		if v.Column == "sap" {
			sap = v.Text
		}
	}
	if row.Found != 1 || !strings.HasPrefix(string(text[row.Offset:]), "<sio><svc>7</svc><sap>"+sap+"</sap>") || row.Source.Digest != lineage.Same {
		t.Errorf("%+v", row)
	}
	rows := traced(t, exitOK, with("--table", "service-ingress-octets", "--device", "r1", "--at", "2026-01-01T23:30:00Z", "sap="+sap)...).Rows
	if len(rows) != 1 || rows[0].Path != row.Path || rows[0].Number != 2 {
		t.Errorf("%+v", rows)
	}
	expect(t, exitOK, []string{"begins at byte", "raw file", "a.xml"}, with("lineage", p.Path+"#2")...)
	// With another profile the raw file does not give that row.
	expect(t, exitFailed, []string{"none reads like the row now"}, "lineage", "--data", dataset, p.Path+"#2")
	// A dataset without archive and ledger tells what it can.
	copied := filepath.Join(t.TempDir(), "copy")
	check(t, os.CopyFS(copied, os.DirFS(dataset)))
	check(t, os.RemoveAll(filepath.Join(copied, ".acctpull")))
	r = traced(t, exitOK, "a.xml", "--device", "r1", "--dataset", copied)
	if len(r.Raw) != 1 || r.Raw[0].Rows != 3 || r.Raw[0].Places[0].Digest != lineage.Same {
		t.Errorf("%+v", r)
	}

	// One changed byte, in the raw file and in the file of the dataset.
	for _, at := range []string{filepath.Join(dir, "raw/r1/a.xml"), filepath.Join(dataset, p.Path)} {
		was, err := os.ReadFile(at)
		check(t, err)
		bad := append([]byte(nil), was...)
		bad[len(bad)/2] ^= 1
		check(t, os.WriteFile(at, bad, 0o640))
		if stdout, stderr := expect(t, exitFailed, nil, with("lineage", "a.xml", "--device", "r1")...); !strings.Contains(stdout, "differs") && !strings.Contains(stderr, "damaged") {
			t.Errorf("%s%s", stdout, stderr)
		}
		if !strings.HasSuffix(at, ".parquet") {
			expect(t, exitFailed, []string{"differs"}, with("lineage", p.Path+"#2")...)
			expect(t, exitOK, []string{"not checked"}, with("lineage", "a.xml", "--device", "r1", "--quick")...)
		}
		check(t, os.WriteFile(at, was, 0o640))
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"one of -c FILE and --data", []string{"a.xml"}},
		{"nothing of that name", with("nonsense.xml")},
		{"nothing of that name", with("service-ingress-octets/v1/date=2026-01-01/x.parquet")},
		{"no row number", with(p.Path + "#x")},
		{"no row 99", with(p.Path + "#99")},
		{"no column", with("--table", "service-ingress-octets", "nonsense=1")},
		{"COLUMN=VALUE", with("--table", "service-ingress-octets", "nonsense")},
		{"needs --device", with("--table", "service-ingress-octets")},
		{"one file or row", data},
		{"goes without", with("a.xml", "--dataset", dataset)},
	} {
		expect(t, exitUsage, []string{c.want}, append([]string{"lineage"}, c.args...)...)
	}
}

// The chain of a file that a visit fetched begins at the device.
func TestLineageOfVisit(t *testing.T) {
	out, _, _ := mixed(t)
	expect(t, exitOK, []string{"quarantine", "ends too early", "by visit", "same", "listed in"}, "lineage", "--data", out, cutName)
	names, err := filepath.Glob(filepath.Join(out, "devices/dut/act/*"))
	check(t, err)
	r := traced(t, exitOK, "--data", out, names[0]).Raw[0]
	if r.Device != "dut" || r.Visit == nil || r.Listed == "" || r.Batch == "" || r.Digest != lineage.Same || r.Rows == 0 || r.Rows != r.Exported || r.Places[0].Kind != "batch" {
		t.Errorf("%+v", r)
	}
	check(t, os.Remove(names[0]))
	expect(t, exitFailed, []string{"missing"}, "lineage", "--data", out, filepath.Base(names[0]))
}
