package ledger_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acctpull/ledger"
)

// proof says that the heavy form of the tests was asked for.
func proof() bool { return os.Getenv("ACCTPULL_PROOF") == "1" }

// known is all that a ledger answers.
type known struct {
	rows    []ledger.Row
	outputs []ledger.Output
	counts  []ledger.Count
	backlog ledger.Backlog
	open    ledger.Batch
	holds   []ledger.Hold
}

// filled makes a closed ledger with files in every state and batches of both
// kinds, and returns what it knows.
func filled(t *testing.T, path string, files int) known { return fill(t, path, files, true) }

// fill is filled without what version 3 brought, if expired is false.
func fill(t *testing.T, path string, files int, expired bool) known {
	t.Helper()
	l, err := ledger.Open(t.Context(), path)
	ok(t, err)
	for _, device := range []string{"r1", "r2"} {
		contents := map[string]string{}
		for i := range files {
			contents[fmt.Sprintf("act1101-%06d.xml.gz", i)] = fmt.Sprintf("content %d", i%(files*9/10))
		}
		put(t, l, device, contents)
		var listed []ledger.Key
		for i := range files {
			listed = append(listed, key(device, fmt.Sprintf("act2202-%06d.xml.gz", i)))
		}
		for i, c := range claim(t, l, "x", listed...) {
			switch i % 4 {
			case 0:
				ok(t, l.Lost(t.Context(), start, c, "gone"))
			case 1:
				ok(t, l.Quarantine(t.Context(), start, c, "quarantine/x", "gzip ends early", time.Time{}))
			case 2:
				ok(t, l.Release(t.Context(), c, "reset", start.Add(time.Minute)))
			}
		}
	}
	for range 3 {
		b := plan(t, l, files/2, 0)
		outputs, results := outcome(b)
		ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	}
	plan(t, l, files/5, 0)
	for r, err := range l.Files(t.Context(), "r2") {
		ok(t, err)
		ok(t, l.SetFacts(t.Context(), r.Key, ledger.Facts{Policy: 11, FileID: 1, Record: "a", Interval: time.Minute, Spans: spansFrom(start, 5, 40)}))
		if r.State == ledger.Exported {
			ok(t, l.MarkRemoved(t.Context(), start, []ledger.Key{r.Key}))
		}
	}
	for i := range files {
		device := fmt.Sprintf("r%d", i)
		c, _, _, err := l.TakeDevice(t.Context(), start, device, "node", time.Hour, "site", 0, 0)
		ok(t, err)
		if i%2 == 0 {
			must(l.FinishDevice(t.Context(), start, c, []byte(`{"a":1}`), visit(device, start, i)))(t)
		}
	}
	if expired {
		expireFilled(t, l)
	}
	k, err := ask(t, l)
	ok(t, err)
	ok(t, l.Close())
	return k
}

// expireFilled lets a part of the files and of the outputs expire, under a hold.
func expireFilled(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	h := must(l.AddHold(t.Context(), ledger.Hold{Device: "r2", Service: "7", SAP: "1/1/1:7", From: start, To: start.Add(time.Hour), Reason: "a case", By: "ana", Added: start}))(t)
	n := 0
	for k, err := range l.KeptFiles(t.Context(), ledger.KeptFrom{}, start.Add(time.Hour)) {
		ok(t, err)
		if n++; n%5 == 0 {
			must(l.Expire(t.Context(), start, []ledger.Key{k.Key}, []ledger.Hold{h}))(t)
		}
	}
	if o := must(l.Outputs(t.Context(), ""))(t)[0]; len(must(l.ExpireOutputs(t.Context(), start, o.Record, o.Date, []ledger.Hold{h}))(t)) == 0 {
		t.Error("no output expired")
	}
}

// ask collects what the ledger knows.
func ask(t *testing.T, l *ledger.Ledger) (k known, err error) {
	ctx := t.Context()
	for r, err := range l.Files(ctx, "") {
		if err != nil {
			return k, err
		}
		k.rows = append(k.rows, r)
	}
	if k.outputs, err = l.Outputs(ctx, ""); err != nil {
		return k, err
	}
	if k.counts, err = l.Counts(ctx); err != nil {
		return k, err
	}
	if k.backlog, err = l.Backlog(ctx); err != nil {
		return k, err
	}
	if k.holds, err = l.Holds(ctx); err != nil {
		return k, err
	}
	k.open, _, err = l.PlanBatch(ctx, start, "exporter", time.Hour, 0, 0)
	return k, err
}

func (k known) equal(o known) bool {
	return slices.Equal(k.rows, o.rows) && slices.Equal(k.outputs, o.outputs) && slices.Equal(k.counts, o.counts) &&
		k.backlog == o.backlog && slices.Equal(k.holds, o.holds) && k.open.ID == o.open.ID && slices.Equal(k.open.Inputs, o.open.Inputs)
}

// examine opens a ledger that may be damaged. It returns what was refused, or
// nil if every answer is what it was: nothing in between is allowed.
func examine(t *testing.T, path string, want known) (refusal error) {
	l, err := ledger.Open(t.Context(), path)
	if err != nil {
		var e *ledger.Error
		if !errors.As(err, &e) || e.Hint() == "" || !ledger.IsFatal(err) {
			t.Errorf("refused without a hint: %v", err)
		}
		return err
	}
	defer l.Close()
	whole := l.Check(t.Context())
	defer func() {
		if whole != nil {
			if !ledger.IsFatal(whole) {
				t.Errorf("a damaged ledger fails with %v", whole)
			}
			refusal = whole
		}
	}()
	if whole != nil {
		return whole
	}
	defer func() {
		if refusal != nil && !ledger.IsFatal(refusal) {
			t.Errorf("a damaged ledger fails with %v", refusal)
		}
	}()
	got, err := ask(t, l)
	if err != nil {
		return err
	}
	if !got.equal(want) {
		t.Error("the ledger gives other answers than before")
	}
	// Files and contents are found by their indexes.
	var keys []ledger.Key
	var inputs []ledger.Input
	var listed []ledger.Row
	for _, r := range want.rows {
		if r.State != ledger.Lost {
			keys, listed = append(keys, r.Key), append(listed, r)
		}
		if r.SHA256 != "" && r.AliasOf == "" {
			inputs = append(inputs, ledger.Input{Device: r.Device, Name: r.Name, SHA256: r.SHA256, Stored: "x", Size: r.Size})
		}
	}
	again, err := l.Discover(t.Context(), start, keys)
	if err != nil {
		return err
	}
	if !slices.Equal(again, listed) {
		t.Error("known files are not found again")
	}
	n, err := l.AddLocal(t.Context(), start, inputs)
	if n != 0 {
		t.Errorf("%d known contents are taken for new ones", n)
	}
	return err
}

// TestFlippedBits is case C20: a ledger with one flipped bit, on any page, is
// refused or gives the very answers it gave before.
func TestFlippedBits(t *testing.T) {
	perPage, files := 2, 60
	if proof() {
		perPage, files = 64, 200
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	want := filled(t, path, files)
	whole := must(os.ReadFile(path))(t)
	const page = 4096
	refusals, flips := 0, 0
	for at := 0; at < len(whole); at += page {
		for range perPage {
			bit := rng.IntN(page * 8)
			broken := slices.Clone(whole)
			broken[at+bit/8] ^= 1 << (bit % 8)
			path := filepath.Join(dir, fmt.Sprintf("%d.db", flips))
			ok(t, os.WriteFile(path, broken, 0o600))
			flips++
			if examine(t, path, want) != nil {
				refusals++
			}
			if t.Failed() {
				t.Fatalf("page %d, byte %d, bit %d", at/page+1, bit/8, bit%8)
			}
			for _, suffix := range []string{"", "-wal", "-shm"} {
				os.Remove(path + suffix)
			}
		}
	}
	t.Logf("%d pages, %d flips, %d refused, %d without effect", len(whole)/page, flips, refusals, flips-refusals)
	if refusals == 0 {
		t.Error("no flip was found")
	}
}

func TestTruncated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	want := filled(t, path, 30)
	whole := must(os.ReadFile(path))(t)
	sizes := []int{1, 15, 16, 99, 100, 101, 4095, len(whole) - 1, len(whole) - 100}
	for n := 4096; n < len(whole); n += 4096 {
		sizes = append(sizes, n, n+2048)
	}
	for _, n := range sizes {
		path := filepath.Join(dir, fmt.Sprintf("%d.db", n))
		ok(t, os.WriteFile(path, whole[:n], 0o600))
		if examine(t, path, want) == nil {
			t.Errorf("a ledger cut at %d of %d bytes is taken for whole", n, len(whole))
		}
	}
}

// TestEveryColumnIsProtected changes one value of one row of every column, as a
// flipped bit in its text would.
func TestEveryColumnIsProtected(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	want := filled(t, path, 20)
	whole := must(os.ReadFile(path))(t)
	db, err := sql.Open("sqlite", path)
	ok(t, err)
	type column struct{ table, name, kind string }
	var columns []column
	for _, table := range []string{"pulled", "batch", "output", "facts", "removal", "device", "visit", "expiring", "hold"} {
		info := must(db.Query(`SELECT name, type FROM pragma_table_info('` + table + `') WHERE name <> 'id' OR '` + table + `' NOT IN ('pulled', 'visit')`))(t)
		for info.Next() {
			c := column{table: table}
			ok(t, info.Scan(&c.name, &c.kind))
			columns = append(columns, c)
		}
		ok(t, info.Close())
	}
	ok(t, db.Close())
	if len(columns) != 21+10+8+11+4+8+12+6+13 {
		t.Errorf("%d columns", len(columns))
	}
	for _, c := range columns {
		change := c.name + ` + 1`
		if c.kind == "TEXT" {
			change = c.name + ` || 'x'`
		} else if c.name == "state" {
			change = `(state + 1) % 5`
		}
		ok(t, os.WriteFile(path, whole, 0o600))
		exec1(t, path, fmt.Sprintf(`UPDATE %s SET %s = %s WHERE rowid = (SELECT MAX(rowid) FROM %s)`, c.table, c.name, change, c.table))
		if err := examine(t, path, want); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("%s.%s was changed and the ledger says %v", c.table, c.name, err)
		}
	}
	for _, statement := range []string{
		`DELETE FROM batch WHERE rowid = 1`, `DELETE FROM output WHERE rowid = 1`,
		`DELETE FROM pulled WHERE id = (SELECT MIN(id) FROM pulled WHERE batch <> '')`,
		`DELETE FROM batch WHERE finished = 0`, `UPDATE facts SET file = 99999 WHERE file = (SELECT MIN(file) FROM facts)`, `UPDATE removal SET file = 99999 WHERE file = (SELECT MIN(file) FROM removal)`,
	} {
		ok(t, os.WriteFile(path, whole, 0o600))
		exec1(t, path, statement)
		if err := examine(t, path, want); !errors.Is(err, ledger.ErrDamaged) {
			t.Errorf("after %s the ledger says %v", statement, err)
		}
	}
}
