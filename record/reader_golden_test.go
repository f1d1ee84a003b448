package record_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"acctpull/record"
)

var update = flag.Bool("update-reader", false, "rewrite the golden files of the reader")

// transcript is all that reading a file gives, as text.
func transcript(t *testing.T, r *record.Reader, x []byte) string {
	t.Helper()
	var b strings.Builder
	recs, bad, err := readAll(t, r)
	i := 0
	for _, rec := range recs { // in the order of the file
		for ; i < len(bad) && bad[i].Offset < rec.Offset; i++ {
			writeBad(&b, bad[i])
		}
		fmt.Fprintf(&b, "%5d %s\n", rec.Offset, show(rec))
	}
	for ; i < len(bad); i++ {
		writeBad(&b, bad[i])
	}
	for _, rec := range recs {
		if x[rec.Offset] != '<' {
			t.Errorf("no element begins at offset %d", rec.Offset)
		}
	}
	if err != nil {
		fmt.Fprintf(&b, "error %v\n", err)
		var fe *record.FileError
		if errors.As(err, &fe) && fe.Hint() != "" {
			fmt.Fprintf(&b, "hint  %s\n", fe.Hint())
		}
	}
	h, st := r.Header(), r.Stats()
	fmt.Fprintf(&b, "head  policy=%d file=%d record=%q created=%v interval=%v semantics=%q system=%q description=%q reason=%q\n", h.Policy, h.FileID, h.Record, h.Created.Format(time.RFC3339Nano), h.Interval, h.Semantics, h.System, h.Description, h.Reason)
	fmt.Fprintf(&b, "stats records=%d bad=%d empty=%d xml=%d", st.Records, st.BadRecords, st.EmptyCounters, st.XMLBytes)
	for _, m := range []map[string]int{st.UnknownFields, st.UnknownSubs} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, " %q:%d", k, m[k])
		}
		b.WriteString(" ;")
	}
	b.WriteByte('\n')
	if st.Records != int64(len(recs)) || st.BadRecords != int64(len(bad)) {
		t.Errorf("stats %+v, but %d records and %d bad ones came", st, len(recs), len(bad))
	}
	return b.String()
}

func writeBad(b *strings.Builder, e *record.RecordError) {
	fmt.Fprintf(b, "%5d BAD %v\n      raw %q\n", e.Offset, e, e.Raw)
}

// Every shape of the collection reads to what stands beside it, on the fast path
// and on the full one, in one piece and byte by byte, alone and after all the
// others.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/reader/*.xml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	reused := record.NewReader(record.ReaderOptions{})
	for round := range 2 {
		for _, file := range files {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), round), func(t *testing.T) {
				x, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				name := filepath.Base(file)
				reused.ResetXML(bytes.NewReader(x), name)
				got := transcript(t, reused, x)
				golden := strings.TrimSuffix(file, ".xml") + ".want"
				if *update && round == 0 {
					if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "reused reader", got, string(want))
				slow := record.NewReader(record.ReaderOptions{}.WithoutFastPath())
				slow.ResetXML(bytes.NewReader(x), name)
				same(t, "full path", transcript(t, slow, x), string(want))
				fresh := record.NewReader(record.ReaderOptions{})
				fresh.ResetXML(iotest.OneByteReader(bytes.NewReader(x)), name)
				same(t, "byte by byte", transcript(t, fresh, x), string(want))
			})
		}
	}
}

func same(t *testing.T, how, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got\n%s\nwant\n%s", how, got, want)
	}
}
