package policy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acctpull/record"
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
