package policy

import (
	"slices"

	"acctpull/record"
)

// part says which share of the traffic a counter counts.
type part uint8

const (
	offered part = iota
	forwarded
	dropped
	inForwarded // in-profile forwarded
	outForwarded
	inDropped
	outDropped
)

// meaning is what a counter of a record counts.
type meaning struct {
	part   part
	octets bool // else packets
}

// meanings of the counters of the agent's records. The letters are those of the
// 7210 SAS: on SR OS ioo and ipo mean something else, and the agent writes no
// SR OS records.
var meanings = map[string]meaning{
	"ioo": {offered, true}, "ipo": {offered, false},
	"eof": {forwarded, true}, "epf": {forwarded, false},
	"of": {forwarded, true}, "pf": {forwarded, false}, "od": {dropped, true}, "pd": {dropped, false},
	"tof": {forwarded, true}, "tpf": {forwarded, false}, "tod": {dropped, true}, "tpd": {dropped, false},
	"iof": {inForwarded, true}, "ipf": {inForwarded, false}, "iod": {inDropped, true}, "ipd": {inDropped, false},
	"oof": {outForwarded, true}, "opf": {outForwarded, false}, "ood": {outDropped, true}, "opd": {outDropped, false},
}

// egressSubs are the sub-records that count what leaves; all others count what
// comes in.
var egressSubs = map[string]bool{
	"seo": true, "sep": true, "cpSepo": true, "aeo": true, "aep": true, "neo": true, "nep": true,
	"cmNeo": true, "cmNepo": true, "cmSdpepo": true, "cpSdpepo": true,
}

// keyField says what a key of a record holds.
type keyField uint8

const (
	noKey keyField = iota
	keyID
	keyService
	keyMember // number of the meter or queue
	keyOwner  // of an SAA test
	keyRun    // number of the run of an SAA test
)

var keyFields = map[string]keyField{
	"sap": keyID, "pId": keyID, "port": keyID, "ifName": keyID, "sdp": keyID,
	"svc": keyService, "mId": keyMember, "qid": keyMember,
	"tst": keyID, "own": keyOwner, "rid": keyRun,
}

// scope says how many rows of a row set an object has.
type scope uint8

const (
	perObject scope = iota + 1
	perBinding
	perMeter
	perEgressMeter
	perQueue
)

var scopes = map[string]scope{
	"per SAP": perObject, "per SDP": perObject, "per port": perObject, "per interface": perObject,
	"per test": perObject, "per run": perObject,
	"per SDP binding": perBinding, "per meter": perMeter, "per SAP egress meter": perEgressMeter, "per queue": perQueue,
}

// row is a row set as a source fills it.
type row struct {
	set    *record.RowSet
	scope  scope
	egress bool
	fields []rowField // one per field of the set
}

// rowField is a field of a row: a key, a counter, or (both unset) something the
// agent cannot know.
type rowField struct {
	key     keyField
	counter bool
	meaning meaning
}

// newRow returns the row of a set, and false if the agent does not know its
// scope or one of its keys.
func newRow(set *record.RowSet) (row, bool) {
	r := row{set: set, scope: scopes[set.Scope], egress: egressSubs[set.Sub]}
	if r.scope == 0 {
		return r, false
	}
	for i := range set.Fields {
		f := rowField{}
		switch set.Fields[i].Role {
		case record.Key:
			f.key = keyFields[set.Fields[i].Abbrev]
			if f.key == noKey {
				return r, false
			}
		case record.Counter:
			f.meaning, f.counter = meanings[set.Fields[i].Abbrev]
		}
		r.fields = append(r.fields, f)
	}
	return r, true
}

// members returns how many rows the object has. A row without a number of its
// own counts as one.
func (r *row) members(o *Object) int {
	binding := o.Type == SDP && o.Service != ""
	switch r.scope {
	case perBinding:
		return boolInt(binding)
	case perMeter:
		return o.Meters
	case perEgressMeter:
		return o.EgressMeters
	case perQueue:
		return o.Queues
	}
	return boolInt(!binding)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// numbered tells whether each row has the number of a meter or queue.
func (r *row) numbered() bool {
	return r.scope == perMeter || r.scope == perEgressMeter || r.scope == perQueue
}

// fillKeys begins a record of this row: everything but the keys is absent. A
// member of 0 leaves the number of the meter or queue absent too.
func (r *row) fillKeys(rec *record.Record, o *Object, member int) {
	rec.Reset(r.set)
	rec.Sub = r.set.Sub
	for i := range r.fields {
		switch r.fields[i].key {
		case keyID:
			rec.Values[i] = record.Str(o.ID)
		case keyService:
			rec.Values[i] = record.Str(o.Service)
		case keyOwner:
			rec.Values[i] = record.Str(o.Owner)
		case keyMember:
			if member > 0 {
				rec.Values[i] = record.Num(uint64(member))
			}
		}
	}
}

// The platforms of the catalogue whose row sets the agent writes. Those of the
// platform Linux leave out what Linux cannot know.
const platformLinux = "Linux"

var devicePlatforms = []string{"7210 SAS", "7210 SAS-Mxp"}

// deviceRows returns the rows that the 7210 SAS has of a record, in catalogue
// order.
func deviceRows(d *record.Definition) []row {
	var out []row
	for _, set := range d.RowSets {
		if !slices.ContainsFunc(devicePlatforms, func(p string) bool { return slices.Contains(set.Platforms, p) }) {
			continue
		}
		if r, ok := newRow(set); ok {
			out = append(out, r)
		}
	}
	return out
}

// semanticsOf tells what the counters of a record are that the agent reads: an
// SAA test counts the probes of one run, everything else goes on counting.
func semanticsOf(d *record.Definition) string {
	if d.PolicyType == SAA.String() {
		return record.PerInterval
	}
	return record.Cumulative
}

// syntheticRows returns the rows of objects in a counter mode. The row of an
// SAA test has no counter of its own, only its runs have.
func syntheticRows(d *record.Definition, mode CounterMode) []row {
	test := d.PolicyType == SAA.String()
	return slices.DeleteFunc(deviceRows(d), func(r row) bool {
		return r.set.CounterMode != "" && r.set.CounterMode != mode.String() || !test && !slices.ContainsFunc(r.fields, func(f rowField) bool { return f.counter })
	})
}

// recordedRows returns a row for each row set of a record, on whatever platform:
// a recording may hold any of them. They are not filled, so the agent need not
// know their fields.
func recordedRows(d *record.Definition) []row {
	var out []row
	for _, set := range d.RowSets {
		out = append(out, row{set: set, scope: scopes[set.Scope]})
	}
	return out
}

// rowFinder tells what a kind of source can collect.
type rowFinder struct{ kind string }

func newRowFinder(kind string) rowFinder { return rowFinder{kind} }

func (f rowFinder) rows(d *record.Definition) []row {
	switch f.kind {
	case SourceLinux:
		return linuxRows(d)
	case SourceSynthetic:
		return syntheticRows(d, InOutProfile)
	case SourceReplay:
		return recordedRows(d)
	}
	return nil
}

func (f rowFinder) collects(d *record.Definition) bool { return len(f.rows(d)) > 0 }

func (f rowFinder) collectsBinding(d *record.Definition) bool {
	return slices.ContainsFunc(f.rows(d), func(r row) bool { return r.scope == perBinding })
}

// why says why a record cannot be collected.
func (f rowFinder) why() string {
	if f.kind == SourceLinux {
		return "it is no record of the 7210 SAS, or one of tests, which Linux does not run"
	}
	return "it is no record of the 7210 SAS"
}
