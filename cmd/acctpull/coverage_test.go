package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/coverage"
	"acctpull/ledger"
	"acctpull/rollover"
)

// hourly fills a ledger with a day of hourly files of five-minute collections
// of one policy, listed every hour, without some of them.
func hourly(t *testing.T, dir string, without ...int) {
	t.Helper()
	ctx := t.Context()
	l, err := ledger.Open(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	begin := time.Date(2026, 10, 4, 0, 5, 0, 0, time.UTC)
	for n := range 24 {
		made := begin.Add(time.Duration(n) * time.Hour)
		closed := made.Add(time.Hour)
		listed := closed.Add(time.Minute)
		visit := ledger.Visit{Device: "edge-1", Began: listed, Ended: listed, Good: true, Listed: n}
		if err := l.AddVisit(ctx, visit); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(without, n) {
			continue
		}
		facts := ledger.Facts{Policy: 10, FileID: 11, Record: "service-ingress-octets", Interval: 5 * time.Minute}
		for i := range 12 {
			facts.Spans = append(facts.Spans, ledger.Span{End: made.Add(time.Duration(i) * 5 * time.Minute), Records: 7})
		}
		key := ledger.Key{Device: "edge-1", Path: "cf1:/act", Name: rollover.NewName(rollover.Act, 10, 11, made, ".xml.gz").String(), Size: 100, MTime: closed.Unix()}
		if _, err := l.Discover(ctx, listed, []ledger.Key{key}); err != nil {
			t.Fatal(err)
		}
		claims, err := l.Claim(ctx, listed, "test", time.Hour, "edge-1", 0)
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		item := ledger.StoreItem{Claim: claims[0], SHA256: fmt.Sprintf("%064x", n+1), Stored: "devices/edge-1/act/" + key.Name, Facts: &facts}
		if res, err := l.StoreMany(ctx, listed, []ledger.StoreItem{item}); err != nil || res[0].Err != nil {
			t.Fatal(res, err)
		}
	}
}

func TestCoverageCommand(t *testing.T) {
	whole, holed := t.TempDir(), t.TempDir()
	hourly(t, whole)
	hourly(t, holed, 7, 8)
	day := []string{"--from", "2026-10-04", "--to", "2026-10-05T00:00:00Z"}
	expect(t, exitOK, []string{"edge-1  10 service-ingress-octets  ####", "0 in gaps"}, append([]string{"coverage", "--data", whole}, day...)...)
	html := filepath.Join(t.TempDir(), "page.html")
	expect(t, exitPartly, []string{"MMM", "missing", "2026-10-04T07:00:00Z", "2026-10-04T09:00:00Z", "24 in gaps"},
		append([]string{"coverage", "--data", holed, "--html", html}, day...)...)
	if page, err := os.ReadFile(html); err != nil || !strings.Contains(string(page), "edge-1") {
		t.Error(err)
	}
	out, _ := expect(t, exitPartly, nil, append([]string{"--json", "coverage", "--data", holed, "--device", "edge-1"}, day...)...)
	var r coverage.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Devices) != 1 || len(r.Devices[0].Streams) != 1 || len(r.Devices[0].Streams[0].Gaps()) != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, args := range [][]string{
		{"coverage"}, {"coverage", "--data", t.TempDir()}, {"coverage", "--data", whole, "--device", "nobody"},
		{"coverage", "--data", whole, "--from", "yesterday"}, {"coverage", "--data", whole, "--from", "2026-10-05", "--to", "2026-10-04"},
		{"certificate", "--data", whole}, {"certificate", "--data", whole, "--month", "October"},
	} {
		expect(t, exitUsage, nil, args...)
	}
}

func TestCertificateCommand(t *testing.T) {
	dir := t.TempDir()
	hourly(t, dir, 7)
	first, _ := expect(t, exitPartly, nil, "certificate", "--data", dir, "--month", "2026-10")
	again, _ := expect(t, exitPartly, nil, "certificate", "--data", dir, "--month", "2026-10")
	if first != again {
		t.Errorf("%s\nis not\n%s", first, again)
	}
	c, err := coverage.ParseCertificate([]byte(first))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.Totals; n.Files != 23 || n.Missing != 12 || n.Received != 23*12 || c.Devices[0].Policies[0].Runs[0].Verdict != coverage.Missing {
		t.Errorf("%+v", n)
	}
	file := filepath.Join(t.TempDir(), "c.json")
	expect(t, exitPartly, []string{"276 received"}, "certificate", "--data", dir, "--month", "2026-10", "--out", file)
	if text, err := os.ReadFile(file); err != nil || string(text) != first {
		t.Error("the file is another one", err)
	}
	expect(t, exitOK, []string{"0 intervals expected"}, "certificate", "--data", dir, "--month", "2025-10", "--out", file)
}
