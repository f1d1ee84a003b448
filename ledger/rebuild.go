package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// RebuiltPath is the Key.Path of a file that was found in the archive by a
// rebuild: nobody knows any more what the device called its directory.
const RebuiltPath = "rebuilt:"

// Import rebuilds a ledger from what the archive, the quarantine and the
// dataset hold: rows is one Row for every file found, outputs every published
// file. Of a Row it takes the Key, State, SHA256, Stored, Records, Reason and Facts;
// a file whose SHA-256 is in the dataset must be given as Exported, one that is
// only in the archive as Stored.
//
// Rows whose content the device has already become aliases, whatever order they
// come in, as long as the row that was exported comes before the others. Keys
// and paths that the ledger holds already are left as they are, so a repeated
// Import changes nothing. Which batch made an old output is not known any more:
// Row.Batch and Output.Batch stay "". All of it is imported, or nothing: half a
// ledger would be taken for a whole one.
func (l *Ledger) Import(ctx context.Context, now time.Time, rows []Row, outputs []Output) error {
	const op = "import"
	for _, r := range rows {
		if err := checkImport(r); err != nil {
			return l.fail(op, about(r.Key, err))
		}
	}
	for _, o := range outputs {
		if err := checkResults([]Output{o}, []InputResult{{State: Exported, Records: o.Rows}}); err != nil {
			return l.fail(op, err)
		}
	}
	return l.write(ctx, op, func(t *transaction) error {
		for _, r := range rows {
			if err := t.importRow(now, r); err != nil {
				return err
			}
		}
		for _, o := range outputs {
			o.Batch = ""
			if err := t.insertOutput(o); err != nil && !errors.Is(err, ErrConflict) {
				return err
			}
		}
		return nil
	})
}

func checkImport(r Row) error {
	if err := errors.Join(r.Key.check(), checkText(r.Stored), r.Facts.check()); err != nil {
		return err
	}
	if r.SHA256 != "" || r.State == Stored || r.State == Exported {
		if err := checkSum(r.SHA256); err != nil {
			return err
		}
	}
	switch {
	case r.State < Discovered || r.State > Lost:
		return fmt.Errorf("there is no %s", r.State)
	case r.Records < 0 || r.Records > 0 && r.State != Exported:
		return fmt.Errorf("the file is %s and has %d records", r.State, r.Records)
	case r.SHA256 != "" && (r.State == Discovered || r.State == Lost):
		return fmt.Errorf("the file is %s and has a SHA-256", r.State)
	case r.State == Stored && r.Stored == "":
		return errors.New("the file has no stored path")
	case (r.State == Quarantined || r.State == Lost) && r.Reason == "":
		return fmt.Errorf("the file is %s and has no reason", r.State)
	}
	return nil
}

func (t *transaction) importRow(now time.Time, in Row) error {
	r := Row{Key: in.Key, State: in.State, SHA256: in.SHA256, Stored: in.Stored, Records: in.Records,
		Reason: clean(in.Reason), First: round(now), Changed: round(now)}
	if r.SHA256 != "" {
		first, ok, err := t.content(r.Device, r.SHA256)
		if err != nil {
			return err
		}
		if ok && first.Key != r.Key {
			r.State, r.AliasOf, r.Reason, r.Records = first.State, first.Name, first.Reason, 0
		}
	}
	if _, err := t.insert(r); err != nil {
		return err
	}
	return t.factsOf(in.Key, in.Facts)
}

// twins returns the keys under which a rebuild may have recorded files of a
// listing that are not known.
func (l *Ledger) twins(ctx context.Context, keys []Key, known map[Key]line) (map[Key]line, error) {
	var maybe []Key
	for _, k := range keys {
		if _, ok := known[k]; !ok && k.MTime != 0 {
			k.Path = RebuiltPath
			maybe = append(maybe, k)
		}
	}
	if len(maybe) == 0 {
		return nil, nil
	}
	return l.known(ctx, maybe)
}

// recognise gives a file that a rebuild found the directory of the key, if it
// is the one.
func (t *transaction) recognise(k Key, twins map[Key]line) (Row, bool, error) {
	twin := k
	twin.Path = RebuiltPath
	if _, maybe := twins[twin]; !maybe {
		return Row{}, false, nil
	}
	r, ok, err := t.row(twin)
	if err != nil || !ok {
		return Row{}, false, err // another process was first
	}
	r.Path = k.Path
	_, err = t.exec(`UPDATE pulled SET path = $1, crc = $2 WHERE id = $3`, r.Path, r.crc(), r.id)
	return r.Row, true, err
}
