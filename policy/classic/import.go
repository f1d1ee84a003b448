package classic

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"acctpull/policy"
)

// Import reads the text of a classic command line. Of two commands that set the
// same thing the last one wins. It never fails: what it cannot use is in the
// Result.
func Import(text []byte, o Options) *Result {
	p := &importer{
		o: o, files: map[int]*fileID{}, policies: map[int]*accountingPolicy{}, objects: map[objectKey]*object{},
		ports: map[string]*ethernet{}, logs: map[string]*eventLog{},
	}
	p.stack = []frame{{kind: inRoot, indent: -1}}
	lines := lex(string(text))
	var said []*line
	for i := range lines {
		if l := &lines[i]; l.words != nil || l.prompt != "" {
			said = append(said, l)
		}
	}
	for i, l := range said {
		p.next = nil
		if i+1 < len(said) {
			p.next = said[i+1]
		}
		p.line(l)
	}
	return p.result(len(lines))
}

// kind is the kind of a context.
type kind uint8

const (
	inRoot      kind = iota // configure
	inLeft                  // a block that is left out
	inSystem                // system
	inLog                   // log
	inFile                  // file-id
	inPolicy                // accounting-policy
	inEvents                // log-id
	inServices              // service
	inService               // vpls, epipe, ies, vprn …
	inInterface             // interface of an ies or vprn
	inRouter                // router
	inSAA                   // saa
	inPort                  // port
	inEthernet              // port ethernet
	inObject                // whatever has counters
	inStats                 // ingress, egress and statistics of an object
)

// frame is one context that is open.
type frame struct {
	kind     kind
	indent   int
	why      Why  // of a block that is left out
	block    int  // the line that began it
	flat     bool // its lines stand no deeper than its head
	service  string
	port     string
	file     *fileID
	policy   *accountingPolicy
	log      *eventLog
	object   *object
	ethernet *ethernet
}

type fileID struct {
	policy.FileID
	lines []Line // those that belong to it
}

type accountingPolicy struct {
	policy.AccountingPolicy
	toLine int
}

// eventLog is a log-id; only the file it writes to matters.
type eventLog struct {
	id           string
	file, toLine int
}

// ethernet are settings of a port whose type shows only at the end.
type ethernet struct {
	mode   string
	direct object
	first  line // the first of its accounting commands
}

// objectKey is the identity of an object; in is its service or its owner.
type objectKey struct {
	t      policy.Type
	id, in string
}

// object is an object with what the text says of it so far.
type object struct {
	policy.Object
	collect bool // collect-stats or its opposite was given
	named   bool // any accounting command was
	mode    line // that of its counter-mode
	port    string
}

// place returns the port, or port and tags, at which an object is counted, ""
// if the text does not tell.
func (o *object) place() string {
	switch o.Type {
	case policy.Access, policy.AccessPort, policy.Network:
		return o.ID
	case policy.NetworkIf:
		return o.port
	}
	return ""
}

// importer is the state of one Import.
type importer struct {
	o        Options
	stack    []frame
	next     *line // the next one that says something, or nil
	files    map[int]*fileID
	policies map[int]*accountingPolicy
	objects  map[objectKey]*object
	ports    map[string]*ethernet
	logs     map[string]*eventLog
	system   string
	sysLine  line
	left     []Line
}

func (p *importer) top() *frame { return &p.stack[len(p.stack)-1] }

// leave notes a line that is not in the Config.
func (p *importer) leave(l *line, why Why, note string) {
	p.left = append(p.left, Line{Number: l.number, Text: bounded(l.text), Why: why, Note: note, Block: l.number})
}

func bounded(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// line reads one line.
func (p *importer) line(l *line) {
	if l.prompt != "" {
		p.prompt(l.prompt)
	}
	if len(l.words) == 0 {
		return
	}
	for p.top().indent > l.indent {
		p.pop()
	}
	words := l.words
	if words[0].is("exit") || words[0].is("back") && len(words) == 1 {
		p.exit(l)
		return
	}
	for f := p.top(); f.kind == inLeft && !f.flat && l.indent <= f.indent; f = p.top() {
		p.pop()
	}
	start := len(p.stack)
	if f := p.top(); f.kind == inLeft {
		p.left = append(p.left, Line{Number: l.number, Text: bounded(l.text), Why: f.why, Block: f.block})
		if p.opens(l) {
			p.push(l, frame{kind: inLeft, why: f.why, block: f.block, flat: p.next.indent == l.indent && !p.next.words[0].is("exit")})
		}
		return
	}
	if words[0].text == "/" || words[0].is("/configure") {
		words = words[1:]
		p.stack = append(p.stack, frame{kind: inRoot, indent: l.indent})
	}
	p.words(l, words, start)
}

// words executes the words of a line: contexts, and what stands behind them.
// Contexts of a line that goes on behind them are closed again at its end, as
// on the device.
func (p *importer) words(l *line, words []word, start int) {
	for len(words) > 0 {
		no := words[0].is("no")
		if no {
			words = words[1:]
		}
		rest, opened, problem := p.command(l, words, no)
		if problem != nil {
			p.leave(l, problem.why, problem.note)
			p.stack = p.stack[:start]
			if p.opens(l) {
				p.push(l, frame{kind: inLeft, why: problem.why, block: l.number, flat: p.next.indent == l.indent && !p.next.words[0].is("exit")})
			}
			return
		}
		if !opened {
			p.stack = p.stack[:start]
			return
		}
		words = rest
	}
	// Only the last context of the line stays open: "exit" returns to where the
	// line began.
	if n := len(p.stack); n-1 > start {
		p.stack = append(p.stack[:start], p.stack[n-1])
	}
}

// opens tells whether a line that was not understood began a block: the next
// line stands deeper, or is the exit of an empty one.
func (p *importer) opens(l *line) bool {
	n := p.next
	if n == nil || n.prompt != "" || l.words[0].is("...") {
		return false
	}
	if n.indent > l.indent {
		return true
	}
	exits := len(n.words) == 1 && n.words[0].is("exit") && n.indent == l.indent
	return exits && l.indent > p.top().indent || l.words[len(l.words)-1].is("create") && n.indent == l.indent
}

func (p *importer) push(l *line, f frame) {
	f.indent = l.indent
	p.stack = append(p.stack, f)
}

func (p *importer) pop() {
	if len(p.stack) > 1 {
		p.stack = p.stack[:len(p.stack)-1]
	}
}

// exit closes the innermost context; "exit all" closes every one.
func (p *importer) exit(l *line) {
	if len(l.words) > 1 && l.words[1].is("all") {
		p.stack = p.stack[:1]
		return
	}
	if len(p.stack) == 1 {
		p.leave(l, NotUnderstood, "no context is open")
		return
	}
	p.pop()
}

// prompt follows the prompt of a session to the contexts that have no number.
// Deeper ones were opened by commands in the text, or are not known.
func (p *importer) prompt(path string) {
	root := frame{kind: inRoot, indent: -1}
	switch {
	case path == ">" || !strings.HasPrefix(path+">", "config"):
		p.stack = []frame{root}
	case strings.Count(path, ">") == 0:
		p.stack = []frame{root, {kind: inRoot, indent: -1}}
	case strings.Count(path, ">") == 1:
		k, ok := map[string]kind{"log": inLog, "service": inServices, "router": inRouter, "system": inSystem}[strings.Split(path, ">")[1]]
		if ok {
			p.stack = []frame{root, {kind: k, indent: -1}}
		}
	}
}

// result puts together what was read.
func (p *importer) result(lines int) *Result {
	r := &Result{Lines: lines}
	p.resolvePorts()
	p.conflicts(r)
	p.config(&r.Config)
	slices.SortStableFunc(p.left, func(a, b Line) int { return cmp.Compare(a.Number, b.Number) })
	// A line that was left out by itself stands before the file-id it is in.
	r.Left = slices.CompactFunc(p.left, func(a, b Line) bool { return a.Number == b.Number })
	return r
}

// config puts together the Config, in order.
func (p *importer) config(c *policy.Config) {
	for _, f := range p.files {
		if !p.onlyEvents(f) {
			c.FileIDs = append(c.FileIDs, f.FileID)
		}
	}
	slices.SortFunc(c.FileIDs, func(a, b policy.FileID) int { return cmp.Compare(a.ID, b.ID) })
	for _, a := range p.policies {
		c.Policies = append(c.Policies, a.AccountingPolicy)
		if a.IncludeSystemInfo {
			c.System = p.system
		}
	}
	slices.SortFunc(c.Policies, func(a, b policy.AccountingPolicy) int { return cmp.Compare(a.ID, b.ID) })
	if p.system != "" && c.System == "" {
		p.leave(&p.sysLine, NoMeaning, "no policy has include-system-info")
	}
	for _, o := range p.objects {
		byDefault := o.Type == policy.Access && p.o.CollectStats
		if !o.named && !byDefault || o.Type == policy.SAA && o.Policy == 0 {
			if o.mode.number > 0 {
				p.leave(&o.mode, NoMeaning, "no statistics of "+bounded(o.String())+" are collected")
			}
			continue
		}
		if !o.collect && o.Type != policy.SAA {
			o.CollectStats = byDefault
		}
		o.Link = p.o.link(o.place())
		c.Objects = append(c.Objects, o.Object)
	}
	slices.SortFunc(c.Objects, compareObjects)
}

// onlyEvents tells whether a file-id serves event logs and no policy, and if so
// says that its lines have no meaning here.
func (p *importer) onlyEvents(f *fileID) bool {
	for _, a := range p.policies {
		if int(a.To) == f.ID {
			return false
		}
	}
	for _, l := range p.logs {
		if l.file == f.ID {
			for _, line := range f.lines {
				line.Why, line.Note = NoMeaning, fmt.Sprintf("file-id %d serves log-id %s, in line %d", f.ID, bounded(l.id), l.toLine)
				p.left = append(p.left, line)
			}
			return true
		}
	}
	return false
}

// conflicts finds the file-ids that serve more than one log or policy, as far
// as event logs are concerned; policy.New finds the others.
func (p *importer) conflicts(r *Result) {
	type use struct {
		name       string
		file, line int
	}
	var uses []use
	for _, l := range p.logs {
		if l.file != 0 {
			uses = append(uses, use{"log-id " + bounded(l.id), l.file, l.toLine})
		}
	}
	logs := len(uses)
	for _, a := range p.policies {
		if a.To > 0 {
			uses = append(uses, use{fmt.Sprintf("accounting-policy %d", a.ID), int(a.To), a.toLine})
		}
	}
	for i, log := range uses[:logs] {
		for _, other := range uses[i+1:] {
			if other.file != log.file {
				continue
			}
			first, second := log, other
			if second.line < first.line {
				first, second = second, first
			}
			r.Conflicts = append(r.Conflicts, policy.Violation{
				Rule: policy.RuleFileShared, Line: second.line, Subject: second.name, Other: first.name, OtherLine: first.line,
				Text: fmt.Sprintf("file %d is that of %s already; a file-id serves one log or one policy", log.file, first.name),
			})
		}
	}
	slices.SortFunc(r.Conflicts, func(a, b policy.Violation) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.OtherLine, b.OtherLine))
	})
}

// compareObjects orders objects by type, service, owner and id.
func compareObjects(a, b policy.Object) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), natural(a.Service, b.Service), natural(a.Owner, b.Owner), natural(a.ID, b.ID))
}

// natural compares texts with the numbers in them as numbers: 1/1/2 before
// 1/1/10. Only equal texts compare as equal.
func natural(a, b string) int {
	for x, y := a, b; ; {
		if x == "" || y == "" {
			return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
		}
		m, n := digits(x), digits(y)
		if m > 0 && n > 0 {
			i, j := strings.TrimLeft(x[:m], "0"), strings.TrimLeft(y[:n], "0")
			if c := cmp.Or(cmp.Compare(len(i), len(j)), strings.Compare(i, j)); c != 0 {
				return c
			}
			x, y = x[m:], y[n:]
			continue
		}
		if x[0] != y[0] {
			return cmp.Compare(x[0], y[0])
		}
		x, y = x[1:], y[1:]
	}
}

// digits tells with how many digits a text begins.
func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// number reads a whole number from 1, which is not far above any limit.
func number(w word) (int, bool) {
	if len(w.text) > 6 || digits(w.text) != len(w.text) {
		return 0, false
	}
	n, err := strconv.Atoi(w.text)
	return n, err == nil && n > 0
}
