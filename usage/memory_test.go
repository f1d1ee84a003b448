package usage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"acctpull/export"
	"acctpull/internal/columns"
)

// testTable is a record table with the columns that the facts fill.
func testTable() *export.Table {
	t := &export.Table{Name: "test", Version: 1, Sorted: []string{colDevice, "service_id", "sap", "meter_id", colSub, colEnd}}
	add := func(role string, typ export.ColumnType, nullable bool, names ...string) {
		for _, n := range names {
			t.Columns = append(t.Columns, export.Column{Name: n, Type: typ, Nullable: nullable, Role: role})
		}
	}
	add(roleCommon, export.String, false, colDevice)
	add(roleCommon, export.Int32, true, colPolicy)
	add(roleCommon, export.String, true, colSub, colScope, colMode)
	add(roleCommon, export.String, false, colSemantics)
	add(roleCommon, export.Int32, false, colFinal)
	add(roleCommon, export.Timestamp, true, colStart)
	add(roleCommon, export.Timestamp, false, colEnd)
	add(roleKey, export.String, true, "service_id", "sap")
	add(roleKey, export.Int64, true, "meter_id")
	for i := range counters {
		add(roleCounter, export.Int64, true, fmt.Sprint("c", i))
	}
	add(roleCommon, export.Map, true, colOverflow)
	add(roleCommon, export.String, false, colSource, colSourceHash)
	return t
}

// stored is a row as a file has it.
type stored struct {
	*fact
	Source
}

// compare orders rows as the table does.
func (a stored) compare(b stored) int {
	return cmp.Or(strings.Compare(a.device, b.device), strings.Compare(a.service, b.service), strings.Compare(a.sap, b.sap), cmp.Compare(a.meter, b.meter), strings.Compare(a.sub, b.sub), cmp.Compare(a.end, b.end))
}

// cell is a row's value of a column: a text or a number, or nil.
func (a stored) cell(column string) any {
	above := []columns.Pair{}
	for i, n := range a.values {
		if n > math.MaxInt64 {
			above = append(above, columns.Pair{Key: fmt.Sprint("c", i), Value: strconv.FormatUint(n, 10)})
		} else if column == fmt.Sprint("c", i) {
			return int64(n)
		}
	}
	switch column {
	case colDevice:
		return a.device
	case "service_id":
		return a.service
	case "sap":
		return a.sap
	case "meter_id":
		if a.meter >= 0 {
			return a.meter
		}
	case colSub:
		return a.sub
	case colScope:
		return a.scope
	case colMode:
		return a.mode
	case colSemantics:
		return a.semantics.String()
	case colFinal:
		return int64(a.final)
	case colStart:
		if a.start != NoTime {
			return a.start
		}
	case colEnd:
		return a.end
	case colOverflow:
		if len(above) > 0 {
			return columns.EncodePairs(above)
		}
	case colSource:
		return a.File
	case colSourceHash:
		return a.SHA256
	}
	return nil
}

// batchOf makes a batch of rows. Columns of one value, or none, are so at times.
func batchOf(rng *rand.Rand, table []columns.Column, names []string, rows []stored) *columns.Batch {
	b := &columns.Batch{Rows: len(rows), Columns: make([]columns.Vector, len(names))}
	for i, name := range names {
		typ := table[slices.IndexFunc(table, func(c columns.Column) bool { return c.Name == name })].Type
		cells := make([]any, len(rows))
		for r := range rows {
			cells[r] = rows[r].cell(name)
		}
		b.Columns[i] = vectorOf(rng, typ, cells)
	}
	return b
}

func vectorOf(rng *rand.Rand, typ columns.Type, cells []any) columns.Vector {
	v := columns.Vector{Rows: len(cells), AllNull: true}
	constant := true
	for _, c := range cells {
		v.AllNull = v.AllNull && c == nil
		constant = constant && c == cells[0] && c != nil
	}
	if v.AllNull {
		return v
	}
	v.Const = constant && rng.IntN(2) == 0
	if v.Const {
		cells = cells[:1]
	}
	for _, c := range cells {
		switch c := c.(type) {
		case string:
			id := slices.Index(v.Texts, c)
			if id < 0 {
				id = len(v.Texts)
				v.Texts = append(v.Texts, c)
			}
			v.IDs = append(v.IDs, int32(id))
		case int64:
			v.Ints = append(v.Ints, c)
		default:
			if typ == columns.String || typ == columns.Map {
				v.IDs = append(v.IDs, -1)
			} else {
				v.Ints = append(v.Ints, 0)
			}
		}
	}
	if v.Ints != nil && slices.Contains(cells, nil) {
		for _, c := range cells {
			v.Null = append(v.Null, c == nil)
		}
	}
	return v
}

// batches is a rowSource and a rowSink in memory.
type batches struct {
	list []*columns.Batch
	at   int
}

func (b *batches) next() (*columns.Batch, error) {
	if b.at == len(b.list) {
		return nil, io.EOF
	}
	b.at++
	return b.list[b.at-1], nil
}

// WriteRows copies a batch.
func (b *batches) WriteRows(in *columns.Batch) error {
	out := &columns.Batch{Rows: in.Rows}
	for _, v := range in.Columns {
		v.Ints, v.Null, v.IDs, v.Texts = slices.Clone(v.Ints), slices.Clone(v.Null), slices.Clone(v.IDs), slices.Clone(v.Texts)
		out.Columns = append(out.Columns, v)
	}
	b.list = append(b.list, out)
	return nil
}

// lines are the rows of a usage table as fact.usage has them.
func (b *batches) lines(table *export.Table) (lines []string) {
	for _, in := range b.list {
		for r := range in.Rows {
			text := func(name string) string {
				v := &in.Columns[table.Index(name)]
				if typ := table.Columns[table.Index(name)].Type; typ == export.String || typ == export.Map {
					if t, ok := v.Text(r); ok {
						return t
					}
				} else if n, ok := v.Int(r); ok {
					return strconv.FormatInt(n, 10)
				}
				return "-"
			}
			above := map[string]string{}
			if t := text(colOverflow); t != "-" {
				for _, p := range columns.Pairs(t) {
					above[p.Key] = p.Value
				}
			}
			var values []string
			for i := range counters {
				name := fmt.Sprint("c", i)
				values = append(values, cmp.Or(above[name], text(name)))
			}
			why, previous := text(ColBreak), text(ColPrevious)
			if why == "-" {
				why = ""
			}
			if previous != "-" {
				previous += " " + text(ColPreviousHash)
			}
			lines = append(lines, strings.Join([]string{text(colDevice), text("service_id"), text("sap"), text("meter_id"), text(colSub), text(colScope), text(colMode), text(colSemantics), text(colFinal),
				text(colStart), text(colEnd), text(ColSeconds), why, text(ColGap), strings.Join(values, ","), text(colSource) + " " + text(colSourceHash), previous}, "|"))
		}
	}
	return lines
}

// file is an accounting file of a world.
type file struct {
	Source
	facts []*fact
}

// files puts the rows into accounting files: some rows into two.
func (w *world) files() (files []*file) {
	by := map[Source]*file{}
	put := func(f *fact, s Source) {
		if by[s] == nil {
			by[s] = &file{Source: s}
			files = append(files, by[s])
		}
		by[s].facts = append(by[s].facts, f)
		f.sources = append(f.sources, s)
	}
	each := 1 + w.IntN(8)
	for i, f := range w.facts {
		n := i / (each * 3)
		put(f, Source{File: fmt.Sprintf("act1011-%s-%03d", f.device, n), SHA256: fmt.Sprintf("%s%d", f.device, n)})
		if w.IntN(12) == 0 {
			put(f, Source{File: fmt.Sprintf("act10%02d-%s-%03d", w.IntN(30), f.device, n), SHA256: "again"})
		}
	}
	w.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	return files
}

// narrowOf is what the test tells of devices with counters of 32 bits.
func (w *world) narrowOf(device string) []uint64 {
	if !w.narrow[device] {
		return nil
	}
	return slices.Repeat([]uint64{rate32}, counters)
}

// seeds is how many worlds a test makes: the first number, or the second where
// time does not matter.
func seeds(few, many uint64) uint64 {
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		return many
	}
	return few
}

// TestProofTruth makes the usage of generated worlds day by day, from batches in
// memory, and compares every row with what is known to be true.
func TestProofTruth(t *testing.T) {
	seeds := seeds(50, 1000)
	l := newLayout(testTable())
	schema := columnsOf(l.record).Columns
	breaks := map[string]int{}
	for seed := range seeds {
		w := newWorld(seed)
		days := map[string][]stored{}
		for _, f := range w.files() {
			for _, r := range f.facts {
				days[r.date()] = append(days[r.date()], stored{r, f.Source})
			}
		}
		var got, want []string
		var stats Stats
		var carry rowSource
		for _, date := range slices.Sorted(maps.Keys(days)) {
			rows := days[date]
			w.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
			slices.SortStableFunc(rows, stored.compare)
			in, usage, left := &batches{}, &batches{}, &batches{}
			for len(rows) > 0 {
				n := min(len(rows), 1+w.IntN(100))
				in.list = append(in.list, batchOf(w.Rand, schema, l.read, rows[:n]))
				rows = rows[n:]
			}
			d, err := newDay(l, dayIO{in, carry, usage, left}, math.MinInt64, w.narrowOf)
			if err != nil {
				t.Fatal(err)
			}
			s, err := d.run(context.Background(), in)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			stats.Add(s)
			got = append(got, usage.lines(l.usage)...)
			carry = left
		}
		repeated, gaps := int64(0), int64(0)
		whys := map[string]int64{}
		for _, f := range w.facts {
			want = append(want, f.usage())
			repeated += int64(len(f.sources) - 1)
			gaps += f.gap / second
			if f.why != "" {
				whys[f.why]++
				breaks[f.why]++
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if d := diff(got, want); d != "" {
			t.Fatalf("seed %d:\n%s", seed, d)
		}
		if stats.Repeated != repeated || stats.GapSeconds != gaps || fmt.Sprint(stats.Breaks) != fmt.Sprint(whys) {
			t.Fatalf("seed %d: %+v, want %d repeated, %d seconds of gaps, %v", seed, stats, repeated, gaps, whys)
		}
	}
	for _, b := range breakNames[1:] {
		if breaks[b] == 0 {
			t.Errorf("no world has the reason %s", b)
		}
	}
	t.Logf("%d seeds: %v", seeds, breaks)
}

// diff tells the first differences of two sorted lists.
func diff(got, want []string) string {
	var b strings.Builder
	n := 0
	for i, j := 0, 0; (i < len(got) || j < len(want)) && n < 12; {
		switch {
		case j == len(want) || i < len(got) && got[i] < want[j]:
			fmt.Fprintln(&b, "+", got[i])
			i, n = i+1, n+1
		case i == len(got) || want[j] < got[i]:
			fmt.Fprintln(&b, "-", want[j])
			j, n = j+1, n+1
		default:
			i, j = i+1, j+1
		}
	}
	return b.String()
}
