package ledger

import (
	"context"
	"strings"
)

// knownRange reads the rows of a directory between two names.
const knownRange = selectRows + `WHERE pulled.device = $1 AND path = $2 AND name >= $3 AND name <= $4 LIMIT $5`

// series is the part of a listing whose names begin alike up to the first "-":
// the files of one policy and file-id, whose names differ only in their time.
type series struct{ device, path, prefix string }

// known reads the rows of the given keys, as far as there are any. A listing has
// the newest files of each series, which stand side by side in the index: they
// are read with one query. Where many other rows lie between them, because a
// device had its clock wrong, the rows are read one by one.
func (l *Ledger) known(ctx context.Context, keys []Key) (map[Key]line, error) {
	parts := map[series][]Key{}
	for _, k := range keys {
		s := series{k.Device, k.Path, strings.TrimSuffix(k.Name, stamp(k.Name))}
		parts[s] = append(parts[s], k)
	}
	rows := make(map[Key]line, len(keys))
	for s, part := range parts {
		least, most := part[0].Name, part[0].Name
		for _, k := range part {
			least, most = min(least, k.Name), max(most, k.Name)
		}
		limit := 2*len(part) + 100
		n := 0
		err := each(scanRow, func(r line) {
			rows[r.Key] = r
			n++
		})(l.stmtQuery(ctx, l.st.between, s.device, s.path, least, most, limit))
		if err != nil {
			return nil, err
		}
		if n < limit {
			continue
		}
		for _, k := range part {
			if _, ok := rows[k]; ok {
				continue
			}
			r, ok, err := rowOf(ctx, l.st.known, k)
			if err != nil {
				return nil, err
			}
			if ok {
				rows[k] = r
			}
		}
	}
	return rows, nil
}
