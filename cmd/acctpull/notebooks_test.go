package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/internal/gen"
	"acctpull/internal/need"
)

// analystFigures are what the examples write: the answers to their questions.
type analystFigures struct {
	Top    [][]any          `json:"top"`  // device, service, SAP, octets
	Over   [][]any          `json:"over"` // device, port, intervals, largest rate
	P95    map[string][]any `json:"p95"`  // rate and samples of each customer
	Gaps   [][]any          `json:"gaps"` // device, service, SAP, seconds
	Breaks map[string]int64 `json:"breaks"`
}

// reported is what the examples are compared with.
type reported struct {
	Figures []struct {
		Object   []string    `json:"object"`
		Total    json.Number `json:"total"`
		Rate     json.Number `json:"rate"`
		Most     json.Number `json:"max_rate"`
		Samples  int         `json:"samples"`
		Over     int         `json:"intervals_over"`
		Coverage struct {
			GapSeconds int64 `json:"gap_seconds"`
		} `json:"coverage"`
	} `json:"figures"`
}

func reportOf(t *testing.T, dataset string, args ...string) (r reported) {
	t.Helper()
	out, errs, code := command(t, append([]string{"--json", "report"}, append(args, "--dataset", dataset, "--month", "2026-03")...)...)
	if code != exitOK {
		t.Fatalf("report %s: exit code %d\n%s", args, code, errs)
	}
	check(t, json.Unmarshal([]byte(out), &r))
	if len(r.Figures) == 0 {
		t.Fatalf("report %s: no figures", args)
	}
	return r
}

// analystDataset exports two days and a half of SAPs and links with a gap and a
// restart, and makes their usage. It returns how often each break occurs at the
// SAPs.
func analystDataset(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	saps := gen.Options{Record: "service-ingress-octets", Platform: "7210 SAS", Objects: 8, Meters: 2, Interval: 15 * time.Minute, Intervals: 8, Idle: -1}
	links := saps
	links.Record, links.Objects, links.Policy, links.FileID = "network-egress-octets", 4, 20, 21
	for i, o := range []gen.Options{saps, links} {
		for j, from := range []time.Time{start, start.Add(36 * time.Hour)} { // the device restarts after a day and a half
			o.Seed, o.Start = uint64(10*i+j), from
			_, err := gen.Tree(filepath.Join(dir, "files"), gen.TreeOptions{Options: o, Devices: 2, Files: 18 - 12*j})
			check(t, err)
		}
	}
	for _, gone := range []string{"gen-0001/act1011-20260301-100000.xml.gz", "gen-0002/act2021-20260301-200000.xml.gz"} {
		check(t, os.Remove(filepath.Join(dir, "files", gone)))
	}
	expect(t, exitOK, nil, "export", filepath.Join(dir, "files"), "--out", filepath.Join(dir, "dataset"))
	breaks := map[string]int64{}
	for _, r := range usageRun(t, "--dataset", filepath.Join(dir, "dataset")) {
		if r.Table == "service-ingress-octets-usage" {
			breaks["none"] = r.Rows
			for reason, n := range r.Breaks {
				breaks[reason] = n
				breaks["none"] -= n
			}
		}
	}
	if breaks["first"] == 0 || breaks["gap"] == 0 || breaks["reset"] == 0 {
		t.Fatalf("breaks %v", breaks)
	}
	return breaks
}

// The examples answer what acctpull report answers, to the last digit.
func TestProofExamplesSayWhatReportSays(t *testing.T) {
	dir := t.TempDir()
	dataset := filepath.Join(dir, "dataset")
	breaks := analystDataset(t, dir)

	var want analystFigures
	want.Breaks = breaks
	top := reportOf(t, dataset, "top", "--by", "sap")
	for _, f := range top.Figures {
		want.Top = append(want.Top, append(anys(f.Object), f.Total))
	}
	all := reportOf(t, dataset, "volume", "--by", "sap").Figures
	if len(want.Top) != 10 || len(all) != 16 {
		t.Fatalf("%d SAPs at the top of %d", len(want.Top), len(all))
	}
	customers := "group,device,sap\n"
	for i, f := range all {
		if f.Coverage.GapSeconds > 0 {
			want.Gaps = append(want.Gaps, append(anys(f.Object), json.Number(fmt.Sprint(f.Coverage.GapSeconds))))
		}
		customers += fmt.Sprintf("customer %d,%s,%s\n", i%5, f.Object[0], f.Object[2])
	}
	customers += fmt.Sprintf("customer 2,%s,%s\n", all[0].Object[0], all[0].Object[2])
	file := filepath.Join(dir, "customers.csv")
	check(t, os.WriteFile(file, []byte(customers), 0o600))
	want.P95 = map[string][]any{}
	for _, f := range reportOf(t, dataset, "p95", "--groups", file, "--table", "service-ingress-octets").Figures {
		want.P95[f.Object[0]] = []any{f.Rate, json.Number(fmt.Sprint(f.Samples))}
	}
	links := reportOf(t, dataset, "top", "--by", "port", "--table", "network-egress-octets", "--rank", "p95", "--limit", "0").Figures
	rate, err := links[len(links)/2].Rate.Float64()
	check(t, err)
	speed := fmt.Sprint(int64(rate / 0.8)) // one half of the links is over it for 5 % of the time
	for _, f := range reportOf(t, dataset, "top", "--by", "port", "--table", "network-egress-octets", "--over", "80%", "--speed", speed, "--limit", "0").Figures {
		want.Over = append(want.Over, append(anys(f.Object), json.Number(fmt.Sprint(f.Over)), f.Most))
	}
	if len(want.P95) != 5 || len(want.Gaps) == 0 || len(want.Over) < 2 {
		t.Fatalf("%d customers, %d gaps, %d links", len(want.P95), len(want.Gaps), len(want.Over))
	}

	examples := []string{"duckdb.ipynb"}
	if os.Getenv("ACCTPULL_PROOF") == "1" {
		examples = []string{"duckdb.ipynb", "pandas.ipynb", "polars.ipynb", "usage_spark.py"}
	}
	for _, example := range examples {
		t.Run(example, func(t *testing.T) {
			sameFigures(t, runExample(t, example, dataset, file, speed), want)
		})
	}
}

// runExample executes a notebook or the script and returns what it found.
func runExample(t *testing.T, example, dataset, customers, speed string) (got analystFigures) {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "figures.json")
	args := []string{"testdata/run_notebook.py", "../../examples/" + example}
	modules := []string{"nbclient", "ipykernel", strings.TrimSuffix(example, ".ipynb")}
	if strings.HasSuffix(example, ".py") {
		need.Tool(t, "java")
		args, modules = args[1:], []string{"pyspark"}
	}
	var python string
	for _, m := range modules {
		python = need.PythonModule(t, m)
	}
	cmd := exec.CommandContext(t.Context(), python, args...)
	cmd.Env = append(os.Environ(), "ACCTPULL_DATASET="+dataset, "ACCTPULL_MONTH=2026-03", "ACCTPULL_CUSTOMERS="+customers,
		"ACCTPULL_SPEED="+speed, "ACCTPULL_FIGURES="+out, "IPYTHONDIR="+dir, "JUPYTER_DATA_DIR="+dir, "JUPYTER_CONFIG_DIR="+dir, "JUPYTER_RUNTIME_DIR="+dir,
		"SPARK_LOCAL_IP=127.0.0.1", "JDK_JAVA_OPTIONS=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
		"PYSPARK_SUBMIT_ARGS=--master local[1] --conf spark.ui.enabled=false --conf spark.driver.host=127.0.0.1 --conf spark.sql.shuffle.partitions=1 --conf spark.sql.warehouse.dir="+dir+" pyspark-shell")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", example, err, b)
	}
	text, err := os.ReadFile(out)
	check(t, err)
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	check(t, d.Decode(&got))
	return got
}

// sameFigures compares all answers; what has no order in the report is put in one.
func sameFigures(t *testing.T, got, want analystFigures) {
	t.Helper()
	if g, w := lines(got.Top, false), lines(want.Top, false); !slices.Equal(g, w) {
		t.Errorf("top:\n got %q\nwant %q", g, w)
	}
	if g, w := lines(got.Over, true), lines(want.Over, true); !slices.Equal(g, w) {
		t.Errorf("over:\n got %q\nwant %q", g, w)
	}
	if g, w := lines(got.Gaps, true), lines(want.Gaps, true); !slices.Equal(g, w) {
		t.Errorf("gaps:\n got %q\nwant %q", g, w)
	}
	if !maps.Equal(got.Breaks, want.Breaks) {
		t.Errorf("breaks: %v, want %v", got.Breaks, want.Breaks)
	}
	for _, name := range slices.Sorted(maps.Keys(want.P95)) {
		if g, w := line(got.P95[name]), line(want.P95[name]); g != w {
			t.Errorf("p95 of %s: %s, want %s", name, g, w)
		}
	}
	if len(got.P95) != len(want.P95) {
		t.Errorf("%d customers, want %d", len(got.P95), len(want.P95))
	}
}

// line writes values so that two are the same only if they are: of two floats all
// bits.
func line(values []any) string {
	var parts []string
	for _, v := range values {
		text := fmt.Sprint(v)
		if n, ok := v.(json.Number); ok && strings.ContainsAny(text, ".eE") {
			f, err := n.Float64()
			text = cmp.Or(map[bool]string{true: "no number"}[err != nil], fmt.Sprint(f))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, " ")
}

func lines(rows [][]any, sorted bool) []string {
	var all []string
	for _, row := range rows {
		all = append(all, line(row))
	}
	if sorted {
		slices.Sort(all)
	}
	return all
}

func anys(texts []string) []any {
	var all []any
	for _, s := range texts {
		all = append(all, s)
	}
	return all
}
