package usage

import (
	"strings"

	"acctpull/internal/columns"
)

// interner numbers the texts of one column, across batches and inputs.
type interner struct {
	texts []string
	ids   map[string]int32
	// of translates the ids of the vectors that are read now; from keeps the
	// texts they stand for alive, so that no other ones get their address.
	of   []int32
	from []string
}

// unmet marks ids that were not translated yet.
const unmet = -2

// bind gets ready for the ids of a vector.
func (n *interner) bind(v *columns.Vector) {
	if len(v.Texts) == 0 {
		return
	}
	if len(n.from) == 0 || &n.from[0] != &v.Texts[0] {
		n.of = n.of[:0]
	}
	n.from = v.Texts
	for len(n.of) < len(v.Texts) {
		n.of = append(n.of, unmet)
	}
}

// at returns the number of a row's text in a vector that is bound, -1 for NULL.
func (n *interner) at(v *columns.Vector, row int) int32 {
	id := v.ID(row)
	if id < 0 {
		return -1
	}
	if known := n.of[id]; known != unmet {
		return known
	}
	own := n.id(v.Texts[id])
	n.of[id] = own
	return own
}

// id returns the number of a text.
func (n *interner) id(text string) int32 {
	if id, ok := n.ids[text]; ok {
		return id
	}
	if n.ids == nil {
		n.ids = map[string]int32{}
	}
	text = strings.Clone(text)
	id := int32(len(n.texts))
	n.texts = append(n.texts, text)
	n.ids[text] = id
	return id
}

// text returns a text, "" for NULL.
func (n *interner) text(id int32) string {
	if id < 0 {
		return ""
	}
	return n.texts[id]
}

// reset forgets everything. Texts that were handed out stay as they are.
func (n *interner) reset() {
	*n = interner{of: n.of[:0]}
}

// cell is a text of a row, or NULL, that orders as the dataset does: NULL first.
type cell struct {
	text string
	ok   bool
}

func (c cell) compare(o cell) int {
	switch {
	case !c.ok && !o.ok:
		return 0
	case !c.ok:
		return -1
	case !o.ok:
		return 1
	}
	return strings.Compare(c.text, o.text)
}

func (n *interner) cell(id int32) cell {
	if id < 0 {
		return cell{}
	}
	return cell{n.texts[id], true}
}

// cellOf is the text of a row of a vector.
func cellOf(v *columns.Vector, row int) cell {
	text, ok := v.Text(row)
	return cell{text, ok}
}

// number is a number of a row, or NULL, that orders as the dataset does.
type number struct {
	n  int64
	ok bool
}

func (a number) compare(b number) int {
	switch {
	case a == b:
		return 0
	case !a.ok || b.ok && a.n < b.n:
		return -1
	}
	return 1
}

func numberOf(v *columns.Vector, row int) number {
	n, ok := v.Int(row)
	if !ok {
		n = 0
	}
	return number{n, ok}
}
