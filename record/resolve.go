package record

import (
	"strings"
)

// ctxKind is what a name can mean besides a field: something that holds for
// every record inside the element it stands on.
type ctxKind uint8

const (
	noContext ctxKind = iota
	ctxEnd            // end of the collection interval
	ctxTime           // a time that is the end of the interval if nothing else is
	ctxStart
	ctxFinal
	ctxPolicy
	ctxRecord
	ctxSub
	ctxScope // scope and counter mode of a row whose fields do not tell them
	ctxMode
	ctxFile // from here on: of the file, not of rows
	ctxCreated
	ctxInterval
	ctxSemantics
	ctxSystem
	ctxSoftware
	ctxZone
	ctxDescription
	ctxReason
	ctxVersion
	contexts
)

// spellings are the built-in names of each context, compared without regard to
// case, hyphens and underscores. A profile adds to them.
var spellings = [contexts][]string{
	ctxEnd:         {"end", "intervalend", "endtime", "periodend", "endts"},
	ctxTime:        {"timestamp", "time", "collectiontime", "collectedat"},
	ctxStart:       {"start", "intervalstart", "starttime", "periodstart", "startts", "begin", "begintime"},
	ctxFinal:       {"final", "finalcount"},
	ctxPolicy:      {"policy", "policyid", "accountingpolicy", "accountingpolicyid", "acctpolicy", "acctpolicyid"},
	ctxRecord:      {"record", "recordname", "accountingrecord", "statrecord"},
	ctxSub:         {"sub", "subrecord", "subrecordname"},
	ctxScope:       {"scope"},
	ctxMode:        {"mode", "countermode"},
	ctxFile:        {"file", "fileid"},
	ctxCreated:     {"created", "creationtime", "createdat", "opened", "opentime", "openedat"},
	ctxInterval:    {"interval", "collectioninterval"},
	ctxSemantics:   {"semantics"},
	ctxSystem:      {"system", "systemname", "sysname", "host", "hostname", "router", "node"},
	ctxSoftware:    {"software", "softwareversion"},
	ctxZone:        {"zone", "timezone"},
	ctxDescription: {"description", "desc"},
	ctxReason:      {"reason"},
	ctxVersion:     {"version"},
}

// keySpellings are the long names of object keys, compared in the same way. The
// abbreviations themselves come from the catalogue and are case-sensitive.
var keySpellings = map[string][]string{
	"svc":    {"service", "svcid", "serviceid"},
	"sap":    {"sapid"},
	"port":   {"portid"},
	"mId":    {"meter", "meterid"},
	"qid":    {"queue", "queueid"},
	"sdp":    {"sdpid"},
	"ifName": {"interface", "interfacename", "ifname"},
	"pid":    {"policer", "policerid"},
}

// Names with a role of their own, compared in the same way.
var (
	// headerSpellings: the content of such an element belongs to its parent.
	headerSpellings = []string{"header", "hdr", "head", "recordheader", "fileheader", "key", "keys", "identity"}
	// identSpellings: on an element that is named after a key, its value.
	identSpellings = []string{"id", "name", "value", "no", "number", "nr"}
	// subSpellings: may give the sub-record or record name, if it is known.
	subSpellings = []string{"type", "name", "kind"}
	// nameSpellings and valueSpellings: the halves of a name/value pair.
	nameSpellings  = []string{"name", "n", "key", "k", "id", "field", "counter"}
	valueSpellings = []string{"value", "v", "val"}
)

// foreignRoots are elements of 3GPP TS 32.435 measurement files, which the same
// devices write with the same configuration objects.
var foreignRoots = []string{"measCollecFile", "measData", "measInfo", "measValue"}

// word is all that one name of an element or attribute can mean. Words are
// compared by pointer; words of one field share canon.
type word struct {
	name  string // as it stands in the file
	field *fieldWord
	ctx   ctxKind
	sub   string // it is the name of this sub-record
	def   *Definition

	header, ident, subName, pairName, pairValue, foreign bool
	composite                                            bool // it begins a field name of two words: "data" of "data name"
	profiled                                             bool // a profile gives its meaning, and there is no other

	count int // occurrences as an unknown field in this file
}

// known tells whether the name means anything.
func (w *word) known() bool {
	return w.field != nil || w.ctx != noContext || w.sub != "" || w.def != nil
}

// fieldWord is a field of the catalogue or of the profile.
type fieldWord struct {
	id     int // counts from 0
	abbrev string
	role   Role
	key    int  // index among the object keys, -1 if none
	extra  bool // known from the profile only, so it goes to Record.Unknown
}

// squash makes spellings comparable.
var squasher = strings.NewReplacer("-", "", "_", "", ".", "")

func squash(s string) string { return squasher.Replace(strings.ToLower(s)) }

// maxKeys is how many object keys the masks have room for; the upper bits stand
// for the contexts that rows inherit.
const maxKeys = 48

// bit returns the mask bit of an inherited context, 0 for the others.
func (c ctxKind) bit() uint64 {
	if c == noContext || c > ctxSub {
		return 0
	}
	if c == ctxTime {
		c = ctxEnd
	}
	return 1 << (maxKeys + uint(c))
}

// lexicon holds the words of a catalogue and, if there is one, a profile. It
// does not change once it is made.
type lexicon struct {
	static   map[string]*word // exact names
	squashed map[string]*word // spellings
	keys     []*fieldWord
	fields   map[string]*fieldWord // by abbreviation
}

// vocabulary holds the words of one Reader: its lexicon, and the names it met.
type vocabulary struct {
	*lexicon
	cat     *Catalogue
	profile *Profile
	dynamic map[string]*word // every name met, bounded
	touched []*word          // words with a count
	others  int              // unknown fields beyond those
}

// maxWords bounds the names that are remembered; a file with more of them is no
// accounting file, and still does not fill the memory.
const maxWords = 4096

func newVocabulary(cat *Catalogue, p *Profile) *vocabulary {
	v := &vocabulary{cat: cat, profile: p, dynamic: map[string]*word{}}
	if p == nil && cat.lexicon != nil {
		v.lexicon = cat.lexicon()
		return v
	}
	v.lexicon = newLexicon(cat)
	if p != nil {
		p.extend(v.lexicon)
	}
	return v
}

func newLexicon(cat *Catalogue) *lexicon {
	v := &lexicon{static: map[string]*word{}, squashed: map[string]*word{}, fields: map[string]*fieldWord{}}
	for _, d := range cat.Definitions() {
		for _, s := range d.RowSets {
			if s.Sub != "" {
				v.exact(s.Sub).sub = s.Sub
			}
			for i := range s.Fields {
				v.addField(s.Fields[i].Abbrev, s.Fields[i].Role, false)
			}
		}
	}
	for c, names := range spellings {
		for _, n := range names {
			v.loose(n).ctx = ctxKind(c)
		}
	}
	for abbrev, names := range keySpellings {
		for _, n := range names {
			v.loose(n).field = v.fields[abbrev]
		}
	}
	for names, set := range map[*[]string]func(*word){
		&headerSpellings: func(w *word) { w.header = true },
		&identSpellings:  func(w *word) { w.ident = true },
		&subSpellings:    func(w *word) { w.subName = true },
		&nameSpellings:   func(w *word) { w.pairName = true },
		&valueSpellings:  func(w *word) { w.pairValue = true },
	} {
		for _, n := range *names {
			set(v.loose(n))
		}
	}
	for _, n := range foreignRoots {
		v.exact(n).foreign = true
	}
	return v
}

func (v *lexicon) addField(abbrev string, role Role, extra bool) *fieldWord {
	f, ok := v.fields[abbrev]
	if !ok {
		f = &fieldWord{id: len(v.fields), abbrev: abbrev, role: role, key: -1, extra: extra}
		if role == Key && len(v.keys) < maxKeys {
			f.key = len(v.keys)
			v.keys = append(v.keys, f)
		}
		v.fields[abbrev] = f
	}
	v.exact(abbrev).field = f
	if first, _, two := strings.Cut(abbrev, " "); two {
		v.exact(first).composite = true
	}
	return f
}

// exact returns the word of a name that is compared as it is.
func (v *lexicon) exact(name string) *word {
	w, ok := v.static[name]
	if !ok {
		w = &word{name: name}
		v.static[name] = w
	}
	return w
}

// loose returns the word of a spelling.
func (v *lexicon) loose(name string) *word {
	w, ok := v.squashed[squash(name)]
	if !ok {
		w = &word{name: name}
		v.squashed[squash(name)] = w
	}
	return w
}

// lookup returns the word of a local name.
func (v *vocabulary) lookup(name []byte) *word {
	if w, ok := v.dynamic[string(name)]; ok {
		return w
	}
	if len(v.dynamic) >= maxWords {
		clear(v.dynamic)
	}
	w := v.learn(string(name))
	v.dynamic[w.name] = w
	return w
}

// learn joins what a name means exactly with what its spelling means. An exact
// field wins over a context: a catalogue that calls a counter "time" is right.
func (v *vocabulary) learn(name string) *word {
	w := &word{name: name}
	e, ok := v.static[name]
	if ok && e.profiled {
		*w = *e
		w.name = name
		return w
	}
	if s, ok := v.squashed[squash(name)]; ok {
		*w = *s
		w.name = name
	}
	if ok {
		if e.field != nil {
			w.field, w.ctx = e.field, noContext
		}
		w.sub, w.composite, w.foreign = e.sub, e.composite, e.foreign
	}
	if d, ok := v.record(name); ok {
		w.def = d
	}
	return w
}

// record finds a record name, as the profile or the catalogue spells it.
func (v *vocabulary) record(name string) (*Definition, bool) {
	if v.profile != nil {
		if n, ok := v.profile.Records[name]; ok {
			return v.cat.Lookup(n)
		}
	}
	return v.cat.Lookup(Name(name))
}

// subRecord finds a sub-record name, as the profile or the catalogue spells it.
func (v *vocabulary) subRecord(name []byte) string {
	if w, ok := v.static[string(name)]; ok {
		return w.sub
	}
	return ""
}

// namesMeasure tells whether the text is the name of a counter or info.
func (v *vocabulary) namesMeasure(text []byte) bool {
	w, ok := v.static[string(text)]
	return ok && w.field != nil && w.field.role != Key
}

// namesRows tells whether the text is the name of a sub-record or record.
func (v *vocabulary) namesRows(text []byte) bool {
	if v.subRecord(text) != "" {
		return true
	}
	_, ok := v.record(string(text))
	return ok
}

// composed returns the field whose name has two words, such as "data name".
func (v *vocabulary) composed(a, b *word) *word {
	name := a.name + " " + b.name
	if w, ok := v.static[name]; ok && w.field != nil {
		return v.lookup([]byte(name))
	}
	return nil
}

// countUnknown notes a field that means nothing to us.
func (v *vocabulary) countUnknown(w *word) {
	const most = 1000
	if w.count == 0 {
		if len(v.touched) == most {
			v.others++
			return
		}
		v.touched = append(v.touched, w)
	}
	w.count++
}

func (v *vocabulary) resetCounts() {
	for _, w := range v.touched {
		w.count = 0
	}
	v.touched, v.others = v.touched[:0], 0
}

// otherUnknown is the name under which Stats counts unknown names beyond the
// first thousand.
const otherUnknown = "…"

func (v *vocabulary) unknown() map[string]int {
	m := make(map[string]int, len(v.touched))
	for _, w := range v.touched {
		m[w.name] += w.count
	}
	if v.others > 0 {
		m[otherUnknown] = v.others
	}
	return m
}
