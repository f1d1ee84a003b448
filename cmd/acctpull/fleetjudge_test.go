package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"acctpull/internal/simdevice"
	"acctpull/ledger"
	"acctpull/policy"
)

// verdict is what the judge found.
type verdict struct {
	files, present, named, unseen, never int
	records                              uint64

	again int // files with the records of another one
	gaps  int // intervals, of coverage
}

// String is one line of it.
func (v verdict) String() string {
	return fmt.Sprintf("%d files on the devices: %d (%d records) in Parquet, %d named in the ledger as lost or broken, %d expired unseen, %d with the records of another one, %d never closed; coverage names %d lost intervals",
		v.files, v.present, v.records, v.named, v.unseen, v.again, v.never, v.gaps)
}

// judge compares what every device wrote with the dataset and the ledger: every
// file is there, whole and once, or it is not and there is a reason; nothing is
// there that no device wrote.
func (p *proofFleet) judge() verdict {
	t := p.t
	t.Helper()
	rows := p.dataset()
	l, err := ledger.Open(t.Context(), p.ledger())
	check(t, err)
	defer func() { check(t, l.Close()) }()
	told, visits := p.told(l)
	covers := p.covers(l)
	var v verdict
	var sums policy.Truth
	for i := range p.fleet.Len() {
		d := p.fleet.Device(i)
		truth, err := d.Truth()
		check(t, err)
		byName := map[string][]simdevice.TruthFile{}
		for _, f := range truth.Files {
			byName[f.Name] = append(byName[f.Name], f)
		}
		var all []judged
		for name, files := range byName {
			have := rows[[2]string{d.Name(), name}]
			delete(rows, [2]string{d.Name(), name})
			there := match(have, files)
			if there == nil {
				t.Errorf("%s: %s: the dataset has %v; the device wrote %s", d.Name(), name, have, describe(files))
				continue
			}
			for k, f := range files {
				all = append(all, judged{TruthFile: f, here: there[k]})
			}
		}
		v.files += len(all)
		first := firstSeen(visits[d.Name()])
		for k, f := range all {
			switch {
			case f.here:
				v.present++
				v.records += f.Records
				sums.Add(d.Counters(f.TruthFile))
			case slices.ContainsFunc(all, func(g judged) bool { return g.here && same(d, f, g) }):
				all[k].again = true
				v.again++
			default:
				p.explain(&v, d, f.TruthFile, told[[2]string{d.Name(), f.Name}], visits[d.Name()])
			}
		}
		p.named(&v, covers[d.Name()], d, all, truth.Lost, first)
	}
	for k, have := range rows {
		t.Errorf("%s: %s: the dataset has %v; no device wrote it", k[0], k[1], have)
	}
	p.counters(sums)
	if v.present == 0 || v.present < v.files/2 {
		t.Errorf("only %d of %d files are there: %s", v.present, v.files, v)
	}
	return v
}

// firstSeen is when a device was first listed to the end.
func firstSeen(visits []ledger.Visit) time.Time {
	for _, v := range visits {
		if v.Good {
			return v.Ended
		}
	}
	return time.Unix(1<<40, 0) // never
}

// match tells which of the files of one name are in the rows, by the end of the
// interval; nil if no set of whole files explains the rows.
func match(have map[int64]uint64, files []simdevice.TruthFile) []bool {
	for set := range 1 << len(files) {
		want := map[int64]uint64{}
		there := make([]bool, len(files))
		for k, f := range files {
			if there[k] = set>>k&1 == 1; !there[k] {
				continue
			}
			for _, end := range f.Ends {
				want[end.UnixMicro()] += f.Records / uint64(len(f.Ends))
			}
		}
		if maps.Equal(want, have) {
			return there
		}
	}
	return nil
}

func describe(files []simdevice.TruthFile) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "%d records in %d intervals to %v (%s); ", f.Records, len(f.Ends), f.Ends[len(f.Ends)-1], f.Cause)
	}
	return b.String()
}

// explain says why a file is not in the dataset.
func (p *proofFleet) explain(v *verdict, d *simdevice.Device, f simdevice.TruthFile, rows []ledger.Row, visits []ledger.Visit) {
	p.t.Helper()
	broken := slices.ContainsFunc(rows, func(r ledger.Row) bool { return r.State == ledger.Lost || r.State == ledger.Quarantined })
	switch {
	case f.Sealed.IsZero():
		v.never++
	case broken:
		v.named++
	case f.Gone.IsZero():
		p.t.Errorf("%s: %s is on the device and not here, and the ledger has %v", d.Name(), f.Name, rows)
	default:
		v.unseen++
		for _, seen := range visits {
			if seen.Good && !seen.Began.Before(f.Sealed.Add(p.lag)) && !seen.Ended.After(f.Gone) {
				p.t.Errorf("%s: %s was on the device from %v to %v (%s), the visit from %v to %v was good, and it is not here; the ledger has %v",
					d.Name(), f.Name, f.Sealed, f.Gone, f.Cause, seen.Began, seen.Ended, rows)
			}
		}
	}
}

// records is what to select the rows of all record tables from. The usage tables
// that the service makes beside them are no records.
func (p *proofFleet) records() string {
	return fmt.Sprintf("(select * from read_parquet('%s/*/v1/date=*/*.parquet', hive_partitioning=true, union_by_name=true, filename=true) where not contains(filename, '-usage/'))",
		filepath.Join(p.data, "dataset"))
}

// dataset counts the rows by device, file and end of the interval.
func (p *proofFleet) dataset() map[[2]string]map[int64]uint64 {
	p.t.Helper()
	all := map[[2]string]map[int64]uint64{}
	from := p.records()
	for _, row := range duck(p.t, "select device, source_file, epoch_us(interval_end), count(*) from "+from+" group by all") {
		k := [2]string{row[0], row[1]}
		if all[k] == nil {
			all[k] = map[int64]uint64{}
		}
		end, err := strconv.ParseInt(row[2], 10, 64)
		check(p.t, err)
		n, err := strconv.ParseUint(row[3], 10, 64)
		check(p.t, err)
		all[k][end] = n
	}
	return all
}

// counters compares the sums of all counters.
func (p *proofFleet) counters(want policy.Truth) {
	p.t.Helper()
	from := p.records()
	columns := slices.Sorted(maps.Keys(want.Sums))
	query := "select count(*)"
	for _, c := range columns {
		query += ", coalesce(sum(" + c + "), 0)::varchar"
	}
	got := duck(p.t, query+" from "+from)[0]
	if got[0] != fmt.Sprint(want.Records) {
		p.t.Errorf("the dataset has %s records, want %d", got[0], want.Records)
	}
	for i, c := range columns {
		if got[i+1] != fmt.Sprint(want.Sums[c]) {
			p.t.Errorf("the sum of %s is %s, want %d", c, got[i+1], want.Sums[c])
		}
	}
}

// told are the rows of the ledger by device and name, and its visits by device.
// Nobody holds anything any more.
func (p *proofFleet) told(l *ledger.Ledger) (map[[2]string][]ledger.Row, map[string][]ledger.Visit) {
	p.t.Helper()
	check(p.t, l.Check(p.t.Context()))
	all, visits := map[[2]string][]ledger.Row{}, map[string][]ledger.Visit{}
	devices, err := l.DeviceStates(p.t.Context(), -1)
	check(p.t, err)
	for _, d := range devices {
		if d.Owner != "" {
			p.t.Errorf("%s is still held by %s", d.Device, d.Owner)
		}
	}
	for i := range p.fleet.Len() {
		name := p.fleet.Device(i).Name()
		for v, err := range l.Visits(p.t.Context(), name, p.began.Add(-time.Hour), p.fleet.Now().Add(time.Hour)) {
			check(p.t, err)
			visits[name] = append(visits[name], v)
		}
		if len(visits[name]) == 0 {
			p.t.Errorf("%s: no visit is known", name)
		}
	}
	for row, err := range l.Files(p.t.Context(), "") {
		check(p.t, err)
		k := [2]string{row.Device, row.Name}
		all[k] = append(all[k], row)
		if row.Owner != "" {
			p.t.Errorf("%s: %s is still held by %s", row.Device, row.Name, row.Owner)
		}
	}
	return all, visits
}

// ledger is where the ledger of the nodes is.
func (p *proofFleet) ledger() string {
	if p.database != "" {
		return p.database
	}
	return filepath.Join(p.data, "ledger.db")
}
