package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"

	"acctpull/export"
	"acctpull/internal/depot"
	"acctpull/ledger"
	"acctpull/record"
	"acctpull/usage"
)

// Archive is where accounting files are looked for.
type Archive struct {
	Files depot.Reader
	// Dir is the directory of a device's files in it: devices/<device>.
	Dir func(device string) string
}

// Verification says how a proof is verified.
type Verification struct {
	Archive Archive
	// Scratch is an empty local directory for the dataset that is made anew.
	Scratch   string
	Catalogue *record.Catalogue
	// Reader and ReaderFor say how accounting files are read, as in export.Options.
	Reader    record.ReaderOptions
	ReaderFor func(device string) *record.ReaderOptions
	Identify  func(name string) (policy, fileID int)
	// Narrow are the counters of 32 bits, as the dataset was made with.
	Narrow []usage.Narrow
	// OnFile is called for each source that was found and has its digest; nil is
	// allowed.
	OnFile func(Source)
}

// Verdict is what became of a proof.
type Verdict struct {
	Sources int `json:"sources"` // that were found and have their digests
	Rows    int `json:"rows"`    // that were derived anew and are the same
	Figures int `json:"figures"` // that are the same to the last digit
	// Problems are what is different; the proof holds if there are none.
	Problems []string `json:"problems"`
}

func (v *Verdict) problem(format string, a ...any) {
	const most = 100
	switch {
	case len(v.Problems) < most:
		v.Problems = append(v.Problems, fmt.Sprintf(format, a...))
	case len(v.Problems) == most:
		v.Problems = append(v.Problems, "and more")
	}
}

// Verify proves a report from the accounting files alone: it finds each source by
// device and digest, reads them again, derives deltas and figures again, and compares
// both with the proof. An error means that this could not be done.
func (p *Proof) Verify(ctx context.Context, how Verification) (*Verdict, error) {
	v := &Verdict{Problems: []string{}}
	inputs, err := p.locate(ctx, &how.Archive, v, how.OnFile)
	if err != nil || len(v.Problems) > 0 {
		return v, err
	}
	dataset, err := p.derive(ctx, &how, inputs, v)
	if err != nil || len(v.Problems) > 0 {
		return v, err
	}
	var tables []string
	for _, t := range p.Tables {
		tables = append(tables, t.Name)
	}
	report, again, err := Run(ctx, dataset, p.Options, Settings{Catalogue: how.Catalogue, Tables: tables, Proof: true, Scratch: how.Scratch})
	if err != nil {
		return v, err
	}
	p.compareRows(again, v)
	p.compareFigures(report, v)
	return v, nil
}

// locate finds every source.
func (p *Proof) locate(ctx context.Context, a *Archive, v *Verdict, onFile func(Source)) ([]ledger.Input, error) {
	var inputs []ledger.Input
	var everything map[string][]string // paths by file name, listed once if needed
	for _, s := range p.Sources {
		dir := a.Dir(s.Device)
		at, changed, err := a.find(ctx, &s, []string{dir + "/act/" + s.File, dir + "/act/alt/" + s.SHA256[:16] + "/" + s.File})
		if err == nil && at == "" {
			if everything == nil {
				everything, err = a.names(ctx)
			}
			if err == nil {
				var other string // a file of this name, which other devices have too
				at, other, err = a.find(ctx, &s, everything[s.File])
				if changed == "" && strings.Contains("/"+other, "/"+path.Base(dir)+"/") {
					changed = other
				}
			}
		}
		switch {
		case err != nil:
			return nil, err
		case at != "":
			v.Sources++
			if onFile != nil {
				onFile(s)
			}
			inputs = append(inputs, ledger.Input{Device: s.Device, Name: s.File, SHA256: s.SHA256, Stored: at})
		case changed != "":
			v.problem("the file %q of device %q was changed: %q does not have the digest %s", s.File, s.Device, changed, s.SHA256)
		default:
			v.problem("the file %q of device %q with the digest %s is not in the archive", s.File, s.Device, s.SHA256)
		}
	}
	return inputs, nil
}

// find returns the first of some paths that has the digest of a source; changed is
// one that has another.
func (a *Archive) find(ctx context.Context, s *Source, paths []string) (at, changed string, err error) {
	for _, p := range paths {
		if depot.CheckPath(p) != nil {
			continue
		}
		sum, _, err := a.Files.Sum(ctx, p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", "", err
		case sum == s.SHA256:
			return p, "", nil
		case changed == "":
			changed = p
		}
	}
	return "", changed, nil
}

// names lists the archive.
func (a *Archive) names(ctx context.Context) (map[string][]string, error) {
	all := map[string][]string{}
	for e, err := range a.Files.List(ctx, "") {
		if err != nil {
			return nil, err
		}
		all[path.Base(e.Path)] = append(all[path.Base(e.Path)], e.Path)
	}
	return all, nil
}

// derive makes a dataset with records and usage of the sources.
func (p *Proof) derive(ctx context.Context, how *Verification, inputs []ledger.Input, v *Verdict) (depot.Reader, error) {
	x, err := export.New(export.Options{
		Dataset: how.Scratch, Quarantine: how.Scratch + "/.quarantine",
		Open: func(in ledger.Input) (io.ReadCloser, error) { return how.Archive.Files.Open(ctx, in.Stored) },
		// What is in the proof was read from the file, cut off or not.
		Salvage: func(ledger.Input) bool { return true },
		Reader:  how.Reader, ReaderFor: how.ReaderFor, Identify: how.Identify,
	})
	if err != nil {
		return nil, err
	}
	const together = 500
	for len(inputs) > 0 {
		some := inputs[:min(len(inputs), together)]
		inputs = inputs[len(some):]
		res, err := x.Run(ctx, ledger.Batch{BatchClaim: ledger.BatchClaim{ID: ledger.BatchID(some)}, Inputs: some})
		if err != nil {
			return nil, err
		}
		for _, f := range res.Files {
			if f.State == ledger.Quarantined {
				v.problem("the file %q of device %q cannot be read: %s", f.Input.Name, f.Input.Device, f.Reason)
			}
		}
	}
	dataset := depot.NewDir(how.Scratch)
	o := usage.Options{Dataset: dataset, Scratch: how.Scratch + "/.staging", Narrow: how.Narrow}
	for _, t := range p.Tables {
		name, _ := usage.RecordOf(t.Name)
		def, ok := how.Catalogue.Lookup(record.Name(name))
		if !ok {
			return nil, invalid("", "no record %q in the catalogue", clip(name))
		}
		o.Tables = append(o.Tables, export.Schema(def))
	}
	_, err = usage.Refresh(ctx, o)
	return dataset, err
}

// rowKey tells rows of proofs from each other.
type rowKey struct {
	table, device, keys, sub, scope string
	end, final                      int64
	source                          string
}

// index numbers the rows by their keys; the same key twice gets a number.
func (p *Proof) index() map[rowKey][]*ProofRow {
	all := make(map[rowKey][]*ProofRow, len(p.Rows))
	for i := range p.Rows {
		r := &p.Rows[i]
		s := &p.Series[r.Series]
		var keys strings.Builder
		for _, k := range s.Keys {
			if k == nil {
				keys.WriteString("-")
				continue
			}
			fmt.Fprintf(&keys, "%q", *k)
		}
		k := rowKey{p.Tables[s.Table].Name, s.Device, keys.String(), s.Sub, s.Scope, r.End.UnixMicro(), r.Final, p.Sources[r.Source].SHA256}
		all[k] = append(all[k], r)
	}
	return all
}

// compareRows compares the deltas of both proofs.
func (p *Proof) compareRows(again *Proof, v *Verdict) {
	mine, theirs := p.index(), again.index()
	for k, rows := range mine {
		others := theirs[k]
		if len(others) != len(rows) {
			v.problem("device %q, %s %s, %s: %d rows in the proof, %d in the files", k.device, k.table, k.keys, microTime(k.end), len(rows), len(others))
			continue
		}
		for i, r := range rows {
			if !slices.EqualFunc(r.Deltas, others[i].Deltas, sameNumber) {
				v.problem("device %q, %s %s, %s: the deltas are %s in the proof, the files give %s", k.device, k.table, k.keys, microTime(k.end), numbers(r.Deltas), numbers(others[i].Deltas))
				continue
			}
			v.Rows++
		}
	}
	for k, rows := range theirs {
		if mine[k] == nil {
			v.problem("device %q, %s %s, %s: %s in the files, none in the proof", k.device, k.table, k.keys, microTime(k.end), plural(int64(len(rows)), "row"))
		}
	}
	slices.Sort(v.Problems)
}

func sameNumber(a, b *int64) bool { return a == b || a != nil && b != nil && *a == *b }

func numbers(list []*int64) string {
	var parts []string
	for _, n := range list {
		if n == nil {
			parts = append(parts, "NULL")
			continue
		}
		parts = append(parts, fmt.Sprint(*n))
	}
	return strings.Join(parts, " ")
}

// compareFigures compares every figure, all of it but for the reasons of intervals
// without a delta: a break may follow from rows that are in none of the files.
func (p *Proof) compareFigures(again *Report, v *Verdict) {
	a, b := *p.Report, *again
	a.Figures, b.Figures = nil, nil
	if !reflect.DeepEqual(plain(a), plain(b)) {
		v.problem("the answer is another: %s in the proof, %s from the files", mustText(a), mustText(b))
	}
	if len(p.Report.Figures) != len(again.Figures) {
		v.problem("%d figures in the proof, %d from the files", len(p.Report.Figures), len(again.Figures))
		return
	}
	for i := range again.Figures {
		mine, theirs := p.Report.Figures[i].bare(), again.Figures[i].bare()
		if x, y := mustText(mine), mustText(theirs); x != y {
			v.problem("figure of %q: %s in the proof, %s from the files", mine.name(), x, y)
			continue
		}
		v.Figures++
	}
}

// bare is the figure with what is missing as one number.
func (f Figure) bare() Figure {
	n := 0
	for _, k := range f.Coverage.Missing {
		n += k
	}
	f.Coverage.Missing = map[string]int{"missing": n}
	f.Coverage.GapSeconds = 0
	if f.Refused != "" {
		f.Refused = "refused"
	}
	f.plot = nil
	return f
}

// plain is a value as its JSON says.
func plain(v any) any {
	var out any
	_ = json.Unmarshal([]byte(mustText(v)), &out) // it was marshalled right before
	return out
}

// mustText is the JSON of our own values, which always have one.
func mustText(v any) string {
	b, err := marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
