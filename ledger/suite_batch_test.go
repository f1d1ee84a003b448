package ledger_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
	"time"

	"acctpull/ledger"
)

// plan returns the next batch, which must exist.
func plan(t testing.TB, l *ledger.Ledger, files int, bytes int64) ledger.Batch {
	t.Helper()
	b, found, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, files, bytes)
	ok(t, err)
	if !found {
		t.Fatal("there is no batch")
	}
	return b
}

// outcome makes outputs and results that add up: each input has 10 records.
func outcome(b ledger.Batch) ([]ledger.Output, []ledger.InputResult) {
	var results []ledger.InputResult
	for _, in := range b.Inputs {
		results = append(results, ledger.InputResult{Device: in.Device, SHA256: in.SHA256, State: ledger.Exported, Records: 10})
	}
	n := int64(10 * len(results))
	return []ledger.Output{
		{Path: "a/v1/date=2026-01-01/" + b.ID[:32] + ".parquet", SHA256: digest(b.ID), Rows: n - 4, Record: "a", Date: "2026-01-01"},
		{Path: "a/v1/date=2026-01-02/" + b.ID[:32] + ".parquet", SHA256: digest(b.ID + "2"), Rows: 4, Record: "a", Date: "2026-01-02"},
	}, results
}

func testPlanBatch(t *testing.T, s store) {
	l := s()
	if b, found, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0); found || err != nil || b.ID != "" {
		t.Errorf("an empty ledger gave %+v %v", b, err)
	}
	put(t, l, "r2", map[string]string{"a": "1"})
	put(t, l, "r1", map[string]string{"b": "2", "a": "3"})
	b := plan(t, l, 0, 0)
	want := []ledger.Input{
		{Device: "r1", Name: "a", SHA256: digest("3"), Stored: "devices/r1/act/a", Size: 1},
		{Device: "r1", Name: "b", SHA256: digest("2"), Stored: "devices/r1/act/b", Size: 1},
		{Device: "r2", Name: "a", SHA256: digest("1"), Stored: "devices/r2/act/a", Size: 1},
	}
	if !slices.Equal(b.Inputs, want) || b.Retry {
		t.Errorf("batch %+v, want inputs %+v", b, want)
	}
	// The id by hand: sorted lines, not sorted inputs.
	lines := []string{"r1\t" + digest("2") + "\n", "r1\t" + digest("3") + "\n", "r2\t" + digest("1") + "\n"}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(lines[0] + lines[1] + lines[2]))
	if b.ID != hex.EncodeToString(sum[:]) {
		t.Errorf("id %s, want %x", b.ID, sum)
	}
	// What is stored meanwhile does not join; another handle sees the same set.
	put(t, l, "r1", map[string]string{"0": "new"})
	for _, handle := range []*ledger.Ledger{l, s()} {
		again := plan(t, handle, 1, 1)
		if !again.Retry || again.ID != b.ID || !slices.Equal(again.Inputs, want) {
			t.Errorf("batch %+v", again)
		}
		b = again
	}
	for _, in := range want {
		if r := row(t, l, key(in.Device, in.Name)); r.Batch != b.ID || r.State != ledger.Stored {
			t.Errorf("row %+v", r)
		}
	}
	outputs, results := outcome(b)
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	if next := plan(t, l, 0, 0); next.Retry || len(next.Inputs) != 1 || next.Inputs[0].Name != "0" {
		t.Errorf("next batch %+v", next)
	}
}

func testPlanBatchLimits(t *testing.T, s store) {
	l := s()
	contents := map[string]string{}
	for i := range 10 {
		contents[fmt.Sprintf("%010d", i)] = fmt.Sprint(i) // 10 bytes each
	}
	put(t, l, "r1", contents)
	next := 0
	for _, c := range []struct {
		files int
		bytes int64
		want  int
	}{{3, 0, 3}, {0, 20, 2}, {0, 1, 1}, {2, 1000, 2}, {0, 19, 1}, {100, 1000, 1}} {
		b := plan(t, l, c.files, c.bytes)
		if len(b.Inputs) != c.want {
			t.Errorf("at most %d files, %d bytes: %d inputs, want %d", c.files, c.bytes, len(b.Inputs), c.want)
		}
		for _, in := range b.Inputs {
			if want := fmt.Sprintf("%010d", next); in.Name != want {
				t.Errorf("input %s, want %s", in.Name, want)
			}
			next++
		}
		outputs, results := outcome(b)
		ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, outputs, results))
	}
	for _, bad := range [][2]int64{{-1, 0}, {0, -1}} {
		_, _, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, int(bad[0]), bad[1])
		refused(t, err, nil, "limit")
	}
}

func testFinishBatch(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2"})
	b := plan(t, l, 0, 0)
	outputs, results := outcome(b)
	results[1] = ledger.InputResult{Device: "r1", SHA256: results[1].SHA256, State: ledger.Quarantined, Reason: "bad value", Records: 0}
	outputs[0].Rows -= 10
	later := start.Add(time.Minute)
	ok(t, l.FinishBatch(t.Context(), later, b.BatchClaim, outputs, results))
	a, q := row(t, l, key("r1", "a")), row(t, l, key("r1", "b"))
	if a.State != ledger.Exported || a.Records != 10 || a.Reason != "" || !a.Changed.Equal(later) || a.Batch != b.ID {
		t.Errorf("row %+v", a)
	}
	if q.State != ledger.Quarantined || q.Records != 0 || q.Reason != "bad value" || q.Batch != b.ID {
		t.Errorf("row %+v", q)
	}
	have := must(l.Outputs(t.Context(), b.ID))(t)
	for i := range outputs {
		outputs[i].Batch = b.ID
	}
	if !slices.Equal(have, outputs) {
		t.Errorf("outputs %+v, want %+v", have, outputs)
	}
	// The same again, later and in another order, changes nothing.
	slices.Reverse(outputs)
	slices.Reverse(results)
	ok(t, s().FinishBatch(t.Context(), later.Add(time.Hour), b.BatchClaim, outputs, results))
	if r := row(t, l, key("r1", "a")); r != a {
		t.Errorf("row %+v, was %+v", r, a)
	}
	if _, found, err := l.PlanBatch(t.Context(), start, "exporter", time.Hour, 0, 0); found || err != nil {
		t.Errorf("finished files are planned again: %v %v", found, err)
	}
	// Another outcome of the same batch is a contradiction.
	for _, change := range []func(){
		func() { outputs[0].SHA256 = digest("other") },
		func() { outputs[0].Path += "x" },
		func() { outputs = outputs[:1]; results[1].Records = 6 },
		func() { results[0].State, results[0].Reason = ledger.Exported, "" },
	} {
		keepO, keepR := slices.Clone(outputs), slices.Clone(results)
		change()
		var sum int64
		for _, o := range outputs {
			sum += o.Rows
		}
		results[1].Records = sum
		refused(t, l.FinishBatch(t.Context(), later, b.BatchClaim, outputs, results), ledger.ErrConflict, "another outcome")
		outputs, results = keepO, keepR
	}
}

func testFinishBatchRefuses(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a": "1", "b": "2"})
	b := plan(t, l, 1, 0)
	goodO, goodR := outcome(b)
	before := rows(t, l)
	unknown := digest("unknown batch")
	for _, c := range []struct {
		text   string
		want   error
		change func(id *string, o *[]ledger.Output, r *[]ledger.InputResult)
	}{
		{"unknown batch", ledger.ErrUnknownBatch, func(id *string, _ *[]ledger.Output, _ *[]ledger.InputResult) { *id = unknown }},
		{"no result", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { *r, *o = nil, nil }},
		{"two results", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) {
			(*r)[0].Records = 5
			*r = append(*r, (*r)[0])
		}},
		{"2 results for the 1 inputs", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) {
			*r = append(*r, ledger.InputResult{Device: "r1", SHA256: digest("2"), State: ledger.Exported})
		}},
		{"no result", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].Device = "r2" }},
		{"10 rows and the inputs 11 records", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].Records++ }},
		{"cannot become stored", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].State = ledger.Stored }},
		{"cannot become lost", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].State = ledger.Lost }},
		{"without a reason", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].State = ledger.Quarantined }},
		{"-1 records", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*r)[0].Records = -1 }},
		{"-6 rows", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*o)[0].Rows = -6 }},
		{`output ""`, nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*o)[0].Path = "" }},
		{"not a SHA-256", nil, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*o)[0].SHA256 = "" }},
		{"recorded already", ledger.ErrConflict, func(_ *string, o *[]ledger.Output, r *[]ledger.InputResult) { (*o)[1].Path = (*o)[0].Path }},
	} {
		id, o, r := b.ID, slices.Clone(goodO), slices.Clone(goodR)
		c.change(&id, &o, &r)
		claim := b.BatchClaim
		claim.ID = id
		refused(t, l.FinishBatch(t.Context(), start, claim, o, r), c.want, c.text)
		if after := rows(t, l); !slices.Equal(before, after) {
			t.Fatalf("%s: rows changed from %+v to %+v", c.text, before, after)
		}
		if o := must(l.Outputs(t.Context(), ""))(t); len(o) != 0 {
			t.Fatalf("%s: outputs %+v", c.text, o)
		}
	}
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim, goodO, goodR))
	// A path belongs to one batch for ever.
	next := plan(t, l, 1, 0)
	_, results := outcome(next)
	refused(t, l.FinishBatch(t.Context(), start, next.BatchClaim, goodO, results), ledger.ErrConflict, "recorded already")
}

// testAliasesShareTheFate: aliases stored before and after the export end as
// the file that stands for them does.
func testAliasesShareTheFate(t *testing.T, s store) {
	l := s()
	put(t, l, "r1", map[string]string{"a1": "A", "b1": "B"})
	put(t, l, "r1", map[string]string{"a2": "A", "b2": "B"})
	put(t, l, "r2", map[string]string{"a2": "A"})
	b := plan(t, l, 2, 0)
	put(t, l, "r1", map[string]string{"a3": "A", "b3": "B"})
	ok(t, l.FinishBatch(t.Context(), start, b.BatchClaim,
		[]ledger.Output{{Path: "p", SHA256: digest("p"), Rows: 3, Record: "x", Date: "2026-01-01"}},
		[]ledger.InputResult{
			{Device: "r1", SHA256: digest("A"), State: ledger.Exported, Records: 3},
			{Device: "r1", SHA256: digest("B"), State: ledger.Quarantined, Reason: "bad"},
		}))
	put(t, l, "r1", map[string]string{"a4": "A", "b4": "B"})
	for _, r := range rows(t, l) {
		alias := r.Device == "r1" && r.Name[1] != '1'
		if (r.AliasOf != "") != alias || alias && r.AliasOf != r.Name[:1]+"1" {
			t.Errorf("%s of %s is an alias of %q", r.Name, r.Device, r.AliasOf)
		}
		want, reason, records := ledger.Exported, "", int64(0)
		switch {
		case r.Device == "r2":
			want = ledger.Stored
		case r.Name[0] == 'b':
			want, reason = ledger.Quarantined, "bad"
		case !alias:
			records = 3
		}
		if r.State != want || r.Reason != reason || r.Records != records {
			t.Errorf("row %+v, want %s %q and %d records", r, want, reason, records)
		}
	}
	if next := plan(t, l, 0, 0); len(next.Inputs) != 1 || next.Inputs[0].Device != "r2" {
		t.Errorf("batch %+v", next)
	}
}
