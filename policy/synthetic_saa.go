package policy

import "acctpull/record"

// run is one run of an SAA test: probes that were sent and answered, and how
// long they took, in microseconds.
type run struct {
	index, sent, answered         uint64
	least, most, average, squares uint64 // round trip
	leastOut, mostOut, averageOut uint64 // on the way out
	mode, result                  string
}

// testModes and results of made-up tests. No public document lists the texts
// that a device writes; these are the agent's own.
var testModes = [...]string{"icmp-ping", "lsp-ping", "sdp-ping", "cpe-ping"}

const (
	runSuccess = "success"
	runPartial = "partial"
	runFailed  = "failed"
)

// run returns the last run of the test before a moment; runs count from 1.
func (g generator) run(at moment) run {
	r := run{index: at.slot + 1, sent: 5 + g.hash%6, mode: testModes[g.hash>>8%uint64(len(testModes))]}
	h := mix(g.hash + r.index)
	r.answered = r.sent
	switch {
	case g.idle: // the far end does not answer
		r.answered = 0
	case h%16 == 0: // some probes are lost
		r.answered -= 1 + h>>8%r.sent
	}
	switch r.answered {
	case 0:
		r.result = runFailed
		return r
	case r.sent:
		r.result = runSuccess
	default:
		r.result = runPartial
	}
	var sum, sumOut uint64
	for i := range r.answered {
		trip := 500 + g.hash>>16%20000 + mix(h+i)%1000
		out := trip/2 - mix(h-i)%200
		sum, sumOut, r.squares = sum+trip, sumOut+out, r.squares+trip*trip
		r.most, r.mostOut = max(r.most, trip), max(r.mostOut, out)
		if i == 0 {
			r.least, r.leastOut = trip, out
		}
		r.least, r.leastOut = min(r.least, trip), min(r.leastOut, out)
	}
	r.average, r.averageOut = sum/r.answered, sumOut/r.answered
	return r
}

// fill fills in what a row has of the run. Times of a run without an answer
// are absent: there is nothing that took them.
func (r run) fill(rec *record.Record) {
	for i := range rec.Set.Fields {
		v := &rec.Values[i]
		switch rec.Set.Fields[i].Abbrev {
		case "tmd":
			*v = record.Str(r.mode)
		case "rid":
			*v = record.Num(r.index)
		case "trr":
			*v = record.Str(r.result)
		case "spb":
			*v = record.Num(r.sent)
		case "pbr":
			*v = record.Num(r.answered)
		default:
			if n, ok := r.time(rec.Set.Fields[i].Abbrev); ok && r.answered > 0 {
				*v = record.Num(n)
			}
		}
	}
}

// time returns one of the times of the run, by the name of its field.
func (r run) time(field string) (uint64, bool) {
	switch field {
	case "mnr":
		return r.least, true
	case "mxr":
		return r.most, true
	case "avr":
		return r.average, true
	case "rss":
		return r.squares, true
	case "mnt":
		return r.leastOut, true
	case "mxt":
		return r.mostOut, true
	case "avt":
		return r.averageOut, true
	}
	return 0, false
}
