package report

import (
	"slices"
	"strconv"
	"strings"

	"acctpull/record"
)

// By is the kind of object that has a figure of its own.
type By string

// The kinds of objects. An object is one of one device, unless Options.Across is
// set.
const (
	BySAP       By = "sap"       // service and SAP
	ByService   By = "service"   // all SAPs of a service, or its SDP bindings
	ByPort      By = "port"      // access or network port
	BySDP       By = "sdp"       // SDP
	ByInterface By = "interface" // network IP interface
	ByClass     By = "class"     // meter, queue, policer or override counter of an object
	ByDevice    By = "device"    // everything of a device
)

// Kinds are all kinds of objects.
func Kinds() []By {
	return []By{BySAP, ByService, ByPort, BySDP, ByInterface, ByClass, ByDevice}
}

// ParseBy reads the name of a kind of object.
func ParseBy(s string) (By, error) {
	if b := By(s); slices.Contains(Kinds(), b) {
		return b, nil
	}
	return "", invalid("sap, service, port, sdp, interface, class or device", "no kind of object %q", clip(s))
}

// classColumns are the keys that split an object into classes of traffic.
var classColumns = []string{"meter_id", "queue_id", "policer_id", "override_counter_id"}

func isClass(column string) bool { return slices.Contains(classColumns, column) }

// columns returns the key columns of the object in a table, without the device, or
// false if the table has no such objects.
func (b By) columns(def *record.Definition) ([]string, bool) {
	var keys, plain []string
	for _, c := range def.Columns {
		if c.Role == record.Key {
			keys = append(keys, c.Name)
			if !isClass(c.Name) {
				plain = append(plain, c.Name)
			}
		}
	}
	var want []string
	switch b {
	case BySAP:
		want = []string{"service_id", "sap"}
	case ByService:
		want = []string{"service_id"}
	case ByPort:
		want = []string{"port_id"}
	case BySDP:
		want = []string{"sdp_id"}
	case ByInterface:
		want = []string{"interface_name"}
	case ByDevice:
		return nil, true
	case ByClass:
		return keys, len(plain) < len(keys)
	default:
		return nil, false
	}
	for _, c := range want {
		if !slices.Contains(keys, c) {
			return nil, false
		}
	}
	return want, true
}

// natural is the kind of object that a table is about.
func natural(def *record.Definition) By {
	for _, b := range []By{BySAP, ByPort, BySDP, ByInterface} {
		if _, ok := b.columns(def); ok {
			return b
		}
	}
	if _, ok := ByClass.columns(def); ok {
		return ByClass
	}
	return ByDevice
}

// Filter keeps the objects that agree with one value of every list that is not
// empty. Its zero value keeps all.
type Filter struct {
	Devices    []string `json:"devices,omitempty"`
	Services   []string `json:"services,omitempty"`
	SAPs       []string `json:"saps,omitempty"`
	Ports      []string `json:"ports,omitempty"`
	SDPs       []string `json:"sdps,omitempty"`
	Interfaces []string `json:"interfaces,omitempty"`
	// Classes are ids of meters, queues and policers.
	Classes []int64 `json:"classes,omitempty"`
	// Policies are ids of accounting policies.
	Policies []int64 `json:"policies,omitempty"`
}

// texts are the lists of the filter by their columns.
func (f *Filter) texts() map[string][]string {
	return map[string][]string{"device": f.Devices, "service_id": f.Services, "sap": f.SAPs, "port_id": f.Ports, "sdp_id": f.SDPs, "interface_name": f.Interfaces}
}

// fits tells whether a table has the columns that the filter asks for.
func (f *Filter) fits(def *record.Definition) bool {
	for column, list := range f.texts() {
		if len(list) > 0 && column != "device" && def.ColumnIndex(column) < 0 {
			return false
		}
	}
	return len(f.Classes) == 0 || slices.ContainsFunc(def.Columns, func(c record.Column) bool { return isClass(c.Name) })
}

// Cell is the value of a key column: NULL, a number or a text.
type Cell struct {
	Set    bool
	Number bool
	N      int64
	S      string
}

// Text returns the value as text, "" for NULL.
func (c Cell) Text() string {
	if c.Set && c.Number {
		return strconv.FormatInt(c.N, 10)
	}
	return c.S
}

// Key tells one series from the others: consecutive rows of the table that belong
// together have the same Key.
type Key struct {
	Device string
	Policy Cell
	Cells  []Cell // of Layout.Keys
	Sub    string
	Scope  string
	Mode   string
}

func (k *Key) clone() Key {
	c := *k
	c.Cells = slices.Clone(k.Cells)
	return c
}

// sameSeries ignores what may change within the life of an object.
func (k *Key) sameSeries(o *Key) bool {
	return k.Device == o.Device && k.Sub == o.Sub && k.Scope == o.Scope && slices.Equal(k.Cells, o.Cells)
}

// partOf tells whether k is a part of the object o, whose last keys are NULL where
// those of k are not.
func (k *Key) partOf(o *Key) bool {
	if k.Device != o.Device {
		return false
	}
	finer := false
	for i, c := range o.Cells {
		switch {
		case finer && c.Set:
			return false
		case c == k.Cells[i]:
		case c.Set:
			return false
		default:
			finer = true
		}
	}
	return finer
}

// keyIndex finds a key column; -1 if the table has none.
func keyIndex(keys []string, column string) int { return slices.Index(keys, column) }

// matcher is a Filter on the keys of one table.
type matcher struct {
	device   map[string]bool
	text     []map[string]bool // by key
	class    map[int64]bool
	classKey []int
	policy   map[int64]bool
}

func setOf[T comparable](list []T) map[T]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[T]bool, len(list))
	for _, v := range list {
		m[v] = true
	}
	return m
}

func newMatcher(f *Filter, keys []string) *matcher {
	m := &matcher{device: setOf(f.Devices), text: make([]map[string]bool, len(keys)), class: setOf(f.Classes), policy: setOf(f.Policies)}
	lists := f.texts()
	for i, k := range keys {
		m.text[i] = setOf(lists[k])
		if isClass(k) {
			m.classKey = append(m.classKey, i)
		}
	}
	return m
}

func (m *matcher) match(k *Key) bool {
	if m.device != nil && !m.device[k.Device] || m.policy != nil && !(k.Policy.Set && m.policy[k.Policy.N]) {
		return false
	}
	for i, set := range m.text {
		if set != nil && !(k.Cells[i].Set && set[k.Cells[i].Text()]) {
			return false
		}
	}
	return m.class == nil || slices.ContainsFunc(m.classKey, func(i int) bool { return k.Cells[i].Set && m.class[k.Cells[i].N] })
}

// memberIndex finds the members that an object agrees with. There is one table of
// members for each set of columns that members use.
type memberIndex struct {
	masks []memberMask
}

type memberMask struct {
	columns []int // of memberColumns
	at      []int // their place among the keys, -1 for the device
	members map[string][]int32
}

// newMemberIndex numbers members as they come; those with columns the table lacks
// match nothing.
func newMemberIndex(members []Member, keys []string) *memberIndex {
	x := &memberIndex{}
	for n := range members {
		m := &members[n]
		var columns, at []int
		usable := true
		for i, c := range memberColumns {
			if *c.of(m) == "" {
				continue
			}
			k := keyIndex(keys, c.column)
			usable = usable && (k >= 0 || c.column == "device")
			columns, at = append(columns, i), append(at, k)
		}
		if !usable {
			continue
		}
		i := slices.IndexFunc(x.masks, func(o memberMask) bool { return slices.Equal(o.columns, columns) })
		if i < 0 {
			i = len(x.masks)
			x.masks = append(x.masks, memberMask{columns, at, map[string][]int32{}})
		}
		var values []string
		for _, c := range columns {
			values = append(values, *memberColumns[c].of(m))
		}
		k := joined(values)
		x.masks[i].members[k] = append(x.masks[i].members[k], int32(n))
	}
	return x
}

// find calls yield for every member the object agrees with, those with the most
// columns first.
func (x *memberIndex) find(k *Key, yield func(member int32)) {
	for _, mask := range x.masks {
		values := make([]string, len(mask.at))
		whole := true
		for i, at := range mask.at {
			if at < 0 {
				values[i] = k.Device
				continue
			}
			whole = whole && k.Cells[at].Set
			values[i] = k.Cells[at].Text()
		}
		if whole {
			for _, m := range mask.members[joined(values)] {
				yield(m)
			}
		}
	}
}

// joined makes one key of several texts; none of them holds a NUL.
func joined(values []string) string { return strings.Join(values, "\x00") }
