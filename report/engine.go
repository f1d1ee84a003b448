package report

import (
	"slices"
	"strings"

	"acctpull/record"
)

// engine makes figures of one table from its rows in the order of the table.
type engine struct {
	opts    *Options
	measure *measure
	keys    []string
	by      []int // of keys; nil with groups or a sum
	match   *matcher
	// members are those of the groups, groupOf tells whose each is.
	members *memberIndex
	groupOf []int32
	// capacity finds objects with a capacity of their own.
	capacity *memberIndex
	// streaming tells that objects come one after the other.
	streaming bool
	budget    int // bytes for slots of groups that are open at once
	plots     plots
	emit      func(Figure)

	current Key
	begun   bool
	targets []*group
	wants   []want
	coarse  map[Direction]Key // the last series of the direction that counts
	groups  map[string]*group
	order   []string
	done    map[string]bool
	held    int
	// deferred tells that there are groups for another pass.
	deferred bool
	rates    [2][]float64
}

func newEngine(def *record.Definition, o *Options) (*engine, error) {
	m, ok, err := newMeasure(def, o)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, invalid("--counter chooses some", "%s has no counters of the kind that is asked for", def.Name)
	}
	e := &engine{opts: o, measure: m, keys: keyColumns(def), budget: 96 << 20, groups: map[string]*group{}, done: map[string]bool{}, coarse: map[Direction]Key{}}
	e.match = newMatcher(&o.Filter, e.keys)
	if o.Capacity != nil {
		members := make([]Member, len(o.Capacity.List))
		for i := range members {
			members[i] = o.Capacity.List[i].Member
		}
		e.capacity = newMemberIndex(members, e.keys)
	}
	switch {
	case len(o.Groups) > 0:
		for i, g := range o.Groups {
			for range g.Members {
				e.groupOf = append(e.groupOf, int32(i))
			}
		}
		e.members = newMemberIndex(allMembers(o.Groups), e.keys)
	case !o.Sum:
		columns, ok := o.By.columns(def)
		if !ok {
			return nil, invalid("", "%s has no objects of the kind %s", def.Name, o.By)
		}
		e.streaming = !o.Across
		e.by = []int{}
		for i, c := range columns {
			k := keyIndex(e.keys, c)
			e.by = append(e.by, k)
			e.streaming = e.streaming && i == k
		}
	}
	return e, nil
}

// labels name the parts of an object.
func (e *engine) labels() []string {
	switch {
	case e.members != nil:
		return []string{"group"}
	case e.by == nil:
		return []string{"sum"}
	}
	var names []string
	if !e.opts.Across {
		names = append(names, "device")
	}
	for _, k := range e.by {
		names = append(names, e.keys[k])
	}
	return names
}

// series is called before the first row of a series, and whenever anything of its
// key changes. It tells whether rows of it count.
func (e *engine) series(k *Key) bool {
	same := e.begun && e.current.sameSeries(k)
	if e.streaming && e.begun && !e.sameObject(k) {
		e.flush()
	}
	was := e.targets
	e.current, e.begun = k.clone(), true
	e.wants = e.measure.wants(k.Sub, k.Scope, k.Mode)
	dir := direction(e.measure.def.Name, k.Sub)
	if len(e.wants) == 0 || !e.eligible(k, dir) {
		e.wants = nil
		if !same {
			e.close()
		}
		return false
	}
	if same && len(was) > 0 {
		return true
	}
	e.close()
	if c, ok := e.coarse[dir]; ok && k.partOf(&c) {
		e.wants = nil
		return false
	}
	e.coarse[dir] = e.current
	e.find(k, dir)
	for _, g := range e.targets {
		if !slices.Contains(g.scopes, k.Scope) {
			g.scopes = append(g.scopes, k.Scope)
		}
		g.begin()
	}
	return len(e.targets) > 0
}

// close ends the series in the groups that it went to.
func (e *engine) close() {
	for _, g := range e.targets {
		g.end()
	}
	e.targets = nil
}

func (e *engine) sameObject(k *Key) bool {
	if k.Device != e.current.Device {
		return false
	}
	for _, i := range e.by {
		if k.Cells[i] != e.current.Cells[i] {
			return false
		}
	}
	return true
}

// eligible tells whether a series is of an object that is asked for.
func (e *engine) eligible(k *Key, dir Direction) bool {
	o := e.opts
	if o.Direction != AnyDirection && o.Direction != dir || !e.match.match(k) {
		return false
	}
	switch {
	case e.by == nil || o.By == ByDevice:
		return true
	case o.By == ByClass:
		return slices.ContainsFunc(e.by, func(i int) bool { return k.Cells[i].Set && isClass(e.keys[i]) })
	}
	return k.Cells[e.by[len(e.by)-1]].Set
}

// find sets the groups that a series goes to.
func (e *engine) find(k *Key, dir Direction) {
	e.targets = nil
	switch {
	case e.members != nil:
		e.members.find(k, func(member int32) {
			g := e.group([]string{e.opts.Groups[e.groupOf[member]].Name}, dir, nil)
			if g == nil {
				return
			}
			if g.members == nil {
				g.members = map[int32]bool{}
			}
			g.members[member] = true
			if !slices.Contains(e.targets, g) {
				e.targets = append(e.targets, g)
			}
		})
		return
	case e.by == nil:
		if g := e.group([]string{"all"}, dir, nil); g != nil {
			e.targets = []*group{g}
		}
		return
	}
	var label []string
	if !e.opts.Across {
		label = append(label, k.Device)
	}
	for _, i := range e.by {
		label = append(label, k.Cells[i].Text())
	}
	if g := e.group(label, dir, k); g != nil {
		e.targets = []*group{g}
	}
}

// group returns a group by its label, or nil if it is for another pass or done.
func (e *engine) group(label []string, dir Direction, k *Key) *group {
	id := string(dir) + "\x00" + joined(label)
	if g := e.groups[id]; g != nil {
		return g
	}
	if e.done[id] {
		return nil
	}
	if need := e.cost(); !e.streaming {
		if e.held > 0 && e.held+need > e.budget {
			e.deferred = true
			return nil
		}
		e.held += need
	}
	g := &group{opts: e.opts, measure: e.measure, label: slices.Clone(label), direction: dir}
	if c := e.opts.Capacity; c != nil {
		g.capacity = c.Default
		if k != nil {
			best := 0
			e.capacity.find(k, func(i int32) {
				if n := strings.Count(c.List[i].Member.String(), "="); n > best {
					best, g.capacity = n, c.List[i].Speed
				}
			})
		}
	}
	e.groups[id] = g
	e.order = append(e.order, id)
	return g
}

// cost is what a group may take: slots of the shortest usual interval.
func (e *engine) cost() int {
	step := int64(300)
	if e.opts.Interval > 0 {
		step = int64(e.opts.Interval.Seconds())
	}
	if e.opts.Mix {
		step = 60
	}
	w := e.opts.Window
	return int(w.To.Sub(w.From).Seconds())/int(step)*slotBytes + 1024
}

// add takes a row of the series that is open.
func (e *engine) add(r *row) {
	for _, g := range e.targets {
		g.add(r)
	}
}

// flush turns all open groups into figures.
func (e *engine) flush() {
	e.close()
	slices.Sort(e.order)
	for _, id := range e.order {
		g := e.groups[id]
		if e.members != nil {
			g.cover.Absent = e.without(g)
		}
		f := g.figure(&e.rates, e.plots.want > 0)
		if !e.streaming {
			e.done[id] = true
		}
		if f.Coverage.Rows == 0 {
			continue // only rows beside the window
		}
		e.plots.keep(&f)
		e.emit(f)
	}
	clear(e.groups)
	clear(e.coarse)
	e.order, e.held, e.begun = e.order[:0], 0, false
}

// without names the members of a group that have no row.
func (e *engine) without(g *group) []string {
	var names []string
	n := int32(0)
	for _, o := range e.opts.Groups {
		for _, m := range o.Members {
			if o.Name == g.label[0] && !g.members[n] {
				names = append(names, m.String())
			}
			n++
		}
	}
	return names
}
