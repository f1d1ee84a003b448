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

// PlanBatch returns the files to export next and the right to export them; ok is
// false if there are none.
//
// A batch that was planned and not finished comes first, if the owner itself
// left it or the lease of another owner is over, with exactly its inputs, so
// that work which a crash interrupted is repeated on the same set and finds its
// own results. Otherwise a new batch is fixed from the Stored files that are no
// aliases, in the order of device, name and SHA-256, at most maxFiles of them
// and at most maxBytes of compressed bytes, but at least one file; 0 means no
// limit. The set is on disk when PlanBatch returns.
//
// Owners that work at the same time get different batches. The right lasts until
// another owner takes the batch, which it may when the lease has run out.
func (l *Ledger) PlanBatch(ctx context.Context, now time.Time, owner string, lease time.Duration, maxFiles int, maxBytes int64) (b Batch, ok bool, err error) {
	const op = "plan"
	if err := checkLease(owner, lease); err != nil {
		return Batch{}, false, l.fail(op, err)
	}
	if maxFiles < 0 || maxBytes < 0 {
		return Batch{}, false, l.fail(op, fmt.Errorf("a limit of %d files and %d bytes", maxFiles, maxBytes))
	}
	err = l.write(ctx, op, func(t *transaction) error {
		until := toMilli(now.Add(lease))
		if b, ok, err = t.openBatch(now, owner, until); ok || err != nil {
			return err
		}
		b, ok, err = t.newBatch(now, owner, until, maxFiles, maxBytes)
		return err
	})
	if err != nil {
		return Batch{}, false, err
	}
	return b, ok, nil
}

// openBatch takes the oldest unfinished batch that may be taken.
func (t *transaction) openBatch(now time.Time, owner string, until int64) (Batch, bool, error) {
	h, err := scanBatch(t.queryRow(selectBatches+unfinished+t.e.skipLocked, owner, toMilli(now)))
	if errors.Is(err, sql.ErrNoRows) {
		return Batch{}, false, nil
	}
	if err != nil {
		return Batch{}, false, err
	}
	rows, err := t.inputs(h)
	if err != nil {
		return Batch{}, false, err
	}
	h.owner, h.lease, h.attempt = owner, until, h.attempt+1
	b := Batch{BatchClaim: h.claim(), Inputs: inputsOf(rows), Retry: true}
	return b, true, t.saveBatchHead(h)
}

// claim is the right that the row gives.
func (h batchHead) claim() BatchClaim {
	return BatchClaim{ID: h.id, Owner: h.owner, Attempt: int(h.attempt)}
}

// newBatch fixes the next set of files.
func (t *transaction) newBatch(now time.Time, owner string, until int64, maxFiles int, maxBytes int64) (Batch, bool, error) {
	if maxFiles == 0 {
		maxFiles = math.MaxInt32
	}
	rows, err := t.rows(func(r line) bool { return r.State == Stored && r.AliasOf == "" && r.Batch == "" },
		ready+t.e.skipLocked, maxFiles)
	if err != nil || len(rows) == 0 {
		return Batch{}, false, err
	}
	if maxBytes > 0 {
		rows = rows[:fitting(rows, maxBytes)]
	}
	inputs := inputsOf(rows)
	h := batchHead{id: BatchID(inputs), planned: toMilli(now), inputs: int64(len(inputs)),
		owner: owner, lease: until, attempt: 1}
	old, again, err := t.batchHead(h.id)
	switch {
	case err != nil:
		return Batch{}, false, err
	case !again:
		err = t.insertBatch(h)
	case old.finished != 0 && old.released == old.inputs:
		// All its files were in quarantine and a person released them.
		h.attempt = old.attempt + 1
		err = t.saveBatchHead(h)
	default:
		err = fmt.Errorf("%w: files of batch %s are in no batch", ErrDamaged, quote(h.id))
	}
	if err != nil {
		return Batch{}, false, err
	}
	for _, r := range rows {
		r.Batch = h.id
		if err := t.saveBatch(r); err != nil {
			return Batch{}, false, err
		}
	}
	return Batch{BatchClaim: h.claim(), Inputs: inputs}, true, nil
}

// RenewBatch makes the lease of a batch last longer. ErrLeaseLost means that
// another owner has it now, or that it is finished.
func (l *Ledger) RenewBatch(ctx context.Context, now time.Time, c BatchClaim, lease time.Duration) error {
	const op = "renew"
	if err := checkLease(c.Owner, lease); err != nil {
		return l.fail(op, err)
	}
	return l.write(ctx, op, func(t *transaction) error {
		h, err := t.claimedBatch(c)
		if err == nil && h.finished != 0 {
			err = lostBatch(c)
		}
		if err != nil {
			return err
		}
		h.lease = toMilli(now.Add(lease))
		return t.saveBatchHead(h)
	})
}

func lostBatch(c BatchClaim) error { return fmt.Errorf("batch %s: %w", quote(c.ID), ErrLeaseLost) }

// claimedBatch reads a batch that is finished or that the claim is good for.
func (t *transaction) claimedBatch(c BatchClaim) (batchHead, error) {
	h, ok, err := t.batchHead(c.ID)
	switch {
	case err != nil:
	case !ok:
		err = fmt.Errorf("%w %s", ErrUnknownBatch, quote(c.ID))
	case h.finished == 0 && h.claim() != c:
		err = lostBatch(c)
	}
	return h, err
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
//
// ErrLeaseLost means that the batch is not finished and another owner has it:
// what this one published is found and adopted there.
func (l *Ledger) FinishBatch(ctx context.Context, now time.Time, c BatchClaim, outputs []Output, results []InputResult) error {
	const op = "finish"
	if err := checkResults(outputs, results); err != nil {
		return l.fail(op, err)
	}
	return l.write(ctx, op, func(t *transaction) error {
		h, err := t.claimedBatch(c)
		if err != nil {
			return err
		}
		rows, err := t.inputs(h)
		if err != nil {
			return err
		}
		given, err := byInput(rows, results, int(h.released))
		if err != nil {
			return err
		}
		if h.finished != 0 {
			return t.sameOutcome(c.ID, outputs, rows, given)
		}
		for _, o := range outputs {
			o.Batch = c.ID
			if err := t.insertOutput(o); err != nil {
				return err
			}
		}
		if err := t.settle(now, c.ID, rows, given); err != nil {
			return err
		}
		h.finished, h.owner, h.lease = max(toMilli(now), 1), "", 0
		for _, o := range outputs {
			h.rows += o.Rows
		}
		return t.saveBatchHead(h)
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
// files of the batch, each once. Those of files that were released since may be
// among them.
func byInput(rows []line, results []InputResult, released int) (map[content]InputResult, error) {
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
	if len(given) < len(rows) || len(given) > len(rows)+released {
		return nil, fmt.Errorf("%w: %d results for the %d inputs of the batch", ErrConflict, len(given), len(rows))
	}
	return given, nil
}

// sameOutcome checks that a finished batch has just these outputs and results.
func (t *transaction) sameOutcome(id string, outputs []Output, rows []line, given map[content]InputResult) error {
	have, err := collect(scanOutput)(t.query(selectOutputs+`WHERE batch = $1`, id))
	if err != nil {
		return err
	}
	known := make(map[string]Output, len(have))
	for _, o := range have {
		o.Expired = time.Time{}
		known[o.Path] = o
	}
	same := len(have) == len(outputs)
	for _, o := range outputs {
		o.Batch, o.Expired = id, time.Time{}
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
	aliases, err := t.rows(func(r line) bool { return r.AliasOf != "" }, aliasesOfBatch+t.e.forUpdate, id)
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
// or changed, unless some were released since.
func (t *transaction) inputs(h batchHead) ([]line, error) {
	rows, err := t.rows(func(r line) bool { return r.Batch == h.id && r.AliasOf == "" }, inBatch+t.e.forUpdate, h.id)
	if err != nil {
		return nil, err
	}
	if int64(len(rows)) != h.inputs-h.released || h.released == 0 && BatchID(inputsOf(rows)) != h.id {
		return nil, fmt.Errorf("%w: the inputs of batch %s do not match its id", ErrDamaged, quote(h.id))
	}
	return rows, nil
}
