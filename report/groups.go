package report

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Member is one object of a group: a value for some of the columns of MemberColumns,
// "" for the others.
type Member struct {
	Device    string `json:"device,omitempty"`
	Service   string `json:"service,omitempty"`
	SAP       string `json:"sap,omitempty"`
	Port      string `json:"port,omitempty"`
	SDP       string `json:"sdp,omitempty"`
	Interface string `json:"interface,omitempty"`
}

// Group is a customer, say: objects whose traffic is added up, interval by interval.
type Group struct {
	Name    string   `json:"name"`
	Members []Member `json:"members"`
}

// memberColumns are the columns of a groups file beside the name of the group, and
// those of the dataset that they stand for.
var memberColumns = []struct {
	name, column string
	of           func(*Member) *string
}{
	{"device", "device", func(m *Member) *string { return &m.Device }},
	{"service", "service_id", func(m *Member) *string { return &m.Service }},
	{"sap", "sap", func(m *Member) *string { return &m.SAP }},
	{"port", "port_id", func(m *Member) *string { return &m.Port }},
	{"sdp", "sdp_id", func(m *Member) *string { return &m.SDP }},
	{"interface", "interface_name", func(m *Member) *string { return &m.Interface }},
}

// String returns the member as "device=pe-1 sap=1/1/1:100".
func (m Member) String() string {
	var parts []string
	for _, c := range memberColumns {
		if v := *c.of(&m); v != "" {
			parts = append(parts, c.name+"="+v)
		}
	}
	return strings.Join(parts, " ")
}

// Limits of the files that people write.
const (
	maxLines = 1 << 20
	maxCell  = 256
)

// mistakes gathers what is wrong with a file, with the lines.
type mistakes struct {
	list []error
	more int
}

func (m *mistakes) add(line int, format string, a ...any) {
	if len(m.list) == 50 {
		m.more++
		return
	}
	m.list = append(m.list, fmt.Errorf("line %d: %s", line, fmt.Sprintf(format, a...)))
}

func (m *mistakes) err() error {
	if m.more > 0 {
		m.list, m.more = append(m.list, fmt.Errorf("and %d more mistakes", m.more)), 0
	}
	return errors.Join(m.list...)
}

// readTable reads CSV with a header of known columns, and gives each line to row as
// column name to value. All mistakes go to m.
func readTable(r io.Reader, known []string, m *mistakes, row func(line int, cell func(string) string)) {
	cr := csv.NewReader(r)
	cr.FieldsPerRecord, cr.TrimLeadingSpace, cr.ReuseRecord, cr.Comment = -1, true, true, '#'
	var head []string
	for n := 0; ; n++ {
		cells, err := cr.Read()
		if err == io.EOF {
			break
		}
		var bad *csv.ParseError
		if errors.As(err, &bad) {
			m.add(bad.Line, "%v", bad.Err)
			return
		}
		if err != nil {
			m.add(0, "%v", err)
			return
		}
		line, _ := cr.FieldPos(0)
		if n > maxLines {
			m.add(line, "more than %d lines", maxLines)
			return
		}
		for i, c := range cells {
			cells[i] = strings.TrimSpace(c)
		}
		if head == nil {
			head = slices.Clone(cells)
			if len(head) > 0 {
				head[0] = strings.TrimPrefix(head[0], "\ufeff")
			}
			for i, h := range head {
				if !slices.Contains(known, h) {
					m.add(line, "no column %q: they are %s", clip(h), strings.Join(known, ", "))
				} else if slices.Contains(head[:i], h) {
					m.add(line, "column %q twice", h)
				}
			}
			if len(m.list) > 0 {
				return
			}
			continue
		}
		if len(cells) != len(head) {
			m.add(line, "%d fields, the header has %d", len(cells), len(head))
			continue
		}
		if i := slices.IndexFunc(cells, unusable); i >= 0 {
			m.add(line, "%s %q is longer than %d bytes, not UTF-8, or has control characters", head[i], clip(cells[i]), maxCell)
			continue
		}
		row(line, func(column string) string {
			if i := slices.Index(head, column); i >= 0 {
				return cells[i]
			}
			return ""
		})
	}
	if head == nil {
		m.add(1, "no header: the columns are %s", strings.Join(known, ", "))
	}
}

func unusable(s string) bool {
	return len(s) > maxCell || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}

// ParseGroups reads groups from CSV with the column group and some of device,
// service, sap, port, sdp and interface. A line is one member; every cell that is not
// empty has to agree. Lines that begin with # are comments. All mistakes are reported
// at once, each with its line.
func ParseGroups(r io.Reader) ([]Group, error) {
	known := []string{"group"}
	for _, c := range memberColumns {
		known = append(known, c.name)
	}
	var (
		m      mistakes
		groups []Group
		index  = map[string]int{}
		first  = map[string]int{}
	)
	readTable(r, known, &m, func(line int, cell func(string) string) {
		name := cell("group")
		var member Member
		for _, c := range memberColumns {
			*c.of(&member) = strings.Clone(cell(c.name))
		}
		text := member.String()
		switch {
		case name == "":
			m.add(line, "no name of the group")
			return
		case text == "":
			m.add(line, "group %q: the member has no value in any column", name)
			return
		}
		key := fmt.Sprintf("%q %q", name, member)
		if before, ok := first[key]; ok {
			m.add(line, "group %q has %q twice, first in line %d", name, text, before)
			return
		}
		first[key] = line
		at, ok := index[name]
		if !ok {
			name = strings.Clone(name)
			at = len(groups)
			index[name] = at
			groups = append(groups, Group{Name: name})
		}
		groups[at].Members = append(groups[at].Members, member)
	})
	if err := m.err(); err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return nil, errors.New("no group in the file")
	}
	return groups, nil
}
