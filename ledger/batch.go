package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
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
	r := Row{Key: in.localKey(), State: Stored, SHA256: in.SHA256, Stored: in.Stored, First: round(now), Changed: round(now)}
	if isNew, err = t.insert(r); isNew || err != nil {
		return isNew, err
	}
	first, ok, err := t.content(in.Device, in.SHA256)
	switch {
	case err != nil:
		return false, err
	case !ok:
		return false, about(r.Key, fmt.Errorf("%w: an index has an entry without a row", ErrDamaged))
	case first.Key != r.Key:
		r.State, r.AliasOf, r.Reason = first.State, first.Name, first.Reason
		_, err = t.insert(r)
	case first.State == Stored && first.Stored != in.Stored:
		first.Stored = in.Stored
		err = t.saveStored(first)
	}
	return false, err
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
	h, err := scanBatch(t.tx.QueryRowContext(t.ctx, selectBatches+unfinished))
	if errors.Is(err, sql.ErrNoRows) {
		return Batch{}, false, nil
	}
	if err != nil {
		return Batch{}, false, err
	}
	rows, err := t.inputs(h.id)
	return Batch{ID: h.id, Inputs: inputsOf(rows), Retry: true}, err == nil, err
}

// newBatch fixes the next set of files.
func (t *transaction) newBatch(now time.Time, maxFiles int, maxBytes int64) (Batch, bool, error) {
	if maxFiles == 0 {
		maxFiles = math.MaxInt32
	}
	rows, err := t.rows(func(r line) bool { return r.State == Stored && r.AliasOf == "" && r.Batch == "" },
		ready, maxFiles)
	if err != nil || len(rows) == 0 {
		return Batch{}, false, err
	}
	if maxBytes > 0 {
		rows = rows[:fitting(rows, maxBytes)]
	}
	inputs := inputsOf(rows)
	b := Batch{ID: BatchID(inputs), Inputs: inputs}
	if err := t.insertBatch(batchHead{id: b.ID, planned: toMilli(now), inputs: int64(len(inputs))}); err != nil {
		return Batch{}, false, err
	}
	for _, r := range rows {
		r.Batch = b.ID
		if err := t.saveBatch(r); err != nil {
			return Batch{}, false, err
		}
	}
	return b, true, nil
}

// fitting returns how many of the first rows have at most limit bytes together,
// and at least 1.
func fitting(rows []line, limit int64) int {
	var bytes int64
	for i, r := range rows {
		if bytes += r.Size; bytes > limit {
			return max(i, 1)
		}
	}
	return len(rows)
}

// inputsOf returns the rows as inputs, sorted.
func inputsOf(rows []line) []Input {
	inputs := make([]Input, len(rows))
	for i, r := range rows {
		inputs[i] = Input{Device: r.Device, Name: r.Name, SHA256: r.SHA256, Stored: r.Stored, Size: r.Size}
	}
	slices.SortFunc(inputs, compareInputs)
	return inputs
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
		rows, err := t.inputs(id)
		if err != nil {
			return err
		}
		given, err := byInput(rows, results)
		if err != nil {
			return err
		}
		if h.finished != 0 {
			return t.sameOutcome(id, outputs, rows, given)
		}
		for _, o := range outputs {
			o.Batch = id
			if err := t.insertOutput(o); err != nil {
				return err
			}
		}
		if err := t.settle(now, id, rows, given); err != nil {
			return err
		}
		h.finished = max(toMilli(now), 1)
		for _, o := range outputs {
			h.rows += o.Rows
		}
		return t.finishBatch(h)
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

// content identifies the bytes of a file.
type content struct{ device, sha256 string }

// byInput returns the results by content, and an error if they do not name the
// files of the batch, each once.
func byInput(rows []line, results []InputResult) (map[content]InputResult, error) {
	given := make(map[content]InputResult, len(results))
	for _, r := range results {
		given[content{r.Device, r.SHA256}] = r
	}
	if len(given) != len(results) {
		return nil, fmt.Errorf("%w: an input has two results", ErrConflict)
	}
	for _, r := range rows {
		if _, ok := given[content{r.Device, r.SHA256}]; !ok {
			return nil, about(r.Key, fmt.Errorf("%w: an input has no result", ErrConflict))
		}
	}
	if len(given) != len(rows) {
		return nil, fmt.Errorf("%w: %d results for the %d inputs of the batch", ErrConflict, len(given), len(rows))
	}
	return given, nil
}

// sameOutcome checks that a finished batch has just these outputs and results.
func (t *transaction) sameOutcome(id string, outputs []Output, rows []line, given map[content]InputResult) error {
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
	for _, r := range rows {
		res := given[content{r.Device, r.SHA256}]
		same = same && r.State == res.State && r.Records == res.Records
	}
	if !same {
		return fmt.Errorf("%w: batch %s is finished with another outcome", ErrConflict, quote(id))
	}
	return nil
}

// settle writes the results of a batch to its files and to their aliases.
func (t *transaction) settle(now time.Time, id string, rows []line, given map[content]InputResult) error {
	aliases, err := t.rows(func(r line) bool { return r.AliasOf != "" }, aliasesOfBatch, id)
	if err != nil {
		return err
	}
	for _, r := range slices.Concat(rows, aliases) {
		res, ok := given[content{r.Device, r.SHA256}]
		if r.State != Stored || !ok {
			return about(r.Key, fmt.Errorf("%w: a %s file belongs to an open batch", ErrDamaged, r.State))
		}
		r.State, r.Changed = res.State, round(now)
		if res.State == Quarantined {
			r.Reason = clean(res.Reason)
		}
		if r.AliasOf == "" {
			r.Records = res.Records
		}
		if err := t.saveSettled(r); err != nil {
			return err
		}
	}
	return nil
}

// inputs reads the files of a batch, and proves by the id that none is missing
// or changed.
func (t *transaction) inputs(id string) ([]line, error) {
	rows, err := t.rows(func(r line) bool { return r.Batch == id && r.AliasOf == "" }, inBatch, id)
	if err != nil {
		return nil, err
	}
	if BatchID(inputsOf(rows)) != id {
		return nil, fmt.Errorf("%w: the inputs of batch %s do not match its id", ErrDamaged, quote(id))
	}
	return rows, nil
}
