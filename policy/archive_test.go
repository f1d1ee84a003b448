package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/record"
	"acctpull/rollover"
)

// readArchive returns every record of every closed file, in the order of the
// names. Nothing may be open any more.
func readArchive(t testing.TB, set *Set) []*record.Record {
	t.Helper()
	var out []*record.Record
	var done []string
	reader := record.NewReader(record.ReaderOptions{Catalogue: set.Config().Catalogue})
	for _, f := range set.Config().FileIDs {
		if slices.Contains(done, f.Location) {
			continue
		}
		done = append(done, f.Location)
		if open, err := os.ReadDir(f.CollectDir()); err != nil || len(open) > 0 {
			t.Fatalf("%s: %v %v", f.CollectDir(), open, err)
		}
		names, err := os.ReadDir(f.ArchiveDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			out = append(out, readFile(t, reader, filepath.Join(f.ArchiveDir(), name.Name()))...)
		}
	}
	return out
}

// readFile returns every record of a file that has to decode to a clean end.
func readFile(t testing.TB, reader *record.Reader, path string) []*record.Record {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	reader.Reset(f, path)
	var out []*record.Record
	for {
		var r record.Record
		switch err := reader.Next(&r); {
		case err == nil:
			out = append(out, r.Clone())
		case errors.Is(err, io.EOF):
			return out
		default:
			t.Fatalf("%s: %v", path, err)
		}
	}
}

// Every record of every type, in both counter modes, comes back from the file
// as the source gave it: same row set, same values, same interval. The header
// says what the policy is, and where it was if the policy includes that.
func TestFilesReadBack(t *testing.T) {
	objects := testObjects(t)
	seed := uint64(7)
	now := time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)
	for _, d := range record.Builtin().Definitions() {
		typ, ok := ParseType(d.PolicyType)
		if !ok || len(deviceRows(d)) == 0 {
			continue
		}
		c := Config{
			System:   "edge-1",
			Source:   SourceConfig{Kind: SourceSynthetic, Seed: seed},
			FileIDs:  []FileID{{ID: 38, Location: t.TempDir(), Description: "of the file"}},
			Policies: []AccountingPolicy{{ID: 28, Record: d.Name, To: 38, Default: true}},
		}
		system := ""
		if d.PolicyType == Access.String() {
			c.Policies[0].IncludeSystemInfo, system = true, "edge-1"
		}
		if d.Name == "network-egress-octets" {
			c.Policies[0].Description = `<of "the" policy & co>`
		}
		for _, o := range objects[typ] {
			if o.Type == SDP && o.Service != "" && !newRowFinder(SourceSynthetic).collectsBinding(d) {
				continue
			}
			object := *o
			object.CollectStats = true
			c.Objects = append(c.Objects, object)
		}
		set, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		src, err := NewSource(set)
		if err != nil {
			t.Fatal(err)
		}
		var files []rollover.File
		col, err := NewCollector(Options{Set: set, Source: src, Hooks: Hooks{OnFile: func(f rollover.File) { files = append(files, f) }}})
		if err != nil {
			t.Fatal(err)
		}
		var want gather
		for i := range 3 {
			at := now.Add(time.Duration(i) * 5 * time.Minute)
			iv, err := col.Collect(context.Background(), 28, at)
			if err != nil || iv.Missing != 0 || iv.Objects != len(c.Objects) {
				t.Fatalf("%+v: %v", iv, err)
			}
			had := len(want.records)
			if err := src.Sample(context.Background(), Request{At: at, Record: d, Objects: set.Plan()[0].Objects}, &want); err != nil {
				t.Fatal(err)
			}
			for _, r := range want.records[had:] {
				r.End = at
				if i > 0 {
					r.Start = at.Add(-5 * time.Minute)
				}
			}
			if iv.Records != len(want.records)-had {
				t.Errorf("%s: %d records in the interval, %d sampled", d.Name, iv.Records, len(want.records)-had)
			}
		}
		if err := col.Close(); err != nil {
			t.Fatal(err)
		}
		if len(files) != 1 || files[0].Name.String() != "act2838-20260301-120000.xml.gz" {
			t.Fatalf("%s: files %v", d.Name, files)
		}
		reader := record.NewReader(record.ReaderOptions{})
		got := readFile(t, reader, files[0].Path)
		h := reader.Header()
		if h.Policy != 28 || h.FileID != 38 || h.Record != d.Name || h.System != system || h.Semantics != record.Cumulative || h.Interval != cmpInterval(d) || h.Reason != rollover.ReasonStart || h.Description == "" || !h.Created.Equal(now) {
			t.Errorf("%s: header %+v", d.Name, h)
		}
		if len(got) != len(want.records) {
			t.Fatalf("%s: %d records read, %d sampled", d.Name, len(got), len(want.records))
		}
		for i := range got {
			if g, w := describe(got[i]), describe(want.records[i]); g != w {
				t.Errorf("%s:\nread    %s\nsampled %s", d.Name, g, w)
			}
		}
	}
}

func cmpInterval(d *record.Definition) time.Duration {
	if d.DefaultInterval == 0 {
		return DefaultInterval
	}
	return d.DefaultInterval
}

func describe(r *record.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q %v %v:", r.Sub, r.Set.Scope, r.Set.CounterMode, r.Start.UTC(), r.End.UTC())
	for i, f := range r.Set.Fields {
		fmt.Fprintf(&b, " %s=%v", f.Abbrev, r.Values[i])
	}
	fmt.Fprintf(&b, " %v", r.Unknown)
	return b.String()
}

// What Linux can know of each type depends on the rows of the catalogue: without
// rows for a link, records that hold profiles only are refused by name.
func TestLinuxRecords(t *testing.T) {
	for _, c := range []struct {
		name record.Name
		want string // sub-records and counters
	}{
		{"service-ingress-octets", "sio ioo"},
		{"service-egress-packets", "sep epf"},
		{"combined-service-ingress", "cmSipo ipo ioo"},
		{"combined-access-egress", "aeo of, aep pf pd"},
		{"combined-sdp-ingress-egress", "cmSdpipo tpf tpd tof, cmSdpepo tpf tof"},
		{"network-egress-octets", "neo of"},
		{"combined-network-ing-egr-octets", "cmNio of, cmNeo of"},
		{"combined-network-egress", "cmNepo pf pd of"},
		{"network-interface-ingress-packets", "nifip pf pd"},
	} {
		d, _ := record.Builtin().Lookup(c.name)
		var got []string
		for _, r := range linuxRows(d) {
			text := r.set.Sub
			for i, f := range r.fields {
				if f.link > 0 {
					text += " " + r.set.Fields[i].Abbrev
				}
			}
			got = append(got, text)
		}
		if g := strings.Join(got, ", "); g != c.want {
			t.Errorf("%s: %s, want %s", c.name, g, c.want)
		}
	}
}
