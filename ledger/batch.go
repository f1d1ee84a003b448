package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// localPath begins Key.Path of a file that came through AddLocal: it was never
// listed, so its content takes the place of the directory.
const localPath = "sha256:"

// AddLocal records files that are on disk already, Stored and ready for export,
// and returns how many contents are new. A content that the device has already
// is not exported again; its Stored is brought up to date while it waits, so
// that files may be moved between two runs. The same content under another name
// becomes an alias.
func (l *Ledger) AddLocal(ctx context.Context, now time.Time, inputs []Input) (added int, err error) {
	const op = "add"
	for _, in := range inputs {
		if err := checkInput(in); err != nil {
			return 0, l.fail(op, err)
		}
	}
	for part := range slices.Chunk(inputs, chunk) {
		n := 0
		err := l.write(ctx, op, func(t *transaction) error {
			for _, in := range part {
				isNew, err := t.addLocal(now, in)
				if err != nil {
					return err
				}
				if isNew {
					n++
				}
			}
			return nil
		})
		if err != nil {
			return added, err
		}
		added += n
	}
	return added, nil
}

func checkInput(in Input) error {
	k := in.localKey()
	if err := k.check(); err != nil {
		return err
	}
	err := errors.Join(checkSum(in.SHA256), checkText(in.Stored))
	if in.Stored == "" {
		err = errors.Join(err, errors.New("the file has no stored path"))
	}
	if err != nil {
		return about(k, err)
	}
	return nil
}

func (in Input) localKey() Key {
	return Key{Device: in.Device, Path: localPath + in.SHA256, Name: in.Name, Size: in.Size}
}

func (t *transaction) addLocal(now time.Time, in Input) (isNew bool, err error) {
	first, ok, err := t.content(in.Device, in.SHA256)
	if err != nil {
		return false, err
	}
	k := in.localKey()
	if ok && first.Key == k {
		if first.Stored == in.Stored || first.State != Stored {
			return false, nil
		}
		first.Stored = in.Stored
		return false, t.saveState(first)
	}
	r := Row{Key: k, State: Stored, SHA256: in.SHA256, Stored: in.Stored, First: round(now), Changed: round(now)}
	if ok {
		r.State, r.AliasOf, r.Reason = first.State, first.Name, first.Reason
	}
	inserted, err := t.insert(r)
	return inserted && !ok, err
}

// PlanBatch returns the files to export next; ok is false if there are none.
//
// A batch that was planned and not finished comes first, with exactly its
// inputs, so that work which a crash interrupted is repeated on the same set
// and finds its own results. Otherwise a new batch is fixed from the Stored
// files that are no aliases, in the order of device, name and SHA-256, at most
// maxFiles of them and at most maxBytes of compressed bytes, but at least one
// file; 0 means no limit. The set is on disk when PlanBatch returns.
func (l *Ledger) PlanBatch(ctx context.Context, now time.Time, maxFiles int, maxBytes int64) (b Batch, ok bool, err error) {
	const op = "plan"
	if maxFiles < 0 || maxBytes < 0 {
		return Batch{}, false, l.fail(op, fmt.Errorf("a limit of %d files and %d bytes", maxFiles, maxBytes))
	}
	err = l.write(ctx, op, func(t *transaction) error {
		if b, ok, err = t.openBatch(); ok || err != nil {
			return err
		}
		b, ok, err = t.newBatch(now, maxFiles, maxBytes)
		return err
	})
	if err != nil {
		return Batch{}, false, err
	}
	return b, ok, nil
}

// openBatch reads the oldest unfinished batch.
func (t *transaction) openBatch() (Batch, bool, error) {
	h, err := scanBatch(t.tx.QueryRowContext(t.ctx,
		selectBatches+`WHERE finished = 0 ORDER BY planned, id LIMIT 1`))
	if errors.Is(err, sql.ErrNoRows) {
		return Batch{}, false, nil
	}
	if err != nil {
		return Batch{}, false, err
	}
	inputs, err := t.inputs(h.id)
	return Batch{ID: h.id, Inputs: inputs, Retry: true}, err == nil, err
}

// newBatch fixes the next set of files.
func (t *transaction) newBatch(now time.Time, maxFiles int, maxBytes int64) (Batch, bool, error) {
	where := `WHERE p.state = 1 AND p.alias_of = '' AND b.batch IS NULL ORDER BY p.device, p.name, p.sha256`
	if maxFiles > 0 {
		where += fmt.Sprintf(` LIMIT %d`, maxFiles)
	}
	rows, err := t.rows(where + skipLocked)
	if err != nil || len(rows) == 0 {
		return Batch{}, false, err
	}
	var inputs []Input
	var bytes int64
	for _, r := range rows {
		bytes += r.Size
		if maxBytes > 0 && bytes > maxBytes && len(inputs) > 0 {
			break
		}
		inputs = append(inputs, r.input())
	}
	slices.SortFunc(inputs, compareInputs)
	b := Batch{ID: BatchID(inputs), Inputs: inputs}
	if err := t.insertBatch(batchHead{id: b.ID, planned: toMilli(now)}); err != nil {
		return Batch{}, false, err
	}
	for _, in := range inputs {
		if err := t.insertInput(b.ID, in); err != nil {
			return Batch{}, false, err
		}
	}
	return b, true, nil
}

func (r *Row) input() Input {
	return Input{Device: r.Device, Name: r.Name, SHA256: r.SHA256, Stored: r.Stored, Size: r.Size}
}

// FinishBatch records in one transaction that the outputs of a batch are
// published and durable, and what became of every input: Exported with the
// number of rows published from it, or Quarantined with a reason. results must
// hold every input once, and their records must add up to the rows of the
// outputs. Aliases of an input share its fate.
//
// Repeating a call with the same outputs and results does nothing; with others
// it is ErrConflict.
func (l *Ledger) FinishBatch(ctx context.Context, now time.Time, id string, outputs []Output, results []InputResult) error {
	const op = "finish"
	if err := checkResults(outputs, results); err != nil {
		return l.fail(op, err)
	}
	return l.write(ctx, op, func(t *transaction) error {
		h, err := scanBatch(t.tx.QueryRowContext(t.ctx, selectBatches+`WHERE id = $1`, id))
		if errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("%w %s", ErrUnknownBatch, quote(id))
		}
		if err != nil {
			return err
		}
		if err := t.sameInputs(id, results); err != nil {
			return err
		}
		if h.finished != 0 {
			return t.sameOutcome(id, outputs, results)
		}
		for _, o := range outputs {
			o.Batch = id
			if err := t.insertOutput(o); err != nil {
				return err
			}
		}
		for _, res := range results {
			if err := t.settle(now, res); err != nil {
				return err
			}
		}
		h.finished = max(toMilli(now), 1)
		_, err = t.tx.ExecContext(t.ctx, `UPDATE batch SET finished = $1, crc = $2 WHERE id = $3`, h.finished, h.crc(), id)
		return err
	})
}

func checkResults(outputs []Output, results []InputResult) error {
	var rows, records int64
	for _, o := range outputs {
		if o.Path == "" || o.Rows < 0 {
			return fmt.Errorf("output %s with %d rows", quote(o.Path), o.Rows)
		}
		if err := errors.Join(checkSum(o.SHA256), checkText(o.Path), checkText(o.Record), checkText(o.Date)); err != nil {
			return err
		}
		rows += o.Rows
	}
	for _, r := range results {
		k := Key{Device: r.Device, Name: r.SHA256}
		switch {
		case r.Records < 0:
			return about(k, fmt.Errorf("%d records", r.Records))
		case r.State == Exported:
		case r.State != Quarantined:
			return about(k, fmt.Errorf("an input cannot become %s", r.State))
		case r.Reason == "":
			return about(k, errors.New("quarantined without a reason"))
		}
		records += r.Records
	}
	if rows != records {
		return fmt.Errorf("%w: the outputs have %d rows and the inputs %d records", ErrConflict, rows, records)
	}
	return nil
}

// sameInputs checks that results name the inputs of the batch, each once.
func (t *transaction) sameInputs(id string, results []InputResult) error {
	inputs, err := t.inputs(id)
	if err != nil {
		return err
	}
	open := make(map[[2]string]bool, len(inputs))
	for _, in := range inputs {
		open[[2]string{in.Device, in.SHA256}] = true
	}
	for _, r := range results {
		k := [2]string{r.Device, r.SHA256}
		if !open[k] {
			return about(Key{Device: r.Device, Name: r.SHA256},
				fmt.Errorf("%w: not an input of the batch, or given twice", ErrConflict))
		}
		delete(open, k)
	}
	if len(open) > 0 {
		return fmt.Errorf("%w: %d inputs of the batch have no result", ErrConflict, len(open))
	}
	return nil
}

// sameOutcome checks that a finished batch has just these outputs and results.
func (t *transaction) sameOutcome(id string, outputs []Output, results []InputResult) error {
	have, err := collect(scanOutput)(t.tx.QueryContext(t.ctx, selectOutputs+`WHERE batch = $1`, id))
	if err != nil {
		return err
	}
	known := make(map[string]Output, len(have))
	for _, o := range have {
		known[o.Path] = o
	}
	same := len(have) == len(outputs)
	for _, o := range outputs {
		o.Batch = id
		same = same && known[o.Path] == o
	}
	for _, res := range results {
		r, ok, err := t.content(res.Device, res.SHA256)
		if err != nil {
			return err
		}
		same = same && ok && r.State == res.State && r.Records == res.Records
	}
	if !same {
		return fmt.Errorf("%w: batch %s is finished with another outcome", ErrConflict, quote(id))
	}
	return nil
}

// settle writes the result of one input to its row and to its aliases.
func (t *transaction) settle(now time.Time, res InputResult) error {
	r, ok, err := t.content(res.Device, res.SHA256)
	if err != nil {
		return err
	}
	if !ok {
		return about(Key{Device: res.Device, Name: res.SHA256},
			fmt.Errorf("%w: an input of a batch has no row", ErrDamaged))
	}
	aliases, err := t.rows(`WHERE p.device = $1 AND p.sha256 = $2 AND p.alias_of <> ''`, res.Device, res.SHA256)
	if err != nil {
		return err
	}
	r.Records = res.Records
	for _, a := range append(aliases, r) {
		a.State, a.Reason, a.Changed = res.State, "", round(now)
		if res.State == Quarantined {
			a.Reason = clean(res.Reason)
		}
		if err := t.saveState(a); err != nil {
			return err
		}
	}
	return nil
}

// inputs reads the inputs of a batch, sorted, and proves by the id that none is
// missing or changed.
func (t *transaction) inputs(id string) ([]Input, error) {
	rows, err := t.rows(`WHERE b.batch = $1 AND p.alias_of = ''`, id)
	if err != nil {
		return nil, err
	}
	inputs := make([]Input, len(rows))
	for i := range rows {
		inputs[i] = rows[i].input()
	}
	slices.SortFunc(inputs, compareInputs)
	if BatchID(inputs) != id {
		return nil, fmt.Errorf("%w: the inputs of batch %s do not match its id", ErrDamaged, quote(id))
	}
	return inputs, nil
}
