package record

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"
)

// ShapeNode is an element, an attribute or a name/value pair at one place of
// the tree, and how often it occurs there.
type ShapeNode struct {
	Name     string       `json:"name"` // "sio"; "@end" for an attribute; "f[name=iof]" for a pair
	Count    int64        `json:"count"`
	Meaning  string       `json:"meaning,omitempty"` // what the reader takes it for; "" if nothing
	Examples []string     `json:"examples,omitempty"`
	Children []*ShapeNode `json:"children,omitempty"`

	kind   nodeKind
	name   string // without decoration
	values int64  // occurrences that carry a value
	digits int64  // values that are decimal numbers
	times  int64  // values that are times, in a form that is no number
	index  map[string]*ShapeNode
}

type nodeKind uint8

const (
	elementNode nodeKind = iota
	attributeNode
	pairNode
)

const (
	maxNodes    = 5000
	maxExamples = 3
)

// looks says what the values of the node look like.
func (n *ShapeNode) looks() string {
	switch {
	case n.values > 0 && n.digits == n.values:
		return "number"
	case n.values > 0 && n.times == n.values:
		return "time"
	}
	return "text"
}

// treeBuilder merges the elements of all files into one tree.
type treeBuilder struct {
	v     *vocabulary
	roots []*ShapeNode
	nodes int
}

// open is an element that the builder is inside of.
type openNode struct {
	node  *ShapeNode
	text  []byte
	child bool
}

// child finds or makes a child of n (a root if n is nil). It returns nil if
// there are too many nodes.
func (t *treeBuilder) child(n *ShapeNode, kind nodeKind, key, name string) *ShapeNode {
	if n == nil {
		for _, r := range t.roots {
			if r.Name == key {
				return r
			}
		}
	} else if c, ok := n.index[key]; ok {
		return c
	}
	if t.nodes >= maxNodes {
		return nil
	}
	t.nodes++
	c := &ShapeNode{Name: key, name: name, kind: kind, index: map[string]*ShapeNode{}}
	if n == nil {
		t.roots = append(t.roots, c)
		return c
	}
	n.index[key] = c
	n.Children = append(n.Children, c)
	return c
}

// value notes a value of a node.
func (n *ShapeNode) value(text []byte) {
	if n == nil {
		return
	}
	n.values++
	if _, ok := parseUint(text); ok {
		n.digits++
	} else if len(text) <= 64 {
		if _, ok := parseTimeText(strings.TrimSpace(string(text)), time.UTC); ok {
			n.times++
		}
	}
	if example := bounded(string(text[:min(len(text), 64)])); len(n.Examples) < maxExamples && !slices.Contains(n.Examples, example) {
		n.Examples = append(n.Examples, example)
	}
}

// shapeOf adds one file to the tree. It stops without an error after as much as
// is worth looking at.
func (in *inspection) shapeOf(ctx context.Context, src io.Reader, zipped bool, name string) error {
	var s scanner
	if zipped {
		var gz gzipReader
		gz.reset(src, &in.r.lim)
		src = &gz
	}
	s.reset(src, name, &in.r.lim)
	var stack []openNode
	for n := 0; s.base < shapeBytes; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		kind, err := s.next()
		if err != nil {
			return err
		}
		switch kind {
		case tokenStart:
			stack = append(stack, in.tree.start(&s, stack))
		case tokenText:
			top := &stack[len(stack)-1]
			if len(top.text)+len(s.text) <= s.lim.TextBytes {
				top.text = append(top.text, s.text...)
			}
		case tokenEnd:
			in.tree.end(stack)
			stack = stack[:len(stack)-1]
		case tokenEOF:
			return nil
		}
	}
	return nil
}

// start notes a start tag and its attributes.
func (t *treeBuilder) start(s *scanner, stack []openNode) openNode {
	var parent *ShapeNode
	if n := len(stack); n > 0 {
		stack[n-1].child = true
		if parent = stack[n-1].node; parent == nil {
			return openNode{} // beyond the bound
		}
	}
	name := string(s.elem.local)
	w := t.v.lookup(s.elem.local)
	pairName, pairValue := -1, -1
	for i := range s.attrs {
		aw := t.v.lookup(s.attrs[i].name.local)
		switch {
		case aw.pairName && aw.field == nil && pairName < 0 && len(s.attrs[i].value) <= 256:
			pairName = i
		case aw.pairValue && pairValue < 0:
			pairValue = i
		}
	}
	if pairName >= 0 && (pairValue >= 0 || len(s.attrs) == 1 && t.isField(s.attrs[pairName].value)) && !w.known() && parent != nil {
		return t.pair(s, parent, name, pairName, pairValue)
	}
	node := t.child(parent, elementNode, name, name)
	if node == nil {
		return openNode{}
	}
	node.Count++
	if node.Meaning == "" {
		node.Meaning = w.meaning()
	}
	for i := range s.attrs {
		if a := &s.attrs[i]; !a.infrastructure() {
			t.attribute(node, w, a)
		}
	}
	return openNode{node: node}
}

func (t *treeBuilder) isField(name []byte) bool {
	w, ok := t.v.static[string(name)]
	return ok && w.field != nil
}

func (t *treeBuilder) pair(s *scanner, parent *ShapeNode, name string, pairName, pairValue int) openNode {
	a := &s.attrs[pairName]
	key := name + "[" + string(a.name.local) + "=" + string(a.value) + "]"
	node := t.child(parent, pairNode, key, string(a.value))
	if node == nil {
		return openNode{}
	}
	node.Count++
	node.Meaning = t.v.lookup(a.value).meaning()
	if pairValue >= 0 {
		node.value(s.attrs[pairValue].value)
	}
	return openNode{node: node}
}

func (t *treeBuilder) attribute(node *ShapeNode, w *word, a *attribute) {
	name := string(a.name.local)
	c := t.child(node, attributeNode, "@"+name, name)
	if c == nil {
		return
	}
	c.Count++
	c.value(a.value)
	if c.Meaning != "" {
		return
	}
	aw := t.v.lookup(a.name.local)
	switch c.Meaning = aw.meaning(); {
	case aw.known():
	case aw.ident && w.field != nil && w.field.key >= 0:
		c.Meaning = "value of key " + w.field.abbrev
	case w.composite && t.v.composed(w, aw) != nil:
		c.Meaning = t.v.composed(w, aw).meaning()
	case aw.subName && t.v.subRecord(a.value) != "":
		c.Meaning = "sub-record name"
	}
}

// end notes the text of an element.
func (t *treeBuilder) end(stack []openNode) {
	top := &stack[len(stack)-1]
	if top.node == nil {
		return
	}
	if !top.child && (len(top.text) > 0 || top.node.kind == elementNode && len(top.node.Children) == 0) || !blank(top.text) {
		top.node.value(top.text)
	}
}

// meaning says what the reader takes a name for.
func (w *word) meaning() string {
	switch {
	case w.field != nil && w.field.key >= 0:
		return "key " + w.field.abbrev
	case w.field != nil:
		return roleNames[w.field.role] + " " + w.field.abbrev
	case w.ctx != noContext:
		return contextNames[w.ctx]
	case w.sub != "":
		return "sub-record " + w.sub
	case w.def != nil:
		return "record " + string(w.def.Name)
	case w.foreign:
		return "3GPP TS 32.435 measurement, not read"
	}
	return ""
}

var contextNames = [contexts]string{
	ctxEnd: "interval end", ctxTime: "interval end", ctxStart: "interval start", ctxFinal: "final ordinal", ctxPolicy: "policy id",
	ctxRecord: "record name", ctxSub: "sub-record name", ctxScope: "scope of the row", ctxMode: "counter mode", ctxFile: "file id",
	ctxCreated: "creation time", ctxInterval: "collection interval", ctxSemantics: "semantics", ctxSystem: "system name", ctxSoftware: "software", ctxZone: "time zone",
	ctxDescription: "description", ctxReason: "reason of creation", ctxVersion: "version",
}

// walk calls do for every node below the roots, with its parent.
func (t *treeBuilder) walk(do func(parent, n *ShapeNode, path string)) {
	var visit func(parent, n *ShapeNode, path string)
	visit = func(parent, n *ShapeNode, path string) {
		path += "/" + n.Name
		do(parent, n, path)
		for _, c := range n.Children {
			visit(n, c, path)
		}
	}
	for _, r := range t.roots {
		visit(nil, r, "")
	}
}

// finish takes the meaning of a value from elements that carry none.
func (t *treeBuilder) finish() {
	t.walk(func(_, n *ShapeNode, _ string) {
		if n.kind == elementNode && n.values == 0 && slices.Contains(contextNames[:], n.Meaning) {
			n.Meaning = ""
		}
	})
}

// knowsCounters tells whether any counter of the catalogue was seen.
func (t *treeBuilder) knowsCounters() bool {
	known := false
	t.walk(func(_, n *ShapeNode, _ string) { known = known || strings.HasPrefix(n.Meaning, "counter ") })
	return known
}

// placement says where fields stand: the forms that occur, the most frequent
// first.
func (t *treeBuilder) placement() []string {
	forms := [...]string{elementNode: "child elements", attributeNode: "attributes", pairNode: "name/value pairs"}
	var counts [len(forms)]int64
	known := false
	for _, any := range []bool{false, true} { // unknown names count only if there are no others
		t.walk(func(parent, n *ShapeNode, _ string) {
			field := strings.HasPrefix(n.Meaning, "counter ") || strings.HasPrefix(n.Meaning, "info ")
			if field || any && n.Meaning == "" && n.values > 0 {
				counts[n.kind] += n.values
				known = true
			}
		})
		if known {
			break
		}
	}
	var out []string
	order := []int{0, 1, 2}
	slices.SortStableFunc(order, func(a, b int) int { return int(min(max(counts[b]-counts[a], -1), 1)) })
	for _, i := range order {
		if counts[i] > 0 {
			out = append(out, forms[i])
		}
	}
	return out
}

// unknown lists the names that carry values and mean nothing.
func (t *treeBuilder) unknown() []UnknownReport {
	var out []UnknownReport
	t.walk(func(parent, n *ShapeNode, path string) {
		if n.Meaning == "" && n.values > 0 && parent != nil {
			out = append(out, UnknownReport{Path: path, Name: n.name, Count: n.values, Looks: n.looks(), Examples: n.Examples, node: n, parent: parent})
		}
	})
	return out
}
