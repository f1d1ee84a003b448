package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oddFile is an accounting file in a shape of its own: its record name needs a
// profile, and its time has no zone.
func oddFile(record, end string, rows int, more string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<export><job record="%s" end="%s">`, record, end)
	for i := range rows {
		fmt.Fprintf(&b, `<sio><svc>7</svc><sap>1/1/1:%d</sap><ioo>%d</ioo><wat>9</wat></sio>`, i+1, 100+i)
	}
	return []byte(b.String() + more + `</job></export>`)
}

// oddProfile is the one that oddFile needs.
const oddProfile = "records:\n  svcIngressOctet: service-ingress-octets\ntime-zone: Europe/Berlin\n"

// oddArchive exports files of two devices into one batch, without the profile
// that those of r1 need.
func oddArchive(t *testing.T) (dir, dataset, profile string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, text []byte) {
		at := filepath.Join(dir, filepath.FromSlash(name))
		check(t, os.MkdirAll(filepath.Dir(at), 0o750))
		check(t, os.WriteFile(at, text, 0o640))
	}
	write("raw/r1/a.xml", oddFile("svcIngressOctet", "2026-01-02T00:30:00", 3, ""))
	write("raw/r1/b.xml", oddFile("service-ingress-octets", "2026-01-02T12:00:00", 2, ""))
	write("raw/r1/c.xml", oddFile("svcIngressOctet", "2026-03-02T12:00:00", 2, "")) // outside of the scope
	write("raw/r2/a.xml", oddFile("svcIngressOctet", "2026-01-02T00:30:00", 4, ""))
	write("raw/r2/b.xml", oddFile("service-ingress-octets", "2026-01-02T12:00:00", 5, ""))
	write("profile.yaml", []byte(oddProfile))
	dataset, profile = filepath.Join(dir, "dataset"), filepath.Join(dir, "profile.yaml")
	expect(t, exitOK, []string{"5 exported now, 16 records"}, "export", filepath.Join(dir, "raw"), "--out", dataset)
	return dir, dataset, profile
}

// oddRows counts the rows of each file, by table and day.
func oddRows(t *testing.T, dataset string) string {
	t.Helper()
	rows := duck(t, `select split_part(substr(filename, strpos(filename, '/dataset/') + 9), '/', 1) || ' ' || date || ' ' || device || ' ' || source_file || ' ' || count(*)
		from read_parquet('`+dataset+`/*/v1/date=*/*.parquet', hive_partitioning=true, hive_types_autocast=false, union_by_name=true, filename=true) group by split_part(substr(filename, strpos(filename, '/dataset/') + 9), '/', 1), date, device, source_file order by 1`)
	var lines []string
	for _, r := range rows {
		lines = append(lines, r[0])
	}
	return strings.Join(lines, "\n")
}

func TestRebuildRows(t *testing.T) {
	dir, dataset, profile := oddArchive(t)
	before := `service-ingress-octets 2026-01-02 r1 b.xml 2
service-ingress-octets 2026-01-02 r2 b.xml 5
unknown-records 2026-01-02 r1 a.xml 3
unknown-records 2026-01-02 r2 a.xml 4
unknown-records 2026-03-02 r1 c.xml 2`
	if got := oddRows(t, dataset); got != before {
		t.Fatalf("before:\n%s", got)
	}
	others := `select md5(string_agg(r::varchar, ',' order by r::varchar)) from (
		select r from read_parquet('` + dataset + `/service-ingress-octets/v1/date=*/*.parquet') r where device = 'r2')`
	r2 := duck(t, others)[0][0]
	scope := []string{"export", "--rebuild", "--data", dataset, "--profile", profile, "--from", "2026-01-01", "--to", "2026-02-01", "--device", "r1"}
	expect(t, exitOK, []string{"2 files would be read again: 5 rows in 2 data files; 9 rows of other files"}, append(scope, "--dry-run")...)
	if got := oddRows(t, dataset); got != before {
		t.Fatalf("after a dry run:\n%s", got)
	}
	stdout, _ := expect(t, exitOK, nil, append(scope, "--json")...)
	var res rebuildResult
	check(t, json.Unmarshal([]byte(stdout), &res))
	if res.Chosen != 2 || res.Before != 5 || res.After != 5 || res.Others != 9 || res.Removed != 2 || res.Added != 4 || len(res.Files) != 2 {
		t.Errorf("%s", stdout)
	}
	after := `service-ingress-octets 2026-01-01 r1 a.xml 3
service-ingress-octets 2026-01-02 r1 b.xml 2
service-ingress-octets 2026-01-02 r2 b.xml 5
unknown-records 2026-01-02 r2 a.xml 4
unknown-records 2026-03-02 r1 c.xml 2`
	if got := oddRows(t, dataset); got != after {
		t.Fatalf("after:\n%s\nwant:\n%s", got, after)
	}
	if got := duck(t, others)[0][0]; got != r2 {
		t.Error("rows of the other device are not what they were")
	}
	whole := func() {
		t.Helper()
		expect(t, exitOK, []string{"everything is whole"}, "check", "--data", dataset, "--profile", profile)
	}
	whole()
	expect(t, exitOK, []string{"0 exported now"}, "export", filepath.Join(dir, "raw"), "--out", dataset)
	// Once more: nothing comes out in another way, so nothing is replaced.
	expect(t, exitOK, []string{"0 data files replaced by 0"}, scope...)
	if got := oddRows(t, dataset); got != after {
		t.Fatalf("after a second rebuild:\n%s", got)
	}
	whole()
	// The ledger is lost and made anew from what there is.
	check(t, os.Remove(filepath.Join(dataset, ".acctpull", "ledger.db")))
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", dataset, "--profile", profile, "--rebuild")
	expect(t, exitOK, []string{"0 exported now"}, "export", filepath.Join(dir, "raw"), "--out", dataset)
	if got := oddRows(t, dataset); got != after {
		t.Fatalf("after the ledger was made anew:\n%s", got)
	}
	whole()
	// All of it, and back again without the profile.
	expect(t, exitOK, []string{"5 files read again"}, "export", "--rebuild", "--data", dataset, "--profile", profile, "--from", "2026-01-01", "--to", "2026-04-01")
	if got := oddRows(t, dataset); strings.Contains(got, "unknown") || strings.Count(got, "\n") != 4 {
		t.Fatalf("everything with the profile:\n%s", got)
	}
	whole()
	expect(t, exitOK, nil, "export", "--rebuild", "--data", dataset, "--from", "2026-01-01", "--to", "2026-04-01")
	if got := oddRows(t, dataset); got != before {
		t.Fatalf("back again:\n%s", got)
	}
	expect(t, exitOK, []string{"everything is whole"}, "check", "--data", dataset)
}

// Files that cannot be read keep their rows; those that could not be read before
// come in.
func TestRebuildRowsKeeps(t *testing.T) {
	dir, dataset, profile := oddArchive(t)
	scope := []string{"export", "--rebuild", "--data", dataset, "--profile", profile, "--from", "2026-01-01", "--to", "2026-02-01"}
	before := oddRows(t, dataset)
	check(t, os.Rename(filepath.Join(dir, "raw/r1/a.xml"), filepath.Join(dir, "gone.xml")))
	check(t, os.WriteFile(filepath.Join(dir, "raw/r2/a.xml"), oddFile("svcIngressOctet", "2026-01-02T00:30:00", 4, "<x/>"), 0o640)) // changed since
	expect(t, exitPartly, []string{"kept", "has changed since it was stored", "no such file"}, scope...)
	if got := oddRows(t, dataset); got != before {
		t.Fatalf("rows of files that cannot be read are not as they were:\n%s", got)
	}
	check(t, os.Rename(filepath.Join(dir, "gone.xml"), filepath.Join(dir, "raw/r1/a.xml")))

	// A file whose time nobody knew is in quarantine, and comes in with a profile.
	late := []byte(`<export><job record="service-ingress-octets"><te>2026-01-03T12:00:00</te><sio><svc>7</svc><sap>1/1/1:1</sap><ioo>5</ioo></sio></job></export>`)
	check(t, os.WriteFile(filepath.Join(dir, "raw/r1/d.xml"), late, 0o640))
	expect(t, exitPartly, []string{"quarantined"}, "export", filepath.Join(dir, "raw/r1/d.xml"), "--out", dataset)
	check(t, os.WriteFile(profile, []byte(oddProfile+"names:\n  end: [te]\n"), 0o640))
	now := []string{"export", "--rebuild", "--data", dataset, "--profile", profile, "--from", "2026-01-01", "--to", "2126-02-01", "--device", "r1"}
	expect(t, exitOK, []string{"1 of 1 released from quarantine"}, now...)
	if got := oddRows(t, dataset); !strings.Contains(got, "service-ingress-octets 2026-01-03 r1 d.xml 1") || !strings.Contains(got, "service-ingress-octets 2026-01-01 r1 a.xml 3") {
		t.Errorf("%s", got)
	}

	for _, c := range []struct {
		want string
		args []string
	}{
		{"--from and --to", []string{"--data", dataset}},
		{"is no time", []string{"--data", dataset, "--from", "x", "--to", "2026-01-01"}},
		{"is not before", []string{"--data", dataset, "--from", "2026-01-02", "--to", "2026-01-02"}},
		{"one of -c FILE and --data", []string{"--from", "2026-01-02", "--to", "2026-01-03"}},
		{"takes no files", []string{"--data", dataset, "--from", "2026-01-02", "--to", "2026-01-03", "x.xml"}},
		{"knows no device", []string{"--data", dataset, "--from", "2026-01-02", "--to", "2026-01-03", "--device", "r9"}},
		{"no record \"nonsense\"", []string{"--data", dataset, "--from", "2026-01-02", "--to", "2026-01-03", "--record", "nonsense"}},
		{"not a directory", []string{"--data", profile, "--from", "2026-01-02", "--to", "2026-01-03"}},
		{"go with --data", []string{"-c", profile, "--profile", profile, "--from", "2026-01-02", "--to", "2026-01-03"}},
	} {
		expect(t, exitUsage, []string{c.want}, append([]string{"export", "--rebuild"}, c.args...)...)
	}
	expect(t, exitUsage, []string{"are for --rebuild"}, "export", dir, "--out", dataset, "--from", "2026-01-01")
	expect(t, exitUsage, []string{"files and --out are needed"}, "export", dir)
}
