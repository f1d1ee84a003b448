package report

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/internal/gen"
	"acctpull/ledger"
	"acctpull/record"
	"acctpull/rollover"
	"acctpull/usage"
)

// anArchive is an archive of generated files, and the dataset made from it.
type anArchive struct {
	root, dataset string
	files         []string // below root
	from, to      time.Time
}

// identify tells what a file name says.
func identify(name string) (int, int) {
	n, err := rollover.ParseName(name)
	if err != nil {
		return 0, 0
	}
	return n.ID, n.FileID
}

// archiveOf makes two days of a few devices and their usage.
func archiveOf(t testing.TB) *anArchive {
	t.Helper()
	a := &anArchive{root: filepath.Join(t.TempDir(), "data"), dataset: t.TempDir()}
	made := t.TempDir()
	truth, err := gen.Tree(made, gen.TreeOptions{Devices: 2, Files: 16, Options: gen.Options{
		Seed: 7, Record: "service-ingress-octets", Platform: "7210 SAS", CounterMode: "forward-drop-count", Objects: 3, Meters: 2,
		Intervals: 6, Interval: 30 * time.Minute, Start: march.Add(-time.Hour), FinalEvery: 40, Idle: 0.2}})
	if err != nil {
		t.Fatal(err)
	}
	a.from, a.to = march, truth.Last.Truncate(time.Hour)
	paths, err := filepath.Glob(filepath.Join(made, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var inputs []ledger.Input
	for i, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		device, name := filepath.Base(filepath.Dir(p)), filepath.Base(p)
		sum := sha256.Sum256(data)
		hash := hex.EncodeToString(sum[:])
		rel := filepath.Join("devices", device, "act", name)
		if i%5 == 0 { // its name was taken
			rel = filepath.Join("devices", device, "act", "alt", hash[:16], name)
		}
		at := filepath.Join(a.root, rel)
		if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, data, 0o640); err != nil {
			t.Fatal(err)
		}
		a.files = append(a.files, rel)
		inputs = append(inputs, ledger.Input{Device: device, Name: name, SHA256: hash, Stored: rel})
	}
	x, err := export.New(export.Options{Dataset: a.dataset, Quarantine: t.TempDir(), Identify: identify,
		Open: func(in ledger.Input) (io.ReadCloser, error) { return os.Open(filepath.Join(a.root, in.Stored)) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.Run(context.Background(), ledger.Batch{BatchClaim: ledger.BatchClaim{ID: ledger.BatchID(inputs)}, Inputs: inputs}); err != nil {
		t.Fatal(err)
	}
	if _, err := usage.Refresh(context.Background(), usage.Options{Dataset: depot.NewDir(a.dataset), Scratch: filepath.Join(a.dataset, ".staging"),
		Tables: []*export.Table{export.Schema(definition(t, "service-ingress-octets"))}}); err != nil {
		t.Fatal(err)
	}
	return a
}

// prove makes a proof and reads it back from its bytes.
func (a *anArchive) prove(t testing.TB, o Options) *Proof {
	t.Helper()
	o.Window = Window{a.from, a.to}
	_, p := runReport(t, a.dataset, o, Settings{Proof: true})
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadProof(&b)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// verify verifies a proof against an archive.
func verify(t testing.TB, p *Proof, root string) *Verdict {
	t.Helper()
	v, err := p.Verify(context.Background(), Verification{Scratch: t.TempDir(), Catalogue: record.Builtin(), Identify: identify,
		Archive: Archive{depot.NewDir(root), func(device string) string { return "devices/" + device }}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A bill is proved from the files alone after the archive was moved; a changed byte
// and a lost file break it, and are named.
func TestProofOfABill(t *testing.T) {
	a := archiveOf(t)
	sap := ""
	all, _ := runReport(t, a.dataset, Options{Kind: Volume, Window: Window{a.from, a.to}}, Settings{})
	for _, f := range all.Figures {
		if f.Object[0] == "gen-0001" && !f.Total.IsZero() {
			sap = f.Object[2]
		}
	}
	p := a.prove(t, Options{Kind: P95, Filter: Filter{Devices: []string{"gen-0001"}, SAPs: []string{sap}}})
	if len(p.Report.Figures) != 1 || p.Report.Figures[0].Rate == nil || len(p.Rows) < 80 || len(p.Sources) < 10 {
		t.Fatalf("%d figures, %d rows, %d sources", len(p.Report.Figures), len(p.Rows), len(p.Sources))
	}
	moved := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Rename(a.root, moved); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(a.dataset); err != nil {
		t.Fatal(err)
	}
	v := verify(t, p, moved)
	if len(v.Problems) > 0 || v.Figures != 1 || v.Rows != len(p.Rows) || v.Sources != len(p.Sources) {
		t.Fatalf("verdict %+v", v)
	}

	victim := slices.IndexFunc(a.files, func(f string) bool { return strings.HasSuffix(f, p.Sources[3].File) && strings.Contains(f, "gen-0001") })
	path := filepath.Join(moved, a.files[victim])
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 4, len(data) / 2, len(data) - 1} {
		bad := slices.Clone(data)
		bad[at] ^= 1
		if err := os.WriteFile(path, bad, 0o640); err != nil {
			t.Fatal(err)
		}
		v := verify(t, p, moved)
		if len(v.Problems) != 1 || !strings.Contains(v.Problems[0], p.Sources[3].File) || !strings.Contains(v.Problems[0], "was changed") {
			t.Errorf("byte %d: %+v", at, v)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, p, moved); len(v.Problems) != 1 || !strings.Contains(v.Problems[0], p.Sources[3].File) || !strings.Contains(v.Problems[0], "not in the archive") {
		t.Errorf("lost file: %+v", v)
	}
	// Anywhere below the archive it is found by its name and digest.
	if err := os.WriteFile(filepath.Join(moved, filepath.Base(path)), data, 0o640); err != nil {
		t.Fatal(err)
	}
	if v := verify(t, p, moved); len(v.Problems) > 0 {
		t.Errorf("file that was put elsewhere: %+v", v)
	}
}

// Every kind of report holds when it is proved, and a figure or row that was changed
// does not.
func TestProofOfEveryReport(t *testing.T) {
	a := archiveOf(t)
	for i, kind := range []Kind{Volume, P95, Drops, Top} {
		o := Options{Kind: kind, Gaps: []Policy{Exclude, Zero, Refuse, Zero}[i], By: []By{ByDevice, BySAP, ByClass, ByService}[i]}
		if kind == Top {
			o.Capacity, o.Over, o.Limit = &Capacities{Default: 1e6}, 0.001, 2
		}
		p := a.prove(t, o)
		if v := verify(t, p, a.root); len(v.Problems) > 0 || v.Figures == 0 {
			t.Errorf("%s: %+v", kind, v)
		}
		p.Report.Figures[0].Total.add(1)
		if v := verify(t, p, a.root); len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "figure of") {
			t.Errorf("%s with another total: %+v", kind, v)
		}
		if kind == Volume {
			for j := range p.Rows {
				if d := p.Rows[j].Deltas[2]; d != nil {
					*d++
					break
				}
			}
			if v := verify(t, p, a.root); len(v.Problems) != 2 || !strings.Contains(fmt.Sprint(v.Problems), "the deltas are") {
				t.Errorf("another delta: %+v", v)
			}
		}
	}
}
