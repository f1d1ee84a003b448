package rollover

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

var goodNames = []struct {
	text string
	name Name
}{
	// The listing of the 7210 SAS guide, 5.4.3.
	{"act1111-20031223-014658.xml.gz", Name{Act, 11, 11, "20031223-014658", ".xml.gz"}},
	{"act1212-20031223-013800.xml.gz", Name{Act, 12, 12, "20031223-013800", ".xml.gz"}},
	{"act0199-20260102-030405.xml", Name{Act, 1, 99, "20260102-030405", ".xml"}},
	{"log9901-20060101-000000", Name{EventLog, 99, 1, "20060101-000000", ""}},
	{"log0102-20060101-000000.gz", Name{EventLog, 1, 2, "20060101-000000", ".gz"}},
	{"log0102-20060101-000000.txt.gz", Name{EventLog, 1, 2, "20060101-000000", ".txt.gz"}},
	{"act0101-99999999-999999.xml.gz", Name{Act, 1, 1, "99999999-999999", ".xml.gz"}},
}

var badNames = []string{
	"", "act", "act0101", "act0101-20260102-030405", "act0101-20260102-030405.gz", "act0101-20260102-030405.xml.GZ",
	"ACT0101-20260102-030405.xml.gz", "act0001-20260102-030405.xml.gz", "act0100-20260102-030405.xml.gz",
	"act101-20260102-030405.xml.gz", "act1-1-20260102-030405.xml.gz", "act+101-20260102-030405.xml.gz",
	"act0101_20260102-030405.xml.gz", "act0101-20260102_030405.xml.gz", "act0101-2026010-2030405.xml.gz",
	"act0101-20260102-03040a.xml.gz", "act0101-20260102-030405.xml.gz ", " act0101-20260102-030405.xml.gz",
	"act0101-20260102-030405.xml.gz\x00", "../act0101-20260102-030405.xml.gz", "act0101-20260102-030405.xml.gz/",
	"act٠١01-20260102-030405.xml.gz", "lff0101-20260102-030405", "log0101-20260102-030405.", "log0101-20260102-030405..",
	"log0101-20260102-030405./x", "log0101-20260102-030405.a/b", "log0101-20260102-030405.\x1b", "log0101-20260102-030405.é",
	"log0101-20260102-030405..gz", "log0101-20260102-030405x", "log0101-20260102-030405." + strings.Repeat("x", 40),
	".tmp-0123456789abcdef-act0101-20260102-030405.xml.gz", strings.Repeat("act0101-", 100),
}

func TestNameCodec(t *testing.T) {
	for _, c := range goodNames {
		n, err := ParseName(c.text)
		if err != nil || n != c.name {
			t.Errorf("ParseName(%q) = %+v, %v", c.text, n, err)
		}
		if n.String() != c.text || !n.Valid() {
			t.Errorf("String of %+v = %q", n, n.String())
		}
	}
	for _, s := range badNames {
		n, err := ParseName(s)
		if !errors.Is(err, ErrName) {
			t.Errorf("ParseName(%q) = %+v, %v", s, n, err)
			continue
		}
		if len(err.Error()) > 1400 || strings.ContainsAny(err.Error(), "\x00\x1b\n") {
			t.Errorf("error text is not safe to print: %q", err)
		}
	}
	for _, n := range []Name{{}, {Act, 0, 1, "20260102-030405", ".xml.gz"}, {Act, 100, 1, "20260102-030405", ".xml.gz"},
		{Act, -1, 1, "20260102-030405", ".xml.gz"}, {Act, 1, 1, "20260102-0304", ".xml.gz"}, {"act1", 1, 1, "20260102-030405", ".xml.gz"},
		NewName(Act, 1, 1, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ".xml.gz")} {
		if n.Valid() {
			t.Errorf("%+v is taken as valid", n)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, c := range goodNames {
		f.Add(c.text)
	}
	for _, s := range badNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			if n != (Name{}) || !errors.Is(err, ErrName) {
				t.Fatalf("%q: %+v, %v", s, n, err)
			}
			return
		}
		if n.String() != s {
			t.Fatalf("%q comes back as %q", s, n.String())
		}
		if strings.ContainsAny(s, "/\\\x00\n") || strings.Contains(s, "..") || s[0] == '.' {
			t.Fatalf("%q could leave a directory", s)
		}
		at, err := n.Time(time.UTC)
		if err != nil {
			if !errors.Is(err, ErrInvalidTime) {
				t.Fatal(err)
			}
			return
		}
		if again := NewName(n.Prefix, n.ID, n.FileID, at, n.Ext); again != n {
			t.Fatalf("time of %q gives %q", s, again)
		}
	})
}

func TestNameTime(t *testing.T) {
	berlin := location(t, "Europe/Berlin")
	for _, c := range []struct {
		stamp string
		loc   *time.Location
		want  string // RFC 3339 in UTC, "" for no such date
		twice bool
	}{
		{"20260102-030405", nil, "2026-01-02T03:04:05Z", false},
		{"20260102-030405", berlin, "2026-01-02T02:04:05Z", false},
		{"20260702-030405", berlin, "2026-07-02T01:04:05Z", false},
		// 2026-10-25, 03:00 CEST becomes 02:00 CET: the later instant counts.
		{"20261025-015959", berlin, "2026-10-24T23:59:59Z", false},
		{"20261025-020000", berlin, "2026-10-25T01:00:00Z", true},
		{"20261025-023000", berlin, "2026-10-25T01:30:00Z", true},
		{"20261025-025959", berlin, "2026-10-25T01:59:59Z", true},
		{"20261025-030000", berlin, "2026-10-25T02:00:00Z", false},
		// 2026-03-29, 02:00 CET becomes 03:00 CEST: the later reading counts.
		{"20260329-015959", berlin, "2026-03-29T00:59:59Z", false},
		{"20260329-020000", berlin, "2026-03-29T01:00:00Z", true},
		{"20260329-023000", berlin, "2026-03-29T01:30:00Z", true},
		{"20260329-030000", berlin, "2026-03-29T01:00:00Z", false},
		// Half an hour is set back on Lord Howe Island.
		{"20260405-014500", location(t, "Australia/Lord_Howe"), "2026-04-04T15:15:00Z", true},
		{"20260405-011500", location(t, "Australia/Lord_Howe"), "2026-04-04T14:15:00Z", false},
		{"20240229-000000", nil, "2024-02-29T00:00:00Z", false},
		{"20260229-000000", nil, "", false},
		{"20260230-000000", nil, "", false},
		{"20260230-000000", berlin, "", false},
		{"20260101-240000", nil, "", false},
		{"20260101-235960", nil, "", false},
		{"20260001-000000", nil, "", false},
		{"20261301-000000", nil, "", false},
		{"20260100-000000", nil, "", false},
		{"19700101-000000", nil, "1970-01-01T00:00:00Z", false},
		{"20360207-062816", nil, "2036-02-07T06:28:16Z", false},
		{"20380119-031408", nil, "2038-01-19T03:14:08Z", false},
		{"00000101-000000", nil, "0000-01-01T00:00:00Z", false},
		{"99991231-235959", nil, "9999-12-31T23:59:59Z", false},
	} {
		n := Name{Act, 1, 1, c.stamp, ".xml.gz"}
		got, err := n.Time(c.loc)
		switch {
		case c.want == "":
			if !errors.Is(err, ErrInvalidTime) {
				t.Errorf("%s: %v, %v", c.stamp, got, err)
			}
		case err != nil || got.UTC().Format(time.RFC3339) != c.want:
			t.Errorf("%s in %v: %v, %v; want %s", c.stamp, c.loc, got.UTC(), err, c.want)
		}
		if n.Ambiguous(c.loc) != c.twice {
			t.Errorf("%s: ambiguous is %v", c.stamp, !c.twice)
		}
	}
}

// Every instant of two days around a change comes back from its name, or its
// name is marked ambiguous.
func TestNameTimeRoundTrip(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"} {
		loc := location(t, zone)
		for _, day := range []time.Time{date(2026, 3, 7), date(2026, 3, 28), date(2026, 4, 4), date(2026, 10, 3), date(2026, 10, 24), date(2026, 10, 31)} {
			for at := day; at.Before(day.AddDate(0, 0, 3)); at = at.Add(7 * time.Minute) {
				n := NewName(Act, 1, 1, at.In(loc), ".xml.gz")
				got, err := n.Time(loc)
				if err != nil {
					t.Fatal(err)
				}
				if !got.Equal(at) && (!n.Ambiguous(loc) || got.Before(at)) {
					t.Fatalf("%s %s: %v becomes %v", zone, n, at, got)
				}
			}
		}
	}
}

func TestCompare(t *testing.T) {
	var names []Name
	for _, s := range []string{"log0101-20260101-000000", "act0102-20260101-000000.xml", "act0201-20260101-000000.xml",
		"act0101-20260101-000000.xml.gz", "act0101-20260101-000000.xml", "act9999-20251231-235959.xml"} {
		n, err := ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	slices.SortFunc(names, Compare)
	var got []string
	for _, n := range names {
		got = append(got, n.String())
	}
	want := []string{"act9999-20251231-235959.xml", "act0101-20260101-000000.xml", "act0101-20260101-000000.xml.gz",
		"act0102-20260101-000000.xml", "act0201-20260101-000000.xml", "log0101-20260101-000000"}
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestParseNameDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseName("act1111-20031223-014658.xml.gz"); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per name", n)
	}
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func date(y, m, d int) time.Time { return time.Date(y, time.Month(m), d, 0, 0, 0, 0, time.UTC) }
