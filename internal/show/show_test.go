package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acctpull/flash"
	"acctpull/policy"
	"acctpull/retention"
	"acctpull/rollover"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares text with a file of testdata.
func golden(t *testing.T, file, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s differs; -update rewrites it. It is now\n%s", file, text)
	}
}

const configuration = `
source: {kind: synthetic}
file-ids:
  - {id: 11, location: cf1, rollover: 60, retention: 72, backup-location: uf1, description: SAP octets for billing}
  - {id: 12, location: cf1, rollover: 15, retention: 4}
  - {id: 13, location: uf2}
accounting-policies:
  - {id: 10, record: service-ingress-octets, to: file 11, default: true, align: true, log-memory: true, description: what customers send}
  - {id: 20, record: network-ingress-octets, to: file 12}
  - {id: 30, record: complete-sdp-ingress-egress, to: no-file}
  - {id: 40, shutdown: true}
objects:
  saps:
    - {sap: "1/1/1:100", service: 100}
    - {sap: "1/1/1:200", service: 200, accounting-policy: 10}
    - {sap: "1/1/1:300", service: 300, collect-stats: false}
  network-ports:
    - {port: 1/1/24, accounting-policy: 20}
  sdps:
    - {sdp: 7, accounting-policy: 30}
    - {sdp: 7, service: 500, accounting-policy: 30}
`

var now = time.Date(2026, 3, 4, 12, 30, 0, 0, time.UTC)

func load(t *testing.T) *policy.Set {
	t.Helper()
	set, err := policy.Load([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// statuses are those of an agent of which policy 20 is in trouble.
func statuses() []policy.Status {
	at := func(h, m int) time.Time { return time.Date(2026, 3, 4, h, m, 0, 0, time.UTC) }
	name := rollover.NewName(rollover.Act, 10, 11, at(12, 0), ".xml.gz")
	return []policy.Status{
		{
			State: policy.State{Policy: 10, FileID: 11, Up: true}, Objects: 2, File: rollover.File{Name: name, Path: "uf1/act-collect/" + name.String(), Size: 300},
			Last:     policy.Interval{Policy: 10, End: at(12, 25), Objects: 2, Records: 4, Err: policy.ErrUnfinished},
			Next:     at(12, 30),
			Flash:    flash.State{Up: true, Place: "uf1", Places: []flash.PlaceState{{Path: "cf1"}, {Path: "uf1", Backup: true}}, Held: 2, HeldSince: at(12, 20)},
			DataLoss: 3, LastDataLoss: at(12, 25),
		},
		{
			State:   policy.State{Policy: 20, FileID: 12, Err: errors.New("write cf1/act-collect/x: no space left on device \x1b[31m\u202e")},
			Flash:   flash.State{Places: []flash.PlaceState{{Path: "cf1", Err: errors.New("input/output error"), Untrusted: true}}},
			Objects: 1, Last: policy.Interval{Policy: 20, End: at(12, 20), Objects: 1, Missing: 1}, DataLoss: 12, LastDataLoss: at(12, 20),
		},
		{State: policy.State{Policy: 30, Up: true}, Objects: 2},
		{State: policy.State{Policy: 40, Err: policy.ErrShutdown}, Shutdown: true},
	}
}

func write(t *testing.T, name string, size int) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, size), 0o640); err != nil {
		t.Fatal(err)
	}
}

// Every page of an agent that runs and of one that does not, with trouble: what
// is down says why and what to do, what nobody writes is left open, what is
// expired is told, and names of others are not listed.
func TestPages(t *testing.T) {
	testdata, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	write(t, "uf1/act-collect/act1011-20260304-120000.xml.gz", 300)
	write(t, "cf1/act-collect/act1011-20260301-000000.xml.gz", 120)
	write(t, "cf1/act/act1011-20260304-110000.xml.gz", 4321)
	write(t, "cf1/act/act1011-20260201-110000.xml.gz", 1234)
	write(t, "cf1/act/act9911-20260304-100000.xml.gz", 99)
	write(t, "cf1/act/act1011-20261304-110000.xml.gz", 5)
	write(t, "cf1/act/act2012-20260304-111500.xml.gz", 77)
	write(t, "cf1/act/log1011-20260304-110000.xml.gz", 77)
	write(t, "cf1/act/something else", 1)
	write(t, "uf2/act", 0) // a file where a directory should be
	started := time.Date(2026, 3, 4, 6, 0, 0, 0, time.UTC)
	for _, running := range []bool{true, false} {
		o := Options{Set: load(t), Running: running, Objects: true}
		if running {
			o.Status, o.Started = statuses(), started
		}
		a := Build(o)
		name := "not-running"
		if running {
			name = "running"
			a.PID, a.Configuration = 4711, "agent.yaml"
		} else {
			a.Note = `Process 99 holds the lock of "cf1" and cannot be asked: it has no control socket.`
		}
		for i := range a.FileIDs {
			rule, err := a.Rule(a.FileIDs[i])
			if err != nil {
				t.Fatal(err)
			}
			a.FileIDs[i].List(rule, running, now)
		}
		var b bytes.Buffer
		page := func(command string, write func(w io.Writer) error) {
			fmt.Fprintf(&b, "$ show %s\n", command)
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
		}
		page("accounting-policy", a.WritePolicies)
		for _, p := range a.Policies {
			page(fmt.Sprintf("accounting-policy %d --associations", p.ID), func(w io.Writer) error { return a.WritePolicy(w, p) })
		}
		page("file-id", a.WriteFileIDs)
		for _, f := range a.FileIDs {
			page(fmt.Sprintf("file-id %d --files", f.ID), func(w io.Writer) error { return a.WriteFileID(w, f, now) })
		}
		page("accounting-records", func(w io.Writer) error { return WriteRecords(w, Records(a.Policies)) })
		if text := b.String(); strings.ContainsAny(text, "\x1b\u202e") {
			t.Error("a control character reaches the terminal")
		}
		golden(t, filepath.Join(testdata, name+".txt"), b.String())
		js, err := json.MarshalIndent(a, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join(testdata, name+".json"), string(js)+"\n")
		var back Agent
		if err := json.Unmarshal(js, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.MarshalIndent(back, "", "  ")
		if err != nil || !bytes.Equal(again, js) {
			t.Errorf("the JSON does not come back as it was: %v\n%s", err, again)
		}
	}
}

// The columns of a table stand under each other whatever is in them.
func TestTablesAlign(t *testing.T) {
	lines := align([][]string{{"A", "Name", "N"}, {"1", "übergröße", "5"}, {"-", "x", "1000"}})
	want := []string{"A  Name          N", "1  übergröße     5", "-  x          1000"}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("\n%s", strings.Join(lines, "\n"))
	}
}

func TestSafe(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain über", "plain über"},
		{"a\tb\n", `a\tb\n`},
		{"\x1b[2J", `\x1b[2J`},
		{"a\u202eb", `a\u202eb`},
		{"\xff", `\xff`},
		{strings.Repeat("x", 300), strings.Repeat("x", 256) + "…"},
	} {
		if got := Safe(c.in); got != c.want {
			t.Errorf("Safe(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0m", 59 * time.Second: "0m", 61 * time.Minute: "1h01m", 25*time.Hour + 59*time.Minute: "1d01h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %s, want %s", d, got, want)
		}
	}
}

// The rule of the view is the one that the sweep goes by.
func TestRule(t *testing.T) {
	for _, kind := range []retention.Kind{retention.CreatedRolloverRetention, retention.CreatedRetention} {
		for _, zone := range []*time.Location{nil, time.UTC, time.Local} {
			a := Build(Options{Set: load(t), Rule: kind, Zone: zone})
			got, err := a.Rule(a.FileIDs[0])
			want := retention.Rule{Kind: kind, Retention: 72 * time.Hour, Rollover: time.Hour}
			if zone == time.Local {
				want.Location = time.Local
			}
			if err != nil || got != want {
				t.Errorf("%v: %+v, %v", kind, got, err)
			}
		}
	}
}
